"""`Connection`: one server, started or reached when it is first needed, and again after it has gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from mcp import Client, MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    PARSE_ERROR,
    REQUEST_TIMEOUT,
    CallToolResult,
    Implementation,
)
from pydantic import SecretStr, ValidationError

from ...configs.agents import McpServer
from ...configs.errors import ConfigError
from ...configs.plain import plain
from ..base import ToolFailed
from ..fitting import fitted
from .http import http_transport
from .offered import visible
from .stdio import stdio_transport
from .watched import Told, Watched

__all__ = ["Connection"]

_PAGES: Final = 100
_TOOLS: Final = 1_000
_LATE: Final = 5.0
"""Seconds beyond its own timeout after which a call is abandoned, because the transport itself is stuck."""
_SAID: Final = 300
_END: Final = 7.0
"""Seconds a session may take to end: more than the transport gives a process."""

# The SDK logs malformed messages with the server's words, partly under a generic logger name; if logging is not
# configured, they would reach the terminal.
logging.getLogger("mcp").addHandler(logging.NullHandler())
logging.getLogger("client").addFilter(lambda record: Path(record.pathname).parts[-3:-1] != ("mcp", "client"))


class Connection:
    """A server and the session with it. Everything here runs on one event loop.

    Args:
        name: The server's name in the configuration.
        entry: How to reach it.
        secrets: Variable or header -> its value.
    """

    def __init__(self, name: str, entry: McpServer, secrets: Mapping[str, str]) -> None:
        self._name = name
        self._entry = entry
        self._secrets = secrets
        self._lock = asyncio.Lock()
        self._session: _Session | None = None

    async def opened(self) -> tuple[_Session, bool]:
        """Return the session, starting a new one if there is none or its server has gone.

        Returns:
            The session, and whether to read its list of tools: it is new, or the server says that its tools changed.

        Raises:
            ConfigError: The server cannot be started or reached, or does not list its tools in time.
        """
        async with self._lock:
            session = self._session
            if session is None or session.over.is_set():
                await self._close()
                session = self._session = _Session(self._name, self._entry, self._secrets)
                await session.begin()
                return session, True
            if session.changed:
                session.changed = False
                await session.list_again()
                return session, True
            return session, False

    async def call(self, session: _Session, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """Call a tool once; a request that was sent is never sent again.

        Args:
            session: The session that `opened` returned.
            tool: The server's name for it.
            arguments: The arguments as the model gave them.

        Raises:
            ToolFailed: The server refused, timed out, or ended during the call.
        """
        seconds = self._entry.timeout
        try:
            async with asyncio.timeout(seconds + _LATE):
                answer: CallToolResult = await session.client.call_tool(tool, arguments, read_timeout_seconds=seconds)
                return answer
        except TimeoutError as error:
            session.over.set()
            raise self._late() from error
        except MCPError as error:
            if error.code == REQUEST_TIMEOUT:
                raise self._late() from error
            if error.code == CONNECTION_CLOSED:
                why = session.told.given_up or "it ended during the call"
                raise self._failed(f"{why}, so the call may or may not have been carried out") from error
            if error.code in (PARSE_ERROR, INTERNAL_ERROR):
                raise self._failed(
                    f"{_said(error.error.message)}; the call may or may not have been carried out"
                ) from error
            if error.error.message == "Session terminated":
                session.over.set()
            raise self._failed(f"it refused the call: {_said(error.error.message)}") from error
        except ValidationError as error:
            raise self._failed(
                "it answered what is no answer of the protocol, so the call may have been carried out"
            ) from error
        except RuntimeError as error:
            raise self._failed(f"its answer does not fit: {_said(str(error))}") from error

    async def close(self) -> None:
        """End the session, and the server if it is a program."""
        async with self._lock:
            await self._close()

    async def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.end()

    def _late(self) -> ToolFailed:
        return self._failed(f"it took longer than {self._entry.timeout:g} s, so it may have done its work or not")

    def _failed(self, why: str) -> ToolFailed:
        return ToolFailed(f"the MCP server {self._name!r}: {why}")


class _Session:
    """One session with a server, run by its own task, which enters and leaves the SDK's scopes."""

    def __init__(self, name: str, entry: McpServer, secrets: Mapping[str, str]) -> None:
        self._name = name
        self._entry = entry
        self._secrets = secrets
        self.told = Told()
        self.over = asyncio.Event()
        self.changed = False
        self.protocol = ""
        self.records: list[dict[str, Any]] = []
        self.client: Client
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Start or reach the server and list its tools; raises as `Connection.opened`."""
        self._task = asyncio.create_task(self._live())
        try:
            async with asyncio.timeout(self._entry.start_timeout):
                await asyncio.shield(self._ready)
        except TimeoutError:
            self.told.given_up = f"it did not list its tools within {self._entry.start_timeout:g} s"
            await self.end()
            raise self._unreachable(self.told.given_up) from None
        except ConfigError as error:
            await self.end()
            raise self._unreachable(str(error)) from error
        except Exception as error:
            await self.end()
            raise self._unreachable(self.told.given_up or _cause(error)) from error
        except BaseException:
            await self.end()
            raise

    async def list_again(self) -> None:
        """List the tools again; raises as `Connection.opened`."""
        try:
            async with asyncio.timeout(self._entry.start_timeout):
                self.records = await self._listed(self.client)
        except Exception as error:
            self.over.set()
            raise self._unreachable(f"it no longer lists its tools: {_cause(error)}") from error

    async def end(self) -> None:
        """End it, whatever it is doing."""
        self.over.set()
        if self._task is None:
            return
        if not self._ready.done():
            self._task.cancel()
        # A host may be slow to accept the end of a session; a process ends within its own time limits.
        _, late = await asyncio.wait([self._task], timeout=_END)
        if late:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_END)
        if not self._ready.cancelled() and self._ready.done():
            self._ready.exception()

    async def _live(self) -> None:
        transport = Watched(self._transport(), self.told, on_end=self.over.set, on_change=self._note_change)
        try:
            async with Client(
                transport,
                read_timeout_seconds=self._entry.start_timeout,
                client_info=Implementation(name="pointsman", version=version("pointsman")),
                cache=None,
            ) as client:
                client.session.validate_tool_result = _as_it_is  # type: ignore[method-assign]
                self.client = client
                self.protocol = client.protocol_version
                self.records = await self._listed(client)
                self._ready.set_result(None)
                await self.over.wait()
        except asyncio.CancelledError:
            self._ready.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - a foreign process or host; the waiting caller gets the error
            if not self._ready.done():
                self._ready.set_exception(error)
        finally:
            self.over.set()

    def _note_change(self) -> None:
        self.changed = True

    def _transport(self) -> AbstractAsyncContextManager[Any]:
        entry = self._entry
        if entry.url is not None:
            headers = {**_plain(entry.headers), **{name: _token(name, value) for name, value in self._secrets.items()}}
            return http_transport(entry.url, headers, entry.timeout)
        return stdio_transport(str(entry.command), entry.args, {**_plain(entry.env), **self._secrets}, self.told)

    async def _listed(self, client: Client) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(_PAGES):
            page = await client.list_tools(cursor=cursor)
            for tool in page.tools:
                shown = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
                records.append({key: shown[key] for key in _PINNED if key in shown})
            cursor = page.next_cursor
            if len(records) > _TOOLS:
                raise ConfigError(f"it lists more than {_TOOLS:,} tools, which nobody can look through")
            if cursor is None:
                return records
        raise ConfigError(f"it lists its tools on more than {_PAGES} pages")

    def _unreachable(self, why: str) -> ConfigError:
        said = plain(self.told.stderr.decode("utf-8", "replace")).split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "")
        beside = f"; it said: {_said(last)}" if last else ""
        return ConfigError(f"the MCP server {self._name!r} cannot be used: {why}{beside}")


_PINNED: Final = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")


async def _as_it_is(name: str, result: CallToolResult) -> None:
    """Replace the SDK's validation of an answer by the schema of the same server, which can take forever.

    It would prove nothing: a server's answer is untrusted text, whatever form it has.
    """


def _plain(values: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in values.items()}


def _token(header: str, value: str) -> str:
    return f"Bearer {value}" if header.lower() == "authorization" and " " not in value else value


def _cause(error: BaseException) -> str:
    """Return what failed, without the address or the headers, which can hold secrets."""
    while isinstance(error, BaseExceptionGroup):  # from the SDK's task groups
        error = error.exceptions[0]
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, MCPError):
        if error.code == CONNECTION_CLOSED:
            return "it ended before it had listed its tools"
        said = _said(error.error.message)
        return said if error.code == PARSE_ERROR else f"it says: {said}"
    if isinstance(error, ValidationError):
        wrong = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, wrong["loc"]))
        return f"its answer is not of the protocol: {_said(place)}: {_said(wrong['msg'])}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def _said(text: str) -> str:
    return visible(" ".join(fitted(plain(text), _SAID).split()))
