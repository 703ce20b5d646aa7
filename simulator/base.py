"""The protocol that every wire format implements, and the data passed through it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import orjson

from .request import Endpoint, Json, Message, Request, ToolCall
from .scenario import Fault

# Compact JSON to and from bytes.
encode: Callable[[Any], bytes] = orjson.dumps
decode: Callable[[bytes | str], Any] = orjson.loads

Manner = Literal["finish", "error", "blocked", "field"]
"""How a wire format shows a refusal."""

_WORDS = re.compile(r"\S+\s*|\s+")
_MOST_CHUNKS = 24
_ARGUMENT_CHUNK = 24


class BadRequest(Exception):
    """The body is not what the vendor's API accepts; the text goes into the vendor's own error shape."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens as reported: `input` includes `cached` and `cache_creation`."""

    input: int
    output: int = 0
    cached: int = 0
    cache_creation: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer ready to be sent.

    Args:
        number: Running number, from which every identifier is made.
        created: Unix time in seconds.
        finish: Why the model stopped, in vendor-neutral terms; None if the vendor is to leave it out.
        refusal: The text of a refusal, for vendors with a separate field for it.
        blocked: The prompt itself was refused.
    """

    request: Request
    number: int
    created: int
    model: str
    text: str
    tool_calls: tuple[ToolCall, ...]
    finish: str | None
    counts: Counts
    stop_sequence: str | None = None
    refusal: str | None = None
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class Stream:
    """The events of one streamed answer: `chunks` carry content, `tail` says that it is complete."""

    head: Sequence[bytes]
    chunks: Sequence[bytes]
    tail: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Headroom:
    """The state of a rate limit: requests per minute, requests remaining, and seconds until it is full again."""

    limit: int
    remaining: int
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A rendered error: status, body and extra headers."""

    status: int
    body: Json
    headers: Mapping[str, str]


class Wire(Protocol):
    """One vendor's wire format."""

    @property
    def manner(self) -> Manner:
        """How the vendor usually shows a refusal."""
        ...

    def parse(self, vendor: str, endpoint: Endpoint, model: str, body: Json, *, stream: bool) -> Request:
        """Read a request; raise BadRequest if the vendor would reject it."""
        ...

    def body(self, reply: Reply) -> Json:
        """Write an answer, an embedding or a token count in one piece."""
        ...

    def stream(self, reply: Reply) -> Stream:
        """Write an answer as server-sent events."""
        ...

    def failure(self, fault: Fault, request: Request, number: int) -> Refused:
        """Write an error in the vendor's own words; `number` is the request's, from which identifiers are made."""
        ...

    def failure_event(self, fault: Fault, request: Request, number: int) -> bytes:
        """Write an error that occurs after a stream has begun."""
        ...

    def models(self, names: Sequence[str]) -> Json:
        """List models."""
        ...

    def headers(self, number: int, headroom: Headroom) -> dict[str, str]:
        """Write the headers every response carries."""
        ...


def sse(data: Any, event: str | None = None) -> bytes:
    """Write one server-sent event."""
    payload = encode(data)
    return b"data: %b\n\n" % payload if event is None else b"event: %b\ndata: %b\n\n" % (event.encode(), payload)


def chunks_of(text: str) -> list[str]:
    """Split a text into the pieces a stream sends: words, at most 24 pieces, at least two if it can be split."""
    words = _WORDS.findall(text)
    if len(words) > _MOST_CHUNKS:
        size = -(-len(words) // _MOST_CHUNKS)
        return ["".join(words[start : start + size]) for start in range(0, len(words), size)]
    if len(words) == 1 and len(text) > 1:
        return [text[: len(text) // 2], text[len(text) // 2 :]]
    return words


def argument_chunks(text: str) -> list[str]:
    """Split a tool call's encoded arguments into the pieces a stream sends."""
    size = max(_ARGUMENT_CHUNK, -(-len(text) // _MOST_CHUNKS))
    return [text[start : start + size] for start in range(0, len(text), size)]


def encoded_arguments(call: ToolCall) -> str:
    """Encode a call's arguments as the string some vendors send, or return the call's ``raw`` string if it has one."""
    return encode(call.arguments).decode() if call.raw is None else call.raw


def listed(body: Json, key: str) -> list[Any]:
    """Return a list from a body; a missing one is empty.

    Raises:
        BadRequest: The value is not a list.
    """
    value = body.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRequest(f"{key}: Input should be a valid list")
    return value


def check_pairs(messages: Sequence[Message], stray: str, unanswered: str) -> None:
    """Check that every tool result answers a call of the previous turn, and that every call is answered.

    Args:
        messages: The conversation.
        stray: The vendor's message for a result without its call, with ``{id}`` in it.
        unanswered: The vendor's message for calls without their results, with ``{ids}`` in it.

    Raises:
        BadRequest: With one of these messages.
    """
    pending: set[str] = set()
    for message in messages:
        if message.role == "tool":
            if message.tool_call_id not in pending:
                raise BadRequest(stray.format(id=message.tool_call_id))
            pending.discard(message.tool_call_id)
            continue
        if pending:
            break
        pending = {call.id for call in message.tool_calls}
    if pending:
        raise BadRequest(unanswered.format(ids=", ".join(sorted(pending))))
