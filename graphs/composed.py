"""`Composed`: what a workflow is made of, and the LangGraph graph that results."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from operator import is_not
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, TypedDict, get_args

from ..agents.agent import Agent
from ..agents.containment.exits import without_exits
from ..agents.runtime import Runtime
from ..agents.shared.memory import SharedMemory
from ..agents.spec.declared import declared_by
from ..configs.arguments import checked
from ..configs.errors import ConfigError
from ..configs.loading.layers import suggest
from .checkpoints import checkpoints, declared
from .outputs import Outputs

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph import StateGraph
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.store.base import BaseStore
    from pydantic import BaseModel

    from .supervision.plan import Plan

    Graph: TypeAlias = CompiledStateGraph[Any, Any, Any, Any]

__all__ = ["Composed", "GraphOn", "Planned", "WorkflowSpec"]

_Word = Literal["model", "in_order"]
Planned = _Word | Sequence[Mapping[str, Any]]
"""How a supervisor plans: by a model, each agent once in order, or exactly these steps."""
GraphOn = Callable[[Runtime], "StateGraph[Any, Any, Any, Any]"]


class WorkflowSpec(TypedDict, total=False):
    """The arguments of `Workflow` that say what it is, except its name, agents and output."""

    graph: GraphOn | None
    plan: Planned
    retries: int
    memory: bool
    store: BaseStore | None


class Composed:
    """The checked arguments of a workflow; they are those of `Workflow`."""

    @checked
    def __init__(
        self,
        name: str,
        agents: Sequence[Agent] = (),
        *,
        graph: GraphOn | None = None,
        plan: Planned = "model",
        output: type[BaseModel] | None = None,
        retries: int = 2,
        memory: bool = True,
        store: BaseStore | None = None,
    ) -> None:
        _check(name, agents, graph, plan, retries, memory)
        self.name = name
        self.agents = tuple(agents)
        self.plan: Planned = plan
        self.fixed = None if isinstance(plan, str) else _fixed(name, plan, self.agents)
        self.output = output
        self.retries = retries
        self.memory = memory
        self.store = store
        self._graph = graph
        self._built: tuple[Sequence[object], Graph] | None = None

    @classmethod
    def named(cls, name: str, runtime: Runtime | None = None) -> Self:
        """Return a workflow that ``agents.yaml`` describes, or an agent from there as a workflow.

        Args:
            name: Its name there.
            runtime: Runtime whose configuration is read; defaults to the working directory's project.

        Raises:
            ConfigError: There is no workflow or agent of that name.
        """
        settings = (runtime or Runtime.default()).settings
        if name in settings.workflows:
            entry = settings.workflows[name]
            agents = [Agent.from_entry(one, settings.agents[one]) for one in entry.agents]
            plan: Any = [step.model_dump(mode="json") for step in entry.steps] or entry.plan
            return cls(name, agents, plan=plan, retries=entry.retries, memory=entry.memory)
        if name in settings.agents:
            return cls(name, [Agent.from_entry(name, settings.agents[name])])
        near = suggest(name, [*settings.workflows, *settings.agents])
        raise ConfigError(f"agents.yaml describes no workflow or agent {name!r}{near}")

    @property
    def supervised(self) -> bool:
        """Whether the supervisor runs it, rather than a graph of your own."""
        return self._graph is None

    def builder(self, runtime: Runtime | None = None) -> StateGraph[Any, Any, Any, Any]:
        """Return the plain LangGraph graph, not yet compiled, to combine with your own nodes.

        Args:
            runtime: What it runs on; defaults to the working directory's project.
        """
        runtime = runtime or Runtime.default()
        if self._graph is not None:
            return self._graph(runtime)
        from .supervision.supervisor import supervisor

        agents = [agent.on(runtime) for agent in self.agents]
        word: _Word = "in_order" if self.plan == "in_order" else "model"
        return supervisor(agents, runtime, plan=self.fixed or word, retries=self.retries, memory=self.memory)

    def compile(self, runtime: Runtime | None = None) -> Graph:
        """Compile the graph for a host with its own checkpoints and store: LangGraph's server, or an enclosing graph.

        What it runs on is opened here, so that this does not block an event loop later. Approvals and the journal of
        acts work there too; the bounds of a run, its ownership and resuming it are up to the host.

        Args:
            runtime: What it runs on; defaults to the working directory's project.

        Raises:
            ConfigError: The state folder is not the user's own, or an agent names a model or tool that does not exist.
        """
        runtime = runtime or Runtime.default()
        _ = runtime.dispatcher
        # A server has a store of its own, and refuses one.
        return self.builder(runtime).compile(name=self.name, store=self.store)

    @asynccontextmanager
    async def compiled(self, runtime: Runtime, token: int | None = None) -> AsyncIterator[Graph]:
        """Provide the graph, compiled over the checkpoints of its runs.

        Args:
            runtime: What it runs on.
            token: Token of the run's holder, with which checkpoints are written; None to only read them.
        """
        await runtime.reach(chain.from_iterable(agent.tools for agent in self.agents))
        names = Outputs.of(self.output, self.agents).names
        async with checkpoints(runtime.settings.state, names, token=token) as saver:
            if self._graph is None:
                yield self._supervised(runtime, saver)
            else:
                store = self.store or runtime.store
                graph = self.builder(runtime).compile(store=store, name=self.name)
                graph.checkpointer = saver.with_allowlist(declared(graph) | declared_by([self.output]))
                yield without_exits(graph)

    def _supervised(self, runtime: Runtime, saver: BaseCheckpointSaver[Any]) -> Graph:
        """Return the supervisor's graph over a run's checkpoints, recompiled if anything it is made of has changed."""
        made_of = [
            runtime,
            self.name,
            self.plan,
            self.retries,
            self.memory,
            self.store,
            *chain.from_iterable(map(_given, self.agents)),
        ]
        known, graph = self._built or ((), None)
        if graph is None or len(known) != len(made_of) or any(map(is_not, known, made_of)):
            graph = self.builder(runtime).compile(name=self.name, store=self.store or SharedMemory(runtime))
            # A subclass may hold state of one run.
            if all(type(agent) is Agent for agent in self.agents):
                self._built = made_of, graph
        graph = copy.copy(graph)
        graph.checkpointer = saver
        return graph


def _check(name: Any, agents: Any, graph: object, plan: Any, retries: Any, memory: Any) -> None:
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"a workflow needs a name first, such as Workflow('desk', agents=[…]), not {name!r}")
    if not isinstance(agents, Iterable) or not all(isinstance(agent, Agent) for agent in agents):
        raise ConfigError(f"workflow {name!r}: agents must be a list of Agent(…)")
    if graph is not None and not callable(graph):
        raise ConfigError(
            f"workflow {name!r}: graph is a {type(graph).__name__}: give a function that builds a StateGraph on a "
            "runtime, such as graph=lambda runtime: builder"
        )
    words = get_args(_Word)
    if plan not in words and (isinstance(plan, str) or not isinstance(plan, Sequence)):
        near = suggest(str(plan), words)
        raise ConfigError(
            f"workflow {name!r}: plan is {plan!r}, which is not one of {', '.join(words)}, nor a list of steps{near}"
        )
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ConfigError(f"workflow {name!r}: retries is {retries!r}: give a whole number of 0 or more")
    if not isinstance(memory, bool):
        raise ConfigError(
            f"workflow {name!r}: memory is {memory!r}: give True or False, and store=… for one of your own"
        )
    names = [agent.name for agent in agents]
    if not agents and graph is None:
        raise ConfigError(f"workflow {name!r} has no agents: give agents=[…] or graph=…")
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice:
        raise ConfigError(f"workflow {name!r} has two agents named {twice!r}: names must differ")


_STEP: Final = "a step is {'id': 's1', 'agent': 'triage', 'instruction': '…', 'needs': []}"


def _fixed(name: str, steps: Sequence[Mapping[str, Any]], agents: Sequence[Agent]) -> Plan:
    """Return the plan that the user wrote."""
    from pydantic import ValidationError

    from .supervision.plan import Plan, PlanStep, problem

    try:
        # The maximum number of steps limits a model, not a user who writes the steps.
        plan = Plan.model_construct(steps=[PlanStep.model_validate(dict(step)) for step in steps])
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"workflow {name!r}: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}; {_STEP}"
        ) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"workflow {name!r}: {_STEP}") from error
    wrong = problem(plan, [agent.name for agent in agents]) if plan.steps else "it has no step"
    if wrong:
        raise ConfigError(f"workflow {name!r}: the plan cannot be carried out: {wrong}")
    return plan


def _given(agent: Agent) -> Iterator[object]:
    """Yield the agent and its arguments."""
    yield agent
    yield from (value for name, value in vars(agent).items() if not name.startswith("_"))
