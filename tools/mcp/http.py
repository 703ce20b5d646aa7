"""The streamable HTTP transport: the SDK's, over a client whose answers are bounded and never compressed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import httpx2
from mcp.client.streamable_http import streamable_http_client

from .watched import MESSAGE_BYTES, repaired

__all__ = ["http_transport"]

_CONNECT: Final = 30.0
_BESIDE: Final = 30.0
"""Seconds a stream may be silent beyond what a call may take."""


@asynccontextmanager
async def http_transport(url: str, headers: Mapping[str, str], timeout: float) -> AsyncIterator[Any]:
    """Speak with a server at an address. The SDK follows redirects within the address's origin and no others.

    Args:
        url: The address.
        headers: Sent with each request.
        timeout: Seconds one call may take.
    """
    # A small answer can unpack to gigabytes, so none is taken packed.
    sent = {**headers, "accept-encoding": "identity"}
    waits = httpx2.Timeout(_CONNECT, read=timeout + _BESIDE)
    async with (
        httpx2.AsyncClient(headers=sent, timeout=waits, event_hooks={"response": [_bound]}) as client,
        streamable_http_client(url, http_client=client, max_sse_event_size=MESSAGE_BYTES) as streams,
    ):
        yield streams


async def _bound(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        await response.aclose()
        raise httpx2.StreamError("the server sent a compressed answer, which was not asked for")
    response.stream = _Bounded(cast(httpx2.AsyncByteStream, response.stream))


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends in an error where it grows too long, handed on by whole lines as `repaired` gives them."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MESSAGE_BYTES
        begun: list[bytes] = []
        async for piece in self._stream:
            left -= len(piece)
            if left < 0:
                raise httpx2.StreamError(f"the server sent an answer of more than {MESSAGE_BYTES:,} bytes")
            lines, end, rest = piece.rpartition(b"\n")
            if end:
                yield repaired(b"".join((*begun, lines, end)))
                begun.clear()
            begun.append(rest)
        yield repaired(b"".join(begun))

    async def aclose(self) -> None:
        await self._stream.aclose()
