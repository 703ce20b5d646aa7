"""Router quality: scores over labelled agent steps and over prompts that two models answered, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..configs.errors import ConfigError
from ..configs.words import Tier

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "AGENT_TIERS",
    "Interval",
    "PairScores",
    "StepBench",
    "StepScores",
    "apgr",
    "bootstrap",
    "bootstraps",
    "pair_scores",
    "step_tier",
]

AGENT_TIERS: Final = (Tier.ECONOMY, Tier.STANDARD, Tier.ADVANCED, Tier.FRONTIER)
"""The tiers of step labels, lowest first; a label's number is its index here."""

_LABELS: Final = {
    "low": 0,
    "mid": 1,
    "mid_high": 2,
    "high": 3,
    **{tier.value: place for place, tier in enumerate(AGENT_TIERS)},
    Tier.ONDEVICE.value: 0,
}
# USD per million tokens by tier (cache read, cache write, output): TwinRouterBench's price table (arXiv 2605.18859).
_PRICES: Final = ((0.13, 0.26, 0.5), (0.059, 0.3, 2.0), (0.05, 0.08333, 5.0), (0.5, 6.25, 25.0))
# TwinRouterBench: a cache is cold after three steps, and a reply of unknown length has 500 tokens.
_CACHE_STEPS: Final = 3
_UNKNOWN_OUTPUT: Final = 500.0
_HULL_POINTS: Final = 400
_CHARACTERS_A_TOKEN: Final = 4.0
_MESSAGE_TOKENS: Final = 4.0


def step_tier(label: object) -> int:
    """Return the number of a step label, 0 (economy) to 3 (frontier).

    Args:
        label: A `Tier`, or one of ``low``, ``mid``, ``mid_high`` and ``high``.

    Raises:
        ConfigError: It is neither.
    """
    place = _LABELS.get(label) if isinstance(label, str) else None
    if place is None:
        raise ConfigError(f"{label!r} is not a tier for a step; use one of {', '.join(_LABELS)}")
    return place


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % percentile bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class StepScores:
    """The four scores of TwinRouterBench (arXiv 2605.18859) in per cent, and their mean.

    Attributes:
        row_pass: Steps whose tier was at least the one needed.
        row_exact: Steps whose tier was exactly the one needed.
        trajectory_pass: Steps in trajectories in which every step passed.
        cost_saved: Cost saved compared with always using the highest tier; a failed trajectory saves nothing, and what
            it spent is subtracted. Mean over workloads, weighted by their steps.
    """

    row_pass: float
    row_exact: float
    trajectory_pass: float
    cost_saved: float

    @property
    def mean(self) -> float:
        """Mean of the four scores."""
        return (self.row_pass + self.row_exact + self.trajectory_pass + self.cost_saved) / 4


class StepBench:
    """Labelled steps, prepared for scoring any prediction for them.

    Args:
        rows: Each with ``messages`` and ``target_tier``, and if known ``instance_id`` (shared by the steps of one
            trajectory), ``step_index`` and ``benchmark`` (the workload).

    Raises:
        ConfigError: There are no rows, or a row lacks messages or a label.

    Attributes:
        targets: Tier needed by each row, 0..3.
        groups: Index of each row's trajectory.
        workloads: Name of each row's workload.
        tokens: Estimated input tokens of each row.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            raise ConfigError("there are no labelled steps to score")
        targets, names, works, steps = [], [], [], []
        for number, row in enumerate(rows, 1):
            messages, index = row.get("messages"), row.get("step_index", number)
            if not isinstance(messages, list | tuple) or not all(isinstance(said, Mapping) for said in messages):
                raise ConfigError(f"row {number} has no messages")
            if not isinstance(index, int):
                raise ConfigError(f"row {number}: step_index is {index!r}; it must be a whole number")
            try:
                targets.append(step_tier(row.get("target_tier")))
            except ConfigError as error:
                raise ConfigError(f"row {number}: {error}") from None
            names.append(str(row.get("instance_id", f"row {number}")))
            works.append(str(row.get("benchmark", "")))
            steps.append(index)
        self.targets: Ints = np.array(targets)
        self.groups: Ints = np.unique(names, return_inverse=True)[1]
        self.workloads: NDArray[np.str_] = np.array(works)
        texts = [[_text(message) for message in row["messages"]] for row in rows]
        self.tokens: Floats = np.array([_tokens(said) for said in texts])
        self._steps = steps
        order = np.lexsort((np.array(steps), self.groups))
        self._paths = [order[self.groups[order] == group].tolist() for group in range(int(self.groups.max()) + 1)]
        self._reused = np.zeros(len(rows))
        self._output = np.zeros(len(rows))
        for path in self._paths:
            self._follow(path, rows, texts)
        self._always = np.array([self._cost(path, [3] * len(path)) for path in self._paths])
        self._works = np.unique(self.workloads[[path[0] for path in self._paths]], return_inverse=True)[1]

    def __len__(self) -> int:
        return len(self.targets)

    def _follow(self, path: list[int], rows: Sequence[Mapping[str, Any]], texts: list[list[str]]) -> None:
        """Store how much of the previous step each step of a trajectory can reuse, and how long its reply was."""
        known: list[float] = []
        for before, now in pairwise(path):
            start = texts[before]
            if texts[now][: len(start)] == start:
                self._reused[now] = self.tokens[before]
            added = zip(rows[now]["messages"][len(start) :], texts[now][len(start) :], strict=True)
            said = [text for message, text in added if message.get("role") == "assistant"]
            known.append(_tokens(said))
        usual = [tokens for tokens in known if tokens > 0]
        self._output[path] = [*known, sum(usual) / len(usual) if usual else _UNKNOWN_OUTPUT]

    def _cost(self, path: list[int], tiers: Sequence[int]) -> float:
        """Return the USD of a trajectory on these tiers, including what its prompt cache saves."""
        total = 0.0
        called: dict[int, int] = {}
        for place, (row, tier) in enumerate(zip(path, tiers, strict=True)):
            read, write, output = _PRICES[tier]
            warm = place > 0 and tiers[place - 1] == tier and self._steps[row] - called[tier] <= _CACHE_STEPS
            reused = float(self._reused[row]) if warm else 0.0
            total += reused * read + (float(self.tokens[row]) - reused) * write + float(self._output[row]) * output
            called[tier] = self._steps[row]
        return total / 1e6

    def score(self, tiers: Sequence[int] | Ints, paths: Sequence[int] | None = None) -> StepScores:
        """Score a prediction.

        Args:
            tiers: Tier of each row, 0..3.
            paths: Trajectories to score, with repeats as a bootstrap draws them; None for all.
        """
        return self._summed(self._by_path(tiers), slice(None) if paths is None else np.asarray(paths))

    def _by_path(self, tiers: Sequence[int] | Ints) -> Floats:
        """Return per trajectory: rows, passing rows, exact rows, rows if all of them pass (else 0), and USD saved."""
        chosen = np.asarray(tiers)
        enough, exact = chosen >= self.targets, chosen == self.targets
        found = []
        for path, always in zip(self._paths, self._always, strict=True):
            good = bool(enough[path].all())
            saved = (always if good else 0.0) - self._cost(path, chosen[path].tolist())
            found.append((len(path), enough[path].sum(), exact[path].sum(), len(path) * good, saved))
        return np.array(found, dtype=np.float64)

    def _summed(self, found: Floats, paths: slice | Ints) -> StepScores:
        rows, right, same, whole, _ = found[paths].sum(axis=0).tolist()
        works = self._works[paths]
        count, saved, always = (np.bincount(works, one[paths]) for one in (found[:, 0], found[:, 4], self._always))
        seen = count > 0
        cost = float((count[seen] / rows * saved[seen] / always[seen]).sum())
        return StepScores(100 * right / rows, 100 * same / rows, 100 * whole / rows, 100 * cost)

    def interval(self, tiers: Sequence[int] | Ints, *, draws: int = 400, seed: int = 0) -> Interval:
        """Return the mean of the four scores, with an interval from resampling whole trajectories."""
        return self._drawn([(self._by_path(tiers), 1)], draws, seed)

    def gain(
        self, tiers: Sequence[int] | Ints, other: Sequence[int] | Ints, *, draws: int = 1000, seed: int = 0
    ) -> Interval:
        """Return the gain in the mean of the four scores over another prediction, resampling whole trajectories."""
        return self._drawn([(self._by_path(tiers), 1), (self._by_path(other), -1)], draws, seed)

    def _drawn(self, found: Sequence[tuple[Floats, int]], draws: int, seed: int) -> Interval:
        """Return the signed sum of means over all trajectories, with its interval over resampled ones."""
        random, count = np.random.default_rng(seed), len(self._paths)

        def figure(paths: slice | Ints) -> float:
            return sum(sign * self._summed(by_path, paths).mean for by_path, sign in found)

        figures = [figure(random.integers(0, count, count)) for _ in range(draws)]
        return Interval(figure(slice(None)), *map(float, np.percentile(figures, [2.5, 97.5])))

    def baselines(self, train: Ints, test: Ints) -> dict[str, Ints]:
        """Return predictions for the rows ``test`` that need no model, fitted on the rows ``train``.

        - *always-high*: the highest tier;
        - *best-fixed*: the single tier with the best mean score;
        - *majority*: the most common tier of the workload, the highest for an unseen workload;
        - *length*: the longer the input, the higher the tier, in the proportions of the tiers.
        """
        labels = self.targets[train]
        size = len(test)
        everywhere = np.zeros(len(self), dtype=np.int64)
        paths = np.unique(self.groups[train]).tolist()
        fixed = max(range(4), key=lambda tier: self.score(everywhere + tier, paths).mean)
        common = {
            work: int(np.bincount(labels[self.workloads[train] == work]).argmax())
            for work in np.unique(self.workloads[train]).tolist()
        }
        edges = np.quantile(self.tokens[train], np.cumsum(np.bincount(labels, minlength=4) / len(labels))[:3])
        return {
            "always-high": np.full(size, 3),
            "best-fixed": np.full(size, fixed),
            "majority": np.array([common.get(str(work), 3) for work in self.workloads[test]]),
            "length": np.searchsorted(edges, self.tokens[test], side="right"),
        }


def _text(message: Mapping[str, Any]) -> str:
    """Return the text of a message that a provider would bill."""
    content = message.get("content")
    texts = [content] if isinstance(content, str) else []
    if isinstance(content, list | tuple):
        texts += [str(part.get("text") or "") if isinstance(part, Mapping) else str(part) for part in content]
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list | tuple) else ():
        function = call.get("function", call) if isinstance(call, Mapping) else {}
        texts += [str(function.get("name", "")), str(function.get("arguments", ""))]
    return "\n".join(texts)


def _tokens(texts: Sequence[str]) -> float:
    return sum(len(text) / _CHARACTERS_A_TOKEN + _MESSAGE_TOKENS for text in texts)


@dataclass(frozen=True, slots=True)
class PairScores:
    """How well a score predicts which prompts need the stronger of two models.

    PGR (performance gap recovered) at a share of strong calls is the quality gained over the weak model divided by the
    quality the strong one would gain (RouteLLM, arXiv 2406.18665). Ties count as drawn at random.

    Attributes:
        apgr: Area under PGR over the share of strong calls; 0.5 for a random score.
        cpt50: Smallest share of strong calls with a PGR of 0.5.
        cpt80: The same for a PGR of 0.8.
        aiq: Mean quality of the best curve over the cost between the two models (RouterBench, arXiv 2403.12031).
        aiq_gain: ``aiq`` minus that of mixing the two models at random, or of the weak one if it is the better.
        best_fixed: Quality of the better single model.
        quality: Highest quality on the curve.
    """

    apgr: float
    cpt50: float
    cpt80: float
    aiq: float
    aiq_gain: float
    best_fixed: float
    quality: float


def pair_scores(
    strong: Floats,
    weak: Floats,
    score: Floats,
    *,
    costs: tuple[Floats, Floats] | None = None,
    weights: Floats | None = None,
) -> PairScores:
    """Score a router between two models.

    Args:
        strong: Quality of the strong model on each prompt, 0..1.
        weak: Quality of the weak model on each prompt, 0..1.
        score: How much each prompt needs the strong model, on any scale.
        costs: What each prompt costs with the strong and with the weak model; 25 to 1 if None.
        weights: How often each prompt counts, for a bootstrap.

    Raises:
        ConfigError: The lengths differ or are zero, a score is not finite, or the two models are equally good.
    """
    high, low = costs or (np.full(len(score), 25.0), np.ones(len(score)))
    curve = _Curve.draw(strong, weak, score, weights)
    quality, best, worst = curve.quality, curve.strong, curve.weak
    cost = curve.follow(low, high - low)
    # The hull is computed in a Python loop, so over at most 400 points, including both ends.
    some = np.unique(np.linspace(0, len(cost) - 1, min(len(cost), _HULL_POINTS)).astype(np.int64))
    area = _hull_area(cost[some], quality[some])
    return PairScores(
        apgr=curve.apgr,
        cpt50=_crossing(curve.share, curve.pgr, 0.5),
        cpt80=_crossing(curve.share, curve.pgr, 0.8),
        aiq=area,
        aiq_gain=area - (best + worst) / 2 if best > worst else area - worst,
        best_fixed=max(best, worst),
        quality=float(quality.max()),
    )


def apgr(strong: Floats, weak: Floats, score: Floats, weights: Floats | None = None) -> float:
    """Return only `PairScores.apgr`, for use in loops."""
    return _Curve.draw(strong, weak, score, weights).apgr


@dataclass(frozen=True, slots=True)
class _Curve:
    """Quality as more and more prompts go to the strong model, highest score first."""

    order: Ints
    ends: Ints
    weight: Floats
    share: Floats
    quality: Floats
    strong: float
    weak: float

    @classmethod
    def draw(cls, strong: Floats, weak: Floats, score: Floats, weights: Floats | None) -> _Curve:
        if not len(strong) == len(weak) == len(score) or not len(score) or not np.isfinite(score).all():
            raise ConfigError("every prompt needs the quality of both models and a score that is a number")
        weight = np.ones(len(score)) if weights is None else weights
        order = np.argsort(-score, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
        total = float(weight.sum())
        best, worst = float(weight @ strong) / total, float(weight @ weak) / total
        if abs(best - worst) < 1e-9:
            raise ConfigError("the two models are equally good on these prompts, so there is no gap to recover")
        empty = np.zeros(0)
        bare = cls(order, ends, weight, empty, empty, best, worst)
        return cls(
            order, ends, weight, bare.follow(empty, np.ones(len(score))), bare.follow(weak, strong - weak), best, worst
        )

    def follow(self, start: Floats, gain: Floats) -> Floats:
        """Return the weighted mean of ``start`` plus the gains of more and more prompts; an empty start counts as 0."""
        total = float(self.weight.sum())
        first = float(self.weight @ start) / total if len(start) else 0.0
        return np.append(first, first + np.cumsum((self.weight * gain)[self.order])[self.ends] / total)

    @property
    def pgr(self) -> Floats:
        return (self.quality - self.weak) / (self.strong - self.weak)

    @property
    def apgr(self) -> float:
        return float(np.trapezoid(self.pgr, self.share))


def _crossing(share: Floats, pgr: Floats, goal: float) -> float:
    """Return the share at which PGR first reaches a goal."""
    reached = np.flatnonzero(pgr >= goal - 1e-12)
    if not len(reached):
        return 1.0
    first = int(reached[0])
    if first == 0:
        return float(share[0])
    rise = float(pgr[first] - pgr[first - 1])
    return float(share[first - 1] + (share[first] - share[first - 1]) * (goal - pgr[first - 1]) / rise)


def _hull_area(cost: Floats, quality: Floats) -> float:
    """Return the mean height of the upper concave hull of a curve between its first and its last cost."""
    hull: list[tuple[float, float]] = []
    for x, y in sorted(zip(cost.tolist(), np.maximum.accumulate(quality).tolist(), strict=True)):
        while len(hull) > 1 and (hull[-1][1] - hull[-2][1]) * (x - hull[-2][0]) <= (y - hull[-2][1]) * (
            hull[-1][0] - hull[-2][0]
        ):
            hull.pop()
        hull.append((x, y))
    xs, ys = np.array(hull).T
    return float(np.trapezoid(ys, xs) / (xs[-1] - xs[0])) if xs[-1] > xs[0] else float(ys[-1])


def bootstrap(
    figure: Callable[[Floats], float], size: int, *, draws: int = 400, seed: int = 0, groups: Ints | None = None
) -> Interval:
    """Return a figure over weighted rows, with its 95 % percentile interval.

    Args:
        figure: Weights of the rows -> the figure.
        size: Number of rows.
        draws: Number of resamples.
        seed: Seed of the resampling.
        groups: Group of each row (0..n), to draw whole groups instead of single rows.
    """
    return bootstraps(lambda weights: [figure(weights)], size, draws=draws, seed=seed, groups=groups)[0]


def bootstraps(
    figures: Callable[[Floats], Sequence[float]],
    size: int,
    *,
    draws: int = 400,
    seed: int = 0,
    groups: Ints | None = None,
) -> list[Interval]:
    """Return several figures over the same weighted rows with their 95 % intervals; arguments as in `bootstrap`."""
    random = np.random.default_rng(seed)
    place = np.arange(size) if groups is None else groups
    count = int(place.max()) + 1
    found = []
    for _ in range(draws):
        drawn = np.bincount(random.integers(0, count, count), minlength=count).astype(float)[place]
        if drawn.sum() > 0:
            found.append(figures(drawn))
    ends = np.nanpercentile(found, [2.5, 97.5], axis=0)
    return [Interval(*map(float, each)) for each in zip(figures(np.ones(size)), *ends, strict=True)]
