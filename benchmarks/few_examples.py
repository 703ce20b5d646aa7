"""Accuracy of the on-device head with few examples per label.

    python benchmarks/few_examples.py FILE [--each 5] [--draws 5] [--labels N]

The file has a column ``text`` and a column ``label`` or ``category``, such as ``german_intents.csv`` beside this
script. Some examples of each label are learned, and up to 700 of the other texts are judged.
"""

from __future__ import annotations

import random
from functools import partial

import numpy as np
from intents import hits, read
from pointsman.backends.ondevice.calibrate import expected_calibration_error
from pointsman.backends.ondevice.classify import Head
from pointsman.backends.ondevice.embedder import WordLlamaEmbeddings
from stage import count, parser

_JUDGED = 700


def draw(by_label: dict[str, list[str]], each: int, labels: int, seed: int) -> tuple[float, float]:
    """Learn and judge once; return the accuracy and the calibration error."""
    rng = random.Random(seed)
    examples, others = [], []
    for label in rng.sample(sorted(by_label), labels) if labels < len(by_label) else sorted(by_label):
        texts = by_label[label][:]
        rng.shuffle(texts)
        learned = each or rng.choice([3, 5, 10, 40])
        examples += [(text, label) for text in texts[:learned]]
        others += [(text, label) for text in texts[learned:]]
    rng.shuffle(others)
    others = others[:_JUDGED]
    head = Head.train(examples, WordLlamaEmbeddings())
    chances = np.array([head.probabilities(text) for text, _ in others])
    right = hits(head.labels, chances, others)
    return float(right.mean()), expected_calibration_error(chances.max(axis=1), right)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("file", type=read, help="the examples")
    many = "examples of each label (default 5); 0 for 3, 5, 10 or 40 at random"
    arguments.add_argument("--each", type=partial(count, least=0), default=5, help=many)
    arguments.add_argument("--draws", type=partial(count, least=2), default=5, help="random draws (default 5)")
    arguments.add_argument("--labels", type=partial(count, least=2), help="labels of a draw (default all)")
    given = arguments.parse_args()
    by_label: dict[str, list[str]] = {}
    for text, label in given.file:
        by_label.setdefault(label, []).append(text)
    labels = given.labels or len(by_label)
    if not 2 <= labels <= len(by_label):
        arguments.error(f"the file has {len(by_label)} labels")
    right, gap = np.array([draw(by_label, given.each, labels, 500 + seed) for seed in range(given.draws)]).T
    print(f"right {right.mean():.4f} (standard deviation {right.std(ddof=1):.4f}), calibration error {gap.mean():.3f}")


if __name__ == "__main__":
    main()
