"""`pointsman.runs`: what the runs of a project wait for, whoever started them and at whatever depth, and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Send, interrupt
from pointsman import Agent, RunResult, Workflow, runs, tool
from pointsman.agents.lease.holder import RunOwned
from pointsman.agents.lease.lease import Lease
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.graphs.checkpoints.forking import forget
from pointsman.simulator import Answer, Rule, Scenario, Simulator

Make = Callable[..., Runtime]
ran: list[str] = []


@tool(effect="destructive")
def delete_order(order_id: str) -> str:
    """Delete an order."""
    ran.append(order_id)
    return f"{order_id} is gone"


@pytest.fixture(autouse=True)
def _models(simulator: Simulator) -> None:
    """Whoever has a tool calls it for A and B, and then tells what it was told."""
    ran.clear()

    def answer(request: Any) -> Answer:
        if request.tool_results or not request.tools:
            return Answer(text="so it is")
        (called,) = request.tools
        name = "order_id" if called.name == "delete_order" else "text"
        return Answer(tool_calls=[{"name": called.name, "arguments": {name: value}} for value in "AB"])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])


def _flow() -> Workflow[Any]:
    return Workflow("cleaner", [Agent("cleaner", tools=[delete_order])])


@pytest.mark.slow
def test_what_waits_in_any_run_is_found_and_answered_one_by_one_or_together(runtime: Make) -> None:
    home, flow = runtime(), _flow()
    one, other = flow.run("go", runtime=home), flow.run("go", runtime=home)
    waiting = runs.pending(runtime=home)
    assert waiting == (*one.pending, *other.pending)
    assert [act.run for act in waiting] == [one.run, one.run, other.run, other.run]
    assert runs.pending(other.run, runtime=home) == other.pending

    first, second = one.pending
    still = runs.answer(one.run, {first.id: "approve"}, workflow=flow, runtime=home)
    assert (still.status, len(ran), runs.pending(one.run, runtime=home)) == ("pending", 1, (second,))
    done = runs.answer(other.run, {act.id: "approve" for act in other.pending}, workflow=flow, runtime=home)
    assert (done.status, len(ran)) == ("done", 3)
    runs.answer(one.run, {second.id: {"type": "reject", "message": "keep it"}}, workflow=flow, runtime=home)
    assert (len(ran), runs.pending(runtime=home)) == (3, ())


async def test_it_is_asynchronous_too(runtime: Make) -> None:
    home, flow = runtime(), _flow()
    stopped = await flow.arun("go", runtime=home)
    waiting = await runs.apending(runtime=home)
    answers = {act.id: "approve" for act in waiting}
    both = await asyncio.gather(
        *(runs.aanswer(stopped.run, answers, workflow=flow, runtime=home) for _ in range(2)), return_exceptions=True
    )
    # Whoever comes second finds the run owned, or nothing that waits.
    done, late = sorted(both, key=lambda one: isinstance(one, Exception))
    assert (isinstance(done, RunResult), isinstance(late, RunOwned | ConfigError)) == (True, True)
    assert sorted(ran) == ["A", "B"]


@pytest.mark.slow
def test_mistakes_say_what_to_do_and_do_nothing(runtime: Make) -> None:
    home, flow = runtime(), _flow()
    stopped = flow.run("go", runtime=home)
    (first, _) = stopped.pending
    for run, answers, given, why in (
        ("nothing", "approve", flow, "there is no run 'nothing'"),
        (stopped.run, {first.id: "approve"}, None, "was started by a program: give what runs, runs.answer"),
        (stopped.run, {"gone": "approve"}, flow, "nothing waits under the id 'gone'; these do: "),
        (stopped.run, "approve", flow, "2 acts wait, so say which is meant"),
        (stopped.run, {first.id: "perhaps"}, flow, "'perhaps' is not an answer"),
    ):
        with pytest.raises(ConfigError, match=why):
            runs.answer(run, answers, workflow=given, runtime=home)
    lease = Lease.take(home.ledger, home.settings.state, stopped.run)
    with pytest.raises(RunOwned):
        runs.answer(stopped.run, {first.id: "approve"}, workflow=flow, runtime=home)
    lease.close()
    assert (ran, runs.pending(runtime=home)) == ([], stopped.pending)
    runs.answer(stopped.run, {act.id: "approve" for act in stopped.pending}, workflow=flow, runtime=home)
    with pytest.raises(
        ConfigError, match="waits for no answer, which may have been given already, so nothing was done: pointsman runs"
    ):
        runs.answer(stopped.run, {first.id: "approve"}, workflow=flow, runtime=home)
    assert sorted(ran) == ["A", "B"]


class _State(TypedDict, total=False):
    task: str
    output: Any
    mine: str


@pytest.mark.slow
def test_acts_and_questions_at_any_depth_wait_together_and_each_is_done_once(runtime: Make) -> None:
    """An agent in the tool of an agent in a workflow in a graph of the user's, which asks something itself, too."""
    asked: list[str] = []

    def build(home: Runtime) -> Any:
        inner = Agent("inner", tools=[delete_order]).on(home)

        @tool(effect="read")
        def ask_inner(text: str) -> str:
            """Ask the inner agent."""
            asked.append(text)
            return str(inner.invoke(text)["messages"][-1].text)

        below = Workflow("below", [Agent("outer", tools=[ask_inner])], plan="in_order")
        builder = StateGraph(_State)
        builder.add_node("flow", below.builder(home).compile())
        builder.add_node("mine", lambda state: {"mine": interrupt("may I?")})
        builder.add_edge(START, "flow")
        builder.add_edge(START, "mine")
        builder.add_edge("flow", END)
        return builder

    home, flow = runtime(), Workflow("mixed", graph=build)
    stopped = flow.run("go", runtime=home)
    waiting = runs.pending(runtime=home)
    assert sorted((act.tool, str(act.arguments)) for act in waiting) == sorted(
        [("", "{'value': 'may I?'}"), *(("delete_order", f"{{'order_id': '{name}'}}") for name in "AABB")]
    )
    acts = [act for act in waiting if act.tool]
    (mine,) = (act for act in waiting if not act.tool)
    runs.answer(stopped.run, {acts[0].id: "approve"}, workflow=flow, runtime=home)
    assert len(ran) == 1
    runs.answer(stopped.run, {mine.id: "yes"}, workflow=flow, runtime=home)
    assert (len(ran), len(runs.pending(runtime=home))) == (1, 3)
    left = {act.id: "approve" for act in acts[1:]}
    runs.answer(stopped.run, left, workflow=flow, runtime=home)
    assert sorted(ran) == ["A", "A", "B", "B"]
    assert runs.pending(runtime=home) == ()


@pytest.mark.parametrize("sends", [False, True])
def test_a_graph_that_has_lost_the_node_at_which_a_run_waits_is_refused_and_nothing_is_lost(
    runtime: Make, sends: bool
) -> None:
    class State(TypedDict, total=False):
        task: str
        output: str

    def flow(name: str) -> Workflow:
        def build(_: Runtime) -> StateGraph[Any, Any, Any, Any]:
            graph: StateGraph[Any, Any, Any, Any] = StateGraph(State)
            graph.add_node("first", lambda _: {})
            graph.add_node(name, lambda _: {"output": interrupt("which colour?")})
            graph.add_edge(START, "first")
            if sends:
                graph.add_conditional_edges("first", lambda state: [Send(name, state)], [name])
            else:
                graph.add_edge("first", name)
            return graph

        return Workflow("asks", graph=build)

    home = runtime()
    run = flow("ask").run("go", runtime=home).run
    for answer in (None, {}):
        with pytest.raises(ConfigError, match=f"goes on with 'ask', .* with: pointsman resume {run}"):
            flow("inquire").resume(run, answer, runtime=home)
        # What is pending is not pruned.
        assert home.ledger.run(run).status == "pending"
    waiting = flow("ask").resume(run, runtime=home)
    assert waiting.status == "pending"
    assert flow("ask").resume(run, "red", runtime=home).output == "red"


def test_a_run_whose_checkpoints_are_gone_leaves_the_queue_when_it_is_taken_up(runtime: Make) -> None:
    def build(_: Runtime) -> StateGraph[Any, Any, Any, Any]:
        graph = StateGraph(MessagesState)
        graph.add_node("ask", lambda _: {"messages": [str(interrupt("which colour?"))]})
        graph.add_edge(START, "ask")
        return graph

    home, flow = runtime(), Workflow("asks", graph=build)
    run = flow.run("go", runtime=home).run
    asyncio.run(forget(home.settings.state, [run]))
    home.ledger.kept.forget(run)
    for _ in range(2):
        with pytest.raises(ConfigError, match="nothing is kept of it any more"):
            flow.resume(run, runtime=home)
        assert home.ledger.run(run).status == "failed"
        assert not home.ledger.handoffs(open_only=True, run=run)
