"""`Execution`: a graph driven within the bounds of a run, watched, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..agents.approval.answers import pending_of
from ..agents.compiled import kept_around
from ..agents.errors import CutOff, RunTimeout, StepLimit
from ..agents.handoffs import ask_person, tick_off
from ..agents.result import RunResult, Status, StepRecord
from ..agents.runs import Bounds, Run, Taken, run_scope
from ..agents.runtime import Runtime
from ..backends.base import BackendError
from ..configs.errors import ConfigError, PointsmanError
from ..dispatch.calls.retraction import retracts
from ..dispatch.errors import AllFailed
from ..dispatch.journal import CALLS
from ..ledger.budgets.budgets import BudgetExceeded
from ..ledger.points import Point, reached
from ..ledger.rows import CallRow
from ..ledger.storage.fences import Fenced
from .checkpoints import prune
from .events import Called, Emit, Retracted, Stepped, Token
from .outputs import Outputs

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["Execution", "thread"]

_OUTSIDE = (AllFailed, BackendError, BudgetExceeded, ConfigError, CutOff)
"""Errors that are for nothing that a model said."""
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
        opened: Opens the graph over the checkpoints of its runs, to be written with a fencing token.
        outputs: What its outputs are typed by.
        runtime: What it runs on.
        emit: Called with each event as it happens.
    """

    name: str
    opened: Callable[[int], AbstractAsyncContextManager[CompiledStateGraph[Any, Any, Any, Any]]]
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
            PointsmanError: What ended it, a bound among others; the error has the run so far.
        """
        emit = self.emit

        def observe(row: CallRow) -> None:
            if emit is not None:
                emit(Called(row))

        with run_scope(self.runtime, self.name, taken=taken, bounds=bounds, observe=observe) as books:
            async with self.opened(books.lease.token) as graph:
                config = thread(books.id)
                # LangGraph counts the input as a superstep of its own.
                config["recursion_limit"] = (books.row.max_steps or 0) + 1
                if taken and (await graph.aget_state(config)).created_at is None:
                    raise ConfigError(
                        f"run {books.id} cannot be resumed: nothing is kept of it, since it "
                        "ended before its first step or was pruned"
                    )
                try:
                    await _bounded(graph, work, config, books, emit)
                except Exception as error:
                    await self._failed(error, graph, config, books)
                    raise
                result = await self._outcome(graph, config, books)
                if not result.pending:
                    await prune(graph, books.id)
                    await self._forget(books)
            reached(Point.LEDGER)
            if taken:
                await asyncio.to_thread(tick_off, self.runtime, books.id)
            if taken or result.pending:
                await asyncio.to_thread(ask_person, self.runtime, books.id, result.pending)
            return result

    async def _failed(
        self, error: Exception, graph: CompiledStateGraph[Any, Any, Any, Any], config: RunnableConfig, books: Run
    ) -> None:
        """Note in what ended a run how far that came, and what of it is not to be relied upon."""
        if isinstance(error, Fenced):
            return
        if not isinstance(error, _OUTSIDE):
            # It may be for what a model said, so that is asked anew.
            await self._forget(books, CALLS)
        if isinstance(error, PointsmanError):
            error.run = error.run or books.id
            error.result = await self._outcome(graph, config, books, Status.FAILED)

    async def _forget(self, books: Run, names: str = "") -> None:
        """Delete what the run kept for the case that it is cut off, under names that begin so."""
        if books.journal is not None and books.journal.used:
            # The run is done: what cannot be deleted now must not make it fail.
            with suppress(ConfigError):
                await asyncio.to_thread(self.runtime.ledger.kept.forget, books.id, names)

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
