"""Wire format of Google's Gemini API.

Shapes from ai.google.dev/api (generate-content, tokens, embeddings); errors are google.rpc.Status objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base import BadRequest, Counts, Headroom, Manner, Refused, Reply, Stream, chunks_of, encode, listed, sse
from ..request import Endpoint, Json, Message, Request, Role, Tool, ToolCall, input_tokens
from ..scenario import Fault
from .openai import embed

_FINISH = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
}
_MODES = {"AUTO": "auto", "ANY": "any", "NONE": "none", "VALIDATED": "auto"}
_FAILURES: dict[str, tuple[int, str, str]] = {
    "rate_limit": (
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details. Please retry in {retry:g}s.",
    ),
    "server_error": (500, "INTERNAL", "An internal error has occurred. Please retry."),
    "unavailable": (503, "UNAVAILABLE", "The service is currently unavailable."),
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "auth": (
        401,
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token or other valid credential.",
    ),
    "permission": (403, "PERMISSION_DENIED", "The caller does not have permission"),
    "not_found": (404, "NOT_FOUND", "models/{model} is not found for API version v1beta."),
    "bad_request": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "context_overflow": (
        400,
        "INVALID_ARGUMENT",
        "The input token count ({tokens}) exceeds the maximum number of tokens allowed (1048576).",
    ),
}
_BAD_KEY = (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")


class GoogleWire:
    """Gemini's wire format."""

    manner: Manner = "blocked"

    def parse(self, vendor: str, endpoint: Endpoint, model: str, body: Json, *, stream: bool) -> Request:
        """Read a generateContent, countTokens or embedContent request."""
        if endpoint == "embeddings":
            return _embedding_request(vendor, model, body)
        if endpoint == "count_tokens" and isinstance(body.get("generateContentRequest"), dict):
            body = body["generateContentRequest"]
        raw = listed(body, "contents")
        if not raw:
            raise BadRequest("* GenerateContentRequest.contents: contents is not specified")
        messages: list[Message] = []
        if system := _field(body, "systemInstruction", "system_instruction"):
            messages.append(Message("system", _text_of(system.get("parts"))))
        for content in raw:
            _read_content(content, messages)
        _check_turns(raw)
        tools = [*_read_tools(listed(body, "tools"))]
        config = _field(body, "generationConfig", "generation_config") or {}
        tool_config = _field(body, "toolConfig", "tool_config") or {}
        calling = _field(tool_config, "functionCallingConfig", "function_calling_config") or {}
        allowed = _field(calling, "allowedFunctionNames", "allowed_function_names") or ()
        if allowed:
            tools = [tool for tool in tools if tool.name in allowed]
        schema = _field(config, "responseJsonSchema", "response_json_schema")
        schema = schema or _field(config, "responseSchema", "response_schema")
        return Request(
            vendor=vendor,
            endpoint=endpoint,
            model=model,
            messages=tuple(messages),
            tools=tuple(tools),
            tool_choice=_MODES.get(calling.get("mode") or "AUTO", "auto"),  # type: ignore[arg-type]
            schema=schema if isinstance(schema, dict) else None,
            json_mode=_field(config, "responseMimeType", "response_mime_type") == "application/json",
            stop=tuple(_field(config, "stopSequences", "stop_sequences") or ()),
            max_tokens=_field(config, "maxOutputTokens", "max_output_tokens"),
            stream=stream,
            tool_chars=len(encode(body["tools"])) if body.get("tools") else 0,
            body=body,
        )

    def body(self, reply: Reply) -> Json:
        """Write a whole generation, a token count or embeddings."""
        request = reply.request
        if request.endpoint == "count_tokens":
            return {
                "totalTokens": reply.counts.input,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": reply.counts.input}],
            }
        if request.endpoint == "embeddings":
            return _embeddings(request)
        parts: list[Json] = [{"text": reply.text}] if reply.text else []
        return _generation(reply, parts + _call_parts(reply), reply.finish, reply.counts.output)

    def stream(self, reply: Reply) -> Stream:
        """Write partial generations; the last one carries the finish reason."""
        if reply.blocked:
            return Stream([], [], [sse(_generation(reply, [], None, 0))])
        parts = [{"text": piece} for piece in chunks_of(reply.text)] + _call_parts(reply)
        chunks = []
        for index, part in enumerate(parts, 1):
            output = reply.counts.output * index // len(parts)
            chunks.append(sse(_generation(reply, [part], None, output)))
        if reply.finish is None:
            return Stream([], chunks, [])
        last: list[Json] = [{"text": ""}] if parts else []
        return Stream([], chunks, [sse(_generation(reply, last, reply.finish, reply.counts.output))])

    def failure(self, fault: Fault, request: Request, number: int) -> Refused:
        """Write a google.rpc.Status, with RetryInfo for rate limits."""
        bad_key = fault.variant == "invalid_key"
        status, name, text = _BAD_KEY if bad_key else _FAILURES[fault.kind]
        message = fault.message or text.format(
            model=request.model, tokens=max(input_tokens(request), 1_048_577), retry=fault.retry_after
        )
        error: Json = {"code": status, "message": message, "status": name}
        if fault.kind == "rate_limit":
            delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{fault.retry_after:g}s"}
            error["details"] = [delay]
        elif bad_key:
            error["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
                                 "domain": "googleapis.com"}]  # fmt: skip
        return Refused(status, {"error": error}, {})

    def failure_event(self, fault: Fault, request: Request, number: int) -> bytes:
        """Write the error as an event of the stream."""
        return sse(self.failure(fault, request, number).body)

    def models(self, names: Sequence[str]) -> Json:
        """List models."""
        methods = ["generateContent", "countTokens", "embedContent"]
        return {
            "models": [
                {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods} for name in names
            ]
        }

    def headers(self, number: int, headroom: Headroom) -> dict[str, str]:
        """Write the headers; none is about limits, because Gemini reports none."""
        return {"server-timing": "gfet4t7; dur=1"}


def _generation(reply: Reply, parts: list[Json], finish: str | None, output: int) -> Json:
    counts: Counts = reply.counts
    usage: Json = {
        "promptTokenCount": counts.input,
        "candidatesTokenCount": output,
        "totalTokenCount": counts.input + output,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": counts.input}],
    }
    if counts.cached:
        usage["cachedContentTokenCount"] = counts.cached
    result: Json = {
        "usageMetadata": usage,
        "modelVersion": reply.model,
        "responseId": f"r{reply.number:022d}",
    }
    if reply.blocked:
        return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **result}
    candidate: Json = {"index": 0}
    reason = _FINISH.get(finish or "")
    if parts or reason != "SAFETY":
        candidate["content"] = {"role": "model"} if not parts else {"role": "model", "parts": parts}
    if reason:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], **result}


def _call_parts(reply: Reply) -> list[Json]:
    return [{"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}} for call in reply.tool_calls]


def _field(part: Json, camel: str, snake: str) -> Any:
    # Protobuf's JSON accepts either spelling, and the SDK sends both.
    return part.get(camel) if camel in part else part.get(snake)


def _text_of(parts: Any) -> str:
    return "\n".join(part["text"] for part in parts or () if isinstance(part.get("text"), str))


def _read_content(content: Json, messages: list[Message]) -> None:
    role: Role = "assistant" if content.get("role") == "model" else "user"
    calls: list[ToolCall] = []
    attached = {"image": 0, "application": 0, "audio": 0}
    others = False
    for part in content.get("parts") or ():
        if response := _field(part, "functionResponse", "function_response"):
            messages.append(_read_response(response))
            continue
        others = True
        if call := _field(part, "functionCall", "function_call"):
            calls.append(ToolCall(name=call.get("name", ""), arguments=call.get("args") or {}, id=call.get("id") or ""))
        blob = _field(part, "inlineData", "inline_data") or _field(part, "fileData", "file_data")
        if blob:
            kind = (_field(blob, "mimeType", "mime_type") or "application").partition("/")[0]
            attached[kind if kind in attached else "application"] += 1
    if others or role == "assistant":
        messages.append(
            Message(
                role,
                _text_of(content.get("parts")),
                tuple(calls),
                images=attached["image"],
                documents=attached["application"],
                audio=attached["audio"],
            )
        )


def _read_response(response: Json) -> Message:
    value = response.get("response") or {}
    # The SDKs wrap a plain result in an object; only its text matters.
    inner = value.get("output", value.get("result", value)) if isinstance(value, dict) and len(value) == 1 else value
    text = inner if isinstance(inner, str) else encode(inner).decode()
    parts = response.get("parts") or ()
    images = sum(bool(_field(part, "inlineData", "inline_data")) for part in parts)
    return Message("tool", text, (), response.get("id") or response.get("name", ""), images)


def _check_turns(contents: list[Json]) -> None:
    calls = 0
    for content in contents:
        parts = content.get("parts") or ()
        answers = sum(bool(_field(part, "functionResponse", "function_response")) for part in parts)
        if answers != calls:
            raise BadRequest(
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn."
            )
        calls = sum(bool(_field(part, "functionCall", "function_call")) for part in parts)
    if calls:
        raise BadRequest("Please ensure that single turn requests end with a user role or the role field is empty.")


def _read_tools(tools: list[Json]) -> list[Tool]:
    read: list[Tool] = []
    for tool in tools:
        declarations = _field(tool, "functionDeclarations", "function_declarations")
        if declarations is None:
            read.extend(Tool(name) for name in tool)
            continue
        for declared in declarations:
            schema = _field(declared, "parametersJsonSchema", "parameters_json_schema") or declared.get("parameters")
            read.append(Tool(declared.get("name", ""), declared.get("description") or "", schema or {}))
    return read


def _embedding_request(vendor: str, model: str, body: Json) -> Request:
    requests = body.get("requests") if isinstance(body.get("requests"), list) else [body]
    if not requests:
        raise BadRequest("* BatchEmbedContentsRequest.requests: requests is not specified")
    texts = []
    for request in requests:
        content = request.get("content") if isinstance(request, dict) else None
        if not isinstance(content, dict):
            raise BadRequest("* EmbedContentRequest.content: contents is not specified")
        texts.append(_text_of(content.get("parts")))
    first = requests[0]
    size = first.get("outputDimensionality") or (first.get("embedContentConfig") or {}).get("outputDimensionality")
    return Request(vendor=vendor, endpoint="embeddings", model=model, inputs=tuple(texts), dimensions=size, body=body)


def _embeddings(request: Request) -> Json:
    values = [{"values": embed(text, request.dimensions)} for text in request.inputs]
    return {"embeddings": values} if "requests" in request.body else {"embedding": values[0]}
