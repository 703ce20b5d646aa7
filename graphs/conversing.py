"""A workflow's side of a conversation: what was said before a run, and what a run adds once it has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from langchain_core.messages import BaseMessage, HumanMessage

from ..agents.conversations import Thread, occupied
from ..agents.result import Output, RunResult, Status
from ..agents.runtime import Runtime
from ..configs.errors import ConfigError
from .given import told

__all__ = ["THREAD_TAG", "Conversation", "conversed"]

THREAD_TAG: Final = "thread:"
"""Prefix of the tag that names a run's thread, for when the run is resumed."""


_LAST_RUNS: Final = 16


@dataclass
class Conversation:
    """What was said in a thread.

    Attributes:
        thread: Where it is stored; None for a run outside any thread.
        earlier: What was said and answered, oldest first.
        runs: The runs whose messages were added last, so that none is added twice.
        waiting: Run -> what it was asked, as earlier versions stored it for runs that wait for a person.
    """

    thread: Thread | None = None
    earlier: list[BaseMessage] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    waiting: dict[str, list[BaseMessage]] = field(default_factory=dict)

    async def kept(self, asked: Sequence[BaseMessage] | None, result: RunResult[Output]) -> RunResult[Output]:
        """Store what a run was asked and what it answered; a run that waits or failed changes nothing.

        Args:
            asked: What it was asked at its start; None if that is gone, as it is once it was added.
            result: How it ended.

        Returns:
            The result, with a note if the conversation cannot be stored.
        """
        if self.thread is None or result.status in (Status.FAILED, Status.INTERRUPTED, Status.PENDING):
            return result
        if (asked := self.waiting.pop(result.run, asked)) is None or result.run in self.runs:
            return result
        words = [HumanMessage(told([one]).partition(": ")[2]) for one in asked]
        self.earlier += [*words, *result.messages]
        self.runs = [*self.runs, result.run][-_LAST_RUNS:]
        try:
            await self.thread.keep({"messages": self.earlier, "waiting": self.waiting, "runs": self.runs})
        except ConfigError as error:
            return replace(result, notes=(*result.notes, f"the conversation does not know of this run: {error}"))
        return result


@asynccontextmanager
async def conversed(runtime: Runtime, workflow: str, thread: str | None) -> AsyncIterator[Conversation]:
    """Hold a thread exclusively inside the block, with what was said in it.

    Args:
        runtime: Runtime whose state stores it.
        workflow: Name of the workflow.
        thread: The thread; None for none.

    Raises:
        ThreadBusy: Another run has it.
    """
    if thread is None:
        yield Conversation()
        return
    # Before anything is stored: the dispatcher checks whether the state is the user's own.
    _ = runtime.dispatcher
    with occupied(runtime.settings.state, f"workflow {workflow}", thread) as kept:
        known = await kept.load() or {}
        yield Conversation(
            kept, list(known.get("messages", ())), list(known.get("runs", ())), dict(known.get("waiting", {}))
        )
