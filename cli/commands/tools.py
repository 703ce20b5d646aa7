"""``pointsman tools``: list the tools that agents can name, where each comes from and what it can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...configs.errors import ConfigError
from .. import options
from ..io.output import answer, line, progress, short
from ..io.table import table
from ..settings import opened

if TYPE_CHECKING:
    from ...agents.runtime import Runtime
    from ...tools.mcp.servers import Server

__all__ = ["tools"]


@options.project("workspace")
def tools(
    accept: Annotated[
        list[str] | None,
        typer.Option("--accept", metavar="NAME", help="Use a tool of an MCP server as it is described now."),
    ] = None,
    json: options.AsJson = False,
) -> None:
    """List the tools that agents can name, with what each can do; MCP servers are started and asked."""
    with opened(reads=True) as runtime:
        servers = runtime.tools.mcp
        for name in accept or ():
            if servers is None:
                raise ConfigError(f"there is no MCP server here that {name!r} could be a tool of")
            servers.accept(name)
        found = [_tool(runtime, name) for name in runtime.tools.names()]
        found += [row for row in _of_memory(runtime) if row["name"] not in {one["name"] for one in found}]
        for error in servers.ask().values() if servers else ():
            progress(line(error))
        found += [row for server in servers or () for row in _served(runtime, server)]
    rows = [
        (t["name"], t["effect"], t["call_risk"], t["source"], t["digest"], short(t["problem"] or t["description"], 90))
        for t in found
    ]
    answer(found, table(rows, ("tool", "effect", "risk of a call", "from", "pinned", "what it does")), json=json)


def _tool(runtime: Runtime, name: str) -> dict[str, Any]:
    from importlib.metadata import entry_points

    from ...tools.base import effect_of
    from ...tools.registry import ENTRY_POINTS

    points = [point for point in entry_points(group=ENTRY_POINTS) if point.name == name]
    source = next((point.dist.name if point.dist else point.value for point in points), "Pointsman itself")
    tool = runtime.tools.get(name)
    return _row(runtime, name, effect_of(tool), source, tool.description)


def _of_memory(runtime: Runtime) -> Iterator[dict[str, Any]]:
    """Yield the tools that an agent with a memory can name."""
    from ...agents.shared.memory import SharedMemory
    from ...memory.base import Provenance
    from ...tools.base import effect_of
    from ...tools.memory import memory_tools

    for tool in memory_tools(SharedMemory(runtime), (), provenance=Provenance.unknown):
        yield _row(runtime, tool.name, effect_of(tool), "agents with a memory", tool.description)


def _served(runtime: Runtime, server: Server) -> Iterator[dict[str, Any]]:
    source = f"MCP server {server.name} ({server.protocol})"
    for name, offered in server.listing.tools.items():
        effect = offered.effect(server.entry.effects.get(offered.own))
        row = {**_row(runtime, name, effect, source, offered.description), "digest": offered.digest}
        if name in server.changed:
            row["problem"] = f"has changed since it was first used ({server.changed[name]}); --accept {name} uses it so"
        yield row
    for name, reason in server.listing.refused.items():
        yield {**_row(runtime, name, None, source, ""), "problem": reason}


def _row(runtime: Runtime, name: str, effect: Any, source: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "effect": effect.value if effect else "none",
        "call_risk": runtime.settings.risk.call[effect].value if effect else "low",
        "source": source,
        "description": description,
        "digest": "",
        "problem": "",
    }
