"""Who carries which conversation: how it is known again, and when it begins anew."""

from __future__ import annotations

import threading

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from pointsman.configs.catalog import ModelCard
from pointsman.configs.words import Tier
from pointsman.dispatch.conversation.prompt_cache import PromptCacheTracker, place_of

X, Y = ModelCard("a/x", "a", "x", Tier.ECONOMY), ModelCard("b/y", "b", "y", Tier.ECONOMY)
Z = ModelCard("c/z", "c", "z", Tier.STANDARD)


def tools(*names: str) -> list[dict[str, dict[str, str]]]:
    return [{"function": {"name": name}} for name in names]


def said(*texts: str) -> list[BaseMessage]:
    """A system prompt and a conversation."""
    turns = [HumanMessage(text) if place % 2 == 0 else AIMessage(text) for place, text in enumerate(texts[1:])]
    return [SystemMessage(texts[0]), *turns]


def test_a_conversation_is_known_again_while_it_goes_on() -> None:
    begun = place_of(said("Be brief.", "Hello"))
    assert begun.before is None
    assert place_of(said("Be brief.", "Hello", "Hi.", "And now?")).before == begun.now
    chunk = [*said("Be brief.", "Hello"), AIMessageChunk("Hi."), HumanMessage("And now?")]
    assert place_of(chunk) == place_of(said("Be brief.", "Hello", "Hi.", "And now?"))


def test_a_turn_of_tools_goes_on_with_what_came_before_it() -> None:
    begun = [HumanMessage("Where is it?")]
    call = {"name": "look", "args": {"id": 7}, "id": "c1"}
    looked = [*begun, AIMessage("", tool_calls=[call]), ToolMessage("sent", tool_call_id="c1")]
    assert place_of(looked, tools("look")).before == place_of(begun, tools("look")).now


@pytest.mark.parametrize(
    "messages",
    [
        said("Be brief.", "Hallo", "Hi.", "And now?"),
        said("Be long.", "Hello", "Hi.", "And now?"),
        said("Be brief.", "They said hello.", "Good.", "And now?"),
        [*said("Be brief.", "x", "y", "Hello"), AIMessage("Hi."), HumanMessage("And now?")],
        [SystemMessage("Be brief."), HumanMessage([{"type": "image_url"}]), AIMessage("Hi."), HumanMessage("So?")],
    ],
)
def test_one_that_begins_otherwise_begins_anew(messages: list[BaseMessage]) -> None:
    home = PromptCacheTracker()
    home.noted(place_of(said("Be brief.", "Hello")), X)
    assert home.carried(place_of(messages)) == frozenset()


def test_other_tools_make_it_another_conversation() -> None:
    begun, on = said("Be brief.", "Hello"), said("Be brief.", "Hello", "Hi.", "And now?")
    assert place_of(on, tools("look")).before == place_of(begun, tools("look")).now
    assert place_of(on, tools("look")).before != place_of(begun, tools("take")).now
    assert place_of(on, tools("look")).before != place_of(begun).now


def test_the_newest_model_of_each_tier_carries_it() -> None:
    home = PromptCacheTracker()
    turns = [said("Be brief.", *["Go on.", "Hi."] * length, "Go on.") for length in range(4)]
    expected = [set(), {"a/x"}, {"a/x", "c/z"}, {"b/y", "c/z"}]
    for turn, card, carried in zip(turns, (X, Z, Y, X), expected, strict=True):
        assert home.carried(place_of(turn)) == carried
        home.noted(place_of(turn), card)


def test_the_turn_that_rested_longest_is_forgotten_first() -> None:
    home = PromptCacheTracker(most=2)
    for name in ("one", "two", "one", "three"):
        home.noted(place_of(said("Be brief.", name)), X)
    known = [bool(home.carried(place_of(said("Be brief.", name, "Hi.", "So?")))) for name in ("one", "two", "three")]
    assert known == [True, False, True]


def test_threads_may_share_it() -> None:
    home, errors = PromptCacheTracker(most=16), []

    def work() -> None:
        try:
            for number in range(1_000):
                home.noted(place_of(said("Be brief.", str(number % 40))), X)
                assert home.carried(place_of(said("Be brief.", str(number % 40), "Hi.", "So?"))) <= {"a/x"}
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
