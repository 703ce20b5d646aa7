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
        run: Id of the run; empty where an agent ran outside any.
        result: The run so far, its status ``failed``; None where an agent ran outside any.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.run = ""
        self.result: RunResult | None = None


class StepLimit(CutOff):
    """The graph took more supersteps than it may."""

    def __init__(self, run: str, most: int) -> None:
        super().__init__(
            f"the run took more steps than it may ({most} supersteps of its graph): raise --max-steps, "
            f"and go on with: pointsman resume {run}"
        )


class TurnLimit(CutOff):
    """An agent went on calling tools without coming to an answer."""

    def __init__(self, agent: str, most: int) -> None:
        super().__init__(
            f"agent {agent!r} came to no answer within {most} turns: "
            "look at what its tools tell it, or give it a smaller task"
        )


class RunTimeout(CutOff, TimeoutError):
    """The time of a run is over."""

    def __init__(self, run: str, seconds: float) -> None:
        super().__init__(
            f"the run took longer than it may (timeout: {seconds:g} s): go on with: pointsman resume {run}"
        )
