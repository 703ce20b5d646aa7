"""A step whose agent makes the same call again and again ends its run, is planned anew, or goes on when taken up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pointsman import Agent, Workflow, tool
from pointsman.agents import RepeatedCall
from pointsman.agents.runtime import Runtime
from pointsman.simulator import Answer, Request, Rule, Scenario, Simulator

Make = Callable[..., Runtime]

calls: Counter[str] = Counter()
news: dict[int, str] = {}


@pytest.fixture(autouse=True)
def _anew() -> None:
    calls.clear()
    news.clear()


@tool(effect="read")
def look(at: str) -> str:
    """Look at something."""
    calls["look"] += 1
    return news.get(calls["look"], "nothing there")


@tool(effect="write")
def press(at: str) -> str:
    """Press something."""
    calls["press"] += 1
    return "nothing there"


def _looking(request: Request) -> Answer:
    """Call the one tool until it tells that it is there."""
    if any("it is there" in result.text for result in request.tool_results) or not request.tools:
        return Answer(text="I found it.")
    return Answer(tool_calls=[{"name": request.tools[0].name, "arguments": {"at": "bell"}}])


@pytest.mark.slow
def test_a_run_that_was_ended_has_what_was_done_by_then_and_goes_on_when_it_is_taken_up(
    runtime: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=_looking)])
    home = runtime()
    flow = Workflow("two", [Agent("first"), Agent("looper", tools=[look])], plan="in_order")
    so_far = flow.run("Where is it?", runtime=home)
    with pytest.raises(RepeatedCall, match=r"agent 'looper' called look\(.*\) 5 times .*\(run ") as ended:
        so_far.raise_for_status()
    assert (so_far.run, so_far.status.value, [step.id for step in so_far.steps]) == (ended.value.run, "failed", ["s1"])
    assert (calls["look"], len(so_far.calls)) == (5, 6)

    assert isinstance(flow.resume(so_far.run, runtime=home).error, RepeatedCall)
    assert calls["look"] == 10
    news[12] = "it is there"
    result = flow.resume(so_far.run, runtime=home)
    assert (result.status, result.output, calls["look"]) == ("done", "I found it.", 12)
    assert [step.id for step in result.steps] == ["s1", "s2"]


@pytest.mark.slow
@pytest.mark.parametrize(("hand", "plans"), [(look, 2), (press, 1)], ids=["reads", "acts"])
def test_a_supervised_run_is_planned_anew_where_the_step_did_nothing_but_read(
    runtime: Make, simulator: Simulator, hand: Any, plans: int
) -> None:
    made: list[str] = []

    def answer(request: Request) -> Answer:
        if "Plan" not in {one.name for one in request.tools}:
            return _looking(request)
        made.append(request.user_text)
        step = {"id": f"p{len(made)}", "agent": "looper" if len(made) == 1 else "thinker", "instruction": "find it"}
        return Answer(tool_calls=[{"name": "Plan", "arguments": {"steps": [step]}}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    home = runtime()
    flow = Workflow("any", [Agent("looper", tools=[hand]), Agent("thinker")])
    if plans == 1:
        with pytest.raises(RepeatedCall, match="called press"):
            flow.run("Where is it?", runtime=home).raise_for_status()
    else:
        result = flow.run("Where is it?", runtime=home)
        assert (result.status, result.output) == ("done", "I found it.")
        assert {step.id: step.status.value for step in result.steps} == {"p1": "failed", "p2": "done"}
        assert re.search(r"step p1 \(looper\) was failed: agent 'looper' called look.* 5 times", made[1])
    assert (len(made), calls.total()) == (plans, 5)


@pytest.mark.slow
def test_a_run_whose_step_had_another_agent_act_is_not_planned_anew(runtime: Make, simulator: Simulator) -> None:
    home, made = runtime(), Counter[str]()
    inner = Agent("inner", tools=[press]).on(home)

    @tool(effect="read")
    def ask(at: str) -> str:
        """Ask another agent."""
        return inner.run(at).raise_for_status().output

    def answer(request: Request) -> Answer:
        if "Plan" not in {one.name for one in request.tools}:
            return _looking(request)
        made["plans"] += 1
        step = {"id": f"p{made['plans']}", "agent": "outer", "instruction": "find it"}
        return Answer(tool_calls=[{"name": "Plan", "arguments": {"steps": [step]}}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    result = Workflow("any", [Agent("outer", tools=[ask]), Agent("thinker")]).run("Where is it?", runtime=home)
    with pytest.raises(RepeatedCall, match="agent 'inner' called press"):
        result.raise_for_status()
    assert (made["plans"], calls) == (1, {"press": 5})
    assert result.run == next(row.id for row in home.ledger.runs() if not row.parent)


@pytest.mark.slow
def test_a_step_that_polls_until_there_is_news_is_not_ended(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=_looking)])
    news.update({made: f"{made * 8} %" for made in range(12)} | {12: "it is there"})
    result = Workflow("poll", [Agent("looper", tools=[look])], plan="in_order").run("Where is it?", runtime=runtime())
    assert (result.status, result.output, calls["look"]) == ("done", "I found it.", 12)
