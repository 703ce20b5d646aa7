"""Tool names that every vendor accepts, and the mapping back to the real names."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

__all__ = ["real_names", "tool_names", "wire_name"]

# The strictest rules combined: OpenAI and Bedrock allow 64 of these characters, Gemini requires a letter or "_" first.
_TAKEN: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")
_STRANGE: Final = re.compile(r"[^a-zA-Z0-9_-]+")
_KEPT: Final = 55
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def tool_names(tools: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of tools in OpenAI's format, in their order."""
    return tuple(str(tool.get("function", tool).get("name")) for tool in tools)


@lru_cache(maxsize=4096)
def wire_name(name: str) -> str:
    """Return a tool's name for vendors: its own if every vendor accepts it, otherwise one derived from it.

    The same name always gives the same result, so that a conversation can be continued.
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
    """Return vendor name -> real name, for the names that differ.

    Args:
        names: Names of the bound tools.
    """
    changed = {wire: name for name in names if (wire := wire_name(name)) != name}
    return MappingProxyType(changed) if changed else _NOTHING
