"""Wire format of OpenAI's Chat Completions and Embeddings APIs, which many other vendors use too.

Shapes and error codes from platform.openai.com/docs/api-reference (chat, embeddings, models, errors, rate limits).
"""

from __future__ import annotations

import math
import zlib
from base64 import b64encode
from collections.abc import Sequence
from struct import pack
from typing import Any

from ..base import (
    BadRequest,
    Headroom,
    Manner,
    Refused,
    Reply,
    Stream,
    argument_chunks,
    check_pairs,
    chunks_of,
    decode,
    encode,
    encoded_arguments,
    listed,
    sse,
)
from ..request import Endpoint, Json, Message, Request, Role, Tool, ToolCall, input_tokens
from ..scenario import Fault

DONE = b"data: [DONE]\n\n"
PAIRS = (
    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
    "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The "
    "following tool_call_ids did not have response messages: {ids}",
)
_DIMENSIONS = 256
_FINISH = {"refusal": "stop"}
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_FAILURES: dict[str, tuple[int, str, str | None, str]] = {
    "rate_limit": (429, "requests", "rate_limit_exceeded", "Rate limit reached for {model} on requests per min."),
    "server_error": (500, "server_error", None, "The server had an error while processing your request. Sorry!"),
    "unavailable": (503, "server_error", None, "The server is temporarily unavailable. Please try again later."),
    "overloaded": (503, "server_error", None, "The engine is currently overloaded, please try again later."),
    "auth": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "permission": (403, "invalid_request_error", "unsupported_country_region_territory", "You are not allowed."),
    "not_found": (
        404,
        "invalid_request_error",
        "model_not_found",
        "The model `{model}` does not exist or you do not have access to it.",
    ),
    "bad_request": (400, "invalid_request_error", None, "Invalid type for 'messages'."),
    "context_overflow": (
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in {tokens} tokens. Please "
        "reduce the length of the messages.",
    ),
    "refusal": (
        400,
        "invalid_request_error",
        "content_filter",
        "The response was filtered due to the prompt triggering the content management policy.",
    ),
}
# The wording of older OpenAI models, which compatible servers (vLLM, DeepSeek) still use.
_OVERFLOW_ELSEWHERE = (
    "This model's maximum context length is 131072 tokens. However, your messages resulted in {tokens} tokens. Please "
    "reduce the length of the messages."
)
_QUOTA = (429, "insufficient_quota", "insufficient_quota",
          "You exceeded your current quota, please check your plan and billing details.")  # fmt: skip


class OpenAIWire:
    """OpenAI's wire format for chat completions and embeddings."""

    manner: Manner = "error"

    def parse(self, vendor: str, endpoint: Endpoint, model: str, body: Json, *, stream: bool) -> Request:
        """Read a chat completion or embeddings request."""
        if not isinstance(body.get("model"), str):
            raise BadRequest("you must provide a model parameter")
        if endpoint == "embeddings":
            return _embedding_request(vendor, body)
        raw = listed(body, "messages")
        if not raw:
            raise BadRequest("Invalid 'messages': empty array. Expected an array with minimum length 1.")
        messages = tuple(_read_message(item) for item in raw)
        check_pairs(messages, *PAIRS)
        tools = listed(body, "tools")
        choice, tool_name = read_choice(body.get("tool_choice"))
        form = body.get("response_format") or {}
        schema = (form.get("json_schema") or {}).get("schema") if form.get("type") == "json_schema" else None
        stop = body.get("stop") or ()
        return Request(
            vendor=vendor,
            endpoint=endpoint,
            model=body["model"],
            messages=messages,
            tools=tuple(_read_tool(tool) for tool in tools),
            tool_choice=choice,
            tool_name=tool_name,
            parallel=body.get("parallel_tool_calls") is not False,
            schema=schema,
            json_mode=form.get("type") == "json_object",
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
            stream=bool(body.get("stream")),
            include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            tool_chars=len(encode(tools)) if tools else 0,
            body=body,
        )

    def body(self, reply: Reply) -> Json:
        """Write a chat completion or embeddings."""
        if reply.request.endpoint == "embeddings":
            return _embeddings(reply)
        message: Json = {"role": "assistant", "content": reply.text or None, "refusal": reply.refusal}
        if reply.tool_calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function",
                 "function": {"name": call.name, "arguments": encoded_arguments(call)}}
                for call in reply.tool_calls
            ]  # fmt: skip
        elif not reply.text and reply.refusal is None:
            message["content"] = ""
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
        return {**_envelope(reply, "chat.completion"), "choices": [choice], "usage": _usage(reply)}

    def stream(self, reply: Reply) -> Stream:
        """Write the chunks: role, content, finish reason, usage if requested, and [DONE]."""
        envelope = _envelope(reply, "chat.completion.chunk")
        if reply.request.include_usage:
            envelope["usage"] = None

        def chunk(delta: Json, finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return sse({**envelope, "choices": [choice]})

        head = [chunk({"role": "assistant", "content": "" if not reply.tool_calls else None, "refusal": None})]
        chunks = [chunk({"content": piece}) for piece in chunks_of(reply.text)]
        if reply.refusal:
            chunks += [chunk({"refusal": piece}) for piece in chunks_of(reply.refusal)]
        for index, call in enumerate(reply.tool_calls):
            first = {
                "index": index,
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": ""},
            }
            chunks.append(chunk({"tool_calls": [first]}))
            chunks += [
                chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
                for piece in argument_chunks(encoded_arguments(call))
            ]
        tail = [chunk({}, _finish(reply))]
        if reply.request.include_usage:
            tail.append(sse({**envelope, "choices": [], "usage": _usage(reply)}))
        return Stream(head, chunks, [*tail, DONE])

    def failure(self, fault: Fault, request: Request, number: int) -> Refused:
        """Write an error object and, for rate limits, `retry-after`."""
        elsewhere = fault.kind == "context_overflow" and request.vendor != "openai"
        return openai_failure(fault, request, _OVERFLOW_ELSEWHERE if elsewhere else None)

    def failure_event(self, fault: Fault, request: Request, number: int) -> bytes:
        """Write the data line with an `error` object that the SDKs raise from."""
        return sse(self.failure(fault, request, number).body)

    def models(self, names: Sequence[str]) -> Json:
        """List models."""
        data = [{"id": name, "object": "model", "created": 1_767_225_600, "owned_by": "simulator"} for name in names]
        return {"object": "list", "data": data}

    def headers(self, number: int, headroom: Headroom) -> dict[str, str]:
        """Write x-request-id and the x-ratelimit headers."""
        return {
            "x-request-id": f"req_{number:032d}",
            "openai-processing-ms": "1",
            "x-ratelimit-limit-requests": str(headroom.limit),
            "x-ratelimit-remaining-requests": str(headroom.remaining),
            "x-ratelimit-reset-requests": f"{headroom.reset_seconds:.3f}s",
        }


def openai_failure(fault: Fault, request: Request, text: str | None = None) -> Refused:
    """Render a failure in OpenAI's error shape; `text` replaces the table's message but not the scenario's."""
    quota = fault.variant == "insufficient_quota"
    status, kind, code, words = _QUOTA if quota else _FAILURES[fault.kind]
    tokens = max(input_tokens(request), 272_001)
    message = fault.message or (text or words).format(model=request.model, tokens=tokens)
    param = "messages" if fault.kind in ("context_overflow", "bad_request") else None
    headers = {}
    if fault.kind == "rate_limit" and not quota:
        headers = {
            "retry-after": f"{fault.retry_after:g}",
            "retry-after-ms": f"{fault.retry_after * 1000:.0f}",
        }
    return Refused(status, {"error": {"message": message, "type": kind, "param": param, "code": code}}, headers)


def read_choice(choice: Any) -> tuple[Any, str]:
    """Read a tool choice, in Chat Completions' or Responses' spelling, as (kind, tool name)."""
    if isinstance(choice, dict):
        name = choice.get("name") or (choice.get("function") or {}).get("name") or ""
        return ("named" if name else "any"), name
    return {"required": "any", "none": "none"}.get(choice or "auto", "auto"), ""


def read_parts(content: Any) -> tuple[str, int, int, int]:
    """Read message content of either API as (text, images, documents, recordings)."""
    if content is None:
        return "", 0, 0, 0
    if isinstance(content, str):
        return content, 0, 0, 0
    if not isinstance(content, list):
        raise BadRequest("Invalid type for 'messages': expected a string or an array of content parts.")
    texts: list[str] = []
    images = documents = audio = 0
    for part in content:
        kind = part.get("type")
        if kind in ("text", "input_text", "output_text"):
            texts.append(part.get("text", ""))
        elif kind == "refusal":
            texts.append(part.get("refusal", ""))
        elif kind in ("image_url", "input_image"):
            images += 1
        elif kind in ("file", "input_file"):
            documents += 1
        elif kind == "input_audio":
            audio += 1
        else:
            raise BadRequest(
                f"Invalid value: '{kind}'. Supported values are: 'text', 'image_url', 'input_audio', 'file'."
            )
    return "\n".join(texts), images, documents, audio


def read_arguments(text: Any) -> Json:
    """Decode a call's arguments; anything but a JSON object counts as empty."""
    try:
        value = decode(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _read_message(item: Any) -> Message:
    role = _ROLES.get(item.get("role", "")) if isinstance(item, dict) else None
    if role is None:
        raise BadRequest("Invalid value for 'messages[].role'.")
    content = item.get("content")
    calls = item.get("tool_calls")
    if isinstance(content, str) and not calls:
        return Message(role, content, tool_call_id=item.get("tool_call_id", ""))
    text, images, documents, audio = read_parts(content)
    read = tuple(
        ToolCall(
            name=call["function"]["name"], arguments=read_arguments(call["function"].get("arguments")), id=call["id"]
        )
        for call in calls or ()
        if call.get("type", "function") == "function"
    )
    return Message(role, text, read, item.get("tool_call_id", ""), images, documents, audio)


def _read_tool(tool: Json) -> Tool:
    function = tool.get("function")
    if not isinstance(function, dict):
        return Tool(tool.get("type", ""))
    return Tool(function.get("name", ""), function.get("description") or "", function.get("parameters") or {})


def _finish(reply: Reply) -> str | None:
    return None if reply.finish is None else _FINISH.get(reply.finish, reply.finish)


def _envelope(reply: Reply, kind: str) -> Json:
    return {
        "id": f"chatcmpl-{reply.number:029d}",
        "object": kind,
        "created": reply.created,
        "model": reply.model,
        "service_tier": "default",
        "system_fingerprint": None,
    }


def _usage(reply: Reply) -> Json:
    counts = reply.counts
    return {
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "total_tokens": counts.input + counts.output,
        "prompt_tokens_details": {"cached_tokens": counts.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0,
                                      "rejected_prediction_tokens": 0},
    }  # fmt: skip


def _embedding_request(vendor: str, body: Json) -> Request:
    raw = body.get("input")
    if isinstance(raw, str):
        raw = [raw]
    if not isinstance(raw, list) or not raw:
        raise BadRequest("'$.input' is invalid. Please check the API reference.")
    if all(isinstance(token, int) for token in raw):
        raw = [raw]
    texts = tuple(text if isinstance(text, str) else " ".join(map(str, text)) for text in raw)
    return Request(
        vendor=vendor,
        endpoint="embeddings",
        model=body["model"],
        inputs=texts,
        dimensions=body.get("dimensions"),
        body=body,
    )


def _embeddings(reply: Reply) -> Json:
    request = reply.request
    packed = request.body.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(request.inputs):
        vector: Any = embed(text, request.dimensions)
        if packed:
            vector = b64encode(pack(f"<{len(vector)}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    usage = {"prompt_tokens": reply.counts.input, "total_tokens": reply.counts.input}
    return {"object": "list", "data": data, "model": reply.model, "usage": usage}


def embed(text: str, dimensions: int | None = None) -> list[float]:
    """Embed a text as a unit vector of its hashed words, so that texts sharing words lie closer.

    Args:
        text: Any text; an empty one gives the first unit vector.
        dimensions: Length of the vector; 256 if None.
    """
    size = dimensions or _DIMENSIONS
    vector = [0.0] * size
    for word in text.lower().split():
        code = zlib.crc32(word.encode())
        vector[code % size] += 1.0 if code & 0x80000000 else -1.0
    norm = math.sqrt(sum(value * value for value in vector))
    if not norm:
        return [1.0, *vector[1:]]
    return [value / norm for value in vector]
