"""Scores of a scorer on labelled rows, compared with baselines that need no model, and the resulting proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..configs.errors import ConfigError
from ..configs.schema import Settings
from ..routing.decide import decide
from ..routing.features.features import Features
from ..routing.policy.policy import Policy
from ..routing.policy.proof import Gain, Proof, TaskProof, inputs
from ..routing.request import RouteRequest
from ..routing.scorers.complexity import Scorer
from ..routing.scorers.learned import Embed, Learned, RouterFile
from . import train_router
from .metrics import AGENT_TIERS, Interval, StepBench, apgr, bootstrap, bootstraps, pair_scores
from .train_router import PromptSet, grouped_folds, instance

__all__ = [
    "Judge", "PromptReport", "PromptScore", "StepReport", "StepScore", "request_of", "score_judged", "score_prompts",
    "score_steps",
]  # fmt: skip

_SEED: Final = 0
_DRAWS: Final = 200
# What a row may declare about its step besides messages and label, like a request.
_DECLARED: Final = frozenset(RouteRequest.model_fields) - {"messages", "id", "evidence"}
_TASK: Final = "chat"

Row = Mapping[str, Any]
Judge = Callable[[Sequence[RouteRequest], Policy], list[Features]]
"""Requests -> their features, including a model's judgement."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StepScore:
    """The scores of `evaluation.StepScores` in per cent, and their mean with an interval over trajectories."""

    name: str
    row_pass: float
    row_exact: float
    trajectory_pass: float
    cost_saved: float
    mean: Interval


@dataclass(frozen=True, slots=True)
class StepReport:
    """The evaluation of a scorer on labelled steps.

    Attributes:
        rows: Number of steps measured.
        left_out: The scorer was trained on all rows, so each is measured by a router trained without its trajectory.
        dropped: Rows that were not measured because the scorer was trained on their trajectories.
        configurations: How many settings training tried; 0 for a scorer that was not trained.
        scores: Scores of the tiers decided with the scorer under the current rules and floors, of the rules alone, and
            of the baselines, which are fitted on the other trajectories and ignore floors.
        proof: The scorer's proof.
    """

    rows: int
    left_out: bool
    dropped: int
    configurations: int
    scores: tuple[StepScore, ...]
    proof: Proof
    kind: Literal["steps"] = "steps"


@dataclass(frozen=True, slots=True)
class PromptScore:
    """The scores of `evaluation.PairScores` with their intervals."""

    name: str
    apgr: Interval
    cpt50: Interval
    cpt80: Interval
    aiq: Interval
    quality: float


@dataclass(frozen=True, slots=True)
class PromptReport:
    """The evaluation of a router on prompts; the attributes are those of `StepReport`."""

    rows: int
    left_out: bool
    dropped: int
    configurations: int
    scores: tuple[PromptScore, ...]
    proof: Proof
    kind: Literal["prompts"] = "prompts"


def request_of(row: Row) -> RouteRequest:
    """Return the request of a labelled step, with what the row declares.

    Raises:
        ValidationError: A declared fact is invalid.
    """
    declared = {name: row[name] for name in _DECLARED & set(row)}
    return RouteRequest(messages=tuple(row["messages"]), **declared)


def score_steps(rows: Sequence[Row], router: RouterFile, known: str, settings: Settings) -> StepReport:
    """Score a router on labelled steps.

    Args:
        rows: Labelled steps.
        router: Trained on steps.
        known: The router's `proof.fingerprint`.
        settings: The rules that turn complexity into a tier.

    Raises:
        ConfigError: There are fewer than two trajectories among the rows measured, or too few to train on.
    """
    kept, left_out = _unseen(rows, router)
    bench = _bench(kept)
    requests = [request_of(row) for row in kept]
    tiers = np.zeros(len(bench), dtype=np.int64)
    for inside, outside in grouped_folds(bench.groups, _SEED):
        model = train_router.train([kept[place] for place in inside], seed=_SEED) if left_out else router
        policy = _policy(settings, Learned(model))
        tiers[outside] = [_decided(policy, policy.features(requests[place])) for place in outside]
    scores, proof = _compared(kept, bench, requests, tiers, known, settings)
    configurations = int(router.header["configurations"])
    return StepReport(len(kept), left_out, len(rows) - len(kept), configurations, scores, proof)


def score_judged(rows: Sequence[Row], judge: Judge, known: str, settings: Settings) -> StepReport:
    """Score a model that judges complexity, on labelled steps; arguments as in `score_steps`, and the judging model.

    Raises:
        ConfigError: There are fewer than two trajectories.
    """
    from ..routing.scorers.complexity import classified

    bench = _bench(rows)
    requests, policy = [request_of(row) for row in rows], _policy(settings, classified)
    tiers = np.array([_decided(policy, features) for features in judge(requests, policy)])
    scores, proof = _compared(rows, bench, requests, tiers, known, settings)
    return StepReport(len(rows), False, 0, 0, scores, proof)


def score_prompts(
    rows: Sequence[Row], router: RouterFile, known: str, settings: Settings, embed: Embed | None
) -> PromptReport:
    """Score a router on prompts that two models answered.

    The baselines are the prompt's length; how much better the stronger model is on the other prompts of its category;
    and the better single model for all prompts.

    Args:
        rows: Prompts with the quality of both answers.
        router: Trained on prompts.
        known: The router's `proof.fingerprint`.
        settings: The rules that turn complexity into a tier.
        embed: Texts -> unit vectors.

    Raises:
        ConfigError: There are too few prompts, or both models are equally good.
    """
    kept, left_out = _unseen(rows, router)
    data = PromptSet.read(kept, embed)
    groups = np.unique([instance(row) for row in kept], return_inverse=True)[1]
    scores = {"router": np.zeros(len(data)), "length": data.lengths, "majority": np.zeros(len(data))}
    for inside, outside in grouped_folds(groups, _SEED):
        model = train_router.train([kept[place] for place in inside], embed=embed, seed=_SEED) if left_out else router
        scorer = Learned(model, embed)
        read = scorer.read_prompts([data.prompts[place] for place in outside])
        scores["router"][outside] = [scorer.score_prompt(found) for found in read]
        scores["majority"][outside] = _by_category(data, inside)[data.categories[outside]]
    scores["best-fixed"] = np.zeros(len(data))
    tasks = {}
    for task, places in _tasks(kept).items():
        part, own = {name: score[places] for name, score in scores.items()}, data.part(places)
        drawn = np.unique(groups[places], return_inverse=True)[1]
        tasks[task] = TaskProof(
            int(drawn.max()) + 1,
            _prompt_gain(own, part["router"], part["majority"], drawn),
            _prompt_gain(own, part["router"], part["length"], drawn),
            _prompt_gain(own, part["router"], part["best-fixed"], drawn),
        )
    return PromptReport(
        len(data),
        left_out,
        len(rows) - len(kept),
        int(router.header["configurations"]),
        tuple(_prompt_score(data, name, score, groups) for name, score in scores.items()),
        _proof(known, settings, kept, tasks),
    )


def _unseen(rows: Sequence[Row], router: RouterFile) -> tuple[Sequence[Row], bool]:
    """Return the rows the router was not trained on, and False.

    If it was trained on every row, return all rows and True: routers must then be trained without the measured rows.
    """
    seen = set(router.header["instances"])
    kept = [row for row in rows if instance(row) not in seen]
    if not kept:
        return rows, True
    return kept, False


def _bench(rows: Sequence[Row]) -> StepBench:
    bench = StepBench(rows)
    if int(bench.groups.max()) < 1:
        raise ConfigError("all steps are of one trajectory: give at least two, told apart by instance_id")
    return bench


def _policy(settings: Settings, scorer: Scorer | None) -> Policy:
    """Return the current rules with an empty catalogue, so that neither prices nor keys affect the tier."""
    return Policy.compile(settings.routing.model_copy(update={"scorer": "rules"}), settings.risk, (), scorer=scorer)


def _decided(policy: Policy, features: Features) -> int:
    return _place(decide(features, policy).tier.rank)


def _place(rank: int) -> int:
    """Return the index of a tier among those of step labels; the on-device tier counts as the lowest."""
    return max(0, rank - AGENT_TIERS[0].rank)


def _compared(
    rows: Sequence[Row], bench: StepBench, requests: Sequence[RouteRequest], tiers: Ints, known: str, settings: Settings
) -> tuple[tuple[StepScore, ...], Proof]:
    """Return the scores with those of the baselines, and the proof for each task."""
    plain = _policy(settings, None)
    alone = [decide(plain.features(request), plain) for request in requests]
    found: dict[str, Ints] = {"scorer": tiers, "rules": np.array([_place(decision.tier.rank) for decision in alone])}
    for inside, outside in grouped_folds(bench.groups, _SEED):
        for name, chosen in bench.baselines(inside, outside).items():
            found.setdefault(name, np.zeros(len(bench), dtype=np.int64))[outside] = chosen
    tasks = {}
    for task, places in _tasks(rows).items():
        own = StepBench([rows[place] for place in places.tolist()])
        scorer = found["scorer"][places]
        over = {
            name: _gain(own.gain(scorer, found[name][places], seed=_SEED))
            for name in ("majority", "length", "best-fixed", "always-high")
        }
        fixed = min(over["best-fixed"], over["always-high"], key=lambda gain: gain.low)
        tasks[task] = TaskProof(int(own.groups.max()) + 1, over["majority"], over["length"], fixed)
    scores = tuple(_step_score(bench, name, chosen) for name, chosen in found.items())
    return scores, _proof(known, settings, rows, tasks)


def _tasks(rows: Sequence[Row]) -> dict[str, Ints]:
    """Return task -> the indexes of its rows."""
    names = np.array([str(row.get("task", _TASK)) for row in rows])
    return {str(name): np.flatnonzero(names == name) for name in np.unique(names)}


def _proof(known: str, settings: Settings, rows: Sequence[Row], tasks: Mapping[str, TaskProof]) -> Proof:
    day = datetime.now(UTC).date().isoformat()
    return Proof(known, inputs(settings.routing, settings.risk), train_router.data_hash(rows), day, tasks)


def _gain(found: Interval) -> Gain:
    return Gain(round(found.value, 4), round(found.low, 4), round(found.high, 4))


def _prompt_gain(data: PromptSet, score: Floats, other: Floats, groups: Ints) -> Gain:
    def gained(weights: Floats) -> float:
        try:
            mine = apgr(data.strong, data.weak, score, weights)
            return mine - apgr(data.strong, data.weak, other, weights)
        except ConfigError:
            # A resample in which both models are equally good has no gap to recover.
            return float("nan")

    return _gain(bootstrap(gained, len(data), draws=400, seed=_SEED, groups=groups))


def _step_score(bench: StepBench, name: str, tiers: Ints) -> StepScore:
    found = bench.score(tiers)
    return StepScore(
        name,
        found.row_pass,
        found.row_exact,
        found.trajectory_pass,
        found.cost_saved,
        bench.interval(tiers, draws=_DRAWS, seed=_SEED),
    )


def _by_category(data: PromptSet, inside: Ints) -> Floats:
    """Return how much better the stronger model is on each category, estimated from the prompts ``inside``."""
    gaps = (data.strong - data.weak)[inside]
    count = int(data.categories.max()) + 1
    sums = np.bincount(data.categories[inside], weights=gaps, minlength=count)
    seen = np.bincount(data.categories[inside], minlength=count)
    means: Floats = np.where(seen > 0, sums / np.maximum(seen, 1), gaps.mean())
    return means


def _prompt_score(data: PromptSet, name: str, score: Floats, groups: Ints) -> PromptScore:
    def figures(weights: Floats) -> list[float]:
        try:
            found = pair_scores(data.strong, data.weak, score, weights=weights)
        except ConfigError:
            # A resample in which both models are equally good has no gap to recover.
            return [float("nan")] * 4
        return [found.apgr, found.cpt50, found.cpt80, found.aiq]

    plain = pair_scores(data.strong, data.weak, score)
    gap, half, most, mean = bootstraps(figures, len(data), draws=_DRAWS, seed=_SEED, groups=groups)
    return PromptScore(name, gap, half, most, mean, plain.quality if name != "best-fixed" else plain.best_fixed)
