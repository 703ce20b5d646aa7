"""Steps somebody waits badly for: a slow model gets a rival, and what the loser may have cost is not forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pointsman.agents.runs import run_scope
from pointsman.agents.runtime import Runtime
from pointsman.dispatch.calls.hedging import first_of
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.errors import AllFailed
from pointsman.dispatch.model import RoutedChatModel
from pointsman.simulator import Answer, Fault, Latency, Match, Rule, Scenario, Simulator

Make = Callable[..., Dispatcher]
RIVER = "It flows through Cambridge and Ely, and then to the sea."
SLOW = Scenario(rules=(Rule(match=Match(vendor="openai"), fault=Fault("hang")), Rule(answer=Answer(text=RIVER))))
# Far longer than any machine takes to send a request; a test that means them to pass sets the clock forward.
CALM = {"hedge": 300, "call": 3_000, "first_token": 3_000, "deadline": 30_000}
HEDGED = CALM["hedge"] + 1


def _model(home: Dispatcher, **facts: Any) -> RoutedChatModel:
    return RoutedChatModel(kind="transform", prefer="openai/gpt-5.4-mini", dispatcher=home, **facts)


async def test_a_step_that_is_not_critical_waits_for_the_slow_model(
    dispatcher: Make, simulator: Simulator, leap: Any
) -> None:
    simulator.scenario = SLOW
    home = dispatcher(routing__limits=CALM)
    with leap.when(lambda: len(simulator.log) == 1, CALM["call"] + 1):
        answer = await _model(home).ainvoke("Tell me about the Cam")
    assert answer.response_metadata["pointsman"]["failed"] == ["openai/gpt-5.4-mini: timeout"]
    assert answer.response_metadata["pointsman"]["attempt"] == 2


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_critical_step_asks_a_second_model_when_the_first_is_slow(
    dispatcher: Make, simulator: Simulator, leap: Any, streamed: bool
) -> None:
    simulator.scenario = SLOW
    home = dispatcher(routing__limits=CALM)
    model = _model(home, latency="critical")
    with leap.when(lambda: len(simulator.log) == 1, HEDGED):
        if streamed:
            text = "".join([str(chunk.text) async for chunk in model.astream("Tell me about the Cam")])
        else:
            text = (await model.ainvoke("Tell me about the Cam")).text
    assert text == RIVER
    lost, won = sorted(home.ledger.calls(), key=lambda row: row.at)
    assert (lost.model, lost.failure, lost.detail) == (
        "openai/gpt-5.4-mini",
        "cancelled",
        "broken off: another model answered first",
    )
    assert won.failure is None
    assert won.model != lost.model


async def test_a_critical_step_that_is_answered_in_time_asks_nobody_else(
    dispatcher: Make, simulator: Simulator
) -> None:
    home = dispatcher(routing__limits=CALM)
    await _model(home, latency="critical").ainvoke("Tell me about the Cam")
    assert len(simulator.log) == 1


async def test_the_first_may_still_win_after_the_second_was_asked(
    dispatcher: Make, simulator: Simulator, leap: Any
) -> None:
    # The first answers after half an hour: it is under way when the second is asked, and then comes home.
    simulator.scenario = Scenario(
        rules=(
            Rule(match=Match(vendor="openai"), answer=Answer(text=RIVER), latency=Latency(ms=1_800_000)),
            Rule(fault=Fault("hang")),
        )
    )
    home = dispatcher(routing__limits=CALM)
    call = asyncio.create_task(_model(home, latency="critical").ainvoke("Tell me about the Cam"))
    while not simulator.log and not call.done():
        leap.forward(10)
        await asyncio.sleep(0.01)
    leap.forward(1_800)
    answer = await call
    assert answer.response_metadata["pointsman"]["model"] == "openai/gpt-5.4-mini"
    assert len(simulator.log) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_the_first_is_waited_for_when_the_second_finds_fault_with_the_request(
    dispatcher: Make, simulator: Simulator, leap: Any, *, stream: bool
) -> None:
    simulator.scenario = Scenario(
        rules=(
            Rule(match=Match(vendor="openai"), answer=Answer(text=RIVER), latency=Latency(ms=1_800_000)),
            Rule(fault=Fault("bad_request")),
        )
    )
    home = dispatcher(routing__limits=CALM)

    async def asked() -> str:
        model = _model(home, latency="critical")
        if stream:
            return "".join([chunk.text async for chunk in model.astream("Tell me about the Cam")])
        return str((await model.ainvoke("Tell me about the Cam")).text)

    call = asyncio.create_task(asked())
    while len(simulator.log) < 1 and not call.done():
        leap.forward(10)
        await asyncio.sleep(0.01)
    leap.forward(1_800)
    assert await call == RIVER
    assert [row.failure for row in home.ledger.calls()] == ["bad_request", None]


async def test_what_the_loser_may_have_cost_is_charged_and_nothing_stays_reserved(
    dispatcher: Make, simulator: Simulator, leap: Any
) -> None:
    simulator.scenario = SLOW
    home = dispatcher(routing__limits=CALM)
    runtime = Runtime(home.settings)
    runtime.__dict__["dispatcher"] = home
    with run_scope(runtime, "test", max_cost=1.0) as books, leap.when(lambda: len(simulator.log) == 1, HEDGED):
        answer = await _model(home, latency="critical").ainvoke("Tell me about the Cam")
    spent, reserved = home.budgets.totals(f"run:{books.id}")
    assert reserved == 0
    assert spent > answer.response_metadata["pointsman"]["cost"]


@pytest.mark.slow
async def test_when_both_fail_the_next_is_asked_until_nobody_is_left(
    dispatcher: Make, simulator: Simulator, leap: Any
) -> None:
    simulator.scenario = Scenario(rules=(Rule(fault=Fault("overloaded"), latency=Latency(ms=400_000)),))
    home = dispatcher(routing__limits={**CALM, "attempts": 4})
    with pytest.raises(AllFailed) as failed:
        await leap.through(_model(home, latency="critical").ainvoke("Tell me about the Cam"), 5)
    assert len(failed.value.failures) == 4


async def test_a_callers_cancellation_stops_both_and_both_are_recorded(
    dispatcher: Make, simulator: Simulator, leap: Any
) -> None:
    simulator.scenario = Scenario(rules=(Rule(fault=Fault("hang")),))
    home = dispatcher(routing__limits=CALM)
    call = asyncio.create_task(_model(home, latency="critical").ainvoke("Tell me about the Cam"))
    with leap.when(lambda: len(simulator.log) == 1, HEDGED):
        while len(simulator.log) < 2 and not call.done():
            await asyncio.sleep(0.02)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [row.failure for row in home.ledger.calls()] == ["cancelled", "cancelled"]


async def test_a_deadline_of_the_callers_own_bounds_the_step(dispatcher: Make, simulator: Simulator, leap: Any) -> None:
    simulator.scenario = Scenario(rules=(Rule(fault=Fault("hang")),))
    home = dispatcher(routing__limits=CALM)
    with leap.when(lambda: len(simulator.log) == 1, 121), pytest.raises(AllFailed, match="timeout"):
        await _model(home, deadline=120).ainvoke("Tell me about the Cam")
    assert len(simulator.log) == 1


async def test_an_error_of_ours_ends_the_race_at_once() -> None:
    ended = asyncio.Event()

    async def wait() -> str | None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return "late"

    async def fail() -> str | None:
        await asyncio.sleep(0.05)
        raise ZeroDivisionError

    async def second() -> Any:
        return fail()

    with pytest.raises(ZeroDivisionError):
        await first_of(wait(), second, 0.01)
    assert ended.is_set()
