"""What calls have taught orders the next ones: over real HTTP, with the evidence told in the decision."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from pointsman import tool
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.model import RoutedChatModel
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator

Make = Callable[..., Dispatcher]
MANUAL = "The clerk looks at the order first and then at the customer. " * 400


@tool(effect="read")
def order_status(order_id: str) -> str:
    """Look up an order."""
    return order_id


def _hits(home: Dispatcher) -> list[dict[str, str]]:
    """Rule -> reason, for each decision in order."""
    return [{hit["id"]: hit["reason"] for hit in json.loads(row.rules)} for row in home.ledger.decisions()]


@pytest.mark.slow
@pytest.mark.parametrize("enabled", [False, True])
async def test_a_model_that_keeps_refusing_a_task_goes_behind_one_that_does_it(
    dispatcher: Make, simulator: Simulator, enabled: bool
) -> None:
    refusing = Rule(match=Match(model="*gpt-5.4-mini*"), fault=Fault("refusal"))
    simulator.scenario = Scenario(rules=(refusing, Rule(answer=Answer(text="Sorted."))))
    # Both are of one tier, and the refusing one is the cheaper.
    other = {"openai/gpt-5.4-nano": {"tier": "economy", "prices": {"input": 1, "output": 5, "as_of": "2026-11-21"}}}
    home = dispatcher(models=other, routing__history={"enabled": enabled, "least": 3})
    # What was learned is looked at again once a second.
    for wait in (0, 0, 0, 0, 0, 1.1, 0):
        await asyncio.sleep(wait)
        answer = await RoutedChatModel(task="sort", kind="transform", dispatcher=home).ainvoke("Sort the post")
        assert answer.text == "Sorted."
    asked_first = [row.model for row in home.ledger.decisions()]
    assert asked_first[0] == "openai/gpt-5.4-mini"
    assert (asked_first[-1] == "openai/gpt-5.4-mini") is not enabled
    told = _hits(home)[-1].get("history", "")
    assert told.startswith("openai/gpt-5.4-mini answered 0 % of") is enabled
    # Another task is another matter.
    fresh = RoutedChatModel(task="greet", kind="transform", dispatcher=home)
    await fresh.ainvoke("Say hello")
    assert home.ledger.decisions()[-1].model == "openai/gpt-5.4-mini"


async def test_a_conversation_stays_with_its_model_until_it_is_compacted(dispatcher: Make) -> None:
    home = dispatcher()
    conversation: list[Any] = [("system", "The clerk looks at the order first."), ("user", "What comes first?")]

    async def turn(**facts: Any) -> str:
        model = RoutedChatModel(kind="gather", tier="standard", dispatcher=home, **facts)
        answer = await model.bind_tools([order_status]).ainvoke(conversation)
        conversation.extend([answer, ("user", "And then?")])
        return str(answer.response_metadata["pointsman"]["model"])

    cheapest, other = "anthropic/claude-haiku-4-5", "google/gemini-3.5-flash"
    assert await turn() == cheapest
    conversation[1:] = [("user", "What is the first thing?")]
    assert await turn(prefer=other) == other
    assert [await turn() for _ in range(3)] == [other] * 3
    told = [hits for hits in _hits(home) if "conversation.stays" in hits]
    assert len(told) == 3
    # Compaction: what the model was shown is no longer how the conversation begins.
    conversation[1:3] = [("user", "In short: they asked what comes first.")]
    assert await turn() == cheapest
    conversation[1:] = [("user", "Who looks?")]
    assert await turn() == cheapest


async def test_a_conversation_whose_model_is_out_stays_where_it_went(dispatcher: Make, simulator: Simulator) -> None:
    home = dispatcher()
    model = RoutedChatModel(kind="gather", tier="standard", dispatcher=home)
    conversation: list[Any] = [("user", "What comes first?")]

    async def turn() -> str:
        answer = await model.ainvoke(conversation)
        conversation.extend([answer, ("user", "And then?")])
        return str(answer.response_metadata["pointsman"]["model"])

    cheapest, other = "anthropic/claude-haiku-4-5", "google/gemini-3.5-flash"
    assert await turn() == cheapest
    simulator.scenario = Scenario(rules=(Rule(match=Match(vendor="anthropic"), fault=Fault("overloaded")),))
    assert await turn() == other
    simulator.scenario = Scenario()
    assert [await turn() for _ in range(2)] == [other] * 2
