"""A plan that comes to a halt is made anew, within limits, and only where nothing could be done twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pointsman import Agent, BackendError, Workflow, tool
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator

Make = Callable[..., Runtime]

acts: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    acts.clear()


@tool(effect="write")
def mark(step: str) -> str:
    """Mark a step."""
    acts[step] += 1
    return "it is marked"


def _step(name: str, agent: str, *needs: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "agent": agent, "instruction": f"do {name}!", "needs": list(needs), **more}


class _Brain:
    """Models that give one plan after the other, and say what they did or call ``mark`` where they may."""

    def __init__(self, simulator: Simulator, *plans: list[dict[str, Any]], fails: str = "", fault: str = "refusal"):
        self.plans = list(plans)
        self.told: list[str] = []
        self.verdict = True
        self.worked: Counter[str] = Counter()
        refusing = [Rule(match=Match(contains=f"do {fails}!"), fault=Fault(fault))] if fails else []  # type: ignore[arg-type]
        simulator.scenario = Scenario(rules=[*refusing, Rule(answer=self.answer)])

    def answer(self, request: Any) -> Answer:
        offered = {one.name for one in request.tools}
        if "Plan" in offered:
            self.told.append(request.user_text)
            steps = self.plans.pop(0) if len(self.plans) > 1 else self.plans[0]
            return Answer(tool_calls=[{"name": "Plan", "arguments": {"steps": steps}}])
        if "Verdict" in offered:
            return Answer(tool_calls=[{"name": "Verdict", "arguments": {"ok": self.verdict, "reason": "so it is"}}])
        found = re.search(r"do (\w+)!", request.user_text)
        name = found[1] if found else "?"
        if "mark" in offered and not request.tool_results:
            return Answer(tool_calls=[{"name": "mark", "arguments": {"step": name}}])
        self.worked[name] += 1
        return Answer(text=f"{name} is done")


def _flow(**more: Any) -> Workflow:
    return Workflow("any", [Agent("actor", tier="economy", tools=[mark]), Agent("thinker", tier="economy")], **more)


@pytest.mark.slow
def test_a_step_that_no_model_does_is_planned_around_and_what_is_done_is_not_done_again(
    runtime: Make, simulator: Simulator
) -> None:
    first = [_step("a", "actor"), _step("b", "thinker"), _step("c", "thinker", "a", "b")]
    brain = _Brain(simulator, first, [_step("d", "thinker", "a")], fails="b")
    home = runtime()
    result = _flow().run("Go", runtime=home)
    assert (result.status, result.output, acts) == ("done", "d is done", {"a": 1})
    assert {step.id: step.status.value for step in result.steps} == {"a": "done", "b": "failed", "d": "done"}
    assert brain.worked == {"a": 1, "d": 1}
    assert "planned again, as step b failed" in result.notes
    assert "step b (thinker) was failed: no model answered thinker" in brain.told[1]
    assert "a is done" in brain.told[1]
    (row,) = home.ledger.runs()
    assert row.status == "done"


def test_a_run_is_planned_anew_twice_and_then_ends_failed_and_can_be_taken_up(
    runtime: Make, simulator: Simulator
) -> None:
    brain = _Brain(simulator, [_step("b", "thinker")], [_step("c", "thinker")], [_step("d", "thinker")])
    answer = brain.answer
    refused = [Rule(match=Match(contains=f"do {name}!"), fault=Fault("refusal")) for name in "bcd"]
    simulator.scenario = Scenario(rules=[*refused, Rule(answer=answer)])
    home = runtime()
    with pytest.raises(BackendError, match="refusal"):
        _flow().run("Go", runtime=home).raise_for_status()
    assert len(brain.told) == 3
    (row,) = home.ledger.runs()
    assert row.status == "failed"

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    result = _flow().resume(row.id, runtime=home)
    assert (result.status, result.output, brain.worked, len(brain.told)) == ("done", "d is done", {"d": 1}, 3)


def test_a_step_that_has_acted_is_not_planned_anew(runtime: Make, simulator: Simulator) -> None:
    brain = _Brain(simulator, [_step("a", "actor"), _step("b", "thinker", "a")])
    refusing = Rule(match=Match(contains_any_message="it is marked"), fault=Fault("refusal"))
    simulator.scenario = Scenario(rules=[refusing, Rule(answer=brain.answer)])
    home = runtime()
    with pytest.raises(BackendError, match="refusal"):
        _flow().run("Go", runtime=home).raise_for_status()
    assert (acts, len(brain.told)) == ({"a": 1}, 1)


@pytest.mark.slow
def test_a_step_of_the_new_plan_that_needs_one_handed_over_is_told_as_skipped(
    runtime: Make, simulator: Simulator
) -> None:
    brain = _Brain(
        simulator,
        [_step("x", "thinker"), _step("y", "decider")],
        [_step("n", "thinker", "y"), _step("m", "thinker")],
        fails="x",
    )
    brain.verdict = False
    agents = [Agent("decider", kind="decide"), Agent("thinker", tier="economy")]
    result = Workflow("any", agents, retries=0).run("Go", runtime=runtime())
    ended = {step.id: step.status.value for step in result.steps}
    assert ended == {"x": "failed", "y": "handed_over", "n": "skipped", "m": "done"}
    assert "step n (thinker) was skipped: it needs step y, which was handed over" in str(result.output)


@pytest.mark.parametrize("fault", ["bad_request", "auth", "overloaded"])
def test_what_failed_for_the_providers_sake_is_not_planned_anew(
    runtime: Make, simulator: Simulator, fault: str
) -> None:
    brain = _Brain(simulator, [_step("b", "thinker")], fails="b", fault=fault)
    with pytest.raises(BackendError):
        _flow().run("Go", runtime=runtime()).raise_for_status()
    assert len(brain.told) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("again", "said"),
    [
        ([_step("b", "thinker")], "step b was planned before"),
        ([_step("d", "ghost")], "does not exist"),
        ([_step("d", "thinker", "b")], "which is not in the plan"),
        ([_step("d", "thinker", "e"), _step("e", "thinker", "d")], "in a circle"),
    ],
    ids=["an old id", "a ghost", "what failed", "a circle"],
)
def test_a_new_plan_that_cannot_be_carried_out_ends_the_run_and_resuming_plans_once_more(
    runtime: Make, simulator: Simulator, again: list[dict[str, Any]], said: str
) -> None:
    brain = _Brain(simulator, [_step("a", "actor"), _step("b", "thinker")], again, [_step("f", "thinker")], fails="b")
    home = runtime()
    with pytest.raises(Exception, match=said):
        _flow().run("Go", runtime=home).raise_for_status()
    (row,) = home.ledger.runs()
    result = _flow().resume(row.id, runtime=home)
    assert (result.status, result.output, acts, brain.worked) == (
        "done",
        "a is done\n\nf is done",
        {"a": 1},
        {"a": 1, "f": 1},
    )


@pytest.mark.slow
def test_plans_made_anew_may_have_twice_the_steps_of_one_plan_in_all_and_no_more(
    runtime: Make, simulator: Simulator
) -> None:
    first = [_step("b", "thinker"), *(_step(f"p{number}", "thinker") for number in range(11))]
    second = [_step("c", "thinker", instruction="do b!"), *(_step(f"q{number}", "thinker") for number in range(11))]
    brain = _Brain(simulator, first, second, [_step("z", "thinker")], fails="b")
    with pytest.raises(Exception, match="it makes more than 24 steps in all"):
        _flow().run("Go", runtime=runtime()).raise_for_status()
    assert len(brain.told) == 3
    assert brain.worked == Counter(f"{plan}{number}" for plan in "pq" for number in range(11))


def test_a_plan_without_a_model_is_never_made_anew(runtime: Make, simulator: Simulator) -> None:
    brain = _Brain(simulator, [], fails="b")
    with pytest.raises(BackendError):
        Workflow("any", [Agent("b", instructions="do b!"), Agent("c")], plan="in_order").run(
            "do b!", runtime=runtime()
        ).raise_for_status()
    assert brain.told == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("declared", "risk"),
    [
        ({}, "low"),
        ({"kind": "gather"}, "low"),
        ({"kind": "decide"}, "medium"),
        ({"effects": ["write"]}, "medium"),
        ({"effects": ["destructive"]}, "high"),
    ],
)
def test_what_a_plan_declares_of_a_step_raises_its_risk_and_never_lowers_it(
    runtime: Make, simulator: Simulator, declared: dict[str, Any], risk: str, caplog: pytest.LogCaptureFixture
) -> None:
    _Brain(simulator, [_step("a", "thinker", **declared), _step("b", "actor", kind="transform")])
    result = _flow().run("Go", runtime=runtime())
    assert "Blocked deserialization" not in caplog.text
    assert [step.risk for step in sorted(result.steps, key=lambda step: step.id)] == [risk, "medium"]


@pytest.mark.slow
def test_a_run_taken_up_by_a_workflow_that_lacks_an_agent_of_its_plan_is_refused_and_can_go_on(
    runtime: Make, simulator: Simulator
) -> None:
    brain = _Brain(simulator, [_step("a", "actor"), _step("b", "thinker", "a")], fails="b", fault="bad_request")
    home = runtime()
    assert _flow().run("Go", runtime=home).status == "failed"
    (row,) = home.ledger.runs()
    with pytest.raises(ConfigError, match="step b of the run's plan is for agent 'thinker', which this workflow lacks"):
        Workflow("any", [Agent("actor", tier="economy", tools=[mark])]).resume(row.id, runtime=home)
    simulator.scenario = Scenario(rules=[Rule(answer=brain.answer)])
    result = _flow().resume(row.id, runtime=home)
    assert (result.status, result.output, acts) == ("done", "b is done", {"a": 1})
