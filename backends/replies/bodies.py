"""Apply the limits of `bounds` to Google's SDK, which reads its replies directly from aiohttp."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from . import bounds
from .bounds import Counted
from .proxy import Proxy

__all__ = ["bound_sessions"]


def bound_sessions(model: Any) -> None:
    """Limit the size of the responses of a langchain-google-genai chat model.

    Args:
        model: The chat model; its SDK creates a session for each event loop.
    """
    client = model.client._api_client
    make = client._get_aiohttp_session

    async def made() -> Any:
        session = await make()
        session._response_class = _response_class()
        return session

    client._get_aiohttp_session = made


@cache
def _response_class() -> type:
    from aiohttp import ClientResponse, ContentTypeError

    class Bounded(ClientResponse):
        async def json(self, **how: Any) -> Any:
            # The SDK calls this if the status is an error, and falls back to the text if there is no JSON.
            try:
                return await super().json(**how)
            except ValueError:
                raise ContentTypeError(self.request_info, self.history, message="no JSON") from None

        async def start(self, connection: Any) -> Any:
            started = await super().start(connection)
            stream = "event-stream" in self.headers.get("content-type", "")
            most = bounds.MOST_STREAMED if stream else bounds.MOST_BYTES
            self.content: Any = _Content(self.content, Counted(most))
            return started

    return Bounded


class _Content(Proxy):
    """A response's body that counts the bytes read."""

    def __init__(self, content: Any, counted: Counted) -> None:
        super().__init__(content)
        self._counted = counted

    async def iter_any(self) -> AsyncIterator[bytes]:
        async for piece in self._behind.iter_any():
            self._counted.add(piece)
            yield piece

    async def read(self, size: int = -1) -> bytes:
        if size >= 0:
            return bytes(await self._behind.read(size))
        return b"".join([piece async for piece in self.iter_any()])
