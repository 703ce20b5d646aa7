"""Measure a conversation: count what its messages contain, in one pass and without interpreting it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from ...configs.errors import ConfigError
from .progress import CALLS

__all__ = ["Measures", "estimate_tokens", "is_program", "language", "measure"]

_ROLES: Final = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    # LangChain's ChatMessage: its role is free text, so it counts as the user's.
    "chat": "user",
}
_MODALITIES: Final = {
    "image_url": "image",
    "input_image": "image",
    "image": "image",
    "input_audio": "audio",
    "audio": "audio",
    "video": "video",
    "video_url": "video",
    "pdf": "pdf",
}
_FILES: Final = frozenset({"file", "input_file", "document", "media"})
_TEXTS: Final = ("text", "thinking", "reasoning", "refusal", "input", "summary")

# Bytes of UTF-8 per token, counted with the Llama 2 tokenizer (32k pieces) on 600 kB of agents' conversations
# (SWE-bench, mtRAG, QMSum, PinchBench): prose 3.6 to 4.9, programs and tool output 3.1 to 3.4; Chinese, Japanese and
# Arabic 2.1.
# The estimate is within 15 % of that tokenizer's count for the median conversation of each of the four. Larger
# vocabularies need fewer tokens (the vendors publish 4 characters a token for English), so for these it is too high.
_PROSE_BYTES: Final = 3.6
_CODE_BYTES: Final = 3.1
_WIDE_BYTES: Final = 2.1
# OpenAI's cookbook ("How to count tokens with tiktoken") counts 3 tokens per message besides its text, plus 1 for its
# role.
_MESSAGE_TOKENS: Final = 4
# The upper figures in the vendors' documentation: Anthropic, an image of 1.15 megapixels / 750 and a PDF page of up to
# 3,000; Google, a minute of audio at 32 and of video at 258 tokens a second. Durations and pages are not visible here.
_PART_TOKENS: Final = {"image": 1_600, "pdf": 3_000, "audio": 1_920, "video": 15_480}

# Characters common in programs and rare in prose, and the density above which a text counts as a program: in the
# conversations above, prose stays below 2 % and source files are above 4 %.
_CODE_CHARACTERS: Final = b"();=<>_\\"
_CODE_DENSITY: Final = 0.03
_DIFF_MARKS: Final = ("diff --git ", "\n@@ -", "*** Begin Patch", "\n--- a/")

# The outcome is at the head (a status) or the tail (an exception, a summary) of a tool's output.
_HEAD: Final = 600
_TAIL: Final = 2_000
_ERRORS: Final = (
    "Error: ",
    "error: ",
    "Exception: ",
    '"status": "error"',
    '"error":',
    "<returncode>1",
    "<returncode>2",
    "exit code 1",
    "exit status 1",
    "non-zero exit",
    "command not found",
    "No such file or directory",
    "Permission denied",
    "fatal: ",
    "panic: ",
)
_TRACEBACKS: Final = ("Traceback (most recent call last)", "\n    at ", "goroutine 1 [", "stack backtrace:")
_SUMMARY: Final = re.compile(
    r"\b[1-9]\d* (passed|failed|errors?)\b|^(OK|FAILED)\b|^test result: (ok|FAILED)", re.MULTILINE
)
_SUMMARY_HINTS: Final = (" passed", " failed", " error", "OK", "FAILED", "test result")


_SEEN: Final = 400
_WORD: Final = re.compile(r"[^\W\d_]+")

# First code point of a Unicode block, one past its last, the language that uses it most. Kana and Hangul come before
# the ideographs, which Japanese and Korean also use.
_SCRIPTS: Final = (
    (0x3040, 0x3100, "ja"),
    (0xAC00, 0xD7B0, "ko"),
    (0x4E00, 0xA000, "zh"),
    (0x3400, 0x4DC0, "zh"),
    (0x0400, 0x0530, "ru"),
    (0x0370, 0x0400, "el"),
    (0x0590, 0x0600, "he"),
    (0x0600, 0x0700, "ar"),
    (0x0900, 0x0980, "hi"),
    (0x0E00, 0x0E80, "th"),
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_COMMON: Final = {
    "en": _words("the and of to is in that it for you with this what how are please from my can an not"),
    "de": _words("der die das und ist nicht ein eine ich sie mit auf für den zu wie bitte wir von im"),
    "fr": _words("de le la les et est une des que pour dans qui pas vous avec sur je du ce comment nous"),
    "es": _words("de la el los las y es una que para por con del se cómo como en mi su está más qué lo puedo"),
    "it": _words("il la gli che di è una per con non sono come della questo ho mi si del nel perché cosa"),
    "pt": _words("de os as e é uma que para por com do da não como em meu seu se mais você no"),
    "nl": _words("het een en van ik is niet dat op te voor met zijn aan hoe je deze wat maar naar"),
}


@dataclass(slots=True)
class Measures:
    """What was counted in the messages; sizes in characters.

    Attributes:
        roles: Messages by role (``system``, ``user``, ``assistant``, ``tool``).
        calls: Tool calls that the assistant asked for.
        called: Names of the tools that were called.
        results: Tool results.
        errors: Tool results that report an error.
        tracebacks: Tool results that hold a stack trace.
        tests_passed: Tool results whose test summary names no failure.
        tests_failed: Tool results whose test summary names a failure.
        last_error: The newest tool result reports an error.
        characters: Text in all messages, arguments of tool calls included.
        work: The part of it outside system messages.
        code: The part of ``work`` that looks like a program.
        diff: The part of ``work`` that belongs to a diff.
        tokens: Estimated input tokens, attachments included.
        modalities: Kinds of content besides text.
        question: The newest text of the user.
        language: Language of that text, as `language` guesses it.
    """

    roles: dict[str, int] = field(default_factory=lambda: {"system": 0, "user": 0, "assistant": 0, "tool": 0})
    calls: int = 0
    called: set[str] = field(default_factory=set)
    results: int = 0
    errors: int = 0
    tracebacks: int = 0
    tests_passed: int = 0
    tests_failed: int = 0
    last_error: bool = False
    characters: int = 0
    work: int = 0
    code: int = 0
    diff: int = 0
    tokens: float = 0.0
    modalities: set[str] = field(default_factory=set)
    question: str = ""
    language: str = ""


def measure(messages: Iterable[Mapping[str, Any]]) -> Measures:
    """Measure a conversation in OpenAI's chat format; LangChain's and Anthropic's content blocks are understood too.

    Args:
        messages: Oldest first.

    Raises:
        ConfigError: A message is malformed; the error names it, counted from 1.
    """
    total = Measures()
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping):
            _fail(number, f"is {_noun(message)}, not a mapping with role and content")
        said = message.get("role")
        role = _ROLES.get(said) if isinstance(said, str) else None
        if role is None:
            _fail(number, "has no role" if said is None else f"has the unknown role {said!r}; use {', '.join(_ROLES)}")
        total.roles[role] += 1
        total.tokens += _MESSAGE_TOKENS
        results = total.results
        texts = _texts(message.get("content"), number, total)
        for text in texts:
            _size(text, total, work=role != "system")
        # Tool results sent under the user's role are not what the user asks.
        if role == "user" and texts and total.results == results:
            total.question = texts[-1]
        elif role == "tool":
            failed = message.get("status") == "error"
            _outcome("\n".join(texts), total, failed=failed)
        if calls := message.get("tool_calls"):
            _calls(calls, number, total)
        elif isinstance(call := message.get("function_call"), Mapping):
            _calls([call], number, total)
    total.language = language(total.question)
    return total


def estimate_tokens(text: str) -> float:
    """Estimate how many tokens a text has, from its bytes in UTF-8 and whether it looks like a program."""
    return _weigh(text)[0]


def _weigh(text: str) -> tuple[float, bool]:
    """Return the estimated tokens, and whether the text looks like a program."""
    # Truncated JSON yields lone surrogates; they are counted, not refused.
    data = text.encode("utf-8", "surrogatepass")
    program = is_program(data)
    per_token = _CODE_BYTES if program else _PROSE_BYTES
    if text.isascii():
        return len(data) / per_token, program
    narrow = len(text.encode("ascii", "ignore"))
    return narrow / per_token + (len(data) - narrow) / _WIDE_BYTES, program


def is_program(data: bytes) -> bool:
    """Whether a text looks like a program, by its bytes in UTF-8."""
    return len(data) - len(data.translate(None, _CODE_CHARACTERS)) > _CODE_DENSITY * len(data)


def _size(text: str, total: Measures, *, work: bool) -> None:
    tokens, program = _weigh(text)
    size = len(text)
    total.characters += size
    total.tokens += tokens
    if not work:
        return
    total.work += size
    if program:
        total.code += size
    elif "```" in text:
        total.code += sum(map(len, text.split("```")[1::2]))
    for mark in _DIFF_MARKS:
        start = text.find(mark)
        if start >= 0:
            total.diff += size - start
            break


def _texts(content: Any, number: int, total: Measures) -> list[str]:
    """Return the texts in a message's content, and count its attachments."""
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list | tuple):
        _fail(number, f"has {_noun(content)} for content; use a text or a list of parts")
    texts: list[str] = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping):
            texts.extend(_part(part, number, total))
        else:
            _fail(number, f"has {_noun(part)} among its parts; use a text or a mapping with a type")
    return texts


def _part(part: Mapping[str, Any], number: int, total: Measures) -> list[str]:
    kind = part.get("type")
    if not isinstance(kind, str):
        _fail(number, "has a part without a type; use text, image_url or file")
    if kind in _FILES:
        inner = next((part[key] for key in ("file", "source") if isinstance(part.get(key), Mapping)), part)
        modality = _modality(part, inner)
        if modality == "text":
            return [text for key in ("data", "text") if isinstance(text := inner.get(key), str)]
    else:
        modality = _MODALITIES.get(kind, "")
    if modality:
        total.modalities.add(modality)
        total.tokens += _PART_TOKENS[modality]
        return []
    if kind in CALLS:
        total.called.add(str(part.get("name") or ""))
    if kind == "tool_result":
        texts = _texts(part.get("content"), number, total)
        _outcome("\n".join(texts), total, failed=part.get("is_error") is True)
        return texts
    texts = [text for key in _TEXTS if isinstance(text := part.get(key), str)]
    if kind == "text" and not texts:
        _fail(number, "has a text part without text")
    return texts


def _modality(part: Mapping[str, Any], inner: Mapping[str, Any]) -> str:
    """Return the modality of a file, from its declared type or name; an unnamed document counts as a PDF."""
    said = (part.get("mime_type"), inner.get("mime_type"), inner.get("media_type"), inner.get("filename"))
    names = " ".join(name.lower() for name in said if isinstance(name, str))
    for word in ("image", "audio", "video", "text"):
        if f"{word}/" in names:
            return word
    return "text" if names.endswith((".txt", ".md", ".csv", ".json")) else "pdf"


def _calls(calls: Any, number: int, total: Measures) -> None:
    if not isinstance(calls, list | tuple):
        _fail(number, f"has {_noun(calls)} for tool_calls; use a list")
    for call in calls:
        if not isinstance(call, Mapping):
            _fail(number, f"has {_noun(call)} among its tool_calls; use mappings")
        total.calls += 1
        function = call.get("function")
        said = function if isinstance(function, Mapping) else call
        total.called.add(str(said.get("name") or ""))
        arguments = said.get("arguments", said.get("args"))
        values = arguments.values() if isinstance(arguments, Mapping) else (arguments,)
        for value in values:
            if value is not None:
                _size(value if isinstance(value, str) else str(value), total, work=True)


def _outcome(text: str, total: Measures, *, failed: bool) -> None:
    seen = text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]}\n{text[-_TAIL:]}"
    total.results += 1
    traceback = any(mark in seen for mark in _TRACEBACKS)
    total.tracebacks += traceback
    tail = seen[-_HEAD:]
    if any(hint in tail for hint in _SUMMARY_HINTS):
        words = {word for match in _SUMMARY.finditer(tail) for word in match.groups() if word}
        if words & {"failed", "error", "errors", "FAILED"}:
            total.tests_failed += 1
            failed = True
        elif words:
            total.tests_passed += 1
    failed = failed or traceback or any(mark in seen for mark in _ERRORS)
    total.errors += failed
    total.last_error = failed


def _fail(number: int, what: str) -> NoReturn:
    raise ConfigError(f"message {number} {what}")


def _noun(value: Any) -> str:
    if value is None:
        return "nothing"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def language(text: str) -> str:
    """Guess the language of a text.

    Only the first 400 characters are looked at. A script used mainly by one language decides; Latin text is decided by
    its most common words.

    Returns:
        A two-letter code (ISO 639-1), empty if it cannot be guessed.
    """
    seen = text[:_SEEN]
    if not seen.isascii():
        wide = [ord(character) for character in seen if character > "\u036f"]
        if len(wide) * 3 > len(seen):
            for first, past, code in _SCRIPTS:
                if any(first <= point < past for point in wide):
                    return code
    words = set(_WORD.findall(seen.lower()))
    best, most = "", 0
    for code, common in _COMMON.items():
        found = len(words & common)
        if found > most:
            best, most = code, found
    return best
