"""Agents and workflows that run each other end with a reason when they go round in a circle, or too deep."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from pointsman import Agent, Workflow, tool
from pointsman.agents import CutOff, DepthLimit, HandoffCycle
from pointsman.agents.loops.nesting import MOST_DEPTH
from pointsman.agents.runtime import Runtime
from pointsman.simulator import Answer, Request, Rule, Scenario, Simulator

Make = Callable[..., Runtime]


class Team:
    """Agents that each have a tool which runs the next, the last of them the first.

    Args:
        names: Their names.
        how: Runs one: ``run``, ``arun``, ``invoke`` or ``ainvoke``.
        until: How many hand on before one answers by itself.
    """

    def __init__(
        self, simulator: Simulator, home: Runtime, names: list[str], how: str = "run", until: int = 1000
    ) -> None:
        self.handed: Counter[str] = Counter()
        self._home, self._how, self._until = home, how, until
        nexts = dict(zip(names, [*names[1:], names[0]], strict=True))
        self.agents = {name: Agent(name, tools=[self._tool(name, nexts[name])]).on(home) for name in names}
        simulator.scenario = Scenario(rules=[Rule(answer=self._answer)])

    def _answer(self, request: Request) -> Answer:
        if request.tool_results or self.handed.total() >= self._until:
            return Answer(text="It is done.")
        return Answer(tool_calls=[{"name": request.tools[0].name, "arguments": {"work": "all of it"}}])

    def _tool(self, name: str, to: str) -> Any:
        def ask(work: str) -> str:
            """Hand work to the next."""
            self.handed[name] += 1
            done = getattr(self.agents[to], self._how)(work)
            return done.raise_for_status().output if self._how == "run" else str(done["messages"][-1].text)

        async def ask_async(work: str) -> str:
            """Hand work to the next."""
            self.handed[name] += 1
            done = await getattr(self.agents[to], self._how)(work)
            return done.raise_for_status().output if self._how == "arun" else str(done["messages"][-1].text)

        return tool(ask_async if self._how[0] == "a" else ask, effect="read", name=f"ask_{to}")


@pytest.mark.parametrize("how", ["run", "arun", "invoke", "ainvoke"])
def test_two_agents_that_hand_work_round_end_after_two_rounds_named_in_their_order(
    simulated: Make, simulator: Simulator, how: str
) -> None:
    home = simulated()
    team = Team(simulator, home, ["sales", "legal"], how)
    said = (
        r"^sales -> legal -> sales -> legal hand their work round in a circle, so 'sales' was not run once more: take"
    )
    first = team.agents["sales"]
    result = asyncio.run(first.arun("Do it")) if how[0] == "a" else first.run("Do it")
    with pytest.raises(HandoffCycle, match=said) as ended:
        result.raise_for_status()
    home.ledger.flush()
    assert isinstance(ended.value, CutOff)
    assert ended.value.chain == ("sales", "legal", "sales", "legal", "sales")
    assert (team.handed, len(simulator.log)) == ({"sales": 2, "legal": 2}, 4)
    outer = next(row for row in home.ledger.runs() if not row.parent)
    assert (result.run, result.status.value, outer.status) == (outer.id, "failed", "failed")
    assert len(home.ledger.runs()) == (4 if "run" in how else 1)


@pytest.mark.slow
def test_the_circle_is_named_within_a_workflow_and_outside_any_run(simulated: Make, simulator: Simulator) -> None:
    home = simulated()
    team = Team(simulator, home, ["sales", "legal", "tax"], "invoke")
    result = Workflow("desk", [team.agents["sales"]], plan="in_order").run("Do it", runtime=home)
    assert isinstance(result.error, HandoffCycle)
    assert result.error.chain == ("desk", *["sales", "legal", "tax"] * 2, "sales")
    assert (len(result.calls), team.handed.total()) == (6, 6)
    with pytest.raises(HandoffCycle) as again:
        team.agents["tax"].invoke("Do it")
    assert again.value.chain[:3] == ("tax", "sales", "legal")


@pytest.mark.slow
@pytest.mark.parametrize(("names", "until"), [(["sales", "legal"], 3), (["sales"], MOST_DEPTH - 1)], ids=str)
def test_a_question_back_and_a_part_of_ones_own_task_go_on(
    simulated: Make, simulator: Simulator, names: list[str], until: int
) -> None:
    home = simulated()
    team = Team(simulator, home, names, until=until)
    assert team.agents["sales"].run("Do it", runtime=home).output == "It is done."
    assert (team.handed.total(), len(home.ledger.runs())) == (until, until + 1)


@pytest.mark.slow
def test_the_same_agent_run_time_and_again_is_in_no_circle(simulated: Make, simulator: Simulator) -> None:
    home = simulated()
    clerk, numbers = Agent("clerk").on(home), iter(range(9))

    @tool(effect="read")
    def ask(number: int) -> str:
        """Ask the clerk."""
        return clerk.run(f"number {number}").output

    def answer(request: Request) -> Answer:
        if not request.tools:
            return Answer(text=f"heard {request.user_text}")
        number = next(numbers, None)
        if number is None:
            return Answer(text="all")
        return Answer(tool_calls=[{"name": "ask", "arguments": {"number": number}}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    assert Agent("boss", tools=[ask]).run("Do it", runtime=home).output == "all"
    assert len(home.ledger.runs()) == 10


@pytest.mark.slow
def test_an_agent_inside_itself_ends_at_the_greatest_depth(simulated: Make, simulator: Simulator) -> None:
    home = simulated()
    team = Team(simulator, home, ["sales"])
    with pytest.raises(DepthLimit, match=rf"'sales' was not run, as only {MOST_DEPTH} may be run inside each") as ended:
        team.agents["sales"].run("Do it", runtime=home).raise_for_status()
    assert ended.value.chain == ("sales",) * (MOST_DEPTH + 1)
    assert (team.handed.total(), len(home.ledger.runs())) == (MOST_DEPTH, MOST_DEPTH)


class _State(TypedDict, total=False):
    task: str
    output: str


def test_workflows_in_nodes_of_workflows_are_in_the_circle_too(simulated: Make, simulator: Simulator) -> None:
    home, begun = simulated(), Counter[str]()
    flows: dict[str, Workflow[Any]] = {}

    def graph(name: str, to: str) -> Any:
        async def node(state: _State) -> _State:
            begun[name] += 1
            return {"output": str((await flows[to].arun(state["task"], runtime=home)).raise_for_status().output)}

        builder = StateGraph(_State)
        builder.add_node("node", node)
        builder.add_edge(START, "node")
        builder.add_edge("node", END)
        return lambda runtime: builder

    flows.update(east=Workflow("east", graph=graph("east", "west")), west=Workflow("west", graph=graph("west", "east")))
    result = flows["east"].run("Do it", runtime=home)
    with pytest.raises(HandoffCycle, match=r"^east -> west -> east -> west hand"):
        result.raise_for_status()
    assert begun == {"east": 2, "west": 2}
    outer = next(row for row in home.ledger.runs() if not row.parent)
    assert (result.run, outer.status, len(home.ledger.runs())) == (outer.id, "failed", 4)
