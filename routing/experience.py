"""`TaskStats`: how a model has performed at a task, as evidence for the order of the candidates and for their tier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .evidence import wilson

__all__ = ["TaskStats", "likely"]

# Beta(1.9, 0.1): a model that has not been called yet is assumed to answer 19 of 20 calls, since it is in the catalogue
# because it works, and that weighs as much as two observed calls, as in Laplace's rule of succession. `likely` is the
# mean of the resulting Beta distribution: Gelman et al., "Bayesian Data Analysis", 3rd ed., sections 2.1 and 2.4.
_PRIOR_GOOD: Final = 1.9
_PRIOR_BAD: Final = 0.1


@dataclass(frozen=True, slots=True)
class TaskStats:
    """How one model performed at one task; older calls count less.

    Attributes:
        calls: Sum of the weights of the calls it is based on: 1 for a call made just now.
        success: Share of them with a usable answer, 0..1.
        seconds: Mean time of the usable answers, or of all calls if that is longer: failing quickly does not make a
            model quick. None if no call was answered.
        cost: Mean USD per call, None if no cost is known.
        output: Mean tokens of the usable answers, None if none were counted.
        unusable: Sum of the weights of the calls whose reply arrived but was unusable; all other failures were the
            provider's.
    """

    calls: float
    success: float
    seconds: float | None = None
    cost: float | None = None
    output: float | None = None
    unusable: float = 0.0

    @property
    def replies(self) -> float:
        """Sum of the weights of the calls that got a reply, usable or not."""
        return self.calls * self.success + self.unusable

    @property
    def usable(self) -> tuple[float, float] | None:
        """The 95 % interval of the share of usable replies; None if there was no reply."""
        replies = self.replies
        return wilson(self.calls * self.success / replies, replies) if replies > 0 else None


def likely(experience: TaskStats | None) -> float:
    """Return the expected share of calls with a usable answer, 0..1; never 0, and the prior's if nothing is known."""
    if experience is None:
        return _PRIOR_GOOD / (_PRIOR_GOOD + _PRIOR_BAD)
    good = experience.calls * experience.success + _PRIOR_GOOD
    return good / (experience.calls + _PRIOR_GOOD + _PRIOR_BAD)
