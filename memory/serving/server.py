"""`serve`: give other processes access to a memory over HTTP, with a token.

The store itself is served, not Chroma's API, which has no access control, does not know trust, lineage, tenants or
expiry, and does not delete for good. So clients get the same guarantees as with the folder: one transaction per write,
and reads that see every earlier write.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiohttp import web
from langgraph.store.base import Op, PutOp, Result

from ...configs.errors import ConfigError
from .wire import ERRORS, PATH, dumped, loaded

__all__ = ["METHODS", "is_loopback", "serve"]

METHODS = frozenset(
    {
        *("batch", "exported", "forget", "history", "item", "recall", "remember_all", "remember_documents"),
        *("restore", "stats", "sweep_ttl", "tenant", "was_forgotten", "why"),
    }
)
"""The methods of a memory that clients can call."""

_log = logging.getLogger(__name__)

_MOST_BYTES = 256 * 1024 * 1024
_END_SECONDS = 10.0


class _Served(Protocol):
    @property
    def tenant(self) -> str: ...

    async def abatch(self, ops: Any) -> list[Result]: ...


async def serve(
    stores: Mapping[str, _Served],
    host: str,
    port: int,
    *,
    ready: Callable[[str], None],
    stop: asyncio.Event,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve memories until an event is set.

    Args:
        stores: Token -> the store it opens.
        host: Address to listen on.
        port: Port to listen on, 0 for a free one.
        ready: Called with the URL once the server listens.
        stop: Stops the server when set, after the requests in progress.
        tls: Certificate and key; None for plain HTTP.

    Raises:
        ConfigError: If it cannot listen there.
    """
    application = web.Application(client_max_size=_MOST_BYTES)
    application.router.add_post(PATH + "{method}", _Desk(stores).answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_END_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}:{port}: {error.strerror or error}; choose another address or port"
            ) from error
        bound, chosen = runner.addresses[0][:2]
        ready(f"http{'s' if tls else ''}://{f'[{bound}]' if ':' in bound else bound}:{chosen}")
        await stop.wait()
    finally:
        await runner.cleanup()


class _Desk:
    def __init__(self, stores: Mapping[str, _Served]) -> None:
        self._stores = {f"Bearer {token}".encode(): store for token, store in stores.items()}

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request."""
        store, method = self._store_of(request), request.match_info["method"]
        if store is None:
            return _said(401, "ConfigError", "the token is missing or not one of this server's")
        if method not in METHODS:
            return _said(404, "ConfigError", f"this server knows no {method!r}: is it of another version?")
        try:
            arguments = loaded(await request.read())
            return _json(200, {"result": await _done(store, method, arguments)})
        except tuple(ERRORS.values()) as error:
            name = next(name for name, kind in ERRORS.items() if type(error) is kind or isinstance(error, kind))
            return _said(400, name, str(error))
        except (AttributeError, LookupError, OverflowError) as error:
            # For example, a number was given where a string is expected.
            _log.info("%s was asked with what it does not take", method, exc_info=True)
            return _said(400, "TypeError", f"{method} does not take these arguments: {error!r}")

    def _store_of(self, request: web.Request) -> _Served | None:
        shown = request.headers.get("authorization", "").encode("utf-8", "surrogateescape")
        found = None
        for token, store in self._stores.items():
            # Compare with all tokens, so that the time reveals nothing.
            if hmac.compare_digest(token, shown):
                found = store
        return found


async def _done(store: _Served, method: str, arguments: dict[str, Any]) -> Any:
    if method == "tenant":
        return store.tenant
    if method == "batch":
        ops: list[Op] = arguments["ops"]
        if all(isinstance(op, PutOp) for op in ops):
            # Concurrent writes of many clients are merged into one batch.
            return await store.abatch(ops)
    return await asyncio.to_thread(getattr(store, method), **arguments)


def _json(status: int, value: Any) -> web.Response:
    return web.Response(status=status, body=dumped(value), content_type="application/json")


def _said(status: int, error: str, message: str) -> web.Response:
    return _json(status, {"error": error, "message": message})


def is_loopback(host: str) -> bool:
    """Whether an address can be reached only from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
