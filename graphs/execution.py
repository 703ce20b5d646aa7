"""`Execution`: run a graph within the bounds of a run, watch it, and report the outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from langchain_core.messages import AIMessage
from langgraph.checkpoint.base import BaseCheckpointSaver

from ..agents.approval.answers import pending_of
from ..agents.approval.taint import View, in_view, viewed
from ..agents.bounds import Bounds
from ..agents.compiled import kept_around
from ..agents.containment.exits import exits
from ..agents.errors import RunTimeout, StepLimit
from ..agents.handoffs import ask_person, tell, tick_off
from ..agents.result import ENDED, Pending, RunResult, Status
from ..agents.runs import Run, Taken, carried_out
from ..agents.runtime import Runtime
from ..agents.verification.verifier import as_text
from ..backends.base import BackendError
from ..configs.errors import ConfigError
from ..configs.words import Trust
from ..dispatch.context import current
from ..dispatch.errors import AllFailed
from ..dispatch.journal import CALLS
from ..dispatch.state.files import forget
from ..ledger.budgets.budgets import BudgetExceeded
from ..ledger.points import Point, reached
from ..ledger.rows import CallRow
from ..ledger.storage.fences import Fenced
from .checkpoints import prune
from .events import Called, Emit
from .given import keep, kept, work_of
from .outputs import Outputs, given_out
from .watching import INNER, happened

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.types import Command, StateSnapshot

    Graph: TypeAlias = CompiledStateGraph[Any, Any, Any, Any]

__all__ = ["Ended", "Execution", "NothingKept", "thread"]

_OUTSIDE = (AllFailed, BackendError, BudgetExceeded, ConfigError, RunTimeout, StepLimit)
"""Errors that are not caused by what a model said."""
_ENDS = (*ENDED, Status.FAILED)
"""What a graph's own ``status`` may say about how it ended; any other value is not interpreted."""
_EDGE: Final = "branch:to:"
_SENDS: Final = "__pregel_tasks"
"""Where LangGraph keeps which nodes come next (`langgraph.graph.state`, `langgraph._internal._constants`)."""
_DURABILITY: Literal["sync"] = "sync"
"""A step that has ended is on disk before the next begins: otherwise it would run again after a crash."""


class NothingKept(ConfigError):
    """A run cannot be resumed because nothing is stored of it; nothing was called or done."""


def thread(run: str) -> RunnableConfig:
    """Return the configuration under which LangGraph stores a run.

    Args:
        run: Its id.
    """
    return {"configurable": {"thread_id": run}}


Ended = Callable[[RunResult], Awaitable[RunResult]]


@dataclass(frozen=True, slots=True)
class Execution:
    """One part of a run: from its start, or from where it stopped, to its end or the next stop.

    Attributes:
        name: What is run, for the ledger.
        opened: Opens the graph over the checkpoints of its runs, to be written with a fencing token.
        outputs: The types of its outputs.
        runtime: What it runs on.
        emit: Called with each event as it happens.
        ended: Called once with how the run ended, before its input is deleted; returns the result to be returned.
        news: What waits for a person and is to be notified.
    """

    name: str
    opened: Callable[[int], AbstractAsyncContextManager[Graph]]
    outputs: Outputs
    runtime: Runtime
    emit: Emit | None
    ended: Ended
    news: list[Pending] = field(default_factory=list)

    async def begin(self, asked: Sequence[BaseMessage], bounds: Bounds) -> RunResult:
        """Run the first part, and notify somebody of what then waits.

        Args:
            asked: The conversation; its last message asks.
            bounds: Its limits.
        """
        return await self.told(await self.run(None, None, bounds, asked))

    async def run(
        self, answers: Command[Any] | None, taken: Taken | None, bounds: Bounds, asked: Sequence[BaseMessage] = ()
    ) -> RunResult:
        """Run this part, and keep the person's queue in step with it.

        Args:
            answers: What a person has answered; None to continue as after a crash.
            taken: The run that is resumed, which the caller holds.
            bounds: Its limits.
            asked: The input of a new run.

        Raises:
            ConfigError: There is nothing to resume, or the run cannot start, and nothing was called or done.
            RunOwned: Somebody else has taken it over.
        """
        emit = self.emit

        def observe(row: CallRow) -> None:
            if emit is not None:
                emit(Called(row))

        part = partial(self._part, answers, taken, asked)
        return await carried_out(part, self.runtime, self.name, taken=taken, bounds=bounds, observe=observe)

    async def _part(
        self, answers: Command[Any] | None, taken: Taken | None, asked: Sequence[BaseMessage], running: Run
    ) -> RunResult:
        """Run the graph to its end, or to where a person is needed, and update the ledger."""
        if not taken:
            asked = keep(asked, self.runtime.settings.state, running.id, running.journal)
        # Whoever looks for the run after a kill finds it; what cannot be written yet keeps nobody from reading.
        with suppress(ConfigError):
            await asyncio.to_thread(self.runtime.ledger.flush)
        reached(Point.BEGIN)
        async with self.opened(running.lease.token) as graph:
            config = thread(running.id)
            # LangGraph counts the input as a superstep of its own.
            config["recursion_limit"] = (running.row.max_steps or 0) + 1
            if taken and (await graph.aget_state(config)).created_at is None:
                asked = await self._given(taken, running)
            elif taken:
                await _refuse_changed(graph, config, running.id)
            try:
                work = await self._input(graph, running, asked) if asked else answers
                await _bounded(graph, work, config, running, self.emit)
                result = await self._outcome(graph, await graph.aget_state(config), running)
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, Exception) or running.lease.cancelled:
                    await self._cut_off(error, graph, config, running)
                raise
            if taken is None or taken.row.status not in ENDED:
                result = await self.ended(result)
            if not result.pending:
                await prune(graph, running.id)
                await self._let_go(running)
        reached(Point.LEDGER)
        if taken:
            await asyncio.to_thread(tick_off, self.runtime, running.id)
        if taken or result.pending:
            self.news.extend(await asyncio.to_thread(ask_person, self.runtime, running.id, result.pending))
            reached(Point.WAITING)
        return result

    async def _given(self, taken: Taken, running: Run) -> Sequence[BaseMessage]:
        """What a run was given that was cut off before its graph had begun, and so has done nothing."""
        # Whatever has done something had a checkpoint before it, and would do it again.
        idle = not taken.calls and not taken.journal.acts
        found = await kept(taken.journal) if idle else None
        if found is None:
            running.gone = True
            # Nobody can answer what it waited for.
            await asyncio.to_thread(ask_person, self.runtime, running.id, ())
            kind = NothingKept if idle else ConfigError
            raise kind(f"run {taken.row.id} cannot be resumed: nothing is kept of it any more")
        return found

    async def _input(self, graph: Graph, running: Run, asked: Sequence[BaseMessage]) -> dict[str, Any]:
        """What LangGraph is given, which it has on the disk before the first node runs."""
        try:
            return work_of(asked, graph)
        except ConfigError:
            # It can never begin.
            await self._let_go(running)
            raise

    async def _cut_off(self, error: BaseException, graph: Graph, config: RunnableConfig, running: Run) -> None:
        """Note how far a run came, and forget what of it is not to be relied upon."""
        if isinstance(error, Fenced):
            return
        if isinstance(error, Exception) and not isinstance(error, _OUTSIDE):
            # It may be for what a model said, so that is asked anew.
            await self._forget(running, CALLS)
        try:
            snapshot = await graph.aget_state(config)
        except ConfigError:
            # What cannot be read now may hold steps. What ended the run is told all the same.
            running.begun = True
            return
        acted = running.journal is not None and running.journal.acted
        running.begun = running.begun or acted or _has_stepped(graph, snapshot)
        running.so_far = await self._outcome(graph, snapshot, running, Status.FAILED)

    async def _forget(self, running: Run, names: str = "") -> None:
        """Delete what the run kept for the case that it is cut off, under names that begin so."""
        if running.journal is not None:
            # The run is done: what cannot be deleted now must not make it fail.
            with suppress(ConfigError):
                forget_kept = partial(self.runtime.ledger.kept.forget, token=running.lease.token)
                await asyncio.to_thread(forget_kept, running.id, names)

    async def told(self, result: RunResult) -> RunResult:
        """Notify somebody of what now waits, once nobody holds the run any more; a failed notification is noted.

        Args:
            result: How this part ended.
        """
        if not self.news:
            return result
        notes = await asyncio.to_thread(tell, self.runtime, result.run, self.name, self.news)
        return replace(result, notes=(*result.notes, *notes))

    async def _let_go(self, running: Run) -> None:
        """Delete what the run was given and has kept: it cannot be taken up any more."""
        # First, since it is refused where somebody else has taken the run over, who needs the files, too.
        await self._forget(running)
        await asyncio.to_thread(forget, self.runtime.settings.state, running.id)

    async def _outcome(
        self,
        graph: Graph,
        snapshot: StateSnapshot,
        running: Run,
        status: Status | None = None,
    ) -> RunResult:
        """Return a run's result from its checkpoint; ``status`` is given if it was cut off and has no output."""
        state = snapshot.values
        # The checkpoint of a run that was cut off does not show what has been answered.
        stops = [stop for task in snapshot.tasks for stop in task.interrupts] if status is None else []
        pending = [pending_of(stop, running.id) for stop in stops]
        steps = tuple(map(self.outputs.record, state.get("done", [])))
        result: RunResult = await running.result(
            self.outputs.output(given_out(graph, state), steps) if status is None else None,
            status=status
            or (Status(said) if (said := state.get("status")) in _ENDS and not pending else None)
            or Status.of_run(steps, pending=bool(pending)),
            steps=steps,
            pending=pending,
            notes=state.get("notes", []),
        )
        if result.output is None or pending:
            return result
        view = _view_of(result, state)
        return replace(result, messages=(viewed(AIMessage(as_text(result.output), name=self.name), view),))


def _view_of(result: RunResult, state: Mapping[str, Any]) -> View:
    """Return what was in view when the output of a run was written, as its steps and its agents' messages say."""
    found = state.get("messages")
    said = [one for one in found if isinstance(one, AIMessage)] if isinstance(found, list) else []
    shown = in_view(said, {}).trust if said else Trust.USER
    return View(min([current().trust, shown, *(Trust(step.trust) for step in result.steps)]))


def _has_stepped(graph: Graph, snapshot: StateSnapshot) -> bool:
    """Return whether a user's node has ended; the supervisor's nodes act only through calls."""
    supervised = any(INNER.items() <= (node.metadata or {}).items() for node in graph.nodes.values())
    # LangGraph counts the nodes' supersteps from 1.
    return not supervised and (snapshot.metadata or {}).get("step", 0) > 0


async def _refuse_changed(graph: Graph, config: RunnableConfig, run: str) -> None:
    """Refuse a graph that lacks a node at which the run stopped: LangGraph would treat the run as ended.

    Raises:
        ConfigError: The graph lacks such a node.
    """
    kept = await graph.checkpointer.aget_tuple(config) if isinstance(graph.checkpointer, BaseCheckpointSaver) else None
    values: Mapping[str, Any] = kept.checkpoint["channel_values"] if kept is not None else {}
    next_ = {name.removeprefix(_EDGE) for name in values if name.startswith(_EDGE)}
    next_ |= {send.node for send in values.get(_SENDS) or ()}
    if gone := sorted(next_ - graph.nodes.keys()):
        raise ConfigError(
            f"run {run} cannot be resumed: it goes on with {', '.join(map(repr, gone))}, which its graph has no more: "
            f"put the graph back as it was, and go on with: pointsman resume {run}"
        )


async def _bounded(graph: Graph, work: Any, config: Any, running: Run, emit: Emit | None) -> None:
    """Run the graph within the run's time and steps."""
    from langgraph.errors import GraphRecursionError

    seconds, most = running.row.timeout, running.row.max_steps or 0
    clock = asyncio.timeout(seconds)
    try:
        async with clock:
            with kept_around(), exits(f"code of {running.row.target!r}"):
                await _watch(graph, work, config, emit)
    except TimeoutError as error:
        if not clock.expired():
            raise
        raise RunTimeout(running.id, seconds or 0) from error
    except GraphRecursionError as error:
        raise StepLimit(running.id, most) from error


async def _watch(graph: Graph, work: Any, config: Any, emit: Emit | None) -> None:
    """Run the graph, passing on what happens."""
    if emit is None:
        await graph.ainvoke(work, config, durability=_DURABILITY)
        return
    modes: Any = ["updates", "messages", "tasks"]
    run: str = config["configurable"]["thread_id"]
    parts: AsyncIterator[Any] = graph.astream(work, config, stream_mode=modes, subgraphs=True, durability=_DURABILITY)
    saver: Any = graph.checkpointer
    earlier = await saver.abegun(run)
    async for namespace, mode, part in parts:
        for event in happened(run, namespace, mode, part, earlier):
            emit(event)
