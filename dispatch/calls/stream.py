"""`Streamed`: one streamed call, read up to its first words and then yielded one chunk late."""

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
"""How many chunks to hold before merging them: each takes kilobytes, and a stream can have hundreds of thousands."""


class Streamed:
    """The chunks of a stream so far: all of them, those still held back, and whether any was yielded.

    Args:
        call: The call.
        chunks: The stream's chunks.
        hold_all: Whether to yield nothing before the end: half of a structured answer is useless.

    Attributes:
        held: Chunks that have not been yielded.
        handed: Whether any has been yielded.
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
        """All chunks as one, None if there are none; merged in one go, since each merge copies everything."""
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
                # Including earlier chunks without words, which carry metadata.
                self.held.append(self.whole or chunk)
                return

    async def ready(self) -> AsyncGenerator[AIMessageChunk]:
        """Yield each chunk once the next has arrived: the last chunk shows whether the answer is complete."""
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
        """Close the call if it has not ended, and then its connection, so that the provider stops."""
        self.call.close()
        # The call is closed for good, so errors of the connection no longer matter.
        with suppress(Exception):
            await self._chunks.aclose()

    def message(self) -> AIMessage:
        """Return the complete answer."""
        if self.whole is None:
            return AIMessage("")
        message = message_chunk_to_message(self.whole)
        if not isinstance(message, AIMessage):
            raise TypeError(f"a chat model streamed {type(message).__name__}")
        return message


async def bounded(
    chunks: AsyncGenerator[AIMessageChunk], deadline: float, limits: Limits
) -> AsyncGenerator[AIMessageChunk]:
    """Yield the same chunks, with a limit on the wait for each.

    Bytes that form no chunk yet are a sign of life: they restart the wait for the next chunk.

    Args:
        chunks: The stream, which is closed at the end.
        deadline: When the stream must be over, in the event loop's seconds.
        limits: How long the first words and any later silence may take.

    Raises:
        TimeoutError: A limit was exceeded.
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
    """Limits the waits of one stream as `asyncio.timeout_at` would, but with one timer for all of them.

    Args:
        deadline: When the stream must be over, in the event loop's seconds.
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
        """Limit the next wait, which is the ``with`` block.

        Args:
            patience: Seconds it may take.
        """
        self._patience = patience
        self.heard()
        return self

    def heard(self) -> None:
        """Restart the wait, since bytes have arrived."""
        self._until = min(self._deadline, self._loop.time() + self._patience)

    def check(self) -> None:
        """Reject chunks that come too late: chunks that are already there need no wait, so no timer fires.

        Raises:
            TimeoutError: The deadline has passed.
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
            # The consumer is running, not a wait; the next wait sets a new timer.
            return
        if self._loop.time() < self._until:
            self._timer = self._loop.call_at(self._until, self._strike)
            return
        self._struck = True
        self._task.cancel()


def as_chunk(message: AIMessage) -> AIMessageChunk:
    """Convert a whole message to the only chunk of a stream."""
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
    """Return an empty last chunk that carries the call's metadata, so that a stream also tells what ran."""
    return AIMessageChunk(
        content="",
        id=message.id,
        response_metadata={"pointsman": message.response_metadata["pointsman"]},
        chunk_position="last",
    )
