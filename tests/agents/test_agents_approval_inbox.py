"""Inboxes for LangChain's agents show what waits and answer it, in each form that they have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain.agents.middleware.human_in_the_loop import Decision, HITLResponse
from langchain_core.messages import HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt.interrupt import HumanResponse
from langgraph.types import Command
from pointsman import Agent, RoutedChatModel, Workflow, tool
from pointsman.agents.runtime import Runtime
from pointsman.simulator import Answer, Rule, Scenario, Simulator
from pydantic import TypeAdapter

Make = Callable[..., Runtime]
CONFIG: Any = {"configurable": {"thread_id": "t"}}
ran: list[Any] = []


@tool(effect="destructive")
def delete_order(order_id: str, copies: int = 1, notes: list[str] | None = None) -> str:
    """Delete an order."""
    ran.append((order_id, copies, notes))
    return f"{order_id} is gone"


@tool(effect="read")
def ask_user(question: str) -> str:
    """Ask the user."""
    ran.append(question)
    return "nobody is there"


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ran.clear()


def _stopped(simulated: Make, simulator: Simulator, called: Any, arguments: dict[str, Any]) -> Any:
    def answer(request: Any) -> Answer:
        if request.tool_results:
            return Answer(text="so it is")
        return Answer(tool_calls=[{"name": called.name, "arguments": arguments}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    home = simulated(**{"risk.call": {"read": "critical"}})
    builder = StateGraph(MessagesState)
    builder.add_node("work", Agent("clerk", tools=[called]).on(home))  # type: ignore[type-var]
    builder.add_edge(START, "work")
    builder.add_edge("work", END)
    graph = builder.compile(checkpointer=InMemorySaver())
    graph.invoke({"messages": [HumanMessage("go")]}, CONFIG)
    return graph


def _told(graph: Any) -> ToolMessage:
    (found,) = [m for m in graph.get_state(CONFIG).values["messages"] if isinstance(m, ToolMessage)]
    return found


ASKED = {"order_id": "A-1", "copies": 2, "notes": ["x"]}
REQUEST = {"action": "delete_order", "args": ASKED}
# What was edited comes as a text, and what was not as it was.
EDITED = {"action": "delete_order", "args": {"order_id": "B-2", "copies": "3", "notes": '["y"]'}}


@pytest.mark.parametrize("native", [True, False], ids=["agent inbox", "middleware"])
@pytest.mark.parametrize(
    ("kind", "args", "made", "told"),
    [
        ("accept", None, [("A-1", 2, ["x"])], "A-1 is gone"),
        ("accept", REQUEST, [("A-1", 2, ["x"])], "A-1 is gone"),
        ("edit", EDITED, [("B-2", 3, ["y"])], "A person changed the arguments of this call"),
        ("response", "keep it, please", [], "a person refused this call: keep it, please"),
        ("ignore", None, [], "a person refused this call: no reason given"),
    ],
    ids=str,
)
def test_what_the_agent_inbox_sends_is_understood(
    simulated: Make, simulator: Simulator, native: bool, kind: Any, args: Any, made: list[Any], told: str
) -> None:
    answer: Any = [TypeAdapter(HumanResponse).validate_python({"type": kind, "args": args})]
    if not native:
        # For a request in the middleware's form it sends the middleware's types, and its own arguments.
        types = {"accept": "approve", "response": "reject"}
        answer = {"decisions": [{**answer[0], "type": types.get(kind, kind)}]}
    graph = _stopped(simulated, simulator, delete_order, ASKED)
    graph.invoke(Command(resume=answer), CONFIG)
    assert (ran, graph.get_state(CONFIG).interrupts) == (made, ())
    assert _told(graph).text.startswith(told)


def test_a_response_of_the_inbox_stands_in_the_place_of_a_tool_that_only_reads(
    simulated: Make, simulator: Simulator
) -> None:
    graph = _stopped(simulated, simulator, ask_user, {"question": "which?"})
    graph.invoke(Command(resume=[{"type": "response", "args": "the blue one"}]), CONFIG)
    assert (ran, _told(graph).text, _told(graph).status) == ([], "the blue one", "success")


@pytest.mark.slow
def test_every_decision_of_langchains_types_is_understood(simulated: Make, simulator: Simulator) -> None:
    edit = {"type": "edit", "edited_action": {"name": "ask_user", "args": {"question": "what?"}}}
    for said, made in (
        ({"type": "approve"}, ["which?"]),
        (edit, ["what?"]),
        ({"type": "reject", "message": "no"}, []),
        ({"type": "respond", "message": "blue"}, []),
    ):
        decision: Any = TypeAdapter(Decision).validate_python(said)
        for answer in (decision, TypeAdapter(HITLResponse).validate_python({"decisions": [decision]})):
            ran.clear()
            graph = _stopped(simulated, simulator, ask_user, {"question": "which?"})
            graph.invoke(Command(resume=answer), CONFIG)
            assert (ran, graph.get_state(CONFIG).interrupts) == (made, ())


@pytest.mark.parametrize("mode", ["batched", "per_call"])
def test_what_langchains_own_middleware_asks_in_a_graph_of_the_users_is_shown_and_answered(
    simulated: Make, simulator: Simulator, mode: Any
) -> None:
    def answer(request: Any) -> Answer:
        if request.tool_results:
            return Answer(text="so it is")
        return Answer(tool_calls=[{"name": "ask_user", "arguments": {"question": "which?"}}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    allowed: Any = {"ask_user": {"allowed_decisions": ["approve", "edit", "reject"]}}
    middleware: Any = HumanInTheLoopMiddleware(interrupt_on=allowed, interrupt_mode=mode)

    def build(runtime: Runtime) -> Any:
        model = RoutedChatModel(dispatcher=runtime.dispatcher)
        builder = StateGraph(MessagesState)
        builder.add_node("work", create_agent(model, [ask_user], middleware=[middleware]))
        builder.add_node("open", lambda state: {"messages": [HumanMessage(state.get("task", "go"))]})
        builder.add_edge(START, "open")
        builder.add_edge("open", "work")
        return builder

    class Flow(Workflow[Any]):
        pass

    home, flow = simulated(), Flow("mixed", graph=build)
    stopped = flow.run("go", runtime=home)
    (act,) = stopped.pending
    assert (act.tool, act.arguments, act.allowed) == ("ask_user", {"question": "which?"}, ("approve", "edit", "reject"))
    edit = {"type": "edit", "args": {"question": "what?"}}
    assert flow.resume(stopped.run, {act.id: edit}, runtime=home).status == "done"
    assert ran == ["what?"]
