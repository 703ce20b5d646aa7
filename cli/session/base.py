"""The port of a session: the interface to its user, who is at a terminal, behind a pipe, or a program."""

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
    """An input for the workflow."""

    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the session, such as ``resume``; ``text`` is the whole typed line."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A program's answers to what the last run waits for, as `Workflow.resume` takes them."""

    answers: Mapping[str, Any]


Request = Ask | Command | Answer


@dataclass(frozen=True, slots=True)
class Left:
    """The last run of a conversation, if it was stopped, failed, or waits for somebody."""

    run: str
    status: str


class Face(ABC):
    """The interface to the user of a session. Three things differ: how they ask, how they approve, how a run is shown.

    Args:
        spent: What the session has cost so far.
    """

    attended = True
    """A person sees what waits, so that the session ends with code 0 whatever the state of its last run."""

    def __init__(self, spent: Spent) -> None:
        self.spent = spent
        self.runner = Runner()

    @abstractmethod
    def request(self) -> Request | None:
        """Wait for the next request; return None once no more can come.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed, and nothing had been typed.
            ConfigError: The input is not a request.
        """

    @abstractmethod
    def answers(self, waiting: Sequence[Pending]) -> Answers | None:
        """Ask about acts that wait for approval; return None if they keep waiting.

        Args:
            waiting: The acts.
        """

    @abstractmethod
    def live(self) -> Live:
        """Return the object that shows the events of one run."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, or until Ctrl-C cancels it.

        Args:
            work: The coroutine.

        Raises:
            KeyboardInterrupt: It was cancelled.
        """
        return self.runner.run(work)

    def say(self, text: str) -> None:
        """Show a text that is not part of an answer."""
        progress(text)

    def began(self, name: str, thread: str, left: Left | None) -> None:
        """Announce the conversation.

        Args:
            name: The workflow.
            thread: The conversation.
            left: The unfinished run that an earlier session left.
        """
        self.say(f"{line(name)}, conversation {line(thread)}; /help says more")
        if left is not None:
            self.say(f"its last run is {left.status.replace('_', ' ')}: /resume goes on with it")

    def stopped(self, run: str) -> None:
        """Say that Ctrl-C has stopped the run.

        Args:
            run: The run that can be continued; empty if none had begun.
        """
        self.say("stopped; what is done is kept" + (": /resume goes on" if run else ""))

    def failed(self, said: str) -> None:
        """Say which error ended a run, or why something was not done."""
        self.say(f"error: {said}")

    @abstractmethod
    def ended(self, outcome: RunResult[Any], live: Live) -> None:
        """Show the result of a run that ended or waits, unless it has been streamed.

        Args:
            outcome: How it ended.
            live: The object that showed it.
        """

    def close(self) -> None:
        """Close the event loop that runs use."""
        self.runner.close()
