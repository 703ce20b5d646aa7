"""Classify text: by a trained head with calibrated confidence, or by label names alone if there are no examples."""

from __future__ import annotations

import hashlib
import logging
import re
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...configs.errors import ConfigError, disk_errors
from ...configs.process.forks import Lock, reset_in_children
from ...configs.rows import CsvRow, read_rows
from .arrayfile import read_arrays, write_arrays
from .calibrate import (
    BetaMap,
    accept_threshold,
    expected_calibration_error,
    fit_temperature,
    softmax,
    with_confidence,
)
from .embedder import unit_rows
from .likeness import Examples, Mix, choose_mix, spread
from .ngrams import NgramIndex, array_to_strings, characters, strings_to_array, words
from .schema import spoken

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .embedder import Embedder

__all__ = ["Head", "HeadReport", "HeadShelf", "Verdict", "ZeroShot", "load_head", "read_examples"]

_log = logging.getLogger(__name__)

# Part of every cache key: raise it with any change to features, kernel or calibration.
_FORMAT = 4
# Centres are the texts that others are compared with: all texts up to the first number, which take 400 MB while
# training, and otherwise the second number of them, which take 288 MB. Every example is fitted either way.
_ALL_ARE_CENTRES = 10_000
_MOST_CENTRES = 6000
_EMBED_AT_ONCE = 1000
_LABELS_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decided label.

    Attributes:
        label: The most probable label.
        confidence: Its calibrated probability, 0 to 1.
        accepted: Whether the confidence reaches the threshold.
        runner_up: The second most probable label, empty if there is only one label.
        probabilities: Label -> its probability; for a choice by names alone they add up to less than 1, to leave room
            for none of these.
    """

    label: str
    confidence: float
    accepted: bool
    runner_up: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeadReport:
    """Results of a head on its own examples, by leave-one-out prediction.

    Attributes:
        accuracy: Share of all predictions that are right.
        ece: Expected calibration error over ten bins.
        threshold: Confidence from which a verdict is accepted.
        accepted_accuracy: Share of accepted predictions that are right.
        coverage: Share of predictions that are accepted.
        train_seconds: Wall time of training.
    """

    accuracy: float
    ece: float
    threshold: float
    accepted_accuracy: float
    coverage: float
    train_seconds: float = 0.0


def read_examples(path: Path | str) -> list[tuple[str, str]]:
    """Read labelled examples from a CSV file with the columns ``text`` and ``label``, as `read_rows` does.

    Raises:
        ConfigError: The file is missing, lacks a column, or has an empty cell.
    """
    return [(row.fields["text"], row.fields["label"]) for row in _rows(Path(path))]


def _rows(path: Path) -> list[CsvRow]:
    rows = read_rows(path, ["text", "label"])
    for row in rows:
        if not row.fields["text"].strip() or not row.fields["label"].strip():
            raise ConfigError("empty text or label", file=path, line=row.line)
    return rows


def _rows_of(path: Path, wanted: frozenset[str]) -> list[CsvRow]:
    """Return the examples of some labels; log a warning for examples left out and for labels without examples."""
    rows, known = _rows(path), {_folded(label): label for label in wanted}
    others = [row for row in rows if row.fields["label"] not in wanted]
    for row in others:
        label = row.fields["label"]
        if (meant := known.get(_folded(label))) is not None:
            said = f"the label {label!r} is not one to choose from: write it {meant!r}"
            raise ConfigError(said, file=path, line=row.line)
    if others:
        left_out = sorted({row.fields["label"] for row in others})
        _log.warning(
            "%s:%d: %d examples are left out: the labels%s, do not have %s",
            path, others[0].line, len(others), _choices(wanted), _named(left_out),
        )  # fmt: skip
    if without := sorted(wanted - {row.fields["label"] for row in rows}):
        _log.warning("%s: has no example of %s, so that is never chosen", path, _named(without))
    return [row for row in rows if row.fields["label"] in wanted]


def _folded(label: str) -> str:
    """Return a label without differences of case, spaces, dashes and underscores, to find misspelled labels."""
    return re.sub(r"[\s_-]+", " ", label).strip().casefold()


@dataclass(frozen=True, eq=False)
class Head:
    """A text classifier learned from labelled examples in seconds, deciding in about a millisecond.

    Kernel ridge regression on one indicator per label, with a Gaussian kernel over sentence vectors and n-grams of
    characters and words, mixed as `choose_mix` finds best for the examples. Every example is fitted. Ridge regression
    gives leave-one-out scores in closed form (see `fit_ridge`), so temperature (Guo et al. 2017), a beta map (Kull et
    al. 2017) and threshold are fitted on held-out predictions at no extra cost. Text unlike every example scores near
    zero for each label and so gets a low confidence.

    ``benchmarks/intents.py`` measures its cost. Beyond 10,000 examples, memory and decision time stay constant and
    training time grows with the number of examples.

    Use `Head.train` or `load_head`; the constructor takes learned arrays.
    """

    embedder: Embedder
    labels: tuple[str, ...]
    centre: NDArray[np.float32]
    mix: Mix
    rows: NDArray[np.float32]
    weights: NDArray[np.float32]
    characters: NgramIndex
    words: NgramIndex
    temperature: float
    beta: BetaMap
    report: HeadReport

    @classmethod
    def train(cls, examples: Iterable[tuple[str, str]], embedder: Embedder, *, target_accuracy: float = 0.9) -> Head:
        """Learn from (text, label) pairs.

        Args:
            examples: Pairs with at least two labels. Every pair counts. Texts that differ only in case, spaces or
                punctuation count as one text, weighted by its number of pairs and shared among their labels.
            embedder: Source of the sentence vectors.
            target_accuracy: Accuracy that accepted verdicts should reach; it sets the threshold.

        Raises:
            ConfigError: There are fewer than two labels.
        """
        started = time.perf_counter()
        examples = list(examples)
        labels = sorted({label for _, label in examples})
        if len(labels) < 2:
            raise ConfigError("examples for a classifier need at least two labels")
        texts, places = _distinct(text for text, _ in examples)
        numbers = {label: number for number, label in enumerate(labels)}
        told = np.zeros((len(texts), len(labels)))
        np.add.at(told, (places, [numbers[label] for _, label in examples]), 1)

        vectors = _embed(texts, embedder)
        centre = np.average(vectors, axis=0, weights=told.sum(axis=1)).astype(np.float32)
        most = len(texts) if len(texts) <= _ALL_ARE_CENTRES else _MOST_CENTRES
        centres = spread(told.argmax(axis=1), most)
        (by_characters, in_characters), (by_words, in_words) = (
            NgramIndex.build(count, texts, centres) for count in (characters, words)
        )
        known = Examples(_centred(vectors, centre), in_characters, in_words, told)
        mix = choose_mix(known)
        weights, without = known.fit(mix, centres)
        left_out, truth = known.judged(without)
        temperature, beta, report = _calibrate(left_out, truth, target_accuracy)
        report = replace(report, train_seconds=time.perf_counter() - started)
        return cls(
            embedder,
            tuple(labels),
            centre,
            mix,
            known.vectors[centres],
            weights.astype(np.float32),
            by_characters,
            by_words,
            temperature,
            beta,
            report,
        )

    def probabilities(self, text: str) -> NDArray[np.float64]:
        """Return the calibrated probability of each of `labels`, in their order; all are equal for a blank text."""
        if not text.strip():
            return np.full(len(self.labels), 1 / len(self.labels))
        vector = _centred(_embed([text], self.embedder), self.centre)[0]
        # einsum stays on this thread: a BLAS product this small waits for other threads when the machine is busy.
        cosines = np.einsum("ij,j->i", self.rows, vector)
        alike = self.mix.kernel(cosines, self.characters.similarities(text), self.words.similarities(text))
        scores = np.einsum("i,ij->j", alike, self.weights)
        shares = softmax(scores.astype(np.float64) / self.temperature)
        return with_confidence(shares, float(self.beta(shares.max(keepdims=True))[0]))

    def decide(self, text: str, *, threshold: float | None = None) -> Verdict:
        """Choose a label.

        Args:
            text: What to classify.
            threshold: Minimum confidence to accept; the learned one if None.
        """
        threshold = self.report.threshold if threshold is None else threshold
        verdict = _verdict(self.labels, self.probabilities(text), threshold)
        # With two labels, even a blank text gives one of them a probability of one half.
        return verdict if text.strip() else replace(verdict, accepted=False)

    def save(self, path: Path, name: str = "") -> None:
        """Write the head to a ``.npz`` file atomically; see `write_arrays`.

        Args:
            path: The file.
            name: Identifies what it was learned from, for `load` to compare.

        Raises:
            OSError: The file cannot be written.
        """
        arrays = {
            "name": strings_to_array([name]),
            "labels": strings_to_array(self.labels),
            "centre": self.centre,
            "mix": np.array(astuple(self.mix)),
            "rows": self.rows,
            "weights": self.weights,
            "temperature": np.array(self.temperature),
            "beta": np.array(astuple(self.beta)),
            "report": np.array(astuple(self.report)),
            **self.characters.arrays(),
            **self.words.arrays(),
        }
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path, embedder: Embedder, name: str | None = None) -> Head:
        """Read a head that `save` wrote.

        Args:
            path: The file.
            embedder: Source of the sentence vectors; must be the one it was learned with.
            name: The name it must have been saved with; any if None.

        Raises:
            OSError: The file cannot be read.
            ValueError, KeyError: The file is not a saved head, is damaged, or was learned from something else.
        """
        stored = read_arrays(path)
        if name is not None and array_to_strings(stored["name"]) != [name]:
            raise ValueError("a head learned from something else")
        numbers = [float(number) for number in stored["report"]]
        if len(numbers) != len(fields(HeadReport)):
            raise ValueError("not a head of this version")
        return cls(
            embedder,
            tuple(array_to_strings(stored["labels"])),
            stored["centre"],
            Mix(*map(float, stored["mix"])),
            stored["rows"],
            stored["weights"],
            NgramIndex.from_arrays(characters, stored),
            NgramIndex.from_arrays(words, stored),
            float(stored["temperature"]),
            BetaMap(*map(float, stored["beta"])),
            HeadReport(*numbers),
        )


def load_head(
    examples: Sequence[tuple[str, str]],
    embedder: Embedder,
    *,
    cache: Path | None = None,
    target_accuracy: float = 0.9,
) -> Head:
    """Train a head, or load it from the cache if the same examples were learned before.

    Args:
        examples: (text, label) pairs.
        embedder: Source of the sentence vectors; its ``model_id`` is part of the key.
        cache: Folder for learned heads; None stores nothing on disk.
        target_accuracy: See `Head.train`.
    """
    if cache is None:
        return Head.train(examples, embedder, target_accuracy=target_accuracy)
    digest = hashlib.sha256(f"{_FORMAT}\0{embedder.model_id}\0{target_accuracy!r}".encode())
    for pair in examples:
        for part in pair:
            digest.update(b"\0" + str(len(part)).encode() + b"\0" + part.encode("utf-8", "surrogatepass"))
    name = digest.hexdigest()
    path = cache / f"head-{name[:32]}.npz"
    try:
        return Head.load(path, embedder, name)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError) as error:
        _log.warning("learning a head again, its stored form %s is unreadable: %s", path, error)
    head = Head.train(examples, embedder, target_accuracy=target_accuracy)
    try:
        head.save(path, name)
    except OSError as error:
        _log.warning("a learned head is not kept, and is learned again next time: %s", error)
    return head


# If another thread is learning a head during a fork, it never finishes in the child.
_learning = Lock()
reset_in_children(_learning)


class HeadShelf:
    """A thread-safe cache of heads by the file of examples they learned from, each trained once.

    Args:
        embedder: Source of the sentence vectors.
        cache: Folder for learned heads; None keeps them in memory only.
    """

    def __init__(self, embedder: Embedder, cache: Path | None = None) -> None:
        self.embedder = embedder
        self._cache = cache
        self._heads: dict[tuple[object, ...], Head] = {}

    def head(self, path: Path | str, labels: Iterable[str] | None = None) -> Head:
        """Return the head for a CSV file of examples, retraining it if the file has changed.

        Args:
            path: The file; see `read_examples`.
            labels: The labels to distinguish; examples of other labels are left out, with a warning. All if None.

        Raises:
            ConfigError: The file cannot be used, has fewer than two of the labels, or spells one of them differently.
        """
        path = Path(path)
        wanted = None if labels is None else frozenset(labels)
        with disk_errors("cannot read the examples", file=path):
            state = path.stat()
        key = (path, state.st_mtime_ns, state.st_size, wanted)
        # Look it up without the lock first, so that a known head does not wait for another one to be learned.
        if (known := self._heads.get(key)) is not None:
            return known
        with _learning:
            if key not in self._heads:
                rows = _rows(path) if wanted is None else _rows_of(path, wanted)
                examples = [(row.fields["text"], row.fields["label"]) for row in rows]
                if len({label for _, label in examples}) < 2:
                    raise ConfigError(f"has examples of fewer than two of the labels{_choices(wanted)}", file=path)
                self._heads[key] = load_head(examples, self.embedder, cache=self._cache)
            return self._heads[key]

    def choose(self, text: str, labels: Sequence[str], examples: Path | str | None = None) -> Verdict:
        """Choose one of some labels, by a head learned from a file of examples if given, otherwise by their names.

        Raises:
            ConfigError: See `head`.
        """
        if examples is not None and len(labels) > 1:
            return self.head(examples, labels).decide(text)
        return ZeroShot(labels, self.embedder).decide(text)


def _choices(wanted: frozenset[str] | None) -> str:
    """Return the labels to choose from, as text for a message."""
    return f" to choose from, which are {_named(sorted(wanted))}" if wanted else ""


def _named(labels: Sequence[str]) -> str:
    return ", ".join([*map(repr, labels[:_LABELS_SHOWN]), *(["…"] if len(labels) > _LABELS_SHOWN else [])])


class ZeroShot:
    """Choose a label by its name alone; cautious, because names carry little information.

    Args:
        labels: The labels, at least one.
        embedder: Source of the sentence vectors.
    """

    # On BANKING77's 77 label names, 95 of 100 accepted are right at this temperature; the most likely one is 0.07.
    _TEMPERATURE = 0.1
    _CEILING = 0.75
    # Cosine of the implicit label "none of these", which keeps text unlike every name below the threshold.
    _NONE = 0.2

    def __init__(self, labels: Iterable[str], embedder: Embedder) -> None:
        self.labels = tuple(labels)
        self._embedder = embedder
        names = [spoken(label) for label in self.labels]
        self._rows = unit_rows(np.asarray(embedder.embed_documents(names), dtype=np.float32))

    def decide(self, text: str, *, threshold: float = 0.5) -> Verdict:
        """Choose a label.

        Args:
            text: What to classify.
            threshold: Minimum confidence to accept.
        """
        cosines = self._rows @ np.asarray(self._embedder.embed_query(text), dtype=np.float32)
        options = np.append(cosines.astype(np.float64), self._NONE)
        probabilities = self._CEILING * softmax(options / self._TEMPERATURE)[:-1]
        return _verdict(self.labels, probabilities, threshold)


def _calibrate(
    left_out: NDArray[np.float64], truth: NDArray[np.int_], target_accuracy: float
) -> tuple[float, BetaMap, HeadReport]:
    """Fit the temperature, the beta map and the threshold on leave-one-out scores."""
    temperature = fit_temperature(left_out, truth)
    probabilities = softmax(left_out / temperature)
    right = probabilities.argmax(axis=1) == truth
    beta = BetaMap.fit(probabilities.max(axis=1), right)
    confidence = beta(probabilities.max(axis=1))
    # No example represents texts of no label, so a beta map's boost must not be enough to accept a doubtful text.
    threshold = max(accept_threshold(confidence, right, target_accuracy), float(beta(np.array([0.5]))[0]))
    accepted = confidence >= threshold
    report = HeadReport(
        accuracy=float(right.mean()),
        ece=expected_calibration_error(confidence, right),
        threshold=threshold,
        accepted_accuracy=float(right[accepted].mean()) if accepted.any() else 0.0,
        coverage=float(accepted.mean()),
    )
    return temperature, beta, report


def _verdict(labels: Sequence[str], probabilities: NDArray[np.float64], threshold: float) -> Verdict:
    order = np.argsort(-probabilities, kind="stable")
    confidence = min(float(probabilities[order[0]]), 0.999)
    runner_up = labels[int(order[1])] if len(labels) > 1 else ""
    told = {label: round(float(share), 4) for label, share in zip(labels, probabilities, strict=True)}
    return Verdict(labels[int(order[0])], confidence, confidence >= threshold, runner_up, told)


def _embed(texts: list[str], embedder: Embedder) -> NDArray[np.float32]:
    """Embed block by block, because the embedder returns lists of numbers, which take eight times the memory."""
    blocks = [texts[start : start + _EMBED_AT_ONCE] for start in range(0, len(texts), _EMBED_AT_ONCE)]
    return np.concatenate([np.asarray(embedder.embed_documents(block), dtype=np.float32) for block in blocks])


def _centred(vectors: NDArray[np.float32], centre: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return unit vectors relative to the centre; a text without tokens keeps the zero vector."""
    rows = unit_rows(vectors - centre)
    rows[np.all(vectors == 0, axis=1)] = 0
    return rows


def _distinct(texts: Iterable[str]) -> tuple[list[str], list[int]]:
    """Return texts that differ in more than case, spaces or punctuation, and each text's index among them."""
    kept: dict[str, int] = {}
    firsts: list[str] = []
    places: list[int] = []
    for text in texts:
        folded = unicodedata.normalize("NFKC", text).casefold()
        # Marks and symbols are kept: marks are the vowels of many scripts, and "👍" is a symbol.
        bare = "".join(" " if unicodedata.category(sign).startswith("P") else sign for sign in folded)
        place = kept.setdefault(" ".join(bare.split()) or folded, len(firsts))
        if place == len(firsts):
            firsts.append(text)
        places.append(place)
    return firsts, places
