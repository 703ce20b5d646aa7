"""Agents take LangChain's middleware, and what it makes of a call is still allowed, judged and recorded."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langchain.agents import AgentState
from langchain.agents.middleware import (
    AgentMiddleware,
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    HumanInTheLoopMiddleware,
    LLMToolSelectorMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
    wrap_model_call,
    wrap_tool_call,
)
from langchain.tools import ToolRuntime
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool as langchain_tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from pointsman import Agent, RoutedChatModel, Workflow, tool
from pointsman.agents.approval.answers import ApprovalPending
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.dispatch.errors import AllFailed, NoCandidate
from pointsman.simulator import Answer, Fault, Rule, Scenario, Simulator

Make = Callable[..., Runtime]
ran: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ran.clear()


@tool(effect="destructive")
def delete_order(order_id: str) -> str:
    """Delete an order."""
    ran.append(order_id)
    return f"{order_id} is gone"


@tool(effect="write")
def note(text: str) -> str:
    """Write a note."""
    ran.append(text)
    raise OSError("the disk is full")


@tool(effect="read")
def look(what: str) -> str:
    """Look at something."""
    ran.append(what)
    if len(ran) == 1:
        raise OSError("try again")
    return f"{what} is there"


def _saying(simulator: Simulator, *turns: Any) -> list[Any]:
    """Models that make these calls, one turn after the other, and then say what they say."""
    seen: list[Any] = []

    def answer(request: Any) -> Answer:
        seen.append(request)
        turn = turns[len(seen) - 1] if len(seen) <= len(turns) else "so it is"
        if isinstance(turn, str):
            return Answer(text=turn)
        name, arguments = turn
        return Answer(tool_calls=[{"name": name, "arguments": arguments}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    return seen


class Renaming(AgentMiddleware[Any, Any]):
    """Has another order deleted than the model asked for, and asks twice."""

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        call = {**request.tool_call, "args": {"order_id": "B-2"}}
        return await handler(request.override(tool_call=call))


def test_a_person_is_asked_about_the_call_that_a_middleware_made_of_it(simulated: Make, simulator: Simulator) -> None:
    _saying(simulator, ("delete_order", {"order_id": "A-1"}))
    clerk = Agent("clerk", tools=[delete_order], middleware=[Renaming()])
    home, flow = simulated(), Workflow("clerks", [clerk])
    stopped = flow.run("Delete A-1", runtime=home)
    (waiting,) = stopped.pending
    assert (waiting.tool, dict(waiting.arguments)) == ("delete_order", {"order_id": "B-2"})
    assert ran == []
    assert flow.resume(stopped.run, "approve", runtime=home).status == "done"
    assert ran == ["B-2"]
    (effect,) = home.ledger.effects(stopped.run)
    assert effect.tool == "delete_order"


def test_a_hook_with_a_synchronous_form_alone_works_in_a_run(simulated: Make, simulator: Simulator) -> None:
    told: list[str] = []

    @wrap_tool_call
    def rename(request: Any, handler: Any) -> Any:
        told.append(request.tool_call["args"]["order_id"])
        return handler(request.override(tool_call={**request.tool_call, "args": {"order_id": "C-3"}}))

    @wrap_model_call
    def watch(request: Any, handler: Any) -> Any:
        told.append("model")
        return handler(request)

    _saying(simulator, ("delete_order", {"order_id": "A-1"}))
    flow = Workflow("clerks", [Agent("clerk", tools=[delete_order], middleware=[rename, watch])])
    home = simulated()
    stopped = flow.run("Delete A-1", runtime=home)
    assert dict(stopped.pending[0].arguments) == {"order_id": "C-3"}
    assert flow.resume(stopped.run, "approve", runtime=home).status == "done"
    assert (told, ran) == (["model", "A-1", "A-1", "model"], ["C-3"])


def test_a_tool_that_a_middleware_brings_in_while_it_runs_waits_too(simulated: Make, simulator: Simulator) -> None:
    class Bringing(AgentMiddleware[Any, Any]):
        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            return await handler(request.override(tools=[*request.tools, delete_order]))

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            return await handler(request.override(tool=delete_order))

    _saying(simulator, ("delete_order", {"order_id": "A-1"}))
    flow, home = Workflow("clerks", [Agent("clerk", middleware=[Bringing()])]), simulated()
    stopped = flow.run("Delete A-1", runtime=home)
    assert ([act.tool for act in stopped.pending], ran) == (["delete_order"], [])
    done = flow.resume(stopped.run, "approve", runtime=home)
    assert (done.status, ran, [act.tool for act in done.steps[0].acts]) == ("done", ["A-1"], ["delete_order"])
    assert {call.tier for call in stopped.calls} == {"frontier"}


def test_a_tool_that_a_middleware_adds_waits_for_a_person_until_it_says_what_it_does(
    simulated: Make, simulator: Simulator
) -> None:
    @langchain_tool
    def purge(what: str) -> str:
        """Purge something."""
        ran.append(what)
        return "purged"

    class Purging(AgentMiddleware[Any, Any]):
        tools = (purge,)

    _saying(simulator, ("purge", {"what": "all"}))
    agent = Agent("purger", middleware=[Purging()]).on(simulated())
    with pytest.raises(ApprovalPending, match="purge"):
        agent.run("Purge").raise_for_status()
    assert ran == []
    assert [tool.name for tool in agent.bound_tools()] == ["purge"]


@pytest.mark.parametrize(
    ("called", "arguments", "times", "rows"), [("look", {"what": "x"}, 2, 0), ("note", {"text": "x"}, 1, 1)]
)
def test_a_retry_repeats_what_only_reads_and_nothing_that_may_have_happened(
    simulated: Make, simulator: Simulator, called: str, arguments: dict[str, str], times: int, rows: int
) -> None:
    seen = _saying(simulator, (called, arguments))
    retry = ToolRetryMiddleware(max_retries=3, initial_delay=0.0, jitter=False)
    home = simulated()
    result = Agent("worker", tools=[look, note], middleware=[retry]).run("Go", runtime=home)
    assert len(ran) == times
    assert len(home.ledger.effects(result.run)) == rows
    told = seen[1].tool_results[0]
    assert ("is there" if called == "look" else "was not called again") in str(told)


def test_middleware_that_brings_a_model_nobody_routes_is_refused() -> None:
    stranger = FakeListChatModel(responses=["hello"])
    for middleware in (ModelFallbackMiddleware(stranger), SummarizationMiddleware(stranger, trigger=("tokens", 10))):
        with pytest.raises(ConfigError, match="neither routed nor bounded nor recorded"):
            Agent("clerk", middleware=[middleware])
    with pytest.raises(ConfigError, match="middleware must be a list"):
        Agent("clerk", middleware=TodoListMiddleware())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is no middleware"):
        Agent("clerk", middleware=[TodoListMiddleware])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="two of its middleware are called 'TodoListMiddleware'"):
        Agent("clerk", middleware=[TodoListMiddleware(), TodoListMiddleware()])


def test_a_turn_that_a_middleware_gives_to_another_model_is_refused(simulated: Make, simulator: Simulator) -> None:
    class Switching(AgentMiddleware[Any, Any]):
        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            return await handler(request.override(model=FakeListChatModel(responses=["hello"])))

    with pytest.raises(ConfigError, match="gave this turn to FakeListChatModel"):
        Agent("clerk", middleware=[Switching()]).on(simulated()).run("Go")
    assert len(simulator.log) == 0


def test_to_dos_are_kept_in_the_state_and_need_no_person(simulated: Make, simulator: Simulator) -> None:
    todos = [{"content": "look", "status": "in_progress"}]
    _saying(simulator, ("write_todos", {"todos": todos}))
    agent = Agent("planner", middleware=[TodoListMiddleware()]).on(simulated())
    added = agent.invoke("Plan")
    assert added["todos"] == todos
    assert [type(message) for message in added["messages"]] == [AIMessage, ToolMessage, AIMessage]


def test_a_summary_is_routed_and_paid_and_does_not_forget_what_was_done(simulated: Make, simulator: Simulator) -> None:
    home = simulated()

    def answer(request: Any) -> Answer:
        if not request.tools:
            return Answer(text="they looked")
        look = {"name": "look", "arguments": {"what": "a " * 300}}
        return Answer(text="the end") if len(ran) > 2 else Answer(tool_calls=[look])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    ran.append("warm")
    model = RoutedChatModel(task="summarise", dispatcher=home.dispatcher)
    short = SummarizationMiddleware(model, trigger=("tokens", 200), keep=("messages", 1))
    result = Agent("reader", tools=[look], middleware=[short]).run("Look", runtime=home)
    assert result.status == "done"
    assert len(ran) == 3
    made = [message for message in result.messages if isinstance(message, ToolMessage)]
    assert len(made) == len(ran) - 1
    # The tier on this machine summarises.
    assert (len(result.calls), len(simulator.log)) == (5, 3)
    assert not any("summary" in str(message.content) for message in result.messages)


def test_the_others_of_langchain_work(simulated: Make, simulator: Simulator) -> None:
    home = simulated()
    seen = _saying(simulator, ("look", {"what": "x"}), "write to me@example.com")
    ran.append("warm")
    agent = Agent(
        "worker",
        tools=[look],
        middleware=[
            ModelCallLimitMiddleware(run_limit=5),
            ToolCallLimitMiddleware(run_limit=5),
            ContextEditingMiddleware(edits=[ClearToolUsesEdit(trigger=10_000)]),
            PIIMiddleware("email", apply_to_input=True, apply_to_output=True),
            HumanInTheLoopMiddleware(interrupt_on={"delete_order": True}),
        ],
    )
    result = agent.run("I am you@example.com", runtime=home)
    assert "you@example.com" not in str(seen[0].messages)
    assert result.output == "write to [REDACTED_EMAIL]"
    assert (len(seen), len(result.calls)) == (2, 2)
    limited = Agent("limited", tools=[look], middleware=[ModelCallLimitMiddleware(run_limit=1)])
    _saying(simulator, *[("look", {"what": "x"})] * 9)
    assert "limit" in limited.run("Go", runtime=home).output.lower()


def test_a_selector_of_tools_routes_its_own_call(simulated: Make, simulator: Simulator) -> None:
    home = simulated()
    model = RoutedChatModel(task="classify", dispatcher=home.dispatcher)
    picked: list[list[str]] = []

    def answer(request: Any) -> Answer:
        names = [tool.name for tool in request.tools]
        picked.append(names)
        if "look" in names or "note" in names:
            return Answer(text="done")
        return Answer(tool_calls=[{"name": names[0], "arguments": {"tools": ["look"]}}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    agent = Agent("worker", tools=[look, note], middleware=[LLMToolSelectorMiddleware(model=model, max_tools=1)])
    result = agent.run("Go", runtime=home)
    assert picked[-1] == ["look"]
    assert len([call for call in result.calls if call.failure is None]) == len(simulator.log) == 2


class Case(AgentState[Any]):
    """A case at the desk."""

    customer: str
    seen: Annotated[list[str], operator.add]


def test_the_state_context_and_store_of_a_graph_around_reach_its_tools(simulated: Make, simulator: Simulator) -> None:
    told: list[Any] = []

    @tool(effect="read")
    def who(runtime: ToolRuntime[Any, Any]) -> str:
        """Say who it is for."""
        held = runtime.store.get(("desk",), "hours") if runtime.store else None
        told.append((runtime.state["customer"], runtime.context, held and held.value, runtime.config["metadata"]["of"]))
        return Command(  # type: ignore[return-value]
            update={"customer": "Bo", "messages": [ToolMessage("Bo", tool_call_id=runtime.tool_call_id)]}
        )

    class Outer(MessagesState):
        customer: str
        unrelated: int

    _saying(simulator, ("who", {}))
    store = InMemoryStore()
    store.put(("desk",), "hours", {"from": 9})
    builder = StateGraph(Outer, context_schema=dict)
    builder.add_node("desk", Agent("desk", tools=[who], state_schema=Case).on(simulated()))  # type: ignore[type-var]
    builder.add_edge(START, "desk")
    builder.add_edge("desk", END)
    start: Any = {"messages": [HumanMessage("Who?")], "customer": "Al", "unrelated": 3}
    done = builder.compile(store=store).invoke(start, {"metadata": {"of": "mine"}}, context={"shop": 7})
    assert told == [("Al", {"shop": 7}, {"from": 9}, "mine")]
    assert (done["customer"], done["unrelated"], len(done["messages"])) == ("Bo", 3, 4)
    _saying(simulator, ("who", {}))
    alone = Agent("desk", tools=[who], state_schema=Case, store=store).on(simulated())
    alone.invoke({"messages": ["Who?"], "customer": "Al"}, {"metadata": {"of": "mine"}}, context={"shop": 8})
    assert told[1] == ("Al", {"shop": 8}, {"from": 9}, "mine")


def test_a_system_prompt_may_be_a_message(simulated: Make, simulator: Simulator) -> None:
    seen = _saying(simulator)
    agent = Agent("clerk", instructions=SystemMessage([{"type": "text", "text": "Be brief."}]))
    agent.run("Go", runtime=simulated())
    Workflow("flow", [agent]).run("Go", runtime=simulated())
    assert all("Be brief." in str(request.body) for request in seen)


def test_an_agent_with_a_checkpointer_of_its_own_is_answered_by_a_command(
    simulated: Make, simulator: Simulator
) -> None:
    _saying(simulator, ("delete_order", {"order_id": "A-1"}))
    agent = Agent("clerk", tools=[delete_order], checkpointer=InMemorySaver()).on(simulated())
    config: Any = {"configurable": {"thread_id": "mine"}}
    with pytest.raises(ApprovalPending):
        agent.invoke("Delete A-1", config)
    assert ran == []
    added = agent.invoke(Command(resume={"type": "approve"}), config)["messages"]
    assert ran == ["A-1"]
    assert added[-1].text == "so it is"


def test_no_model_above_the_ceiling_runs_and_a_floor_above_it_is_refused(simulated: Make, simulator: Simulator) -> None:
    home = simulated()
    simulator.scenario = Scenario(rules=[Rule(fault=Fault("overloaded"))])
    with pytest.raises(AllFailed):
        Agent("cheap", max_tier="standard").run("Go", runtime=home).raise_for_status()
    asked = {call.model for call in home.ledger.calls(limit=100)}
    assert {home.dispatcher.cards[model].tier.value for model in asked} == {"economy", "standard"}
    before = len(simulator.log)
    with pytest.raises(NoCandidate, match="max_tier standard is below frontier, which risk"):
        Agent("clerk", tools=[delete_order], max_tier="standard").run("Delete A-1", runtime=home)
    assert len(simulator.log) == before
    with pytest.raises(ConfigError, match="max_tier economy is below its tier frontier"):
        Agent("clerk", tier="frontier", max_tier="economy")
