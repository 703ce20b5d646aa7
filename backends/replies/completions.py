"""OpenAI's Chat Completions without the SDK's response models, which langchain-openai would only convert back to dicts.

The SDK still handles connections, headers, errors and reading streams: this calls its ``request``, the function behind
``post``, its documented method for custom requests. Building the models costs a quarter to a third of a call's CPU time
(``benchmarks/calls.py``).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["REFUSED", "Completions", "error_in", "refusal_told"]

REFUSED: Final = "refusal"
"""The finish reason we give to a refusal; OpenAI itself reports ``stop``."""

_DRAIN_SECONDS: Final = 0.1
"""Seconds to wait for a stream to end after its last event, the same as the SDK waits."""

_OPTIONS: Final = {
    "extra_headers": "headers",
    "extra_query": "params",
    "extra_body": "extra_json",
    "timeout": "timeout",
}


class Completions:
    """Replaces ``AsyncOpenAI().chat.completions`` in langchain-openai; replies are plain dicts.

    Args:
        client: The SDK's client.
    """

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client
        # The same few paths are joined to the same base for every request.
        vars(client)["_prepare_url"] = lru_cache(maxsize=8)(client._prepare_url)

    @property
    def with_raw_response(self) -> _ToBeParsed:
        """A variant whose replies have ``parse``, which langchain-openai calls for every reply that is not streamed."""
        return _ToBeParsed(self)

    async def create(self, **payload: Any) -> Any:
        """Send one request.

        Args:
            payload: The body, plus the SDK's ``extra_headers``, ``extra_query``, ``extra_body`` and ``timeout``.
        """
        options: Any = {name: payload.pop(key) for key, name in _OPTIONS.items() if key in payload}
        stream = bool(payload.get("stream"))
        request = self._request.model_copy(update={**options, "json_data": payload})
        reply: Any = await self._client.request(object, request, stream=stream, stream_cls=_stream_class())
        return reply if stream else refusal_told(reply)

    @cached_property
    def _request(self) -> Any:
        """The shared part of all requests; ``post`` would build a request's defaults each time."""
        from openai._models import FinalRequestOptions

        return FinalRequestOptions.construct(method="post", url="/chat/completions")


@cache
def _stream_class() -> Any:
    from openai import AsyncStream

    class Chunks(AsyncStream[object]):
        """The SDK's stream, read to its end: otherwise it leaves generators that the event loop must close in tasks."""

        def __aiter__(self) -> AsyncIterator[Any]:
            return self._iterator

        async def __stream__(self) -> AsyncIterator[Any]:
            if self.response.headers.get("content-type", "").startswith("application/json"):
                # The server ignored the request for a stream, or is reporting an error.
                yield _sound(json.loads(await self.response.aread()), self.response)
                return
            events = self._iter_events()
            try:
                async for event in events:
                    if not event.data.strip():
                        # Some servers send empty events to keep a connection alive.
                        continue
                    if event.data.startswith("[DONE]"):
                        # The connection is reused only if nothing is left to be read.
                        with suppress(TimeoutError):
                            async with asyncio.timeout(_DRAIN_SECONDS):
                                async for _ in events:
                                    pass
                        return
                    yield _sound(event.json(), self.response)
            finally:
                await self.response.aclose()

    return Chunks


def _sound(data: Any, response: Any) -> Any:
    """Return the data of a stream event, or raise if it is an error."""
    error = error_in(data)
    if error:
        from openai import APIError

        said = error.get("message") if isinstance(error, dict) else None
        message = said if said and isinstance(said, str) else "An error occurred during streaming"
        raise APIError(message, request=response.request, body=error)
    return data


def error_in(body: Any) -> Any:
    """Find an error inside a reply or chunk that was sent with a success status.

    Args:
        body: The parsed JSON.

    Returns:
        The error as the server wrote it; None if there is none.
    """
    if not isinstance(body, dict):
        return None
    if body.get("error"):
        return body["error"]
    if body.get("object") == "error":
        return body
    choices = body.get("choices")
    if choices and isinstance(choices, list):
        # If the provider behind a router fails midway, the router completes its reply and puts the error in the choice.
        return choices[0].get("error") if isinstance(choices[0], dict) else None
    state = body.get("base_resp")
    return state if isinstance(state, dict) and state.get("status_code") else None


@dataclass(frozen=True, slots=True)
class _ToBeParsed:
    completions: Completions

    async def create(self, **payload: Any) -> _Parsed:
        return _Parsed(await self.completions.create(**payload))


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A response whose body is already parsed."""

    body: Any

    def parse(self) -> Any:
        return self.body


def refusal_told(body: Any) -> Any:
    """Set the finish reason of refusals, the only sign of one that langchain-openai passes on from dicts."""
    for choice in (body.get("choices") or ()) if isinstance(body, dict) else ():
        if isinstance(choice, dict) and (choice.get("message") or {}).get("refusal"):
            choice["finish_reason"] = REFUSED
    return body
