"""Accuracy of the on-device head with few examples per label.

    python benchmarks/few_examples.py examples.csv [examples a label] [draws] [labels]

The file has a column ``text`` and a column ``label`` or ``category``, such as ``german_intents.csv`` beside this
script. So many examples of each label are learned, 5 by default, and up to 700 of the other texts are judged; 0 means
3, 5, 10 or 40 at random. All labels are used, or a random few.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
from intents import hits, read
from pointsman.backends.ondevice.calibrate import expected_calibration_error
from pointsman.backends.ondevice.classify import Head
from pointsman.backends.ondevice.embedder import WordLlamaEmbeddings

_JUDGED = 700


def draw(by_label: dict[str, list[str]], each: int, labels: int, seed: int) -> tuple[float, float]:
    """Learn and judge once; return the accuracy and the calibration error."""
    rng = random.Random(seed)
    examples, others = [], []
    for label in rng.sample(sorted(by_label), labels) if labels else sorted(by_label):
        texts = by_label[label][:]
        rng.shuffle(texts)
        count = each or rng.choice([3, 5, 10, 40])
        examples += [(text, label) for text in texts[:count]]
        others += [(text, label) for text in texts[count:]]
    rng.shuffle(others)
    others = others[:_JUDGED]
    head = Head.train(examples, WordLlamaEmbeddings())
    chances = np.array([head.probabilities(text) for text, _ in others])
    right = hits(head.labels, chances, others)
    return float(right.mean()), expected_calibration_error(chances.max(axis=1), right)


def main() -> None:
    """Measure and print."""
    each, draws, labels = ([int(number) for number in sys.argv[2:]] + [5, 5, 0][len(sys.argv) - 2 :])[:3]
    by_label: dict[str, list[str]] = {}
    for text, label in read(Path(sys.argv[1])):
        by_label.setdefault(label, []).append(text)
    right, gap = np.array([draw(by_label, each, labels, 500 + seed) for seed in range(draws)]).T
    print(f"right {right.mean():.4f} (standard deviation {right.std(ddof=1):.4f}), calibration error {gap.mean():.3f}")


if __name__ == "__main__":
    main()
