"""The streamable HTTP transport: the SDK's own, over a client whose responses are bounded and never compressed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import httpx2
from mcp.client.streamable_http import streamable_http_client
from mcp_types import JSONRPCError, JSONRPCResponse, RequestId, jsonrpc_message_adapter

from .watched import MESSAGE_BYTES, no_answer, repaired

__all__ = ["http_transport"]

_OK: Final = 200
_CONNECT: Final = 30.0
_BESIDE: Final = 30.0
"""Seconds a stream may be silent beyond the timeout of a call."""


@asynccontextmanager
async def http_transport(url: str, headers: Mapping[str, str], timeout: float) -> AsyncIterator[Any]:
    """Talk to a server at an address. The SDK follows redirects within the address's origin and no others.

    Args:
        url: The address.
        headers: Sent with each request.
        timeout: Seconds one call may take.
    """
    # A small response can decompress to gigabytes, so compressed ones are refused.
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
    body = _Bounded(cast(httpx2.AsyncByteStream, response.stream))
    response.stream = body
    kind = response.headers.get("content-type", "").lower()
    if response.status_code != _OK or kind.startswith("text/event-stream"):
        return
    asked = _asked(response.request)
    if asked is not None:
        response.stream = _Answer(body, asked)
        response.headers["content-type"] = "application/json"


def _asked(request: httpx2.Request) -> RequestId | None:
    """Return the id of the request in a POST; None if it is a notification or a response."""
    message = json.loads(request.content) if request.method == "POST" else {}
    asked: RequestId | None = message.get("id") if "method" in message else None
    return asked


class _Bounded(httpx2.AsyncByteStream):
    """A body that raises an error if it grows too long, and yields whole lines as `repaired` returns them."""

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


class _Answer(httpx2.AsyncByteStream):
    """A body that is the response to one request, or else an error that says so: the SDK would keep waiting."""

    def __init__(self, body: _Bounded, asked: RequestId) -> None:
        self._body = body
        self._asked = asked

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = b"".join([piece async for piece in self._body])
        try:
            message = jsonrpc_message_adapter.validate_json(body, by_name=False)
        except ValueError:
            message = None  # not a message at all
        if isinstance(message, JSONRPCError) and message.id is None:  # it could not read which request this answers
            message.id = self._asked
        elif isinstance(message, JSONRPCResponse | JSONRPCError) and str(message.id) == str(self._asked):
            yield body
            return
        else:
            message = no_answer(self._asked, body)
        yield message.model_dump_json(by_alias=True, exclude_none=True).encode()

    async def aclose(self) -> None:
        await self._body.aclose()
