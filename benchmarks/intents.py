"""Accuracy of the on-device intent head on unseen messages, against a linear SVM on the same kind of features.

    python benchmarks/intents.py TRAIN [TEST [OUTSIDE]]

The files have a column ``text`` and a column ``label`` or ``category``, as BANKING77's train.csv and test.csv do; a
part of CLINC150's data_full.json is named after a colon, as data_full.json:oos_test. Without a second file a fifth of
the first is held out, with equal texts kept together, and the rest is cross-validated too, since a single fifth may be
lucky. Out of scope are the messages of ten intents (of all but two, if there are fewer than twelve) that were left out
of the examples, detected by the confidence or
by the energy of the scores (Liu et al. 2020); and, with a third file, its messages, which are unrelated to any intent.
Give ``-`` as the second file to hold out a fifth.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pointsman.backends.ondevice.calibrate import (
    accept_threshold,
    expected_calibration_error,
    fit_temperature,
    softmax,
)
from pointsman.backends.ondevice.classify import Head
from pointsman.backends.ondevice.embedder import WordLlamaEmbeddings, unit_rows
from pointsman.configs.errors import ConfigError
from pointsman.configs.rows import read_rows
from scipy.sparse import csr_array, hstack
from scipy.special import logsumexp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score
from sklearn.svm import LinearSVC
from stage import parser, table

Rows = list[tuple[str, str]]

_EMBEDDER = WordLlamaEmbeddings()
_FOLDS = 5
_LEFT_OUT = 10
_DRAWS = 3


def read(given: str) -> Rows:
    """Read the texts and labels of a file that an argument names."""
    file, colon, part = given.partition(".json:")
    try:
        if colon:
            return [(text, label) for text, label in json.loads(Path(f"{file}.json").read_text())[part]]
        rows = [row.fields for row in read_rows(Path(given), ["text"])]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{file}.json has no part {part!r}") from None
    except (ConfigError, OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return [(row["text"], row.get("label") or row.get("category") or "") for row in rows]


def folds(rows: Rows, number: int, seed: int) -> np.ndarray:
    """Assign folds evenly over the labels; texts that differ only in case, spaces and punctuation share a fold."""
    together: dict[str, list[int]] = {}
    for place, (text, _) in enumerate(rows):
        together.setdefault(" ".join(re.findall(r"\w+", text.casefold())), []).append(place)
    rng = random.Random(seed)
    groups = list(together.values())
    rng.shuffle(groups)
    seen: dict[str, int] = {}
    out = np.zeros(len(rows), dtype=int)
    for group in groups:
        label = rows[group[0]][1]
        seen[label] = seen.get(label, rng.randrange(number)) + 1
        out[group] = seen[label] % number
    return out


def hits(labels: Sequence[str], chances: np.ndarray, rows: Rows) -> np.ndarray:
    """Return for each row whether the most probable label is its own."""
    return np.array([labels[best] == label for best, (_, label) in zip(chances.argmax(axis=1), rows, strict=True)])


class Shipped:
    """The head as shipped, which gives only its confidence."""

    name = "shipped head"

    def __init__(self, rows: Rows) -> None:
        self._head = Head.train(rows, _EMBEDDER)
        self.labels, self.threshold = self._head.labels, self._head.report.threshold

    def judge(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray | None]:
        """Return probabilities, and energies if there are any."""
        return np.array([self._head.probabilities(text) for text in texts]), None


class Linear:
    """A linear SVM on sentence vectors, character 2-5-grams and word 1-2-grams, calibrated on out-of-fold scores."""

    name = "linear SVM"

    def __init__(self, rows: Rows) -> None:
        texts = [text for text, _ in rows]
        self.labels = tuple(sorted({label for _, label in rows}))
        truth = np.array([self.labels.index(label) for _, label in rows])
        self._centre = _EMBEDDER.vectors(texts).mean(axis=0)
        plain = {"sublinear_tf": True, "dtype": np.float32}
        self._grams = [
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, **plain).fit(texts),
            TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+", **plain).fit(texts),
        ]
        features = self._features(texts)
        self._svm = LinearSVC(random_state=0).fit(features, truth)
        scores = np.zeros((len(rows), len(self.labels)))
        fold = folds(rows, 3, seed=1)
        for held in range(3):
            model = LinearSVC(random_state=0).fit(features[fold != held], truth[fold != held])
            scores[fold == held] = _scores(model, features[fold == held])
        self._temperature = fit_temperature(scores, truth)
        chances = softmax(scores / self._temperature)
        self.threshold = accept_threshold(chances.max(axis=1), chances.argmax(axis=1) == truth, 0.9)

    def judge(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray | None]:
        """Return probabilities and energies."""
        scores = _scores(self._svm, self._features(texts)) / self._temperature
        return softmax(scores), logsumexp(scores, axis=1)

    def _features(self, texts: list[str]) -> csr_array:
        vectors = csr_array(unit_rows(_EMBEDDER.vectors(texts) - self._centre))
        return hstack([vectors, *(grams.transform(texts) for grams in self._grams)], format="csr")


def _scores(model: LinearSVC, features: csr_array) -> np.ndarray:
    """Return one score for each label; of two labels the model gives a single score."""
    scores = model.decision_function(features)
    return scores if scores.ndim == 2 else np.column_stack([-scores, scores])


def in_scope(kind: type[Shipped] | type[Linear], train: Rows, test: Rows) -> list[str]:
    """Measure accuracy, calibration, abstention and time."""
    wall, cpu = time.perf_counter(), time.process_time()
    head = kind(train)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    one = time.process_time()
    for text, _ in test[:300]:
        head.judge([text])
    each = (time.process_time() - one) / len(test[:300]) * 1e3
    chances, _ = head.judge([text for text, _ in test])
    sure, right = chances.max(axis=1), hits(head.labels, chances, test)
    taken = sure >= head.threshold
    figures = [right.mean(), expected_calibration_error(sure, right), head.threshold, taken.mean(), right[taken].mean()]
    return [kind.name, *(f"{figure:.4f}" for figure in figures), f"{wall:.1f}", f"{cpu:.1f}", f"{each:.2f}"]


def cross_validated(rows: Rows) -> list[list[str]]:
    """Measure accuracy and calibration of the shipped head on each fifth of some rows, learned from the others."""
    fold = folds(rows, _FOLDS, seed=1)
    found = []
    for held in range(_FOLDS):
        head = Shipped([row for row, place in zip(rows, fold, strict=True) if place != held])
        test = [row for row, place in zip(rows, fold, strict=True) if place == held]
        chances, _ = head.judge([text for text, _ in test])
        right = hits(head.labels, chances, test)
        found.append([right.mean(), expected_calibration_error(chances.max(axis=1), right)])
    summed = [("mean", np.mean(found, axis=0)), ("standard deviation", np.std(found, axis=0, ddof=1))]
    named = [*((f"fifth {place + 1}", figures) for place, figures in enumerate(found)), *summed]
    return [[name, *(f"{figure:.4f}" for figure in figures)] for name, figures in named]


def out_of_scope(kind: type[Shipped] | type[Linear], train: Rows, test: Rows, count: int) -> list[str]:
    """Measure how well messages of this many left-out intents are detected, as the mean of several draws."""
    found = []
    for draw in range(_DRAWS):
        rng = random.Random(draw)
        left_out = set(rng.sample(sorted({label for _, label in train}), count))
        head = kind([row for row in train if row[1] not in left_out])
        known = np.array([label not in left_out for _, label in test])
        chances, energy = head.judge([text for text, _ in test])
        found.append(_told_apart(known, chances, energy, head.threshold))
    return [kind.name, *(f"{figure:.4f}" for figure in np.mean(found, axis=0))]


def outside(kind: type[Shipped] | type[Linear], train: Rows, test: Rows, others: list[str]) -> list[str]:
    """Measure how well messages unrelated to any intent are detected."""
    head = kind(train)
    chances, energy = head.judge([*(text for text, _ in test), *others])
    known = np.arange(len(chances)) < len(test)
    return [kind.name, *(f"{figure:.4f}" for figure in _told_apart(known, chances, energy, head.threshold))]


def _told_apart(known: np.ndarray, chances: np.ndarray, energy: np.ndarray | None, threshold: float) -> list[float]:
    """Return the AUROC of known against other messages by confidence and energy, and the share of others accepted."""
    sure = chances.max(axis=1)
    by_energy = np.nan if energy is None else roc_auc_score(known, energy)
    return [roc_auc_score(known, sure), by_energy, (sure[~known] >= threshold).mean()]


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("train", type=read, help="the examples")
    held_out = "the messages to judge; a fifth of the examples if it is - or left out"
    arguments.add_argument("test", nargs="?", type=lambda given: None if given == "-" else read(given), help=held_out)
    arguments.add_argument("outside", nargs="?", type=read, help="messages unrelated to any intent")
    given = arguments.parse_args()
    train, test = given.train, given.test
    intents = len({label for _, label in train})
    if intents < 2:
        arguments.error("the examples have fewer than two labels")
    if test is None:
        fold = folds(train, _FOLDS, seed=20261128)
        test = [row for row, place in zip(train, fold, strict=True) if place == 0]
        train = [row for row, place in zip(train, fold, strict=True) if place != 0]
        print(table(["examples, cross-validated", "accuracy", "ECE"], cross_validated(train)) + "\n")
    print(f"{len(train)} examples, {len(test)} messages not seen, {intents} intents\n")
    kinds = (Shipped, Linear)
    columns = ["", "accuracy", "ECE", "threshold", "accepted", "of these right", "fit s", "fit CPU s", "CPU ms a text"]
    rows = []
    for kind in kinds:
        rows.append(in_scope(kind, train, test))
        if kind is Shipped:
            print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB\n")
    print(table(columns, rows))
    columns = ["", "AUROC by confidence", "AUROC by energy", "accepted though out of scope"]
    if (count := min(_LEFT_OUT, intents - 2)) > 0:
        columns[0] = f"{count} intents left out"
        print(table(columns, [out_of_scope(kind, train, test, count) for kind in kinds]))
    if given.outside is not None:
        others = [text for text, _ in given.outside]
        columns[0] = f"{len(others)} messages of another field"
        print(table(columns, [outside(kind, train, test, others) for kind in kinds]))


if __name__ == "__main__":
    main()
