"""A router's figures on labelled rows, beside those of baselines that need no router."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..configs.errors import ConfigError
from ..routing import training
from ..routing.complexity import Scorer, heuristic
from ..routing.evaluation import AGENT_TIERS, Interval, PairScores, StepBench, bootstrap, pair_scores
from ..routing.features import extract
from ..routing.learned import Embed, Learned, RouterFile
from ..routing.nearest import Nearest
from ..routing.request import RouteRequest
from ..routing.training import PromptSet, grouped_folds

__all__ = ["PromptReport", "PromptScore", "StepReport", "StepScore", "score_prompts", "score_steps"]

_SEED: Final = 0
_DRAWS: Final = 200
_UNSURE: Final = 0.5

Row = Mapping[str, Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StepScore:
    """The scores of `evaluation.StepScores` in per cent, and their mean with its interval over trajectories."""

    name: str
    row_pass: float
    row_exact: float
    trajectory_pass: float
    cost_saved: float
    mean: Interval


@dataclass(frozen=True, slots=True)
class StepReport:
    """A router on labelled steps.

    Attributes:
        left_out: It was trained on these rows, so each is measured by a router trained without its trajectory.
        scores: Of the router as it chooses, of the tiers that are decided (an unsure choice goes one up), the same of
            its nearest examples alone and of the heuristic, and of the baselines, which are fitted on the other
            trajectories.
    """

    rows: int
    left_out: bool
    scores: tuple[StepScore, ...]
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
    """A router on prompts; ``left_out`` as for steps."""

    rows: int
    left_out: bool
    scores: tuple[PromptScore, ...]
    kind: Literal["prompts"] = "prompts"


def score_steps(rows: Sequence[Row], router: RouterFile) -> StepReport:
    """Score a router on labelled steps.

    Args:
        rows: Labelled steps.
        router: Trained on steps.

    Raises:
        ConfigError: There are fewer than two trajectories, or too few to train on.
    """
    bench = StepBench(rows)
    if int(bench.groups.max()) < 1:
        raise ConfigError("all steps are of one trajectory: give at least two, told apart by instance_id")
    requests = [RouteRequest(messages=tuple(row["messages"])) for row in rows]
    left_out = _seen(rows, router)
    found: dict[str, Ints] = {}

    def put(name: str, places: Ints, tiers: Sequence[int] | Ints) -> None:
        found.setdefault(name, np.zeros(len(bench), dtype=np.int64))[places] = tiers

    for inside, outside in grouped_folds(bench.groups, _SEED):
        model = training.train([rows[place] for place in inside], seed=_SEED) if left_out else router
        for name, scorer in (("router", Learned(model)), ("nearest", Nearest(model))):
            put(name, outside, [_chosen(scorer, requests[place]) for place in outside])
            put(f"{name}, as decided", outside, [_decided(scorer, scorer, requests[place]) for place in outside])
        put("heuristic, as decided", outside, [_decided(heuristic, scorer, requests[place]) for place in outside])
        for name, tiers in bench.baselines(inside, outside).items():
            put(name, outside, tiers)
    return StepReport(len(rows), left_out, tuple(_step_score(bench, name, tiers) for name, tiers in found.items()))


def score_prompts(rows: Sequence[Row], router: RouterFile, embed: Embed | None) -> PromptReport:
    """Score a router on prompts that two models answered.

    The baselines are the prompt's length; by how much the stronger model is better on the other prompts of its
    category; and the better single model, whose choice no prompt changes.

    Args:
        rows: Prompts with the quality of both answers.
        router: Trained on prompts.
        embed: Texts -> unit vectors.

    Raises:
        ConfigError: There are too few prompts, or both models are equally good.
    """
    data = PromptSet.read(rows, embed)
    left_out = _seen(rows, router)
    scores = {"router": np.zeros(len(data)), "length": data.lengths, "majority": np.zeros(len(data))}
    for inside, outside in grouped_folds(np.arange(len(data)), _SEED):
        model = training.train([rows[place] for place in inside], embed=embed, seed=_SEED) if left_out else router
        scorer = Learned(model, embed)
        read = scorer.read_prompts([data.prompts[place] for place in outside])
        scores["router"][outside] = [scorer.score_prompt(found) for found in read]
        scores["majority"][outside] = _by_category(data, inside)[data.categories[outside]]
    scores["best-fixed"] = np.zeros(len(data))
    return PromptReport(len(data), left_out, tuple(_prompt_score(data, name, score) for name, score in scores.items()))


def _seen(rows: Sequence[Row], router: RouterFile) -> bool:
    return bool(training._hash(rows) == router.header["data_hash"])


def _chosen(scorer: Learned, request: RouteRequest) -> int:
    return AGENT_TIERS.index(scorer.judge(scorer.read(request)).tier)


def _decided(scorer: Scorer, router: Learned, request: RouteRequest) -> int:
    """The tier of the bands the router was trained for, one higher where it is unsure, as `decide` does it."""
    complexity, confidence = scorer(replace(extract(request), signals=router.read(request)))
    bands = router.model.header["bands"]
    tier = max(place for place, tier in enumerate(AGENT_TIERS) if complexity >= bands[tier.value])
    return min(tier + (confidence < _UNSURE), len(AGENT_TIERS) - 1)


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
    """How much better the stronger model is on each category, judged by some of the prompts."""
    gaps = (data.strong - data.weak)[inside]
    count = int(data.categories.max()) + 1
    sums = np.bincount(data.categories[inside], weights=gaps, minlength=count)
    seen = np.bincount(data.categories[inside], minlength=count)
    means: Floats = np.where(seen > 0, sums / np.maximum(seen, 1), gaps.mean())
    return means


def _prompt_score(data: PromptSet, name: str, score: Floats) -> PromptScore:
    # Every figure is drawn with the same weights, so each resample is scored once.
    known: dict[int, PairScores | None] = {}

    def scored(weights: Floats) -> PairScores | None:
        key = hash(weights.tobytes())
        if key not in known:
            try:
                known[key] = pair_scores(data.strong, data.weak, score, weights=weights)
            except ConfigError:
                # A resample in which both models are equally good has no gap to recover.
                known[key] = None
        return known[key]

    def interval(name: str) -> Interval:
        def figure(weights: Floats) -> float:
            found = scored(weights)
            return float("nan") if found is None else float(getattr(found, name))

        return bootstrap(figure, len(data), draws=_DRAWS, seed=_SEED)

    plain = pair_scores(data.strong, data.weak, score)
    return PromptScore(
        name,
        interval("apgr"),
        interval("cpt50"),
        interval("cpt80"),
        interval("aiq"),
        plain.quality if name != "best-fixed" else plain.best_fixed,
    )
