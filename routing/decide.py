"""`decide`: which models may run a step, best first, and why each other model may not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import inf
from typing import Final

from ..configs.catalog import ModelCard
from ..configs.words import Risk, Tier
from .decision import Because, Decision, Rejection, RuleHit
from .decision import RejectionCode as Code
from .features.features import Features
from .ordering import Ordering, cost, enough
from .policy.policy import CompiledCard, Policy
from .policy.raising import demanded, raised
from .policy.rules import Said, applied, declared, judge, measured
from .request import BudgetReserve, RoutingContext

__all__ = ["decide"]

# A scorer below this is more likely wrong than right about its tier.
_LOW_CONFIDENCE: Final = 0.5
_TIERS: Final = tuple(Tier)
_CANNOT: Final = {
    "image": "cannot read images",
    "pdf": "cannot read PDF files",
    "audio": "cannot hear audio",
    "video": "cannot watch video",
}
_NO_CIRCUMSTANCES: Final = RoutingContext()


def decide(features: Features, policy: Policy, circumstances: RoutingContext = _NO_CIRCUMSTANCES) -> Decision:
    """Decide which models may run a step.

    Risk sets the floor. Above it, the rules and the caller choose a tier from declared facts, and evidence raises it.
    The models' capabilities and the current circumstances filter the candidates, and the strategy orders them. The
    same arguments give the same decision.

    A requested tier or model counts only at or above the floor. A requested model goes first unless evidence demands a
    higher tier than its own; if its tier is below the one the rules choose, the fallbacks still come from the latter.
    Tiers never go down along the candidates.

    Args:
        features: Features of the step, from `extract` or a record.
        policy: Compiled rules and catalogue.
        circumstances: What is true right now.

    Returns:
        The decision; it has no candidates if no model qualifies.
    """
    facts = declared(features)
    risk, risk_hits = judge(facts, features.risk, policy)
    floor = policy.floors[risk]
    # If the risk alone demands the highest tier, there is nothing left to judge, and no wording can change that.
    judged = None if policy.scorer is None or floor is _TIERS[-1] else policy.scorer(features)
    complexity, confidence = judged or (0.0, 1.0)
    facts.update(measured(features, risk, None if judged is None else complexity, circumstances))
    said = applied(policy.rules, facts)
    hits = said.hits
    if (policy.scorer is not None or policy.unused) and (why := policy.unjudged(features.task)):
        hits.append(RuleHit("scorer.unproven", f"{policy.routing.scorer} is not used: {why}"))
    wanted = _wanted_tier(features, said, risk, floor)
    named = next((entry for entry in policy.cards if entry.id == features.model), None)
    plain = wanted if named is None else max(wanted, named.card.tier)
    if said.by_complexity and confidence < _LOW_CONFIDENCE:
        wanted = max(wanted, _doubted(said.tier or floor, wanted, confidence, features, policy, hits))
        wanted = _capped(wanted, floor, features, hits)
    able, rejected = _Need(features, policy, circumstances, said, floor).sifted(policy.cards)
    known = enough(circumstances.experience, policy.routing.history)
    evident = raised(features, able, plain, known, hits) if features.evidence or known else None
    if evident is not None and evident.rank > wanted.rank:
        wanted = evident
    if circumstances.funds is not None and risk.handled_as < Risk.HIGH:
        wanted = _afford(able, rejected, wanted, floor, features, circumstances.funds, hits)
    asked = None if features.model is None else _asked(features.model, features, able, rejected, evident, hits)
    ordering = Ordering(features, policy, circumstances, known, said.prefer)
    tier, ordered = ordering.ranked(able, asked, wanted, rejected, hits)
    return Decision(
        request=features.id,
        risk=risk,
        floor=floor,
        tier=tier,
        candidates=tuple(entry.id for entry in ordered),
        rejected=_rejections(tuple([(one.id, rejected[one.id]) for one in policy.cards if one.id in rejected])),
        rules=(*risk_hits, *hits),
        complexity=complexity,
        confidence=confidence,
        features=features,
        policy_hash=policy.policy_hash,
        price_version=policy.price_version,
    )


# Most decisions of a process reject the same models for the same reasons.
@lru_cache
def _rejections(pairs: tuple[tuple[str, Because], ...]) -> tuple[Rejection, ...]:
    return tuple([Rejection(model, why.reason, why.code, why.needs) for model, why in pairs])


def _wanted_tier(features: Features, said: Said, risk: Risk, floor: Tier) -> Tier:
    """Return the tier that rules, caller and floor give; add a hit for each that changed it."""
    tier, hits = said.tier or floor, said.hits
    if features.tier is not None and features.tier.rank < floor.rank:
        said_floor = f"risk {risk.value} demands {floor.value}"
        hits.append(RuleHit("agent.tier", f"tier {features.tier.value} was asked for, but {said_floor}"))
    elif features.tier is not None and features.tier.rank > tier.rank:
        hits.append(RuleHit("agent.tier", f"tier {features.tier.value} was asked for"))
        tier = features.tier
    if tier.rank < floor.rank:
        hits.append(RuleHit("risk.floor", f"risk {risk.value} raises {tier.value} to {floor.value}"))
        tier = floor
    return _capped(tier, floor, features, hits)


def _capped(tier: Tier, floor: Tier, features: Features, hits: list[RuleHit]) -> Tier:
    """Return the tier, lowered to the requested ceiling but never below the floor."""
    most = None if features.max_tier is None else max(features.max_tier, floor)
    if most is None or tier.rank <= most.rank:
        return tier
    hits.append(RuleHit("agent.max_tier", f"max_tier {most.value} was asked for, so not {tier.value}"))
    return most


def _doubted(
    said: Tier, wanted: Tier, confidence: float, features: Features, policy: Policy, hits: list[RuleHit]
) -> Tier:
    """Return one tier above the one that a scorer gave with confidence below 0.5, unless it was already raised.

    A rule's on-device tier is kept if a model of that tier serves the task: that model declines what it cannot do.
    """
    if said is _TIERS[-1] or said.rank < wanted.rank or _served_on_device(said, features, policy):
        return said
    hits.append(RuleHit("confidence.low", f"confidence {confidence:.2f} in {said.value}: one tier up"))
    return _TIERS[said.rank + 1]


def _served_on_device(tier: Tier, features: Features, policy: Policy) -> bool:
    return tier is Tier.ONDEVICE and any(
        entry.rank == 0 and (entry.card.tasks is None or features.task in entry.card.tasks) for entry in policy.cards
    )


class _Need:
    """What a model must be able to do to run this step now."""

    __slots__ = (
        "_approved",
        "_circumstances",
        "_context",
        "_demand",
        "_features",
        "_floor",
        "_least",
        "_modalities",
        "_ranks",
        "_require",
        "_said",
        "_tiers",
    )

    def __init__(
        self, features: Features, policy: Policy, circumstances: RoutingContext, said: Said, floor: Tier
    ) -> None:
        self._features = features
        self._circumstances = circumstances
        self._said = said
        self._floor = floor
        self._demand = demanded(features) if features.evidence else None
        self._least = None if self._demand is None else self._demand.at_least
        self._ranks = (floor.rank, 0 if self._least is None else self._least.rank)
        self._context = features.tokens + features.max_output
        self._modalities = frozenset(features.modalities)
        self._approved = policy.routing.approved
        limits = policy.limits.get(features.user_class, policy.routing.limits)
        self._tiers = limits.tiers
        self._require = {**said.require}
        for score, least in limits.require.items():
            self._require[score] = max(least, self._require.get(score, 0.0))

    def sifted(self, cards: Sequence[CompiledCard]) -> tuple[list[CompiledCard], dict[str, Because]]:
        """Return the models that may run this step, and why each other model may not."""
        able: list[CompiledCard] = []
        rejected: dict[str, Because] = {}
        for entry in cards:
            # Lasting reasons come before those that may change in a minute, so that nobody buys a key in vain.
            why = self._not_allowed(entry) or self._unable(entry.card) or self._not_now(entry)
            if why is None:
                able.append(entry)
            else:
                rejected[entry.id] = why
        return able, rejected

    def _not_allowed(self, entry: CompiledCard) -> Because | None:
        tier = entry.card.tier
        if entry.rank < self._ranks[0]:
            return Because(Code.BELOW_FLOOR, f"tier {tier.value} is below the floor {self._floor.value}")
        if self._demand is not None and self._least is not None and entry.rank < self._ranks[1]:
            demanded = f"{self._least.value}, which {self._demand.id} demands"
            return Because(Code.BELOW_FLOOR, f"tier {tier.value} is below {demanded}")
        ceiling = self._features.max_tier
        if ceiling is not None and entry.rank > ceiling.rank:
            return Because(Code.ABOVE_CEILING, f"tier {tier.value} is above max_tier {ceiling.value}")
        if self._approved is not None and entry.id not in self._approved and entry.provider not in self._approved:
            return Because(Code.NOT_APPROVED, "not approved")
        if self._tiers is not None and tier not in self._tiers:
            return Because(Code.USER_CLASS, f"user class {self._features.user_class} may not use tier {tier.value}")
        if self._said.avoid:
            rule = self._said.avoid.get(entry.id) or self._said.avoid.get(entry.provider)
            if rule is not None:
                return Because(Code.RULE, f"avoided by rule {rule}")
        return None

    def _unable(self, card: ModelCard) -> Because | None:
        reason = self._not_able(card)
        return None if reason is None else Because(Code.CANNOT, reason)

    def _not_able(self, card: ModelCard) -> str | None:
        features = self._features
        if card.tasks is not None and features.task not in card.tasks:
            return f"serves only {', '.join(sorted(card.tasks))}"
        if not self._modalities <= card.inputs:
            missing = min(self._modalities - card.inputs)
            return _CANNOT.get(missing, f"cannot take {missing}")
        if features.tools and not card.tools:
            return "cannot call tools"
        if features.structured and not card.structured:
            return "cannot be held to a schema"
        if card.context is not None and card.context < self._context:
            return f"context {card.context} < {self._context} tokens needed"
        if card.max_output is not None and card.max_output < features.max_output:
            return f"output {card.max_output} < {features.max_output} tokens needed"
        for score, least in self._require.items():
            has = card.scores.get(score)
            if has is None:
                return f"{score} unknown, {least:.2f} needed"
            if has < least:
                return f"{score} {has:.2f} < {least:.2f}"
        return None

    def _not_now(self, entry: CompiledCard) -> Because | None:
        now = self._circumstances
        if entry.id in now.tried:
            return Because(Code.TRIED, "already tried")
        if now.unavailable:
            why = now.unavailable.get(entry.id) or now.unavailable.get(entry.provider)
            if why is not None:
                return why
        if now.needs_price and entry.card.prices is None:
            return Because(Code.NO_PRICE, "price unknown, and a budget has to be kept")
        return None


def _afford(
    able: list[CompiledCard],
    rejected: dict[str, Because],
    wanted: Tier,
    floor: Tier,
    features: Features,
    funds: BudgetReserve,
    hits: list[RuleHit],
) -> Tier:
    """Drop models that would use up money reserved for riskier steps to come, and return the affordable tier.

    If nothing of the wanted tier or above is affordable, that is the next lower affordable tier, but never below the
    floor, the requested tier or the tier that evidence demands. If nothing at all is affordable, the cheapest model is
    kept, because this step has to run too.
    """
    demand = demanded(features)
    least = max(floor, features.tier or floor, (demand and demand.at_least) or floor)
    spare = funds.left - funds.kept
    price = {entry.id: cost(entry, features) for entry in able if entry.rank >= least.rank}
    within = [entry for entry in able if price.get(entry.id, inf) <= spare]
    if not within and price:
        cheapest = min(price.values())
        within = [entry for entry in able if price.get(entry.id) == cheapest]
    if not any(entry.rank >= wanted.rank for entry in within) and within:
        tier = max((entry.card.tier for entry in within), key=lambda one: one.rank)
    else:
        tier = wanted
    kept = f"${funds.kept:.4f} of the ${funds.left:.4f} left is kept for {funds.steps} step(s) of high risk to come"
    dropped = [entry for entry in able if entry.id in price and entry not in within]
    for entry in dropped:
        rejected[entry.id] = Because(Code.FUNDS, f"may cost ${price[entry.id]:.4f}, and {kept}")
        able.remove(entry)
    if tier is not wanted:
        hits.append(RuleHit("budget.kept", f"{kept}, so {tier.value} and not {wanted.value}"))
    elif any(entry.rank == wanted.rank for entry in dropped):
        hits.append(RuleHit("budget.kept", kept))
    return tier


def _asked(
    name: str,
    features: Features,
    able: list[CompiledCard],
    rejected: dict[str, Because],
    evident: Tier | None,
    hits: list[RuleHit],
) -> CompiledCard | None:
    """Return the requested model if it qualifies and is not below the tier that was requested or evidence demands."""
    for entry in able:
        if entry.id == name:
            if features.tier is not None and entry.rank < features.tier.rank:
                hits.append(RuleHit("agent.asks", f"{name} was asked for, but so was tier {features.tier.value}"))
                return None
            if evident is not None and entry.rank < evident.rank:
                hits.append(RuleHit("agent.asks", f"{name} was asked for, but evidence demands {evident.value}"))
                return None
            hits.append(RuleHit("agent.asks", f"{name} was asked for"))
            return entry
    why = rejected.get(name)
    said = "not in the catalogue" if why is None else why.reason
    hits.append(RuleHit("agent.asks", f"{name} was asked for, but: {said}"))
    return None
