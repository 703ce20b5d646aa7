"""Whatever fails in it, a run ends in one of five states with what was done in it, and goes on from there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pointsman import Agent, ToolFailed, Workflow, tool
from pointsman.agents.result import RunResult
from pointsman.agents.runtime import Runtime
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator

Make = Callable[..., Runtime]
Steps = list[dict[str, Any]]
ENDS = {"done", "handed_over", "pending", "failed", "interrupted"}
FAULTS = ("fine", "refused request", "empty", "garbage", "doubt", "told error", "broken tool", "needs approval")
acts: Counter[str] = Counter()
faults: dict[str, str] = {}


class Wire(OSError):
    """A tool of the user's own broke."""


@tool(effect=lambda arguments: "destructive" if faults.get(arguments["step"]) == "needs approval" else "write")
def mark(step: str) -> str:
    """Mark a step."""
    fault = faults.get(step)
    if fault == "told error":
        raise ToolFailed("there is no such step")
    if fault == "broken tool":
        raise Wire("the wire broke")
    acts[step] += 1
    return "it is marked"


@st.composite
def broken(draw: st.DrawFn) -> tuple[Steps, dict[str, str]]:
    """Plans of up to four steps, and what goes wrong in each."""
    steps = []
    for number in range(draw(st.integers(1, 4))):
        needs = draw(st.lists(st.sampled_from([f"p{n}" for n in range(number)]), max_size=2)) if number else []
        agent = draw(st.sampled_from(["actor", "thinker"]))
        steps.append({"id": f"p{number}", "agent": agent, "instruction": f"do p{number}!", "needs": needs})
    return steps, {step["id"]: draw(st.sampled_from(FAULTS)) for step in steps}


def _brain(plan: Steps) -> Scenario:
    plans: list[int] = []

    def answer(request: Any) -> Answer:
        offered = {one.name for one in request.tools}
        found = re.search(r"do (p\d+)!", " ".join(message.text for message in request.messages))
        fault = faults.get(found[1]) if found else None
        if "Plan" in offered:
            plans.append(1)
            again = [{"id": f"n{len(plans)}", "agent": "thinker", "instruction": "finish", "needs": []}]
            return Answer(tool_calls=[{"name": "Plan", "arguments": {"steps": again if plans[1:] else plan}}])
        if "Verdict" in offered:
            ok = fault != "doubt"
            return Answer(tool_calls=[{"name": "Verdict", "arguments": {"ok": ok, "reason": "so it seems"}}])
        if fault == "empty":
            return Answer(text="")
        if request.tool_results or "mark" not in offered or found is None:
            return Answer(text="so it is")
        return Answer(tool_calls=[{"name": "mark", "arguments": {"step": found[1]}}])

    kinds = {"refused request": Fault("bad_request"), "garbage": Fault("malformed_json")}
    broken = [
        Rule(match=Match(contains_any_message=f"do {step}!"), fault=kinds[fault])
        for step, fault in faults.items()
        if fault in kinds
    ]
    return Scenario(rules=[*broken, Rule(answer=answer)])


def _holds_together(home: Runtime, result: RunResult) -> None:
    row = home.ledger.run(result.run)
    assert row is not None
    assert (row.status, row.ended is not None) == (str(result.status), True)
    assert row.status in ENDS
    # What ended it is there where it failed, and only there.
    assert (result.error is not None) == (row.status == "failed")
    assert [call.id for call in result.calls] == [call.id for call in home.ledger.calls(result.run)]
    assert max(Counter(step.id for step in result.steps).values(), default=0) <= 1
    told = {act.arguments["step"] for step in result.steps for act in step.acts if act.outcome == "done"}
    assert told <= set(acts)


def test_a_run_ends_in_one_of_five_states_with_what_was_done_whatever_fails_and_goes_on_from_there(
    runtime: Make, simulator: Simulator
) -> None:
    home = runtime()
    flow = Workflow("any", [Agent("actor", tier="economy", tools=[mark]), Agent("thinker", tier="economy")])

    @settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.nested_given])
    @given(drawn=broken())
    def holds(drawn: tuple[Steps, dict[str, str]]) -> None:
        plan, wrong = drawn
        acts.clear()
        faults.clear()
        faults.update(wrong)
        simulator.scenario = _brain(plan)
        asked = len(simulator.log)
        result = flow.run("Go", runtime=home)
        _holds_together(home, result)
        # Once nothing is wrong any more, and a person has said yes to whatever is asked, it comes to its end.
        faults.clear()
        for _ in range(2 * len(plan) + 2):
            if result.error is None and not result.pending:
                break
            result = flow.resume(result.run, {act.id: "approve" for act in result.pending}, runtime=home)
            _holds_together(home, result)
        # A plan that was made anew too often is given up.
        assert result.status in ("done", "handed_over", "failed")
        effects = home.ledger.effects(result.run)
        assert sum(acts.values()) == Counter(row.outcome for row in effects)["done"]
        assert len(simulator.log) - asked == len(result.calls)

    holds()
