"""A person answers about an act of a node of the user's own that may have been done before its run was cut off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy, interrupt
from pointsman import ConfigError, Workflow, tool
from pointsman.agents.result import Pending, RunResult
from pointsman.agents.runtime import Runtime

Make = Callable[..., Runtime]
acts: list[str] = []
cut: list[str] = []


class CutOff(OSError):
    """What ends a run within an act, so that nobody knows whether it happened."""


class State(TypedDict, total=False):
    task: str
    output: Any


@pytest.fixture(autouse=True)
def _fresh() -> None:
    acts.clear()
    cut[:] = ["charge"]


@tool(effect="write")
def charge(order: str) -> dict[str, Any]:
    """Charge an order."""
    acts.append(order)
    if cut:
        cut.pop()
        raise CutOff
    return {"id": len(acts)}


@tool(effect="write")
def note(text: str) -> str:
    """Write a note."""
    acts.append(text)
    if cut:
        cut.pop()
        raise CutOff
    return f"noted {text}"


def _own(work: Callable[[], Any], **options: Any) -> Workflow[Any]:
    def node(_: State) -> State:
        return {"output": work()}

    def build(_: Runtime) -> StateGraph[Any, Any, Any, Any]:
        graph: StateGraph[Any, Any, Any, Any] = StateGraph(State)
        graph.add_node("node", node, **options)
        graph.add_edge(START, "node")
        return graph

    return Workflow("own", graph=build)


def _waiting(flow: Workflow[Any], home: Runtime) -> tuple[str, Pending]:
    """Its run, which is cut off within an act, taken up to the question about that."""
    first = flow.run("Go", runtime=home)
    assert (first.status, type(first.error)) == ("failed", CutOff)
    asked = flow.resume(first.run, runtime=home)
    assert asked.status == "pending"
    (act,) = asked.pending
    return first.run, act


def _charged() -> str:
    return f"charged as {charge.invoke({'order': 'A-1'})['id']}"


def test_what_may_have_been_done_is_shown_as_an_act_of_an_agent_is(runtime: Make) -> None:
    _, act = _waiting(_own(_charged), runtime())
    assert (act.tool, act.arguments, act.effect) == ("charge", {"order": "A-1"}, "write")
    assert "may have been done already" in act.reason
    assert (act.allowed, act.always) == (("approve", "reject", "respond"), False)


@pytest.mark.parametrize(
    ("answer", "output", "times", "ends"),
    [
        ({"type": "respond", "message": '{"id": 17}'}, "charged as 17", 1, ["done"]),
        ({"type": "approve"}, "charged as 2", 2, ["", "done"]),
        (True, "charged as 2", 2, ["", "done"]),
    ],
)
def test_a_person_says_that_it_was_done_or_has_it_done_again(
    runtime: Make, answer: Any, output: str, times: int, ends: list[str]
) -> None:
    home, flow = runtime(), _own(_charged)
    run, act = _waiting(flow, home)
    result = flow.resume(run, {act.id: answer}, runtime=home)
    assert (result.status, result.output, len(acts)) == ("done", output, times)
    assert sorted(row.outcome for row in home.ledger.effects(run)) == ends


def test_after_a_rejection_it_is_not_done(runtime: Make) -> None:
    home, flow = runtime(), _own(lambda: charge.invoke({"order": "A-1"}))
    run, act = _waiting(flow, home)
    result = flow.resume(run, {act.id: {"type": "reject", "message": "twice"}}, runtime=home)
    assert (result.status, result.output, len(acts)) == ("done", "charge was not called again: twice", 1)


def test_what_a_tool_of_texts_gave_is_the_text_that_a_person_says(runtime: Make) -> None:
    home, flow = runtime(), _own(lambda: note.invoke({"text": "hello"}))
    run, _ = _waiting(flow, home)
    assert flow.resume(run, {"type": "respond", "message": "17"}, runtime=home).output == "17"


@pytest.mark.parametrize("answer", [{"type": "respond", "message": "noted before"}, True])
def test_the_next_question_of_the_node_is_given_its_own_answer(runtime: Make, answer: Any) -> None:
    def work() -> Any:
        said = note.invoke({"text": "hello"})
        return said, interrupt("which colour?"), interrupt("which size?")

    home, flow = runtime(), _own(work)
    run, _ = _waiting(flow, home)
    flow.resume(run, answer, runtime=home)
    flow.resume(run, "red", runtime=home)
    result = flow.resume(run, "large", runtime=home)
    said = "noted hello" if answer is True else "noted before"
    assert (result.status, [*result.output]) == ("done", [said, "red", "large"])


def test_an_act_that_is_cut_off_once_more_is_asked_about_once_more(runtime: Make) -> None:
    home, flow = runtime(), _own(lambda: (note.invoke({"text": "hello"}), interrupt("which colour?")))
    run, act = _waiting(flow, home)
    cut.append("again")
    assert type(flow.resume(run, {act.id: True}, runtime=home).error) is CutOff
    (again,) = flow.resume(run, runtime=home).pending
    assert again.tool == "note"
    assert flow.resume(run, {again.id: {"type": "respond", "message": "both"}}, runtime=home).status == "pending"
    result: RunResult[Any] = flow.resume(run, "red", runtime=home)
    assert (result.status, [*result.output], len(acts)) == ("done", ["both", "red"], 2)


def test_a_node_that_is_tried_again_asks_about_what_its_first_attempt_began(runtime: Make) -> None:
    home = runtime()
    policy = RetryPolicy(initial_interval=0.0, jitter=False, retry_on=CutOff)
    flow = _own(lambda: note.invoke({"text": "hello"}), retry_policy=policy)
    first = flow.run("Go", runtime=home)
    assert (first.status, len(acts)) == ("pending", 1)
    result = flow.resume(first.run, {"type": "respond", "message": "it is there"}, runtime=home)
    assert (result.status, result.output, len(acts)) == ("done", "it is there", 1)


def test_an_answer_to_another_act_is_refused_before_anything_is_done(runtime: Make) -> None:
    home, flow = runtime(), _own(_charged)
    run, act = _waiting(flow, home)
    with pytest.raises(ConfigError, match="was to another question about charge"):
        flow.resume(run, {act.id: {"type": "approve", "digest": "0" * 64}}, runtime=home)
    assert flow.resume(run, {act.id: {"type": "approve", "digest": act.digest}}, runtime=home).status == "done"
