"""`Agent`: instructions, a backend policy and tools, made into something that can be run."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, TypeVar

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, convert_to_messages
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import BaseModel

from ..configs.errors import ConfigError
from ..configs.loading.layers import suggest
from ..configs.schema import AgentEntry
from ..configs.words import Risk, StepKind, Tier
from ..dispatch import sync
from ..dispatch.calls.structured_output import output_class, wrapped
from ..dispatch.context import current, entered
from ..dispatch.guards.budget import DEFAULT_OUTPUT
from ..dispatch.model import RoutedChatModel
from ..routing.features.reach import kind_of
from ..routing.request import RouteRequest
from ..tools.base import effect_of, only_reads
from .approval.acts import account_of, acts_of, open_acts
from .approval.answers import ApprovalPending, pending_of
from .errors import RunTimeout, TurnLimit
from .result import Act, Outcome, RunResult, Status, StepRecord
from .runs import Bounds, check_task, run_scope
from .runtime import Runtime

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["Agent", "kept_around"]

W = TypeVar("W", Tier, StepKind)

_MAX_TURNS = 20
_STEPS_A_TURN = 2
"""Supersteps of LangChain's agent: the model, then its tools."""
_LATENCIES = ("batch", "interactive", "critical")
_EVIDENCE = "evidence."
"""How the id of a routing rule begins that raised a step by what has happened."""


_KEPT: ContextVar[bool] = ContextVar("pointsman_kept", default=False)


@contextmanager
def kept_around() -> Iterator[None]:
    """Say that agents inside the block are steps of a graph that keeps each answer as soon as it is there.

    One that takes a single turn then needs no graph of its own, whose checkpoints would hold the same again.
    """
    token = _KEPT.set(True)
    try:
        yield
    finally:
        _KEPT.reset(token)


class AgentOutput(TypedDict, total=False):
    """What an agent adds to a graph's state."""

    messages: list[BaseMessage]
    structured_response: Any


class Agent(Runnable[Any, dict[str, Any]]):
    """One worker: what it is told, which models it may run on, what it can reach, what it returns.

    Use it alone (`run`), as a node of your own graph (``builder.add_node("decide", agent)``: it reads ``messages`` and
    adds to them), or in a `Workflow`.

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

    def __init__(
        self,
        name: str,
        *,
        instructions: str = "",
        tier: Tier | str | None = None,
        model: str | None = None,
        task: str = "chat",
        kind: StepKind | str | None = None,
        tools: Sequence[BaseTool | Callable[..., Any] | str] = (),
        output: type[BaseModel] | None = None,
        examples: Mapping[str, str | Path] | None = None,
        reversible: bool = True,
        max_output: int | None = None,
        latency: Literal["batch", "interactive", "critical"] = "interactive",
    ) -> None:
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"an agent needs a name: {name!r} is none")
        if not isinstance(instructions, str):
            raise ConfigError(f"agent {name!r}: instructions must be a text, not {type(instructions).__name__}")
        if latency not in _LATENCIES:
            raise ConfigError(f"latency of agent {name!r}: {latency!r} is none of {', '.join(_LATENCIES)}")
        if max_output is not None and (not isinstance(max_output, int) or max_output < 1):
            raise ConfigError(f"agent {name!r}: max_output is {max_output!r}: give a number of tokens, 1 or more")
        self.name = name
        self.instructions = instructions
        self.tier = _word(Tier, tier, f"tier of agent {name!r}")
        self.model = model
        self.task = task
        self.declared_kind = _word(StepKind, kind, f"kind of agent {name!r}")
        self.tools = _tools(name, tools)
        self.output = None if output is None else output_class(output, f"agent {name!r}")
        self.examples = {field: str(path) for field, path in (examples or {}).items()}
        self.reversible = reversible
        self.max_output = max_output
        self.latency: Literal["batch", "interactive", "critical"] = latency
        self._runtime: Runtime | None = None
        self._built: tuple[Runtime, CompiledStateGraph[Any, Any, Any, Any]] | None = None
        self._model: tuple[Runtime, RoutedChatModel] | None = None

    @classmethod
    def from_entry(cls, name: str, entry: AgentEntry, **changes: Any) -> Agent:
        """Make the agent that ``agents.yaml`` describes.

        Args:
            name: Its name.
            entry: Its entry.
            changes: Arguments of `Agent` to use instead of the entry's.
        """
        spec: dict[str, Any] = {
            "instructions": entry.instructions,
            "tier": entry.tier,
            "model": entry.model,
            "task": entry.task,
            "kind": entry.kind,
            "tools": entry.tools,
        }
        return cls(name, **{**spec, **changes})

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
        twin._runtime, twin._built, twin._model = runtime, None, None
        return twin

    def bound_tools(self) -> list[BaseTool]:
        """Its tools, those given by name looked up in the registry.

        Raises:
            ConfigError: On a name the registry does not have, or two tools of one name.
        """
        bound = [self.runtime.tools.get(tool) if isinstance(tool, str) else tool for tool in self.tools]
        _check_names(self.name, [tool.name for tool in bound])
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
        runtime = self.runtime
        if self._built is None or self._built[0] is not runtime:
            self._built = runtime, self._build()
        return self._built[1]

    def _build(self) -> CompiledStateGraph[Any, Any, Any, Any]:
        from langchain.agents import create_agent
        from langchain.agents.structured_output import ToolStrategy

        from .approval.intents import IntentMiddleware
        from .approval.interrupts import ApprovalMiddleware
        from .containment import ContainmentMiddleware
        from .together import TogetherMiddleware
        from .verification.checking import CheckMiddleware

        tools = self.bound_tools()
        return create_agent(
            self._routed(),
            tools,
            system_prompt=self.instructions or None,
            # The first is the outermost: a person allows, a verifier judges, the ledger has it, the tool runs and
            # whatever it raises stays its own.
            middleware=[
                TogetherMiddleware(),
                ApprovalMiddleware(lambda: self.runtime.settings.risk.call),
                CheckMiddleware(self.name),
                IntentMiddleware(lambda: self.runtime.ledger),
                ContainmentMiddleware(),
            ]
            if tools
            else [],
            # The dispatcher has already checked the answer against the schema and asked a stronger model if need be.
            response_format=ToolStrategy(wrapped(self.output), handle_errors=False) if self.output else None,
            name=self.name,
        )

    def _routed(self) -> RoutedChatModel:
        known = self.runtime.settings.models
        if self.model is not None and self.model not in known:
            raise ConfigError(f"agent {self.name!r}: there is no model {self.model!r}{suggest(self.model, known)}")
        return RoutedChatModel(
            task=self.task,
            kind=self.kind,
            tier=self.tier,
            prefer=self.model,
            reversible=self.reversible,
            max_output=self.max_output,
            examples=self.examples,
            latency=self.latency,
            answer=self.output,
            # LangGraph adds the chunks up, and the workflow tells whoever watches that words were withdrawn.
            on_cut="retract",
            dispatcher=self.runtime.dispatcher,
        )

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        """Run once on a text, a message list, or a graph's state with ``messages``.

        Returns:
            ``messages``: what it added; ``structured_response``: its typed output, where it declares one.

        Raises:
            TurnLimit: It came to no answer within its turns.
            ApprovalPending: It wants to make a call that waits for a person, and runs outside any workflow or graph
                with a checkpointer.
        """
        from langgraph.errors import GraphRecursionError

        from .together import one_invocation

        before = _messages(input)
        # A class of the user's own may have its graph in another way.
        one_turn = type(self) is Agent and not (self.tools or self.output)
        if one_turn and _KEPT.get() and isinstance(input, str) and config is None:
            return {"messages": [await self._answer(before)]}
        bounded = _bounded(config)
        with entered(agent=self.name, step=current().step or self.name), one_invocation():
            try:
                state = await self.graph.ainvoke({"messages": before}, bounded)
            except GraphRecursionError as error:
                raise TurnLimit(self.name, -(-bounded["recursion_limit"] // _STEPS_A_TURN)) from error
        if stops := state.get("__interrupt__"):
            raise ApprovalPending(self.name, [pending_of(stop) for stop in stops])
        added = state["messages"][len(before) :]
        result: dict[str, Any] = {"messages": added}
        if self.output is not None:
            made = state.get("structured_response")
            result["structured_response"] = made if made is None or isinstance(made, self.output) else made.root
        return result

    async def _answer(self, asked: Sequence[BaseMessage]) -> AIMessage:
        """The only turn of an agent without tools and a typed output, as the graph of one node would take it."""
        runtime = self.runtime
        if self._model is None or self._model[0] is not runtime:
            self._model = runtime, self._routed()
        told = [SystemMessage(self.instructions)] if self.instructions else []
        with entered(agent=self.name, step=current().step or self.name):
            answer = await self._model[1].ainvoke([*told, *asked], {"metadata": {"lc_agent_name": self.name}})
        answer.name = self.name
        return answer

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        """The same from synchronous code."""
        return sync.run(self.ainvoke(input, config, **kwargs))

    def run(self, task: str, **bounds: Any) -> RunResult:
        """Do one task alone; arguments as `arun`."""
        return sync.run(self.arun(task, **bounds))

    async def arun(
        self,
        task: str,
        *,
        max_cost: float | None = None,
        max_steps: int = _MAX_TURNS * _STEPS_A_TURN,
        timeout: float | None = None,
        user: str = "",
        user_class: str | None = None,
        tags: Sequence[str] = (),
        runtime: Runtime | None = None,
    ) -> RunResult:
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

    async def step(self, input: Any, config: RunnableConfig | None = None) -> StepRecord:
        """Run once and tell how it went: the model that really ran, its risk, the output, the time."""
        started = time.monotonic()
        state = await self.ainvoke(input, config)
        messages: Sequence[BaseMessage] = state["messages"]
        last = next((m for m in reversed(messages) if isinstance(m, AIMessage)), None)
        accounts = [account for message in messages if (account := account_of(message))]
        account = accounts[-1] if accounts else {}
        risk = max((Risk(one["risk"]) for one in accounts), default=None)
        tools = self.bound_tools()
        record = StepRecord(
            id=current().step or self.name,
            agent=self.name,
            model=account.get("model"),
            risk=risk.value if risk else "",
            output=state.get("structured_response") if self.output else (str(last.text) if last else ""),
            note=_risen(accounts),
            seconds=time.monotonic() - started,
            confidence=account.get("confidence"),
            tier=account.get("tier", ""),
            acts=acts_of(messages, tools),
        )
        return _judged(record, open_acts(messages, tools))


def _tools(agent: str, tools: Any) -> tuple[BaseTool | str, ...]:
    from langchain_core.tools import BaseTool

    if isinstance(tools, str | BaseTool) or not isinstance(tools, Iterable):
        raise ConfigError(f"agent {agent!r}: tools must be a list, such as tools=[order_status]")
    given: tuple[Any, ...] = tuple(tools)
    for tool in given:
        if not isinstance(tool, str | BaseTool):
            shown = getattr(tool, "__name__", type(tool).__name__)
            raise ConfigError(
                f'agent {agent!r}: {shown} is not a tool; put @tool(effect="read"), "write", "external" or '
                '"destructive" above it'
            )
    _check_names(agent, [tool if isinstance(tool, str) else tool.name for tool in given])
    return given


def _check_names(agent: str, names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"agent {agent!r}: two of its tools are called {twice!r}; rename one")


def _risen(accounts: Sequence[Mapping[str, Any]]) -> str:
    """What made a step leave its declared tier or its first model."""
    failed = dict.fromkeys(failure for account in accounts for failure in account.get("failed") or ())
    rules = dict.fromkeys(rule for account in accounts for rule in account.get("rules") or ())
    evidence = [rule for rule in rules if rule.startswith(_EVIDENCE)]
    parts = [f"after {'; '.join(failed)}" if failed else "", f"risen on {', '.join(evidence)}" if evidence else ""]
    return "; ".join(part for part in parts if part)


def _judged(record: StepRecord, left: Sequence[Act]) -> StepRecord:
    """The record with what its acts say of how it ended.

    Args:
        record: The step.
        left: The acts that were not carried out, and that nothing stands in for.
    """
    unverified = [
        f"the call of {act.tool} was not verified: {act.reason}"
        for act in record.acts
        if act.outcome is Outcome.DONE and act.reason
    ]
    settled = [
        f"{act.tool} was {act.outcome} at first: {act.reason}"
        for act in record.acts
        if act.outcome in (Outcome.DOUBTED, Outcome.REJECTED) and act not in left
    ]
    failed = [f"a call of {act.tool} failed" for act in record.acts if act.outcome is Outcome.FAILED]
    refused = [f"{act.tool} was rejected: {act.reason}" for act in left if act.outcome is Outcome.REJECTED]
    doubted = [f"the call of {act.tool}: {act.reason}" for act in left if act.outcome is Outcome.DOUBTED]
    record = replace(record, unverified="; ".join(unverified)).noted(
        *settled, *dict.fromkeys(failed), *unverified, *refused
    )
    if doubted:
        return replace(record, status=Status.HANDED_OVER, doubt=doubted[-1])
    return replace(record, status=Status.REJECTED) if refused else record


def _bounded(config: RunnableConfig | None) -> RunnableConfig:
    bounded: RunnableConfig = {**(config or {})}
    # LangGraph's own default allows ten thousand turns.
    bounded.setdefault("recursion_limit", _MAX_TURNS * _STEPS_A_TURN)
    return bounded


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


def _word(words: type[W], value: W | str | None, what: str) -> W | None:
    if value is None:
        return None
    try:
        return words(value)
    except ValueError:
        raise ConfigError(f"{what}: {value!r} is none of {', '.join(words)}") from None
