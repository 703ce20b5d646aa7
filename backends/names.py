"""Whether two names mean the same model: a normal form for slugs, dates, variants of a router, and files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, NamedTuple

__all__ = ["is_deployment", "same_name", "stands_for"]

_FILE: Final = re.compile(r"\.(?:gguf|bin|safetensors|onnx)$")
# Suffixes of routers and local servers that say how a model is served, not which one it is.
_SERVED: Final = re.compile(r":(?:free|online|nitro|floor|extended|exacto|beta|thinking|cloud|default|latest)$")
_BUILT: Final = re.compile(
    r"[-_.](?:i?q\d(?:_[a-z0-9]+)*|fp8|fp16|bf16|int[48]|awq|gptq|gguf|mxfp4|nvfp4|w\d+a\d+|[48]bit|instruct|it|hf)"
    r"(?=$|[-_.:])"
)
# Names of open weights include a size, and the same weights are served under names with and without these words.
_SIZED: Final = re.compile(r"(?<![a-z0-9])\d+(?:\.\d+)?b(?![a-z0-9])")
_POINT: Final = re.compile(r"(?<=\d)p(?=\d)")
# One or two digits make a version: claude-opus-4 is not claude-opus-4-1.
_DATE: Final = re.compile(
    r"[-@:_](?:(20\d\d-\d\d-\d\d|\d\d-\d{4}|\d{8}|\d{6}|\d{3,4})|(?<=preview.)(\d\d-\d\d)|(?<=exp.)(\d\d-\d\d))"
    r"(?=$|[-@:_])"
)
_PARTS: Final = re.compile(r"[a-z]+|\d+")
_LATEST: Final = frozenset({"latest", "default"})
_PREVIEW: Final = frozenset({"preview", "exp", "experimental"})
_FAMILIES: Final = frozenset(
    {"claude", "codestral", "cohere", "command", "dbrx", "deepseek", "devstral", "doubao", "ernie", "falcon", "gemini",
     "gemma", "glm", "gpt", "granite", "grok", "hermes", "hunyuan", "jamba", "kimi", "llama", "magistral", "minimax",
     "ministral", "mistral", "mixtral", "nemotron", "nova", "olmo", "phi", "pixtral", "qwen", "qwq", "solar", "sonar",
     "yi"}
)  # fmt: skip


class _Name(NamedTuple):
    words: tuple[str, ...]
    numbers: tuple[int, ...]
    date: str
    latest: bool
    preview: bool


@lru_cache(maxsize=1024)
def same_name(asked: str, answered: str, *, previews: bool = False) -> bool:
    """Return whether the model that answered is, judging by its name, the one that was requested.

    The reply's name may add a date, and may differ in word order, points for dashes, and how the model is served. A
    different version, size or word means a different model.

    Args:
        asked: The name in the request.
        answered: The name in the reply.
        previews: Whether a preview of a model counts as that model.
    """
    if not answered:
        return False
    one, other = _parsed(asked), _parsed(answered)
    if one.date and one.date != other.date:
        return False
    if one.latest and not one.numbers:
        # It names a model line, so any version of it may answer.
        return set(one.words) == {word for word in other.words if len(word) > 1}
    if one.words != other.words or one.numbers != other.numbers:
        return False
    return previews or one.latest or one.preview == other.preview


@lru_cache(maxsize=1024)
def is_deployment(name: str) -> bool:
    """Return whether a name has no version and no model family, as user-chosen deployment or alias names do."""
    parsed = _parsed(name)
    return not parsed.numbers and not _FAMILIES.intersection(parsed.words)


def stands_for(asked: str, answered: str, aliases: Mapping[str, tuple[str, ...]]) -> bool:
    """Return whether the vendor resolves one name to another.

    Args:
        asked: The name in the request.
        answered: The name in the reply.
        aliases: Name -> patterns of the names it resolves to.
    """
    patterns = aliases.get(_last(asked), ())
    return any(fnmatchcase(_last(answered), pattern) for pattern in patterns)


def _last(name: str) -> str:
    return name.strip().lower().rsplit("/", 1)[-1]


def _parsed(name: str) -> _Name:
    text = _last(_FILE.sub("", name.strip().lower()))
    latest = text.endswith((":latest", "-latest", "-default"))
    text = _POINT.sub(".", _SERVED.sub("", text))
    if _SIZED.search(text):
        text = _BUILT.sub("", text)
    date = _DATE.search(text)
    told = "" if date is None else next(part for part in date.groups() if part).replace("-", "")
    parts = _PARTS.findall(text if date is None else text[: date.start()] + text[date.end() :])
    words = sorted(part for part in parts if part.isalpha() and part not in _LATEST | _PREVIEW)
    numbers = [int(part) for part in parts if part.isdigit()]
    while len(numbers) > 1 and not numbers[-1]:
        # Version 4.0 is version 4.
        numbers.pop()
    return _Name(tuple(words), tuple(numbers), told, latest, not _PREVIEW.isdisjoint(parts))
