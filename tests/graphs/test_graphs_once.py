"""A step happens once: in parallel, after an interrupt, beside a failure, and after the process was killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pointsman import Agent, BackendError, Workflow, tool
from pointsman.agents.result import RunResult
from pointsman.agents.runtime import Runtime
from pointsman.graphs.supervision.plan import Dependents
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator

Make = Callable[..., Runtime]
Steps = list[dict[str, Any]]

acts: Counter[str] = Counter()
order: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    acts.clear()
    order.clear()


@tool(effect="write")
def mark(step: str) -> str:
    """Mark a step."""
    acts[step] += 1
    order.append(step)
    return "it is marked"


@tool(effect="destructive")
def erase(step: str) -> str:
    """Erase a step."""
    acts[f"erase {step}"] += 1
    return "it is erased"


@tool(effect="read")
def look(step: str) -> str:
    """Look at a step."""
    acts[f"look {step}"] += 1
    return "it is seen"


def _calls(*calls: tuple[str, str]) -> Answer:
    return Answer(tool_calls=[{"name": name, "arguments": {"step": step}} for name, step in calls])


def _brain(plan: Steps, tools: dict[str, list[str]]) -> Scenario:
    """Models that plan so, approve of everything, and call each of an agent's tools once for its step."""

    def answer(request: Any) -> Answer:
        offered = {one.name for one in request.tools}
        if "Plan" in offered:
            return Answer(tool_calls=[{"name": "Plan", "arguments": {"steps": plan}}])
        if "Verdict" in offered:
            return Answer(tool_calls=[{"name": "Verdict", "arguments": {"ok": True, "reason": "it holds"}}])
        found = re.search(r"do (\w+)!", request.user_text)
        if request.tool_results or not offered or found is None:
            return Answer(text=f"so it is with {found[1] if found else 'all'}")
        return _calls(*((name, found[1]) for name in tools["any"] if name in offered))

    return Scenario(rules=[Rule(answer=answer)])


def _step(name: str, agent: str, *needs: str) -> dict[str, Any]:
    return {"id": name, "agent": agent, "instruction": f"do {name}!", "needs": list(needs)}


def _served(simulator: Simulator, wanted: int) -> int:
    """Requests the simulator has logged; it logs one just after its last byte, so the last may be a moment late."""
    end = time.monotonic() + 240
    while len(simulator.log) < wanted and time.monotonic() < end:
        time.sleep(0.002)
    return len(simulator.log)


@st.composite
def plans(draw: st.DrawFn) -> Steps:
    """Plans of up to twelve steps, in any order, over an agent that acts and one that only thinks."""
    count = draw(st.integers(1, 12))
    steps = []
    for number in range(count):
        needs = draw(st.lists(st.sampled_from([f"p{n}" for n in range(number)]), max_size=3)) if number else []
        steps.append(_step(f"p{number}", draw(st.sampled_from(["actor", "thinker"])), *needs))
    return draw(st.permutations(steps))


def _waves(steps: Steps) -> int:
    """The longest chain of the plan."""
    needs = {step["id"]: step["needs"] for step in steps}

    def depth(name: str) -> int:
        return 1 + max((depth(need) for need in needs[name]), default=0)

    return max(depth(name) for name in needs)


@pytest.mark.slow
def test_every_step_of_any_plan_runs_once_after_its_needs_in_as_few_waves_as_the_plan_allows(
    runtime: Make, simulator: Simulator
) -> None:
    home = runtime()
    agents = [Agent("actor", tier="economy", tools=[mark]), Agent("thinker", tier="economy")]
    flow = Workflow("any", agents)

    @settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.nested_given])
    @given(plan=plans())
    def holds(plan: Steps) -> None:
        acts.clear()
        order.clear()
        simulator.scenario = _brain(plan, {"any": ["mark"]})
        before = len(simulator.log)
        # Planning, a node that works and one that verifies for each wave, and the answer.
        result = flow.run("Go", runtime=home, max_steps=2 * _waves(plan) + 2)

        ids = [step["id"] for step in plan]
        acting = [step["id"] for step in plan if step["agent"] == "actor"]
        dependents = Dependents(plan)
        checked = [i for i in ids if i in acting or dependents[i] >= 3]
        relied_upon = [i for i in acting if dependents[i]]
        assert result.status == "done", result.notes
        assert acts == Counter(acting)
        assert sorted(step.id for step in result.steps) == sorted(ids)
        done = [step.id for step in result.steps]
        for step in plan:
            for need in step["needs"]:
                assert done.index(need) < done.index(step["id"])
                if {need, step["id"]} <= set(acting):
                    assert order.index(need) < order.index(step["id"])
        calls = 1 + len(ids) + len(acting) + len(checked) + len(relied_upon)
        assert _served(simulator, before + calls) - before == calls == len(result.calls)
        assert len(home.store.search(("runs", result.run), limit=100)) == (len(ids) if len(ids) > 1 else 0)
        assert [row.tool for row in home.ledger.effects(result.run)] == ["mark"] * len(acting)

    holds()


def _approved(flow: Workflow, stopped: RunResult, home: Runtime, *waiting: int) -> RunResult:
    answers = {stopped.pending[n].id: {"decision": "approve", "digest": stopped.pending[n].digest} for n in waiting}
    return flow.resume(stopped.run, answers, runtime=home)


@pytest.mark.slow
def test_what_stands_beside_a_step_that_waits_for_approval_does_not_run_again(
    runtime: Make, simulator: Simulator
) -> None:
    plan = [_step("a", "actor"), _step("b", "eraser"), _step("c", "actor"), _step("d", "actor", "a", "b", "c")]
    simulator.scenario = _brain(plan, {"any": ["mark", "erase"]})
    home = runtime()
    # The eraser marks and erases in one turn: its mark must not happen again either.
    flow = Workflow("any", [Agent("actor", tier="economy", tools=[mark]), Agent("eraser", tools=[mark, erase])])
    stopped = flow.run("Go", runtime=home)
    assert (stopped.status, dict(acts)) == ("pending", {"a": 1, "b": 1, "c": 1})
    before = len(stopped.calls)
    assert _served(simulator, before) == before

    result = _approved(flow, stopped, home, 0)
    assert result.status == "done", result.notes
    assert acts == {"a": 1, "b": 1, "c": 1, "d": 1, "erase b": 1}
    assert [step.id for step in result.steps] == ["a", "b", "c", "d"]
    # The eraser's last word, the check of what d builds on, and of d two turns and the check of its call.
    assert _served(simulator, before + 7) == before + 7 == len(result.calls)


@pytest.mark.slow
def test_several_steps_may_wait_at_once_and_each_goes_on_once_when_it_is_answered(
    runtime: Make, simulator: Simulator
) -> None:
    plan = [_step("a", "eraser"), _step("b", "eraser"), _step("c", "eraser")]
    simulator.scenario = _brain(plan, {"any": ["erase"]})
    home, flow = runtime(), Workflow("any", [Agent("eraser", tools=[erase]), Agent("other")])
    stopped = flow.run("Go", runtime=home)
    assert (len(stopped.pending), dict(acts)) == (3, {})

    still = _approved(flow, stopped, home, 1)
    assert (still.status, len(still.pending), sum(acts.values())) == ("pending", 2, 1)
    result = _approved(flow, still, home, 0, 1)
    assert (result.status, acts) == ("done", {"erase a": 1, "erase b": 1, "erase c": 1})
    assert sorted(step.id for step in result.steps) == ["a", "b", "c"]
    # A plan and two turns of each step; what they say stands side by side.
    assert _served(simulator, 7) == len(result.calls) == 7
    assert result.output == "so it is with a\n\nso it is with b\n\nso it is with c"


@pytest.mark.slow
def test_a_step_that_fails_lets_those_beside_it_end_and_only_it_runs_again(runtime: Make, simulator: Simulator) -> None:
    plan = [_step("a", "actor"), _step("b", "thinker"), _step("c", "actor", "a"), _step("d", "actor", "b")]
    brain = _brain(plan, {"any": ["mark"]})
    simulator.scenario = Scenario(rules=[Rule(match=Match(contains="do b!"), fault=Fault("bad_request")), *brain.rules])
    home = runtime()
    flow = Workflow("any", [Agent("actor", tier="economy", tools=[mark]), Agent("thinker", tier="economy")])
    with pytest.raises(Exception, match="Invalid type"):
        flow.run("Go", runtime=home).raise_for_status()
    assert acts == {"a": 1}
    (row,) = home.ledger.runs()
    assert row.status == "failed"

    simulator.scenario = brain
    result = flow.resume(row.id, runtime=home)
    assert (result.status, acts) == ("done", {"a": 1, "c": 1, "d": 1})
    assert sorted(step.id for step in result.steps) == ["a", "b", "c", "d"]


@pytest.mark.slow
def test_a_step_that_fails_after_its_act_goes_on_after_that_act(runtime: Make, simulator: Simulator) -> None:
    brain = _brain([_step("a", "actor"), _step("b", "actor")], {"any": ["mark"]})
    failing = Rule(match=Match(contains_any_message="it is marked"), fault=Fault("bad_request"))
    simulator.scenario = Scenario(rules=[failing, *brain.rules])
    home, flow = runtime(), Workflow("any", [Agent("actor", tier="economy", tools=[mark]), Agent("other")])
    with pytest.raises(BackendError):
        flow.run("Go", runtime=home).raise_for_status()
    assert acts == {"a": 1, "b": 1}
    simulator.scenario = brain
    result = flow.resume(home.ledger.runs()[0].id, runtime=home)
    assert (result.status, acts) == ("done", {"a": 1, "b": 1})


@pytest.mark.slow
@pytest.mark.parametrize("late", ["thread", "loop"])
def test_an_act_beside_one_that_raises_in_the_same_turn_is_not_done_again(
    runtime: Make, simulator: Simulator, late: str
) -> None:
    broken = threading.Event()

    if late == "loop":

        @tool(effect="write", name="mark")
        async def slow(step: str) -> str:
            """Mark a step, after the other has raised."""
            while not broken.is_set():
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
            acts[step] += 1
            return "it is marked"
    else:

        @tool(effect="write", name="mark")
        def slow(step: str) -> str:
            """Mark a step, after the other has raised."""
            broken.wait(240)
            time.sleep(0.05)
            acts[step] += 1
            return "it is marked"

    @tool(effect="write", name="erase")
    def breaking(step: str) -> str:
        """Break once."""
        acts["breaking"] += 1
        if not broken.is_set():
            broken.set()
            raise OSError("the wire broke")
        return "it is erased"

    simulator.scenario = _brain([], {"any": ["mark", "erase"]})
    flow = Workflow("any", [Agent("actor", tier="economy", tools=[slow, breaking])])
    home = runtime()
    with pytest.raises(OSError, match="the wire broke"):
        flow.run("do a!", runtime=home).raise_for_status()
    assert acts == {"a": 1, "breaking": 1}
    waiting = flow.resume(home.ledger.runs()[0].id, runtime=home)
    # Nobody knows what of it had happened when it broke.
    assert (waiting.status, [act.tool for act in waiting.pending]) == ("pending", ["erase"])
    assert acts == {"a": 1, "breaking": 1}
    result = flow.resume(waiting.run, {waiting.pending[0].id: "approve"}, runtime=home)
    assert (result.status, acts) == ("done", {"a": 1, "breaking": 2})
    assert [row.outcome for row in home.ledger.effects(result.run) if row.tool == "mark"] == ["done"]


KILLED = """
import os, signal, sys
from pathlib import Path
from pointsman import Agent, BackendError, Workflow, tool
from pointsman.agents.runtime import Runtime
from pointsman.configs.loading.loader import environment, load

@tool(effect=sys.argv[1])
def mark(step: str) -> str:
    \"\"\"Mark a step.\"\"\"
    with Path("marks.txt").open("a") as file:
        file.write(step + "\\n")
    if step == "c" and not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "it is marked"

flow = Workflow("any", [Agent("actor", tier="economy", tools=[mark]), Agent("thinker", tier="economy")])
home = Runtime(load(Path.cwd(), environ=environment()))
run, *answers = sys.argv[2:] or [None]
given = {act.id: answer for act, answer in zip(flow.pending(run, home), answers)} if answers else None
result = flow.resume(run, given, runtime=home) if run else flow.run("Go", runtime=home)
print(result.status, *sorted(step.id for step in result.steps), *(act.reason for act in result.pending))
print(result.run)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize(
    ("effect", "answer", "ends"),
    [("write", "reject", "rejected"), ("destructive", "approve", "done")],
)
def test_after_a_kill_no_step_that_had_ended_runs_again_and_a_person_is_asked_of_the_act_under_way(
    simulator: Simulator, programs: Any, tmp_path: Path, effect: str, answer: str, ends: str
) -> None:
    plan = [_step("a", "actor"), _step("b", "actor"), _step("c", "actor", "a", "b"), _step("d", "actor", "c")]
    simulator.scenario = _brain(plan, {"any": ["mark"]})
    vendors = ("anthropic", "openai", "google")
    environ = {
        **os.environ,
        **{f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL": simulator.url(vendor) for vendor in vendors},
        **{f"{vendor.upper()}_API_KEY": "not-a-real-key" for vendor in vendors},
    }
    program = tmp_path / "program.py"
    program.write_text(KILLED)

    def ran(*words: str) -> Any:
        return programs.run([program, effect, *words], cwd=tmp_path, env=environ)

    from pointsman.ledger.ledger import Ledger

    started = ran()
    # Acts that destroy are approved first: a and b at once, then c, in which the process is killed.
    while started.returncode == 0:
        run = started.stdout.split()[-1]
        started = ran(run, "approve", "approve")
    assert started.returncode == -signal.SIGKILL, started.stderr
    with Ledger(tmp_path / ".pointsman" / "ledger.db") as ledger:
        (row,) = ledger.runs()
        assert row.status == "running"
        assert Counter(effect.step for effect in ledger.effects(row.id)) == {"a": 1, "b": 1, "c": 1}

    def marks() -> Counter[str]:
        return Counter((tmp_path / "marks.txt").read_text().split())

    before = marks()
    assert before == {"a": 1, "b": 1, "c": 1}
    waiting = ran(row.id)
    assert waiting.stdout.split()[:3] == ["pending", "a", "b"], waiting.stderr
    assert "it may have been done already" in waiting.stdout
    assert marks() == before
    done = ran(row.id, answer)
    while done.stdout.startswith("pending"):
        done = ran(row.id, answer)
    assert done.stdout.split()[0] == ends, done.stderr
    again = {"c": 2, "d": 1} if answer == "approve" else {}
    assert marks() == {"a": 1, "b": 1, "c": 1, **again}


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ([_step("a", "actor"), _step("a", "actor")], "two steps have the same id"),
        ([_step("a", "actor", "b"), _step("b", "actor", "a")], "in a circle"),
        ([_step("a", "actor", "a")], "in a circle"),
        ([_step(" ", "actor")], "a step has no id"),
    ],
    ids=["an id twice", "a circle", "itself", "no id"],
)
def test_a_plan_that_cannot_be_carried_out_gives_way_to_the_order_given_and_says_so(
    runtime: Make, simulator: Simulator, plan: Steps, said: str
) -> None:
    simulator.scenario = _brain(plan, {"any": []})
    flow = Workflow("any", [Agent("actor", tier="economy"), Agent("thinker", tier="economy")])
    result = flow.run("Go", runtime=runtime())
    assert [step.agent for step in result.steps] == ["actor", "thinker"]
    assert (result.status, said in result.notes[0]) == ("done", True)


def test_a_need_that_is_named_twice_is_given_once(runtime: Make, simulator: Simulator) -> None:
    seen: list[str] = []
    brain = _brain([_step("a", "actor"), _step("b", "actor", "a", "a")], {"any": []})

    def listening(request: Any) -> Answer:
        seen.append(request.user_text)
        return brain.rules[0].answer(request)  # type: ignore[operator,return-value]

    simulator.scenario = Scenario(rules=[Rule(answer=listening)])
    flow = Workflow("any", [Agent("actor", tier="economy"), Agent("thinker", tier="economy")])
    assert flow.run("Go", runtime=runtime()).status == "done"
    assert [text.count("<evidence") for text in seen if "do b!" in text] == [1]


@pytest.mark.slow
def test_more_agents_than_a_model_may_plan_for_run_one_after_the_other(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = _brain([], {"any": []})
    agents = [Agent(f"agent{n}", tier="economy") for n in range(14)]
    result = Workflow("many", agents, plan="in_order").run("Go", runtime=runtime())
    assert [step.agent for step in result.steps] == [agent.name for agent in agents]


@pytest.mark.slow
def test_agents_that_share_a_tool_each_use_it_for_their_own_step(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = _brain([_step("a", "one"), _step("b", "two"), _step("c", "one")], {"any": ["mark", "look"]})
    agents = [Agent(name, tier="economy", tools=[look, mark]) for name in ("one", "two")]
    result = Workflow("same", agents).run("Go", runtime=runtime())
    assert result.status == "done"
    assert acts == {f"{kind}{step}": 1 for step in "abc" for kind in ("", "look ")}
    assert [(step.agent, [act.tool for act in step.acts]) for step in result.steps] == [
        ("one", ["mark"]),
        ("two", ["mark"]),
        ("one", ["mark"]),
    ]
