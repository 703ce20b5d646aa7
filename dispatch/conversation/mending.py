"""`Mending`: gives a reply's calls the tools' real names and unique ids, and makes its texts valid Unicode."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

from langchain_core.messages import AIMessage, AIMessageChunk

from ..request import ModelRequest
from .blocks import cleaned, paired
from .naming import real_names, tool_names
from .tool_calls import fresh_id

__all__ = ["Mending"]

_WORDS: Final = ("text", "thinking", "reasoning")
_THOUGHT: Final = "reasoning_content"


class Mending:
    """Mends one reply, whole or in chunks.

    A server may omit the id of a call, give two calls the same id, or restart its numbering with every turn; executing
    calls, asking for approval and pairing results all need unique ids. It may also split a character in two halves,
    which cannot be printed or stored.

    Args:
        ask: The request.
    """

    def __init__(self, ask: ModelRequest) -> None:
        self._ask = ask
        self._names = real_names(tool_names(ask.tools)) if ask.tools else {}
        self._given: set[str] = set()
        self._open: dict[Any, tuple[str | None, str]] = {}
        self._halves: dict[Any, str] = {}

    def message(self, message: AIMessage) -> None:
        """Mend a complete reply in place; mending it again changes nothing."""
        calls: list[Any] = [*message.tool_calls, *message.invalid_tool_calls]
        seen: set[str] = set()
        message.content = cleaned(message.content, paired)
        for place, call in enumerate(calls):
            call["args"] = cleaned(call["args"], paired)
            self._rename(call)
            if call["id"] in seen or call["id"] not in self._given:
                call["id"] = self._id(place, call["id"])
            seen.add(call["id"])

    def chunk(self, chunk: AIMessageChunk) -> None:
        """Mend a chunk of a streamed reply in place; half a character is held until the other half arrives."""
        self._join(chunk)
        for place, piece in enumerate(chunk.tool_call_chunks):
            self._rename(piece)
            index, said = piece["index"], piece["id"]
            begun = self._open.get(index)
            if begun is None or (said and said != begun[0]):
                if not said and not piece["name"]:
                    continue
                begun = self._open[index] = said, self._id(len(self._open), said)
            # A piece without an id continues the call at its index.
            piece["id"] = begun[1] if said or piece["name"] else said
            if place < len(chunk.tool_calls):
                self._rename(chunk.tool_calls[place])
                chunk.tool_calls[place]["id"] = piece["id"]

    def _join(self, chunk: AIMessageChunk) -> None:
        """Join characters that are split between the pieces of a text."""
        content: Any = chunk.content
        if isinstance(content, str):
            chunk.content = self._whole("text", content)
        else:
            for place, block in enumerate(content):
                for name in _WORDS if isinstance(block, dict) else ():
                    if isinstance(said := block.get(name), str):
                        block[name] = self._whole((name, block.get("index", place)), said)
        for piece in chunk.tool_call_chunks:
            piece["args"] = piece["args"] and self._whole(("args", piece["index"]), piece["args"])
        if isinstance(thought := chunk.additional_kwargs.get(_THOUGHT), str):
            chunk.additional_kwargs[_THOUGHT] = self._whole(_THOUGHT, thought)

    def _whole(self, where: Any, text: str) -> str:
        if not text or (text.isascii() and not self._halves):
            return text
        text = self._halves.pop(where, "") + text
        if "\ud800" <= text[-1] <= "\udbff":
            self._halves[where] = text[-1]
            text = text[:-1]
        return paired(text)

    def _id(self, place: int, said: str | None) -> str:
        """Return a unique id for a call: its own if no other call has it."""
        taken = self._taken
        name = said if said and said not in taken else fresh_id(f"{len(self._ask.messages)}:{place}:{said}", taken)
        taken.add(name)
        self._given.add(name)
        return name

    def _rename(self, call: Any) -> None:
        if call["name"] in self._names:
            call["name"] = self._names[call["name"]]

    @cached_property
    def _taken(self) -> set[str]:
        """The ids of earlier calls in the conversation, and those assigned since."""
        earlier: Sequence[Any] = self._ask.messages
        return {call["id"] for message in earlier for call in getattr(message, "tool_calls", None) or ()}
