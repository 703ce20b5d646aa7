"""A routed call over the real SDKs: which model runs, what happens when it fails, what is recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool as plain_tool
from pointsman import tool
from pointsman.backends.base import BackendError
from pointsman.configs.errors import ConfigError
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.errors import AllFailed, NoCandidate
from pointsman.dispatch.model import RoutedChatModel
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator
from pydantic import BaseModel

Make = Callable[..., Dispatcher]


class Ticket(BaseModel):
    """A support ticket."""

    subject: str
    urgent: bool


@tool(effect="read")
def order_status(order_id: str) -> str:
    """Look up an order."""
    return f"{order_id} is on its way"


@tool(effect="destructive")
def delete_order(order_id: str) -> str:
    """Delete an order."""
    return f"{order_id} is gone"


def _models(simulator: Simulator) -> list[str]:
    return [served.model for served in simulator.log]


def test_a_transform_without_tools_goes_to_the_economy_tier(dispatcher: Make, simulator: Simulator) -> None:
    home = dispatcher()
    answer = RoutedChatModel(kind="transform", dispatcher=home).invoke("Say hello to Ada")
    assert answer.response_metadata["pointsman"]["tier"] == "economy"
    assert _models(simulator) == ["gpt-5.4-mini"]


def test_a_destructive_tool_puts_the_step_on_the_frontier(dispatcher: Make, simulator: Simulator) -> None:
    model = RoutedChatModel(kind="decide", dispatcher=dispatcher()).bind_tools([delete_order])
    answer = model.invoke("Please be relaxed, this is harmless: what would you do about order 7?")
    assert answer.response_metadata["pointsman"]["risk"] == "high"
    assert _models(simulator) == ["claude-opus-4-7"]


def test_a_plain_langchain_tool_counts_as_destructive(dispatcher: Make, simulator: Simulator) -> None:
    @plain_tool
    def peek(order_id: str) -> str:
        """Peek at an order."""
        return order_id

    RoutedChatModel(kind="gather", dispatcher=dispatcher()).bind_tools([peek]).invoke("Look at order 7")
    assert _models(simulator) == ["claude-opus-4-7"]


def test_an_output_schema_is_not_a_tool_that_acts(dispatcher: Make, simulator: Simulator) -> None:
    model = RoutedChatModel(kind="transform", dispatcher=dispatcher()).with_structured_output(Ticket)
    ticket = model.invoke('Subject "Late parcel", not urgent')
    assert isinstance(ticket, Ticket)
    assert _models(simulator) == ["gpt-5.4-mini"]


def test_without_fallback_an_overloaded_provider_fails_the_step(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(match=Match(vendor="openai"), fault=Fault("overloaded"))])
    home = dispatcher(routing__limits={"attempts": 1})
    with pytest.raises(AllFailed, match=r"gpt-5\.4-mini: overloaded"):
        RoutedChatModel(kind="transform", dispatcher=home).invoke("Say hello to Ada")


def test_an_overloaded_provider_is_replaced_by_another_vendor(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(match=Match(vendor="openai"), fault=Fault("overloaded"))])
    home = dispatcher()
    answer = RoutedChatModel(kind="transform", dispatcher=home).invoke("Say hello to Ada")
    account = answer.response_metadata["pointsman"]
    assert account["attempt"] == 2
    assert account["failed"] == ["openai/gpt-5.4-mini: overloaded"]
    assert [served.vendor for served in simulator.log] == ["openai", "anthropic"]
    failed, answered = sorted(home.ledger.calls(), key=lambda row: row.attempt)
    assert (failed.failure, failed.cost) == ("overloaded", None)
    assert (answered.failure, answered.model) == (None, "anthropic/claude-haiku-4-5")


def test_an_answer_that_breaks_its_schema_goes_to_a_stronger_model(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(match=Match(vendor="openai"), fault=Fault("bad_tool_arguments"))])
    home = dispatcher()
    model = RoutedChatModel(kind="transform", dispatcher=home).with_structured_output(Ticket)
    assert isinstance(model.invoke('Subject "Late parcel", not urgent'), Ticket)
    tiers = [row.tier for row in sorted(home.ledger.calls(), key=lambda row: row.attempt)]
    assert tiers == ["economy", "standard"]


def test_a_model_that_was_not_asked_is_never_reported_as_the_one_that_ran(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(
        rules=[Rule(match=Match(vendor="openai"), answer=Answer(text="hi", model="gpt-5.4-nano"))]
    )
    home = dispatcher()
    RoutedChatModel(kind="transform", dispatcher=home).invoke("Say hello to Ada")
    first = min(home.ledger.calls(), key=lambda row: row.attempt)
    assert (first.failure, first.answered_by) == ("wrong_model", "gpt-5.4-nano")


def test_a_request_that_two_providers_refuse_goes_to_no_third_and_both_reasons_are_told(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=[Rule(fault=Fault("bad_request"))])
    with pytest.raises(BackendError) as caught:
        RoutedChatModel(kind="transform", dispatcher=dispatcher()).invoke("Say hello to Ada")
    assert caught.value.kind == "bad_request"
    asked = [served.vendor for served in simulator.log]
    assert len(asked) == len(set(asked)) == 2
    assert str(caught.value).count("bad_request (") == 2


def test_a_request_that_one_provider_refuses_for_no_known_reason_is_asked_of_another(
    dispatcher: Make, simulator: Simulator
) -> None:
    refused = Fault("bad_request", message="code 0x7f")
    simulator.scenario = Scenario(rules=[Rule(match=Match(vendor="openai"), fault=refused)])
    home = dispatcher()
    answer = RoutedChatModel(kind="transform", dispatcher=home).invoke("Say hello to Ada")
    assert [served.vendor for served in simulator.log].count("openai") == 1
    assert answer.response_metadata["pointsman"]["failed"] == ["openai/gpt-5.4-mini: bad_request"]
    assert [row.failure for row in sorted(home.ledger.calls(), key=lambda row: row.attempt)] == ["bad_request", None]


def test_a_policy_may_end_the_step_at_the_first_refusal(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(fault=Fault("bad_request"))])
    home = dispatcher(routing__on_failure__bad_request="stop")
    with pytest.raises(BackendError):
        RoutedChatModel(kind="transform", dispatcher=home).invoke("Say hello to Ada")
    assert len(simulator.log) == 1


def test_a_refusal_of_a_stream_goes_once_to_another_provider_too(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(fault=Fault("bad_request"))])
    with pytest.raises(BackendError) as caught:
        list(RoutedChatModel(kind="transform", dispatcher=dispatcher()).stream("Say hello to Ada"))
    assert (caught.value.kind, len(simulator.log)) == ("bad_request", 2)


@pytest.mark.parametrize("error", [TypeError("odd"), ImportError("no module named so"), RuntimeError("odd")])
def test_a_client_that_cannot_be_built_is_the_next_candidates_turn(
    dispatcher: Make, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    home = dispatcher()
    monkeypatch.setattr("langchain_openai.ChatOpenAI.__init__", broken)
    answer = RoutedChatModel(kind="transform", dispatcher=home).invoke("Say hello to Ada")
    (skipped,) = answer.response_metadata["pointsman"]["skipped"][:1]
    assert skipped.startswith("openai/gpt-5.4-mini: its client cannot be built: " + type(error).__name__)
    assert "openai" not in [served.vendor for served in simulator.log]


def test_where_no_client_can_be_built_the_mistake_of_the_best_candidate_is_told(
    dispatcher: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def broken(client: object, *_: object, **__: object) -> None:
        built.append(type(client).__name__)
        raise ConfigError(f"mistake {len(built)}")

    for client in ("openai.ChatOpenAI", "anthropic.ChatAnthropic", "google_genai.ChatGoogleGenerativeAI"):
        monkeypatch.setattr(f"langchain_{client}.__init__", broken)
    with pytest.raises(ConfigError, match="mistake 1"):
        RoutedChatModel(kind="transform", dispatcher=dispatcher()).invoke("Say hello to Ada")
    assert len(built) > 1


@pytest.mark.parametrize("instructed", [True, False])
def test_a_general_model_reads_two_examples_of_each_label_in_its_instructions(
    dispatcher: Make, simulator: Simulator, tmp_path: Any, instructed: bool
) -> None:
    seen: list[list[tuple[str, str]]] = []

    def answer(request: Any) -> Answer:
        seen.append([(message.role, message.text) for message in request.messages])
        return Answer(text="glad")

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    file = tmp_path / "mood.csv"
    file.write_text("text,label\nWhat joy,glad\nAlas,sad\nHurrah,glad\nSplendid,glad\n", encoding="utf-8")
    model = RoutedChatModel(kind="transform", dispatcher=dispatcher(), examples={"mood": str(file)})
    model.invoke([("system", "Be brief."), ("human", "Oh dear")] if instructed else "Oh dear")
    shown = "Examples for mood:\n- What joy -> glad\n- Hurrah -> glad\n- Alas -> sad"
    assert seen == [[("system", f"Be brief.\n\n{shown}" if instructed else shown), ("user", "Oh dear")]]


def test_examples_that_cannot_be_read_are_a_mistake_of_the_users(dispatcher: Make, simulator: Simulator) -> None:
    model = RoutedChatModel(kind="transform", dispatcher=dispatcher(), examples={"mood": "nowhere.csv"})
    with pytest.raises(ConfigError, match=r"nowhere.csv: cannot read the examples: No such file"):
        model.invoke("Oh dear")
    assert len(simulator.log) == 0


def test_with_no_key_at_all_the_error_says_which_to_set(tmp_path: Any) -> None:
    from pointsman.configs.loading.loader import load

    home = Dispatcher(load(tmp_path, environ={}))
    with pytest.raises(NoCandidate, match="set ANTHROPIC_API_KEY"):
        RoutedChatModel(kind="decide", tier="frontier", dispatcher=home).invoke("May I?")
    home.ledger.close()


def test_a_high_risk_step_never_falls_below_its_floor(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=[
            Rule(match=Match(model="*opus*"), fault=Fault("overloaded")),
            Rule(match=Match(model="*-pro"), fault=Fault("overloaded")),
        ]
    )
    model = RoutedChatModel(kind="decide", dispatcher=dispatcher()).bind_tools([delete_order])
    with pytest.raises(AllFailed):
        model.invoke("What would you do about order 7?")
    assert set(_models(simulator)) <= {"claude-opus-4-7", "gpt-5.5-pro"}


def test_the_ledger_agrees_with_what_the_provider_served(dispatcher: Make, simulator: Simulator) -> None:
    home = dispatcher()
    for kind, tier in (("transform", None), ("decide", None), ("decide", "advanced"), ("decide", "frontier")):
        RoutedChatModel(kind=kind, tier=tier, dispatcher=home).invoke("Say hello to Ada")
    rows = sorted(home.ledger.calls(), key=lambda row: row.at)
    assert [row.answered_by for row in rows] == [served.answered for served in simulator.log]
    for row, served in zip(rows, simulator.log, strict=True):
        assert row.usage is not None
        assert (row.usage.input, row.usage.output) == (served.input_tokens, served.output_tokens)
        assert Decimal(row.cost or 0) / 10**12 == pytest.approx(Decimal(str(served.cost_usd)), abs=Decimal("1e-12"))


def test_every_decision_is_recorded_with_its_reasons(dispatcher: Make) -> None:
    home = dispatcher()
    RoutedChatModel(kind="transform", dispatcher=home).invoke("Say hello to Ada")
    (decision,) = home.ledger.decisions()
    assert decision.model == "openai/gpt-5.4-mini"
    assert {
        "model": "deepseek/deepseek-v4-flash",
        "reason": "no key: set DEEPSEEK_API_KEY",
        "code": "no_key",
        "needs": "DEEPSEEK_API_KEY",
    } in json.loads(decision.rejected)


def test_a_stream_gives_the_answer_in_pieces_and_tells_what_ran(dispatcher: Make) -> None:
    home = dispatcher()
    whole: AIMessageChunk | None = None
    pieces = 0
    for chunk in RoutedChatModel(kind="transform", dispatcher=home).stream("Tell me about the river Cam"):
        assert isinstance(chunk, AIMessageChunk)
        whole = chunk if whole is None else whole + chunk
        pieces += bool(chunk.text)
    assert whole is not None
    assert pieces > 1
    assert whole.response_metadata["pointsman"]["model"] == "openai/gpt-5.4-mini"


class Count(BaseModel):
    """A count."""

    numbers: str


@pytest.mark.slow
@pytest.mark.parametrize("typed", [False, True])
def test_a_stream_of_thousands_of_chunks_is_whole(dispatcher: Make, serve: Callable[..., str], typed: bool) -> None:
    pieces = [f"{number} " for number in range(2_500)]
    if typed:
        block: dict[str, Any] = {"type": "tool_use", "id": "t", "name": "Count", "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in ('{"numbers": "', *pieces, '"}')]
    else:
        block, deltas = {"type": "text", "text": ""}, [{"type": "text_delta", "text": part} for part in pieces]
    usage = {"input_tokens": 3, "output_tokens": 5_000}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "content": []}
    events = [
        {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use" if typed else "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    ]
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
    url = serve(lambda _: (200, {"content-type": "text/event-stream"}, body))
    home = dispatcher(providers__anthropic__base_url=url)
    model: Any = RoutedChatModel(prefer="anthropic/claude-haiku-4-5", tier="economy", kind="transform", dispatcher=home)
    if typed:
        assert list(model.with_structured_output(Count).stream("Count"))[-1].numbers == "".join(pieces)
    else:
        chunks = list(model.stream("Count"))
        assert len(chunks) > 2_500
        assert "".join(chunk.text for chunk in chunks) == "".join(pieces)
    (row,) = home.ledger.calls()
    assert (row.failure, row.usage.output) == (None, 5_000)  # type: ignore[union-attr]  # it is told


@pytest.mark.parametrize("kind", ["cut_stream", "tidy_cut"])
def test_a_stream_that_breaks_after_its_first_words_is_reported(
    dispatcher: Make, simulator: Simulator, kind: str
) -> None:
    simulator.scenario = Scenario(rules=[Rule(match=Match(vendor="openai"), fault=Fault(kind, after_chunks=3))])
    with pytest.raises(BackendError):
        list(RoutedChatModel(kind="transform", dispatcher=dispatcher()).stream("Tell me about the river Cam"))


def test_a_stream_that_fails_before_its_first_word_moves_on(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(match=Match(vendor="openai"), fault=Fault("overloaded"))])
    chunks = list(RoutedChatModel(kind="transform", dispatcher=dispatcher()).stream("Tell me about the river Cam"))
    assert "".join(str(chunk.text) for chunk in chunks)
    assert [served.vendor for served in simulator.log] == ["openai", "anthropic"]


async def test_it_works_inside_create_agent_and_its_tools_run(dispatcher: Make, simulator: Simulator) -> None:
    from langchain.agents import create_agent

    agent = create_agent(RoutedChatModel(kind="gather", dispatcher=dispatcher()), [order_status])
    state = await agent.ainvoke({"messages": [("user", 'Use order_status for order "A-17" please')]})
    assert "A-17 is on its way" in str([m.content for m in state["messages"] if m.type == "tool"])


async def test_it_works_inside_a_bare_state_graph(dispatcher: Make) -> None:
    from langgraph.graph import END, START, MessagesState, StateGraph

    model = RoutedChatModel(kind="transform", dispatcher=dispatcher())

    async def talk(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("talk", talk)
    builder.add_edge(START, "talk")
    builder.add_edge("talk", END)
    state = await builder.compile().ainvoke({"messages": [("user", "hello")]})
    assert state["messages"][-1].response_metadata["pointsman"]["model"] == "openai/gpt-5.4-mini"
