"""The default answer if no rule gives one: plain, deterministic, and valid under the request's schemas."""

from __future__ import annotations

import re
from typing import Any

from .request import Message, Request, Tool, ToolCall
from .sample import sample
from .scenario import Answer

_WORD = re.compile(r"[a-z0-9]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_QUOTED_KEY = re.compile(r"[\"'`](\w+)[\"'`]")
# A verb at the start of a tool's name says little about when to call it: "get_weather" is about weather.
_FILLER = frozenset(["get", "fetch", "do", "run", "make", "call", "use", "my", "the", "tool", "a", "an", "of"])
_QUOTE_LENGTH = 400


def think(request: Request) -> Answer:
    """Answer a chat request: a forced or clearly wanted tool call, the tools' results, JSON, or the user's words."""
    results = request.tool_results
    offered = [tool for tool in request.tools if tool.schema is not None]
    if request.tool_choice == "named":
        offered = [tool for tool in offered if tool.name == request.tool_name]
    if offered and request.tool_choice in ("any", "named"):
        return Answer(tool_calls=_forced(offered, request))
    if offered and request.tool_choice == "auto" and not results:
        wanted = _wanted(offered, request.user_text)
        if wanted:
            return Answer(tool_calls=_calls(wanted if request.parallel else wanted[:1], request.user_text))
    if request.schema is not None:
        return Answer(json=sample(request.schema, _material(request, results)))
    if request.json_mode:
        return Answer(json=_any_object(request.user_text))
    if results:
        return Answer(text="\n".join(_report(result) for result in results))
    return Answer(text=_echo(request))


def force_a_call(request: Request) -> Answer:
    """Call the best-matching tool whatever the request says; without any tool, answer as `think` does."""
    offered = [tool for tool in request.tools if tool.schema is not None]
    return Answer(tool_calls=_forced(offered, request)[:1]) if offered else think(request)


def _forced(offered: list[Tool], request: Request) -> tuple[ToolCall, ...]:
    called = request.called_tools
    # A tool already called in this turn has its result; the remaining ones (often a final-answer tool) come next.
    fresh = [tool for tool in offered if tool.name not in called] or offered[-1:]
    chosen = _wanted(fresh, request.user_text) or fresh[:1]
    text = _material(request, request.tool_results)
    return _calls(chosen if request.parallel else chosen[:1], text)


def _calls(tools: list[Tool], text: str) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(name=tool.name, arguments=_arguments(tool, text)) for tool in tools)


def _arguments(tool: Tool, text: str) -> dict[str, Any]:
    value = sample({"type": "object", **(tool.schema or {})}, text)
    return value if isinstance(value, dict) else {}


def _wanted(tools: list[Tool], text: str) -> list[Tool]:
    words = _stems(text)
    lowered = text.lower()
    found: list[tuple[int, Tool]] = []
    for tool in tools:
        name = tool.name.lower()
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", lowered):
            found.append((100, tool))
            continue
        tokens = _stems(_CAMEL.sub(" ", tool.name).replace("_", " ")) - _FILLER
        if tokens and tokens <= words:
            found.append((len(tokens), tool))
    if not found:
        return []
    best = max(score for score, _ in found)
    return [tool for score, tool in found if score == best]


def _stems(text: str) -> frozenset[str]:
    return frozenset(
        word[:-1] if len(word) > 3 and word.endswith("s") else word for word in _WORD.findall(text.lower())
    )


def _material(request: Request, results: tuple[Message, ...]) -> str:
    return "\n".join([request.user_text, *(result.text for result in results)]) if results else request.user_text


def _any_object(text: str) -> dict[str, Any]:
    keys = list(dict.fromkeys(_QUOTED_KEY.findall(text)))
    return dict.fromkeys(keys or ["answer"], text.strip())


def _report(result: Message) -> str:
    attachments = _attachments(result.images, result.documents, result.audio)
    said = result.text.strip() or "nothing"
    return f"The tool returned: {said}{attachments}"


def _echo(request: Request) -> str:
    text = request.user_text.strip()
    last = next((m for m in reversed(request.messages) if m.role == "user"), Message("user"))
    attachments = _attachments(last.images, last.documents, last.audio)
    if len(text) > _QUOTE_LENGTH:
        text = text[:_QUOTE_LENGTH].rstrip() + "..."
    if not text:
        return f"I received your message{attachments}."
    return f"You said: {text}{attachments}"


def _attachments(images: int, documents: int, audio: int) -> str:
    parts = [
        f"{count} {noun}{'' if count == 1 else 's'}"
        for count, noun in ((images, "image"), (documents, "document"), (audio, "recording"))
        if count
    ]
    return f" (with {', '.join(parts)})" if parts else ""
