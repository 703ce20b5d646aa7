"""`lint`: find mistakes in a policy whose parts are each well formed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...configs.features import CHOICES, NUMBERS
from ...configs.schema import Condition, RoutingRule
from ...configs.words import Risk, Tier
from ..request import RoutingContext
from .policy import CompiledCard, Policy

__all__ = ["Problem", "lint"]

_SHARES: Final = frozenset({"complexity", "budget_left"})
_NO_CIRCUMSTANCES: Final = RoutingContext()


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a policy that cannot be intended.

    Attributes:
        subject: What it is about, such as ``rule task.code``.
        what: What is wrong and what to do.
    """

    subject: str
    what: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.what}"


def lint(policy: Policy, circumstances: RoutingContext = _NO_CIRCUMSTANCES) -> list[Problem]:
    """Find rules that can never take effect, unknown names, and tiers that one outage would empty.

    A rule counts as unreachable if its own conditions exclude each other, if one earlier rule names the tier in every
    case it would apply to, or if a risk rule raises the risk above what it asks for. The combined effect of several
    rules is not checked.

    Args:
        policy: The compiled policy.
        circumstances: Models that are unavailable right now do not count as alternatives.

    Returns:
        The problems, those of the rules first, in the order of the file.
    """
    return [
        *_rules(policy),
        *_risk_rules(policy),
        *_names(policy),
        *_tiers(policy, circumstances),
        *_classes(policy),
    ]


def _rules(policy: Policy) -> Iterator[Problem]:
    earlier: list[RoutingRule] = []
    for rule in policy.routing.rules:
        subject = f"rule {rule.id}"
        if (why := _impossible(rule.when) or _too_safe(rule.when, policy)) is not None:
            yield Problem(subject, f"can never apply: {why}")
            continue
        if rule.tier is None:
            if not (rule.prefer or rule.avoid or rule.require):
                yield Problem(subject, "says nothing; give it a tier, prefer, avoid or require")
            continue
        cover = next((other for other in earlier if _covers(other.when, rule.when)), None)
        if cover is not None:
            rest = "its tier" if rule.prefer or rule.avoid or rule.require else "it"
            yield Problem(
                subject, f"{rest} can never apply: rule {cover.id} names a tier first; move it above that rule"
            )
        else:
            earlier.append(rule)
        allowed = policy.routing.limits.tiers
        if allowed is not None and not any(tier >= rule.tier for tier in allowed):
            yield Problem(subject, f"goes to tier {rule.tier.value}, and limits allow nothing so high")


def _risk_rules(policy: Policy) -> Iterator[Problem]:
    for rule in policy.risk.rules:
        if (why := _impossible(rule.when)) is not None:
            yield Problem(f"risk rule {rule.id}", f"can never apply: {why}")


def _names(policy: Policy) -> Iterator[Problem]:
    models = {card.id for card in policy.catalogue}
    known = models | {card.provider for card in policy.catalogue}
    for rule in policy.routing.rules:
        subject = f"rule {rule.id}"
        for name in rule.prefer:
            if name not in models:
                yield Problem(subject, f"prefers {name}, which is no model of the catalogue")
        for name in rule.avoid:
            if name not in known:
                yield Problem(subject, f"avoids {name}, which is no model or provider of the catalogue")
        for score, least in rule.require.items():
            best = max((card.scores.get(score, 0.0) for card in policy.catalogue), default=0.0)
            if best < least:
                yield Problem(subject, f"requires {score} {least:.2f}, and the best model has {best:.2f}")
    for name in policy.routing.approved or ():
        if name not in known:
            yield Problem("approved", f"{name} is no model or provider of the catalogue")


def _tiers(policy: Policy, circumstances: RoutingContext) -> Iterator[Problem]:
    """Yield problems for the lowest tiers that, with all tiers above them, have only one provider or no model.

    A model that serves only some tasks cannot stand in for others.
    """
    open_ = [entry for entry in policy.cards if _open(entry, policy, circumstances)]
    usable = [entry for entry in open_ if entry.card.tasks is None]
    alone = limited = False
    for tier in Tier:
        providers = {entry.provider for entry in usable if entry.rank >= tier.rank}
        subject = f"tier {tier.value}"
        special = [entry for entry in open_ if entry.rank >= tier.rank]
        if not providers and special:
            if not limited:
                limited = True
                names = ", ".join(entry.id for entry in special)
                tasks = ", ".join(sorted({task for entry in special for task in entry.card.tasks or ()}))
                yield Problem(subject, f"only {names} of this tier or above can be used, and for some tasks: {tasks}")
            continue
        if not providers:
            yield Problem(subject, f"no model of this tier or above can be used{_demand(tier, policy)}")
            return
        if len(providers) == 1 and not alone:
            alone = True
            yield Problem(
                subject,
                f"every model of this tier or above comes from {min(providers)}; without a second provider there is"
                " no fallback",
            )


def _classes(policy: Policy) -> Iterator[Problem]:
    """Yield problems for user classes that may not use any model good enough for some risk."""
    for name, limits in policy.limits.items():
        allowed = [
            entry.rank
            for entry in policy.cards
            if (limits.tiers is None or entry.card.tier in limits.tiers)
            and all(entry.card.scores.get(score, 0.0) >= least for score, least in limits.require.items())
        ]
        best = max(allowed, default=-1)
        barred = next((risk for risk in Risk if policy.floors[risk].rank > best), None)
        if barred is not None:
            floor = policy.floors[barred].value
            why = f"may use no model of tier {floor} or above, which risk {barred.value} demands"
            yield Problem(f"class {name}", why)


def _demand(tier: Tier, policy: Policy) -> str:
    risks = [risk.value for risk in Risk if policy.floors[risk] >= tier]
    return f", and risk {risks[0]} demands one" if risks else ""


def _open(entry: CompiledCard, policy: Policy, circumstances: RoutingContext) -> bool:
    """Whether no approval, limit or outage excludes a model from every step."""
    approved, allowed = policy.routing.approved, policy.routing.limits.tiers
    names = {entry.id, entry.provider}
    return (
        (approved is None or not names.isdisjoint(approved))
        and (allowed is None or entry.card.tier in allowed)
        and names.isdisjoint(circumstances.unavailable)
    )


def _impossible(when: Mapping[str, Condition]) -> str | None:
    """Return why these conditions can never hold; None if they can."""
    for name, condition in when.items():
        if isinstance(condition, Mapping):
            low, high = _bounds(condition)
            if low > high:
                return f"{name} cannot be at least {low:g} and at most {high:g}"
            if high < 0 or (name in _SHARES and low > 1):
                return f"{name} lies between 0 and 1" if name in _SHARES else f"{name} is never negative"
        elif not condition:
            return f"{name} lists no value"
        elif name in CHOICES and not any(value in CHOICES[name] for value in condition):
            return f"{name} is one of {', '.join(str(value) for value in CHOICES[name])}"
    return None


def _too_safe(when: Mapping[str, Condition], policy: Policy) -> str | None:
    """Return why a rule for some risk can never apply: a risk rule that holds wherever it does sets a higher risk."""
    asked = when.get("risk")
    if asked is None or isinstance(asked, Mapping):
        return None
    most = max((risk for risk in Risk if risk.value in asked), default=None)
    for rule in policy.risk.rules:
        if most is not None and rule.risk.handled_as > most.handled_as and _covers(rule.when, when):
            return f"risk rule {rule.id} makes it {rule.risk.value}"
    return None


def _covers(wider: Mapping[str, Condition], narrower: Mapping[str, Condition]) -> bool:
    """Whether the wider conditions hold whenever the narrower ones do."""
    return all(name in narrower and _within(name, narrower[name], condition) for name, condition in wider.items())


def _within(name: str, narrower: Any, wider: Any) -> bool:
    if name in NUMBERS:
        if isinstance(wider, Mapping):
            low, high = _bounds(wider)
            values = _bounds(narrower) if isinstance(narrower, Mapping) else narrower
            return all(low <= value <= high for value in values)
        if isinstance(narrower, Mapping):
            low, high = _bounds(narrower)
            return low == high and low in wider
        return set(narrower) <= set(wider)
    allowed = {str(value) for value in wider}
    if name == "risk" and Risk.HIGH.value in allowed:
        allowed.add(Risk.UNKNOWN.value)
    return {str(value) for value in narrower} <= allowed


def _bounds(condition: Mapping[Any, float]) -> tuple[float, float]:
    return condition.get("min", float("-inf")), condition.get("max", float("inf"))
