"""A server's messages, watched: its end is noticed, one that sends without end is given up, and an unreadable answer
fails the call at once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import (
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)

__all__ = ["MESSAGE_BYTES", "Told", "Unreadable", "Watched", "no_answer", "repaired"]

MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The largest message that is accepted; room for a picture of ten megabytes in base64."""
_UNASKED: Final = 10_000
"""The most messages in a row without an answer among them."""
_CHANGED: Final = "notifications/tools/list_changed"
_CANCELLED: Final = "notifications/cancelled"
_SILENCE: Final = 5.0
"""Seconds after a printed line within which an answer must follow, for a server that is not known to print."""
_LINE: Final = 200  # characters shown of a line
_ID: Final = re.compile(rb'"id"\s*:\s*(\d{1,15})\s*[,}]')
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\[^u]", re.DOTALL
)
_HALF: Final = 6  # bytes of an escape that is not one of a pair


def repaired(data: bytes) -> bytes:
    """Put the replacement character where JSON has what no text may hold: broken UTF-8, and half of a surrogate pair.

    A server that cuts texts between the halves writes such escapes, and the SDK's parser refuses the whole message.

    Args:
        data: A message, or whole lines of one.
    """

    def kept(found: re.Match[bytes]) -> bytes:
        return rb"\ufffd" if len(found[0]) == _HALF else found[0]

    return _ESCAPE.sub(kept, data).decode("utf-8", "replace").encode()


class Unreadable(Exception):
    """A line that is not a message of the protocol.

    Attributes:
        line: What the server sent.
    """

    def __init__(self, line: bytes) -> None:
        super().__init__(line)
        self.line = line


def no_answer(asked: RequestId, sent: bytes) -> JSONRPCError:
    """Return the error that ends a request whose answer is not one.

    Args:
        asked: The request's id.
        sent: What the server sent instead of an answer.
    """
    shown = sent[: 4 * _LINE].decode("utf-8", "replace").strip()[:_LINE]
    said = f"it answered what is no answer of the protocol: {shown!r}"
    return JSONRPCError(jsonrpc="2.0", id=asked, error=ErrorData(code=PARSE_ERROR, message=said))


@dataclass(slots=True)
class Told:
    """What is known about the state of a server.

    Attributes:
        stderr: The end of its standard error.
        given_up: Why nothing more is read from it.
    """

    stderr: bytes = b""
    given_up: str = ""


class Watched(AbstractAsyncContextManager[Any]):
    """An SDK transport whose messages are counted, and whose requests end if their answer cannot be read.

    Some servers print to their standard output while they work. A line that begins like JSON is meant as an answer;
    any other line counts as one if nothing follows it, unless an answer has followed such a line before.

    Args:
        transport: The transport.
        told: Receives why the server was given up.
        on_end: Called when nothing more will come.
        on_change: Called when the server says that its tools have changed.
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
        self.on_end = on_end
        self._on_change = on_change
        self._unasked = 0
        self._waiting: dict[str, RequestId] = {}
        self._printed = b""
        self._prints = False
        self.due: float | None = None
        """When what was printed counts as the answer, by the event loop's clock."""

    async def __aenter__(self) -> Any:
        self._read, write = await self._transport.__aenter__()
        return _Reading(self._read, self), _Writing(write, self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._transport.__aexit__(kind, error, trace)

    def sends(self, message: Any) -> None:
        """Record the requests that are sent, and those that are cancelled."""
        if isinstance(message, JSONRPCRequest):
            self._waiting[str(message.id)] = message.id
        elif isinstance(message, JSONRPCNotification) and message.method == _CANCELLED:
            self._waiting.pop(str((message.params or {}).get("requestId")), None)

    def unread(self, line: bytes) -> list[JSONRPCError]:
        """Return the errors that end requests because of a line that cannot be read."""
        if not line.lstrip().startswith((b"{", b"[")):
            if self._waiting and not self._prints and self.due is None:
                self._printed, self.due = line, asyncio.get_running_loop().time() + _SILENCE
            return []
        named = [one for found in _ID.findall(line) if (one := found.decode()) in self._waiting]
        return self._failed(named[:1] or list(self._waiting), line)

    def silent(self) -> list[JSONRPCError]:
        """Return the errors that end requests because nothing followed what was printed."""
        return self._failed(list(self._waiting), self._printed)

    def takes(self, item: Any) -> bool:
        """Whether to accept this message; after one that is refused, nothing more is read."""
        message = getattr(item, "message", None)
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self._unasked = 0
            if isinstance(message, JSONRPCError) and message.id is None and len(self._waiting) == 1:
                (message.id,) = self._waiting.values()
            if self._waiting.pop(str(message.id), None) is not None:
                self._prints = self._prints or self.due is not None
                self.due = None
            return True
        if isinstance(message, JSONRPCNotification) and message.method == _CHANGED:
            self._on_change()
        self._unasked += 1
        if self._unasked <= _UNASKED:
            return True
        self._told.given_up = f"it sent more than {_UNASKED:,} messages without an answer among them"
        return False

    def _failed(self, asked: list[str], sent: bytes) -> list[JSONRPCError]:
        self.due = None
        return [no_answer(self._waiting.pop(one), sent) for one in asked]


class _Writing(ObjectSendStream[Any]):
    """The stream that the SDK writes to."""

    def __init__(self, stream: Any, watched: Watched) -> None:
        self._stream = stream
        self._watched = watched

    async def send(self, item: Any) -> None:
        """Send a message."""
        self._watched.sends(item.message)
        await self._stream.send(item)

    async def aclose(self) -> None:
        """Send no more."""
        await self._stream.aclose()


class _Reading(ObjectReceiveStream[Any]):
    """The stream that the SDK reads from."""

    def __init__(self, stream: Any, watched: Watched) -> None:
        self._stream = stream
        self._watched = watched
        self._errors: list[JSONRPCError] = []

    @property
    def last_context(self) -> Any:
        """The context that the SDK's own streams carry."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:
        """Return the next message.

        Raises:
            anyio.EndOfStream: There is none.
        """
        while not self._errors:
            try:
                async with asyncio.timeout_at(self._watched.due):
                    item = await self._stream.receive()
            except TimeoutError:
                self._errors = self._watched.silent()
                continue
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                self._watched.on_end()
                raise
            if not isinstance(item, Unreadable):
                return await self._taken(item)
            self._errors = self._watched.unread(item.line)
        return SessionMessage(self._errors.pop(0))

    async def _taken(self, item: Any) -> Any:
        if not self._watched.takes(item):
            await self.aclose()
            self._watched.on_end()
            raise anyio.EndOfStream
        return item

    async def aclose(self) -> None:
        """Read no more."""
        await self._stream.aclose()
