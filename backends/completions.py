"""OpenAI's Chat Completions without the SDK's response models, which langchain-openai would only turn into dicts again.

Connections, headers, errors and the reading of streams stay the SDK's: ``post`` with ``cast_to`` is its documented call
for requests of one's own. Building the models costs a quarter to a third of a call's processor time
(``benchmarks/calls.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["REFUSED", "Completions"]

REFUSED: Final = "refusal"
"""The finish reason of an answer that is a refusal; OpenAI itself says ``stop``."""

_OPTIONS: Final = {
    "extra_headers": "headers",
    "extra_query": "params",
    "extra_body": "extra_json",
    "timeout": "timeout",
}
_RAW: Final = {"X-Stainless-Raw-Response": "true"}


class Completions:
    """Stands where langchain-openai expects ``AsyncOpenAI().chat.completions``; replies are plain dicts.

    Args:
        client: The SDK's client.
        raw: Give the response with its headers, to be parsed by the caller.
    """

    def __init__(self, client: AsyncOpenAI, *, raw: bool = False) -> None:
        self._client = client
        self._raw = raw

    @property
    def with_raw_response(self) -> Completions:
        """The same, giving responses with their headers."""
        return Completions(self._client, raw=True)

    async def create(self, **payload: Any) -> Any:
        """Send one request.

        Args:
            payload: Its body, with the SDK's ``extra_headers``, ``extra_query``, ``extra_body`` and ``timeout`` beside.
        """
        from openai import AsyncStream

        options: Any = {name: payload.pop(key) for key, name in _OPTIONS.items() if key in payload}
        if self._raw:
            options["headers"] = {**(options.get("headers") or {}), **_RAW}
        stream = bool(payload.get("stream"))
        reply: Any = await self._client.post(
            "/chat/completions",
            cast_to=object,
            body=payload,
            options=options,
            stream=stream,
            stream_cls=AsyncStream[object],
        )
        if stream:
            return reply
        return _Whole(reply) if self._raw else _refusal_told(reply)


class _Whole:
    """A response with its headers, whose body tells of a refusal."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    def parse(self) -> Any:
        return _refusal_told(self._response.parse())


def _refusal_told(body: Any) -> Any:
    """Put a refusal into the finish reason: of dicts langchain-openai passes only that on."""
    for choice in (body.get("choices") or ()) if isinstance(body, dict) else ():
        if isinstance(choice, dict) and (choice.get("message") or {}).get("refusal"):
            choice["finish_reason"] = REFUSED
    return body
