"""Train a router from labelled rows in seconds on one core; its settings are chosen by inner cross-validation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..configs.errors import ConfigError
from ..routing.features.signals import SIGNALS, signals
from ..routing.request import RouteRequest
from ..routing.scorers.learned import Embed, Learned, RouterFile, chances_of, choose
from .metrics import AGENT_TIERS, StepBench, apgr, bootstrap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["PromptSet", "data_hash", "grouped_folds", "instance", "train"]

_BANDS: Final = dict(zip((tier.value for tier in AGENT_TIERS), (0.0, 0.35, 0.6, 0.85), strict=True))
_FEWEST_TRAJECTORIES: Final = 5
_FEWEST_PROMPTS: Final = 50

# Penalty (C of scikit-learn) and margin of `learned.choose`, careful values first.
_PENALTIES: Final = (0.1, 0.2, 0.5)
_MARGINS: Final = (3.0, 2.0, 1.5)
_REPEATS: Final = 2
_FOLDS: Final = 5
# Points of the mean score that a more careful setting may lose before a bolder one is chosen.
_CAREFUL: Final = 0.2
# A step is familiar if it is no further from its nearest example than this share of the training steps are from the
# nearest one of another trajectory.
_FAMILIAR: Final = 0.98

# Similarity below which a known prompt says nothing about another (at 0.7 unseen benchmarks are already affected), and
# weight of the correction in standard deviations of log length.
_REACHES: Final = (0.9, 0.8)
_WEIGHTS: Final = (3.0, 10.0)
# Number of known prompts that the prior weighs as much as, in the manner of empirical Bayes.
_PRIOR: Final = 4.0
# Prompts more similar than this are stored as one.
_SAME: Final = 0.9
_FEWEST_ALIKE: Final = 2
# Share of the prompts that go to the weaker model: those that need the stronger one least.
_STRONG_FROM: Final = 0.5
# APGR by which the lower end of the interval may lie below plain length on unseen groups.
_TOLERANCE: Final = 0.003
_MOST_VALIDATED: Final = 6_000


def train(
    rows: Sequence[Mapping[str, Any]],
    *,
    embed: Embed | None = None,
    seed: int = 0,
    trained_on: str = "",
    date: str | None = None,
) -> RouterFile:
    """Train a router.

    From steps (``messages``, ``target_tier``, and if known ``instance_id``, ``step_index``, ``benchmark``), it fits
    three ordered logistic models over `SIGNALS`. Penalty and margin are those with the best mean of the four scores of
    `evaluation.StepScores` in cross-validation by trajectory, preferring careful ones.

    From prompts (``prompt``, and the quality 0..1 of two models as ``strong`` and ``weak``; if known ``benchmark`` and
    ``category``), it builds a score of plain length and a correction by very similar known prompts. Reach and weight of
    the correction are chosen so that on whole groups left out (benchmarks, categories, or clusters if neither is known)
    it is not worse than plain length; if no setting passes, only plain length is used.

    Args:
        rows: Labelled rows, all steps or all prompts.
        embed: Texts -> unit vectors; used only for prompts.
        seed: Seed of folds and resampling.
        trained_on: A line about the data, for later readers of the file.
        date: Day of training, ISO 8601; today if None.

    Raises:
        ConfigError: There are too few rows, a row is neither kind or lacks its label, both kinds are mixed, or the
            embedder's vectors are inconsistent.
    """
    kind = _kind(rows)
    day = date or datetime.now(UTC).date().isoformat()
    header = {
        "rows": len(rows),
        "data_hash": data_hash(rows),
        "instances": sorted({instance(row) for row in rows}),
        "configurations": len(_PENALTIES) * len(_MARGINS) if kind == "steps" else len(_REACHES) * len(_WEIGHTS),
        "trained_on": trained_on,
        "date": day,
    }
    with _one_thread():
        if kind == "steps":
            return _train_steps(rows, seed, header)
        return _train_prompts(PromptSet.read(rows, embed), embed, seed, header)


def grouped_folds(groups: Ints, seed: int, folds: int = _FOLDS) -> Iterator[tuple[Ints, Ints]]:
    """Yield rows to train on and rows to test on, so that no group is in both.

    Args:
        groups: Index of each row's group, 0..n.
        seed: Seed of the order of the groups.
        folds: Number of folds.
    """
    count = int(groups.max()) + 1
    fold = np.empty(count, dtype=np.int64)
    fold[np.random.default_rng(seed).permutation(count)] = np.arange(count) % folds
    for number in range(min(folds, count)):
        inside = fold[groups] == number
        yield np.flatnonzero(~inside), np.flatnonzero(inside)


def _one_thread() -> AbstractContextManager[object]:
    """Limit linear algebra to one thread: the matrices are small, and threads waiting for each other cost seconds."""
    import sklearn.linear_model  # noqa: F401 - loads the libraries that are then limited
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # scikit-learn brings it

    limits: AbstractContextManager[object] = threadpool_limits(limits=1)
    return limits


def _kind(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        raise ConfigError("there is nothing to train on: give labelled steps or prompts, one JSON object a line")
    first = ""
    for number, row in enumerate(rows, 1):
        if "messages" in row and "target_tier" in row:
            kind = "steps"
        elif "prompt" in row and "strong" in row and "weak" in row:
            kind = "prompts"
        else:
            raise ConfigError(
                f"row {number} is neither a step (messages, target_tier) nor a prompt (prompt, strong, weak)"
            )
        if kind != (first := first or kind):
            raise ConfigError(
                f"row {number} belongs to {kind} and the rows before it to {first}; train one router each"
            )
    return first


def instance(row: Mapping[str, Any]) -> str:
    """Return a hash of the trajectory or prompt a row belongs to, so that training rows can be recognised later."""
    named = row.get("instance_id")
    said = row.get("messages") if "messages" in row else " ".join(str(row.get("prompt")).lower().split())
    text = json.dumps([named] if named is not None else said, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def data_hash(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the SHA-256 of labelled rows."""
    whole = hashlib.sha256()
    for row in rows:
        whole.update(json.dumps(dict(row), sort_keys=True, default=str).encode("utf-8", "surrogatepass"))
        whole.update(b"\n")
    return whole.hexdigest()


# --- steps ---


def _train_steps(rows: Sequence[Mapping[str, Any]], seed: int, header: dict[str, Any]) -> RouterFile:
    bench = StepBench(rows)
    count = int(bench.groups.max()) + 1
    if count < _FEWEST_TRAJECTORIES:
        raise ConfigError(f"{count} trajectories are too few to train on; give at least {_FEWEST_TRAJECTORIES}")
    points = np.array([signals(RouteRequest(messages=tuple(row["messages"]))) for row in rows])
    penalty, margin = _choose_steps(bench, points, seed)
    arrays = _fit_steps(points, bench.targets, penalty)
    reach = _reach(arrays["examples"], bench.groups)
    settings = {"dimensions": 0, "signals": list(SIGNALS), "bands": _BANDS, "margin": margin, "penalty": penalty}
    return RouterFile.new("steps", header | settings | {"reach": reach}, arrays)


def _fit_steps(points: Floats, targets: Ints, penalty: float) -> dict[str, NDArray[Any]]:
    from sklearn.linear_model import LogisticRegression

    mean, scale = points.mean(axis=0), points.std(axis=0)
    scale[scale < 1e-9] = 1.0
    known = (points - mean) / scale
    weights, bias = np.zeros((3, points.shape[1])), np.zeros(3)
    for tier in range(3):
        above = targets > tier
        if above.all() or not above.any():
            # Only one class: a constant by the rule of succession, whatever the step looks like.
            bias[tier] = np.log((above.sum() + 1) / (len(above) - above.sum() + 1))
            continue
        model = LogisticRegression(C=penalty, max_iter=1000).fit(known, above)
        weights[tier], bias[tier] = model.coef_[0], model.intercept_[0]
    return {
        "mean": mean,
        "scale": scale,
        "weights": weights,
        "bias": bias,
        "examples": known.astype(np.float32),
    }


def _choose_steps(bench: StepBench, points: Floats, seed: int) -> tuple[float, float]:
    """Return penalty and margin, chosen by mean score on left-out trajectories."""
    scores: dict[tuple[float, float], float] = {}
    for penalty in _PENALTIES:
        for repeat in range(_REPEATS):
            chances = np.zeros((len(bench), 4))
            for inside, outside in grouped_folds(bench.groups, seed + repeat):
                fitted = _fit_steps(points[inside], bench.targets[inside], penalty)
                chances[outside] = chances_of(fitted, (points[outside] - fitted["mean"]) / fitted["scale"])
            for margin in _MARGINS:
                tiers = [choose(chance, margin) for chance in chances]
                key = (penalty, margin)
                scores[key] = scores.get(key, 0.0) + bench.score(tiers).mean / _REPEATS
    best = max(scores.values())
    careful = [key for key in scores if scores[key] >= best - _CAREFUL]
    return max(careful, key=lambda key: (key[1], scores[key]))


def _reach(examples: Floats, groups: Ints) -> float:
    """Return how far a training step usually is from the nearest one of another trajectory (98 % quantile)."""
    nearest = np.empty(len(examples))
    for row, point in enumerate(examples):
        others = examples[groups != groups[row]]
        nearest[row] = np.sqrt(((others - point) ** 2).sum(axis=1).min())
    return float(max(np.quantile(nearest, _FAMILIAR), 1e-6))


# --- prompts ---


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Prompts that two models answered, as arrays of the same length.

    Attributes:
        prompts: Texts.
        strong: Quality of the stronger model on each, 0..1.
        weak: Quality of the weaker model on each, 0..1.
        benchmarks: Index of the benchmark each comes from, 0..n.
        categories: Index of its category across all benchmarks, 0..n.
        vectors: Embeddings, shape (prompts, dimensions); no columns without an embedder.
    """

    prompts: tuple[str, ...]
    strong: Floats
    weak: Floats
    benchmarks: Ints
    categories: Ints
    vectors: NDArray[np.float32]

    @classmethod
    def read(cls, rows: Sequence[Mapping[str, Any]], embed: Embed | None) -> PromptSet:
        """Read rows with ``prompt``, ``strong`` and ``weak``, and embed them.

        Raises:
            ConfigError: A value is invalid, there are too few rows, or the vectors are inconsistent.
        """
        if len(rows) < _FEWEST_PROMPTS:
            raise ConfigError(f"{len(rows)} prompts are too few; give at least {_FEWEST_PROMPTS}")
        for number, row in enumerate(rows, 1):
            if not isinstance(row["prompt"], str):
                raise ConfigError(f"row {number}: the prompt must be a text")
            for name in ("strong", "weak"):
                value = row[name]
                if isinstance(value, bool | int | float) and 0 <= value <= 1:
                    continue
                raise ConfigError(f"row {number}: {name} is {value!r}; it must be a quality from 0 to 1")
        prompts = tuple(str(row["prompt"]) for row in rows)
        homes = [str(row.get("benchmark", "")) for row in rows]
        kinds = [f"{home}/{row.get('category', '')}" for home, row in zip(homes, rows, strict=True)]
        vectors = np.zeros((len(rows), 0), dtype=np.float32)
        if embed is not None:
            vectors = np.asarray(embed(list(prompts)))
            if vectors.ndim != 2 or len(vectors) != len(rows) or not np.isfinite(vectors).all():
                raise ConfigError("the embedder must give one vector a prompt, all of one length and of finite numbers")
        return cls(
            prompts=prompts,
            strong=np.array([float(row["strong"]) for row in rows]),
            weak=np.array([float(row["weak"]) for row in rows]),
            benchmarks=np.unique(homes, return_inverse=True)[1],
            categories=np.unique(kinds, return_inverse=True)[1],
            vectors=vectors.astype(np.float32),
        )

    def __len__(self) -> int:
        return len(self.prompts)

    def part(self, places: Ints) -> PromptSet:
        """Return a subset of the prompts."""
        return PromptSet(
            tuple(self.prompts[place] for place in places.tolist()),
            self.strong[places],
            self.weak[places],
            np.unique(self.benchmarks[places], return_inverse=True)[1],
            np.unique(self.categories[places], return_inverse=True)[1],
            self.vectors[places],
        )

    @property
    def lengths(self) -> Floats:
        """log(1 + characters) of each prompt."""
        return np.log1p([len(prompt) for prompt in self.prompts])


def _train_prompts(data: PromptSet, embed: Embed | None, seed: int, header: dict[str, Any]) -> RouterFile:
    if abs(float(data.strong.mean() - data.weak.mean())) < 1e-9:
        raise ConfigError("the two models are equally good on these prompts, so there is nothing to learn")
    weight, reach = 0.0, _REACHES[0]
    if data.vectors.shape[1]:
        weight, reach = _choose_prompts(data, seed)
    lengths = data.lengths
    width = data.vectors.shape[1] if weight else 0
    empty = np.zeros(0)
    centres, counts, gaps = _condense(data) if weight else (np.zeros((0, width), dtype=np.float32), empty, empty)
    settings = {
        "dimensions": width,
        "weight": weight * float(lengths.std()),
        "reach": reach,
        "prior": _PRIOR,
        "strong_from": _STRONG_FROM,
    }
    # Half precision is sufficient for a similarity, and halves the file.
    arrays: dict[str, NDArray[Any]] = {
        "centres": centres.astype(np.float16),
        "counts": counts,
        "gaps": gaps,
        "quantiles": np.zeros(101),
    }
    router = RouterFile.new("prompts", header | settings, arrays)
    learned = Learned(router, embed)
    scores = [learned.score_prompt(found) for found in learned.read_prompts(data.prompts)]
    return replace(router, arrays={**router.arrays, "quantiles": np.quantile(scores, np.linspace(0, 1, 101))})


def _condense(data: PromptSet) -> tuple[NDArray[np.float32], Floats, Floats]:
    """Merge nearly identical prompts; return the centres, the size of each group and its mean gap.

    The gap is the quality the strong model gains over the weak one, minus what prompts of that length usually gain.
    A prompt that resembles no other is dropped, because it says nothing about other prompts.
    """
    usual = np.polyval(np.polyfit(data.lengths, data.strong - data.weak, 1), data.lengths)
    gaps = data.strong - data.weak - usual
    centres = np.empty_like(data.vectors)
    members: list[list[int]] = []
    for row, vector in enumerate(data.vectors):
        near = centres[: len(members)] @ vector
        if len(near) and near[best := int(near.argmax())] >= _SAME:
            members[best].append(row)
        else:
            centres[len(members)] = vector
            members.append([row])
    kept = [number for number, rows in enumerate(members) if len(rows) >= _FEWEST_ALIKE]
    return (
        centres[kept],
        np.array([len(members[number]) for number in kept], dtype=float),
        np.array([gaps[members[number]].mean() for number in kept]),
    )


def _choose_prompts(data: PromptSet, seed: int) -> tuple[float, float]:
    """Return weight and reach of the correction with the highest gain on similar prompts and no loss on others."""
    random = np.random.default_rng(seed)
    sample = data.part(random.permutation(len(data))[:_MOST_VALIDATED])
    lengths = sample.lengths
    deviation = float(lengths.std())
    apart = [_corrections(sample, groups, seed) for groups in _groups(sample, seed)]
    alike = _corrections(sample, np.arange(len(sample)), seed)
    best, chosen = 0.0, (0.0, _REACHES[0])
    for reach in _REACHES:
        for weight in _WEIGHTS:
            if any(_gain(sample, weight * deviation * change[reach], seed) < -_TOLERANCE for change in apart):
                continue
            gain = _gain(sample, weight * deviation * alike[reach], seed)
            if gain > best:
                best, chosen = gain, (weight, reach)
    return chosen


def _groups(data: PromptSet, seed: int) -> list[Ints]:
    """Return ways to leave whole groups out: by benchmark and by category, or by cluster if there is neither."""
    known = [groups for groups in (data.benchmarks, data.categories) if groups.max() >= 1]
    if known:
        return known
    from sklearn.cluster import KMeans

    clusters = KMeans(n_clusters=10, n_init=1, random_state=seed).fit_predict(data.vectors)
    return [np.asarray(clusters, dtype=np.int64)]


def _corrections(data: PromptSet, groups: Ints, seed: int) -> dict[float, Floats]:
    """Return, for every reach, each prompt's correction by prompts of other folds."""
    found = {reach: np.zeros(len(data)) for reach in _REACHES}
    for inside, outside in grouped_folds(groups, seed):
        centres, counts, gaps = _condense(data.part(inside))
        if not len(counts):
            continue
        near = data.vectors[outside] @ centres.T
        for reach in _REACHES:
            closeness = np.maximum(near - reach, 0) / (1 - reach) * counts
            found[reach][outside] = closeness @ gaps / (_PRIOR + closeness.sum(axis=1))
    return found


def _gain(data: PromptSet, change: Floats, seed: int) -> float:
    """Return the lower end of the interval of the APGR gained over plain length."""
    lengths = data.lengths

    def gained(weights: Floats) -> float:
        plain = apgr(data.strong, data.weak, lengths, weights)
        return apgr(data.strong, data.weak, lengths + change, weights) - plain

    return bootstrap(gained, len(data), draws=60, seed=seed).low if change.any() else 0.0
