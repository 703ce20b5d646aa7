"""``sys.exit`` in a user's code ends the run it is called in, as failed and with the reason, and no event loop."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents.middleware import AgentMiddleware
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy
from pointsman import Agent, Workflow, tool
from pointsman.agents.errors import Exited
from pointsman.agents.runtime import Runtime
from pointsman.simulator import Answer, Match, Rule, Scenario, Simulator, ToolCall

Make = Callable[..., Runtime]


class _State(TypedDict, total=False):
    task: str
    output: str


def _exit(_: Any) -> _State:
    sys.exit("no paper")


async def _aexit(_: Any) -> _State:
    sys.exit("no paper")


def _generates(_: Any) -> Iterator[_State]:
    yield {}
    sys.exit("no paper")


async def _agenerates(_: Any) -> AsyncIterator[_State]:
    yield {}
    sys.exit("no paper")


class _Own(Runnable[Any, Any]):
    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        sys.exit("no paper")


def _graph(node: Any, **options: Any) -> StateGraph[Any, Any, Any, Any]:
    builder = StateGraph(_State)
    builder.add_node("n", node, **options)
    builder.add_edge(START, "n")
    return builder


def _edge(route: Callable[[Any], Any]) -> StateGraph[Any, Any, Any, Any]:
    builder = StateGraph(_State)
    builder.add_node("n", lambda _: {"output": "before"})
    builder.add_edge(START, "n")
    builder.add_conditional_edges("n", route)
    return builder


def _reducer() -> StateGraph[Any, Any, Any, Any]:
    class Reduced(_State):
        kept: Annotated[str, lambda _left, _right: sys.exit("no paper")]

    builder = StateGraph(Reduced)
    builder.add_node("n", lambda _: {"kept": "x"})
    builder.add_edge(START, "n")
    return builder


NODES: dict[str, Callable[[], StateGraph[Any, Any, Any, Any]]] = {
    "function": lambda: _graph(_exit),
    "coroutine": lambda: _graph(_aexit),
    "generator": lambda: _graph(_generates),
    "async generator": lambda: _graph(_agenerates),
    "lambda": lambda: _graph(RunnableLambda(_exit)),
    "sequence": lambda: _graph(RunnableLambda(_exit) | RunnableLambda(_aexit)),
    "own runnable": lambda: _graph(_Own()),
    "subgraph": lambda: _graph(_graph(_aexit).compile()),
    "subgraph of a subgraph": lambda: _graph(_graph(_graph(_exit).compile()).compile()),
    "edge": lambda: _edge(_exit),
    "async edge": lambda: _edge(_aexit),
    "edge of a subgraph": lambda: _graph(_edge(_aexit).compile()),
    "reducer": _reducer,
    "retried": lambda: _graph(_aexit, retry_policy=RetryPolicy(max_attempts=2, initial_interval=0.001)),
}


@pytest.mark.parametrize("kind", NODES)
async def test_a_node_that_exits_ends_its_run_as_failed_and_nothing_else(runtime: Make, kind: str) -> None:
    home = runtime()
    result = await Workflow("own", graph=lambda _: NODES[kind]()).arun("go", runtime=home)
    assert (result.status, type(result.error)) == ("failed", Exited)
    assert "called sys.exit(no paper), which ends no more than the run" in str(result.error)
    (row,) = await asyncio.to_thread(home.ledger.runs)
    assert row.status == "failed"


def test_a_graph_that_a_node_starts_itself_ends_the_run_of_a_synchronous_caller(runtime: Make) -> None:
    inner, home = _graph(_aexit).compile(), runtime()

    async def node(state: _State) -> Any:
        return await inner.ainvoke(state)

    flow = Workflow("own", graph=lambda _: _graph(node))
    for _ in range(2):
        result = flow.run("go", runtime=home)
        assert (result.status, type(result.error)) == ("failed", Exited)
    assert [row.status for row in home.ledger.runs()] == ["failed", "failed"]


def test_what_builds_a_graph_and_exits_is_named(runtime: Make) -> None:
    result = Workflow("own", graph=lambda _: sys.exit(3)).run("go", runtime=runtime())
    assert (result.status, type(result.error)) == ("failed", Exited)
    assert str(result.error).startswith("code of 'own' called sys.exit(3), which ends no more than the run")


class _Before(AgentMiddleware[Any, Any]):
    def before_model(self, state: Any, runtime: Any) -> None:
        sys.exit("no paper")


class _AroundModel(AgentMiddleware[Any, Any]):
    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        await handler(request)
        sys.exit("no paper")


class _AroundTool(AgentMiddleware[Any, Any]):
    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        await handler(request)
        sys.exit("no paper")


class _AroundToolInThread(AgentMiddleware[Any, Any]):
    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        sys.exit("no paper")


@tool(effect="read")
def look(shelf: str) -> str:
    """Look at a shelf."""
    return f"{shelf} is full"


@tool(effect="read")
def leave(shelf: str) -> str:
    """Look at a shelf."""
    sys.exit("no paper")


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "supervised"])
@pytest.mark.parametrize("middleware", [_Before, _AroundModel, _AroundTool, _AroundToolInThread])
async def test_middleware_that_exits_ends_its_run_as_failed(
    runtime: Make, simulator: Simulator, middleware: type[AgentMiddleware[Any, Any]], *, alone: bool
) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(tool_calls=[ToolCall("look", {"shelf": "A"})]))])
    home = runtime()
    agent = Agent("clerk", tier="economy", tools=[look], middleware=[middleware()])
    result = await (agent if alone else Workflow("one", [agent])).arun("go", runtime=home)
    assert (result.status, type(result.error)) == ("failed", Exited)
    (row,) = await asyncio.to_thread(home.ledger.runs)
    assert row.status == "failed"


async def test_a_tool_that_exits_in_a_node_of_the_users_own_tells_its_failure(runtime: Make) -> None:
    async def node(_: _State) -> _State:
        return {"output": str(await leave.ainvoke({"shelf": "A"}))}

    result = await Workflow("own", graph=lambda _: _graph(node)).arun("go", runtime=runtime())
    assert (result.status, result.output) == ("done", "the tool 'leave' ended with SystemExit: no paper")


class _Silent(Exception):
    def __str__(self) -> str:
        raise ValueError("it has no text")

    __repr__ = __str__


class _SilentBase(BaseException):
    __str__ = __repr__ = _Silent.__str__


class _SilentExit(SystemExit):
    __str__ = __repr__ = _Silent.__str__


@pytest.mark.parametrize("error", [_Silent, _SilentBase, _SilentExit])
@pytest.mark.parametrize("kind", ["function", "coroutine"])
async def test_what_a_node_raises_that_has_no_text_ends_its_run_as_failed(
    runtime: Make, error: type[BaseException], kind: str
) -> None:
    def node(_: _State) -> _State:
        raise error

    async def anode(_: _State) -> _State:
        raise error

    home = runtime()
    flow = Workflow("own", graph=lambda _: _graph(node if kind == "function" else anode))
    first = await flow.arun("go", runtime=home)
    again = await flow.aresume(first.run, runtime=home)
    expected = error if error is _Silent else Exited
    assert [(each.status, type(each.error)) for each in (first, again)] == [("failed", expected)] * 2


@pytest.mark.parametrize(("error", "status"), [(_Silent, "failed"), (_SilentBase, "done"), (_SilentExit, "done")])
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "supervised"])
async def test_what_a_tool_raises_that_has_no_text_ends_its_run_properly(
    runtime: Make, simulator: Simulator, error: type[BaseException], status: str, *, alone: bool
) -> None:
    @tool(effect="read")
    def silent(shelf: str) -> str:
        """Look at a shelf."""
        raise error

    simulator.scenario = Scenario(
        rules=[
            Rule(match=Match(contains_any_message="ended with"), answer=Answer(text="It ended.")),
            Rule(answer=Answer(tool_calls=[ToolCall("silent", {"shelf": "A"})])),
        ]
    )
    home, agent = runtime(), Agent("clerk", tier="economy", tools=[silent])
    result = await (agent if alone else Workflow("one", [agent])).arun("go", runtime=home)
    (row,) = await asyncio.to_thread(home.ledger.runs)
    assert (result.status, row.status) == (status, status)


def test_a_signal_handler_of_the_program_that_exits_ends_the_program(
    runtime: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    try:

        async def node(_: _State) -> _State:
            signal.raise_signal(signal.SIGTERM)
            return {}

        home = runtime()
        with pytest.raises(SystemExit) as raised:
            asyncio.run(Workflow("own", graph=lambda _: _graph(node)).arun("go", runtime=home))
        assert raised.value.code == 7
        assert home.ledger.runs()[0].status == "interrupted"
    finally:
        signal.signal(signal.SIGTERM, before)
