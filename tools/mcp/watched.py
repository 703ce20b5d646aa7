"""What a server sends, watched: its end is noticed, and one that sends without end is given up."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import anyio
from mcp_types import JSONRPCError, JSONRPCNotification, JSONRPCResponse

__all__ = ["MESSAGE_BYTES", "Told", "Watched", "repaired"]

MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The largest message that is taken; room for a picture of ten megabytes in base64."""
_UNASKED: Final = 10_000
"""Messages without an answer among them that are too many."""
_CHANGED: Final = "notifications/tools/list_changed"
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\[^u]", re.DOTALL
)
_HALF: Final = 6  # bytes of an escape that is not one of a pair


def repaired(data: bytes) -> bytes:
    """Put the replacement character where JSON has what no text holds: broken UTF-8, and half of a surrogate pair.

    A server that cuts texts between the halves writes such escapes, and the SDK's parser refuses the whole message.

    Args:
        data: A message, or whole lines of one.
    """

    def kept(found: re.Match[bytes]) -> bytes:
        return rb"\ufffd" if len(found[0]) == _HALF else found[0]

    return _ESCAPE.sub(kept, data).decode("utf-8", "replace").encode()


@dataclass(slots=True)
class Told:
    """What is known of how a server fares.

    Attributes:
        stderr: The end of what it said on its standard error.
        given_up: Why nothing more is read of it.
    """

    stderr: bytes = b""
    given_up: str = ""


class Watched(AbstractAsyncContextManager[Any]):
    """A transport of the SDK's whose incoming messages are counted.

    Args:
        transport: The transport.
        told: Receives why the server was given up.
        on_end: Called when nothing more will come.
        on_change: Called when the server says that its tools are others now.
    """

    def __init__(
        self,
        transport: AbstractAsyncContextManager[Any],
        told: Told,
        on_end: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._told = told
        self._on_end = on_end
        self._on_change = on_change
        self._unasked = 0

    async def __aenter__(self) -> Any:
        self._read, write = await self._transport.__aenter__()
        return _Reading(self._read, self), write

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._transport.__aexit__(kind, error, trace)

    def ended(self) -> None:
        """Take note that nothing more will come."""
        self._on_end()

    def takes(self, item: Any) -> bool:
        """Whether this message is taken; after one that is not, nothing more is read."""
        message = getattr(item, "message", None)
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self._unasked = 0
            return True
        if isinstance(message, JSONRPCNotification) and message.method == _CHANGED:
            self._on_change()
        self._unasked += 1
        if self._unasked <= _UNASKED:
            return True
        self._told.given_up = f"it sent more than {_UNASKED:,} messages without an answer among them"
        return False


class _Reading:
    """The stream that the SDK reads from."""

    def __init__(self, stream: Any, watched: Watched) -> None:
        self._stream = stream
        self._watched = watched

    @property
    def last_context(self) -> Any:
        """What the SDK's own streams carry along."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:
        """The next message.

        Raises:
            anyio.EndOfStream: There is none.
        """
        try:
            item = await self._stream.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._watched.ended()
            raise
        if not self._watched.takes(item):
            await self.aclose()
            self._watched.ended()
            raise anyio.EndOfStream
        return item

    def close(self) -> None:
        """Read no more."""
        self._stream.close()

    async def aclose(self) -> None:
        """Read no more."""
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
