"""A workflow that waits for a person: what they may answer, and what the ledger keeps of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Interrupt, interrupt
from pointsman import Agent, Workflow, tool
from pointsman.agents.approval.answers import answers_by_id, pending_of
from pointsman.agents.result import RunResult
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.graphs.keeping import forked
from pointsman.simulator import Answer, Rule, Scenario, Simulator

Make = Callable[..., Runtime]
ran: list[str] = []


@tool(effect="destructive")
def delete_order(order_id: str) -> str:
    """Delete an order."""
    ran.append(order_id)
    return f"{order_id} is gone"


@pytest.fixture
def flow(simulator: Simulator) -> Workflow:
    """One agent that wants to delete A and B in one turn."""
    ran.clear()

    def answer(request: Any) -> Answer:
        if request.tool_results:
            return Answer(text="so it is")
        return Answer(tool_calls=[{"name": "delete_order", "arguments": {"order_id": name}} for name in "AB"])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    return Workflow("cleaner", [Agent("cleaner", tools=[delete_order])])


def _ids(stopped: RunResult) -> tuple[str, str]:
    found = {act.arguments["order_id"]: act.id for act in stopped.pending}
    return found["A"], found["B"]


def test_every_form_of_an_answer_is_understood_by_its_id(flow: Workflow, runtime: Make) -> None:
    home = runtime()
    stopped = flow.run("go", runtime=home)
    assert [act.allowed for act in stopped.pending] == [("approve", "edit", "reject")] * 2
    first, second = _ids(stopped)
    edit = {"type": "edit", "edited_action": {"name": "delete_order", "args": {"order_id": "C"}}}
    result = flow.resume(stopped.run, {first: True, second: {"decisions": [edit]}}, runtime=home)
    assert (result.status, sorted(ran)) == ("done", ["A", "C"])


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ("approve", r"2 acts wait, so say which is meant: \{'.*': d, '.*': d\}; answer with"),
        (False, "2 acts wait"),
        ({"type": "approve"}, "2 acts wait"),
        ({"decisions": [{"type": "approve"}, {"type": "approve"}]}, "2 acts wait"),
        ({"nobody": "approve"}, r"nothing waits under the id 'nobody'; these do: .*; answer with"),
        ({"A": "yes"}, r"'yes' is not an answer: answer with \{\"decisions\": \[d\]\}, or d alone"),
        ({"A": {"type": "edit", "args": {"order": "C"}}}, "delete_order has no argument 'order', it has order_id"),
    ],
    ids=str,
)
def test_what_is_not_understood_is_refused_before_anything_is_done(
    flow: Workflow, runtime: Make, simulator: Simulator, answers: Any, why: str
) -> None:
    home = runtime()
    stopped = flow.run("go", runtime=home)
    asked = len(simulator.log)
    if isinstance(answers, dict) and "A" in answers:
        answers = {_ids(stopped)[0]: answers["A"]}
    with pytest.raises(ConfigError, match=why):
        flow.resume(stopped.run, answers, runtime=home)
    assert (ran, len(simulator.log)) == ([], asked)
    assert flow.pending(stopped.run, home) == stopped.pending


def test_one_act_that_waits_needs_no_id_and_an_answer_to_nothing_is_refused(flow: Workflow, runtime: Make) -> None:
    home = runtime()
    stopped = flow.run("go", runtime=home)
    first, second = _ids(stopped)
    still = flow.resume(stopped.run, {first: "approve"}, runtime=home)
    assert [act.id for act in still.pending] == [second]
    inbox = [{"type": "response", "args": "keep it"}]
    assert flow.resume(stopped.run, inbox, runtime=home).status == "rejected"
    with pytest.raises(ConfigError, match="waits for no answer"):
        flow.resume(stopped.run, {first: "approve"}, runtime=home)
    assert ran == ["A"]


def test_an_answer_that_names_another_digest_is_asked_again_and_may_then_be_given(
    flow: Workflow, runtime: Make
) -> None:
    home = runtime()
    stopped = flow.run("go", runtime=home)
    first, second = _ids(stopped)
    stale = {"type": "approve", "digest": "0" * 16}
    again = flow.resume(stopped.run, {first: stale, second: "reject"}, runtime=home)
    (act,) = again.pending
    assert (again.status, act.arguments, ran) == ("pending", {"order_id": "A"}, [])
    assert "the answer was to another question" in act.reason
    flow.resume(stopped.run, {act.id: {"type": "approve", "digest": act.digest}}, runtime=home)
    assert ran == ["A"]


@pytest.mark.slow
def test_the_queue_holds_what_waits_and_the_ledger_what_was_answered(flow: Workflow, runtime: Make) -> None:
    home = runtime()
    stopped = flow.run("go", runtime=home)
    opened = {row.summary: row for row in home.ledger.handoffs(open_only=True)}
    assert {row.run for row in opened.values()} == {stopped.run}
    assert set(opened) == {'delete_order {"order_id": "A"}', 'delete_order {"order_id": "B"}'}
    flow.resume(stopped.run, runtime=home)
    assert set(home.ledger.handoffs(open_only=True)) == set(opened.values())

    first, second = _ids(stopped)
    flow.resume(stopped.run, {first: {"type": "reject", "message": "it is paid"}}, runtime=home)
    assert [row.summary for row in home.ledger.handoffs(open_only=True)] == ['delete_order {"order_id": "B"}']
    flow.resume(stopped.run, {second: {"type": "edit", "args": {"order_id": "C"}}}, runtime=home)
    said = {row.summary[-3]: row.reason for row in home.ledger.handoffs()}
    assert said == {"A": "rejected: it is paid", "B": 'edited: {"order_id": "C"}'}
    assert (home.ledger.handoffs(open_only=True), home.ledger.verify()) == ((), [])


def test_a_rejection_holds_although_the_policy_has_been_lowered_since(
    flow: Workflow, runtime: Make, tmp_path: Path
) -> None:
    stopped = flow.run("go", runtime=runtime())
    first, second = _ids(stopped)
    lowered = runtime(**{"risk.call": {"destructive": "high"}})
    edit = {"type": "edit", "args": {"order_id": "C"}}
    result = flow.resume(stopped.run, {first: "reject", second: edit}, runtime=lowered)
    assert (result.status, ran) == ("rejected", ["C"])


def test_a_refused_answer_leaves_the_run_waiting_in_the_ledger_too(flow: Workflow, runtime: Make) -> None:
    home = runtime()
    stopped = flow.run("go", runtime=home)
    before = home.ledger.run(stopped.run)
    with pytest.raises(ConfigError):
        flow.resume(stopped.run, "approve", runtime=home)
    assert home.ledger.run(stopped.run) == before
    assert len(home.ledger.handoffs(open_only=True)) == 2


class _State(TypedDict, total=False):
    task: str
    output: Any


def _asking(value: Any) -> Workflow:
    def build(runtime: Runtime) -> StateGraph[Any, Any, Any, Any]:
        builder = StateGraph(_State)
        builder.add_node("ask", lambda state: {"output": interrupt(value)})
        builder.add_edge(START, "ask")
        builder.add_edge("ask", END)
        return builder

    return Workflow("asking", graph=build)


@pytest.mark.parametrize("value", ["how old are you?", {"question": "how old?"}, ["a", "b"], 7], ids=str)
@pytest.mark.parametrize("answer", ["42", {"age": 42}], ids=str)
def test_a_graph_may_ask_what_it_likes_and_gets_the_answer_as_it_is(runtime: Make, value: Any, answer: Any) -> None:
    home, flow = runtime(), _asking(value)
    stopped = flow.run("go", runtime=home)
    (asked,) = stopped.pending
    assert (stopped.status, asked.tool, asked.arguments) == ("pending", "", {"value": value})
    given = answer if isinstance(answer, str) else {asked.id: answer}
    assert flow.resume(stopped.run, given, runtime=home).output == answer


@pytest.fixture
def payer(simulator: Simulator) -> Workflow:
    """One agent that wants to pay A; the first payment is made, and its tool raises."""
    ran.clear()

    @tool(effect="destructive")
    def pay(order_id: str) -> str:
        """Pay an order."""
        ran.append(order_id)
        if len(ran) == 1:
            raise RuntimeError("the line is dead")
        return "paid"

    def answer(request: Any) -> Answer:
        if request.tool_results:
            return Answer(text=f"so it is: {request.tool_results[-1].text}")
        return Answer(tool_calls=[{"name": "pay", "arguments": {"order_id": "A"}}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    return Workflow("payer", [Agent("payer", tools=[pay])])


_BEGUN = "it may have been done already, before the run was cut off"


def test_an_approved_act_that_was_cut_off_is_asked_about_again_and_not_repeated(payer: Workflow, runtime: Make) -> None:
    home = runtime()
    stopped = payer.run("go", runtime=home)
    with pytest.raises(RuntimeError, match="the line is dead"):
        payer.resume(stopped.run, "approve", runtime=home).raise_for_status()
    again = payer.resume(stopped.run, runtime=home)
    (act,) = again.pending
    assert (again.status, ran) == ("pending", ["A"])
    assert act.reason.count(_BEGUN) == 1
    assert payer.resume(stopped.run, "approve", runtime=home).status == "done"
    assert ran == ["A", "A"]


@pytest.mark.slow
@pytest.mark.parametrize("answer", [{"type": "approve"}, {"type": "edit", "args": {"order_id": "B"}}], ids=str)
def test_an_answer_to_the_question_from_before_an_act_was_begun_does_nothing_and_the_notice_stays(
    payer: Workflow, runtime: Make, answer: Any
) -> None:
    home = runtime()
    stopped = payer.run("go", runtime=home)
    (asked,) = stopped.pending
    assert payer.resume(stopped.run, {asked.id: "approve"}, runtime=home).status == "failed"
    waits = asked.id
    for _ in range(2):
        again = payer.resume(stopped.run, {waits: {**answer, "digest": asked.digest}}, runtime=home)
        (act,) = again.pending
        assert (again.status, ran) == ("pending", ["A"])
        assert act.reason.count(_BEGUN) == 1
        assert "the answer was to another question about pay than this one" in act.reason
        assert "answer with" not in act.reason
        waits = act.id


def test_a_rejection_of_the_question_from_before_an_act_was_begun_holds(payer: Workflow, runtime: Make) -> None:
    home = runtime()
    stopped = payer.run("go", runtime=home)
    (asked,) = stopped.pending
    assert payer.resume(stopped.run, {asked.id: "approve"}, runtime=home).status == "failed"
    result = payer.resume(stopped.run, {asked.id: "reject"}, runtime=home)
    assert (result.status, ran) == ("rejected", ["A"])
    assert _BEGUN in result.steps[0].acts[-1].reason


def test_a_person_who_knows_that_the_act_was_done_says_so_and_the_run_goes_on_with_their_result(
    payer: Workflow, runtime: Make
) -> None:
    home = runtime()
    stopped = payer.run("go", runtime=home)
    (asked,) = stopped.pending
    assert "respond" not in asked.allowed
    said = {"type": "respond", "message": "it was done; id 17"}
    with pytest.raises(ConfigError, match="'respond' is not allowed for pay"):
        payer.resume(stopped.run, said, runtime=home)
    payer.resume(stopped.run, "approve", runtime=home)
    (act,) = payer.resume(stopped.run, runtime=home).pending
    assert "respond" in act.allowed
    result = payer.resume(stopped.run, said, runtime=home)
    (step,) = result.steps
    (done,) = step.acts
    assert (result.status, result.output, ran) == ("done", "so it is: it was done; id 17", ["A"])
    assert (done.outcome, done.reason) == ("done", "a person said that it was done: it was done; id 17")
    assert [row.outcome for row in home.ledger.effects(run=stopped.run)] == ["done"]
    assert home.ledger.verify() == []


def test_of_an_act_of_a_run_that_was_copied_the_copy_is_told_and_the_other_run_is_not(
    payer: Workflow, runtime: Make
) -> None:
    home = runtime()
    stopped = payer.run("go", runtime=home)
    payer.resume(stopped.run, "approve", runtime=home)
    copy = asyncio.run(forked(home, stopped.run)).id
    assert payer.resume(copy, runtime=home).pending[0].reason.count(_BEGUN) == 1
    result = payer.resume(copy, {"type": "respond", "message": "it was done"}, runtime=home)
    assert (result.status, result.output, ran) == ("done", "so it is: it was done", ["A"])
    assert [[row.outcome for row in home.ledger.effects(run=run)] for run in (stopped.run, copy)] == [[""], ["done"]]


def test_no_free_text_of_an_inbox_says_that_an_act_was_done(payer: Workflow, runtime: Make) -> None:
    home = runtime()
    stopped = payer.run("go", runtime=home)
    payer.resume(stopped.run, "approve", runtime=home)
    payer.resume(stopped.run, runtime=home)
    refused = payer.resume(stopped.run, [{"type": "response", "args": "leave it"}], runtime=home)
    assert (refused.status, ran) == ("rejected", ["A"])


@pytest.mark.parametrize("answer", ["approve", None], ids=str)
def test_a_workflow_without_the_tool_that_was_asked_about_is_refused_and_one_that_has_it_goes_on(
    payer: Workflow, runtime: Make, answer: str | None
) -> None:
    home = runtime()
    stopped = payer.run("go", runtime=home)
    other = Workflow("payer", [Agent("payer", tools=[delete_order])])
    with pytest.raises(ConfigError, match=r"pay, which its agent does not have any more.* the workflow that has it"):
        other.resume(stopped.run, answer, runtime=home)
    assert ran == []
    result = payer.resume(stopped.run, "approve", runtime=home)
    assert (ran, str(result.error)) == (["A"], "the line is dead")


def test_what_an_earlier_version_asked_can_be_answered_and_binds_nothing_it_did_not_know() -> None:
    request = {
        "action_requests": [{"name": "delete_order", "args": {"order_id": "A"}, "description": "why\nform"}],
        "review_configs": [{"action_name": "delete_order", "allowed_decisions": ["approve", "edit", "reject"]}],
    }
    act = pending_of(Interrupt(value=request, id="1"), "run")
    assert (act.tool, act.reason, act.always, act.asked) == ("delete_order", "why", False, None)
    assert answers_by_id("approve", [("1", request)]) == {"1": {"decisions": [{"type": "approve"}]}}
    with pytest.raises(ConfigError, match="this may be approved once"):
        answers_by_id("always", [("1", request)])
