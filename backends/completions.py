"""OpenAI's Chat Completions without the SDK's response models, which langchain-openai would only turn into dicts again.

Connections, headers, errors and the reading of streams stay the SDK's: ``post`` with ``cast_to`` is its documented call
for requests of one's own. Building the models costs a quarter to a third of a call's processor time
(``benchmarks/calls.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["REFUSED", "Completions", "refusal_told"]

REFUSED: Final = "refusal"
"""The finish reason of an answer that is a refusal; OpenAI itself says ``stop``."""

_OPTIONS: Final = {
    "extra_headers": "headers",
    "extra_query": "params",
    "extra_body": "extra_json",
    "timeout": "timeout",
}


class Completions:
    """Stands where langchain-openai expects ``AsyncOpenAI().chat.completions``; replies are plain dicts.

    Args:
        client: The SDK's client.
    """

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    @property
    def with_raw_response(self) -> _ToBeParsed:
        """The same for one who wants to parse the response, as langchain-openai does with every whole answer."""
        return _ToBeParsed(self)

    async def create(self, **payload: Any) -> Any:
        """Send one request.

        Args:
            payload: Its body, with the SDK's ``extra_headers``, ``extra_query``, ``extra_body`` and ``timeout`` beside.
        """
        from openai import AsyncStream

        options: Any = {name: payload.pop(key) for key, name in _OPTIONS.items() if key in payload}
        stream = bool(payload.get("stream"))
        reply: Any = await self._client.post(
            "/chat/completions",
            cast_to=object,
            body=payload,
            options=options,
            stream=stream,
            stream_cls=AsyncStream[object],
        )
        return reply if stream else refusal_told(reply)


@dataclass(frozen=True, slots=True)
class _ToBeParsed:
    completions: Completions

    async def create(self, **payload: Any) -> _Parsed:
        return _Parsed(await self.completions.create(**payload))


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A response whose body the SDK has parsed already, so that it need not be kept for later."""

    body: Any

    def parse(self) -> Any:
        return self.body


def refusal_told(body: Any) -> Any:
    """Put a refusal into the finish reason: of dicts langchain-openai passes only that on."""
    for choice in (body.get("choices") or ()) if isinstance(body, dict) else ():
        if isinstance(choice, dict) and (choice.get("message") or {}).get("refusal"):
            choice["finish_reason"] = REFUSED
    return body
