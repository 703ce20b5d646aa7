"""`Ordering`: the order in which candidates are tried, by price, scores and history, and by which model carries the
conversation. It only ever orders models within one tier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from statistics import median
from typing import Final

from ..configs.schema import HistoryPolicy
from ..configs.words import Tier
from .decision import Because, RejectionCode, RuleHit
from .evidence import HISTORY, wilson
from .experience import TaskStats, likely
from .features.features import Features
from .policy.policy import CompiledCard, Policy
from .request import RoutingContext

__all__ = ["EVIDENCE", "Ordering", "cost", "enough", "heeded", "worth_caching"]

EVIDENCE: Final = frozenset({"history", HISTORY, "conversation.stays"})
"""Ids of the rules by which past calls changed the first candidate or its tier."""

_CODE_TASKS: Final = frozenset({"code", "terminal"})
_CODE_SHARE: Final = 0.2
# Writing a prompt to a cache costs a quarter more than reading it, so short ones are not worth it.
_LONG_PROMPT_TOKENS: Final = 2048
# Speed score assumed for a model that has none.
_MIDDLING_SPEED: Final = 0.5
_NOTHING_KNOWN: Final[Mapping[str, TaskStats]] = {}

ByTier = Mapping[int, list[CompiledCard]]
"""Rank of a tier -> the candidates in it, in the order of the catalogue."""


def worth_caching(features: Features) -> bool:
    """Whether the vendor should cache the prompt: it is long and the next turn will begin with it."""
    return features.tokens >= _LONG_PROMPT_TOKENS and (features.tools > 0 or features.step > 1)


def cost(entry: CompiledCard, features: Features, output: float | None = None) -> float:
    """Return the cost of one call in USD; infinite if the price is unknown.

    Args:
        entry: The model.
        features: Features of the step; its input tokens are estimated.
        output: Expected output tokens; None assumes the whole allowance.
    """
    # Zero times infinity is NaN, which would sort anywhere.
    if entry.input_price == inf or entry.output_price == inf:
        return inf
    fresh = entry.cache_write_price if worth_caching(features) else entry.input_price
    tokens = features.max_output if output is None else min(output, features.max_output)
    return features.tokens * fresh + tokens * entry.output_price


def enough(experience: Mapping[str, TaskStats], policy: HistoryPolicy) -> Mapping[str, TaskStats]:
    """Return the experience that is based on enough calls to be relied upon."""
    if not policy.enabled:
        return _NOTHING_KNOWN
    return {name: one for name, one in experience.items() if one.calls >= policy.least}


def heeded(policy: Policy) -> frozenset[str]:
    """Return those rules of `EVIDENCE` that can apply under a policy."""
    return EVIDENCE if policy.routing.history.enabled else EVIDENCE - {"history", HISTORY}


class _Outlook:
    """What to expect from a call to each model, based on its card and on any history given."""

    def __init__(
        self,
        features: Features,
        cards: tuple[CompiledCard, ...],
        known: Mapping[str, TaskStats] = _NOTHING_KNOWN,
    ) -> None:
        self._features = features
        self._cards = cards
        self._known = known
        counted = [one.output for one in known.values() if one.output is not None]
        # Models without counted output are assumed to match the average of the counted ones; otherwise a model would
        # look cheap merely because its output was counted.
        self._output = sum(counted) / len(counted) if counted else None
        self._units: dict[bool, float] = {}

    def success(self, entry: CompiledCard) -> float:
        return likely(self._known.get(entry.id)) if self._known else 1.0

    def paid(self, entry: CompiledCard) -> float:
        """Return the expected USD per usable answer: a failure costs another call.

        Cost divided by the chance of success is the mean cost of an answer if a call is repeated until it succeeds
        (Erol et al., "Cost-of-Pass", arXiv:2504.13359, 2025), and trying the models in ascending order of this quotient
        has the lowest mean cost (Mitten, "An Analytic Solution to the Least Cost Testing Sequence Problem", Journal of
        Industrial Engineering 11, 1960).
        """
        known = self._known.get(entry.id)
        output = self._output if known is None or known.output is None else known.output
        price = cost(entry, self._features, output)
        return price / self.success(entry) if self._known else price

    def pace(self, entry: CompiledCard) -> float:
        """Return the speed score of a usable answer: measured if possible, otherwise from the catalogue.

        A score is assumed to be proportional to 1 / seconds; the unit comes from the median measured model, so that
        measured and unmeasured models share one scale. Models on this machine have a unit of their own, because they
        answer in milliseconds.
        """
        known = self._known.get(entry.id)
        seconds = None if known is None else known.seconds
        return (self._unit(entry.card.local) / seconds if seconds else entry.speed) * self.success(entry)

    def quality(self, entry: CompiledCard) -> float:
        """Return the mean of the relevant scores, times the chance of a usable answer.

        Reasoning is always relevant, coding for code, and vision for any content besides text.
        """
        features, scores = self._features, entry.card.scores
        relevant = ["reasoning"]
        if features.task in _CODE_TASKS or features.code_share >= _CODE_SHARE:
            relevant.append("coding")
        if len(features.modalities) > 1:
            relevant.append("vision")
        return sum(scores.get(name, 0.0) for name in relevant) / len(relevant) * self.success(entry)

    def _unit(self, local: bool) -> float:
        """Return the seconds of a call at speed 1."""
        if local not in self._units:
            alike = [entry for entry in self._cards if entry.card.local == local and entry.id in self._known]
            took = [(self._known[entry.id].seconds or 0.0) * (entry.speed or _MIDDLING_SPEED) for entry in alike]
            self._units[local] = median([seconds for seconds in took if seconds])
        return self._units[local]


def _by_balance(entries: list[CompiledCard], outlook: _Outlook) -> dict[str, float]:
    """Return the negated sum of thrift, quality and speed, each from 0 to 1, so that none outweighs the others.

    Quality and speed are divided by the best among the entries. Thrift is ``m / (m + cost)``, where ``m`` is the median
    of the costs that are known and above zero: 1 if free, 0.5 at the median, 0 if the price is unknown.
    """
    paid = {entry.id: outlook.paid(entry) for entry in entries}
    quality = {entry.id: outlook.quality(entry) for entry in entries}
    pace = {entry.id: outlook.pace(entry) for entry in entries}
    some = sorted(value for value in paid.values() if 0 < value < inf)
    middle = some[len(some) // 2] if some else 1.0
    best = max(quality.values()) or 1.0
    fastest = max(pace.values()) or 1.0
    return {name: -(middle / (middle + paid[name]) + quality[name] / best + pace[name] / fastest) for name in paid}


_STRATEGIES: Final[dict[str, Callable[[list[CompiledCard], _Outlook], dict[str, float]]]] = {
    "cost": lambda entries, outlook: {entry.id: outlook.paid(entry) for entry in entries},
    "latency": lambda entries, outlook: {entry.id: -outlook.pace(entry) for entry in entries},
    "quality": lambda entries, outlook: {entry.id: -outlook.quality(entry) for entry in entries},
    "balanced": _by_balance,
}


def _strategy_for(features: Features, configured: str) -> str:
    """Return the strategy that fits the urgency: only speed counts if critical, and speed does not count in a batch.

    Args:
        features: Features of the step.
        configured: The policy's strategy.
    """
    if features.latency == "critical":
        return "latency"
    # Quality counts in batch work too.
    return "cost" if features.latency == "batch" and configured != "quality" else configured


class Ordering:
    """Orders the candidates of one decision.

    Args:
        features: Features of the step.
        policy: Supplies the strategy and the catalogue.
        now: Says which models carry the conversation.
        known: Model -> how it did at this task, over enough calls.
        prefer: Model -> its place among those the rules prefer; this takes precedence over all evidence.
    """

    def __init__(
        self,
        features: Features,
        policy: Policy,
        now: RoutingContext,
        known: Mapping[str, TaskStats],
        prefer: Mapping[str, int],
    ) -> None:
        self._features = features
        self._strategy = _STRATEGIES[_strategy_for(features, policy.routing.strategy)]
        self._prefer = prefer
        self._now = now
        self._known = known
        self._plain = _Outlook(features, policy.cards)
        self._past = _Outlook(features, policy.cards, known) if known else self._plain

    def ranked(
        self,
        able: Sequence[CompiledCard],
        asked: CompiledCard | None,
        wanted: Tier,
        rejected: dict[str, Because],
        hits: list[RuleHit],
    ) -> tuple[Tier, list[CompiledCard]]:
        """Return the tier of the first candidate, and the candidates in order.

        Args:
            able: The models that may run the step, in the order of the catalogue.
            asked: The requested model, which goes first.
            wanted: The tier that was chosen.
            rejected: Models below that tier are added to it.
            hits: Rules that changed the choice are appended to it.
        """
        tier = wanted
        if asked is not None:
            tier = asked.card.tier
            wanted = max(wanted, tier)
        by_tier: dict[int, list[CompiledCard]] = {}
        for entry in able:
            if entry.rank >= wanted.rank or entry is asked:
                by_tier.setdefault(entry.rank, []).append(entry)
            else:
                said = f"tier {entry.card.tier.value} is below the chosen tier {wanted.value}"
                rejected[entry.id] = Because(RejectionCode.BELOW_CHOSEN, said)
        if by_tier and asked is None and wanted.rank not in by_tier:
            tier = by_tier[min(by_tier)][0].card.tier
            hits.append(RuleHit("tier.empty", f"no model of tier {wanted.value} qualifies, so {tier.value} is next"))
        first = self.first(by_tier, hits) if by_tier and asked is None else asked
        return tier, self.order(by_tier, first)

    def first(self, by_tier: ByTier, hits: list[RuleHit]) -> CompiledCard | None:
        """Return the model to try first by history or conversation; None if the strategy alone decides.

        The model that answered last in the conversation stays first as long as it qualifies, whatever the others cost:
        a switch would lose the provider's warm cache. Models that the rules prefer take precedence.

        Args:
            by_tier: The candidates, at least one.
            hits: Rules that changed the choice are appended to it.
        """
        now = self._now
        if self._past is self._plain and not now.carried and now.proven is None:
            return None
        entries = by_tier[min(by_tier)]
        plain = self._best(entries, self._plain)
        if now.proven is not None:
            return self._proven(entries, plain)
        past = plain if self._past is self._plain else self._best(entries, self._past)
        last = next((entry for entry in entries if entry.id in now.carried), None)
        if last is not None and last is not past and self._as_preferred(last, past):
            why = f"{last.id} carries this conversation: a switch to {past.id} would cost what it holds warm"
            hits.append(RuleHit("conversation.stays", why))
            return last
        if past is not plain:
            hits.append(RuleHit("history", self._why_history(plain, past)))
        return past

    def order(self, by_tier: ByTier, first: CompiledCard | None) -> list[CompiledCard]:
        """Order by tier after the first; in a tier preferred models first, then by strategy, alternating providers."""
        ordered: list[CompiledCard] = [] if first is None else [first]
        for rank in sorted(by_tier):
            waiting = [entry for entry in by_tier[rank] if entry is not first]
            if len(waiting) > 1:
                waiting.sort(key=self._key(waiting, self._past))
            while waiting:
                previous = ordered[-1].provider if ordered else None
                other = next((place for place, entry in enumerate(waiting) if entry.provider != previous), 0)
                ordered.append(waiting.pop(other))
        return ordered

    def _key(self, entries: list[CompiledCard], outlook: _Outlook) -> Callable[[CompiledCard], tuple[int, float, int]]:
        value, prefer, last = self._strategy(entries, outlook), self._prefer, len(self._prefer)
        return lambda entry: (prefer.get(entry.id, last), value[entry.id], entry.place)

    def _best(self, entries: list[CompiledCard], outlook: _Outlook) -> CompiledCard:
        return entries[0] if len(entries) == 1 else min(entries, key=self._key(entries, outlook))

    def _as_preferred(self, one: CompiledCard, other: CompiledCard) -> bool:
        last = len(self._prefer)
        return self._prefer.get(one.id, last) <= self._prefer.get(other.id, last)

    def _proven(self, entries: list[CompiledCard], plain: CompiledCard) -> CompiledCard:
        proven = next((entry for entry in entries if entry.id == self._now.proven), None)
        return plain if proven is None or not self._as_preferred(proven, plain) else proven

    def _why_history(self, before: CompiledCard, after: CompiledCard) -> str:
        task = self._features.task
        one, what = before, f"so {after.id} goes first"
        if one.id not in self._known:
            one, what = after, f"so it goes before {before.id}"
        known = self._known.get(one.id)
        if known is None:
            return f"how other models did at {task} calls puts {after.id} before {before.id}"
        time = "" if known.seconds is None else f" in {known.seconds:.1f} s"
        price = "" if known.cost is None else f" at {_usd(known.cost)} each"
        low, high = wilson(known.success, known.calls)
        sure = f"(95 %: {100 * low:.0f} to {100 * high:.0f} %)"
        share = f"{100 * known.success:.0f} % of {known.calls:.0f} {task} calls {sure}"
        return f"{one.id} answered {share}{time}{price}, {what}"


def _usd(amount: float) -> str:
    return "an unknown price" if amount == inf else f"${amount:.4f}" if amount >= 0.001 else f"${amount:.6f}"
