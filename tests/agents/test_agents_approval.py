"""Approval speaks LangChain's human-in-the-loop protocol, so that any inbox for LangGraph can show and answer it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain.agents.middleware.human_in_the_loop import HITLRequest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command
from pointsman import Agent, tool
from pointsman.agents.approval.answers import ApprovalPending
from pointsman.agents.runtime import Runtime
from pointsman.simulator import Answer, Match, Rule, Scenario, Simulator
from pydantic import ConfigDict, TypeAdapter, with_config

Make = Callable[..., Runtime]
ran: list[str] = []
CONFIG: Any = {"configurable": {"thread_id": "t"}}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ran.clear()


@tool(effect="destructive")
def delete_order(order_id: str, copies: int = 1) -> str:
    """Delete an order."""
    ran.append(f"{order_id} x{copies}")
    return f"{order_id} is gone"


@tool(effect=lambda arguments: "destructive" if arguments["path"].startswith("/") else "external")
def send_file(path: str) -> str:
    """Send a file."""
    ran.append(path)
    return f"{path} is sent"


@tool(effect="read")
def ask_user(question: str) -> str:
    """Ask the user."""
    ran.append(question)
    return "nobody is there"


def _calling(simulator: Simulator, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """Models that make these calls in one turn, and then tell what they were told."""
    seen: list[Any] = []

    def answer(request: Any) -> Answer:
        seen.append(request)
        if request.tool_results:
            return Answer(text="so it is")
        return Answer(tool_calls=[{"name": name, "arguments": arguments} for name, arguments in calls])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    return seen


def _graph(agent: Agent) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("work", agent)  # type: ignore[type-var]
    builder.add_edge(START, "work")
    builder.add_edge("work", END)
    return builder.compile(checkpointer=InMemorySaver())


def _asked(graph: Any) -> Any:
    (stop,) = graph.get_state(CONFIG).interrupts
    return stop


def _stopped(agent: Agent) -> Any:
    graph = _graph(agent)
    graph.invoke({"messages": [HumanMessage("go")]}, CONFIG)
    return graph


def _tool_message(graph: Any) -> ToolMessage:
    (found,) = [m for m in graph.get_state(CONFIG).values["messages"] if isinstance(m, ToolMessage)]
    return found


@pytest.fixture
def clerk(simulated: Make, simulator: Simulator) -> Agent:
    _calling(simulator, ("delete_order", {"order_id": "A-1"}))
    return Agent("clerk", tools=[delete_order]).on(simulated())


def test_a_critical_call_is_langchains_request_for_one_action_and_all_else_lies_under_one_key(clerk: Agent) -> None:
    stop = _asked(_stopped(clerk))
    strict = TypeAdapter(with_config(ConfigDict(extra="forbid"))(HITLRequest))
    request = strict.validate_python({key: value for key, value in stop.value.items() if key != "pointsman"})
    (action,), (review,) = request["action_requests"], request["review_configs"]
    assert (action["name"], action["args"]) == ("delete_order", {"order_id": "A-1"})
    assert (review["action_name"], review["allowed_decisions"]) == ("delete_order", ["approve", "edit", "reject"])
    assert set(review["args_schema"]["properties"]) == {"order_id", "copies"}
    first, form = action["description"].splitlines()
    assert first == "delete_order is destructive with these arguments"
    assert form.startswith('answer with {"decisions": [d]}, or d alone, where d is {"type": "approve"} or ')


@pytest.mark.parametrize(
    "answer",
    [
        {"decisions": [{"type": "approve"}]},
        {"type": "approve"},
        "approve",
        " Approve\n",
        True,
        {"decisions": ["approve"]},
        {"decision": "approve"},
    ],
    ids=str,
)
def test_an_approval_in_any_form_makes_the_call_once(clerk: Agent, answer: Any) -> None:
    graph = _stopped(clerk)
    graph.invoke(Command(resume={_asked(graph).id: answer}), CONFIG)
    assert (ran, graph.get_state(CONFIG).interrupts) == (["A-1 x1"], ())


@pytest.mark.parametrize(
    "answer",
    [{"decisions": [{"type": "reject", "message": "keep it"}]}, {"type": "reject", "message": "keep it"},
     {"decision": "reject", "reason": "keep it"}],
    ids=str,
)  # fmt: skip
def test_a_rejection_tells_the_model_why(clerk: Agent, answer: Any) -> None:
    graph = _stopped(clerk)
    graph.invoke(Command(resume=answer), CONFIG)
    assert (ran, _tool_message(graph).status) == ([], "error")
    assert _tool_message(graph).text == "a person refused this call: keep it"


@pytest.mark.parametrize("answer", ["reject", False, {"type": "reject"}], ids=str)
def test_a_bare_rejection_is_one_too(clerk: Agent, answer: Any) -> None:
    graph = _stopped(clerk)
    graph.invoke(Command(resume=answer), CONFIG)
    assert (ran, _tool_message(graph).text) == ([], "a person refused this call: no reason given")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("yes please", "'yes please' is not an answer"),
        (7, "7 is not an answer"),
        ([], "[] is not an answer"),
        ({}, "{} says nothing"),
        ({"approved": True}, "{'approved': True} says nothing"),
        ({"decisions": []}, "{'decisions': []} is not an answer"),
        ({"decisions": [{"type": "approve"}] * 2}, "is not an answer"),
        ({"type": "allow"}, "'allow' is not allowed for delete_order"),
        ("always", "this may be approved once, and not always: it destroys"),
        ({"type": "approve", "scope": "forever"}, 'the "scope" of an approval is "once" or "always"'),
        ([{"type": "accept", "args": None}] * 2, "is not an answer"),
        ({"type": "respond", "message": "it is gone"}, "'respond' is not allowed for delete_order"),
        ("edit", "'edit' is not an answer"),
        ({"type": "edit"}, '"edit" needs an "edited_action" with "args"'),
        ({"type": "edit", "edited_action": {"name": "send_file", "args": {}}}, "an edit keeps the tool delete_order"),
        ({"type": "edit", "args": {"order": "B"}}, "delete_order has no argument 'order', it has order_id, copies"),
        ({"type": "edit", "args": {"order_id": "B", "copies": "many"}}, "does not take these arguments (copies: "),
        ({"type": "edit", "args": {}}, "does not take these arguments (order_id: Field required)"),
        (
            {"type": "approve", "digest": "0" * 16},
            "the answer was to another question about delete_order than this one",
        ),
        ({"decisions": [{"type": "approve"}], "digest": "0" * 16}, "the answer was to another question"),
        ({"type": "approve", "args": {"order_id": "B"}}, "an approval keeps the arguments as they are"),
        ({"decisions": [{"type": "approve", "edited_action": {"args": {}}}]}, "an approval keeps the arguments"),
    ],
    ids=str,
)
def test_any_other_answer_does_nothing_and_is_asked_again_with_the_right_form(
    clerk: Agent, answer: Any, why: str
) -> None:
    graph = _stopped(clerk)
    graph.invoke(Command(resume={_asked(graph).id: answer}), CONFIG)
    assert ran == []
    said = _asked(graph).value["action_requests"][0]["description"]
    assert said.startswith("delete_order is destructive with these arguments; ")
    assert why in said
    assert '{"type": "approve"}' in said
    graph.invoke(Command(resume="approve"), CONFIG)
    assert ran == ["A-1 x1"]


def test_an_edit_runs_with_the_persons_arguments_and_the_model_is_told(clerk: Agent) -> None:
    graph = _stopped(clerk)
    edit = {"type": "edit", "edited_action": {"name": "delete_order", "args": {"order_id": "B-2", "copies": 3}}}
    graph.invoke(Command(resume={"decisions": [edit]}), CONFIG)
    assert ran == ["B-2 x3"]
    told = _tool_message(graph).text
    assert told.startswith('A person changed the arguments of this call to {"order_id": "B-2", "copies": 3}')
    assert told.endswith("B-2 is gone")


def _critical(simulated: Make) -> Runtime:
    return simulated(**{"risk.call": {"read": "critical", "external": "critical"}})


def test_an_edit_that_does_more_is_asked_about_again_and_one_that_does_less_is_not(
    simulated: Make, simulator: Simulator
) -> None:
    _calling(simulator, ("send_file", {"path": "notes"}))
    graph = _stopped(Agent("sender", tools=[send_file]).on(_critical(simulated)))
    graph.invoke(Command(resume={"type": "edit", "args": {"path": "/etc/passwd"}}), CONFIG)
    again = _asked(graph)
    (action,) = again.value["action_requests"]
    assert (ran, action["args"]) == ([], {"path": "/etc/passwd"})
    assert "send_file counts as destructive with these arguments; " in action["description"]
    graph.invoke(Command(resume={"type": "edit", "args": {"path": "other"}}), CONFIG)
    assert ran == ["other"]


def test_an_edit_that_was_asked_about_again_may_be_approved_or_rejected(simulated: Make, simulator: Simulator) -> None:
    home = _critical(simulated)
    for answer, made in (("approve", ["/x"]), ("reject", [])):
        ran.clear()
        _calling(simulator, ("send_file", {"path": "notes"}))
        graph = _stopped(Agent("sender", tools=[send_file]).on(home))
        graph.invoke(Command(resume={"type": "edit", "args": {"path": "/x"}}), CONFIG)
        graph.invoke(Command(resume=answer), CONFIG)
        assert ran == made


def test_a_person_may_answer_in_the_place_of_a_tool_that_reads(simulated: Make, simulator: Simulator) -> None:
    _calling(simulator, ("ask_user", {"question": "which one?"}))
    graph = _stopped(Agent("asker", tools=[ask_user]).on(_critical(simulated)))
    allowed = _asked(graph).value["review_configs"][0]["allowed_decisions"]
    assert allowed == ["approve", "edit", "reject", "respond"]
    graph.invoke(Command(resume={"decisions": [{"type": "respond", "message": "the blue one"}]}), CONFIG)
    assert (ran, _tool_message(graph).text, _tool_message(graph).status) == ([], "the blue one", "success")


def test_each_call_of_a_turn_is_an_interrupt_of_its_own(simulated: Make, simulator: Simulator) -> None:
    _calling(simulator, ("delete_order", {"order_id": "A"}), ("delete_order", {"order_id": "B"}))
    graph = _stopped(Agent("clerk", tools=[delete_order]).on(simulated()))
    by_order = {s.value["action_requests"][0]["args"]["order_id"]: s.id for s in graph.get_state(CONFIG).interrupts}
    graph.invoke(Command(resume={by_order["B"]: "approve"}), CONFIG)
    assert ran == ["B x1"]
    graph.invoke(Command(resume={by_order["A"]: {"type": "reject"}}), CONFIG)
    messages = graph.get_state(CONFIG).values["messages"]
    assert (ran, sum(isinstance(message, ToolMessage) for message in messages)) == (["B x1"], 2)


async def test_an_agent_alone_says_what_waits_and_leaves_no_open_call(simulated: Make, simulator: Simulator) -> None:
    _calling(simulator, ("delete_order", {"order_id": "A-1"}))
    alone = Agent("clerk", tools=[delete_order]).on(simulated())
    with pytest.raises(
        ApprovalPending, match=r"waits for a person.*run it as Workflow\('clerk', \[agent\]\)"
    ) as raised:
        await alone.ainvoke("go")
    (act,) = raised.value.pending
    assert (act.tool, act.arguments, act.risk, ran) == ("delete_order", {"order_id": "A-1"}, "critical", [])


def test_an_agent_inside_the_tool_of_another_that_runs_alone_says_what_waits(
    simulated: Make, simulator: Simulator, tmp_path: Path
) -> None:
    home = simulated()
    inner = Agent("clerk", tools=[delete_order]).on(home)

    @tool(effect="read")
    def ask_clerk(text: str) -> str:
        """Ask the clerk."""
        return str(inner.invoke(text)["messages"][-1].text)

    def answer(request: Any) -> Answer:
        name = request.tools[0].name
        arguments = {"order_id": "A-1"} if name == "delete_order" else {"text": "go"}
        return (
            Answer(text="so") if request.tool_results else Answer(tool_calls=[{"name": name, "arguments": arguments}])
        )

    simulator.scenario = Scenario(rules=[Rule(match=Match(), answer=answer)])
    outer = Agent("boss", tools=[ask_clerk], tier="economy").on(home)
    with pytest.raises(ApprovalPending) as raised:
        outer.invoke("go")
    assert ([act.tool for act in raised.value.pending], ran) == (["delete_order"], [])


def test_no_message_of_a_graph_without_a_checkpointer_has_an_open_call(simulated: Make, simulator: Simulator) -> None:
    _calling(simulator, ("delete_order", {"order_id": "A-1"}))
    builder = StateGraph(MessagesState)
    builder.add_node("work", Agent("clerk", tools=[delete_order]).on(simulated()))  # type: ignore[type-var]
    builder.add_edge(START, "work")
    state = builder.compile().invoke({"messages": [HumanMessage("go")]})
    assert not [m for m in state["messages"] if isinstance(m, AIMessage) and m.tool_calls]
    assert (len(state["__interrupt__"]), ran) == (1, [])


def test_a_person_is_told_why_an_undeclared_tool_waits_and_what_would_change_that(simulated: Make) -> None:
    from langchain_core.tools import tool as plain_tool

    @plain_tool
    def look_around(place: str) -> str:
        """Look around at a place."""
        return place

    with pytest.raises(ApprovalPending) as ended:
        Agent("one", instructions="Look.", tools=[look_around], kind="act").run(
            "look_around", runtime=simulated()
        ).raise_for_status()

    (waiting,) = ended.value.pending
    assert waiting.reason == (
        "look_around declares no effect, so it counts as destructive (pointsman.declare gives it one)"
    )
    assert ended.value.run in str(ended.value)
