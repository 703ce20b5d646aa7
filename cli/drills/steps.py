"""The steps that a drill repeats: a built-in mix, or a workflow of the user's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel

from ...agents.runtime import Runtime
from ...backends.base import BackendError
from ...configs.errors import ConfigError
from ...configs.words import StepKind
from ...dispatch.context import RunContext, entered
from ...dispatch.model import RoutedChatModel
from ...graphs.workflow import Workflow
from ...tools.decorator import tool
from ..io.records import plain

if TYPE_CHECKING:
    from ...dispatch.dispatcher import Dispatcher
    from ...ledger.rows import CallRow

__all__ = ["Mix", "Outcome", "Steps", "Target", "take"]

_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one step went.

    Attributes:
        number: The step's number, from 0.
        seconds: How long it took.
        answer: The answer as plain values; None if the step failed.
        failure: Why it failed; None if it did not.
        person: Why it would reach a person; empty if it would not.
        calls: The model calls it made.
    """

    number: int
    seconds: float
    answer: Any = None
    failure: str | None = None
    person: str = ""
    calls: tuple[CallRow, ...] = ()


class Steps(Protocol):
    """Steps that can be repeated."""

    async def step(self, runtime: Runtime, number: int, *, streamed: bool) -> tuple[Any, str]:
        """Run the step of this number; return its answer, and why it would reach a person."""


async def take(steps: Steps, runtime: Runtime, count: int, *, streamed: bool) -> list[Outcome]:
    """Run the steps 0 to ``count`` - 1, a few at the same time.

    Args:
        steps: The steps.
        runtime: The runtime to run on.
        count: How many.
        streamed: Stream the answers.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> Outcome:
        async with gate:
            calls: list[CallRow] = []
            answer, failure, person = None, None, ""
            started = time.monotonic()
            try:
                with entered(run=RunContext(id="drill", observe=calls.append), step=str(number)):
                    answer, person = await steps.step(runtime, number, streamed=streamed)
            except Exception as error:  # noqa: BLE001 - any error that reaches the caller is a reported failure
                failure = person = _named(error)
            return Outcome(number, time.monotonic() - started, answer, failure, person, tuple(calls))

    return list(await asyncio.gather(*map(one, range(count))))


def _named(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, BackendError):
        return error.kind.value
    return "no model" if isinstance(error, ConfigError) else type(error).__name__


class _Ticket(BaseModel):
    """A ticket."""

    subject: str
    urgent: bool


@tool(effect="read")
def order_status(order_id: str) -> str:
    """Look up the status of an order."""
    return f"order {order_id} was sent on Monday"


@tool(effect="destructive")
def cancel_order(order_id: str) -> str:
    """Cancel an order."""
    return f"order {order_id} would be cancelled"


class Mix:
    """Five kinds of steps in turn, from a harmless one to a decision of high risk; no tool has an effect."""

    def __init__(self) -> None:
        self._kinds: Sequence[Callable[[Dispatcher, int, bool], Awaitable[Any]]] = (
            _transform,
            _structured,
            _gather,
            _decide,
            _decide_at_high_risk,
        )

    async def step(self, runtime: Runtime, number: int, *, streamed: bool) -> tuple[Any, str]:
        """Run one step; see `Steps`."""
        return await self._kinds[number % len(self._kinds)](runtime.dispatcher, number, streamed), ""


def _model(dispatcher: Dispatcher, kind: StepKind) -> RoutedChatModel:
    return RoutedChatModel(kind=kind, dispatcher=dispatcher, on_cut="retract")


async def _transform(dispatcher: Dispatcher, number: int, streamed: bool) -> Any:
    said = await _ask(_model(dispatcher, StepKind.TRANSFORM), f"Put parcel {number} for Ada into one line.", streamed)
    return str(said.text)


async def _structured(dispatcher: Dispatcher, number: int, streamed: bool) -> Any:
    model = _model(dispatcher, StepKind.TRANSFORM).with_structured_output(_Ticket)
    ticket = await _ask(model, f'Subject "Parcel {number} is late", urgent: yes', streamed)
    return plain(ticket)


async def _gather(dispatcher: Dispatcher, number: int, streamed: bool) -> Any:
    model = _model(dispatcher, StepKind.GATHER).bind_tools([order_status])
    asked = HumanMessage(f'What is the order_status of "A{number}"?')
    called = await _ask(model, [asked], streamed)
    if not isinstance(called, AIMessage) or not called.tool_calls:
        return _said(called)
    results = [ToolMessage(order_status.invoke(call["args"]), tool_call_id=call["id"]) for call in called.tool_calls]
    told = await _ask(model, [asked, called, *results], streamed)
    return [_said(called), _said(told)]


async def _decide(dispatcher: Dispatcher, number: int, streamed: bool) -> Any:
    said = await _ask(_model(dispatcher, StepKind.DECIDE), f"Is parcel {number} late enough to write to Ada?", streamed)
    return str(said.text)


async def _decide_at_high_risk(dispatcher: Dispatcher, number: int, streamed: bool) -> Any:
    model = _model(dispatcher, StepKind.DECIDE).bind_tools([cancel_order])
    return _said(await _ask(model, f'Shall we cancel_order "A{number}"?', streamed))


async def _ask(model: Runnable[Any, Any], asked: Any, streamed: bool) -> Any:
    if not streamed:
        return await model.ainvoke(asked)
    whole: Any = None
    async for part in model.astream(asked):
        # Messages arrive in chunks; each part of a parsed answer is the whole so far.
        whole = whole + part if isinstance(whole, AIMessage) and isinstance(part, AIMessage) else part
    return whole


def _said(message: Any) -> Any:
    """Return the text and tool calls of an answer, without the call ids, which differ between vendors."""
    return [str(message.text), [[call["name"], call["args"]] for call in message.tool_calls]]


class Target:
    """A workflow of the user's own, run on one input.

    Args:
        workflow: The workflow.
        text: Its input.
        run_tools: Run its real tools; otherwise each is replaced by one that does nothing.

    Raises:
        ConfigError: The workflow builds a graph of its own, whose tools cannot be replaced.
    """

    def __init__(self, workflow: Workflow, text: str, *, run_tools: bool) -> None:
        if not run_tools and workflow._graph is not None:
            raise ConfigError(
                f"{workflow.name!r} builds its own graph, so its tools cannot be kept from acting: add --run-tools if "
                "they may"
            )
        self._workflow, self._text, self._run_tools = workflow, text, run_tools

    async def step(self, runtime: Runtime, number: int, *, streamed: bool) -> tuple[Any, str]:
        """Run it once; see `Steps`."""
        workflow = self._workflow if self._run_tools else self._harmless(runtime)
        ended = (await workflow.arun(self._text, runtime=runtime)).raise_for_status()
        person = {"pending": "approval pending", "handed_over": "handed over"}.get(ended.status, "")
        return plain(ended.output), person

    def _harmless(self, runtime: Runtime) -> Workflow:
        agents = []
        for agent in self._workflow.agents:
            twin = agent.on(runtime)
            # Middleware is removed, since it may have effects of its own.
            twin.tools, twin.middleware = tuple(_stand_in(real) for real in twin.bound_tools()), ()
            agents.append(twin)
        return Workflow(self._workflow.name, agents, plan=self._workflow.plan, output=self._workflow.output)


def _stand_in(real: BaseTool) -> BaseTool:
    """Return a tool that looks the same to a model and to the rules, but does nothing."""

    def do_nothing(**_: Any) -> str:
        return f"{real.name} did nothing: this is a drill"

    return StructuredTool(
        name=real.name,
        description=real.description,
        args_schema=real.args_schema or real.get_input_schema(),
        func=do_nothing,
        metadata=real.metadata,
    )
