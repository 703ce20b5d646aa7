"""The only way out of a sandbox: an HTTP and HTTPS proxy that allows a few domains, and only public addresses."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from ..addresses import refusal

__all__ = ["INSIDE", "Gate", "Permits", "Proxy", "is_public"]

_PORT: Final = 3128
_SCRIPT: Final = "/run/listen.py"
_URL: Final = f"http://127.0.0.1:{_PORT}"
INSIDE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), _URL),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1,::1"),
}
"""The variables by which programs find the proxy."""

_HEAD = 32 * 1024  # bytes of a request's head
_WAIT = 30.0  # seconds for a head, and for a connection
_CONNECTIONS = 128
_CHUNK = 64 * 1024
_PORTS = (80, 443)  # of an allowed domain without a port
_HOST: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*|[0-9a-f:.]+")
_METHOD: Final = re.compile(rb"[A-Z-]{1,20}")
_FIELD: Final = re.compile(rb"[\w!#$%&'*+.^`|~-]+:[^\r\n\0]*")
"""A header field (RFC 9112, section 5): a server may take one of another form for a second Host."""
_DROPPED = (b"proxy-", b"connection:", b"keep-alive:", b"host:")  # hop-by-hop fields, and those written anew here

Addresses = Sequence[tuple[str, int]]
Resolve = Callable[[str, int], Awaitable[Addresses]]
Permits = Callable[[str], bool]


def is_public(address: str) -> bool:
    """Whether an IP address may be connected to from inside: it must be a public internet address.

    Args:
        address: The address, as `socket.getaddrinfo` returns it.
    """
    return refusal(address) is None


class Proxy:
    """Serves one HTTP proxy on a listening socket. Each connection is checked by name, then by each of its addresses.

    Args:
        domains: As in `Sandbox`.
        resolve: Finds the addresses of a name; defaults to the system's resolver.
        permits: Whether an address may be connected to.
    """

    def __init__(
        self,
        domains: Iterable[str],
        *,
        resolve: Resolve | None = None,
        permits: Permits = is_public,
    ) -> None:
        self._domains = tuple(domains)
        self._resolve = resolve or _resolved
        self._permits = permits
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused: dict[str, str] = {}
        """What was refused: host -> why."""

    async def serve(self, listener: socket.socket) -> None:
        """Start serving.

        Args:
            listener: The listening socket, which is closed with this.
        """
        self._server = await asyncio.start_server(self._connected, sock=listener, limit=_HEAD)

    async def close(self) -> None:
        """Stop, and close every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= _CONNECTIONS:
            writer.close()
            return
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, asyncio.CancelledError):
            pass  # the connection is over; a command that ends takes its connections with it
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_WAIT):
            head = await reader.readuntil(b"\r\n\r\n")
        first, *fields = head[:-4].split(b"\r\n")
        method, _, rest = first.partition(b" ")
        target, _, version = rest.rpartition(b" ")
        asked = _asked(method, target)
        formed = _METHOD.fullmatch(method) is not None and all(map(_FIELD.fullmatch, fields))
        if asked is None or not formed or not version.startswith(b"HTTP/1."):
            await _answer(writer, 400, "this is a proxy for http:// and https:// alone")
            return
        host, port, path = asked
        try:
            theirs, out = await self._reached(host, port)
        except PermissionError as error:
            self.refused[host] = str(error)
            await _answer(writer, 403, str(error))
            return
        except OSError as error:
            await _answer(writer, 502, f"{host} cannot be reached: {error.strerror or error}")
            return
        try:
            if path is None:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                kept = [line for line in fields if not line.lower().startswith(_DROPPED)]
                name = host if port == 80 else f"{host}:{port}"
                start = [method + b" " + path + b" HTTP/1.1", b"Host: " + name.encode(), b"Connection: close"]
                out.write(b"\r\n".join([*start, *kept, b"", b""]))
            async with asyncio.TaskGroup() as both:
                both.create_task(_relayed(reader, out))
                both.create_task(_relayed(theirs, writer))
        except* OSError:
            pass  # one side has gone
        finally:
            out.close()

    async def _reached(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to one of the host's addresses that were checked, and to no other.

        Raises:
            PermissionError: The host is not allowed, or resolves to an address that is not public.
            OSError: It cannot be reached.
        """
        if not _allowed(host, port, self._domains):
            raise PermissionError(f"{host}:{port} is not among the domains that this run may reach")
        async with asyncio.timeout(_WAIT):
            addresses = await self._resolve(host, port)
            if not addresses or not all(self._permits(address) for address, _ in addresses):
                raise PermissionError(f"{host} leads to an address that is not a public one")
            failure: OSError = OSError("it has no address")
            for address, at in addresses:
                try:
                    return await asyncio.open_connection(address, at, limit=_CHUNK)
                except OSError as error:
                    failure = error
        raise failure


class Gate:
    """A proxy for one sandbox, from before it starts until after it has ended.

    Args:
        proxy: Serves the socket that is opened inside.
    """

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    async def __aenter__(self) -> Gate:
        self._outer, self.inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._outer.setblocking(False)
        asyncio.get_running_loop().add_reader(self._outer, self._handed)
        self._serving: asyncio.Task[None] | None = None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._outer)
        if self._serving is not None:
            await self._serving
        await self._proxy.close()
        self._outer.close()
        self.inner.close()

    def mounts(self) -> list[str]:
        """Return the arguments of bubblewrap that mount the script that opens the socket inside."""
        return ["--ro-bind", str(Path(__file__).with_name("listen.py").resolve()), _SCRIPT]

    def words(self) -> list[str]:
        """Return the words before the command inside."""
        return [sys.executable, "-I", "-S", _SCRIPT, str(self.inner.fileno()), str(_PORT)]

    def refused(self) -> list[str]:
        """Return what was refused, one line for each host."""
        return [f"network: {why}" for why in self._proxy.refused.values()]

    def _handed(self) -> None:
        """Receive the socket that was opened inside, once; anything else sent this way is ignored."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._outer)
        with suppress(OSError):
            _, descriptors, _, _ = socket.recv_fds(self._outer, 64, 1)
            for descriptor in descriptors:
                listener = socket.socket(fileno=descriptor)
                listener.setblocking(False)
                self._serving = loop.create_task(self._proxy.serve(listener))


def _asked(method: bytes, target: bytes) -> tuple[str, int, bytes | None] | None:
    """Return host, port, and for plain HTTP the path, of a request; None if it is not a proxy request."""
    try:
        text = target.decode("ascii")
        parts = urlsplit(f"//{text}" if method == b"CONNECT" else text)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except (UnicodeDecodeError, ValueError):
        return None
    if not _HOST.fullmatch(host) or parts.username is not None:
        return None
    if method == b"CONNECT":
        return None if port is None or parts.path else (host, port, None)
    if parts.scheme != "http":
        return None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return host, port or 80, path.encode()


def _allowed(host: str, port: int, domains: Iterable[str]) -> bool:
    for domain in domains:
        name, _, own = domain.partition(":")
        if port not in ((int(own),) if own else _PORTS):
            continue
        if host == name or (name.startswith("*.") and host.endswith(name[1:]) and len(host) >= len(name)):
            return True
    return False


async def _resolved(host: str, port: int) -> Addresses:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((str(address[0]), int(address[1])) for *_, address in found))


async def _relayed(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()


async def _answer(writer: asyncio.StreamWriter, status: int, said: str) -> None:
    names = {400: "Bad Request", 403: "Forbidden", 502: "Bad Gateway"}
    body = f"{said}\n".encode()
    head = f"HTTP/1.1 {status} {names[status]}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
    await writer.drain()
