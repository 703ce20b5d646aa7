"""`Streamed`: one streamed call, read up to its first words and handed out from there a chunk late."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from contextvars import Token
from types import TracebackType
from typing import Any, Final

from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message

from ...backends.replies.bounds import HEARD
from ...configs.schema import Limits
from .call import ModelCall

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
        return next(iter(self._said), None)

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
            if self.call.bill.first_token is not None:
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
    patience = limits.first_token
    watch = _Watch(deadline)
    try:
        async with aclosing(chunks):
            while True:
                with watch.wait(patience):
                    try:
                        chunk = await anext(chunks)
                    except StopAsyncIteration:
                        return
                watch.check()
                if chunk.content or chunk.tool_call_chunks:
                    patience = limits.stall
                yield chunk
    finally:
        watch.close()


class _Watch:
    """Bounds the waits of one stream as `asyncio.timeout_at` would, but with one timer for all of them.

    Args:
        deadline: When all has to be over, in the event loop's seconds.
    """

    def __init__(self, deadline: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = deadline
        self._until = deadline
        self._patience = 0.0
        self._token: Token[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._struck = False

    def wait(self, patience: float) -> _Watch:
        """Bound the next wait, the ``with`` block.

        Args:
            patience: Seconds it may take.
        """
        self._patience = patience
        self.heard()
        return self

    def heard(self) -> None:
        """Bytes have come: the wait begins again."""
        self._until = min(self._deadline, self._loop.time() + self._patience)

    def check(self) -> None:
        """Refuse what comes too late: what is there already is never waited for, so no timer strikes.

        Raises:
            TimeoutError: The deadline is over.
        """
        if self._loop.time() >= self._deadline:
            raise TimeoutError

    def __enter__(self) -> None:
        self._token = HEARD.set(self.heard)
        self._task = asyncio.current_task()
        self._cancelling = 0 if self._task is None else self._task.cancelling()
        if self._timer is not None and self._timer.when() > self._until:
            self.close()
        if self._timer is None:
            self._timer = self._loop.call_at(self._until, self._strike)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._token is not None:
            HEARD.reset(self._token)
        if self._struck and task is not None:
            self._struck = False
            if task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
                raise TimeoutError from error

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _strike(self) -> None:
        self._timer = None
        if self._task is None:
            # The consumer's time; the next wait sets the timer anew.
            return
        if self._loop.time() < self._until:
            self._timer = self._loop.call_at(self._until, self._strike)
            return
        self._struck = True
        self._task.cancel()


def as_chunk(message: AIMessage) -> AIMessageChunk:
    """Give a whole message as the only chunk of a stream."""
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
    return AIMessageChunk(
        content="",
        id=message.id,
        response_metadata={"pointsman": message.response_metadata["pointsman"]},
        chunk_position="last",
    )
