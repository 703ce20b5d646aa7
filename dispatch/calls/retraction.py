"""Chunks of a stream that can be withdrawn: what a broken stream had said must not become part of the answer."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessageChunk, BaseMessage

__all__ = ["RetractableChunk", "retractable", "retracting", "retracts"]

_MARK = "pointsman_retracts"
_SLOTS = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
"""All that a pydantic model holds; making one the ordinary way would copy its defaults, chunk for chunk."""


class RetractableChunk(AIMessageChunk):
    """A chunk that forgets all before a withdrawal when chunks are added up."""

    def __add__(self, other: Any) -> Any:
        """Join two chunks, or begin anew at one that withdraws."""
        if isinstance(other, list):
            begin = next((place for place in reversed(range(len(other))) if retracts(other[place])), None)
            if begin is not None:
                return other[begin] + other[begin + 1 :] if other[begin + 1 :] else other[begin]
        elif isinstance(other, BaseMessage) and retracts(other):
            return other
        return super().__add__(other)


def retractable(chunk: AIMessageChunk) -> RetractableChunk:
    """The same chunk, able to be withdrawn."""
    made = object.__new__(RetractableChunk)
    for slot in _SLOTS:
        object.__setattr__(made, slot, getattr(chunk, slot))
    return made


def retracting(message_id: str | None) -> RetractableChunk:
    """A chunk that withdraws everything before it."""
    return RetractableChunk(content="", id=message_id, response_metadata={_MARK: True})


def retracts(message: BaseMessage) -> bool:
    """Whether a chunk of a stream withdraws everything that was said before it."""
    return _MARK in message.response_metadata
