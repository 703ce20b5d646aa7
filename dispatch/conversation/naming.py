"""Names of tools such as every vendor takes, and the way back from them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

__all__ = ["real_names", "tool_names", "wire_name"]

# The strictest of them all: OpenAI and Bedrock take 64 of these characters, Gemini wants a letter or "_" first.
_TAKEN: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")
_STRANGE: Final = re.compile(r"[^a-zA-Z0-9_-]+")
_KEPT: Final = 55
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def tool_names(tools: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The names of tools in OpenAI's format, in their order."""
    return tuple(str(tool.get("function", tool).get("name")) for tool in tools)


@lru_cache(maxsize=4096)
def wire_name(name: str) -> str:
    """The name a tool goes by at a vendor: its own where every vendor takes that, else one made from it.

    The same name gives the same one at any time, so that a conversation can be gone on with.
    """
    if _TAKEN.fullmatch(name):
        return name
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = _STRANGE.sub("_", plain).strip("_-")[:_KEPT] or "tool"
    if plain[0].isdigit():
        plain = f"_{plain}"[:_KEPT]
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain}_{digest}"


@lru_cache(maxsize=256)
def real_names(names: tuple[str, ...]) -> Mapping[str, str]:
    """Name at a vendor -> real name, of those that differ.

    Args:
        names: Of the tools bound.
    """
    changed = {wire: name for name in names if (wire := wire_name(name)) != name}
    return MappingProxyType(changed) if changed else _NOTHING
