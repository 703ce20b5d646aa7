"""`Workflow`: a named graph of agents that can be run, watched, stopped for approval and taken up again."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from operator import is_not
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args, overload

from pydantic import BaseModel

from ..agents.agent import Agent
from ..agents.approval.answers import answers_by_id, in_words, pending_of
from ..agents.owner import owned
from ..agents.result import Output, Pending, RunResult
from ..agents.runs import Bounds, check_task, note_answers, row_of, taken_up
from ..agents.runtime import Runtime
from ..configs.arguments import checked
from ..configs.errors import ConfigError
from ..configs.loading.layers import suggest
from ..dispatch import sync
from .checkpoints import checkpoints
from .events import Emit, Event, events_of
from .execution import Execution, thread
from .outputs import Outputs

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph import StateGraph
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.types import Command, Interrupt

__all__ = ["Answers", "Workflow"]

Plan = Literal["model", "in_order"]
Model = TypeVar("Model", bound=BaseModel)
GraphOn = Callable[[Runtime], "StateGraph[Any, Any, Any, Any]"]

Answers = Mapping[str, Any] | str | bool
"""Id of what waits -> answer, or the answer itself where one thing waits; see `pointsman.agents.approval.answers`."""


class Workflow(Generic[Output]):
    """Agents under a supervisor, or a graph of your own, made into something to run.

    With ``output=Invoice`` it is a ``Workflow[Invoice | None]``: while a run waits for a person it has no output.

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

    @overload
    def __init__(
        self: Workflow[Any],
        name: str,
        agents: Sequence[Agent] = (),
        *,
        graph: GraphOn | None = None,
        plan: Plan = "model",
        output: None = None,
        retries: int = 2,
    ) -> None: ...

    @overload
    def __init__(
        self: Workflow[Model | None],
        name: str,
        agents: Sequence[Agent] = (),
        *,
        graph: GraphOn | None = None,
        plan: Plan = "model",
        output: type[Model],
        retries: int = 2,
    ) -> None: ...

    @checked
    def __init__(
        self,
        name: str,
        agents: Sequence[Agent] = (),
        *,
        graph: GraphOn | None = None,
        plan: Plan = "model",
        output: type[BaseModel] | None = None,
        retries: int = 2,
    ) -> None:
        _check(name, agents, graph, plan, retries)
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

    @checked
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
    ) -> RunResult[Output]:
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
        return await self._execution(runtime or Runtime.default(), emit).run({"task": task}, None, bounds)

    run = sync.blocking(arun)

    @checked
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
    ) -> RunResult[Output]:
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
            return await self._execution(home, emit).run(work, taken, bounds)

    resume = sync.blocking(aresume)

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

    pending = sync.blocking(apending)

    async def _stops(self, run: str, runtime: Runtime) -> list[Interrupt]:
        async with self._compiled(runtime) as graph:
            snapshot = await graph.aget_state(thread(run))
        return [stop for task in snapshot.tasks for stop in task.interrupts]

    async def _answered(self, run: str, given: Answers, runtime: Runtime) -> Command[Any]:
        """What to go on with after a person has answered, once the ledger has it."""
        from langgraph.types import Command

        stops = await self._stops(run, runtime)
        answers = answers_by_id(given, [(stop.id, stop.value) for stop in stops])
        acts = [pending_of(stop) for stop in stops if stop.id in answers]
        await asyncio.to_thread(note_answers, runtime, run, [(act, in_words(act, answers[act.id])) for act in acts])
        return Command(resume=answers)

    @checked
    def astream(
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
    ) -> AsyncIterator[Event[Output]]:
        """Run and yield each event as it happens: tokens, calls, steps, and last the result; arguments as `arun`."""
        return events_of(
            lambda emit: self.arun(
                task,
                max_cost=max_cost,
                max_steps=max_steps,
                timeout=timeout,
                user=user,
                user_class=user_class,
                tags=tags,
                runtime=runtime,
                emit=emit,
            )
        )

    stream = sync.iterating(astream)

    def _execution(self, runtime: Runtime, emit: Emit | None) -> Execution:
        outputs = Outputs.of(self.output, self.agents)
        return Execution(self.name, lambda: self._compiled(runtime), outputs, runtime, emit)

    @asynccontextmanager
    async def _compiled(self, runtime: Runtime) -> AsyncIterator[CompiledStateGraph[Any, Any, Any, Any]]:
        await runtime.reach(chain.from_iterable(agent.tools for agent in self.agents))
        async with checkpoints(runtime.settings.state, Outputs.of(self.output, self.agents).names) as saver:
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


def _check(name: Any, agents: Any, graph: object, plan: Any, retries: Any) -> None:
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"a workflow needs a name first, such as Workflow('desk', agents=[…]), not {name!r}")
    if isinstance(agents, Agent | str) or not all(isinstance(agent, Agent) for agent in agents):
        raise ConfigError(f"workflow {name!r}: agents must be a list of Agent(…)")
    if plan not in get_args(Plan):
        near = suggest(str(plan), get_args(Plan))
        raise ConfigError(f"workflow {name!r}: plan is {plan!r}, which is not one of {', '.join(get_args(Plan))}{near}")
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ConfigError(f"workflow {name!r}: retries is {retries!r}: give a whole number of 0 or more")
    names = [agent.name for agent in agents]
    if not agents and graph is None:
        raise ConfigError(f"workflow {name!r} has no agents: give agents=[…] or graph=…")
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice:
        raise ConfigError(f"workflow {name!r} has two agents named {twice!r}: names must differ")


def _given(agent: Agent) -> Iterator[object]:
    """The agent, and what it was given."""
    yield agent
    yield from (value for name, value in vars(agent).items() if not name.startswith("_"))
