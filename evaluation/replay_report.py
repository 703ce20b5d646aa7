"""Sum up what a policy would have changed, using memory that does not grow with the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple

import numpy as np

from ..configs.words import Risk, Tier
from ..routing.policy.policy import Policy
from .metrics import Interval
from .recorded import Floats, Recorded, Seen

__all__ = [
    "FEWEST_CALLS",
    "Change",
    "Choice",
    "Difference",
    "Expected",
    "Outcome",
    "ReplayReport",
    "Replayed",
    "Shift",
    "Tally",
    "TierShare",
]

FEWEST_CALLS: Final = 5
"""Fewest recorded calls of a model for a task with which choosing it is evaluated."""

_FEW: Final = 10

Outcome = Literal["same", "other", "none"]


@dataclass(frozen=True, slots=True)
class Replayed:
    """One recorded decision and its outcome under the new policy.

    Attributes:
        decision: Its id.
        outcome: The ``same`` first choice, an ``other`` one, or ``none``: no model qualifies any more.
        model: The recorded first choice, None if there was none; ``new_model`` is the one under the new policy.
        cost: USD its calls cost, including failed ones; None if unknown.
        new_cost: Expected USD of the new choice; None if unsupported or unknown.
        seconds: Time its calls took; ``new_seconds`` is the expected time of the new choice.
        left_out: Why cost or time is not compared, empty if both are.
        why: Why the recorded choice is no longer the first.
        gained: Rules that apply now and did not then; ``lost`` are those that applied only then.
    """

    decision: str
    run: str
    task: str
    outcome: Outcome
    model: str | None
    new_model: str | None
    tier: str
    new_tier: str
    risk: str
    new_risk: str
    floor: str
    new_floor: str
    cost: float | None = None
    new_cost: float | None = None
    seconds: float | None = None
    new_seconds: float | None = None
    left_out: str = ""
    why: str = ""
    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure over the decisions for which both sides are known.

    Attributes:
        decisions: Number of these decisions.
        recorded: The figure as recorded; ``new`` is the one under the new policy.
        change: ``new`` minus ``recorded``.
        share: The change as a share of ``recorded``; None if that is zero.
    """

    decisions: int
    recorded: float
    new: float
    change: Interval
    share: Interval | None


@dataclass(frozen=True, slots=True)
class TierShare:
    """Share of the decisions in a tier, 0..1, and by how much it changes."""

    tier: str
    recorded: float
    new: float
    change: Interval


@dataclass(frozen=True, slots=True)
class Shift:
    """How many decisions come out lower or higher on a scale, and the share of each among all, 0..1."""

    lower: int
    higher: int
    lower_share: Interval
    higher_share: Interval


@dataclass(frozen=True, slots=True)
class Choice:
    """A new first choice for a task, and the observations of that model for it.

    Attributes:
        decisions: Decisions that would newly choose it.
        calls: Its recorded calls for this task.
        supported: Whether there are at least `FEWEST_CALLS` of them.
        failed: Share of them without a usable answer, 0..1.
        mean: Mean seconds per call; ``p50`` and ``p95`` are nearest-rank percentiles of the answered ones.
    """

    task: str
    model: str
    decisions: int
    calls: int
    supported: bool
    failed: float | None
    mean: float | None
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Change:
    """Decisions that change in the same way for the same reason; ``example`` is the id of the first of them."""

    task: str
    model: str | None
    new_model: str | None
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    decisions: int
    why: str
    example: str


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a policy would have changed; ``dataclasses.asdict`` makes it JSON-compatible.

    Attributes:
        policy_hash: Hash of the new policy at the prices of the latest decision.
        decisions: Recorded decisions that were read, including skipped ones.
        skipped: Those whose features are of another version and cannot be decided again.
        same: Those with the same first choice; ``other`` counts those with another, ``none`` those without any.
        unsupported: Those whose new choice was rarely or never tried for their task.
        left_out: Why cost or time is not compared -> number of decisions.
        cost: USD, including failed calls.
        latency: Mean seconds of a decision's calls.
        tiers: By tier, lowest first.
        risk: New risks compared with the recorded ones; ``floor`` does the same for floors.
        below_floor: Decisions whose new tier lies below the recorded floor.
        choices: New choices, most frequent first.
        changes: What changed and why, most frequent first.
        resampled: What the intervals resample: whole ``runs``, or ``decisions`` if there are fewer than ten runs or
            only one run is replayed.
        notes: What a reader should know.
    """

    policy_hash: str
    decisions: int
    skipped: int
    same: int
    other: int
    none: int
    unsupported: int
    left_out: Mapping[str, int]
    cost: Difference | None
    latency: Difference | None
    tiers: tuple[TierShare, ...]
    risk: Shift | None
    floor: Shift | None
    below_floor: int
    choices: tuple[Choice, ...]
    changes: tuple[Change, ...]
    resampled: Literal["runs", "decisions"]
    notes: tuple[str, ...]


class Expected(NamedTuple):
    """USD and seconds under the new choice, with their resamples; None if unknown."""

    cost: Floats | None
    seconds: Floats | None


class _Sums:
    """Weighted sums of a figure, recorded and new; the first element has weight 1, the rest are resamples."""

    def __init__(self, draws: int) -> None:
        self.count = 0
        self._weight, self._recorded, self._new = (np.zeros(draws + 1) for _ in range(3))

    def add(self, weight: Floats, recorded: float, new: Floats | float) -> None:
        self.count += 1
        self._weight += weight
        self._recorded += weight * recorded
        self._new += weight * new

    def shares(self) -> tuple[Interval, Interval]:
        """Return both figures as shares of the decisions."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return _interval(self._recorded / self._weight), _interval(self._new / self._weight)

    def difference(self, *, total: bool) -> Difference | None:
        if not self.count:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = (self.count if total else 1) / self._weight
            change = (self._new - self._recorded) * scale
            share = _interval(self._new / self._recorded - 1) if self._recorded[0] > 0 else None
        return Difference(
            self.count,
            float(self._recorded[0] * scale[0]),
            float(self._new[0] * scale[0]),
            _interval(change),
            share,
        )


def _interval(figures: Floats) -> Interval:
    # A resample that drew nothing, or nothing that cost anything, has no figure.
    known = figures[np.isfinite(figures)]
    low, high = np.percentile(known, [2.5, 97.5])
    return Interval(float(figures[0]), float(low), float(high))


_Key = tuple[str, "str | None", "str | None", tuple[str, ...], tuple[str, ...]]
"""Task, recorded and new first choice, rules gained and lost."""


@dataclass
class Tally:
    """All sums, of a size that does not depend on the number of decisions."""

    draws: int
    read: int = 0
    skipped: int = 0
    below_floor: int = 0
    unmeasured: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    choices: Counter[tuple[str, str]] = field(default_factory=Counter)
    changes: dict[_Key, Change] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cost, self.latency = _Sums(self.draws), _Sums(self.draws)
        self.tiers = {tier.value: _Sums(self.draws) for tier in Tier}
        self.shifts = {name: _Sums(self.draws) for name in ("risk", "floor")}

    def add(self, found: Replayed, weight: Floats, expected: Expected) -> None:
        """Count one decision.

        Args:
            found: The decision.
            weight: How often it counts; the first element is 1.
            expected: Its cost and time under the new choice.
        """
        self.outcomes[found.outcome] += 1
        if found.left_out:
            self.left_out[found.left_out] += 1
        if found.cost is not None and expected.cost is not None:
            self.cost.add(weight, found.cost, expected.cost)
        if found.seconds is not None and expected.seconds is not None:
            self.latency.add(weight, found.seconds, expected.seconds)
        for tier, sums in self.tiers.items():
            sums.add(weight, found.tier == tier, found.new_tier == tier)
        # Each shift is stored as the shares that fall and rise.
        risk = Risk(found.new_risk).rank - Risk(found.risk).rank
        floor = Tier(found.new_floor).rank - Tier(found.floor).rank
        self.shifts["risk"].add(weight, risk < 0, risk > 0)
        self.shifts["floor"].add(weight, floor < 0, floor > 0)
        self.below_floor += Tier(found.new_tier).rank < Tier(found.floor).rank
        if found.outcome == "same":
            return
        if found.new_model is not None:
            self.choices[found.task, found.new_model] += 1
        key = (found.task, found.model, found.new_model, found.gained, found.lost)
        known = self.changes.get(key) or Change(*key, 0, found.why, found.decision)
        self.changes[key] = replace(known, decisions=known.decisions + 1)

    def report(
        self, policy: Policy, seen: Seen, query: Recorded, resampled: Literal["runs", "decisions"]
    ) -> ReplayReport:
        """Return the report.

        Args:
            policy: The new policy.
            seen: How each model performed for each task.
            query: Supplies the percentiles.
            resampled: What the weights were drawn for.
        """
        some = self.read > self.skipped
        return ReplayReport(
            policy_hash=policy.policy_hash,
            decisions=self.read,
            skipped=self.skipped,
            same=self.outcomes["same"],
            other=self.outcomes["other"],
            none=self.outcomes["none"],
            unsupported=self.left_out["unsupported"],
            left_out=dict(sorted(self.left_out.items())),
            cost=self.cost.difference(total=True),
            latency=self.latency.difference(total=False),
            tiers=tuple(_tier_shares(self.tiers)) if some else (),
            risk=self._shift("risk") if some else None,
            floor=self._shift("floor") if some else None,
            below_floor=self.below_floor,
            choices=self._choices(seen, query),
            changes=tuple(sorted(self.changes.values(), key=lambda change: -change.decisions)),
            resampled=resampled,
            notes=tuple(_notes(policy, self.cost.count, self.unmeasured)),
        )

    def _shift(self, name: str) -> Shift:
        lower, higher = self.shifts[name].shares()
        count = self.shifts[name].count
        return Shift(round(lower.value * count), round(higher.value * count), lower, higher)

    def _choices(self, seen: Seen, query: Recorded) -> tuple[Choice, ...]:
        percentiles = query.percentiles() if self.choices else {}
        made = []
        for (task, model), decisions in self.choices.most_common():
            known = seen.get((task, model))
            p50, p95 = percentiles.get((task, model), (None, None))
            calls = known.calls if known else 0
            failed, mean = (float(known.failed[0]), float(known.mean[0])) if known else (None, None)
            made.append(Choice(task, model, decisions, calls, calls >= FEWEST_CALLS, failed, mean, p50, p95))
        return tuple(made)


def _tier_shares(tiers: Mapping[str, _Sums]) -> Iterator[TierShare]:
    for tier, sums in tiers.items():
        found = sums.difference(total=False)
        if found is not None and (found.recorded or found.new):
            yield TierShare(tier, found.recorded, found.new, found.change)


def _notes(policy: Policy, compared: int, unmeasured: int) -> Iterator[str]:
    blind = [rule.id for rule in policy.routing.rules if "budget_left" in rule.when]
    if blind:
        yield f"what was left of a budget is not recorded, so these rules never applied: {', '.join(blind)}"
    if unmeasured:
        yield f"{unmeasured} decisions lack what this policy's router measures; the rules alone decided them"
    if 0 < compared < _FEW:
        yield f"the cost of only {compared} decisions is compared: the intervals say little"
