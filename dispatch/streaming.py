"""`Streamed`: one streamed call, read up to its first words and handed out from there a chunk late."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final

from ..backends.bounds import HEARD
from ..configs.schema import Limits
from .call import ModelCall

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk

__all__ = ["Streamed", "as_chunk", "bounded", "closing_chunk"]

_MANY: Final = 1024
"""Chunks kept apart before they are merged: each takes kilobytes, and a stream can have hundreds of thousands."""


class Streamed:
    """What a stream has said so far: all of it, what is still held back, and whether anything was handed out.

    Args:
        call: The call.
        chunks: What it says.
        hold_all: Hand nothing out before the end: half of a structured answer is of no use.

    Attributes:
        held: Chunks that were not handed out.
        handed: Whether anything was.
    """

    def __init__(self, call: ModelCall, chunks: AsyncGenerator[AIMessageChunk], *, hold_all: bool) -> None:
        self.call = call
        self._chunks = chunks
        self._hold_all = hold_all
        self._said: list[AIMessageChunk] = []
        self.held: list[AIMessageChunk] = []
        self.handed = False

    @property
    def whole(self) -> AIMessageChunk | None:
        """Everything as one chunk, None when nothing was said; merged at once, since each merge copies all."""
        self._merged()
        return self._said[0] if self._said else None

    def _merged(self) -> None:
        if len(self._said) > 1:
            first, *rest = self._said
            self._said = [first + rest]

    async def open(self) -> None:
        """Read up to the first words."""
        async for chunk in self._chunks:
            self._said.append(chunk)
            if len(self._said) > _MANY:
                self._merged()
            if self.call.first_token is not None:
                # With what came before it, which tells more than words.
                self.held.append(self.whole or chunk)
                return

    async def ready(self) -> AsyncGenerator[AIMessageChunk]:
        """Read the rest, giving each chunk when the next has come: the last tells whether the answer is complete."""
        async for chunk in self._chunks:
            self._said.append(chunk)
            self.held.append(chunk)
            if len(self._said) > _MANY:
                self._merged()
                self.held = list(self._said) if self._hold_all else self.held
            if not self._hold_all and len(self.held) > 1:
                self.handed = True
                yield self.held.pop(0)

    async def aclose(self) -> None:
        """Close the call where it has not ended, and then its connection, so that the provider stops."""
        self.call.close()
        # It is closed for good: what the connection still has to say is nobody's concern.
        with suppress(Exception):
            await self._chunks.aclose()

    def message(self) -> AIMessage:
        """The complete answer."""
        from langchain_core.messages import AIMessage, message_chunk_to_message

        if self.whole is None:
            return AIMessage("")
        message = message_chunk_to_message(self.whole)
        if not isinstance(message, AIMessage):
            raise TypeError(f"a chat model streamed {type(message).__name__}")
        return message


async def bounded(
    chunks: AsyncGenerator[AIMessageChunk], deadline: float, limits: Limits
) -> AsyncGenerator[AIMessageChunk]:
    """Give the same chunks, each waited for no longer than it may take.

    Bytes that make no chunk are a sign of life: the wait for the next begins again.

    Args:
        chunks: The stream, which is closed at the end.
        deadline: When all has to be over, in the event loop's seconds.
        limits: How long the first words and any later silence may take.

    Raises:
        TimeoutError: Something took longer.
    """
    now = asyncio.get_running_loop().time
    alive = _Alive(deadline, limits.first_token)
    async with aclosing(chunks):
        while True:
            async with asyncio.timeout_at(alive.until(now())) as alive.timer:
                token = HEARD.set(alive)
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
                finally:
                    HEARD.reset(token)
            if now() >= deadline:
                # What is there already is never waited for, so no timer strikes.
                raise TimeoutError
            if chunk.content or chunk.tool_call_chunks:
                alive.patience = limits.stall
            yield chunk


class _Alive:
    """Puts off the end of a wait while bytes come."""

    __slots__ = ("_deadline", "_moved", "patience", "timer")

    timer: asyncio.Timeout

    def __init__(self, deadline: float, patience: float) -> None:
        self._deadline = deadline
        self._moved = 0.0
        self.patience = patience

    def until(self, now: float) -> float:
        self._moved = now
        return min(self._deadline, now + self.patience)

    def __call__(self) -> None:
        now = asyncio.get_running_loop().time()
        # Most chunks come at once, and to move a timer costs as much as to set one.
        if now - self._moved > self.patience / 4 and not self.timer.expired():
            self.timer.reschedule(self.until(now))


def as_chunk(message: AIMessage) -> AIMessageChunk:
    """Give a whole message as the only chunk of a stream."""
    from langchain_core.messages import AIMessageChunk

    calls = [
        {"name": call["name"], "args": json.dumps(call["args"]), "id": call["id"], "index": place}
        for place, call in enumerate(message.tool_calls)
    ]
    return AIMessageChunk(
        content=message.content,
        id=message.id,
        tool_call_chunks=calls,
        response_metadata=message.response_metadata,
        chunk_position="last",
    )


def closing_chunk(message: AIMessage) -> AIMessageChunk:
    """Give an empty last chunk that carries the account of the call, so that a stream tells what ran too."""
    from langchain_core.messages import AIMessageChunk

    return AIMessageChunk(
        content="",
        id=message.id,
        response_metadata={"pointsman": message.response_metadata["pointsman"]},
        chunk_position="last",
    )
