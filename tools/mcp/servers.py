"""`McpServers`: the MCP servers of a configuration, and their tools by name."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import SecretStr

from ...configs.agents import McpServer, is_loopback
from ...configs.errors import ConfigError
from ...configs.loading.layers import suggest
from ...configs.loading.trust import TrustStore
from ..base import ToolFailed
from .host import Host
from .offered import PREFIX, Listing, Offered, listing_of
from .pins import Pins

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from .connection import Connection

__all__ = ["McpServers"]

T = TypeVar("T")


class McpServers:
    """MCP servers by name. Each is started, or reached, when its tools are first needed.

    Args:
        entries: The servers' configuration entries by name.
        secrets: NAME of an environment variable -> its value, for the variables that the entries name.
        trust: Where to pin what a server says about its tools; None pins it for this process only.
        offline: Reach no server beyond this machine.
    """

    def __init__(
        self,
        entries: Mapping[str, McpServer],
        *,
        secrets: Mapping[str, SecretStr] | None = None,
        trust: TrustStore | None = None,
        offline: bool = False,
    ) -> None:
        self._offline = offline
        self._servers = {name: Server(name, entry, secrets or {}, trust) for name, entry in entries.items()}
        self._host = Host(self._end)

    def __deepcopy__(self, memo: object) -> McpServers:
        # A copy of a tool calls the same server.
        return self

    async def connect(self, names: Iterable[str] | None = None) -> None:
        """Make servers ready, all at once.

        Args:
            names: Tools whose servers are wanted, possibly among names of other tools; None for all servers.

        Raises:
            ConfigError: As `get`; the first error if several servers cannot be used.
        """
        owners = {_owner(name) for name in names if name.startswith(PREFIX)} if names is not None else {*self._servers}
        wanted = [server for name, server in self._servers.items() if name in owners and not server.is_ready]
        if wanted:
            await asyncio.wrap_future(self._host.submit(self._ready(wanted)))

    def get(self, name: str) -> BaseTool:
        """Return a tool; this waits for its server if `connect` has not made it ready.

        Args:
            name: ``mcp__<server>__<tool>``.

        Raises:
            ConfigError: There is no such server or tool, the server cannot be used, or it describes the tool
                differently than when it was first used.
        """
        server = self._of(name)
        offered = server.offered(name)
        from .tool import mcp_tool

        return mcp_tool(
            offered,
            server.entry.effects.get(offered.own),
            partial(self._call, server, offered),
            lambda arguments: self.wait(server.call(offered, arguments)),
        )

    def ask(self) -> dict[str, ConfigError]:
        """Make all servers list their tools, and wait until they have.

        Returns:
            Name of each server that cannot be used -> the error.
        """
        return self.wait(self._asked())

    def accept(self, name: str) -> None:
        """Accept a tool as its server describes it now.

        Raises:
            ConfigError: As `get`, except for a changed description.
        """
        self._of(name).accept(name)

    def __iter__(self) -> Iterator[Server]:
        return iter(self._servers.values())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work on the servers' loop and wait for it; must not be called on that loop."""
        return self._host.submit(work).result()

    def close(self) -> None:
        """End every server that was started, and every connection."""
        self._host.close()

    async def _call(self, server: Server, tool: Offered, arguments: dict[str, Any]) -> Any:
        # If the caller stops waiting, the call is cancelled.
        return await asyncio.wrap_future(self._host.submit(server.call(tool, arguments)))

    def _of(self, name: str) -> Server:
        """Return the server of a tool, once it is ready."""
        owner = _owner(name)
        server = self._servers.get(owner)
        if server is None:
            meant = suggest(owner, self._servers) or f": configure it under mcp.{owner}"
            raise ConfigError(f"there is no MCP server {owner!r} for the tool {name!r}{meant}")
        if not server.is_ready:
            self.wait(self._ready([server]))
        return server

    async def _asked(self) -> dict[str, ConfigError]:
        servers = list(self._servers.values())
        outcomes = await asyncio.gather(
            *(server.connect(offline=self._offline) for server in servers), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, ConfigError):
                raise outcome
        told = zip(servers, outcomes, strict=True)
        return {server.name: outcome for server, outcome in told if isinstance(outcome, ConfigError)}

    async def _ready(self, servers: Iterable[Server]) -> None:
        await asyncio.gather(*(server.connect(offline=self._offline) for server in servers))

    async def _end(self) -> None:
        await asyncio.gather(*(server.close() for server in self._servers.values()), return_exceptions=True)


class Server:
    """One server: its connection, the tools it lists, and which of them have changed.

    Attributes:
        name: Its name in the configuration.
        entry: How to reach it.
        listing: The tools it lists; empty before it was asked.
        protocol: The protocol version in use with it.
        changed: Name of each tool that is described differently than before -> what is different.
    """

    def __init__(self, name: str, entry: McpServer, secrets: Mapping[str, SecretStr], trust: TrustStore | None) -> None:
        self.name = name
        self.entry = entry
        self.listing = Listing({}, {})
        self.protocol = ""
        self._secrets = secrets
        self._pins = Pins(name, entry, trust)
        self.changed: dict[str, str] = {}
        self._connection: Connection | None = None
        self._pid = 0

    def __deepcopy__(self, memo: object) -> Server:
        return self

    @property
    def is_ready(self) -> bool:
        """Whether it has listed its tools in this process."""
        return self._connection is not None and bool(self.protocol) and self._pid == os.getpid()

    async def connect(self, *, offline: bool) -> None:
        """Start or reach it, and read its list of tools; raises as `McpServers.get`."""
        if offline and self.entry.url is not None and not _is_here(self.entry.url):
            raise ConfigError(f"the MCP server {self.name!r} is not on this machine, and offline nothing leaves it")
        await self._session()

    def offered(self, name: str) -> Offered:
        """Return a tool of this server that may be used; raises as `McpServers.get`."""
        if name in self.changed:
            raise ConfigError(
                f"the MCP server {self.name!r} describes {name} otherwise than when it was first used "
                f"({self.changed[name]}): read it, then 'pointsman tools --accept {name}' goes on with it as it is now"
            )
        if name in self.listing.refused:
            raise ConfigError(f"the tool {name!r} cannot be used: {self.listing.refused[name]}")
        offered = self.listing.tools.get(name)
        if offered is None:
            meant = suggest(name, self.listing.tools) or f"; it has {', '.join(self.listing.tools) or 'none'}"
            raise ConfigError(f"the MCP server {self.name!r} has no tool {name!r}{meant}")
        return offered

    def accept(self, name: str) -> None:
        """Accept a tool as it is described now.

        Raises:
            ConfigError: It lists no such tool.
        """
        if name not in self.listing.tools:
            raise ConfigError(f"the MCP server {self.name!r} has no tool {name!r} to accept")
        self._pins.accept(self.listing.tools[name])
        self.changed.pop(name, None)

    async def call(self, tool: Offered, arguments: dict[str, Any]) -> Any:
        """Call a tool as it was when it was given to an agent.

        Raises:
            ToolFailed: Its description has changed since, the server cannot be used, or as `Connection.call`.
        """
        from .answers import told

        try:
            connection, session = await self._session()
        except ConfigError as error:
            raise ToolFailed(f"{error}; the call was not made") from error
        now = self.listing.tools.get(tool.name)
        if now is None or now.record != tool.record:
            raise ToolFailed(
                f"the MCP server {self.name!r} has changed {tool.own!r} since this run began, so it is not called"
            )
        return told(await connection.call(session, tool.own, arguments))

    async def close(self) -> None:
        """End it."""
        connection, self._connection, self.protocol = self._connection, None, ""
        if connection is not None:
            await connection.close()

    async def _session(self) -> tuple[Connection, Any]:
        connection = self._connection
        if connection is None or self._pid != os.getpid():
            connection = self._connected()
            self._connection, self._pid = connection, os.getpid()
        session, is_news = await connection.opened()
        if is_news:
            self.listing = listing_of(self.name, session.records)
            self._check_effects()
            self.changed = self._pins.changes(self.listing)
            self.protocol = session.protocol
        return connection, session

    def _connected(self) -> Connection:
        try:
            from .connection import Connection
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"the MCP server {self.name!r} needs an extra that is not installed: pip install 'pointsman[mcp]'"
            ) from error
        values = {}
        for name, variable in self.entry.secrets.items():
            if variable not in self._secrets:
                raise ConfigError(f"the MCP server {self.name!r} needs the environment variable {variable}: set it")
            values[name] = self._secrets[variable].get_secret_value()
        return Connection(self.name, self.entry, values)

    def _check_effects(self) -> None:
        own = [tool.own for tool in self.listing.tools.values()]
        unknown = next((name for name in self.entry.effects if name not in own), None)
        if unknown is not None and not self.listing.refused:
            meant = suggest(unknown, own)
            raise ConfigError(f"the MCP server {self.name!r} has no tool {unknown!r} to declare an effect of{meant}")


def _owner(name: str) -> str:
    return name.removeprefix(PREFIX).partition("__")[0]


def _is_here(url: str) -> bool:
    from urllib.parse import urlsplit

    return is_loopback(urlsplit(url).hostname or "")
