"""What each backend's API and LangChain client accept in a conversation: data for `convert`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Dialect", "dialect_of"]

_ANY_ID: Final = re.compile(r".+", re.DOTALL)
_WORD_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one backend accepts.

    Attributes:
        makers: What LangChain writes into ``model_provider`` of the backend's replies.
        call_id: Pattern of the tool-call ids it accepts, matched in full.
        native: The backend's own types of content blocks, which its client sends as they are.
        file_id: Pattern of the start of its ids of uploaded files; None if it has none.
        tool_media: Whether a tool's result may hold an image.
        file_urls: Whether a file may be given by its URL.
        sources: Whether its client reads images in Anthropic's format, with a ``source``.
        marks: Keys that it accepts in a text block besides type and text.
        speaker: Pattern of the author names it accepts; None if its client sends none.
        system_anywhere: Whether system messages may come between others.
        images: MIME types of images it accepts.
        user_first: Whether the conversation must begin with the user.
        linked: Whether its API fetches media by URL, so that its client need not do so from this machine, however long
            that takes.
        reads_results: Whether its client parses a tool's text as JSON if possible.
        signed: Whether its own thoughts are accepted back only with their signatures.
        user_last: Whether the conversation must end with the user or a tool's result.
        alternating: Whether two messages in a row may not have the same role.
    """

    makers: frozenset[str]
    call_id: re.Pattern[str]
    native: frozenset[str] = frozenset()
    file_id: re.Pattern[str] | None = None
    tool_media: bool = False
    file_urls: bool = False
    sources: bool = False
    marks: frozenset[str] = frozenset()
    speaker: re.Pattern[str] | None = None
    system_anywhere: bool = False
    images: frozenset[str] = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})
    linked: bool = False
    reads_results: bool = False
    signed: bool = False
    user_first: bool = True
    user_last: bool = True
    alternating: bool = False


# docs.claude.com/en/api/messages: the pattern of ids, images and documents in tool results. From Claude 4.6 on, a
# conversation must not end with the assistant.
_ANTHROPIC = Dialect(
    makers=frozenset({"anthropic"}),
    call_id=_WORD_ID,
    native=frozenset({"container_upload", "document", "search_result", "tool_reference", "tool_result"}),
    file_id=re.compile(r"file_"),
    tool_media=True,
    file_urls=True,
    sources=True,
    signed=True,
    marks=frozenset({"cache_control", "citations"}),
)
# platform.openai.com/docs/api-reference/chat: ids of at most 40 characters; images only in the user's messages (the
# Responses API accepts them in results too, but the client chooses which of the two APIs it uses).
_OPENAI = Dialect(
    makers=frozenset({"openai"}),
    call_id=re.compile(r"[\x21-\x7e]{1,40}"),
    native=frozenset({"input_audio"}),
    file_id=re.compile(r"file-"),
    marks=frozenset({"prompt_cache_breakpoint"}),
    speaker=_WORD_ID,
    system_anywhere=True,
    user_first=False,
    user_last=False,
)
# ai.google.dev/gemini-api/docs/image-understanding, ai.google.dev/gemini-api/docs/file-input-methods and
# ai.google.dev/api/caching#Content; the client pairs calls and results by id but sends no ids. A call must follow the
# user or the result of a call.
_GOOGLE = Dialect(
    makers=frozenset({"google_genai", "google_vertexai"}),
    call_id=_ANY_ID,
    native=frozenset({"media"}),
    file_id=re.compile(r"gs://|https://generativelanguage\.googleapis\.com/"),
    images=frozenset({"image/heic", "image/heif", "image/jpeg", "image/png", "image/webp"}),
    tool_media=True,
    file_urls=True,
    linked=True,
    reads_results=True,
    alternating=True,
)
# docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html: the pattern of toolUseId.
_BEDROCK = Dialect(
    makers=frozenset({"bedrock", "bedrock_converse"}),
    call_id=_WORD_ID,
    native=frozenset({"cachePoint", "guard_content"}),
    tool_media=True,
)
# The strictest of the servers with OpenAI's format: Mistral's ids are nine letters or digits, and chat templates reject
# two messages of one role in a row and a system message anywhere but first.
_COMPATIBLE = Dialect(makers=frozenset(), call_id=re.compile(r"[a-zA-Z0-9]{9}"), speaker=_WORD_ID, alternating=True)

# Backends that run in this process read LangChain's messages directly and have no dialect.
_DIALECTS: Final[Mapping[str, Dialect | None]] = {
    "anthropic": _ANTHROPIC,
    "bedrock": _BEDROCK,
    "google": _GOOGLE,
    "ondevice": None,
    "openai": _OPENAI,
    "openai_compatible": _COMPATIBLE,
    "scripted": None,
    "vertex": _GOOGLE,
}


def dialect_of(backend: str) -> Dialect | None:
    """Return a backend's dialect by its name in the settings: the strictest if unknown, None if it accepts anything."""
    return _DIALECTS.get(backend, _COMPATIBLE)
