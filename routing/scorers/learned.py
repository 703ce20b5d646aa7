"""Complexity from a trained router: a few products of small arrays, with nothing but numpy."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log1p
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from ...configs.errors import ConfigError, disk_errors
from ...configs.process.atomic import replace_file
from ...configs.words import Tier
from ..features.features import Features
from ..features.progress import texts_in
from ..features.signals import SIGNALS, SIGNALS_VERSION, signals
from ..request import RouteRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Embed", "Learned", "RouterFile", "Verdict", "chances_of", "choose", "load", "place", "save"]

Embed = Callable[[list[str]], "NDArray[np.float32]"]
"""Texts -> an array of shape (texts, dimensions) with rows of length 1."""

_FORMAT: Final = "pointsman-router/2"
_HEADER: Final = frozenset(
    {"signals_version", "dimensions", "data_hash", "instances", "configurations", "reach", "rows", "trained_on", "date"}
)
_TIERS: Final = (Tier.ECONOMY, Tier.STANDARD, Tier.ADVANCED, Tier.FRONTIER)
# Share of the highest tier's cost that each tier saves, from the prices in `evaluation`.
_SAVED: Final = np.array([0.95, 0.93, 0.90, 0.0])
# Below this, a step lies more than 1.4 times as far from the training data as the training examples from each other.
_FAMILIAR: Final = 0.5
# Confidence for a prompt unlike any in the training data: its length alone says little.
_LENGTH_CONFIDENCE: Final = 0.4
_ARRAYS: Final = {
    "steps": ("bias", "examples", "mean", "scale", "weights"),
    "prompts": ("centres", "counts", "gaps", "quantiles"),
}


@dataclass(frozen=True, slots=True)
class RouterFile:
    """A trained router: its metadata and the arrays it decides with; `save` writes it to a file, `load` reads it.

    Attributes:
        header: ``format``, ``kind`` (``steps`` or ``prompts``), ``signals_version``, ``dimensions`` of the embedding
            (0 without one), ``rows``, ``data_hash`` (SHA-256 of what it was trained on), ``instances`` (hashes of the
            trajectories or prompts in it), ``configurations`` (how many settings were tried to choose its own),
            ``trained_on``, ``date`` and ``reach`` (how far what was learned holds). A router for steps also has
            ``margin`` and ``bands`` (tier -> lowest complexity), one for prompts ``weight``, ``prior`` and
            ``strong_from`` (complexity from which the stronger model is chosen).
        arrays: Numbers by name.
    """

    header: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    @classmethod
    def new(cls, kind: str, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> RouterFile:
        """Create a router with the current format and signals version."""
        stamp = {"format": _FORMAT, "kind": kind, "signals_version": SIGNALS_VERSION}
        return cls({**stamp, **header}, arrays)

    @property
    def kind(self) -> str:
        """``steps`` or ``prompts``."""
        return str(self.header["kind"])

    @property
    def dimensions(self) -> int:
        """Length of the embeddings it was trained with, 0 for none."""
        return int(self.header["dimensions"])

    @property
    def id(self) -> str:
        """Name of this router in a policy's hash: the same for the same training data, settings and version."""
        return f"{self.kind}-v{self.header['signals_version']}-{str(self.header['data_hash'])[:16]}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a trained router judges a step.

    Attributes:
        tier: Chosen tier.
        complexity: Within the band of that tier, 0..1.
        confidence: Chance that the tier is enough, times how familiar the step looks, 0..1.
        familiarity: 1 for a step like the training data, approaching 0 far from it.
    """

    tier: Tier
    complexity: float
    confidence: float
    familiarity: float


def save(router: RouterFile, path: Path | str) -> None:
    """Write a router to an ``.npz`` file that holds numbers and one string, and no pickled objects.

    Raises:
        ConfigError: The file cannot be written.
    """
    numbers: dict[str, Any] = dict(router.arrays)
    header = np.array(json.dumps(dict(router.header), sort_keys=True))
    file = io.BytesIO()
    np.savez_compressed(file, header=header, **numbers)
    with disk_errors("cannot be written", file=path):
        replace_file(Path(path), file.getvalue())


def load(path: Path | str, *, dimensions: int | None = None) -> RouterFile:
    """Read a router that `save` wrote.

    Args:
        path: The file.
        dimensions: Length of the embeddings that it will be used with; not checked if None.

    Raises:
        ConfigError: The file is missing, broken, of another format or version, or for embeddings of another length.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
        header = json.loads(str(found.pop("header")))
    except FileNotFoundError:
        raise ConfigError("there is no such router file; train one with 'pointsman router train'", file=path) from None
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ConfigError(f"is no router file ({type(error).__name__}); train it again", file=path) from error
    return _checked(RouterFile(header, found), path, dimensions)


def _checked(router: RouterFile, path: Path | str, dimensions: int | None) -> RouterFile:
    header, arrays = router.header, router.arrays

    def refuse(why: str) -> NoReturn:
        raise ConfigError(f"{why}; train it again with 'pointsman router train'", file=path)

    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        refuse("is a router file of another format")
    if header.get("kind") not in _ARRAYS:
        refuse(f"is a router of the unknown kind {header.get('kind')!r}")
    missing = _HEADER - set(header)
    missing |= set(_ARRAYS[router.kind]) - set(arrays)
    if missing:
        refuse(f"lacks {', '.join(sorted(missing))}")
    if header["signals_version"] != SIGNALS_VERSION:
        refuse(f"was trained on version {header['signals_version']} of the signals and this is {SIGNALS_VERSION}")
    if not all(array.dtype.kind in "fi" and np.isfinite(array).all() for array in arrays.values()):
        refuse("holds something other than finite numbers")
    instances = header["instances"]
    if not isinstance(instances, list) or not all(isinstance(name, str) for name in instances) or not _fits(router):
        refuse("has arrays that do not fit each other")
    if dimensions is not None and router.dimensions not in (0, dimensions):
        refuse(f"was trained with embeddings of {router.dimensions} dimensions, but the embedder gives {dimensions}")
    return router


def _fits(router: RouterFile) -> bool:
    shapes = {name: array.shape for name, array in router.arrays.items()}
    if router.kind == "steps":
        width, count = len(SIGNALS), len(router.arrays["examples"])
        wanted: dict[str, tuple[int, ...]] = {
            "bias": (3,), "examples": (count, width), "mean": (width,), "scale": (width,),
            "weights": (3, width),
        }  # fmt: skip
        bands = router.header.get("bands")
        known = isinstance(bands, dict) and set(bands) == {tier.value for tier in _TIERS}
        return shapes == wanted and count > 0 and known and "margin" in router.header
    count = len(router.arrays["counts"])
    if not {"weight", "prior", "strong_from"} <= set(router.header):
        return False
    return shapes == {
        "centres": (count, router.dimensions), "counts": (count,), "gaps": (count,), "quantiles": (101,),
    }  # fmt: skip


class Learned:
    """A trained `Scorer`: a router file, and for prompts an embedder.

    `read` reads the messages once; its result goes into ``Features.signals``, so that a recorded decision can be
    replayed without the messages and without the embedder. Called with features, the scorer is pure.

    It does not extrapolate far from its training data: there it returns None.

    Args:
        model: The trained router.
        embed: Texts -> unit vectors. Routers for steps look only at structure and never call it; routers for prompts
            judge by length if it is None.

    Raises:
        ConfigError: The embedder gives vectors of another length than the router was trained with.
    """

    def __init__(self, model: RouterFile, embed: Embed | None = None) -> None:
        self.model = model
        self.embed = embed if model.dimensions else None
        self._centres = np.asarray(model.arrays.get("centres", np.zeros((0, 0))), dtype=np.float32).T
        if self.embed is not None:
            given = self.embed(["dimensions"]).shape[-1]
            if given != model.dimensions:
                raise ConfigError(
                    f"the router was trained with embeddings of {model.dimensions} dimensions, but the embedder gives "
                    f"{given}; train it again with 'pointsman router train'"
                )

    @property
    def id(self) -> str:
        """Names this scorer in a policy's hash."""
        return f"learned-{self.model.id}"

    def read(self, request: RouteRequest) -> tuple[float, ...]:
        """Measure a request: the signals of a step, or a prompt's length, correction and evidence."""
        if self.model.kind == "steps":
            return signals(request)
        return self.read_prompts([_question(request)])[0]

    def read_prompts(self, prompts: Sequence[str]) -> list[tuple[float, ...]]:
        """Measure prompts for a router trained on prompts: log(1 + characters), correction, evidence for the latter."""
        header, arrays = self.model.header, self.model.arrays
        lengths = [log1p(len(prompt)) for prompt in prompts]
        if self.embed is None or not len(arrays["counts"]):
            return [(round(length, 6), 0.0, 0.0) for length in lengths]
        near = self.embed(list(prompts)) @ self._centres
        reach = float(header["reach"])
        closeness = np.maximum(near - reach, 0) / (1 - reach) * arrays["counts"]
        evidence = closeness.sum(axis=1)
        correction = closeness @ arrays["gaps"] / (float(header["prior"]) + evidence)
        found = zip(lengths, correction.tolist(), evidence.tolist(), strict=True)
        return [(round(length, 6), round(change, 6), round(seen, 6)) for length, change, seen in found]

    def __call__(self, features: Features) -> tuple[float, float] | None:
        """Return complexity and confidence, or None if it cannot judge the step, so that the rules decide alone.

        It cannot judge a step that is unlike all its training data, or features without signals, such as those that
        another policy recorded.
        """
        found = features.signals
        if len(found) != (len(SIGNALS) if self.model.kind == "steps" else 3):
            return None
        verdict = self.judge(found)
        return (verdict.complexity, verdict.confidence) if verdict.familiarity >= _FAMILIAR else None

    def judge(self, found: Sequence[float]) -> Verdict:
        """Judge the measurements that `read` returned."""
        if self.model.kind == "prompts":
            return self._judge_prompt(found)
        point = (np.array(found) - self.model.arrays["mean"]) / self.model.arrays["scale"]
        return verdict(self.model, chances_of(self.model.arrays, point[None])[0], _distance(self.model, point))

    def score_prompt(self, found: Sequence[float]) -> float:
        """How much a prompt needs the stronger model: its log length, adjusted by what similar prompts needed."""
        return found[0] + float(self.model.header["weight"]) * found[1]

    def _judge_prompt(self, found: Sequence[float]) -> Verdict:
        rank = np.searchsorted(self.model.arrays["quantiles"], self.score_prompt(found), side="right") / 101
        known = found[2] / (float(self.model.header["prior"]) + found[2])
        complexity = round(float(rank), 4)
        tier = _TIERS[0] if complexity < float(self.model.header["strong_from"]) else _TIERS[-1]
        return Verdict(tier, complexity, round(_LENGTH_CONFIDENCE + (1 - _LENGTH_CONFIDENCE) * known, 4), known)


def chances_of(arrays: Mapping[str, NDArray[Any]], points: Floats) -> Floats:
    """Return the probability of each tier that it is the one needed, from three ordered logistic models.

    Args:
        arrays: The router's arrays.
        points: Standardised signals (minus their means, divided by their scales), one row per step.
    """
    logits = points @ arrays["weights"].T + arrays["bias"]
    above = np.minimum.accumulate(1 / (1 + np.exp(-np.clip(logits, -30, 30))), axis=1)
    chances: Floats = -np.diff(above, prepend=1.0, append=0.0)
    return chances


def choose(chances: Floats, margin: float) -> int:
    """Return the index of the tier with the highest utility, given the probability that each is the one needed.

    The utility of a tier is (1 + margin + share of cost saved) times the probability that it is enough, plus the
    probability that it is exactly the one needed. The margin accounts for the other steps that fail with this one, so
    doubt moves the choice upwards.

    Args:
        chances: Probabilities of the four tiers, lowest tier first, shape (4,).
        margin: 0 or more.
    """
    enough = np.cumsum(chances)
    return int(np.argmax(enough * (1 + margin + _SAVED) + chances))


def place(header: Mapping[str, Any], tier: int, above: float) -> float:
    """Return a complexity within the band of a tier: the likelier a higher tier is needed, the higher it is."""
    bands = header["bands"]
    low = float(bands[_TIERS[tier].value])
    high = float(bands[_TIERS[tier + 1].value]) if tier + 1 < len(_TIERS) else 1.0
    return round(low + (high - low) * 0.99 * min(max(above, 0.0), 1.0), 4)


def verdict(model: RouterFile, chances: Floats, distance: float) -> Verdict:
    """Return the verdict on a step with these probabilities, at this distance from the nearest training example."""
    tier = choose(chances, float(model.header["margin"]))
    enough = float(chances[: tier + 1].sum())
    reach = float(model.header["reach"])
    familiarity = 1.0 if distance <= reach else (reach / distance) ** 2
    return Verdict(
        _TIERS[tier], place(model.header, tier, 1 - enough), round(enough * familiarity, 4), round(familiarity, 4)
    )


def _distance(model: RouterFile, point: Floats) -> float:
    gaps = model.arrays["examples"] - point
    return float(np.sqrt(np.einsum("ij,ij->i", gaps, gaps).min()))


def _question(request: RouteRequest) -> str:
    """The newest text of the user."""
    for message in reversed(request.messages):
        if message.get("role") in ("user", "human") and (texts := [*texts_in(message.get("content"))]):
            return texts[-1]
    return ""
