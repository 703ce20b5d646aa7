"""Faults over the real SDKs: what heals unseen, what is reported, and what a cap allows."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk
from pointsman.agents.runs import run_scope
from pointsman.agents.runtime import Runtime
from pointsman.backends.base import BackendError
from pointsman.configs.schema import Limits
from pointsman.dispatch.calls.retraction import retractable, retracting, retracts
from pointsman.dispatch.calls.stream import Streamed, bounded
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.errors import AllFailed
from pointsman.dispatch.model import RoutedChatModel
from pointsman.ledger.budgets.budgets import BudgetExceeded
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator

Make = Callable[..., Dispatcher]
RIVER = "It flows through Cambridge and Ely, and then to the sea."


def _primary(fault: Fault, **match: Any) -> Scenario:
    return Scenario(rules=(Rule(match=Match(vendor="openai", **match), fault=fault), Rule(answer=Answer(text=RIVER))))


def _model(home: Dispatcher, **facts: Any) -> RoutedChatModel:
    return RoutedChatModel(kind="transform", dispatcher=home, **facts)


@contextmanager
def capped(home: Dispatcher, max_cost: float) -> Iterator[str]:
    """A run with a cap over a dispatcher."""
    runtime = Runtime(home.settings)
    runtime.__dict__["dispatcher"] = home
    with run_scope(runtime, "test", max_cost=max_cost) as books:
        yield books.id


async def test_what_one_provider_refuses_another_is_asked_however_much_less_its_model_takes(
    dispatcher: Make, simulator: Simulator
) -> None:
    refusing = Rule(match=Match(vendor="openai"), fault=Fault("bad_request"))
    simulator.scenario = Scenario(rules=(refusing, Rule(answer=Answer(text=RIVER))))
    home = dispatcher()
    assert (await _model(home, prefer="openai/gpt-5.5").ainvoke("Tell me about the Cam")).text == RIVER
    home.ledger.flush()
    tried, answered = (home.cards[row.model] for row in home.ledger.calls())
    assert (tried.id, answered.provider == "openai") == ("openai/gpt-5.5", False)
    assert (answered.context or 0) < (tried.context or 0)


async def test_where_a_conversation_is_too_long_for_a_model_only_models_that_take_more_are_asked(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=(Rule(fault=Fault("context_overflow")),))
    home = dispatcher(routing__limits={"attempts": 9}, models={"google/gemini-3.5-flash": {"context": 1_048_576}})
    with pytest.raises(AllFailed):
        await _model(home, prefer="google/gemini-3.5-flash").ainvoke("Tell me about the Cam")
    asked = [row.model for row in home.ledger.calls()]
    # Others take as much, or nearly.
    assert asked == ["google/gemini-3.5-flash", "openai/gpt-5.5"]


async def test_a_model_of_unknown_context_takes_no_more_than_another_of_unknown_context(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=(Rule(fault=Fault("context_overflow")),))
    unknown = ["openai/mystery", "openai/riddle"]
    home = dispatcher(
        models={name: {"tier": "economy", "max_output": 4000} for name in unknown},
        routing__approved=unknown,
    )
    with pytest.raises(AllFailed):
        await _model(home, prefer="openai/mystery").ainvoke("Tell me about the Cam")
    assert [row.model for row in home.ledger.calls()] == ["openai/mystery"]


@pytest.mark.slow
async def test_a_dead_primary_is_soon_left_alone(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = _primary(Fault("overloaded"))
    home = dispatcher()
    for _ in range(60):
        assert (await _model(home).ainvoke("Tell me about the Cam")).text == RIVER
    asked = sum(served.vendor == "openai" for served in simulator.log)
    assert asked <= 5
    (ill,) = [state for state in home.health.states() if state.key.provider == "openai"]
    assert ill.state == "open"


async def test_the_only_model_there_is_is_waited_for_while_its_provider_limits_its_rate(
    dispatcher: Make, simulator: Simulator, leap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = Rule(match=Match(first=1), fault=Fault("rate_limit", retry_after=30))
    simulator.scenario = Scenario(rules=(limited, Rule(answer=Answer(text=RIVER))))
    home = dispatcher(routing__approved=["openai/gpt-5.4-mini"], routing__limits={"deadline": 600})
    monkeypatch.setattr(home.health, "_clock", leap.now)
    with pytest.raises(AllFailed):
        await _model(home).ainvoke("Tell me about the Cam")
    assert (await leap.through(_model(home).ainvoke("Tell me about the Cam"), step=1)).text == RIVER


async def test_a_hung_provider_is_left_for_the_next_in_time(dispatcher: Make, simulator: Simulator, leap: Any) -> None:
    simulator.scenario = _primary(Fault("hang"))
    home = dispatcher(routing__limits={"call": 120})
    with leap.when(lambda: len(simulator.log) == 1, 121):
        answer = await _model(home).ainvoke("Tell me about the Cam")
    assert answer.text == RIVER
    assert answer.response_metadata["pointsman"]["failed"] == ["openai/gpt-5.4-mini: timeout"]


async def test_the_same_model_is_asked_again_after_a_pause_that_others_do_not_have_too(
    dispatcher: Make, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.scenario = _primary(Fault("overloaded"))
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def at_once(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    home = dispatcher(routing__on_failure={"overloaded": "retry"})
    await home.clients.ready(next(card for card in home.cards.values() if card.provider == "openai"))
    monkeypatch.setattr(asyncio, "sleep", at_once)
    monkeypatch.setattr(random, "random", lambda: 0.5)
    assert (await _model(home).ainvoke("Tell me about the Cam")).text == RIVER
    assert [pause for pause in pauses if pause] == [0.75]


async def test_a_stream_whose_words_wait_already_is_over_at_its_deadline_too() -> None:
    async def said() -> AsyncGenerator[AIMessageChunk]:
        yield AIMessageChunk(RIVER)

    now = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await anext(bounded(said(), now - 1, Limits()))
    assert [chunk.text async for chunk in bounded(said(), now + 600, Limits())] == [RIVER]


async def test_a_stream_may_be_silent_for_longer_before_its_first_words_than_after_them(leap: Any) -> None:
    async def said() -> AsyncGenerator[AIMessageChunk]:
        for text in ("", "words", "late"):
            yield AIMessageChunk(text)
            leap.forward(100)
            await asyncio.sleep(0.01)

    stream = bounded(said(), leap.now() + 10**6, Limits(first_token=3600, stall=60))
    assert [(await anext(stream)).text for _ in range(2)] == ["", "words"]
    with pytest.raises(TimeoutError):
        await anext(stream)


async def test_what_a_long_stream_says_is_put_together_now_and_then_and_not_at_every_chunk() -> None:
    class Counted(AIMessageChunk):
        def __add__(self, other: Any) -> Any:
            merged.append(other if isinstance(other, list) else [other])
            return super().__add__(other)

    async def said() -> AsyncGenerator[AIMessageChunk]:
        for _ in range(4_096):
            yield Counted("x")

    merged: list[Any] = []
    call: Any = SimpleNamespace(bill=SimpleNamespace(first_token=0.0))
    stream = Streamed(call, said(), hold_all=True)
    await stream.open()
    assert [chunk async for chunk in stream.ready()] == []
    assert len(merged) == 3
    assert len(stream.held) < 2_000
    assert stream.whole is not None
    assert stream.whole.text == "x" * 4_096


def test_a_chunk_that_withdraws_what_was_said_says_so_in_its_metadata_and_is_all_that_is_left() -> None:
    said = retractable(AIMessageChunk("It flows"))
    assert (said + retracting("m1")).response_metadata == {"pointsman_retracts": True}
    assert (said + retracting("m1") + AIMessageChunk("It ends")).text == "It ends"


async def test_a_stream_without_a_chunk_is_an_empty_answer() -> None:
    async def silent() -> AsyncGenerator[AIMessageChunk]:
        for chunk in ():
            yield chunk

    call: Any = SimpleNamespace(bill=SimpleNamespace(first_token=None))
    stream = Streamed(call, silent(), hold_all=False)
    await stream.open()
    assert [chunk async for chunk in stream.ready()] == []
    assert (stream.whole, stream.handed, stream.message().text) == (None, False, "")


async def test_the_deadline_holds_over_all_candidates(dispatcher: Make, simulator: Simulator, leap: Any) -> None:
    simulator.scenario = Scenario(rules=(Rule(fault=Fault("hang")),))
    home = dispatcher(routing__limits={"call": 120, "deadline": 200})
    with (
        leap.when(lambda: len(simulator.log) == 1, 121),
        leap.when(lambda: len(simulator.log) == 2, 80),
        pytest.raises(AllFailed, match="timeout"),
    ):
        await _model(home).ainvoke("Tell me about the Cam")
    assert len(simulator.log) == len(home.ledger.calls()) == 2


async def test_a_stream_that_breaks_before_anything_of_it_was_handed_out_is_answered_by_another_unseen(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = _primary(Fault("cut_stream", after_chunks=1))
    chunks = [chunk async for chunk in _model(dispatcher()).astream("Tell me about the Cam")]
    assert "".join(chunk.text for chunk in chunks) == RIVER
    assert not any(retracts(chunk) for chunk in chunks)


@pytest.mark.parametrize("kind", ["cut_stream", "tidy_cut", "error_in_stream", "malformed_json"])
async def test_a_broken_stream_is_withdrawn_and_answered_anew(
    dispatcher: Make, simulator: Simulator, kind: Any
) -> None:
    simulator.scenario = _primary(Fault(kind, after_chunks=4))
    shown: list[str] = []
    whole: AIMessageChunk | None = None
    async for chunk in _model(dispatcher(), on_cut="retract").astream("Tell me about the Cam"):
        assert isinstance(chunk, AIMessageChunk)
        whole = chunk if whole is None else whole + chunk
        if retracts(chunk):
            shown.clear()
        shown.append(str(chunk.text))
    assert whole is not None
    assert str(whole.text) == "".join(shown) == RIVER
    assert whole.response_metadata["pointsman"]["model"] == "anthropic/claude-haiku-4-5"


async def test_a_stalled_stream_is_withdrawn_and_answered_anew(
    dispatcher: Make, simulator: Simulator, leap: Any
) -> None:
    simulator.scenario = _primary(Fault("stall", after_chunks=4))
    home = dispatcher(routing__limits={"stall": 120, "first_token": 10**6, "call": 10**6, "deadline": 10**6})
    stream = _model(home, on_cut="retract").astream("Tell me about the Cam")
    chunks: list[Any] = [await anext(stream)]
    while not retracts(chunks[-1]):
        chunks.append(await leap.through(anext(stream), 10))
    chunks += [chunk async for chunk in stream]
    begin = max(place for place, chunk in enumerate(chunks) if retracts(chunk))
    assert "".join(str(chunk.text) for chunk in chunks[begin:]) == RIVER


async def test_a_stall_is_a_time_out_too_in_a_task_that_goes_on_after_a_cancellation(
    dispatcher: Make, simulator: Simulator, leap: Any
) -> None:
    simulator.scenario = _primary(Fault("stall", after_chunks=4))
    home = dispatcher(routing__limits={"stall": 120, "first_token": 10**6, "call": 10**6, "deadline": 10**6})
    chunks: list[Any] = []

    async def reader() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        async for chunk in _model(home, on_cut="retract").astream("Tell me about the Cam"):
            chunks.append(chunk)  # noqa: PERF401 - seen as they come

    task = asyncio.create_task(reader())
    await asyncio.sleep(0)
    task.cancel()
    with leap.when(lambda: len(chunks) > 1, 121):
        await task
    begin = max(place for place, chunk in enumerate(chunks) if retracts(chunk))
    assert "".join(str(chunk.text) for chunk in chunks[begin:]) == RIVER


async def test_what_a_broken_stream_had_used_is_charged(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = _primary(Fault("cut_stream", after_chunks=4))
    home = dispatcher()
    with capped(home, max_cost=1.0) as run:
        with pytest.raises(BackendError):
            async for _ in _model(home).astream("Tell me about the Cam"):
                pass
        spent, reserved = home.budgets.totals(f"run:{run}")
    assert spent > 0
    assert reserved == 0


@pytest.mark.slow
async def test_parallel_calls_never_pass_the_cap_and_use_nearly_all_of_it(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=(Rule(answer=Answer(text=RIVER), latency=20),))
    home = dispatcher()
    cap = 0.02
    done: list[int] = []

    async def branch() -> None:
        try:
            answer = await _model(home, max_output=64).ainvoke("Tell me about the Cam")
        except BudgetExceeded:
            return
        done.append(answer.response_metadata["pointsman"]["cost"])

    with capped(home, max_cost=cap) as run:
        await asyncio.gather(*(branch() for _ in range(400)))
        spent, reserved = home.budgets.totals(f"run:{run}")
    assert reserved == 0
    assert spent == sum(done)
    assert 0.95 * cap <= spent / 10**12 <= cap


async def test_a_model_of_unknown_price_is_not_used_under_a_cap(dispatcher: Make, simulator: Simulator) -> None:
    home = dispatcher(models={"openai/mystery": {"tier": "economy", "context": 9000, "max_output": 4000}})
    model = RoutedChatModel(kind="transform", prefer="openai/mystery", dispatcher=home)
    with capped(home, max_cost=1.0):
        answer = await model.ainvoke("Tell me about the Cam")
    assert answer.response_metadata["pointsman"]["model"] == "openai/gpt-5.4-mini"


async def test_a_cancelled_call_is_recorded_and_charged_as_reserved(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=(Rule(fault=Fault("hang")),))
    home = dispatcher()
    with capped(home, max_cost=1.0) as run:
        call = asyncio.create_task(_model(home).ainvoke("Tell me about the Cam"))
        async with asyncio.timeout(240):
            while not simulator.log:
                await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        spent, reserved = home.budgets.totals(f"run:{run}")
    (row,) = home.ledger.calls(run=run)
    assert (row.failure, row.cost, reserved) == ("cancelled", spent, 0)
    assert spent > 0


async def test_a_conversation_begun_at_one_vendor_goes_on_at_another(dispatcher: Make, simulator: Simulator) -> None:
    from langchain.agents import create_agent
    from pointsman import tool

    @tool(effect="read")
    def order_status(order_id: str) -> str:
        """Look up an order."""
        return f"{order_id} is on its way"

    # The first turn is OpenAI's, with its ids; the second fails there, and goes to a model elsewhere.
    simulator.scenario = Scenario(rules=(Rule(match=Match(vendor="openai", after=1), fault=Fault("overloaded")),))
    agent: Any = create_agent(RoutedChatModel(kind="gather", dispatcher=dispatcher()), [order_status])
    state = await agent.ainvoke({"messages": [("user", 'Use order_status for order "A-17" please')]})
    assert "on its way" in str(state["messages"][-1].text)
    assert [served.vendor for served in simulator.log] == ["openai", "openai", "anthropic"]


async def test_without_a_cache_the_same_question_is_asked_again(dispatcher: Make, simulator: Simulator) -> None:
    home = dispatcher()
    for _ in range(2):
        await _model(home).ainvoke("Tell me about the Cam")
    assert len(simulator.log) == 2


async def test_with_a_cache_the_same_question_costs_nothing_the_second_time(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=(Rule(answer=Answer(text=RIVER)),))
    home = dispatcher(routing__cache={"mode": "exact"})
    first, second = [await _model(home).ainvoke("Tell me about the Cam") for _ in range(2)]
    streamed = [chunk async for chunk in _model(home).astream("Tell me about the Cam")]
    assert first.text == second.text == "".join(str(chunk.text) for chunk in streamed) == RIVER
    assert len(simulator.log) == 1
    assert [row.cost for row in home.ledger.calls() if row.finish == "cached"] == [0, 0]


async def test_an_answer_is_not_given_again_once_what_its_models_are_configured_with_has_changed(
    dispatcher: Make, simulator: Simulator
) -> None:
    for options in ({"seed": 7}, {"seed": 8}, {"seed": 7}):
        home = dispatcher(routing__cache={"mode": "exact"}, models={"openai/gpt-5.4-mini": {"options": options}})
        await _model(home).ainvoke("Tell me about the Cam")
        home.close()
    home = dispatcher(routing__cache={"mode": "exact"}, providers__openai__options={"reasoning_effort": "high"})
    await _model(home).ainvoke("Tell me about the Cam")
    assert len(simulator.log) == 3


def test_options_in_another_order_are_the_same_configuration(dispatcher: Make) -> None:
    options = {"temperature": 0.5, "max_tokens": 500}
    made = [
        dispatcher(**{"models.openai/gpt-5.4-mini.options": dict(given)}).clients.settled
        for given in (options.items(), reversed(options.items()), [("temperature", 0.5)])
    ]
    assert made[0] == made[1] != made[2]


async def test_answers_of_one_user_are_not_given_to_another(dispatcher: Make, simulator: Simulator) -> None:
    home = dispatcher(routing__cache={"mode": "exact"})
    runtime = Runtime(home.settings)
    runtime.__dict__["dispatcher"] = home
    for user in ("ada", "bob", "ada"):
        with run_scope(runtime, "test", user=user):
            await _model(home).ainvoke("Tell me about the Cam")
    assert len(simulator.log) == 2


async def test_a_provider_switched_off_is_not_asked_until_it_is_on_again(
    dispatcher: Make, simulator: Simulator
) -> None:
    home = dispatcher()
    home.overrides.off("openai", time.time() + 3600, "rotating keys")
    answer = await _model(home).ainvoke("Tell me about the Cam")
    assert answer.response_metadata["pointsman"]["model"] == "anthropic/claude-haiku-4-5"
    home.overrides.on("openai")
    answer = await _model(home).ainvoke("Tell me about the Cam")
    assert answer.response_metadata["pointsman"]["model"] == "openai/gpt-5.4-mini"


async def test_a_long_prompt_of_an_agent_is_kept_at_the_vendor_and_its_price_shows_it(
    dispatcher: Make, simulator: Simulator
) -> None:
    from pointsman import tool

    @tool(effect="read")
    def order_status(order_id: str) -> str:
        """Look up an order."""
        return order_id

    home = dispatcher()
    model = RoutedChatModel(kind="gather", prefer="anthropic/claude-haiku-4-5", dispatcher=home)
    manual = "The clerk looks at the order first and then at the customer. " * 400
    for _ in range(2):
        await model.bind_tools([order_status]).ainvoke([("system", manual), ("user", "What comes first?")])
    first, second = sorted(home.ledger.calls(), key=lambda row: row.at)
    assert first.usage is not None
    assert second.usage is not None
    assert (first.usage.cache_write > 0, second.usage.cache_read > 0) == (True, True)
    assert (second.cost or 0) < (first.cost or 0) / 5


OUTAGE = Scenario(rules=(Rule(fault=Fault("overloaded")),))


async def test_without_an_old_answer_allowed_an_outage_ends_the_step(dispatcher: Make, simulator: Simulator) -> None:
    home = dispatcher(routing__cache={"mode": "exact", "ttl": 1e-9})
    await _model(home).ainvoke("Tell me about the Cam")
    simulator.scenario = OUTAGE
    with pytest.raises(AllFailed):
        await _model(home).ainvoke("Tell me about the Cam")


async def test_an_old_answer_to_a_question_like_it_stands_in_when_every_model_failed(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=(Rule(answer=Answer(text=RIVER)),))
    home = dispatcher(routing__cache={"mode": "exact", "ttl": 1e-9, "fallback": 0.6})
    await _model(home).ainvoke("Tell me something about the river Cam")
    simulator.scenario = OUTAGE
    answer = await _model(home).ainvoke("Tell me about the river Cam")
    streamed = [chunk async for chunk in _model(home).astream("Tell me about the river Cam")]
    assert answer.text == "".join(str(chunk.text) for chunk in streamed) == RIVER
    assert answer.response_metadata["pointsman_cache"]["kind"] == "similar"
    assert answer.response_metadata["pointsman"]["failed"]
    with pytest.raises(AllFailed):
        await _model(home).ainvoke("Which wine goes with trout?")
