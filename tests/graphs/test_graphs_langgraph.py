"""A workflow is a plain LangGraph graph: it runs over others' checkpoints, inside others' graphs, and holds theirs."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command
from pointsman import Agent, Workflow, tool
from pointsman.agents.runtime import Runtime
from pointsman.dispatch.errors import AllFailed
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator

Make = Callable[..., Runtime]
ROOT = Path(__file__).parents[2]
CONFIG: Any = {"configurable": {"thread_id": "t"}}
ran: list[str] = []


@tool(effect="destructive")
def cancel(order: str) -> str:
    """Cancel an order."""
    ran.append(order)
    return f"{order} is cancelled"


def _cancelling(request: Any) -> Answer:
    if request.tool_results:
        return Answer(text="it is cancelled")
    return Answer(tool_calls=[{"name": "cancel", "arguments": {"order": "A-1"}}])


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "as a node"])
async def test_an_act_waits_over_the_checkpoints_of_others_and_happens_once(
    runtime: Make, simulator: Simulator, inside: bool
) -> None:
    ran.clear()
    simulator.scenario = Scenario(rules=[Rule(answer=_cancelling)])
    home = runtime()
    flow = Workflow("service", [Agent("service", tools=[cancel])])
    if inside:
        from pointsman.graphs.supervision.supervisor import SupervisorState

        builder = StateGraph(SupervisorState)
        builder.add_node("before", lambda state: {"task": state["task"] + "!"})
        builder.add_node("desk", flow.compile(home))
        builder.add_edge(START, "before")
        builder.add_edge("before", "desk")
        builder.add_edge("desk", END)
        graph = builder.compile(checkpointer=InMemorySaver())
    else:
        graph = flow.compile(home)
        assert graph.checkpointer is None
        graph.checkpointer = InMemorySaver()
    asked = await graph.ainvoke({"task": "Cancel A-1"}, CONFIG)
    (stop,) = asked["__interrupt__"]
    assert stop.value["action_requests"][0]["args"] == {"order": "A-1"}
    done = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), CONFIG)
    assert done["output"] == "it is cancelled"
    assert ran == ["A-1"]
    assert [row.tool for row in home.ledger.effects("")] == ["cancel"]
    assert set(flow.compile(home).get_input_jsonschema()["properties"]) == {"task", "files"}


@pytest.mark.parametrize("at_once", [False, True])
async def test_an_invocation_that_fails_ends_no_other_of_the_same_graph(
    runtime: Make, simulator: Simulator, at_once: bool
) -> None:
    bad = Rule(match=Match(contains="do bad"), fault=Fault("bad_request"))
    simulator.scenario = Scenario(rules=[bad, Rule(answer=Answer(text="done"))])
    steps = [{"id": name, "agent": "a", "needs": needs} for name, needs in (("x", []), ("y", ["x"]), ("z", ["y"]))]
    graph = Workflow("chain", [Agent("a", tier="economy")], plan=steps, memory=False).compile(runtime())

    async def invoked(task: str) -> Any:
        try:
            state = await graph.ainvoke({"task": task})
        except AllFailed:
            return "failed"
        return state["output"], [record["id"] for record in state["done"]]

    tasks = ["do bad", *["do good"] * 4, "do bad"]
    if at_once:
        ends = await asyncio.gather(*map(invoked, tasks))
    else:
        ends = [await invoked(task) for task in tasks]
    assert ends == ["failed", *[("done", ["x", "y", "z"])] * 4, "failed"]


def test_a_users_compiled_graph_runs_inside_a_workflow(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="so be it"))])

    def build(home: Runtime) -> Any:
        inner = StateGraph(MessagesState)
        inner.add_node("shout", lambda state: {"messages": [HumanMessage(state["messages"][-1].text.upper())]})
        inner.add_edge(START, "shout")
        inner.add_edge("shout", END)
        builder = StateGraph(MessagesState)
        builder.add_node("inner", inner.compile())
        builder.add_node("guide", Agent("guide").on(home))  # type: ignore[type-var]
        builder.add_edge(START, "inner")
        builder.add_edge("inner", "guide")
        builder.add_edge("guide", END)
        return builder

    result = Workflow("mixed", graph=build).run("hello", runtime=runtime())
    assert result.output == "so be it"
    assert [message.text for message in result.messages] == ["so be it"]


def test_the_graph_of_a_new_project_is_the_one_its_langgraph_json_names(tmp_path: Path) -> None:
    template = ROOT / "cli" / "templates" / "desk"
    named = json.loads((template / "langgraph.json").read_text())["graphs"]["service"]
    file, _, name = named.partition(":")
    assert (template / file).is_file()
    assert f"\n{name} = " in (template / file).read_text()


@pytest.mark.skipif(
    shutil.which("langgraph", path=str(Path(sys.executable).parent)) is None
    or importlib.util.find_spec("langgraph_api") is None,
    reason='needs "langgraph-cli[inmem]"',
)
def test_langgraphs_own_server_opens_a_new_project_and_its_interrupt_is_answered() -> None:
    told = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "langgraph_dev.py"], capture_output=True, check=True, timeout=180
    )
    made = json.loads(told.stdout)
    assert (made["asked"], made["acts"]) == ("cancel_order", [["cancel_order", {"order_id": "A-1001"}, "done"]])
