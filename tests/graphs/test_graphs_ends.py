"""A run in which something was done ends in a result, whatever ended it; what stands in its way at once is raised."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from pointsman import Agent, ConfigError, Finished, PointsmanError, Stepped, Workflow, batch
from pointsman.agents.errors import StepLimit
from pointsman.agents.runtime import Runtime
from pointsman.dispatch.errors import AllFailed, NoCandidate
from pointsman.graphs.conversing import Conversation
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator

Make = Callable[..., Runtime]


class _State(TypedDict, total=False):
    task: str
    output: str
    status: str


def _in_a_row(*nodes: Callable[[_State], Any]) -> Workflow[Any]:
    """A graph of these nodes, one after another."""

    def build(_: Runtime) -> StateGraph[Any, Any, Any, Any]:
        builder, before = StateGraph(_State), START
        for number, node in enumerate(nodes):
            builder.add_node(f"n{number}", node)
            builder.add_edge(before, f"n{number}")
            before = f"n{number}"
        return builder

    return Workflow("row", graph=build)


def _pair(simulator: Simulator) -> Workflow[Any]:
    """Two agents, the second of which no model answers."""
    simulator.scenario = Scenario(
        rules=[Rule(match=Match(contains_any_message="step:s1"), fault=Fault("auth")), Rule(answer=Answer(text="done"))]
    )
    return Workflow("pair", [Agent("a", tier="economy"), Agent("b", tier="economy")], plan="in_order")


def test_what_a_node_raises_is_in_the_result_and_the_run_goes_on_from_there(runtime: Make) -> None:
    home, done, broken = runtime(), list[str](), [KeyError("shelf")]

    def first(_: _State) -> None:
        done.append("first")

    def second(_: _State) -> _State:
        done.append("second")
        if broken:
            raise broken.pop()
        return {"output": "found"}

    flow = _in_a_row(first, second)
    result = flow.run("go", runtime=home)
    assert (result.status, result.output, type(result.error)) == ("failed", None, KeyError)
    assert f"in run {result.run}" in str(getattr(result.error, "__notes__", ""))
    with pytest.raises(KeyError, match="shelf") as raised:
        result.raise_for_status()
    assert raised.value is result.error
    again = flow.resume(result.run, runtime=home)
    assert (again.raise_for_status().output, done) == ("found", ["first", "second", "second"])


def test_the_last_event_of_a_run_that_fails_is_its_result(runtime: Make, simulator: Simulator) -> None:
    home = runtime()
    *others, last = _pair(simulator).stream("go", runtime=home)
    assert isinstance(last, Finished)
    assert [event.record.id for event in others if isinstance(event, Stepped)] == ["s1"]
    result = last.result
    assert isinstance(result.error, AllFailed)
    assert (result.status, [step.output for step in result.steps]) == ("failed", ["done"])
    assert len(result.calls) == len(home.ledger.calls(result.run)) == len(simulator.log)
    assert result.cost > 0
    assert home.ledger.runs()[0].status == "failed"


async def test_who_cancels_a_task_is_told_so_and_the_run_is_interrupted(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(fault=Fault("hang"))])
    home = runtime()
    running = asyncio.create_task(Workflow("one", [Agent("a")]).arun("go", runtime=home))
    while not simulator.log:
        await asyncio.sleep(0.002)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (row,) = await asyncio.to_thread(home.ledger.runs)
    assert row.status == "interrupted"


def test_what_stands_in_the_way_is_raised_as_long_as_nothing_was_done(runtime: Make, simulator: Simulator) -> None:
    with pytest.raises(NoCandidate, match="set ANTHROPIC_API_KEY"):
        Workflow("one", [Agent("a", tier="frontier")]).run("go", runtime=runtime(keys=False))
    with pytest.raises(ConfigError, match="the inputs are all empty"):
        batch("rows", Agent("a")).run("[]", runtime=runtime())
    assert len(simulator.log) == 0

    def build(home: Runtime) -> list[Callable[[_State], Any]]:
        dear = Agent("dear", tier="frontier").on(home)
        return [lambda _: {"output": "one"}, lambda _: {"output": str(dear.invoke("go"))}]

    home = runtime(keys=False)
    result = _in_a_row(*build(home)).run("go", runtime=home)
    assert (result.status, type(result.error)) == ("failed", NoCandidate)
    # Taken up again it is a run in which something was done.
    assert isinstance(_in_a_row(*build(home)).resume(result.run, runtime=home).error, NoCandidate)


def test_a_run_that_its_graph_calls_failed_is_raised_with_why(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=[Rule(match=Match(contains="bad"), fault=Fault("auth")), Rule(answer=Answer(text="done"))]
    )
    result = batch("rows", Agent("a", tier="economy")).run("good\nbad", runtime=runtime())
    assert (result.status, result.error, result.output) == ("failed", None, ["done", None])
    with pytest.raises(PointsmanError, match=rf"run {result.run} failed: 1 of 2 inputs failed; step a-2 failed: "):
        result.raise_for_status()


@pytest.mark.slow
def test_a_run_that_waits_or_is_bounded_gives_what_there_is(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=lambda request: Answer(text=f"told {request.user_text}"))])
    flow = Workflow("two", [Agent("a", tier="economy"), Agent("b", tier="economy")], plan="in_order")
    home = runtime()
    cut = flow.run("go", runtime=home, max_steps=1, thread="t")
    assert (type(cut.error), [step.id for step in cut.steps]) == (StepLimit, ["s1"])
    # The conversation knows nothing of a run that failed until that has come to its end.
    assert "user: go" not in str(flow.run("then", runtime=home, thread="t").raise_for_status().output)
    assert flow.resume(cut.run, runtime=home).status == "done"
    said = str(flow.run("last", runtime=home, thread="t").raise_for_status().output)
    assert all(text in said for text in ("user: then", "user: go"))


@pytest.mark.parametrize(
    ("said", "status"),
    [("running", "done"), ("nonsense", "done"), ("failed", "failed"), ("handed_over", "handed_over")],
)
def test_what_a_graph_calls_its_status_ends_the_run_only_where_a_run_can_end_so(
    runtime: Make, said: str, status: str
) -> None:
    home = runtime()
    assert _in_a_row(lambda _: {"output": "x", "status": said}).run("go", runtime=home).status == status
    (row,) = home.ledger.runs()
    assert row.status == status


def test_a_conversation_knows_a_run_once_however_often_it_is_taken_up(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=lambda request: Answer(text=f"told {request.user_text}"))])
    flow, home = Workflow("one", [Agent("a", tier="economy")]), runtime()
    first = flow.run("the first", runtime=home, thread="t").raise_for_status()
    for _ in range(3):
        assert flow.resume(first.run, runtime=home).output == first.output
    said = str(flow.run("the next", runtime=home, thread="t").output)
    assert (said.count("user: the first"), said.count("assistant: ")) == (1, 1)


async def test_a_run_that_is_cut_off_before_its_conversation_knows_it_is_known_once_taken_up(
    runtime: Make, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=lambda request: Answer(text=f"told {request.user_text}"))])
    flow, home = Workflow("one", [Agent("a", tier="economy")]), runtime()
    with monkeypatch.context() as patched:

        async def cut(*_: Any) -> Any:
            raise asyncio.CancelledError

        patched.setattr(Conversation, "kept", cut)
        with pytest.raises(asyncio.CancelledError):
            await flow.arun("the first", runtime=home, thread="t")
    (row,) = home.ledger.runs()
    assert row.status == "interrupted"
    assert (await flow.aresume(row.id, runtime=home)).status == "done"
    said = str((await flow.arun("the next", runtime=home, thread="t")).output)
    assert (said.count("user: the first"), said.count("assistant: ")) == (1, 1)
    assert len(simulator.log) == 2
