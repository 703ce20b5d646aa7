"""The events of a running workflow."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic

from ..agents.result import Output, Pending, RunResult, StepRecord
from ..ledger.rows import CallRow

__all__ = [
    "Began",
    "Called",
    "Emit",
    "Event",
    "Finished",
    "Noted",
    "Retracted",
    "Stepped",
    "Token",
    "Used",
    "Using",
    "Waiting",
    "events_of",
]


@dataclass(frozen=True, slots=True)
class Began:
    """A step began.

    Attributes:
        step: Its id; in a graph of your own, the name of the node.
        agent: Who does it.
        path: The enclosing graphs, outermost first, by the names of their nodes; empty in the workflow's own graph.
    """

    step: str
    agent: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text as a model writes it; ``path`` as in `Began`."""

    agent: str
    text: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Retracted:
    """The tokens of this agent so far are withdrawn: their stream broke, and another model answers again."""

    agent: str


@dataclass(frozen=True, slots=True)
class Called:
    """A model call ended, well or not; its row names step and agent."""

    row: CallRow


@dataclass(frozen=True, slots=True)
class Using:
    """An agent is about to call a tool: a person and a verifier may still stop it. ``path`` as in `Began`."""

    agent: str
    tool: str
    arguments: Mapping[str, Any]
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Used:
    """A tool call has reported its result, or why it was not made.

    Attributes:
        tool: The tool.
        text: What the model is told.
        failed: Whether that is an error.
        path: As in `Began`.
    """

    tool: str
    text: str
    failed: bool = False
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """The run waits for a person."""

    pending: Pending


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that a reader of the run should know."""

    text: str


@dataclass(frozen=True, slots=True)
class Stepped:
    """A step ended."""

    record: StepRecord


@dataclass(frozen=True, slots=True)
class Finished(Generic[Output]):
    """The run ended, well or not; always the last event."""

    result: RunResult[Output]


Event = Began | Token | Retracted | Called | Using | Used | Waiting | Noted | Stepped | Finished[Output]
Emit = Callable[[Event], None]


async def events_of(begin: Callable[[Emit], Coroutine[Any, Any, RunResult[Output]]]) -> AsyncIterator[Event[Output]]:
    """Yield the events of a run as they happen, and finally its result; leaving early cancels the run.

    Args:
        begin: Starts the run, given a callback that takes each event.
    """
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    loop, here = asyncio.get_running_loop(), threading.get_ident()

    def emit(event: Event) -> None:
        # A tool's thread emits its calls, too, and the queue is not thread-safe.
        if threading.get_ident() == here:
            events.put_nowait(event)
        else:
            # The thread may outlive the loop, and then nobody listens.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(events.put_nowait, event)

    work = asyncio.create_task(begin(emit))
    work.add_done_callback(lambda _: events.put_nowait(None))
    try:
        while (event := await events.get()) is not None:
            yield event
        yield Finished(await work)
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
