"""What a person answered holds although the run was cut off before it was done, for what they were asked and once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from pointsman import Agent, Workflow, tool
from pointsman.agents.runtime import Runtime
from pointsman.graphs.keeping import forked
from pointsman.ledger import points
from pointsman.ledger.points import Point
from pointsman.simulator import Answer, Rule, Scenario, Simulator

Make = Callable[..., Runtime]
ran: list[str] = []


class CutOff(OSError):
    """What ends a run at a point."""


@tool(effect="destructive")
def delete_order(order_id: str) -> str:
    """Delete an order."""
    ran.append(order_id)
    return f"{order_id} is gone"


@pytest.fixture
def home(runtime: Make, simulator: Simulator) -> Iterator[Runtime]:
    """A runtime whose model wants to delete A and B in one turn, and is cut off once a person has answered."""
    ran.clear()

    def answer(request: Any) -> Answer:
        if request.tool_results:
            return Answer(text="so it is")
        return Answer(tool_calls=[{"name": "delete_order", "arguments": {"order_id": name}} for name in "AB"])

    def watch(point: Point) -> None:
        if point is Point.ANSWER:
            points.watcher = None
            raise CutOff(point)

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    points.watcher = watch
    yield runtime()
    points.watcher = None


def _flow() -> Workflow[Any]:
    return Workflow("cleaner", [Agent("cleaner", tools=[delete_order])])


def _answered(home: Runtime, *answers: str) -> str:
    """A run whose acts, in order, were answered so, and that was cut off then."""
    stopped = _flow().run("go", runtime=home)
    acts = sorted(stopped.pending, key=lambda act: str(act.arguments))
    given = {act.id: answer for act, answer in zip(acts, answers, strict=False)}
    with pytest.raises(CutOff):
        _flow().resume(stopped.run, given, runtime=home)
    assert ran == []
    return stopped.run


def _waiting(home: Runtime) -> list[str]:
    return [row.summary for row in home.ledger.handoffs(open_only=True)]


def test_it_is_carried_out_when_the_run_is_taken_up_and_nobody_is_asked_again(home: Runtime) -> None:
    run = _answered(home, "approve", "reject")
    assert _waiting(home) == []
    done = _flow().resume(run, runtime=home)
    assert (done.status, ran, _waiting(home)) == ("rejected", ["A"], [])
    assert home.ledger.kept.names(run) == frozenset()


@pytest.mark.slow
def test_what_was_not_answered_still_waits(home: Runtime) -> None:
    run = _answered(home, "approve")
    again = _flow().resume(run, runtime=home)
    assert (again.status, [act.arguments for act in again.pending], ran) == ("pending", [{"order_id": "B"}], ["A"])
    assert _flow().resume(run, "approve", runtime=home).status == "done"
    assert ran == ["A", "B"]


@pytest.mark.slow
def test_a_later_answer_takes_the_place_of_one_that_was_not_carried_out(home: Runtime) -> None:
    run = _answered(home, "approve", "approve")
    answers = {act.id: "reject" for act in _flow().pending(run, home)}
    assert _flow().resume(run, answers, runtime=home).status == "rejected"
    assert ran == []


@pytest.mark.slow
def test_an_approval_that_has_expired_meanwhile_is_asked_for_again_and_not_taken_for_the_new_one(home: Runtime) -> None:
    run = _answered(home, "approve", "reject")
    for file in (home.settings.state / "approvals" / "asked").glob("*.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "asked": 0.0}))
    for _ in range(2):
        again = _flow().resume(run, runtime=home)
        assert (again.status, ran, len(again.pending)) == ("pending", [], 1)
        assert "the approval has expired" in again.pending[0].reason
    assert _flow().resume(run, "approve", runtime=home).status == "rejected"
    assert ran == ["A"]


@pytest.mark.slow
async def test_it_holds_for_no_fork_of_the_run(home: Runtime) -> None:
    run = await asyncio.to_thread(_answered, home, "approve", "approve")
    twin = await forked(home, run)
    assert (await _flow().aresume(twin.id, runtime=home)).status == "pending"
    assert ran == []
    assert (await _flow().aresume(run, runtime=home)).status == "done"
    assert sorted(ran) == ["A", "B"]


class _State(TypedDict, total=False):
    task: str
    output: Any


def _asking(node: Callable[[_State], Any], inside: bool = False) -> Workflow[Any]:
    """A graph of the user's own whose only node asks, or such a graph inside another."""

    def build(_: Runtime) -> StateGraph[Any, Any, Any, Any]:
        inner = StateGraph(_State)
        inner.add_node("ask", node)
        inner.add_edge(START, "ask")
        if not inside:
            return inner
        outer = StateGraph(_State)
        outer.add_node("inner", inner.compile())
        outer.add_edge(START, "inner")
        return outer

    return Workflow("asking", graph=build)


@pytest.mark.parametrize("inside", [False, True], ids=["outermost", "in a subgraph"])
def test_what_a_graph_of_the_users_own_asked_is_not_asked_again(home: Runtime, inside: bool) -> None:
    asked: list[Any] = []

    def node(_: _State) -> _State:
        # Two questions that look the same are two questions.
        said = [interrupt("how many?"), interrupt("how many?")]
        asked.append(said)
        return {"output": said}

    flow = _asking(node, inside)
    stopped = flow.run("go", runtime=home)
    with pytest.raises(CutOff):
        flow.resume(stopped.run, "3", runtime=home)
    second = flow.resume(stopped.run, runtime=home)
    assert (second.status, len(second.pending), asked) == ("pending", 1, [])
    assert second.pending[0].id != stopped.pending[0].id
    # Nothing was said to the second.
    assert flow.resume(stopped.run, runtime=home).status == "pending"
    done = flow.resume(stopped.run, {second.pending[0].id: {"count": 4}}, runtime=home)
    assert (done.status, asked, _waiting(home)) == ("done", [["3", {"count": 4}]], [])
    assert home.ledger.kept.names(stopped.run) == frozenset()


@pytest.mark.parametrize("inside", [False, True], ids=["outermost", "in a subgraph"])
def test_an_answer_after_which_the_node_raised_is_not_taken_for_one_to_its_next_question(
    home: Runtime, inside: bool
) -> None:
    points.watcher = None
    broken = [KeyError("shelf")]

    def node(_: _State) -> _State:
        first = interrupt("how many?")
        if broken:
            raise broken.pop()
        return {"output": [first, interrupt("how many?")]}

    flow = _asking(node, inside)
    stopped = flow.run("go", runtime=home)
    failed = flow.resume(stopped.run, "3", runtime=home)
    assert (failed.status, type(failed.error)) == ("failed", KeyError)
    second = flow.resume(stopped.run, runtime=home)
    assert (second.status, len(second.pending)) == ("pending", 1)
    assert flow.resume(stopped.run, "4", runtime=home).output == ["3", "4"]


def test_leave_to_make_a_call_once_more_holds_for_that_call_alone(home: Runtime) -> None:
    points.watcher = None
    made: list[str] = []

    @tool(effect="write", name="mark")
    def breaking(what: str) -> str:
        """Mark something."""
        made.append(what)
        if len(made) < 3:
            raise CutOff("the line is dead")
        return "marked"

    flow = _asking(lambda _: {"output": breaking.invoke({"what": "A"})})
    run = flow.run("go", runtime=home).run
    assert flow.resume(run, runtime=home).status == "pending"
    assert isinstance(flow.resume(run, True, runtime=home).error, CutOff)
    assert (flow.resume(run, runtime=home).status, made) == ("pending", ["A", "A"])
    assert flow.resume(run, True, runtime=home).output == "marked"
