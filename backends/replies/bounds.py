"""Limit the size of a response, counted as its bytes arrive and are decompressed.

A task that waits for a stream's next event is also notified of bytes that are not part of an event, such as the
comments a router sends while it works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Final

from ...configs.words import FailureKind
from ..base import BackendError
from ..http.hosts import stay

__all__ = ["HEARD", "MOST_BYTES", "MOST_CALLS", "MOST_STREAMED", "Counted", "bound_client", "ended_by"]

MOST_BYTES: Final = 64 * 1024 * 1024
"""Limit of a whole reply, and of one stream event, both held in memory: far more than any text with a few pictures."""
MOST_STREAMED: Final = 512 * 1024 * 1024
"""Limit of a stream, which is kept as text only: 128,000 tokens, each in an event of 4,000 bytes."""
MOST_FILED: Final = 8 * 1024**3
"""Limit of a file of results, which is read line by line."""
MOST_CALLS: Final = 256
"""Limit of tool calls in one reply: no real task needs more, and reading thousands takes seconds of CPU time."""
HEARD: Final[ContextVar[Callable[[], None] | None]] = ContextVar("heard", default=None)
"""Called for every chunk of a body, in the task that waits for it."""
_TAIL: Final = 64
_FILES: Final = ("/content", "/results")


async def bound_body(response: Any) -> None:
    """Response hook that keeps a request on its host and makes a response that is too long fail.

    Args:
        response: A response of httpx or its fork, before its body is read.
    """
    if response.has_redirect_location:
        await stay(response)
    stream = "event-stream" in response.headers.get("content-type", "")
    filed = response.request.url.path.endswith(_FILES)
    most = MOST_FILED if filed else MOST_STREAMED if stream else MOST_BYTES
    # The decoder sees every chunk of the body, compressed or not.
    response._decoder = _Bounded(response._get_content_decoder(), most)


def bound_client(client: Any) -> None:
    """Limit the size of the responses of an SDK's client, and prevent redirects to another host.

    Args:
        client: A client of the kind that Anthropic's and OpenAI's SDKs share, over any HTTP client.
    """
    hooks = client._client.event_hooks["response"]
    if bound_body not in hooks:
        hooks.append(bound_body)


def ended_by(response: Any, words: bytes) -> bool:
    """Return whether the last bytes of a response contain ``words``; False for a response without a limit."""
    decoder = getattr(response, "_decoder", None)
    return isinstance(decoder, _Bounded) and words in decoder.tail


class Counted:
    """Counts the bytes of one body.

    Args:
        most: Maximum size in bytes.

    Attributes:
        tail: Its last bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sum = self._line = 0
        self.tail = b""

    def add(self, piece: bytes) -> None:
        """Count a chunk.

        Raises:
            BackendError: The body exceeds its limit.
        """
        self._sum += len(piece)
        end = piece.rfind(b"\n")
        self._line = len(piece) - end - 1 if end >= 0 else self._line + len(piece)
        if self._sum > self._most or self._line > MOST_BYTES:
            size = (self._most if self._sum > self._most else MOST_BYTES) // 1024**2
            raise BackendError(FailureKind.MALFORMED, f"the reply is longer than {size} MB: it was cut off")
        if (heard := HEARD.get()) is not None:
            heard()
        self.tail = (self.tail + piece[-_TAIL:])[-_TAIL:]


class _Bounded(Counted):
    """A response's decoder that counts its output."""

    def __init__(self, decoder: Any, most: int) -> None:
        super().__init__(most)
        self._decoder = decoder

    def decode(self, data: bytes) -> Iterator[bytes]:
        return self._counted(self._decoder.decode(data))

    def flush(self) -> Iterator[bytes]:
        return self._counted(self._decoder.flush())

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.add(piece)
            yield piece
