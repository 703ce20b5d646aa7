"""A bound on what one response may measure, counted as its bytes come off the wire and are decompressed.

Whoever waits for a stream's next event is told of the bytes that make none, such as the comments a router sends while
it is at work.
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
"""Of a whole reply, and of one event of a stream, both held in memory: far more than any text with a few pictures."""
MOST_STREAMED: Final = 512 * 1024 * 1024
"""Of a stream, of which only the words are kept: 128,000 tokens, each in an event of 4,000 bytes."""
MOST_FILED: Final = 8 * 1024**3
"""Of a file of answers, which is read line by line."""
MOST_CALLS: Final = 256
"""Calls of tools in one reply: no work is done so, and to read thousands takes seconds of processor time."""
HEARD: Final[ContextVar[Callable[[], None] | None]] = ContextVar("heard", default=None)
"""Called with every piece of a body, by the task that waits for it."""
_TAIL: Final = 64
_FILES: Final = ("/content", "/results")


async def bound_body(response: Any) -> None:
    """Have a response stay on its host, and end with an error when it is longer than it may be; a hook of a client.

    Args:
        response: Of httpx, or of its fork, before its body is read.
    """
    if response.has_redirect_location:
        await stay(response)
    stream = "event-stream" in response.headers.get("content-type", "")
    filed = response.request.url.path.endswith(_FILES)
    most = MOST_FILED if filed else MOST_STREAMED if stream else MOST_BYTES
    # The decoder sees every piece of the body, compressed or not.
    response._decoder = _Bounded(response._get_content_decoder(), most)


def bound_client(client: Any) -> None:
    """Bound the responses of an SDK's client, and have it follow no redirect to another host.

    Args:
        client: Of the kind that Anthropic's and OpenAI's SDKs share, over whatever HTTP client.
    """
    hooks = client._client.event_hooks["response"]
    if bound_body not in hooks:
        hooks.append(bound_body)


def ended_by(response: Any, words: bytes) -> bool:
    """Whether the last bytes of a response hold these words; False for one that is not bounded."""
    decoder = getattr(response, "_decoder", None)
    return isinstance(decoder, _Bounded) and words in decoder.tail


class Counted:
    """Counts the bytes of one body.

    Args:
        most: What it may measure.

    Attributes:
        tail: Its last bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sum = self._line = 0
        self.tail = b""

    def add(self, piece: bytes) -> None:
        """Count a piece.

        Raises:
            BackendError: It is one too many.
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
    """A response's decoder that counts what it gives."""

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
