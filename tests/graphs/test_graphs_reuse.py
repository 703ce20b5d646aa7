"""What a workflow compiles once for all its runs, and what its checkpoints hold of steps of one turn."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, TypedDict

import pytest
from langgraph.graph import StateGraph
from pointsman import Agent, BackendError, Workflow
from pointsman.agents.result import StepRecord
from pointsman.agents.runs import run_scope
from pointsman.agents.runtime import Runtime
from pointsman.configs.words import Trust
from pointsman.dispatch.context import RunContext, entered
from pointsman.graphs.keeping import forked, pruned
from pointsman.graphs.supervision.memory import recalled, remember
from pointsman.graphs.supervision.plan import in_order
from pointsman.memory import Provenance
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator

Make = Callable[..., Runtime]
ONE = Agent("one")


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


class Ordered(TypedDict, total=False):
    order: dict[str, Any]
    done: list[dict[str, Any]]


@pytest.mark.parametrize("further", [{"attempt": 0, "doubt": None}, {}], ids=["with doubts", "before doubts"])
@pytest.mark.parametrize("steps", [1, 2])
async def test_a_step_as_version_0_1_ordered_it_with_the_whole_plan_is_done(
    runtime: Make, simulator: Simulator, steps: int, further: dict[str, Any]
) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer("prose"))])
    home = runtime()
    flow = Workflow("flow", [Agent("one", tier="economy"), Agent("two", tier="economy")][:steps], plan="in_order")
    plan = in_order([agent.name for agent in flow.agents]).model_dump(mode="json")["steps"]
    order = {"task": "Go", "plan": plan, "step": plan[0], "given": [], "ahead": [], **further}
    work: Any = flow.builder(home).nodes["work"].runnable

    async def done(state: Ordered) -> Ordered:
        return {"done": (await work.ainvoke(state["order"]))["done"]}

    graph = StateGraph(Ordered).add_node(done).set_entry_point("done").compile()
    with run_scope(home, "flow") as run:
        (record,) = (await graph.ainvoke({"order": order}))["done"]
    assert (record["status"], record["output"]) == ("done", "prose")
    # What is all of a plan is remembered for nobody.
    assert len(home.store.search(("runs", run.id))) == steps - 1


async def test_a_step_recalls_four_results_that_it_was_not_handed(runtime: Make) -> None:
    home, alone = runtime(), {"id": "last", "needs": []}
    with run_scope(home, "flow"):
        for number in range(1, 7):
            record = StepRecord(f"s{number}", "one", None, "low", f"Parcel {number} is at the Cam")
            await remember(home, ONE, alone, record, alone=False)
        found = await recalled(home, ONE, {**alone, "needs": ["s1"]}, "Where are the parcels?", known=())
        handed = {one.source.removeprefix("step:") for one in found[:1]}
        others = await recalled(home, ONE, {**alone, "needs": ["s1"]}, "Where are the parcels?", known=handed)
        assert (len(found), others) == (4, found[1:])
        assert await recalled(home, ONE, alone, "Where are the parcels?", known=()) == []


@pytest.mark.parametrize("memory", [True, False])
async def test_a_fork_recalls_what_the_run_wrote_before_it_and_nothing_later(
    runtime: Make, simulator: Simulator, memory: bool
) -> None:
    asked: list[str] = []

    def answer(request: Any) -> Answer:
        asked.append(request.user_text)
        return Answer(text=f"said at call {len(asked)}")

    simulator.scenario = Scenario(rules=[Rule(match=Match(first=2), answer=answer), Rule(fault=Fault("bad_request"))])
    home = runtime()
    agents = [Agent(name) for name in ("one", "two", "three")]
    flow = Workflow("flow", agents, plan="in_order", memory=memory)
    failed = await flow.arun("Where is parcel 4711?", runtime=home)
    assert failed.status == "failed"
    run = failed.run
    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    names = [step["id"] for step in in_order([agent.name for agent in agents]).model_dump(mode="json")["steps"]]
    twin = (await forked(home, run, names[2])).id

    def held(run: str) -> dict[str, str]:
        return {item.key: item.value["text"] for item in home.store.search(("runs", run))}

    before = {names[0]: "said at call 1", names[1]: "said at call 2"} if memory else {}
    assert held(twin) == before
    for name in before:
        item = home.store.item(home.store.id_of(("runs", twin), name))
        assert item is not None
        assert [(by.author, by.run, by.step) for by in item.writers] == [(item.writers[0].author, twin, name)]
    if memory:
        steps = home.store.why(home.store.id_of(("runs", twin), names[1]))
        assert [(depth, one and one.text) for depth, _, one in steps] == [(0, "said at call 2"), (1, "said at call 1")]
        # What the run writes from now on is not the fork's.
        with entered(run=RunContext(id=run)):
            record = StepRecord(names[0], "one", None, "low", "Something else")
            await remember(home, ONE, {"id": names[0], "needs": []}, record, alone=False)
        assert held(run)[names[0]] == "Something else"
    assert held(twin) == before
    asked.clear()
    assert (await flow.aresume(twin, runtime=home)).status == "done"
    # The third is handed what the second said, and recalls the first.
    [text] = asked
    assert ("said at call 1" in text, "Something else" in text) == (memory, False)


@pytest.mark.parametrize("at", [1, 2])
async def test_a_fork_recalls_no_note_that_its_run_kept_after_it(runtime: Make, simulator: Simulator, at: int) -> None:
    asked: list[str] = []

    def answer(request: Any) -> Answer:
        asked.append(request.user_text)
        return Answer(text=f"Parcel 4711 is in hall {len(asked)}")

    simulator.scenario = Scenario(rules=[Rule(match=Match(first=2), answer=answer), Rule(fault=Fault("bad_request"))])
    home = runtime()
    agents = [Agent(name, memory="halls", remember=True) for name in ("one", "two", "three")]
    flow = Workflow("flow", agents, plan="in_order")
    run = (await flow.arun("Where is parcel 4711?", runtime=home)).run
    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    names = [step["id"] for step in in_order([agent.name for agent in agents]).model_dump(mode="json")["steps"]]
    asked.clear()
    twin = (await forked(home, run, names[at])).id
    assert (await flow.aresume(twin, runtime=home)).status == "done"
    halls = {hall for hall in (1, 2, 3) if f"is in hall {hall}" in asked[0]}
    assert halls == set(range(1, at + 1))
    # Other runs know all of them.
    assert len(home.store.search(("halls",))) == 5 - at


async def test_what_was_forgotten_of_a_run_is_not_in_its_fork(runtime: Make, simulator: Simulator) -> None:
    news = Answer(text="The merger with Contoso closes on Friday.")
    simulator.scenario = Scenario(rules=[Rule(match=Match(first=1), answer=news), Rule(fault=Fault("bad_request"))])
    home = runtime()
    flow = Workflow("flow", [Agent("one"), Agent("two")], plan="in_order")
    run = (await flow.arun("What is new?", runtime=home)).run
    assert home.store.forget(run=run) == 1
    twin = (await forked(home, run)).id
    assert home.store.search(("runs", twin)) == []


async def test_what_a_run_wrote_to_the_memory_outlives_its_stored_data_until_it_is_forgotten(
    runtime: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="The depot opens at six."))])
    home = runtime()
    flow = Workflow("flow", [Agent("one"), Agent("two")], plan="in_order")
    run = (await flow.arun("When does it open?", runtime=home)).run
    made = home.store.id_of(("runs", run), "s1")
    note = home.store.remember(("team",), "Come at six.", provenance=Provenance("", "a", "", Trust.USER, (made,)))
    assert await pruned(home, 0) == [run]
    assert [one and one.text for _, _, one in home.store.why(note)] == ["Come at six.", "The depot opens at six."]
    assert home.store.forget(run=run) == 2
    assert [one and one.text for _, _, one in home.store.why(note)] == ["Come at six.", None]


async def test_a_step_recalls_no_more_than_there_is_room_for(runtime: Make) -> None:
    home, last = runtime(), {"id": "last", "needs": ["s1"]}
    with run_scope(home, "flow"):
        for number, length in enumerate([400_000, 9_000, 8_000, 100], 1):
            record = StepRecord(f"s{number}", "one", None, "low", f"Parcel {number} is at the Cam".ljust(length, "."))
            await remember(home, ONE, last | {"needs": []}, record, alone=False)
        found = await recalled(home, ONE, last, "Where are the parcels?", known=())
    assert len(found) >= 2
    assert sum(len(one.text) for one in found) <= 16_000
    assert "step:s4" in {one.source for one in found}


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
