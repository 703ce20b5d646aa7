"""Stream chunks that can be withdrawn: the words of a broken stream must not become part of the answer."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessageChunk, BaseMessage

__all__ = ["RetractableChunk", "retractable", "retracting", "retracts"]

_MARK = "pointsman_retracts"
_SLOTS = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
"""All state of a pydantic model; the ordinary constructor would copy its defaults for every chunk."""


class RetractableChunk(AIMessageChunk):
    """A chunk that drops everything before a withdrawal when chunks are added."""

    def __add__(self, other: Any) -> Any:
        """Join chunks, or start over at one that withdraws."""
        if isinstance(other, list):
            begin = next((place for place in reversed(range(len(other))) if retracts(other[place])), None)
            if begin is not None:
                return other[begin] + other[begin + 1 :] if other[begin + 1 :] else other[begin]
        elif isinstance(other, BaseMessage) and retracts(other):
            return other
        return super().__add__(other)


def retractable(chunk: AIMessageChunk) -> RetractableChunk:
    """Return the same chunk as a `RetractableChunk`."""
    made = object.__new__(RetractableChunk)
    for slot in _SLOTS:
        object.__setattr__(made, slot, getattr(chunk, slot))
    return made


def retracting(message_id: str | None) -> RetractableChunk:
    """Return a chunk that withdraws everything before it."""
    return RetractableChunk(content="", id=message_id, response_metadata={_MARK: True})


def retracts(message: BaseMessage) -> bool:
    """Return whether a stream chunk withdraws everything before it."""
    return _MARK in message.response_metadata
