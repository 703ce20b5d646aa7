"""Pins: how a server described its tools when it was first used, so that it cannot change them unnoticed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from difflib import unified_diff
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from ...configs.agents import McpServer
from ...configs.errors import ConfigError
from ...configs.loading.trust import TrustStore
from .offered import Listing, Offered, visible

__all__ = ["Pins"]

_log = logging.getLogger(__name__)
_SHOWN: Final = 600
_NAMED: Final = 8


class Pins:
    """A server's descriptions of its tools, stored with what the user trusts.

    Args:
        server: Its name.
        entry: How to reach it; the same name at another place is another server.
        store: Where to store them; None, or a user without a home, keeps them for this process only.
    """

    def __init__(self, server: str, entry: McpServer, store: TrustStore | None) -> None:
        place = json.dumps([entry.command, entry.args, entry.url])
        self._server = server
        self._place = Path(f"/mcp/{server}-{sha256(place.encode()).hexdigest()[:16]}")
        self._store = store
        self._held: dict[str, dict[str, Any]] | None = None

    def changes(self, listing: Listing) -> dict[str, str]:
        """Compare with what is pinned, and pin what is new.

        Returns:
            Name of each tool that the server describes differently than before -> what is different.
        """
        held = self._read()
        new = [tool for name, tool in listing.tools.items() if name not in held]
        if new:
            held.update({tool.name: dict(tool.record) for tool in new})
            self._write(held)
            _log.warning(
                "first use of %d tools of the MCP server %r, pinned as they are: %s",
                len(new), self._server, ", ".join(f"{visible(tool.own)} {tool.digest}" for tool in new[:_NAMED]),
            )  # fmt: skip
        return {
            name: _difference(held[name], tool.record)
            for name, tool in listing.tools.items()
            if held[name] != tool.record
        }

    def accept(self, tool: Offered) -> None:
        """Pin a tool as it is described now."""
        held = self._read()
        held[tool.name] = dict(tool.record)
        self._write(held)

    def _read(self) -> dict[str, dict[str, Any]]:
        if self._held is None or self._store is not None:
            text = None if self._store is None else self._store.last(self._place)
            if text is not None or self._held is None:
                self._held = json.loads(text) if text else {}
        return self._held

    def _write(self, held: dict[str, dict[str, Any]]) -> None:
        self._held = held
        if self._store is None:
            return
        try:
            self._store.keep(self._place, json.dumps(held, sort_keys=True))
        except ConfigError as error:
            _log.warning("the tools of the MCP server %r are pinned for this process only: %s", self._server, error)


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    parts = [key for key in dict.fromkeys((*old, *new)) if old.get(key) != new.get(key)]
    lines: list[str] = []
    for part in parts:
        before, after = (_lines(side.get(part)) for side in (old, new))
        lines += [line for line in unified_diff(before, after, lineterm="", n=0) if line[:2] not in ("--", "++", "@@")]
    said = visible(" ".join(line.strip() for line in lines))
    return f"{', '.join(parts)}: {said if len(said) <= _SHOWN else said[:_SHOWN] + '…'}"


def _lines(value: Any) -> list[str]:
    return (value if isinstance(value, str) else json.dumps(value, indent=1, sort_keys=True)).splitlines()
