"""Before anything runs: what a run would do and cost at most, and what would go wrong with a workflow."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import END, START, MessagesState, StateGraph
from pointsman import Agent, Workflow, tool
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.configs.loading.loader import load
from pointsman.simulator import Answer, Rule, Scenario, Simulator

Make = Callable[..., Runtime]


@tool(effect="destructive")
def shred(what: str) -> str:
    """Shred a file."""
    return what


@tool(effect=lambda arguments: "destructive" if arguments["hard"] else "read")
def poke(hard: bool) -> str:
    """Poke something."""
    return str(hard)


@tool(effect="read")
def look(what: str) -> str:
    """Look at something."""
    return what


def test_a_dry_run_tells_of_each_step_and_calls_and_records_nothing(runtime: Make, simulator: Simulator) -> None:
    home = runtime()
    agents = [Agent("reader", tools=[look]), Agent("clerk", tools=[shred, poke], max_output=100)]
    found = Workflow("desk", agents, plan="in_order").dry_run("Shred it", runtime=home)
    reader, clerk = found.steps
    assert (reader.kind, reader.approvals, reader.needs, clerk.needs) == ("gather", (), (), ("s1",))
    assert (clerk.kind, clerk.risk, clerk.floor, clerk.tier) == ("act", "high", "frontier", "frontier")
    assert clerk.model == "anthropic/claude-opus-4-7"
    assert clerk.approvals == ("shred", "poke?")
    attempts, turns, rounds = home.dispatcher.policy.limits_of("default").attempts, 20, 3
    assert clerk.calls == rounds * turns * attempts + rounds * attempts
    assert clerk.cost is not None
    assert clerk.most_cost is not None
    assert clerk.most_cost >= clerk.cost * rounds * turns * attempts > 0
    assert found.most_cost == pytest.approx(sum(step.most_cost or 0 for step in found.steps))
    assert (found.plan, found.runnable) == ("in_order", True)
    assert len(simulator.log) == 0
    assert (home.ledger.runs(), home.ledger.calls(), home.ledger.decisions()) == ((), (), ())


def test_the_worst_case_is_never_less_than_what_a_run_costs(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="word " * 50))])
    flow = Workflow("pair", [Agent("one", tier="standard"), Agent("two", tier="frontier")], plan="in_order")
    home = runtime()
    found = flow.dry_run("Tell me", runtime=home)
    result = flow.run("Tell me", runtime=home)
    assert result.cost > 0
    assert found.most_cost is not None
    assert found.most_cost >= result.cost


def test_what_cannot_run_names_the_keys_that_are_missing_and_a_model_plan_is_not_made(runtime: Make) -> None:
    found = Workflow("desk", [Agent("a", tier="frontier"), Agent("b")]).dry_run("Go", runtime=runtime(keys=False))
    assert not found.runnable
    assert "ANTHROPIC_API_KEY" in found.steps[0].missing
    assert found.steps[0].problem.startswith("no model can run a (risk")
    assert "its plan is not made" in found.notes[0]


def test_a_plan_that_is_written_down_raises_the_risk_it_declares(runtime: Make) -> None:
    plan = [{"id": "a", "agent": "one", "kind": "act", "effects": ["destructive"]}, {"id": "b", "agent": "one"}]
    first, second = Workflow("desk", [Agent("one")], plan=plan).dry_run(runtime=runtime()).steps
    assert (first.risk, second.risk) == ("high", "low")


class Parallel(TypedDict, total=False):
    """Two fields, one of which can be written by several nodes at once."""

    task: str
    one: str
    many: Annotated[list[str], operator.add]


def _left(state: Any) -> dict[str, Any]:
    return {"one": "l", "many": ["l"]}


def _right(state: Any) -> dict[str, Any]:
    return {"one": "r", "many": ["r"]}


def _looping(_: Runtime) -> Any:
    builder = StateGraph(Parallel)
    for name, node in (("left", _left), ("right", _right), ("lost", _left)):
        builder.add_node(name, node)
    builder.add_edge(START, "left")
    builder.add_edge(START, "right")
    builder.add_edge("left", "right")
    builder.add_edge("right", "left")
    return builder


def test_circles_that_nothing_leaves_lost_nodes_and_writes_that_clash_are_found(runtime: Make) -> None:
    found = Workflow("odd", graph=_looping).validate(runtime())
    assert [(problem.severity, problem.code, problem.subject) for problem in found] == [
        ("error", "cycle.unbounded", "left"),
        ("error", "cycle.unbounded", "right"),
        ("error", "write.parallel", "one"),
        ("warning", "node.unreachable", "lost"),
    ]


def test_a_circle_with_a_way_out_and_a_field_with_a_reducer_are_well(runtime: Make) -> None:
    home = runtime()

    def build(_: Runtime) -> Any:
        builder = StateGraph(MessagesState)
        builder.add_node("guide", Agent("guide").on(home))  # type: ignore[type-var]
        builder.add_node("critic", Agent("critic").on(home))  # type: ignore[type-var]
        builder.add_edge(START, "guide")
        builder.add_edge(START, "critic")
        builder.add_edge("critic", "guide")
        builder.add_conditional_edges("guide", lambda state: END, ["critic", END])
        return builder

    flow = Workflow("pair", graph=build)
    assert flow.validate(home) == ()
    assert [step.agent for step in flow.dry_run("Hello", runtime=home).steps] == ["guide", "critic"]


def test_what_is_wrong_with_agents_is_found(runtime: Make, tmp_path: Path) -> None:
    home = runtime()
    agents = [
        Agent("capped", tools=[shred], max_tier="standard"),
        Agent("cheap", tools=[shred], model="openai/gpt-5.4-mini"),
        Agent("idle"),
    ]
    plan = [{"id": "a", "agent": "capped"}, {"id": "b", "agent": "cheap"}]
    found = Workflow("desk", agents, plan=plan).validate(home)
    assert [(p.severity, p.code, p.subject) for p in found] == [
        ("error", "tier.ceiling", "capped"),
        ("warning", "tier.floor", "cheap"),
        ("warning", "agent.unreachable", "idle"),
    ]
    (tmp_path / "one").mkdir()
    one = Runtime(load(tmp_path / "one", environ={"ANTHROPIC_API_KEY": "not-a-real-key"}))
    (alone,) = Workflow("desk", [Agent("judge", tier="frontier")]).validate(one)
    assert (alone.severity, alone.code) == ("warning", "model.no_fallback")
    assert "set OPENAI_API_KEY" in alone.message or "OPENAI_API_KEY" in alone.message
    (keyless,) = Workflow("desk", [Agent("judge", tier="frontier")]).validate(runtime(keys=False))
    assert (keyless.severity, keyless.code) == ("error", "model.key")
    one.close()


YAML = """
agents:
  triage: {instructions: Sort it.}
  answer: {instructions: Answer it.}
workflows:
  desk:
    agents: [triage, answer]
    steps:
      - {id: t, agent: triage, instruction: Sort.}
      - {id: a, agent: answer, needs: t}
"""


def test_a_workflow_of_yaml_is_the_same_graph_as_that_of_python(tmp_path: Path, simulator: Simulator) -> None:
    (tmp_path / "agents.yaml").write_text(YAML)
    environ = {"OPENAI_API_KEY": "not-a-real-key", "POINTSMAN_PROVIDERS__OPENAI__BASE_URL": simulator.url("openai")}
    home = Runtime(load(tmp_path, environ={**environ, "POINTSMAN_TRUST": "1"}))
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="so be it"))])
    made = Workflow.named("desk", home)
    agents = [Agent("triage", instructions="Sort it."), Agent("answer", instructions="Answer it.")]
    plan = [{"id": "t", "agent": "triage", "instruction": "Sort."}, {"id": "a", "agent": "answer", "needs": ["t"]}]
    written = Workflow("desk", agents, plan=plan)
    assert made.dry_run("Go", runtime=home) == written.dry_run("Go", runtime=home)
    graphs = [flow.builder(home).compile().get_graph().draw_mermaid() for flow in (made, written)]
    assert graphs[0] == graphs[1]
    assert [step.id for step in made.run("Go", runtime=home).steps] == ["t", "a"]
    assert Workflow.named("triage", home).agents[0].name == "triage"
    with pytest.raises(ConfigError, match="describes no workflow or agent 'dsek'; did you mean 'desk'"):
        Workflow.named("dsek", home)
    home.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workflows: {desk: {agents: [nobody]}}", "unknown agent 'nobody'"),
        ("workflows: {desk: {agents: [coding], steps: [{id: a, agent: vision}]}}", "unknown agent of the workflow"),
        ("workflows: {desk: {agents: [coding], stepz: []}}", "unknown key 'stepz'"),
        ("workflows: {desk: {agents: []}}", "workflows.desk.agents"),
    ],
)
def test_what_is_wrong_in_yaml_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "agents.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said) as refused:
        load(tmp_path, environ={"POINTSMAN_TRUST": "1"})
    assert "agents.yaml:1" in str(refused.value)
