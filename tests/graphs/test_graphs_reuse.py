"""What a workflow compiles once for all its runs, and what its checkpoints hold of steps of one turn."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from pointsman import Agent, BackendError, Workflow
from pointsman.agents.runtime import Runtime
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator

Make = Callable[..., Runtime]


async def test_runs_of_a_workflow_share_its_graph_until_an_agent_is_given_something_else(
    runtime: Make, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.scenario = Scenario(
        rules=[Rule(match=Match(contains_any_message="In verse"), answer=Answer("verse")), Rule(answer=Answer("prose"))]
    )
    built: list[str] = []

    class Counted(Workflow):
        def builder(self, runtime: Runtime | None = None) -> Any:
            built.append(self.name)
            return super().builder(runtime)

    home, writer = runtime(), Agent("writer", tier="economy", instructions="In prose.")
    flow = Counted("one", [writer], plan="in_order")
    both = await asyncio.gather(*(flow.arun("Write.", runtime=home) for _ in range(2)))
    assert ([one.output for one in both], built) == (["prose", "prose"], ["one"])

    writer.instructions = "In verse."
    assert ((await flow.arun("Write.", runtime=home)).output, built) == ("verse", ["one"] * 2)
    other = runtime()
    assert ((await flow.arun("Write.", runtime=other)).output, built) == ("verse", ["one"] * 3)
    assert len(other.ledger.runs()) == len(home.ledger.runs()) == 4


async def test_an_agent_of_a_class_of_the_users_own_is_made_anew_for_each_run(
    runtime: Make, simulator: Simulator
) -> None:
    class Once(Agent):
        asked = 0

        async def ainvoke(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            self.asked += 1
            return {"messages": [], **await super().ainvoke(f"Turn {self.asked}"), "turn": self.asked}

    simulator.scenario = Scenario(
        rules=[Rule(match=Match(contains="Turn 1"), answer=Answer("first")), Rule(answer=Answer("later"))]
    )
    home, flow = runtime(), Workflow("own", [Once("own", tier="economy")], plan="in_order")
    assert [(await flow.arun("Go", runtime=home)).output for _ in range(2)] == ["first", "first"]


async def test_a_step_of_one_turn_is_kept_once_by_the_graph_around_it(runtime: Make, simulator: Simulator) -> None:
    fault = Rule(match=Match(contains_any_message="Second"), fault=Fault("bad_request"))
    simulator.scenario = Scenario(rules=[fault, Rule(answer=Answer("done"))])
    home = runtime()
    agents = [Agent("first", tier="economy"), Agent("second", tier="economy", instructions="Second")]
    flow = Workflow("pair", agents, plan="in_order")
    with pytest.raises(BackendError):
        (await flow.arun("Go", runtime=home)).raise_for_status()

    (run,) = [row.id for row in home.ledger.runs()]
    with sqlite3.connect(home.settings.state / "checkpoints.db") as file:
        spaces = file.execute("SELECT DISTINCT checkpoint_ns FROM checkpoints").fetchall()
    # Neither step kept anything of its own.
    assert len(spaces) == 1
    asked = len(simulator.log)
    simulator.scenario = Scenario(rules=[Rule(answer=Answer("done"))])
    result = await flow.aresume(run, runtime=home)
    assert (result.status, result.output, len(simulator.log) - asked) == ("done", "done", 1)
