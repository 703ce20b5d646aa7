"""`Agent`: instructions, a backend policy and tools, made into something that can be run."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Unpack, overload

from langchain_core.messages import BaseMessage, HumanMessage, convert_to_messages
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import BaseModel

from ..configs.arguments import checked
from ..configs.errors import ConfigError
from ..configs.schema import AgentEntry
from ..configs.words import StepKind, StepKindName, Tier, TierName
from ..dispatch import sync
from ..dispatch.calls.structured_output import output_class
from ..dispatch.guards.budget import DEFAULT_OUTPUT
from ..routing.features.reach import kind_of
from ..routing.request import RouteRequest
from ..tools.base import effect_of, only_reads
from .compiled import MOST_STEPS, Compiled, invoked, is_kept_around
from .errors import RunTimeout, TurnLimit
from .records import record_of
from .result import Output, RunResult, Status, StepRecord
from .runs import Bounds, check_task, run_scope
from .runtime import Runtime
from .spec import AgentSpec, Latency, check_names, check_spec, tools_of, word

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["Agent"]

Model = TypeVar("Model", bound=BaseModel)


class Agent(Runnable[Any, dict[str, Any]], Generic[Output]):
    """One worker: what it is told, which models it may run on, what it can reach, what it returns.

    Use it alone (`run`), as a node of your own graph (``builder.add_node("decide", agent)``: it reads ``messages`` and
    adds to them), or in a `Workflow`. An ``Agent[Invoice]`` is one whose runs give an Invoice: it was made with
    ``output=Invoice``. One without an output class is an ``Agent[str]``.

    Args:
        name: Its name in plans, ledger and progress.
        instructions: Its system prompt.
        tier: The least tier it asks for; the risk of a step may raise it.
        model: The model it prefers while that qualifies, as ``provider/name``.
        task: What it does, for the routing rules (``classify``, ``code``, ``vision``, …).
        kind: What its steps are for. Left out, its reach tells: no tools ``transform`` (``decide`` where it asks for
            the frontier tier), tools that only read ``gather``, any other tools ``act``.
        tools: Functions made with `pointsman.tool`, LangChain tools, or names in the tool registry. A plain LangChain
            tool counts as ``destructive`` until `pointsman.declare` says what it does.
        output: Pydantic model its answer must fit.
        examples: Field of the output -> CSV (``text,label``) with labelled examples.
        reversible: Whether what its tools do can be taken back.
        max_output: Tokens of output to leave room for.
        latency: How badly somebody waits for it, as `RoutedChatModel` takes it.

    Raises:
        ConfigError: On a name, tier, kind, bound or tool that is none, two tools of one name, or an output that no
            answer can be typed by.
    """

    name: str

    @overload
    def __init__(self: Agent[str], name: str, *, output: None = None, **spec: Unpack[AgentSpec]) -> None: ...

    @overload
    def __init__(self: Agent[Model], name: str, *, output: type[Model], **spec: Unpack[AgentSpec]) -> None: ...

    @checked
    def __init__(
        self,
        name: str,
        *,
        instructions: str = "",
        tier: Tier | TierName | None = None,
        model: str | None = None,
        task: str = "chat",
        kind: StepKind | StepKindName | None = None,
        tools: Sequence[BaseTool | Callable[..., Any] | str] = (),
        output: type[BaseModel] | None = None,
        examples: Mapping[str, str | Path] | None = None,
        reversible: bool = True,
        max_output: int | None = None,
        latency: Latency = "interactive",
    ) -> None:
        check_spec(name, instructions, max_output, latency)
        self.name = name
        self.instructions = instructions
        self.tier = word(Tier, tier, f"tier of agent {name!r}")
        self.model = model
        self.task = task
        self.declared_kind = word(StepKind, kind, f"kind of agent {name!r}")
        self.tools = tools_of(name, tools)
        self.output = None if output is None else output_class(output, f"agent {name!r}")
        self.examples = {field: str(path) for field, path in (examples or {}).items()}
        self.reversible = reversible
        self.max_output = max_output
        self.latency = latency
        self._runtime: Runtime | None = None
        self._compiled: Compiled | None = None

    @classmethod
    def from_entry(cls, name: str, entry: AgentEntry) -> Agent[str]:
        """Make the agent that ``agents.yaml`` describes.

        Args:
            name: Its name.
            entry: Its entry.
        """
        return cls(
            name,
            instructions=entry.instructions,
            tier=entry.tier,
            model=entry.model,
            task=entry.task,
            kind=entry.kind,
            tools=entry.tools,
        )

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, task={self.task!r}, tier={self.tier and self.tier.value!r})"

    @property
    def runtime(self) -> Runtime:
        """What it runs on: the runtime it was given, else that of the working directory's project."""
        return self._runtime or Runtime.default()

    def on(self, runtime: Runtime) -> Self:
        """The same agent, of the same class, on another runtime."""
        twin = copy.copy(self)
        # What was made once for this agent need not hold for its twin.
        made = {name for kind in type(self).__mro__ for name, v in vars(kind).items() if isinstance(v, cached_property)}
        for name in made:
            twin.__dict__.pop(name, None)
        twin._runtime, twin._compiled = runtime, None
        return twin

    def bound_tools(self) -> list[BaseTool]:
        """Its tools, those given by name looked up in the registry.

        Raises:
            ConfigError: On a name the registry does not have, or two tools of one name.
        """
        bound = [self.runtime.tools.get(tool) if isinstance(tool, str) else tool for tool in self.tools]
        check_names(self.name, [tool.name for tool in bound])
        return bound

    @property
    def kind(self) -> StepKind:
        """What its steps are for, declared or told by its reach."""
        tools = self.bound_tools()
        effects = [effect for tool in tools if (effect := effect_of(tool)) is not None]
        return kind_of(self.declared_kind, effects, self.tier, only_reads=only_reads(tools))

    def request(self, dependents: int = 0) -> RouteRequest:
        """What routing will be told of one of its steps, the messages aside.

        Args:
            dependents: Later steps that build on the step.
        """
        tools = self.bound_tools()
        effects = tuple(effect_of(tool) for tool in tools)
        return RouteRequest(
            kind=self.kind,
            task=self.task,
            effects=effects,
            tools=len(effects),
            only_reads=only_reads(tools),
            reversible=self.reversible,
            dependents=dependents,
            tier=self.tier,
            model=self.model,
            structured=self.output is not None,
            max_output=self.max_output or DEFAULT_OUTPUT,
            latency=self.latency,
        )

    @property
    def graph(self) -> CompiledStateGraph[Any, Any, Any, Any]:
        """The LangChain agent underneath, built anew where the default runtime has become another.

        Raises:
            ConfigError: The model it prefers is not in the catalogue.
        """
        return self._ready().graph

    def _ready(self) -> Compiled:
        runtime = self.runtime
        if self._compiled is None or self._compiled.runtime is not runtime:
            self._compiled = Compiled(self, runtime)
        return self._compiled

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        """Run once on a text, a message list, or a graph's state with ``messages``.

        Returns:
            ``messages``: what it added; ``structured_response``: its typed output, where it declares one.

        Raises:
            TurnLimit: It gave no answer within its turns.
            ApprovalPending: It wants to make a call that waits for a person, and runs outside any workflow or graph
                with a checkpointer.
        """
        before = _messages(input)
        if self.tools:
            await self.runtime.reach(self.tools)
        # A class of the user's own may have its graph in another way.
        one_turn = type(self) is Agent and not (self.tools or self.output)
        if one_turn and is_kept_around() and isinstance(input, str) and config is None:
            return {"messages": [await self._ready().answer(before)]}
        return await invoked(self, before, config)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        """The same from synchronous code."""
        return sync.run(self.ainvoke(input, config, **kwargs))

    @checked
    async def arun(
        self,
        task: str,
        *,
        max_cost: float | None = None,
        max_steps: int = MOST_STEPS,
        timeout: float | None = None,
        user: str = "",
        user_class: str | None = None,
        tags: Sequence[str] = (),
        runtime: Runtime | None = None,
    ) -> RunResult[Output]:
        """Do one task alone, as a run of its own in the ledger.

        It has no checkpoints, so it cannot be taken up again: put an agent that may need a person's approval, or that
        runs for long, into a `Workflow`.

        Args:
            task: What is asked.
            max_cost: USD it may spend.
            max_steps: Supersteps it may take: each of its model's turns is one, and so are the tools after it.
            timeout: Seconds it may take.
            user: Who it is for, in the ledger.
            user_class: Class of users whose limits in ``routing.yaml`` hold.
            tags: Free labels, in the ledger.
            runtime: What to run on; the agent's own when absent.

        Returns:
            The output, typed where the agent declares one, with the run's cost, calls and decisions.

        Raises:
            ConfigError: On an input or bound that is none, or when no model may run it.
            BackendError: When every model that may run it failed.
            RunTimeout: When the time is over; it is a TimeoutError, too.
            TurnLimit: When it comes to no answer.
        """
        check_task(task)
        home = runtime or self.runtime
        bounds = Bounds(max_cost, max_steps, timeout, user, user_class, tags)
        worker = self if home is self.runtime else self.on(home)
        with run_scope(home, self.name, bounds=bounds, kept=False) as books:
            try:
                async with asyncio.timeout(timeout) as clock:
                    # LangGraph takes one superstep more to see that nothing is left to do.
                    record = await worker.step(task, {"recursion_limit": max_steps + 1})
            except TimeoutError as error:
                if not clock.expired():
                    raise
                late = RunTimeout(books.id, timeout or 0, kept=False)
                late.result = await books.result(None, status=Status.FAILED)
                raise late from error
            except TurnLimit as error:
                error.result = await books.result(None, status=Status.FAILED)
                raise
            return await books.result(record.output, status=Status.of_run((record,), pending=False), steps=(record,))

    run = sync.blocking(arun)

    async def step(self, input: Any, config: RunnableConfig | None = None) -> StepRecord:
        """Run once and tell how it went: the model that really ran, its risk, the output, the time."""
        started = time.monotonic()
        return record_of(self, await self.ainvoke(input, config), time.monotonic() - started)


def _messages(input: Any) -> list[BaseMessage]:
    if isinstance(input, str):
        return [HumanMessage(input)]
    if isinstance(input, Mapping):
        input = input.get("messages", ())
    elif not isinstance(input, Sequence):
        input = getattr(input, "messages", ())
    messages = convert_to_messages(input)
    if not messages:
        raise ConfigError("there is nothing to work on: give a text, or a state with messages")
    return messages
