"""`PromptCacheTracker`: which model answers which conversation, so that it stays there between natural boundaries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from langchain_core.messages import BaseMessage

from ...configs.catalog import ModelCard
from ...configs.process.forks import Lock, reset_in_children
from ...configs.words import Tier

__all__ = ["Place", "PromptCacheTracker", "place_of"]

_MOST_TURNS: Final = 8192
_ANSWERS: Final = frozenset({"ai", "AIMessageChunk"})


class Place(NamedTuple):
    """Where a call stands in its conversation; hashes that hold for this process only.

    Attributes:
        before: What the model was shown when it gave its newest answer; None before the first one.
        now: What it is shown now.
    """

    before: int | None
    now: int


def place_of(messages: Sequence[BaseMessage], tools: Sequence[Mapping[str, Any]] = ()) -> Place:
    """Tell where a call stands in its conversation.

    What a model was shown for its newest answer are the messages before that answer. Where a conversation was
    compacted or rewritten since, or was given other tools, no model has seen them: it counts as a new conversation.

    Args:
        messages: Oldest first.
        tools: In OpenAI's format.
    """
    shown = hash(tuple(tool.get("function", tool).get("name") for tool in tools))
    before = None
    for message in messages:
        if message.type in _ANSWERS:
            before = shown
        said = "ai" if message.type in _ANSWERS else message.type
        shown = hash((shown, said, _content(message.content), _calls(message)))
    return Place(before, shown)


class PromptCacheTracker:
    """Remembers who answered the conversations that were last carried on; no text is kept.

    Safe to use from several threads.

    Args:
        most: Turns to remember.
    """

    def __init__(self, most: int = _MOST_TURNS) -> None:
        self._most = most
        self._lock = Lock()
        reset_in_children(self._lock)
        self._carried: OrderedDict[int, Mapping[Tier, str]] = OrderedDict()

    def noted(self, place: Place, card: ModelCard) -> None:
        """Note that a model has given a usable answer.

        A model of another tier that answered before stays known: the conversation returns to it once what raised the
        step is over, and its prompt cache may hold the beginning still.
        """
        with self._lock.inner:
            before = {} if place.before is None else self._carried.get(place.before, {})
            self._carried[place.now] = {**before, card.tier: card.id}
            self._carried.move_to_end(place.now)
            if len(self._carried) > self._most:
                self._carried.popitem(last=False)

    def carried(self, place: Place) -> frozenset[str]:
        """The models that carry a conversation, the newest of each tier; none where it begins."""
        if place.before is None:
            return frozenset()
        return frozenset(self._carried.get(place.before, {}).values())


def _content(content: str | list[Any]) -> int:
    if isinstance(content, str):
        return hash(content)
    # Pictures are told apart by where they stand, not by what they show.
    return hash(tuple(part if isinstance(part, str) else str(part.get("text") or part.get("type")) for part in content))


def _calls(message: BaseMessage) -> int:
    return hash(tuple((call["name"], str(call["args"])) for call in vars(message).get("tool_calls", ())))
