"""`Warmth`: how much of which conversation lies warm in whose prompt cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ..configs.catalogue import Usage
from ..configs.schema import ProviderEntry
from ..ledger.forks import Lock, begin_anew
from ..ledger.rows import CallRow

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

__all__ = ["Warmth", "conversation"]

_MOST_CONVERSATIONS: Final = 2048
# A conversation is known by how it begins; the length tells most of those apart that begin with the same long text.
_HEAD: Final = 4096
_MOST_MESSAGES: Final = 8
_NOTHING: Final[Mapping[str, int]] = {}


def conversation(messages: Sequence[BaseMessage], tools: Sequence[Mapping[str, Any]] = ()) -> int:
    """Name a conversation by a hash of what stays while it goes on: its system prompt, first question and tools.

    Two that begin in the same way share a name; then a prompt may be taken for warmer than it is, which costs no more
    than a choice made on a wrong price. The hash holds for this process only.

    Args:
        messages: Oldest first.
        tools: In OpenAI's format.
    """
    heads: list[tuple[str, int, str]] = []
    for message in islice(messages, _MOST_MESSAGES):
        kind = message.type
        if kind in ("system", "human"):
            text = _text(message.content)
            heads.append((kind, len(text), text[:_HEAD]))
            if kind == "human":
                break
    return hash((*heads, *[tool.get("function", tool).get("name") for tool in tools]))


class Warmth:
    """Remembers of the conversations that were last carried on which models hold them warm; no text is kept.

    Safe to use from several threads.

    Args:
        most: Conversations to remember.
    """

    def __init__(self, most: int = _MOST_CONVERSATIONS) -> None:
        self._most = most
        self._lock = Lock()
        begin_anew(self._lock)
        self._held: OrderedDict[int, _Held] = OrderedDict()

    def noted(self, key: int, row: CallRow, tokens: int, provider: ProviderEntry, *, asked: bool) -> None:
        """Note that a model has given a usable answer.

        Args:
            key: Of the conversation.
            row: The call. Its prompt is warm from the moment it began: that is when Anthropic's time starts.
            tokens: Estimated input tokens, so that what is warm is counted as the next prompt will be.
            provider: What is known of its prompt cache.
            asked: The provider keeps a prompt only where a call asks for it, and says how much it kept.
        """
        kept = 0 if provider.cache_ttl is None or row.usage is None else _kept(row.usage, tokens, provider, asked)
        with self._lock:
            held = self._held.get(key)
            if held is None:
                if not kept:
                    return
                held = self._held[key] = _Held()
                if len(self._held) > self._most:
                    self._held.popitem(last=False)
            else:
                self._held.move_to_end(key)
            held.last = row.model
            held.warm.pop(row.model, None)
            if kept:
                held.warm[row.model] = (kept, row.at + (provider.cache_ttl or 0.0))

    def of(self, key: int, now: float) -> Mapping[str, int]:
        """Model -> tokens of a conversation that it holds warm.

        Args:
            key: Of the conversation.
            now: Seconds since the epoch.
        """
        if key not in self._held:
            return _NOTHING
        with self._lock:
            held = self._held.get(key)
            return {} if held is None else {name: kept for name, (kept, until) in held.warm.items() if now < until}

    def last(self, key: int) -> str | None:
        """The model that answered last in a conversation; None where nobody ever held any of it warm."""
        held = self._held.get(key)
        return None if held is None else held.last


class _Held:
    """Model -> tokens and until when, and the model that answered last."""

    __slots__ = ("last", "warm")

    def __init__(self) -> None:
        self.warm: dict[str, tuple[int, float]] = {}
        self.last: str | None = None


def _kept(usage: Usage, tokens: int, provider: ProviderEntry, asked: bool) -> int:
    """How much of a prompt is warm after its call, in the measure of ``tokens``."""
    if not asked:
        return tokens if usage.input >= provider.cache_least else 0
    if usage.input <= 0:
        return 0
    return int(tokens * min(1.0, (usage.cache_read + usage.cache_write) / usage.input))


def _text(content: str | list[Any]) -> str:
    if isinstance(content, str):
        return content
    # Pictures are told apart by where they stand, not by what they show.
    return "\n".join(part if isinstance(part, str) else part.get("text") or part.get("type", "") for part in content)
