"""Turn scores into probabilities that can be believed, and find where to stop believing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["accept_threshold", "expected_calibration_error", "fit_temperature", "softmax"]


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalise exponentials over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def fit_temperature(scores: NDArray[np.float64], truth: NDArray[np.int_]) -> float:
    """Find the temperature under which held-out scores are most likely (Guo et al. 2017, section 4.2).

    Of n rows the truth is given n + 1 parts of n + 2 and the other labels share the last (Platt 1999, section 2.2), so
    that a few rows that are all right do not make everything certain.

    Args:
        scores: Held-out scores, one row a text and one column a label.
        truth: The right column of each row.
    """

    sure = (len(truth) + 1) / (len(truth) + 2)

    def loss(log_temperature: float) -> float:
        chances = np.log(np.maximum(softmax(scores / np.exp(log_temperature)), 1e-12))
        right = chances[np.arange(len(truth)), truth]
        others = (chances.sum(axis=1) - right) / (scores.shape[1] - 1)
        return -float((sure * right + (1 - sure) * others).mean())

    low, high = np.log(1e-3), np.log(10.0)
    ratio = (5**0.5 - 1) / 2
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) <= loss(right) else (left, high)
    return float(np.exp((low + high) / 2))


def expected_calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_], *, bins: int = 10) -> float:
    """Mean gap between confidence and share right over equal-width bins, weighted by how many fall in each."""
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[places == place].mean() - right[places == place].mean()) * (places == place).mean()
        for place in range(bins)
        if (places == place).any()
    ]
    return float(sum(gaps))


def accept_threshold(confidence: NDArray[np.float64], right: NDArray[np.bool_], target: float) -> float:
    """Find the lowest confidence from which the accepted reach a target share right.

    The share is taken as (right + 1) / (accepted + 2), Laplace's rule, so that a lucky handful is not believed.

    Returns:
        A confidence of at least 0.5, since what is likelier wrong than right is not accepted whatever the rest of
        its company; or 1.0, which no verdict reaches, if no threshold attains the target.
    """
    order = np.argsort(-confidence, kind="stable")
    counts = np.arange(1, len(order) + 1)
    good = np.flatnonzero((np.cumsum(right[order]) + 1) / (counts + 2) >= target)
    return float(np.clip(confidence[order[good[-1]]], 0.5, 0.999)) if len(good) else 1.0
