"""What a server offers: each tool under a name that every provider accepts, readable, or refused with a reason.

A server's own words go into a model's prompt, so invisible characters in them are made visible, and no schema makes
us fetch what it refers to.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any, Final

from ...configs.words import Effect
from ..fitting import fitted

__all__ = ["PREFIX", "Listing", "Offered", "listing_of", "visible"]

PREFIX: Final = "mcp__"
_NAME: Final = 64
_DESCRIPTION: Final = 8_000
_SCHEMA: Final = 100_000
_DEEP: Final = 40
_PROSE: Final = frozenset({"description", "title", "$comment"})
_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
_PLAIN: Final = re.compile(r"[\t\n -~]*")


@dataclass(frozen=True)
class Offered:
    """A tool as a server describes it.

    Attributes:
        name: Its name for models and configuration: ``mcp__<server>__<tool>``.
        own: Its name on the server.
        record: The server's full record of it.
        description: Its description for a model, with invisible characters made visible.
        schema: JSON schema of its arguments, likewise.
    """

    name: str
    own: str
    record: Mapping[str, Any] = field(repr=False)
    description: str = field(repr=False)
    schema: Mapping[str, Any] = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the server's full record of it."""
        return sha256(json.dumps(self.record, sort_keys=True).encode()).hexdigest()[:12]

    def effect(self, declared: Effect | None) -> Effect:
        """Return its effect: the one the user declares, or a worse one that the server states; never a lesser one.

        Args:
            declared: By the user; None counts as ``destructive``.
        """
        hints = self.record.get("annotations") or {}
        effect = declared or Effect.DESTRUCTIVE
        if hints.get("destructiveHint") is True:
            return Effect.DESTRUCTIVE
        return max(effect, Effect.WRITE) if hints.get("readOnlyHint") is False else effect


@dataclass(frozen=True, slots=True)
class Listing:
    """The tools of a server, by their names for models.

    Attributes:
        tools: Those that can be used.
        refused: The others, each with the reason.
    """

    tools: Mapping[str, Offered]
    refused: Mapping[str, str]


def listing_of(server: str, records: Iterable[Mapping[str, Any]]) -> Listing:
    """Read a server's list of tools.

    Args:
        server: Its name in the configuration.
        records: Each tool as received, with the protocol's keys (``name``, ``description``, ``inputSchema``, …).
    """
    tools: dict[str, Offered] = {}
    refused: dict[str, str] = {}
    for record in records:
        own = str(record["name"])
        name = _name(server, own)
        if name in tools or name in refused:
            tools.pop(name, None)
            refused[name] = "the server lists two tools of this name"
        elif reason := _unusable(record):
            refused[name] = reason
        else:
            said = str(record.get("description") or record.get("title") or "")
            description = visible(fitted(said, _DESCRIPTION)) or "(The server does not say what it does.)"
            schema = _readable(record.get("inputSchema") or {"type": "object"})
            tools[name] = Offered(name, own, record, description, schema)
    return Listing(tools, refused)


def _name(server: str, own: str) -> str:
    """Return the name for models: letters, digits, ``_`` and ``-``, at most 64, which every provider accepts."""
    wanted = f"{PREFIX}{server}__{own}"
    name = re.sub(r"[^A-Za-z0-9_-]", "_", wanted)
    if name == wanted and len(name) <= _NAME:
        return name
    # A changed or cut name must not collide with another tool's name.
    return f"{name[: _NAME - 7]}_{sha256(own.encode('utf-8', 'replace')).hexdigest()[:6]}"


def _unusable(record: Mapping[str, Any]) -> str | None:
    schemas = [record.get("inputSchema") or {}, record.get("outputSchema") or {}]
    try:
        if len(json.dumps(schemas)) > _SCHEMA:
            return f"its schemas are longer than {_SCHEMA:,} characters"
    except (ValueError, RecursionError):
        return "its schemas are no JSON"
    return next((reason for schema in schemas if (reason := _fault(schema, 0))), None)


def _fault(part: Any, depth: int, key: str = "") -> str | None:
    if depth > _DEEP:
        return f"its schemas are nested more than {_DEEP} levels deep"
    if isinstance(part, Mapping):
        for name, child in part.items():
            if visible(name) != name:
                return "its schemas have a name with characters that are not seen"
            if name in _REFERENCES and isinstance(child, str) and not child.startswith("#"):
                return "its schemas point to another document, which is not fetched"
            if reason := _fault(child, depth + 1, name):
                return reason
    elif isinstance(part, list):
        return next((reason for child in part if (reason := _fault(child, depth + 1))), None)
    elif isinstance(part, str) and key not in _PROSE and visible(part) != part:
        return "its schemas have a value with characters that are not seen"
    return None


def _readable(part: Any, key: str = "") -> Any:
    if isinstance(part, Mapping):
        return {name: _readable(child, name) for name, child in part.items()}
    if isinstance(part, list):
        return [_readable(child) for child in part]
    return visible(part) if isinstance(part, str) and key in _PROSE else part


def visible(text: str) -> str:
    """Return the text with each character that is invisible or changes the reading direction written as ``<U+202E>``.

    Args:
        text: What a server said.

    Returns:
        The same object if there is no such character.
    """
    if _PLAIN.fullmatch(text):
        return text
    shown = [character if _is_seen(character) else f"<U+{ord(character):04X}>" for character in text]
    return text if len(shown) == len(text) and "".join(shown) == text else "".join(shown)


def _is_seen(character: str) -> bool:
    # Unicode, chapter 4.5: Cc control, Cf format, Cs surrogate, Co private use, Cn unassigned; Zl and Zp end lines.
    category = unicodedata.category(character)
    return character in "\t\n" or (category[0] != "C" and category not in ("Zl", "Zp"))
