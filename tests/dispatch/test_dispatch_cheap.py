"""Cheap work stays cheap: through `Agent` and `RoutedChatModel`, over real HTTP, with everything at its defaults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pointsman import Agent, RoutedChatModel, tool
from pointsman.agents.runtime import Runtime
from pointsman.configs.loading.loader import load
from pointsman.configs.words import Tier
from pointsman.dispatch.context import entered
from pointsman.dispatch.errors import NoCandidate
from pointsman.routing.evidence import DOUBTED, Finding, is_evidence
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator, ToolCall
from pointsman.simulator.request import Request
from pydantic import BaseModel

VENDORS = ("anthropic", "openai", "google", "deepseek")
CHEAP, OTHER = "deepseek/deepseek-v4-flash", "openai/gpt-5.4-mini"


class Facts(BaseModel):
    """What stands in a message."""

    name: str
    amount: int


@tool(effect="read")
def look_up(key: str) -> str:
    """Look a record up."""
    return f"record {key}: sent on Monday"


@tool(effect="external", only_reads=True)
def weather(city: str) -> str:
    """Tell the weather."""
    return f"{city}: 18 degrees"


@tool(effect="destructive")
def drop_table(name: str) -> str:
    """Drop a table."""
    return f"{name} is gone"


@pytest.fixture
def runtime(simulator: Simulator, tmp_path: Path) -> Iterator[Runtime]:
    """A project at its defaults whose vendors are the simulator: two economy models."""
    environ = {f"{vendor.upper()}_API_KEY": "not-a-real-key" for vendor in VENDORS} | {
        f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL": simulator.url(vendor) for vendor in VENDORS
    }
    made = Runtime(load(tmp_path, environ=environ, flags={"routing.limits.call": 10.0}))
    yield made
    made.close()


def looking(request: Request) -> Answer:
    """Look up the next of five records, then answer."""
    done = sum("record k" in message.text for message in request.messages)
    if done < 5 and any(one.name == "look_up" for one in request.tools):
        return Answer(tool_calls=(ToolCall("look_up", {"key": f"k{done}"}),))
    return Answer(text="Here it is.")


def tiers(runtime: Runtime) -> list[str]:
    """Tier of the call that answered, for each decision in order."""
    runtime.ledger.flush()
    rows = {row.decision: row.tier for row in runtime.ledger.calls() if row.failure is None}
    return [rows[row.id] for row in runtime.ledger.decisions() if row.id in rows]


def hits(runtime: Runtime) -> dict[str, str]:
    """Rules of the newest decision."""
    runtime.ledger.flush()
    return {hit["id"]: hit["reason"] for hit in json.loads(runtime.ledger.decisions()[-1].rules)}


def agent(runtime: Runtime, *tools: Any, **facts: Any) -> Agent:
    return Agent("clerk", instructions="Do as told.", tools=tools, **{"tier": "economy", **facts}).on(runtime)


def test_a_look_up_loop_never_leaves_its_tier(runtime: Runtime, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=(Rule(answer=looking),))
    agent(runtime, look_up).invoke("Where is order 7?")
    assert tiers(runtime) == ["economy"] * 6
    assert {served.model for served in simulator.log} == {"deepseek-v4-flash"}


@pytest.mark.parametrize(
    ("tools", "kind", "tier"),
    [
        ((), "transform", "economy"),
        ((look_up,), "gather", "economy"),
        # What leaves the machine and says that it only reads there counts as reading.
        ((look_up, weather), "gather", "economy"),
        ((drop_table,), "act", "frontier"),
    ],
)
def test_an_agent_and_a_model_tell_their_kind_alike(
    runtime: Runtime, simulator: Simulator, tools: tuple[Any, ...], kind: str, tier: str
) -> None:
    simulator.scenario = Scenario(rules=(Rule(answer=Answer(text="Done.")),))
    worker = agent(runtime, *tools)
    worker.invoke("Go on.")
    model: Any = RoutedChatModel(tier="economy", dispatcher=runtime.dispatcher)
    (model.bind_tools(tools) if tools else model).invoke("Go on.")
    runtime.ledger.flush()
    kinds = [json.loads(row.features)["kind"] for row in runtime.ledger.decisions()]
    assert (kinds, worker.kind) == ([kind, kind], kind)
    assert tiers(runtime) == [tier, tier]


@pytest.mark.parametrize(
    "prompt",
    [
        "Hello",
        "Translate good morning",
        "Why does my kettle trip the fuse?",
        "Analyse, prove and debug my plan",
        "Grüezi",
    ],
)
def test_an_everyday_prompt_that_declares_nothing_is_cheap(runtime: Runtime, prompt: str) -> None:
    answer = RoutedChatModel(dispatcher=runtime.dispatcher).invoke(prompt)
    assert answer.response_metadata["pointsman"]["tier"] == "economy"


FAULTS = {
    "refusal": True, "truncation": True, "malformed_json": True, "empty": True, "shape": True,
    "rate_limit": False, "server_error": False, "overloaded": False, "unavailable": False, "reset": False,
    "auth": False, "wrong_model": False,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "rises"), FAULTS.items())
def test_a_reply_whose_content_fails_goes_up_and_a_provider_that_fails_sideways(
    runtime: Runtime, simulator: Simulator, kind: str, rises: bool
) -> None:
    match = Match(first=1)
    wrong = Answer(tool_calls=(ToolCall("Facts", {"name": 7}),))
    broken = Rule(match=match, answer=wrong) if kind == "shape" else Rule(match=match, fault=kind)  # type: ignore[arg-type]
    right = Rule(answer=Answer(tool_calls=(ToolCall("Facts", {"name": "Ada", "amount": 7}),)))
    simulator.scenario = Scenario(rules=(broken, right))
    state = agent(runtime, output=Facts).invoke("Ada paid 7.")
    assert state["structured_response"] == Facts(name="Ada", amount=7)
    (account,) = [m.response_metadata["pointsman"] for m in state["messages"] if isinstance(m, AIMessage)]
    assert any(is_evidence(rule) for rule in account["rules"]) is rises
    runtime.ledger.flush()
    first, second = runtime.ledger.calls()
    assert (first.model, first.tier) == (CHEAP, "economy")
    assert second.tier == ("standard" if rises else "economy")
    assert rises or second.model == OTHER


def test_a_turn_after_one_that_rose_returns_to_the_conversations_own_model(
    runtime: Runtime, simulator: Simulator
) -> None:
    once = Rule(match=Match(contains_any_message="record k2", first=1), fault=Fault("refusal"))
    simulator.scenario = Scenario(rules=(once, Rule(answer=looking)))
    agent(runtime, look_up).invoke("Where is order 7?")
    assert tiers(runtime) == ["economy"] * 3 + ["standard"] + ["economy"] * 2
    assert simulator.log[-1].model == "deepseek-v4-flash"


@pytest.mark.slow
@pytest.mark.parametrize("latency", ["batch", "interactive"])
def test_a_short_rate_limit_is_waited_for_rather_than_paid_for_with_a_dearer_tier(
    runtime: Runtime, simulator: Simulator, latency: Any
) -> None:
    limited = Fault("rate_limit", retry_after=1.2)
    # The first model is held back while the second is limited in its turn.
    first = Rule(match=Match(vendor="deepseek", first=1), fault=limited)
    second = Rule(match=Match(vendor="openai", after=1, first=2), fault=limited)
    simulator.scenario = Scenario(rules=(first, second, Rule(answer=Answer(text="Done."))))
    model = RoutedChatModel(tier="economy", latency=latency, dispatcher=runtime.dispatcher)
    answered = [model.invoke("Go on.").response_metadata["pointsman"]["model"] for _ in range(2)]
    assert answered == [OTHER, CHEAP]


def test_another_model_of_the_tier_is_asked_at_once_while_a_rate_limit_holds_the_first_back(
    runtime: Runtime, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = Rule(match=Match(vendor="deepseek", first=1), fault=Fault("rate_limit", retry_after=1.2))
    simulator.scenario = Scenario(rules=(limited, Rule(answer=Answer(text="Done."))))
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float, result: Any = None) -> Any:
        pauses.append(seconds)
        return await sleep(seconds, result)

    monkeypatch.setattr(asyncio, "sleep", noted)
    # However long the calls take, the limit is not over.
    monkeypatch.setattr(runtime.dispatcher.health, "_clock", lambda: 0.0)
    model = RoutedChatModel(tier="economy", dispatcher=runtime.dispatcher)
    answered = [model.invoke("Go on.").response_metadata["pointsman"]["model"] for _ in range(2)]
    assert (answered, max(pauses, default=0) < 0.5) == ([OTHER, OTHER], True)


def stuck(request: Request) -> Answer:
    return Answer(tool_calls=(ToolCall("look_up", {"key": "k"}),))


def test_a_loop_that_makes_the_same_call_again_rises_and_says_why(runtime: Runtime, simulator: Simulator) -> None:
    def until_raised(request: Request) -> Answer:
        return Answer(text="Not there.") if "haiku" in request.model else stuck(request)

    simulator.scenario = Scenario(rules=(Rule(answer=until_raised),))
    state = agent(runtime, look_up).invoke("Where is order 7?")
    assert tiers(runtime) == ["economy", "economy", "standard"]
    assert "look_up was called again with the same arguments" in hits(runtime)["evidence.repeated-call"]
    assert "evidence.repeated-call" in state["messages"][-1].response_metadata["pointsman"]["rules"]


def test_a_verifiers_doubt_handed_in_with_the_step_is_a_demand(runtime: Runtime) -> None:
    doubt = Finding(DOUBTED, "the answer names no source", Tier.ADVANCED)
    model = RoutedChatModel(kind="transform", tier="economy", dispatcher=runtime.dispatcher)
    with entered(evidence=(doubt,)):
        answer = model.invoke("Where is order 7?")
    assert answer.response_metadata["pointsman"]["tier"] == "advanced"
    assert hits(runtime)[DOUBTED] == "the answer names no source: nothing below advanced"
    nobody = (("anthropic", "off"), ("openai", "off"))
    highest = doubt._replace(at_least=Tier.FRONTIER)
    with entered(evidence=(highest,), unavailable=nobody), pytest.raises(NoCandidate, match="doubted"):
        model.invoke("Where is order 7?")


CALL = {"name": "drop_table", "args": {"name": "users"}, "id": "c1"}


def test_what_tools_did_earlier_is_remembered_by_the_replies_that_called_them(
    runtime: Runtime, simulator: Simulator
) -> None:
    """A step without tools that goes on with a transcript knows what was done in it."""
    plain = RoutedChatModel(dispatcher=runtime.dispatcher)
    simulator.scenario = Scenario(rules=(Rule(answer=looking),))
    read = agent(runtime, look_up).invoke("Where is order 7?")["messages"]
    answer = plain.invoke([HumanMessage("Where?"), *read, HumanMessage("Put that in a table.")])
    assert answer.response_metadata["pointsman"]["risk"] == "low"

    simulator.scenario = Scenario(rules=(Rule(answer=Answer(tool_calls=(ToolCall("drop_table", {"name": "u"}),))),))
    called = plain.bind_tools([drop_table]).invoke("Drop the table.")
    done = [HumanMessage("Drop it."), called, ToolMessage("gone", tool_call_id=called.tool_calls[0]["id"])]
    simulator.scenario = Scenario()
    bound = plain.bind_tools([look_up])
    for model in (plain, bound):
        answer = model.invoke([*done, HumanMessage("Sum it up.")])
        assert answer.response_metadata["pointsman"]["risk"] == "medium"
        assert "transcript.destroyed" in hits(runtime)


def test_a_transcript_of_somebody_elses_whose_tools_nobody_declared_is_not_of_low_risk(runtime: Runtime) -> None:
    foreign = [
        HumanMessage("Tidy up."), AIMessage("", tool_calls=[CALL]), ToolMessage("gone", tool_call_id="c1"),
        HumanMessage("Sum it up."),
    ]  # fmt: skip
    answer = RoutedChatModel(kind="transform", dispatcher=runtime.dispatcher).invoke(foreign)
    assert answer.response_metadata["pointsman"]["risk"] == "medium"


def test_a_typed_answer_in_a_transcript_is_no_act(runtime: Runtime, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=(Rule(answer=Answer(tool_calls=(ToolCall("Facts", {"name": "A", "amount": 1}),))),)
    )
    worker = agent(runtime, output=Facts)
    messages: list[Any] = [HumanMessage("A paid 1.")]
    for _ in range(3):
        messages += [*worker.invoke({"messages": messages})["messages"], HumanMessage("And B?")]
    assert tiers(runtime) == ["economy"] * 3


@pytest.mark.parametrize("name", ["heuristic", "learned", "nearest:mine.npz", "prompts"])
def test_a_policy_that_names_a_scorer_of_before_is_read_and_the_rules_decide(
    dispatcher: Callable[..., Any], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    home = dispatcher(routing__scorer=name)
    assert home.policy.scorer is None
    assert f"scorer: {name} is not used" in caplog.text
