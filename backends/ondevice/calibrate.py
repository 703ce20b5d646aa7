"""Turn scores into calibrated probabilities, and find the threshold above which to accept them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BetaMap", "accept_threshold", "expected_calibration_error", "fit_temperature", "softmax", "with_confidence"]


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def fit_temperature(scores: NDArray[np.float64], truth: NDArray[np.int_]) -> float:
    """Find the temperature under which held-out scores are most likely (Guo et al. 2017, section 4.2).

    For n rows the true label's target is (n + 1) / (n + 2) and the other labels share the rest (Platt 1999, section
    2.2), so that a few rows that are all right do not make everything certain.

    Args:
        scores: Held-out scores, one row per text and one column per label.
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


# Weight of the identity as a prior in fitting a beta map: a few rows must not make everything certain.
_PRIOR = 10.0
_NEAR = 1e-6
# For the projected Newton method: the maximum number of steps and of halvings per step, the share of the predicted gain
# that a step must reach, and the change below which the weights have converged.
_STEPS, _HALVINGS, _ENOUGH, _STILL = 100, 40, 1e-4, 1e-9


@dataclass(frozen=True, slots=True)
class BetaMap:
    """Map a confidence x to 1 / (1 + 1 / (e^c x^a / (1 - x)^b)) (Kull et al. 2017, "Beta calibration").

    A temperature alone cannot calibrate both confident and doubtful texts. The map rises in x, and is the identity for
    a = b = 1 and c = 0.
    """

    a: float = 1.0
    b: float = 1.0
    c: float = 0.0

    @classmethod
    def fit(cls, confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> BetaMap:
        """Fit the map to held-out confidences by logistic regression, with Platt's targets and the identity as prior.

        It uses the projected Newton method (Bertsekas 1982, "Projected Newton methods for optimization problems with
        simple constraints"), because importing an optimiser takes far longer than fitting three weights.

        Args:
            confidence: Probability of the chosen label, one row per text.
            right: Whether that label was the right one.

        Returns:
            The best increasing map.
        """
        rows = _logs(confidence)
        good, bad = int(right.sum()), int((~right).sum())
        wanted = np.where(right, (good + 1) / (good + 2), 1 / (bad + 2))
        start = np.array([1.0, 1.0, 0.0])

        def loss(weights: NDArray[np.float64]) -> float:
            odds, away = rows @ weights, weights - start
            return float((np.logaddexp(0, odds) - wanted * odds).sum() + _PRIOR / 2 * away @ away)

        weights, least = start, np.array([_NEAR, _NEAR, -np.inf])
        for _ in range(_STEPS):
            chances = np.exp(-np.logaddexp(0, -(rows @ weights)))
            slope = rows.T @ (chances - wanted) + _PRIOR * (weights - start)
            # A weight at its bound stays there if decreasing it would lower the loss.
            free = (weights > least) | (slope < 0)
            curve = (rows[:, free].T * (chances * (1 - chances))) @ rows[:, free] + _PRIOR * np.eye(int(free.sum()))
            step = np.zeros(3)
            step[free] = np.linalg.solve(curve, slope[free])
            # Full steps can diverge if most confidences are near 0 or 1.
            now = loss(weights)
            tried = (np.maximum(weights - step / 2**halved, least) for halved in range(_HALVINGS))
            better = next((at for at in tried if loss(at) <= now - _ENOUGH * slope @ (weights - at)), weights)
            if np.abs(better - weights).max() < _STILL:
                break
            weights = better
        return cls(*map(float, weights))

    def __call__(self, confidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the calibrated confidences."""
        told: NDArray[np.float64] = 1 / (1 + np.exp(-_logs(confidence) @ np.array([self.a, self.b, self.c])))
        return told


def with_confidence(probabilities: NDArray[np.float64], confidence: float) -> NDArray[np.float64]:
    """Sharpen or flatten probabilities until the largest has a given value; their order does not change.

    Args:
        probabilities: Of one text, adding up to 1.
        confidence: The largest probability to reach; if it is below an equal share, all get an equal share.
    """
    logs = np.log(np.maximum(probabilities, 1e-12))
    low, high = -7.0, 7.0
    for _ in range(24):
        power = (low + high) / 2
        low, high = (power, high) if softmax(logs * np.exp(power)).max() < confidence else (low, power)
    return softmax(logs * np.exp(high))


def expected_calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_], *, bins: int = 10) -> float:
    """Return the mean gap between confidence and accuracy over equal-width bins, weighted by the bins' sizes."""
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[places == place].mean() - right[places == place].mean()) * (places == place).mean()
        for place in range(bins)
        if (places == place).any()
    ]
    return float(sum(gaps))


def accept_threshold(confidence: NDArray[np.float64], right: NDArray[np.bool_], target: float) -> float:
    """Find the lowest confidence threshold at which the accepted verdicts reach a target accuracy.

    The accuracy is estimated as (right + 1) / (accepted + 2), Laplace's rule, so that a few lucky verdicts do not
    decide.

    Returns:
        A confidence of at least 0.5, since a verdict that is more likely wrong than right is never accepted; or 1.0,
        which no verdict reaches, if no threshold reaches the target.
    """
    order = np.argsort(-confidence, kind="stable")
    counts = np.arange(1, len(order) + 1)
    good = np.flatnonzero((np.cumsum(right[order]) + 1) / (counts + 2) >= target)
    return float(np.clip(confidence[order[good[-1]]], 0.5, 0.999)) if len(good) else 1.0


def _logs(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(confidence, _NEAR, 1 - _NEAR)
    return np.column_stack([np.log(inside), -np.log(1 - inside), np.ones_like(inside)])
