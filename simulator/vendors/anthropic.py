"""Wire format of Anthropic's Messages API.

Shapes and error types from platform.claude.com/docs/en/api (messages, streaming, errors, rate limits).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..base import (
    BadRequest,
    Counts,
    Headroom,
    Manner,
    Refused,
    Reply,
    Stream,
    argument_chunks,
    check_pairs,
    chunks_of,
    encode,
    encoded_arguments,
    listed,
    sse,
)
from ..request import Endpoint, Json, Message, Request, Tool, ToolCall, input_tokens
from ..scenario import Fault

_FINISH = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
}
_PAIRS = (
    "messages: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a "
    "corresponding `tool_use` block in the previous message.",
    "messages: `tool_use` ids were found without `tool_result` blocks immediately after: {ids}. Each `tool_use` block "
    "must have a corresponding `tool_result` block in the next message.",
)
_FAILURES: dict[str, tuple[int, str, str]] = {
    "rate_limit": (429, "rate_limit_error", "This request would exceed your organization's rate limit."),
    "server_error": (500, "api_error", "Internal server error"),
    "unavailable": (503, "api_error", "Service temporarily unavailable"),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "auth": (401, "authentication_error", "invalid x-api-key"),
    "permission": (403, "permission_error", "Your API key does not have permission to use the specified resource."),
    "not_found": (404, "not_found_error", "model: {model}"),
    "bad_request": (400, "invalid_request_error", "messages: Input should be a valid list"),
    "context_overflow": (400, "invalid_request_error", "prompt is too long: {tokens} tokens > 200000 maximum"),
}


class AnthropicWire:
    """Anthropic's wire format."""

    manner: Manner = "finish"

    def parse(self, vendor: str, endpoint: Endpoint, model: str, body: Json, *, stream: bool) -> Request:
        """Read a Messages or count_tokens request."""
        if not isinstance(body.get("model"), str):
            raise BadRequest("model: Field required")
        if endpoint == "chat" and not isinstance(body.get("max_tokens"), int):
            raise BadRequest("max_tokens: Field required")
        raw = listed(body, "messages")
        if not raw:
            raise BadRequest("messages: at least one message is required")
        messages: list[Message] = []
        marked = _read_system(body.get("system"), messages)
        for item in raw:
            if _read_message(item, messages):
                marked = len(messages)
        if "cache_control" in body:
            marked = len(messages)
        check_pairs(messages, *_PAIRS)
        tools = listed(body, "tools")
        if not marked and any("cache_control" in tool for tool in tools):
            marked = 1 if messages and messages[0].role == "system" else 0
        choice = body.get("tool_choice") or {}
        kind = choice.get("type", "auto")
        return Request(
            vendor=vendor,
            endpoint=endpoint,
            model=body["model"],
            messages=tuple(messages),
            tools=tuple(
                Tool(tool.get("name", ""), tool.get("description") or "", tool.get("input_schema")) for tool in tools
            ),
            tool_choice="named" if kind == "tool" else kind,
            tool_name=choice.get("name", ""),
            parallel=not choice.get("disable_parallel_tool_use", False),
            schema=_schema(body),
            stop=tuple(listed(body, "stop_sequences")),
            max_tokens=body.get("max_tokens"),
            stream=bool(body.get("stream")),
            tool_chars=len(encode(tools)) if tools else 0,
            breakpoint=marked or None,
            body=body,
        )

    def body(self, reply: Reply) -> Json:
        """Write a message, or a token count."""
        if reply.request.endpoint == "count_tokens":
            return {"input_tokens": reply.counts.input}
        return _message(reply, _blocks(reply), _finish(reply), reply.counts.output)

    def stream(self, reply: Reply) -> Stream:
        """Write message_start, the blocks' events, message_delta and message_stop."""
        start = {"type": "message_start", "message": _message(reply, [], None, 1)}
        head = [sse(start, "message_start"), sse({"type": "ping"}, "ping")]
        chunks: list[bytes] = []
        index = 0
        if reply.text:
            deltas = [{"type": "text_delta", "text": piece} for piece in chunks_of(reply.text)]
            chunks += _block_events(index, {"type": "text", "text": ""}, deltas)
            index += 1
        for call in reply.tool_calls:
            pieces = ["", *argument_chunks(encoded_arguments(call))] if call.arguments or call.raw else [""]
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
            chunks += _block_events(index, {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}, deltas)
            index += 1
        delta = {
            "type": "message_delta",
            "delta": {
                "stop_reason": _finish(reply),
                "stop_sequence": reply.stop_sequence,
                "stop_details": _stop_details(_finish(reply)),
            },
            # Cumulative over the whole message: clients take the input counts from here.
            "usage": {**_input_usage(reply.counts), "output_tokens": reply.counts.output},
        }
        tail = [sse(delta, "message_delta"), sse({"type": "message_stop"}, "message_stop")]
        return Stream(head, chunks, tail)

    def failure(self, fault: Fault, request: Request, number: int) -> Refused:
        """Write an error object and, for rate limits, `retry-after`."""
        status, kind, text = _FAILURES[fault.kind]
        message = fault.message or text.format(model=request.model, tokens=max(input_tokens(request), 200_001))
        body = {
            "type": "error",
            "error": {"type": kind, "message": message},
            "request_id": f"req_{number:024d}",
        }
        headers = {"retry-after": f"{fault.retry_after:g}"} if fault.kind == "rate_limit" else {}
        return Refused(status, body, headers)

    def failure_event(self, fault: Fault, request: Request, number: int) -> bytes:
        """Write the `error` event that ends a stream."""
        return sse(self.failure(fault, request, number).body, "error")

    def models(self, names: Sequence[str]) -> Json:
        """List models."""
        data = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"} for name in names
        ]
        return {"data": data, "has_more": False, "first_id": names[0] if names else None,
                "last_id": names[-1] if names else None}  # fmt: skip

    def headers(self, number: int, headroom: Headroom) -> dict[str, str]:
        """Write request-id and the anthropic-ratelimit headers."""
        reset = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + headroom.reset_seconds))
        return {
            "request-id": f"req_{number:024d}",
            "anthropic-ratelimit-requests-limit": str(headroom.limit),
            "anthropic-ratelimit-requests-remaining": str(headroom.remaining),
            "anthropic-ratelimit-requests-reset": reset,
        }


def _finish(reply: Reply) -> str | None:
    return "stop_sequence" if reply.stop_sequence else _FINISH.get(reply.finish or "")


def _stop_details(finish: str | None) -> Json | None:
    return {"type": "refusal", "category": None, "explanation": None} if finish == "refusal" else None


def _input_usage(counts: Counts) -> Json:
    # Anthropic's input_tokens exclude tokens read from or written to the cache.
    return {
        "input_tokens": max(counts.input - counts.cached - counts.cache_creation, 0),
        "cache_creation_input_tokens": counts.cache_creation,
        "cache_read_input_tokens": counts.cached,
    }


def _message(reply: Reply, content: list[Json], finish: str | None, output: int) -> Json:
    counts = reply.counts
    return {
        "id": f"msg_{reply.number:024d}",
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": content,
        "stop_reason": finish,
        "stop_sequence": reply.stop_sequence if finish else None,
        "stop_details": _stop_details(finish),
        "usage": {
            **_input_usage(counts),
            "cache_creation": {
                "ephemeral_5m_input_tokens": counts.cache_creation,
                "ephemeral_1h_input_tokens": 0,
            },
            "output_tokens": output,
            "service_tier": "standard",
        },
    }


def _blocks(reply: Reply) -> list[Json]:
    blocks: list[Json] = [{"type": "text", "text": reply.text}] if reply.text else []
    calls = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in reply.tool_calls
    ]
    return blocks + calls


def _block_events(index: int, block: Json, deltas: list[Json]) -> list[bytes]:
    # The opening and closing events carry no content, so they are sent with the block's first and last delta.
    events = [
        sse({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta") for delta in deltas
    ]
    start = sse({"type": "content_block_start", "index": index, "content_block": block}, "content_block_start")
    events[0] = start + events[0]
    events[-1] += sse({"type": "content_block_stop", "index": index}, "content_block_stop")
    return events


def _read_system(system: Any, messages: list[Message]) -> int:
    if isinstance(system, str):
        messages.append(Message("system", system))
    elif isinstance(system, list) and system:
        messages.append(Message("system", "\n".join(block.get("text", "") for block in system)))
        return int(any("cache_control" in block for block in system))
    return 0


def _read_message(item: Any, messages: list[Message]) -> bool:
    """Add one message's turns; return whether any of its blocks carries a cache marker."""
    if not isinstance(item, dict) or item.get("role") not in ("user", "assistant", "system"):
        raise BadRequest("messages: each message needs a role of 'user' or 'assistant'")
    role, content = item["role"], item.get("content")
    if isinstance(content, str):
        messages.append(Message(role, content))
        return False
    if not isinstance(content, list):
        raise BadRequest("messages: content: Input should be a valid string or list")
    texts: list[str] = []
    calls: list[ToolCall] = []
    images = documents = 0
    others = False
    for block in content:
        kind = block.get("type")
        if kind == "tool_result":
            messages.append(_tool_result(block))
            continue
        others = True
        if kind == "text":
            texts.append(block.get("text", ""))
        elif kind == "tool_use":
            calls.append(ToolCall(name=block["name"], arguments=block.get("input") or {}, id=block["id"]))
        elif kind == "image":
            images += 1
        elif kind == "document":
            documents += 1
    if others or not content:
        messages.append(Message(role, "\n".join(texts), tuple(calls), images=images, documents=documents))
    return any("cache_control" in block for block in content)


def _tool_result(block: Json) -> Message:
    content = block.get("content") or ""
    images = documents = 0
    if isinstance(content, list):
        images = sum(part.get("type") == "image" for part in content)
        documents = sum(part.get("type") == "document" for part in content)
        content = "\n".join(part["text"] for part in content if part.get("type") == "text")
    return Message("tool", content, tool_call_id=block.get("tool_use_id", ""), images=images, documents=documents)


def _schema(body: Json) -> Json | None:
    form = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    schema = form.get("schema")
    return schema if isinstance(schema, dict) else None
