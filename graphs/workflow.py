"""`Workflow`: a named graph of agents that can be run, watched, stopped for approval and taken up again."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import chain
from operator import is_not
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel

from ..agents.agent import Agent, kept_around
from ..agents.approval.answers import answers_by_id, in_words, pending_of
from ..agents.errors import CutOff, RunTimeout, StepLimit
from ..agents.owner import owned
from ..agents.result import Pending, RunResult, Status, StepRecord
from ..agents.runs import (
    Bounds,
    Run,
    Taken,
    ask_person,
    check_task,
    note_answers,
    row_of,
    run_scope,
    taken_up,
    tick_off,
)
from ..agents.runtime import Runtime
from ..configs.errors import ConfigError
from ..dispatch import sync
from ..dispatch.calls.retraction import retracts
from ..ledger.rows import CallRow
from .checkpoints import checkpoints, prune
from .events import Called, Emit, Event, Finished, Retracted, Stepped, Token

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph import StateGraph
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.types import Command, Interrupt

__all__ = ["Workflow"]

_DURABILITY: Literal["sync"] = "sync"
"""A step that has ended is on the disk before the next begins: otherwise it would run again after a crash."""

Plan = Literal["model", "in_order"]

Answers = Mapping[str, Any] | str | bool
"""Id of what waits -> answer, or the answer itself where one thing waits; see `pointsman.agents.approval.answers`."""


class Workflow:
    """Agents under a supervisor, or a graph of your own, made into something to run.

    Args:
        name: Its name in ledger and progress.
        agents: The agents it may use.
        graph: Builds the StateGraph to run on a given runtime; the supervisor over ``agents`` when absent. Its state
            needs ``task`` for the input and ``output`` for the result.
        plan: How the supervisor plans: by a ``model``, or each agent once ``in_order``.
        output: Pydantic model of the output of ``graph``.
        retries: How often the supervisor has a step that a verifier doubts done again by a stronger model.

    Raises:
        ConfigError: When there is neither an agent nor a graph, two agents share a name, or an argument is not what it
            should be.
    """

    def __init__(
        self,
        name: str,
        agents: Sequence[Agent] = (),
        *,
        graph: Callable[[Runtime], StateGraph[Any, Any, Any, Any]] | None = None,
        plan: Plan = "model",
        output: type[BaseModel] | None = None,
        retries: int = 2,
    ) -> None:
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"a workflow needs a name first, such as Workflow('desk', agents=[…]): {name!r} is none")
        if isinstance(agents, Agent | str) or not all(isinstance(agent, Agent) for agent in agents):
            raise ConfigError(f"workflow {name!r}: agents must be a list of Agent(…)")
        if plan not in get_args(Plan):
            raise ConfigError(f"workflow {name!r}: plan is {plan!r}, which is none of {', '.join(get_args(Plan))}")
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise ConfigError(f"workflow {name!r}: retries is {retries!r}: give a whole number of 0 or more")
        names = [agent.name for agent in agents]
        if not agents and graph is None:
            raise ConfigError(f"workflow {name!r} has no agents: give agents=[…] or graph=…")
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice:
            raise ConfigError(f"workflow {name!r} has two agents named {twice!r}: names must differ")
        self.name = name
        self.agents = tuple(agents)
        self.plan = plan
        self.output = output
        self.retries = retries
        self._graph = graph
        self._built: tuple[Sequence[object], CompiledStateGraph[Any, Any, Any, Any]] | None = None

    def builder(self, runtime: Runtime | None = None) -> StateGraph[Any, Any, Any, Any]:
        """The plain LangGraph graph, not yet compiled, to mix with nodes of your own."""
        runtime = runtime or Runtime.default()
        if self._graph is not None:
            return self._graph(runtime)
        from .supervisor import supervisor

        return supervisor([agent.on(runtime) for agent in self.agents], runtime, plan=self.plan, retries=self.retries)

    def run(self, task: str, **bounds: Any) -> RunResult:
        """Run to the end, or to where a person is needed; arguments as `arun`."""
        return sync.run(self.arun(task, **bounds))

    async def arun(
        self,
        task: str,
        *,
        max_cost: float | None = None,
        max_steps: int | None = None,
        timeout: float | None = None,
        user: str = "",
        user_class: str | None = None,
        tags: Sequence[str] = (),
        runtime: Runtime | None = None,
        emit: Emit | None = None,
    ) -> RunResult:
        """Run to the end, or to where a person is needed.

        Args:
            task: What is asked.
            max_cost: USD the run may spend, sub-agents included.
            max_steps: Supersteps of the graph it may take, 50 when absent.
            timeout: Seconds it may take.
            user: Who it is for, in the ledger.
            user_class: Class of users whose limits in ``routing.yaml`` hold.
            tags: Free labels, in the ledger.
            runtime: What to run on; the working directory's project when absent.
            emit: Called with each event as it happens.

        Raises:
            ConfigError: On empty input, or when no model may run a step.
            BackendError: When every model that may run a step failed.
            RunTimeout: When the time is over; it is a TimeoutError, too.
            StepLimit: When the graph wants more supersteps.
            TurnLimit: When an agent comes to no answer.
        """
        check_task(task)
        bounds = Bounds(max_cost, max_steps, timeout, user, user_class, tags)
        return await self._drive({"task": task}, None, bounds, runtime or Runtime.default(), emit)

    def resume(self, run: str, answers: Answers | None = None, **bounds: Any) -> RunResult:
        """Take a run up where it stopped; arguments as `aresume`."""
        return sync.run(self.aresume(run, answers, **bounds))

    async def aresume(
        self,
        run: str,
        answers: Answers | None = None,
        *,
        max_cost: float | None = None,
        max_steps: int | None = None,
        timeout: float | None = None,
        user: str = "",
        user_class: str | None = None,
        tags: Sequence[str] = (),
        runtime: Runtime | None = None,
        emit: Emit | None = None,
    ) -> RunResult:
        """Take a run up where it stopped. What is left out here stays as it was when the run was started.

        Args:
            run: Its id.
            answers: Answers to what it waits for; None after a crash. Each is a decision of LangChain's
                human-in-the-loop protocol, ``{"type": "approve"}``, ``{"type": "reject", "message": …}``,
                ``{"type": "edit", "edited_action": {"name": …, "args": …}}`` or, for tools that only read,
                ``{"type": "respond", "message": …}``; also as ``{"decisions": [decision]}``, ``"approve"``,
                ``"reject"``, True or False.
            max_cost: USD the run may spend, what it has spent already included.
            max_steps: Supersteps this part may take.
            timeout: Seconds this part may take.
            user: Who it is for.
            user_class: Class of users whose limits hold.
            tags: Further labels.
            runtime: The runtime it ran on.
            emit: Called with each event as it happens.

        Returns:
            The outcome of the whole run: its cost, calls and steps are those of all its parts.

        Raises:
            ConfigError: There is no such run, or an answer is not understood; nothing was done then.
            RunOwned: Somebody works on it right now.
            BackendError: As `arun`.
            CutOff: As `arun`.
        """
        bounds = Bounds(max_cost, max_steps, timeout, user, user_class, tags)
        home = runtime or Runtime.default()
        await asyncio.to_thread(row_of, home, run)
        with owned(home.settings.state, run):
            taken = await asyncio.to_thread(taken_up, home, run)
            work = None if answers is None or answers == {} else await self._answered(run, answers, home)
            return await self._drive(work, taken, bounds, home, emit)

    def pending(self, run: str, runtime: Runtime | None = None) -> tuple[Pending, ...]:
        """What a run waits for; arguments as `apending`."""
        return sync.run(self.apending(run, runtime))

    async def apending(self, run: str, runtime: Runtime | None = None) -> tuple[Pending, ...]:
        """What a run waits for, without taking it up.

        Args:
            run: Its id.
            runtime: The runtime it ran on.

        Raises:
            ConfigError: There is no such run.
        """
        home = runtime or Runtime.default()
        await asyncio.to_thread(row_of, home, run)
        return tuple(map(pending_of, await self._stops(run, home)))

    async def _stops(self, run: str, runtime: Runtime) -> list[Interrupt]:
        async with self._compiled(runtime) as graph:
            snapshot = await graph.aget_state(_thread(run))
        return [stop for task in snapshot.tasks for stop in task.interrupts]

    async def _answered(self, run: str, given: Answers, runtime: Runtime) -> Command[Any]:
        """What to go on with after a person has answered, once the ledger has it."""
        from langgraph.types import Command

        stops = await self._stops(run, runtime)
        answers = answers_by_id(given, [(stop.id, stop.value) for stop in stops])
        acts = [pending_of(stop) for stop in stops if stop.id in answers]
        await asyncio.to_thread(note_answers, runtime, run, [(act, in_words(act, answers[act.id])) for act in acts])
        return Command(resume=answers)

    def stream(self, task: str, **bounds: Any) -> Iterator[Event]:
        """Run and iterate the events; arguments as `arun`."""
        return sync.stream(self.astream(task, **bounds))

    async def astream(self, task: str, **bounds: Any) -> AsyncIterator[Event]:
        """Run and yield each event as it happens: tokens, calls, steps, and last the result."""
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        loop, here = asyncio.get_running_loop(), threading.get_ident()

        def emit(event: Event) -> None:
            # A thread of a tool tells of its calls, too, and a queue is not for two threads.
            if threading.get_ident() == here:
                events.put_nowait(event)
            else:
                # The thread may outlive the loop, and then nobody listens any more.
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(events.put_nowait, event)

        work = asyncio.create_task(self.arun(task, emit=emit, **bounds))
        work.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield Finished(await work)
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work

    @asynccontextmanager
    async def _compiled(self, runtime: Runtime) -> AsyncIterator[CompiledStateGraph[Any, Any, Any, Any]]:
        async with checkpoints(runtime.settings.state, self._types()) as saver:
            if self._graph is None:
                yield self._supervised(runtime, saver)
            else:
                yield self.builder(runtime).compile(checkpointer=saver, store=runtime.store, name=self.name)

    def _supervised(self, runtime: Runtime, saver: BaseCheckpointSaver[Any]) -> CompiledStateGraph[Any, Any, Any, Any]:
        """The supervisor's graph over the checkpoints of a run, compiled anew where what it is made of has changed."""
        made_of = [runtime, self.name, self.plan, self.retries, *chain.from_iterable(map(_given, self.agents))]
        known, graph = self._built or ((), None)
        if graph is None or len(known) != len(made_of) or any(map(is_not, known, made_of)):
            graph = self.builder(runtime).compile(name=self.name)
            # A subclass may keep in itself what is of one run.
            if all(type(agent) is Agent for agent in self.agents):
                self._built = made_of, graph
        graph = copy.copy(graph)
        graph.checkpointer = saver
        return graph

    async def _drive(
        self,
        work: Any,
        taken: Taken | None,
        bounds: Bounds,
        runtime: Runtime,
        emit: Emit | None,
    ) -> RunResult:
        def observe(row: CallRow) -> None:
            if emit is not None:
                emit(Called(row))

        with run_scope(runtime, self.name, taken=taken, bounds=bounds, observe=observe) as books:
            async with self._compiled(runtime) as graph:
                config = _thread(books.id)
                # LangGraph counts the input as a superstep of its own.
                config["recursion_limit"] = (books.row.max_steps or 0) + 1
                if taken and (await graph.aget_state(config)).created_at is None:
                    raise ConfigError(f"run {books.id} has nothing to be taken up: it ended before its first step")
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
                await asyncio.to_thread(tick_off, runtime, books.id)
            if taken or result.pending:
                await asyncio.to_thread(ask_person, runtime, books.id, result.pending)
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
        steps = tuple(self._record(dump) for dump in state.get("done", []))
        return await books.result(
            self._typed(state.get("output"), steps),
            status=status or Status.of_run(steps, pending=bool(pending)),
            steps=steps,
            pending=pending,
            notes=state.get("notes", []),
        )

    def _typed(self, output: Any, steps: Sequence[StepRecord]) -> Any:
        if self.output is not None:
            return None if output is None else self.output.model_validate(output)
        return next((step.output for step in reversed(steps) if _plain(step.output) == output), output)

    def _record(self, dump: Mapping[str, Any]) -> StepRecord:
        """A step out of the checkpoint, its output typed again."""
        record = StepRecord.restored(dump)
        kind = next((agent.output for agent in self.agents if agent.name == record.agent), None)
        if kind is None or not isinstance(record.output, Mapping):
            return record
        return replace(record, output=kind.model_validate(record.output))

    def _types(self) -> list[tuple[str, str]]:
        return [(a.output.__module__, a.output.__qualname__) for a in self.agents if a.output is not None]


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


def _given(agent: Agent) -> Iterator[object]:
    """The agent, and what it was given."""
    yield agent
    yield from (value for name, value in vars(agent).items() if not name.startswith("_"))


def _thread(run: str) -> RunnableConfig:
    return {"configurable": {"thread_id": run}}


def _plain(output: Any) -> Any:
    return output.model_dump(mode="json") if isinstance(output, BaseModel) else output
