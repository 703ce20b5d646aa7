"""What each fault does to an answer, and where it breaks a stream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from .base import Manner, Stream, encode
from .brain import force_a_call
from .request import Json, Request, Tool, ToolCall
from .scenario import Answer, Fault

_BY_STATUS = frozenset(
    ["rate_limit", "server_error", "unavailable", "overloaded", "auth", "permission", "not_found", "bad_request",
     "context_overflow"]
)  # fmt: skip
# Played while the answer is being sent.
IN_TRANSIT = frozenset(["cut_stream", "tidy_cut", "stall", "malformed_json", "error_in_stream"])

_REFUSAL = "I'm sorry, but I can't help with that."
_WRONG: dict[str, Any] = {"integer": "seven", "number": "seven", "boolean": "perhaps", "array": 7, "object": 7}


def refusal_manner(fault: Fault, usual: Manner) -> Manner:
    """Return how a refusal is shown: the variant the fault names, or the wire format's usual manner."""
    return fault.variant if fault.variant in ("finish", "field") else usual


def told_by_status(fault: Fault, usual: Manner) -> bool:
    """Whether a fault is shown by status and error body, before anything else is sent."""
    refused = fault.kind == "refusal" and refusal_manner(fault, usual) == "error"
    return refused or fault.kind in _BY_STATUS


def alter(answer: Answer, fault: Fault, request: Request) -> Answer:
    """Apply the faults that change the answer's content; the others leave the answer as it is."""
    if fault.kind == "truncation":
        return _halved(answer, "length")
    if fault.kind == "refusal":
        return replace(answer, text="", json=None, tool_calls=(), finish="content_filter")
    if fault.kind == "empty":
        return replace(answer, text="", json=None, tool_calls=(), finish=answer.finish or "stop")
    if fault.kind == "wrong_model":
        return replace(answer, model=fault.model or f"{request.model}-substitute")
    if fault.kind == "bad_tool_arguments":
        calls = answer.tool_calls or force_a_call(request).tool_calls
        tools = {tool.name: tool for tool in request.tools}
        spoilt = tuple(_spoilt(call, tools.get(call.name), fault.variant == "broken_json") for call in calls)
        return replace(answer, text=None, json=None, tool_calls=spoilt)
    if fault.kind == "tidy_cut" and not request.stream:
        return _halved(answer, None)
    return answer


def refusal_text(fault: Fault) -> str:
    """Return the text of a refusal."""
    return fault.message or _REFUSAL


def split(stream: Stream, fault: Fault) -> tuple[bytes, bytes, float]:
    """Split a stream where its fault occurs.

    Returns:
        What is sent before the fault, what a stream that continues after it still sends, and the share of the content
        sent before it (0 to 1).
    """
    count = len(stream.chunks)
    kept = min(count // 2 if fault.after_chunks is None else fault.after_chunks, max(count - 1, 0))
    before = b"".join([*stream.head, *stream.chunks[:kept]])
    after = b"".join([*stream.chunks[kept + 1 :], *stream.tail])
    return before, after, kept / count if count else 0.0


def broken_line(stream: Stream) -> bytes:
    """Return a data line whose JSON ends too early, made from the stream's first content event."""
    for event in (*stream.chunks, *stream.tail):
        head, data, rest = event.partition(b"data: ")
        line = rest.partition(b"\n")[0]
        return head + data + line[: max(len(line) // 2, 1)] + b"\n\n"
    return b'data: {"broken":\n\n'


def _halved(answer: Answer, finish: Literal["length"] | None) -> Answer:
    text = answer.text
    if answer.json is not None:
        text = encode(answer.json).decode()
    calls = tuple(_half_call(call) for call in answer.tool_calls)
    return replace(answer, text=text and text[: len(text) // 2], json=None, tool_calls=calls, finish=finish)


def _half_call(call: ToolCall) -> ToolCall:
    raw = encode(call.arguments).decode()
    names = list(call.arguments)
    kept = {name: call.arguments[name] for name in names[: len(names) // 2]}
    return ToolCall(name=call.name, arguments=kept, id=call.id, raw=raw[: max(len(raw) // 2, 1)])


def _spoilt(call: ToolCall, tool: Tool | None, broken: bool) -> ToolCall:
    if broken:
        raw = encode(call.arguments).decode()
        return replace(call, raw=raw[:-1] + ',"')
    schema = (tool.schema if tool else None) or {}
    properties: Json = schema.get("properties") or {}
    if not properties:
        return replace(call, arguments={"unexpected": None})
    # Give the first argument with a declared type a wrong type; if there is none, replace all arguments.
    for name, sub in properties.items():
        kind = sub.get("type") if isinstance(sub, dict) else None
        if isinstance(kind, str) and kind.lower() in _WRONG:
            return replace(call, arguments={**call.arguments, name: _WRONG[kind.lower()]})
        if isinstance(kind, str) and kind.lower() == "string":
            return replace(call, arguments={**call.arguments, name: [7]})
    return replace(call, arguments={"unexpected": None})
