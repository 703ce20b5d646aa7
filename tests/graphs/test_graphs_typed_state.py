"""What a graph's state declares as a type of the user's own is that type again when the run is taken up."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import AgentState
from langchain_core.messages import ToolMessage
from langchain_core.tools import InjectedToolCallId
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState
from langgraph.types import Command, Send, interrupt
from pointsman import Agent, Workflow, runs, tool
from pointsman.agents.runtime import Runtime
from pointsman.cli.commands.runs.story import Story
from pointsman.graphs.keeping import forked
from pointsman.simulator import Answer, Rule, Scenario, Simulator
from pydantic import BaseModel, RootModel

Make = Callable[..., Runtime]


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Place:
    name: str
    colour: Colour


class Order(BaseModel):
    number: int
    places: list[Place]


class Receipt(BaseModel):
    number: int


class Numbers(RootModel[list[int]]):
    """Of receipts."""


class Parcel(BaseModel):
    """Of a state that only its own graph knows."""

    number: int


class State(TypedDict, total=False):
    task: str
    output: str
    order: Order | None
    seen: Annotated[list[Place], operator.add]


class One(TypedDict):
    place: Place


PLACE = Place("north", Colour.RED)
ORDER = Order(number=7, places=[PLACE])


def _look(state: State) -> State:
    found: State = {"output": f"{interrupt('go on?')}: {state['order']!r}", "seen": [PLACE]}
    return found


def _asking(_: Runtime) -> StateGraph[Any, Any, Any, Any]:
    graph = StateGraph(State)
    graph.add_node("make", lambda _: {"order": ORDER})
    graph.add_node("look", _look)
    graph.add_edge(START, "make")
    graph.add_edge("make", "look")
    return graph


def _inside(home: Runtime) -> StateGraph[Any, Any, Any, Any]:
    outer = TypedDict("outer", {"task": str, "output": str}, total=False)  # noqa: UP013  # of two fields, in a function
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(outer)
    graph.add_node("inner", _asking(home).compile())
    graph.add_edge(START, "inner")
    return graph


def _sent(_: Runtime) -> StateGraph[Any, Any, Any, Any]:
    def look(state: One) -> State:
        return {"output": f"{interrupt('go on?')}: {(ORDER if state['place'] == PLACE else state)!r}"}

    graph = StateGraph(State)
    graph.add_node("look", look)
    graph.add_conditional_edges(START, lambda _: [Send("look", {"place": PLACE})], ["look"])
    return graph


@pytest.mark.parametrize("build", [_asking, _inside, _sent], ids=["alone", "as a subgraph", "sent"])
def test_a_node_is_given_the_objects_that_its_state_declares_however_often_it_is_taken_up(
    runtime: Make, build: Any
) -> None:
    home, flow = runtime(keys=False), Workflow("typed", graph=build)
    stopped = flow.run("Go", runtime=home)
    assert flow.resume(stopped.run, runtime=home).status == "pending"
    result = flow.resume(stopped.run, "yes", runtime=home)
    assert (result.status, result.output) == ("done", f"yes: {ORDER!r}")


def test_the_output_of_a_graph_has_the_type_that_its_workflow_names_and_no_log_says_otherwise(
    runtime: Make, caplog: pytest.LogCaptureFixture
) -> None:
    class Loose(TypedDict, total=False):
        task: str
        output: Any

    def build(_: Runtime) -> StateGraph[Any, Any, Any, Any]:
        graph = StateGraph(Loose)
        graph.add_node("make", lambda _: {"output": Receipt(number=7)})
        graph.add_edge(START, "make")
        return graph

    result = Workflow("typed", graph=build, output=Receipt).run("Go", runtime=runtime(keys=False))
    assert result.output == Receipt(number=7)
    # LangGraph tells once a process of a type that it does not make again.
    assert "Receipt" not in caplog.text


class Knowing(AgentState[Any], total=False):
    place: Place


@tool(effect="read")
def learn(step: str, call: Annotated[str, InjectedToolCallId]) -> Any:
    """Learn of a place."""
    return Command(update={"place": PLACE, "messages": [ToolMessage("learned", tool_call_id=call)]})


@pytest.mark.parametrize("as_node", [False, True], ids=["under the supervisor", "as a node"])
def test_a_tool_reads_the_objects_of_its_agents_state_after_an_approval(
    runtime: Make, simulator: Simulator, as_node: bool
) -> None:
    read: list[Any] = []

    @tool(effect="destructive")
    def clear(step: str, state: Annotated[Any, InjectedState]) -> str:
        """Clear a place."""
        read.append(state["place"])
        return "cleared"

    def answer(request: Any) -> Answer:
        if request.tools[0].name == "Verdict":
            return Answer(tool_calls=[{"name": "Verdict", "arguments": {"ok": True, "reason": "fine"}}])
        told = request.tool_results[-1].text if request.tool_results else ""
        if told == "cleared":
            return Answer(text="so it is")
        return Answer(tool_calls=[{"name": "clear" if told else "learn", "arguments": {"step": "a"}}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    agent = Agent("clerk", kind="act", tools=[learn, clear], state_schema=Knowing)

    def build(home: Runtime) -> StateGraph[Any, Any, Any, Any]:
        graph = StateGraph(MessagesState)
        graph.add_node("clerk", agent.on(home))  # type: ignore[type-var]
        graph.add_edge(START, "clerk")
        return graph

    flow = Workflow("knowing", graph=build) if as_node else Workflow("knowing", [agent], plan="in_order")
    home = runtime()
    stopped = flow.run("Go", runtime=home)
    result = flow.resume(stopped.run, "approve", runtime=home)
    assert (result.status, read) == ("done", [PLACE])


@pytest.mark.slow
def test_a_conversation_gives_an_agents_tools_the_objects_of_its_state_back(
    runtime: Make, simulator: Simulator
) -> None:
    read: list[Any] = []

    @tool(effect="read")
    def tell(step: str, state: Annotated[Any, InjectedState]) -> str:
        """Tell of a place."""
        read.append(state["place"])
        return "told"

    def answer(request: Any) -> Answer:
        if request.messages[-1].role != "user":
            return Answer(text="so it is")
        return Answer(tool_calls=[{"name": request.user_text.split()[-1], "arguments": {"step": "a"}}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    agent = Agent("clerk", kind="gather", tools=[learn, tell], state_schema=Knowing)
    home = runtime()
    for task in ("learn", "tell", "tell"):
        assert agent.run(f"please {task}", thread="t", runtime=home).status == "done"
    assert read == [PLACE, PLACE]


@pytest.mark.parametrize(
    ("output", "answered"), [(Receipt, Receipt(number=7)), (Numbers, Numbers([7]))], ids=["a class", "a root class"]
)
def test_an_agent_that_the_code_of_a_node_asks_has_its_objects_again(
    runtime: Make, simulator: Simulator, output: type[BaseModel], answered: BaseModel
) -> None:
    read: list[Any] = []

    @tool(effect="destructive")
    def clear(step: str, state: Annotated[Any, InjectedState]) -> str:
        """Clear a place."""
        read.append(state["place"])
        return "cleared"

    def answer(request: Any) -> Answer:
        if request.tools[0].name == "Verdict":
            return Answer(tool_calls=[{"name": "Verdict", "arguments": {"ok": True, "reason": "fine"}}])
        told = request.tool_results[-1].text if request.tool_results else ""
        if told == "cleared":
            arguments = {"number": 7} if output is Receipt else {"root": [7]}
            return Answer(tool_calls=[{"name": output.__name__, "arguments": arguments}])
        return Answer(tool_calls=[{"name": "clear" if told else "learn", "arguments": {"step": "a"}}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    agent = Agent("clerk", kind="act", tools=[learn, clear], state_schema=Knowing, output=output)

    def build(home: Runtime) -> StateGraph[Any, Any, Any, Any]:
        async def ask(_: State) -> State:
            told = await agent.on(home).ainvoke("first")
            interrupt("go on?")
            found: State = {"output": f"{told['structured_response']!r} of {told['place']!r}"}
            return found

        graph = StateGraph(State)
        graph.add_node("ask", ask)
        graph.add_edge(START, "ask")
        return graph

    flow, home = Workflow("asking", graph=build), runtime()
    stopped = flow.run("Go", runtime=home)
    assert flow.resume(stopped.run, "approve", runtime=home).status == "pending"
    result = flow.resume(stopped.run, "yes", runtime=home)
    assert (result.status, result.output) == ("done", f"{answered!r} of {PLACE!r}")
    assert read == [PLACE]


async def test_who_looks_at_a_run_without_its_graph_makes_nothing_of_its_state(
    runtime: Make, caplog: pytest.LogCaptureFixture
) -> None:
    class Sent(State):
        parcel: Parcel

    def build(_: Runtime) -> StateGraph[Any, Any, Any, Any]:
        graph = StateGraph(Sent)
        graph.add_node("make", lambda _: {"parcel": Parcel(number=7)})
        graph.add_node("look", lambda _: {"output": interrupt("go on?")})
        graph.add_edge(START, "make")
        graph.add_edge("make", "look")
        return graph

    home = runtime(keys=False)
    stopped = await Workflow("sent", graph=build).arun("Go", runtime=home)
    [waiting] = await runs.apending(runtime=home)
    assert (waiting.run, waiting.arguments) == (stopped.run, {"value": "go on?"})
    assert (await Story.of(home, stopped.run)).status == "pending"
    assert (await forked(home, stopped.run, "1")).target == "sent"
    assert "Parcel" not in caplog.text
