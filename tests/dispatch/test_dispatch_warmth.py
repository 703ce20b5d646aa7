"""Which conversation lies warm where: how it is known again, for how long, and whether providers agree."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from pointsman import tool
from pointsman.configs.catalogue import Usage
from pointsman.configs.loader import load
from pointsman.configs.schema import ProviderEntry
from pointsman.configs.words import StepKind, Tier
from pointsman.dispatch.ask import Ask, route_request
from pointsman.dispatch.context import StepContext
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.model import RoutedChatModel
from pointsman.dispatch.warmth import Warmth, conversation
from pointsman.ledger.rows import CallRow
from pointsman.routing.decide import decide
from pointsman.routing.request import Circumstances

NOW = 1_800_000_000.0
USAGE = Usage(2_000, 10)
ITSELF = ProviderEntry(backend="x", cache_ttl=300.0, cache_least=1024)
FORGETFUL = ProviderEntry(backend="x")


def call(model: str = "a/x", *, usage: Usage | None = USAGE, at: float = NOW) -> CallRow:
    return CallRow("c", "d", "", "", "", 1, model, "economy", "low", at, usage=usage)


@tool(effect="read")
def order_status(order_id: str) -> str:
    """Look up an order."""
    return f"{order_id} is on its way"


def said(*texts: str) -> list[BaseMessage]:
    """A system prompt and a conversation."""
    turns = [HumanMessage(text) if place % 2 == 0 else AIMessage(text) for place, text in enumerate(texts[1:])]
    return [SystemMessage(texts[0]), *turns]


def test_a_conversation_is_known_again_while_it_goes_on() -> None:
    begun = conversation(said("Be brief.", "Hello"))
    assert conversation(said("Be brief.", "Hello", "Hi.", "And now?")) == begun
    parts = [SystemMessage("Be brief."), HumanMessage([{"type": "text", "text": "Hello"}])]
    assert conversation(parts) == begun


def test_another_prompt_question_or_tool_makes_it_another_conversation() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("look", "take")]
    long = "x" * 10_000
    keys = [
        conversation(said("Be brief.", "Hello")),
        conversation(said("Be brief.", "Hallo")),
        conversation(said("Be long.", "Hello")),
        conversation(said("Be brief.", "Hello"), tools),
        conversation(said("Be brief.", "Hello"), tools[:1]),
        conversation([HumanMessage("Hello")]),
        conversation([SystemMessage("Hello")]),
        conversation(said(long, "Hello")),
        conversation(said(long + "x", "Hello")),
        conversation([]),
    ]
    assert len(set(keys)) == len(keys)


def test_a_prompt_is_warm_until_its_time_is_over_and_each_answer_renews_it() -> None:
    warmth = Warmth()
    warmth.noted(1, call("a/x"), 2_100, ITSELF, asked=False)
    assert warmth.of(1, NOW + 299) == {"a/x": 2_100}
    assert warmth.of(1, NOW + 300) == {}
    warmth.noted(1, call("a/x", at=NOW + 200), 2_500, ITSELF, asked=False)
    warmth.noted(1, call("b/y", at=NOW + 250), 2_600, ITSELF, asked=False)
    assert warmth.of(1, NOW + 320) == {"a/x": 2_500, "b/y": 2_600}
    assert warmth.last(1) == "b/y"
    assert (warmth.of(2, NOW), warmth.last(2)) == ({}, None)


def test_what_is_too_short_or_goes_where_nothing_is_kept_is_not_warm() -> None:
    warmth = Warmth()
    warmth.noted(1, call(usage=Usage(1_023, 10)), 1_100, ITSELF, asked=False)
    warmth.noted(2, call(), 2_000, FORGETFUL, asked=False)
    warmth.noted(3, call(usage=None), 2_000, ITSELF, asked=False)
    assert [(warmth.of(key, NOW), warmth.last(key)) for key in (1, 2, 3)] == [({}, None)] * 3
    # Who answered last is known all the same where another still holds it.
    warmth.noted(4, call("a/x"), 2_000, ITSELF, asked=False)
    warmth.noted(4, call("b/y"), 2_000, FORGETFUL, asked=False)
    assert (warmth.of(4, NOW), warmth.last(4)) == ({"a/x": 2_000}, "b/y")


def test_where_a_cache_has_to_be_asked_for_the_provider_says_how_much_it_kept() -> None:
    warmth = Warmth()
    warmth.noted(1, call(usage=Usage(4_000, 10, cache_read=1_000, cache_write=2_000)), 4_400, ITSELF, asked=True)
    assert warmth.of(1, NOW) == {"a/x": 3_300}
    warmth.noted(1, call(usage=Usage(4_000, 10)), 4_400, ITSELF, asked=True)
    assert warmth.of(1, NOW) == {}


def test_the_conversation_that_rested_longest_is_forgotten_first() -> None:
    warmth = Warmth(most=3)
    for key in (1, 2, 3, 1, 4):
        warmth.noted(key, call(), 2_000, ITSELF, asked=False)
    assert [bool(warmth.of(key, NOW)) for key in (1, 2, 3, 4)] == [True, False, True, True]


def test_threads_may_share_it() -> None:
    warmth, errors = Warmth(most=16), []

    def work() -> None:
        try:
            for number in range(3_000):
                warmth.noted(number % 40, call(f"a/{number % 7}"), 2_000, ITSELF, asked=False)
                assert all(tokens == 2_000 for tokens in warmth.of((number + 5) % 40, NOW).values())
                warmth.last(number % 40)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sum(bool(warmth.of(key, NOW)) for key in range(40)) <= 16


def test_the_built_in_providers_say_how_long_they_keep_a_prompt(tmp_path: Any) -> None:
    providers = load(tmp_path, environ={}).providers
    assert {name: (entry.cache_ttl, entry.cache_least) for name, entry in providers.items() if entry.cache_ttl} == {
        "anthropic": (300, 1024),
        "openai": (300, 1024),
        "google": (300, 4096),
        "deepseek": (3600, 1024),
        "vertex": (300, 2048),
    }


LONG = "You look after orders. " * 1_200
SHORT = "You look after orders."


@pytest.mark.parametrize(
    ("tier", "system", "tools", "warm"),
    [
        # OpenAI keeps a long prompt by itself, Anthropic where it is asked to: for agents' prompts, which come again.
        (Tier.ECONOMY, LONG, (), True),
        (Tier.ECONOMY, SHORT, (), False),
        (Tier.STANDARD, LONG, (order_status,), True),
        (Tier.STANDARD, LONG, (), False),
        (Tier.STANDARD, SHORT, (order_status,), False),
    ],
)
def test_what_is_held_to_be_warm_is_what_the_provider_reads_from_its_cache(
    dispatcher: Callable[..., Dispatcher], tier: Tier, system: str, tools: tuple[Any, ...], warm: bool
) -> None:
    home, warmth = dispatcher(), Warmth()
    model: Any = RoutedChatModel(kind=StepKind.GATHER, tier=tier, dispatcher=home)
    model = model.bind_tools(tools) if tools else model
    begun = said(system, "Hello, who are you?")
    key = conversation(begun)

    answer = model.invoke(begun)
    first = home.ledger.calls()[-1]
    card = home.cards[first.model]
    ask = Ask(begun, kind=StepKind.GATHER, tier=tier)
    tokens = home.policy.features(route_request(ask, StepContext(), "r")).tokens
    provider, asked = home.settings.providers[card.provider], bool(home.clients.backend(card).prompt_cache)
    warmth.noted(key, first, tokens, provider, asked=asked)
    held = warmth.of(key, first.at).get(first.model, 0)

    goes_on = [*begun, AIMessage(answer.text), HumanMessage("And who is Ada?")]
    assert conversation(goes_on) == key
    model.invoke(goes_on)
    usage = home.ledger.calls()[-1].usage
    assert usage is not None
    assert (held > 0, usage.cache_read > 0) == (warm, warm)
    if warm:
        assert held / tokens == pytest.approx(usage.cache_read / usage.input, abs=0.1)


def test_a_conversation_stays_with_the_dearer_model_that_answered_it_while_that_is_cheaper(
    dispatcher: Callable[..., Dispatcher],
) -> None:
    home, warmth = dispatcher(), Warmth()
    messages = said(LONG, "Hello, who are you?")
    key, ask = conversation(messages), Ask(messages, kind=StepKind.GATHER, tier=Tier.ADVANCED, max_output=100)
    features = home.policy.features(route_request(ask, StepContext(), "r"))

    def decided(now: float) -> str | None:
        warm = Circumstances(unavailable=home.unusable(), warm=warmth.of(key, now), last=warmth.last(key))
        return decide(features, home.policy, warm).model

    google, openai = "google/gemini-3.1-pro", "openai/gpt-5.5"
    assert decided(NOW) == google
    # While the others were out, the dearer model took over.
    for name in ("google", "anthropic"):
        home.switches.off(name, time.time() + 60)
    RoutedChatModel(kind=StepKind.GATHER, tier=Tier.ADVANCED, dispatcher=home).invoke(messages)
    for name in ("google", "anthropic"):
        home.switches.on(name)
    row = home.ledger.calls()[-1]
    assert row.model == openai
    warmth.noted(key, row, features.tokens, home.settings.providers["openai"], asked=False)
    assert decided(row.at + 299) == openai
    assert decided(row.at + 300) == google
