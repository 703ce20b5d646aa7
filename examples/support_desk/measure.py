"""Measure the on-device tier on this example: ``python examples/support_desk/measure.py [--fit]``.

Prints one line a figure: intents, tone, time, and whether answers are quoted and declined as they should be. With
``--fit`` it fits the answer weights anew on `intents.csv` and prints them; `messages.csv` is only ever measured on.
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pointsman.backends.ondevice.calibrate import expected_calibration_error, softmax
from pointsman.backends.ondevice.classify import Head, read_examples
from pointsman.backends.ondevice.embedder import WordLlamaEmbeddings
from pointsman.backends.ondevice.quote import CONSTANT, WEIGHTS, answer_features

HERE = Path(__file__).parent
# Of the sets of passages built for a question: with its own passage, with the likest others, with any others.
SHARES = {"answerable": 0.5, "near miss": 0.15, "unrelated": 0.35}


def sections() -> list[tuple[set[str], str, str]]:
    """Return each section of the knowledge base as its intents, its title and its text."""
    found = []
    for file in sorted((HERE / "knowledge").glob("*.md")):
        for part in re.split(r"^## ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            title, intents, body = part.split("\n", 2)
            names = intents.removeprefix("intents: ").split(", ")
            found.append((set(names), title, body.strip()))
    return found


def answer_sets(
    questions: list[tuple[str, str]], embedder: WordLlamaEmbeddings, seed: int
) -> Iterator[tuple[str, np.ndarray, int, float]]:
    """Build one set of passages a question: its kind, the features, the place of the right one or -1, its size."""
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    passages = sections()
    vectors = embedder.vectors([f"{title}\n{text}" for _, title, text in passages])
    for question, intent in questions:
        own = next(place for place, (names, _, _) in enumerate(passages) if intent in names)
        order = np.argsort(-(vectors @ np.asarray(embedder.embed_query(question))))
        others = [int(place) for place in order if place != own]
        size = rng.choice([1, 1, 2, 3, 4])
        kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
        chosen = {
            "answerable": [own, *others[: size - 1]],
            "near miss": others[:size],
            "unrelated": rng.sample(others[5:], size),
        }[kind]
        titled = rng.random() < 0.5
        titles = [passages[place][1] if titled else "" for place in chosen]
        features = answer_features(question, [passages[place][2] for place in chosen], titles, embedder)
        yield kind, features, 0 if kind == "answerable" else -1, size


def fit_answers(embedder: WordLlamaEmbeddings) -> tuple[tuple[float, ...], float]:
    """Fit a conditional logit with a constant and the option that no passage answers, whose score is 0."""
    from scipy.optimize import minimize

    rng = random.Random(1)  # noqa: S311 - a sample, not a secret
    questions = rng.sample(read_examples(HERE / "intents.csv"), 1500)
    sets = [(features, right) for _, features, right, _ in answer_sets(questions, embedder, seed=2)]

    def loss(weights: np.ndarray) -> float:
        chances = [softmax(np.append(f @ weights[:-1] + weights[-1], 0.0))[right] for f, right in sets]
        return float(-np.log(chances).mean() + 1e-4 * (weights**2).sum())

    found = minimize(loss, np.zeros(len(WEIGHTS) + 1)).x
    return tuple(round(float(weight), 2) for weight in found[:-1]), round(float(found[-1]), 2)


def measure_head(name: str, head: Head, messages: list[tuple[str, str]]) -> None:
    """Print how a head does on messages it has not seen."""
    started = time.perf_counter()
    verdicts = [head.decide(text) for text, _ in messages]
    each = (time.perf_counter() - started) / len(messages) * 1e3
    right = np.array([verdict.label == label for verdict, (_, label) in zip(verdicts, messages, strict=True)])
    confidence = np.array([verdict.confidence for verdict in verdicts])
    accepted = np.array([verdict.accepted for verdict in verdicts])
    print(
        f"{name}: n={len(messages)} accuracy={right.mean():.3f} "
        f"ece={expected_calibration_error(confidence, right):.3f} "
        f"accepted={accepted.mean():.3f} accuracy_of_accepted={right[accepted].mean():.3f} ms_each={each:.2f}"
    )


def measure_answers(embedder: WordLlamaEmbeddings, weights: tuple[float, ...], constant: float) -> None:
    """Print how often a quote is given when it should be, and is from the right passage."""
    questions = read_examples(HERE / "messages.csv") * 4
    rows = []
    for kind, features, right, size in answer_sets(questions, embedder, seed=5):
        chances = softmax(np.append(features @ np.array(weights) + constant, 0.0))[:-1]
        rows.append((kind, size, chances.max(), int(chances.argmax()) == right))
    confidence, right = np.array([row[2] for row in rows]), np.array([row[3] for row in rows])
    ece = expected_calibration_error(confidence, right)
    given = confidence >= 0.5
    answerable = np.array([row[0] == "answerable" for row in rows])
    print(
        f"answers: n={len(rows)} ece={ece:.3f} given={given.mean():.3f} precision={right[given].mean():.3f} "
        f"recall={(given & right)[answerable].mean():.3f}"
    )
    for kind in SHARES:
        for name, sized in (("one passage", True), ("several", False)):
            here = np.array([row[0] == kind and (row[1] == 1) is sized for row in rows])
            print(f"  {kind}, {name}: given={given[here].mean():.3f}")


def main() -> None:
    """Train on `intents.csv`, measure on `messages.csv`."""
    embedder = WordLlamaEmbeddings()
    weights, constant = fit_answers(embedder) if "--fit" in sys.argv else (WEIGHTS, CONSTANT)
    if "--fit" in sys.argv:
        print(f"WEIGHTS = {weights}\nCONSTANT = {constant}")
    head = Head.train(read_examples(HERE / "intents.csv"), embedder)
    print(f"intents, each left out in turn: {head.report}")
    measure_head("messages", head, read_examples(HERE / "messages.csv"))
    for name in ("urgency", "sentiment"):
        report = Head.train(read_examples(HERE / f"{name}.csv"), embedder).report
        print(f"{name}, each left out in turn: {report}")
    measure_answers(embedder, weights, constant)


if __name__ == "__main__":
    main()
