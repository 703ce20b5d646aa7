"""Wire format of OpenAI's Responses API.

Shapes from platform.openai.com/docs/api-reference/responses and .../responses-streaming.
"""

from __future__ import annotations

from typing import Any

from ..base import (
    BadRequest,
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
from ..request import Endpoint, Json, Message, Request, Role, Tool, ToolCall
from ..scenario import Fault
from .openai import PAIRS, OpenAIWire, openai_failure, read_arguments, read_choice, read_parts

_OVERFLOW = "Your input exceeds the context window of this model. Please adjust your input and try again."
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class ResponsesWire(OpenAIWire):
    """The Responses API's wire format; models and headers are the same as for Chat Completions."""

    def parse(self, vendor: str, endpoint: Endpoint, model: str, body: Json, *, stream: bool) -> Request:
        """Read a response request."""
        if not isinstance(body.get("model"), str):
            raise BadRequest("Missing required parameter: 'model'.")
        messages = _read_input(body)
        check_pairs(messages, *PAIRS)
        tools = listed(body, "tools")
        choice, tool_name = read_choice(body.get("tool_choice"))
        form = (body.get("text") or {}).get("format") or {}
        return Request(
            vendor=vendor,
            endpoint=endpoint,
            model=body["model"],
            messages=tuple(messages),
            tools=tuple(_read_tool(tool) for tool in tools),
            tool_choice=choice,
            tool_name=tool_name,
            parallel=body.get("parallel_tool_calls") is not False,
            schema=form.get("schema") if form.get("type") == "json_schema" else None,
            json_mode=form.get("type") == "json_object",
            max_tokens=body.get("max_output_tokens"),
            stream=bool(body.get("stream")),
            include_usage=True,
            tool_chars=len(encode(tools)) if tools else 0,
            body=body,
        )

    def body(self, reply: Reply) -> Json:
        """Write a finished response."""
        return _response(reply, _items(reply), _status(reply), with_usage=True)

    def stream(self, reply: Reply) -> Stream:
        """Write the typed events from response.created to response.completed (or .incomplete)."""
        events = _Events()
        begun = _response(reply, [], "in_progress", with_usage=False)
        head = [
            events.write("response.created", response=begun),
            events.write("response.in_progress", response=begun),
        ]
        chunks: list[bytes] = []
        items = _items(reply)
        for index, item in enumerate(items):
            chunks += events.message(index, item) if item["type"] == "message" else events.call(index, item)
        status = _status(reply)
        if reply.finish is None:
            return Stream(head, chunks, [])
        whole = _response(reply, items, status, with_usage=True)
        return Stream(head, chunks, [events.write(f"response.{status}", response=whole)])

    def failure(self, fault: Fault, request: Request, number: int) -> Refused:
        """Write an error object."""
        return openai_failure(fault, request, _OVERFLOW if fault.kind == "context_overflow" else None)

    def failure_event(self, fault: Fault, request: Request, number: int) -> bytes:
        """Write the `error` event."""
        error = self.failure(fault, request, number).body["error"]
        event = {"type": "error", "code": error["code"] or error["type"], "message": error["message"],
                 "param": error["param"], "sequence_number": 0}  # fmt: skip
        return sse(event, "error")


class _Events:
    """Numbers the events of one stream."""

    def __init__(self) -> None:
        self.number = -1

    def write(self, kind: str, **fields: Any) -> bytes:
        self.number += 1
        return sse({"type": kind, "sequence_number": self.number, **fields}, kind)

    def message(self, index: int, item: Json) -> list[bytes]:
        part = item["content"][0]
        field = "refusal" if part["type"] == "refusal" else "text"
        event = "response.refusal" if field == "refusal" else "response.output_text"
        blank = {**part, field: ""}
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        extra: Json = {} if field == "refusal" else {"logprobs": []}
        opening = self.write(
            "response.output_item.added", output_index=index, item={**item, "content": [], "status": "in_progress"}
        )
        opening += self.write("response.content_part.added", **place, part=blank)
        pieces = chunks_of(part[field]) or [""]
        chunks = [self.write(f"{event}.delta", **place, delta=piece, **extra) for piece in pieces]
        chunks[0] = opening + chunks[0]
        chunks[-1] += self.write(f"{event}.done", **place, **{field: part[field]}, **extra)
        chunks[-1] += self.write("response.content_part.done", **place, part=part)
        chunks[-1] += self.write("response.output_item.done", output_index=index, item=item)
        return chunks

    def call(self, index: int, item: Json) -> list[bytes]:
        place = {"item_id": item["id"], "output_index": index}
        opening = self.write(
            "response.output_item.added", output_index=index, item={**item, "arguments": "", "status": "in_progress"}
        )
        event = "response.function_call_arguments"
        pieces = argument_chunks(item["arguments"])
        chunks = [self.write(f"{event}.delta", **place, delta=piece) for piece in pieces]
        chunks[0] = opening + chunks[0]
        chunks[-1] += self.write(f"{event}.done", **place, arguments=item["arguments"], name=item["name"])
        chunks[-1] += self.write("response.output_item.done", output_index=index, item=item)
        return chunks


def _items(reply: Reply) -> list[Json]:
    items: list[Json] = []
    if reply.text or reply.refusal is not None or not reply.tool_calls:
        part: Json = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
        if reply.refusal is not None:
            part = {"type": "refusal", "refusal": reply.refusal}
        items.append({"id": f"msg_{reply.number:032d}", "type": "message", "role": "assistant",
                      "status": "completed", "content": [part]})  # fmt: skip
    for index, call in enumerate(reply.tool_calls):
        items.append({"id": f"fc_{reply.number:028d}{index:04d}", "type": "function_call", "status": "completed",
                      "call_id": call.id, "name": call.name,
                      "arguments": encoded_arguments(call)})  # fmt: skip
    return items


def _status(reply: Reply) -> str:
    if reply.finish is None:
        return "in_progress"
    return "incomplete" if reply.finish in _INCOMPLETE else "completed"


def _response(reply: Reply, items: list[Json], status: str, *, with_usage: bool) -> Json:
    body, counts = reply.request.body, reply.counts
    reason = _INCOMPLETE.get(reply.finish or "") if status == "incomplete" else None
    usage = {
        "input_tokens": counts.input,
        "input_tokens_details": {"cached_tokens": counts.cached, "cache_write_tokens": 0},
        "output_tokens": counts.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counts.input + counts.output,
    }
    return {
        "id": f"resp_{reply.number:032d}",
        "object": "response",
        "created_at": reply.created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "model": reply.model,
        "output": items,
        "parallel_tool_calls": reply.request.parallel,
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "max_output_tokens": body.get("max_output_tokens"),
        "usage": usage if with_usage else None,
    }


def _read_tool(tool: Json) -> Tool:
    if tool.get("type") != "function":
        return Tool(tool.get("type", ""))
    return Tool(tool.get("name", ""), tool.get("description") or "", tool.get("parameters") or {})


def _read_input(body: Json) -> list[Message]:
    messages: list[Message] = []
    if isinstance(body.get("instructions"), str):
        messages.append(Message("system", body["instructions"]))
    raw = body.get("input")
    if isinstance(raw, str):
        messages.append(Message("user", raw))
    elif isinstance(raw, list) and raw:
        for item in raw:
            _read_item(item, messages)
    else:
        raise BadRequest("Missing required parameter: 'input'.")
    return messages


def _read_item(item: Json, messages: list[Message]) -> None:
    kind = item.get("type", "message")
    if kind == "function_call":
        call = ToolCall(name=item["name"], arguments=read_arguments(item.get("arguments")), id=item["call_id"])
        if messages and messages[-1].role == "assistant":
            last = messages.pop()
            messages.append(Message("assistant", last.text, (*last.tool_calls, call)))
        else:
            messages.append(Message("assistant", "", (call,)))
    elif kind == "function_call_output":
        text, images, documents, _ = read_parts(item.get("output"))
        messages.append(Message("tool", text, (), item.get("call_id", ""), images, documents))
    elif kind == "message":
        role = _ROLES.get(item.get("role", ""))
        if role is None:
            raise BadRequest(f"Invalid value: '{item.get('role')}' for 'input[].role'.")
        text, images, documents, audio = read_parts(item.get("content"))
        messages.append(Message(role, text, (), "", images, documents, audio))
