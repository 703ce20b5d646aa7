"""What bounds a run and what it is booked on: kept when it is taken up again, and heeded in threads of its tools."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from pointsman import Agent, Workflow, tool
from pointsman.agents.errors import RunTimeout, StepLimit, TurnLimit
from pointsman.agents.result import RunResult
from pointsman.agents.runs import run_scope
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.dispatch.context import current
from pointsman.ledger.budgets.budgets import BudgetExceeded
from pointsman.ledger.report import report
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator

Make = Callable[..., Runtime]


@tool(effect="destructive")
def delete_order(order_id: str) -> str:
    """Delete an order."""
    return "gone"


@tool(effect="read")
def look(at: str) -> str:
    """Look at something."""
    return "nothing yet"


def _deleting(simulator: Simulator) -> Workflow:
    call = Answer(tool_calls=[{"name": "delete_order", "arguments": {"order_id": "7"}}])
    simulator.scenario = Scenario(
        rules=[Rule(match=Match(contains_any_message="gone"), answer=Answer(text="It is deleted.")), Rule(answer=call)]
    )
    return Workflow("del", [Agent("ops", tier="frontier", kind="act", instructions="x", tools=[delete_order])])


def _approve(stopped: RunResult) -> dict[str, dict[str, Any]]:
    return {act.id: {"decision": "approve", "digest": act.digest} for act in stopped.pending}


def test_a_run_that_is_taken_up_keeps_its_cap_its_user_its_class_and_its_tags(
    runtime: Make, simulator: Simulator
) -> None:
    flow = _deleting(simulator)
    home = runtime(**{"routing.classes": {"gold": {}}})
    bounds = {"max_cost": 1.5, "max_steps": 31, "timeout": 70, "user": "ann", "user_class": "gold", "tags": ["a", "b"]}
    stopped = flow.run("Delete order 7", **bounds, runtime=home)
    before = home.ledger.run(stopped.run)
    assert before is not None
    kept = ("gold", "ann", ("a", "b"), 1_500_000_000_000, 31, 70)
    assert before.status == "pending"
    assert (before.user_class, before.user, before.tags, before.max_cost, before.max_steps, before.timeout) == kept

    seen: list[Any] = []

    @tool(effect="destructive", name="delete_order")
    def looking(order_id: str) -> str:
        """Delete an order."""
        seen.append(current().run)
        return "gone"

    again = Workflow("del", [Agent("ops", tier="frontier", kind="act", instructions="x", tools=[looking])])
    result = again.resume(stopped.run, _approve(stopped), runtime=home)
    after = home.ledger.run(stopped.run)
    assert after is not None
    assert result.status == after.status == "done"
    assert (after.user_class, after.user, after.tags, after.max_cost, after.max_steps, after.timeout) == kept
    (run,) = seen
    assert (run.user, run.user_class, run.tags) == ("ann", "gold", ("a", "b"))
    assert run.caps == ((f"run:{stopped.run}", 1_500_000_000_000),)


def test_the_cost_and_the_calls_of_a_run_are_those_of_all_its_parts(runtime: Make, simulator: Simulator) -> None:
    flow, home = _deleting(simulator), runtime()
    stopped = flow.run("Delete order 7", runtime=home)
    result = flow.resume(stopped.run, _approve(stopped), runtime=home)
    assert (len(stopped.calls), len(result.calls)) == (1, 2)
    assert len({call.id for call in result.calls}) == 2
    totals = report(home.ledger, run=result.run).totals
    assert (result.cost, result.unpriced) == (totals.cost, totals.unpriced)
    assert 0 < stopped.cost < result.cost


@pytest.mark.parametrize("first", [None, 1.0], ids=["no cap before", "another cap before"])
def test_a_cap_given_anew_counts_what_the_run_has_spent_already(
    runtime: Make, simulator: Simulator, first: float | None
) -> None:
    flow, home = _deleting(simulator), runtime()
    stopped = flow.run("Delete order 7", max_cost=first, runtime=home)
    with pytest.raises(BudgetExceeded, match="is spent") as refused:
        flow.resume(stopped.run, _approve(stopped), max_cost=stopped.cost, runtime=home).raise_for_status()
    assert (refused.value.scope, refused.value.spent) == (f"run:{stopped.run}", round(stopped.cost * 10**12))
    # The lower cap is now the run's own, until another is given.
    with pytest.raises(BudgetExceeded):
        flow.resume(stopped.run, runtime=home).raise_for_status()
    assert flow.resume(stopped.run, max_cost=2, runtime=home).status == "done"


@pytest.mark.slow
def test_a_cap_given_anew_counts_what_the_runs_inside_the_run_have_spent(runtime: Make, simulator: Simulator) -> None:
    home = runtime()
    inner: list[RunResult] = []

    @tool(effect="read", name="look")
    def asking(at: str) -> str:
        """Ask somebody."""
        inner.append(Workflow("inner", [Agent("clerk", instructions="y")]).run(f"What is at {at}?", runtime=home))
        return "look done"

    steps = (("look done", "delete_order", {"order_id": "7"}), ("What is at", None, {}), ("Mind", "look", {"at": "x"}))
    simulator.scenario = Scenario(
        rules=[
            Rule(match=Match(contains_any_message="gone"), answer=Answer(text="It is deleted.")),
            *(
                Rule(
                    match=Match(contains_any_message=said),
                    answer=Answer(tool_calls=[{"name": name, "arguments": given}]) if name else Answer(text="Nothing."),
                )
                for said, name, given in steps
            ),
        ]
    )
    tools = [asking, delete_order]
    flow = Workflow("del", [Agent("ops", tier="frontier", kind="act", instructions="x", tools=tools)])
    stopped = flow.run("Mind order 7", runtime=home)
    assert (stopped.status, len(inner)) == ("pending", 1)
    assert inner[0].cost > 0
    both = sum(row.cost or 0 for run in (stopped.run, inner[0].run) for row in home.ledger.calls(run=run))
    with pytest.raises(BudgetExceeded, match="is spent") as refused:
        flow.resume(stopped.run, _approve(stopped), max_cost=both / 10**12, runtime=home).raise_for_status()
    assert refused.value.spent == both == round(stopped.cost * 10**12)
    assert flow.resume(stopped.run, _approve(stopped), max_cost=2, runtime=home).cost > stopped.cost


@pytest.mark.parametrize(
    "bound",
    [{"max_cost": -1}, {"max_cost": float("nan")}, {"max_cost": float("inf")}, {"max_steps": 0}, {"timeout": 0},
     {"timeout": float("nan")}],
    ids=str,
)  # fmt: skip
def test_a_bound_that_bounds_nothing_is_refused(runtime: Make, simulator: Simulator, bound: dict[str, Any]) -> None:
    home = runtime()
    with pytest.raises(ConfigError, match=r"is not valid|max_steps is|timeout is"):
        _deleting(simulator).run("Go", runtime=home, **bound)
    assert (len(simulator.log), home.ledger.runs()) == (0, ())


@pytest.mark.parametrize("bound", [{"max_cost": 1e30}, {"max_tokens": 10**30}, {"max_steps": 10**30}], ids=str)
def test_a_bound_above_all_that_a_run_can_reach_is_none(
    runtime: Make, simulator: Simulator, bound: dict[str, Any]
) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="done"))])
    flow = Workflow("one", [Agent("a", tier="economy")], plan="in_order")
    assert flow.run("Go", runtime=runtime(), **bound).status == "done"


def test_a_run_that_wants_more_steps_is_cut_off_with_what_it_has_and_can_go_on(
    runtime: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="done"))])
    home = runtime()
    flow = Workflow("two", [Agent("a", tier="economy"), Agent("b", tier="economy")], plan="in_order")
    so_far = flow.run("do it", runtime=home, max_steps=1)
    with pytest.raises(StepLimit, match="raise --max-steps") as cut:
        so_far.raise_for_status()
    assert (so_far.error, so_far.run) == (cut.value, cut.value.run)
    assert (so_far.status, [step.id for step in so_far.steps], so_far.output) == ("failed", ["s1"], None)
    assert so_far.cost > 0
    result = flow.resume(so_far.run, runtime=home)
    assert (result.status, len(result.calls)) == ("done", 2)


@pytest.mark.slow
def test_an_agent_that_comes_to_no_answer_is_cut_off(runtime: Make, simulator: Simulator) -> None:
    places = itertools.count()
    simulator.scenario = Scenario(
        rules=[Rule(answer=lambda _: Answer(tool_calls=[{"name": "look", "arguments": {"at": str(next(places))}}]))]
    )
    home = runtime()
    result = Workflow("loop", [Agent("a", tier="economy", tools=[look])]).run("do it", runtime=home)
    with pytest.raises(TurnLimit, match="agent 'a' gave no answer within 20 turns") as cut:
        result.raise_for_status()
    assert (cut.value.run, len(result.calls)) == (home.ledger.runs()[0].id, 20)


def test_a_run_whose_time_is_over_says_how_to_go_on_and_is_a_timeout_too(
    runtime: Make, simulator: Simulator, leap: Any
) -> None:
    simulator.scenario = Scenario(
        rules=[Rule(match=Match(contains_any_message="step:s1"), fault=Fault("hang")), Rule(answer=Answer(text="done"))]
    )
    home = runtime()
    flow = Workflow("two", [Agent("a", tier="economy"), Agent("b", tier="economy")], plan="in_order")
    hangs = leap.when(lambda: any(served.fault == "hang" for served in simulator.log), 121)
    with hangs:
        result = flow.run("do it", runtime=home, timeout=120)
    assert isinstance(result.error, RunTimeout)
    assert isinstance(result.error, TimeoutError)
    assert f"pointsman resume {result.run}" in str(result.error)
    assert [step.id for step in result.steps] == ["s1"]
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="done"))])
    assert flow.resume(result.run, timeout=600, runtime=home).status == "done"


def test_a_timeout_of_a_tool_is_not_taken_for_the_runs(runtime: Make, simulator: Simulator) -> None:
    @tool(effect="read", name="look")
    def late(at: str) -> str:
        """Look."""
        raise TimeoutError("the door was shut")

    simulator.scenario = Scenario(rules=[Rule(answer=Answer(tool_calls=[{"name": "look", "arguments": {"at": "1"}}]))])
    flow = Workflow("late", [Agent("a", tier="economy", tools=[late])])
    with pytest.raises(TimeoutError, match="the door was shut") as raised:
        flow.run("do it", runtime=runtime(), timeout=600).raise_for_status()
    assert not isinstance(raised.value, RunTimeout)


class Shouting(Agent):
    """An agent with a way of its own."""

    heard: list[str]

    async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> dict[str, Any]:
        made = await super().ainvoke(input, config, **kwargs)
        self.heard.append(self.name)
        return made


def test_an_agent_of_ones_own_class_stays_of_that_class_in_a_workflow(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="done"))])
    home, agent = runtime(), Shouting("a", tier="economy")
    agent.heard = []
    Workflow("one", [agent]).run("do it", runtime=home)
    assert agent.heard == ["a"]
    twin = agent.on(home)
    assert (type(twin), twin.name, twin.runtime is home) == (Shouting, "a", True)


def test_a_twin_has_a_graph_of_its_own(runtime: Make) -> None:
    agent = Agent("a", tier="economy").on(runtime())
    assert agent.on(runtime()).graph is not agent.graph


def test_a_run_inside_others_that_is_taken_up_by_itself_keeps_within_the_caps_around_it(
    runtime: Make, simulator: Simulator
) -> None:
    flow, home = _deleting(simulator), runtime()
    with run_scope(home, "outermost", max_cost=0.5) as outermost, run_scope(home, "free"):
        stopped = flow.run("Delete order 7", max_cost=2, runtime=home)
    assert stopped.status == "pending"
    # Others have spent nearly all of it meanwhile.
    budgets = home.dispatcher.budgets
    budgets.settle(budgets.reserve({outermost.scope: None}, 499_000_000_000), 499_000_000_000)
    with pytest.raises(BudgetExceeded, match=outermost.id):
        flow.resume(stopped.run, _approve(stopped), runtime=home).raise_for_status()
    assert 0 < sum(row.cost or 0 for row in home.ledger.calls(run=stopped.run)) <= stopped.cost * 10**12 + 1
