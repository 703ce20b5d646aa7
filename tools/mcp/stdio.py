"""The stdio transport: a server's process, its messages in bounded memory, and its end with all it started.

The SDK's own transport reads a line of any length and passes the server's standard error on to ours.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple, cast

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from ...configs.errors import ConfigError
from .watched import MESSAGE_BYTES, Told, Unreadable, repaired

__all__ = ["Streams", "stdio_transport"]

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]

_GRACE: Final = 2.0
"""Seconds a server has to end after its input is closed, and again after it gets SIGTERM; as in the SDK."""
_POLL: Final = 0.01
_STDERR_BYTES: Final = 2_000


class _Server(NamedTuple):
    process: Process
    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader


@asynccontextmanager
async def stdio_transport(
    command: str, args: Sequence[str], env: Mapping[str, str], told: Told
) -> AsyncIterator[Streams]:
    """Start a server and talk to it.

    Args:
        command: The program.
        args: Its arguments.
        env: Its variables besides HOME, LOGNAME, PATH, SHELL, TERM and USER (or their Windows equivalents); it gets
            no others.
        told: Receives its standard error, and why it was given up.

    Raises:
        ConfigError: It cannot be started.
    """
    server = await _started(command, args, {**get_default_environment(), **env})
    into, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, out = anyio.create_memory_object_stream[SessionMessage](0)
    tasks = [
        asyncio.ensure_future(_read(server, into, told)),
        asyncio.ensure_future(_write(server, out, into)),
        asyncio.ensure_future(_hear(server, told)),
    ]
    try:
        yield read, write
    finally:
        try:
            await _whole(asyncio.ensure_future(_ended(server, tasks, told)))
        finally:
            for stream in (into, read, write, out):
                stream.close()


async def _started(command: str, args: Sequence[str], env: Mapping[str, str]) -> _Server:
    program = shutil.which(command)
    if program is None:
        raise ConfigError(f"there is no program {command!r} on the PATH that may be run")
    try:
        process = await asyncio.create_subprocess_exec(
            program, *args, env=env, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=MESSAGE_BYTES, start_new_session=True
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"its program {command!r} cannot be started: {error}") from error
    return _Server(
        process,
        cast(asyncio.StreamWriter, process.stdin),
        cast(asyncio.StreamReader, process.stdout),
        cast(asyncio.StreamReader, process.stderr),
    )


async def _read(server: _Server, into: MemoryObjectSendStream[SessionMessage | Exception], told: Told) -> None:
    try:
        while line := await server.stdout.readline():
            if line.strip():
                await into.send(_message(line))
    except ValueError:
        told.given_up = f"it sent a message of more than {MESSAGE_BYTES:,} bytes"
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass
    finally:
        into.close()


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(repaired(line), by_name=False))
    except (ValueError, RecursionError):
        return Unreadable(line)


async def _write(
    server: _Server,
    out: MemoryObjectReceiveStream[SessionMessage],
    into: MemoryObjectSendStream[SessionMessage | Exception],
) -> None:
    try:
        async for message in out:
            server.stdin.write(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
            await server.stdin.drain()
    except (OSError, anyio.ClosedResourceError):
        into.close()


async def _hear(server: _Server, told: Told) -> None:
    while said := await server.stderr.read(65_536):
        told.stderr = (told.stderr + said)[-_STDERR_BYTES:]


async def _whole(ending: asyncio.Future[None]) -> None:
    """Wait for a process to end, however often the waiting is cancelled, so that no process is left behind."""
    cancelled: asyncio.CancelledError | None = None
    while not ending.done():
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    ending.result()


async def _ended(server: _Server, tasks: Sequence[asyncio.Future[None]], told: Told) -> None:
    """End the process in the protocol's order: close its input, then terminate it, then kill it."""
    with suppress(OSError):
        server.stdin.close()
    # A server that was given up is not waited for: it may be stuck in what it is still sending.
    if told.given_up or not await _is_gone(server):
        _end_group(server, forced=False)
        if told.given_up or not await _is_gone(server):
            _end_group(server, forced=True)
            await _is_gone(server)
    # The processes it started, in its own group, end with it.
    _end_group(server, forced=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # If a surviving process holds its pipes, asyncio would otherwise warn when the process is collected.
    transport = getattr(server.process, "_transport", None)
    if transport is not None:
        with suppress(PermissionError):
            transport.close()


async def _is_gone(server: _Server) -> bool:
    # Not wait(), which also waits for every process that inherited the pipes.
    now = asyncio.get_running_loop().time
    until = now() + _GRACE
    while server.process.returncode is None and now() < until:  # noqa: ASYNC110 - asyncio has no event for it alone
        await asyncio.sleep(_POLL)
    return server.process.returncode is not None


def _end_group(server: _Server, *, forced: bool) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            server.process.kill()
        else:
            os.killpg(server.process.pid, signal.SIGKILL if forced else signal.SIGTERM)
