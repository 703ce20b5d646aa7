"""`Execution`: a graph driven within the bounds of a run, watched, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..agents.approval.answers import pending_of
from ..agents.compiled import kept_around
from ..agents.errors import CutOff, RunTimeout, StepLimit
from ..agents.result import RunResult, Status, StepRecord
from ..agents.runs import Bounds, Run, Taken, ask_person, run_scope, tick_off
from ..agents.runtime import Runtime
from ..configs.errors import ConfigError
from ..dispatch.calls.retraction import retracts
from ..ledger.rows import CallRow
from .checkpoints import prune
from .events import Called, Emit, Retracted, Stepped, Token
from .outputs import Outputs

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["Execution", "thread"]

_DURABILITY: Literal["sync"] = "sync"
"""A step that has ended is on the disk before the next begins: otherwise it would run again after a crash."""


def thread(run: str) -> RunnableConfig:
    """The configuration under which LangGraph keeps a run.

    Args:
        run: Its id.
    """
    return {"configurable": {"thread_id": run}}


@dataclass(frozen=True, slots=True)
class Execution:
    """One part of a run: from its start, or from where it stopped, to its end or the next stop.

    Attributes:
        name: What is run, for the ledger.
        opened: Opens the graph over the checkpoints of its runs.
        outputs: What its outputs are typed by.
        runtime: What it runs on.
        emit: Called with each event as it happens.
    """

    name: str
    opened: Callable[[], AbstractAsyncContextManager[CompiledStateGraph[Any, Any, Any, Any]]]
    outputs: Outputs
    runtime: Runtime
    emit: Emit | None

    async def run(self, work: Any, taken: Taken | None, bounds: Bounds) -> RunResult:
        """Run this part, and keep the person's queue in step with it.

        Args:
            work: LangGraph's input; None to go on as after a crash.
            taken: The run that is taken up again, which the caller owns.
            bounds: What bounds it.

        Raises:
            ConfigError: There is nothing to be taken up.
            CutOff: A bound ended it; the error has the run so far.
        """
        emit = self.emit

        def observe(row: CallRow) -> None:
            if emit is not None:
                emit(Called(row))

        with run_scope(self.runtime, self.name, taken=taken, bounds=bounds, observe=observe) as books:
            async with self.opened() as graph:
                config = thread(books.id)
                # LangGraph counts the input as a superstep of its own.
                config["recursion_limit"] = (books.row.max_steps or 0) + 1
                if taken and (await graph.aget_state(config)).created_at is None:
                    raise ConfigError(f"run {books.id} cannot be resumed: it ended before its first step")
                try:
                    await _bounded(graph, work, config, books, emit)
                except CutOff as error:
                    error.run = books.id
                    error.result = await self._outcome(graph, config, books, Status.FAILED)
                    raise
                result = await self._outcome(graph, config, books)
                if not result.pending:
                    await prune(graph, books.id)
            if taken:
                await asyncio.to_thread(tick_off, self.runtime, books.id)
            if taken or result.pending:
                await asyncio.to_thread(ask_person, self.runtime, books.id, result.pending)
            return result

    async def _outcome(
        self,
        graph: CompiledStateGraph[Any, Any, Any, Any],
        config: RunnableConfig,
        books: Run,
        status: Status | None = None,
    ) -> RunResult:
        """What the checkpoint tells of a run, which ended so where no status is given."""
        snapshot = await graph.aget_state(config)
        state = snapshot.values
        pending = [pending_of(stop) for task in snapshot.tasks for stop in task.interrupts]
        steps = tuple(map(self.outputs.record, state.get("done", [])))
        return await books.result(
            self.outputs.output(state.get("output"), steps),
            status=status
            or (Status(said) if (said := state.get("status")) and not pending else None)
            or Status.of_run(steps, pending=bool(pending)),
            steps=steps,
            pending=pending,
            notes=state.get("notes", []),
        )


async def _bounded(
    graph: CompiledStateGraph[Any, Any, Any, Any], work: Any, config: Any, books: Run, emit: Emit | None
) -> None:
    """Run the graph within the run's time and steps."""
    from langgraph.errors import GraphRecursionError

    seconds, most = books.row.timeout, books.row.max_steps or 0
    clock = asyncio.timeout(seconds)
    try:
        async with clock:
            with kept_around():
                await _watch(graph, work, config, emit)
    except TimeoutError as error:
        if not clock.expired():
            raise
        raise RunTimeout(books.id, seconds or 0) from error
    except GraphRecursionError as error:
        raise StepLimit(books.id, most) from error


async def _watch(graph: CompiledStateGraph[Any, Any, Any, Any], work: Any, config: Any, emit: Emit | None) -> None:
    """Run the graph, passing on what happens."""
    if emit is None:
        await graph.ainvoke(work, config, durability=_DURABILITY)
        return
    modes: Any = ["updates", "messages"]
    parts: AsyncIterator[Any] = graph.astream(work, config, stream_mode=modes, subgraphs=True, durability=_DURABILITY)
    async for _namespace, mode, part in parts:
        if mode == "messages":
            message, facts = part
            agent = str(facts.get("lc_agent_name") or facts.get("langgraph_node", ""))
            if retracts(message):
                emit(Retracted(agent))
            elif message.type == "AIMessageChunk" and (text := str(message.text)):
                emit(Token(agent, text))
            continue
        for update in part.values():
            for dump in update.get("done", ()) if isinstance(update, Mapping) else ():
                emit(Stepped(StepRecord.restored(dump)))
