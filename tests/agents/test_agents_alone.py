"""An agent run alone: its result, its bounds, and what is refused before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pointsman import Agent, ConfigError, PointsmanError, RunResult, Workflow, tool
from pointsman.agents.errors import RunTimeout, TurnLimit
from pointsman.agents.runtime import Runtime
from pointsman.backends.base import BackendError
from pointsman.ledger.budgets.budgets import BudgetExceeded
from pointsman.simulator import Answer, Fault, Latency, Match, Rule, Scenario, Simulator
from pydantic import BaseModel

Make = Callable[..., Runtime]


class Broken(BaseModel):
    """Its schema raises."""

    @classmethod
    def __get_pydantic_json_schema__(cls, *_: Any) -> Any:
        raise RuntimeError("no schema")


class Ticket(BaseModel):
    """A ticket."""

    subject: str
    urgent: bool


@tool(effect="read")
def order_status(order_id: str) -> str:
    """Look up an order."""
    return f"{order_id} is on its way"


@pytest.mark.slow
def test_an_agent_alone_gives_the_result_of_a_run(simulated: Make, simulator: Simulator) -> None:
    home = simulated()
    triage = Agent("triage", tier="economy", instructions="Write a ticket.", output=Ticket)

    result = triage.run('Subject "Stolen card", urgent: yes', max_cost=1.0, user="ada", tags=["x"], runtime=home)

    assert isinstance(result, RunResult)
    assert isinstance(result.output, Ticket)
    assert result.status == "done"
    assert [step.agent for step in result.steps] == ["triage"]
    assert len(result.calls) == len(simulator.log) == 1
    assert result.cost > 0
    assert triage.run("Hello", max_steps=1, runtime=home).status == "done"
    row = home.ledger.run(result.run)
    assert row is not None
    assert (row.target, row.user, row.tags, row.status) == ("triage", "ada", ("x",), "done")
    assert row.ended is not None


async def test_several_runs_of_one_agent_at_once_are_runs_of_their_own(simulated: Make) -> None:
    import asyncio

    agent, home = Agent("one", instructions="Answer.").on(simulated()), None
    results = await asyncio.gather(*(agent.arun(f"question {n}", runtime=home) for n in range(5)))

    assert len({result.run for result in results}) == 5
    assert all(len(result.calls) == 1 for result in results)


def test_an_agent_that_never_answers_ends_with_its_run_and_what_it_spent(simulated: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(tool_calls=[_CALL]))])
    home = simulated()
    agent = Agent("looper", instructions="Look.", tools=[order_status])

    result = agent.run("order_status", max_steps=4, runtime=home)
    with pytest.raises(TurnLimit, match=r"within 3 turns.*raise max_steps \(run ") as ended:
        result.raise_for_status()

    assert (result.error, result.run, result.status) == (ended.value, ended.value.run, "failed")
    assert len(result.calls) == len(simulator.log) == 3


_CALL: Any = {"name": "order_status", "arguments": {"order_id": "A-1"}}


def test_a_timeout_names_the_run_and_gives_what_there_is(simulated: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(latency=Latency(ms=600_000))

    with pytest.raises(RunTimeout, match=r"took longer than it may \(timeout: 0\.2 s\): give run ") as ended:
        Agent("slow", instructions="Answer.").run("Hello", timeout=0.2, runtime=simulated()).raise_for_status()

    assert isinstance(ended.value, TimeoutError)
    assert "resume" not in str(ended.value)


def test_a_cap_and_a_failure_name_the_run(simulated: Make, simulator: Simulator) -> None:
    home = simulated()
    with pytest.raises(BudgetExceeded, match=r"raise max_cost") as ended:
        Agent("poor", tier="frontier").run("Hello", max_cost=0.0, runtime=home).raise_for_status()
    assert ended.value.run
    assert ended.value.run in str(ended.value)
    simulator.scenario = Scenario(rules=[Rule(fault=Fault("overloaded"))])
    with pytest.raises(BackendError) as failed:
        Agent("sad", instructions="Answer.").run("Hello", runtime=home).raise_for_status()
    assert failed.value.run in str(failed.value)
    assert home.ledger.handoffs() == ()


@pytest.mark.parametrize("kind", ["agent", "workflow"])
@pytest.mark.parametrize(
    ("task", "bounds", "said"),
    [
        (None, {}, "give the task as a text or as messages, not NoneType"),
        (5, {}, "give the task as a text or as messages, not int"),
        ("  ", {}, "the input is empty"),
        ("x", {"max_cost": -1}, "a cap of -1 is not valid: give USD"),
        ("x", {"max_cost": "1"}, "max_cost is '1': give USD"),
        ("x", {"max_steps": 0}, "max_steps is 0"),
        ("x", {"max_steps": 2.5}, "max_steps is 2.5"),
        ("x", {"max_steps": True}, "max_steps is True"),
        ("x", {"timeout": 0}, "timeout is 0"),
        ("x", {"timeout": "5"}, "timeout is '5'"),
        ("x", {"user": 5}, "user is 5"),
        ("x", {"user": "an\udcff"}, "user is 'an.udcff', which is no text that can be written"),
        ("x", {"tags": ["an\udcff"]}, "tags is 'an.udcff', which is no text that can be written"),
        ("x", {"tags": "nightly"}, "tags is 'nightly': give a list"),
        ("x", {"tags": [1]}, "give a list of texts"),
    ],
)
def test_what_is_no_task_or_bound_is_refused_before_anything_runs(
    simulated: Make, simulator: Simulator, kind: str, task: Any, bounds: dict[str, Any], said: str
) -> None:
    agent, home = Agent("one", instructions="Answer."), simulated()
    target = agent if kind == "agent" else Workflow("flow", [agent])

    with pytest.raises(ConfigError, match=said):
        target.run(task, runtime=home, **bounds)
    assert len(simulator.log) == 0
    assert list(home.ledger.runs()) == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"name": ""}, "an agent needs a name, not ''"),
        ({"name": " "}, "needs a name"),
        ({"name": None}, "needs a name"),
        ({"output": dict}, "is not a pydantic class"),
        ({"output": Ticket(subject="a", urgent=True)}, "is not a pydantic class"),
        ({"output": str}, "output=str is not a pydantic class"),
        ({"output": BaseModel}, "output=BaseModel is not a pydantic class"),
        ({"output": Broken}, "the schema of Broken cannot be made: RuntimeError: no schema; mend the class"),
        ({"tools": [print]}, "print is not a tool; put @tool"),
        ({"tools": [3]}, "int is not a tool"),
        ({"tools": "read_file"}, "tools must be a list"),
        ({"tools": order_status}, "tools must be a list"),
        ({"tools": None}, "tools must be a list"),
        ({"tools": [order_status, order_status]}, "two of its tools are called 'order_status'"),
        ({"tools": ["read_file", "read_file"]}, "two of its tools are called 'read_file'"),
        ({"instructions": None}, "instructions must be a text or a SystemMessage, not NoneType"),
        ({"latency": "soon"}, "'soon' is not one of batch, interactive, critical"),
        ({"max_output": 0}, "max_output is 0"),
        ({"reversible": "no"}, "reversible is 'no': give True or False"),
        ({"tier": "best"}, "'best' is not one of"),
        ({"kind": "think"}, "'think' is not one of"),
    ],
)
def test_an_agent_that_cannot_be_meant_is_refused_where_it_is_made(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Agent(**{"name": "one", **spec})


def test_a_failure_of_a_tools_own_code_says_in_which_run(simulated: Make, simulator: Simulator) -> None:
    @tool(effect="read")
    def look(what: str) -> str:
        """Look at it."""
        raise ValueError("boom")

    call: Any = {"name": "look", "arguments": {"what": "x"}}
    simulator.scenario = Scenario(rules=[Rule(match=Match(first=1), answer=Answer(tool_calls=[call]))])

    with pytest.raises(ValueError, match="boom") as ended:
        Agent("one", instructions="Look.", tools=[look]).run("look", runtime=simulated()).raise_for_status()
    assert not isinstance(ended.value, PointsmanError)
    assert any(note.startswith("in run ") for note in ended.value.__notes__)


def test_every_chat_model_counts_tokens_without_a_tokenizer_to_fetch() -> None:
    from langchain_core.messages import HumanMessage
    from pointsman import RoutedChatModel
    from pointsman.backends.ondevice import OnDeviceChatModel
    from pointsman.backends.scripted import ScriptedChatModel

    for model in (RoutedChatModel(), OnDeviceChatModel(), ScriptedChatModel(replies=["a"])):
        assert 3 <= model.get_num_tokens("How long does delivery take?") <= 12
        assert model.get_num_tokens("") == 0
        assert model.get_num_tokens("half a pair \ud83d") > 0
        assert model.get_num_tokens_from_messages([HumanMessage("Hello"), HumanMessage("there")]) >= 4


def test_a_plain_langchain_tool_counts_as_destructive_until_it_is_declared() -> None:
    from langchain_core.tools import tool as plain_tool
    from pointsman import declare
    from pointsman.configs.words import Effect

    @plain_tool
    def search(query: str) -> str:
        """Search the archive."""
        return query

    undeclared = Agent("one", tools=[search], kind="gather").request()
    declared = Agent("one", tools=[declare(search, effect="read")], kind="gather").request()

    assert undeclared.effects == (Effect.DESTRUCTIVE,)
    assert declared.effects == (Effect.READ,)
