"""`PromptCacheTracker`: which model answers a conversation, so that it keeps its model between natural boundaries."""

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
    """A call's position in its conversation; the hashes are valid only in this process.

    Attributes:
        before: Hash of what the model was shown for its newest answer; None before the first answer.
        now: Hash of what it is shown now.
    """

    before: int | None
    now: int


def place_of(messages: Sequence[BaseMessage], tools: Sequence[Mapping[str, Any]] = ()) -> Place:
    """Return a call's position in its conversation.

    For its newest answer a model was shown the messages before that answer. If the conversation was compacted or
    rewritten since, or has other tools now, no model has seen those messages, and it counts as a new conversation.

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
    """Remembers which models answered the most recent conversations; no text is kept.

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

        A model of another tier that answered earlier is still remembered: the conversation returns to it once the
        reason for the other tier is gone, and its prompt cache may still hold the beginning.
        """
        with self._lock.inner:
            before = {} if place.before is None else self._carried.get(place.before, {})
            self._carried[place.now] = {**before, card.tier: card.id}
            self._carried.move_to_end(place.now)
            if len(self._carried) > self._most:
                self._carried.popitem(last=False)

    def carried(self, place: Place) -> frozenset[str]:
        """Return the models that have answered a conversation, the newest of each tier; none at its beginning."""
        if place.before is None:
            return frozenset()
        return frozenset(self._carried.get(place.before, {}).values())


def _content(content: str | list[Any]) -> int:
    if isinstance(content, str):
        return hash(content)
    # Images are distinguished by their position, not by their content.
    return hash(tuple(part if isinstance(part, str) else str(part.get("text") or part.get("type")) for part in content))


def _calls(message: BaseMessage) -> int:
    return hash(tuple((call["name"], str(call["args"])) for call in vars(message).get("tool_calls", ())))
