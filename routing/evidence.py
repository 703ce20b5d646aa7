"""`Finding`: something that has happened and calls for a higher tier, as opposed to a guess from words.

Only findings raise a step above its declared tier. The decision lists each as a rule hit whose id begins with `PREFIX`,
so that code that displays a step can say on what evidence it was raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Final, NamedTuple

from ..configs.words import FailureKind, Tier

__all__ = [
    "DOUBTED",
    "ERRORS",
    "FAILED_CHECK",
    "HISTORY",
    "PREFIX",
    "REPEATED",
    "Finding",
    "is_evidence",
    "of_failure",
    "wilson",
]

PREFIX: Final = "evidence."
"""How the id of every finding begins."""
DOUBTED: Final = "evidence.doubted"
"""A verifier doubted the result that a model of a lower tier gave for the step."""
FAILED_CHECK: Final = "evidence.failed-check"
"""The result that a model of a lower tier gave for the step failed one of the workflow's checks."""
REPEATED: Final = "evidence.repeated-call"
"""The same tool call was made again and returned the same result."""
ERRORS: Final = "evidence.errors-in-a-row"
"""Every tool call of two turns in a row failed."""
HISTORY: Final = "evidence.history"
"""The models of the tier gave more unusable replies than usable ones for this task, over enough calls."""

# The kinds in which the reply failed; all others are a fault of the provider or the caller.
_OF_REPLIES: Final[Mapping[FailureKind, str]] = {
    # A refusal, whether by the model or by the filter in front of it.
    FailureKind.CONTENT_FILTER: "evidence.refusal",
    FailureKind.DECLINED: "evidence.declined",
    FailureKind.EMPTY: "evidence.empty",
    FailureKind.INVALID_OUTPUT: "evidence.invalid-output",
    FailureKind.MALFORMED: "evidence.malformed",
    FailureKind.REFUSAL: "evidence.refusal",
    FailureKind.TRUNCATED: "evidence.truncated",
}
# Standard normal deviate of a 95 % interval.
_Z: Final = 1.959964


class Finding(NamedTuple):
    """One piece of evidence.

    Attributes:
        id: Begins with `PREFIX`.
        reason: One line.
        at_least: The step may not run below this tier; None asks for one tier above the one it would otherwise have,
            if a model there qualifies.
    """

    id: str
    reason: str
    at_least: Tier | None = None


def is_evidence(rule: str) -> bool:
    """Whether a rule id in a decision stands for evidence that raised the step."""
    return rule.startswith(PREFIX)


def of_failure(kind: FailureKind) -> str | None:
    """Return the id under which a failed call counts as evidence; None if the reply's content is not what failed."""
    return _OF_REPLIES.get(kind)


def wilson(share: float, count: float) -> tuple[float, float]:
    """Return the 95 % interval of a share (E. B. Wilson, Journal of the American Statistical Association 22, 1927).

    Args:
        share: 0..1.
        count: Number of observations behind it, above 0; may be a sum of weights.
    """
    spread = _Z * _Z / count
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)
