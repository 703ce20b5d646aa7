"""How a run ends that is cut off by a bound of its own; what is done is kept, and the run can be taken up again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.errors import PointsmanError

if TYPE_CHECKING:
    from .result import RunResult

__all__ = ["CutOff", "RunTimeout", "StepLimit", "TurnLimit"]


class CutOff(PointsmanError):
    """A run reached a bound before its end.

    Attributes:
        result: The run so far, its status ``failed``; None where an agent ran outside any.
    """

    result: RunResult | None = None


class StepLimit(CutOff):
    """The graph took more supersteps than it may."""

    def __init__(self, run: str, most: int) -> None:
        super().__init__(
            f"the run took more steps than it may ({most} supersteps of its graph): raise --max-steps, "
            f"and go on with: pointsman resume {run}"
        )
        self.run = run


class TurnLimit(CutOff):
    """An agent went on calling tools without coming to an answer."""

    def __init__(self, agent: str, most: int) -> None:
        super().__init__(
            f"agent {agent!r} gave no answer within {most} turns: "
            "look at what its tools tell it, give it a smaller task, or raise max_steps"
        )


class RunTimeout(CutOff, TimeoutError):
    """The time of a run is over."""

    def __init__(self, run: str, seconds: float, *, kept: bool = True) -> None:
        cure = f"go on with: pointsman resume {run}" if kept else f"give run {run} more than that, or a smaller task"
        super().__init__(f"the run took longer than it may (timeout: {seconds:g} s): {cure}")
        self.run = run
