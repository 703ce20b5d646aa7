"""Errors of a run that is cut off by one of its bounds (its work is kept), and of a run that does not exist."""

from __future__ import annotations

from pathlib import Path

from ..configs.errors import ConfigError, PointsmanError
from ..configs.loading.loader import OFFLINE
from ..configs.plain import message_of

__all__ = [
    "CutOff",
    "DepthLimit",
    "Exited",
    "HandoffCycle",
    "NoAnswer",
    "NoRun",
    "RepeatedCall",
    "RunTimeout",
    "StepLimit",
    "TurnLimit",
]


class CutOff(PointsmanError):
    """A run reached a bound before its end."""


class Exited(PointsmanError):
    """The user's code called ``sys.exit``, which ends its run, not the program."""

    def __init__(self, what: str, error: BaseException) -> None:
        said = message_of(error)
        did = f"called sys.exit({said})" if isinstance(error, SystemExit) else f"raised {type(error).__name__}({said})"
        super().__init__(
            f"{what} {did}, which ends no more than the run: let it return, or raise an error that says what is wrong"
        )


class StepLimit(CutOff):
    """The graph took more supersteps than it may."""

    def __init__(self, run: str, most: int) -> None:
        super().__init__(
            f"the run took more steps than it may ({most} supersteps of its graph): raise --max-steps, "
            f"and go on with: pointsman resume {run}"
        )
        self.run = run


class NoRun(ConfigError):
    """There is no run of this id.

    Args:
        state: State folder that was searched.
        run: The id.
        meant: What may have been meant, as a sentence of its own.
    """

    def __init__(self, state: Path, run: str, meant: str = "") -> None:
        is_elsewhere = (state / OFFLINE / "ledger.db").exists()
        simulated = ", and with --offline those that were simulated" if is_elsewhere else ""
        super().__init__(f"there is no run {run!r}: {meant}pointsman runs lists them{simulated}")


class NoAnswer(CutOff):
    """An agent reached no answer by itself; a supervised run may plan again."""


class TurnLimit(NoAnswer):
    """An agent kept calling tools without reaching an answer."""

    def __init__(self, agent: str, most: int) -> None:
        super().__init__(
            f"agent {agent!r} gave no answer within {most} turns: "
            "look at what its tools tell it, give it a smaller task, or raise max_steps"
        )


class RepeatedCall(NoAnswer):
    """An agent repeated the same tool call, with the same result each time."""

    def __init__(self, agent: str, call: str, times: int) -> None:
        super().__init__(
            f"agent {agent!r} called {call} {times} times and was told the same each time: have the tool say what to "
            "do instead or wait until there is news, or tell the agent when to stop"
        )


class DepthLimit(NoAnswer):
    """Agents and workflows were nested deeper than allowed.

    Attributes:
        chain: Their names, from the outermost to the one that was not run.
    """

    def __init__(self, chain: tuple[str, ...]) -> None:
        super().__init__(
            f"{_arrows(chain)}: {chain[-1]!r} was not run, as only {len(chain) - 1} may be run inside each other: "
            "give fewer agents the tools that run others"
        )
        self.chain = chain


class HandoffCycle(NoAnswer):
    """Agents passed their work round in a circle, each inside the tool call of the previous one.

    Attributes:
        chain: Their names, from the outermost to the one that was not run.
    """

    def __init__(self, chain: tuple[str, ...]) -> None:
        super().__init__(
            f"{_arrows(chain[:-1])} hand their work round in a circle, so {chain[-1]!r} was not run once more: take "
            "from one of them the tool that runs the next, or say in its instructions what it must do itself"
        )
        self.chain = chain


class RunTimeout(CutOff, TimeoutError):
    """A run exceeded its time limit."""

    def __init__(self, run: str, seconds: float, *, kept: bool = True) -> None:
        cure = f"go on with: pointsman resume {run}" if kept else f"give run {run} more than that, or a smaller task"
        super().__init__(f"the run took longer than it may (timeout: {seconds:g} s): {cure}")
        self.run = run


def _arrows(chain: tuple[str, ...]) -> str:
    return " -> ".join(chain)
