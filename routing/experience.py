"""`TaskStats`: how a model has done at a task, as evidence for the order of the candidates and for their tier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .evidence import wilson

__all__ = ["TaskStats", "likely"]

# Beta(1.9, 0.1): a model that nobody has asked yet is taken to answer 19 of 20 calls, since it stands in the catalogue
# because it works, and that weighs as much as two calls seen, as in Laplace's rule of succession. With the mean of the
# Beta distribution that follows: Gelman et al., "Bayesian Data Analysis", 3rd ed., sections 2.1 and 2.4.
_PRIOR_GOOD: Final = 1.9
_PRIOR_BAD: Final = 0.1


@dataclass(frozen=True, slots=True)
class TaskStats:
    """How one model did at one task, older calls counting less.

    Attributes:
        calls: Calls it rests on, each by its weight: 1 for one made just now.
        success: Share of them with a usable answer, 0..1.
        seconds: Mean time of the usable answers, or of all calls where that is longer: to fail quickly makes no model
            quick. None where nothing was answered.
        cost: Mean USD of a call, None where no cost is known.
        output: Mean tokens of the usable answers, None where none were counted.
        unusable: Calls, by weight, whose reply came and could not be used; any other failed for the provider's sake.
    """

    calls: float
    success: float
    seconds: float | None = None
    cost: float | None = None
    output: float | None = None
    unusable: float = 0.0

    @property
    def replies(self) -> float:
        """Calls, by weight, to which a reply came, usable or not."""
        return self.calls * self.success + self.unusable

    @property
    def usable(self) -> tuple[float, float] | None:
        """The 95 % interval of the share of usable replies; None where no reply ever came."""
        replies = self.replies
        return wilson(self.calls * self.success / replies, replies) if replies > 0 else None


def likely(experience: TaskStats | None) -> float:
    """The share of calls to expect a usable answer from, 0..1; never 0, and the prior's where nothing is known."""
    if experience is None:
        return _PRIOR_GOOD / (_PRIOR_GOOD + _PRIOR_BAD)
    good = experience.calls * experience.success + _PRIOR_GOOD
    return good / (experience.calls + _PRIOR_GOOD + _PRIOR_BAD)
