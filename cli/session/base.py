"""The port of a session: where its user is, at a terminal, behind a pipe, or a program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import Runner
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..io.output import line, progress

if TYPE_CHECKING:
    from ...agents.result import Pending, RunResult
    from ..io.approval import Answers
    from ..io.live import Live
    from .spent import Spent

__all__ = ["Answer", "Ask", "Command", "Face", "Left", "Request"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """Something is asked of the workflow."""

    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the session, such as ``resume``; ``text`` is all that was typed."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A program answers what the last run waits for, as `Workflow.resume` takes it."""

    answers: Mapping[str, Any]


Request = Ask | Command | Answer


@dataclass(frozen=True, slots=True)
class Left:
    """The last run of a conversation, where it was stopped, failed, or waits for somebody."""

    run: str
    status: str


class Face(ABC):
    """Where the user of a session is. Three things differ: how they ask, how they approve, how a run is shown.

    Args:
        spent: What the session has cost so far.
    """

    attended = True
    """Somebody is there to see what waits, so that the session ends well whatever its last run waits for."""

    def __init__(self, spent: Spent) -> None:
        self.spent = spent
        self.runner = Runner()

    @abstractmethod
    def request(self) -> Request | None:
        """Wait for what is wanted next; None once nothing more can come.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed, and nothing had been typed.
            ConfigError: What came is no request.
        """

    @abstractmethod
    def answers(self, waiting: Sequence[Pending]) -> Answers | None:
        """Ask about acts that wait for approval; None where they wait on.

        Args:
            waiting: The acts.
        """

    @abstractmethod
    def live(self) -> Live:
        """What shows the events of one run."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to its end, or to a Ctrl-C, which cancels it.

        Args:
            work: What to run.

        Raises:
            KeyboardInterrupt: It was cancelled.
        """
        return self.runner.run(work)

    def say(self, text: str) -> None:
        """Tell something beside the answers."""
        progress(text)

    def began(self, name: str, thread: str, left: Left | None) -> None:
        """Say what is talked with.

        Args:
            name: The workflow.
            thread: The conversation.
            left: What an earlier session left of it.
        """
        self.say(f"{line(name)}, conversation {line(thread)}; /help says more")
        if left is not None:
            self.say(f"its last run is {left.status.replace('_', ' ')}: /resume goes on with it")

    def stopped(self, run: str) -> None:
        """Say that Ctrl-C has stopped what ran.

        Args:
            run: The run that can be gone on with; empty where none was begun.
        """
        self.say("stopped; what is done is kept" + (": /resume goes on" if run else ""))

    def failed(self, said: str) -> None:
        """Say what ended a run, or why something was not done."""
        self.say(f"error: {said}")

    @abstractmethod
    def ended(self, outcome: RunResult[Any], live: Live) -> None:
        """Show what came out of a run that ended or waits, as far as it has not been streamed.

        Args:
            outcome: How it ended.
            live: What showed it.
        """

    def close(self) -> None:
        """End what runs are run in."""
        self.runner.close()
