"""Helpers for building a vendor's client: its key, HTTP client and connection tracking."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable
from functools import cache, cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from ...configs.errors import ConfigError
from ..base import REACH, Endpoint
from .hosts import is_here

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["counting", "hang_up_with", "http_client", "missing_extra", "required_key", "tell_from", "tells_reach"]

_MOST_URLS: Final = 64


def required_key(endpoint: Endpoint, backend: str) -> SecretStr:
    """Return the endpoint's key.

    Args:
        endpoint: The endpoint that holds the key.
        backend: Name of the backend, for the message.

    Raises:
        ConfigError: There is none, or it is empty.
    """
    if endpoint.key is None or not endpoint.key.get_secret_value().strip():
        raise ConfigError(
            f"{endpoint.model} needs a key: give its provider (backend {backend!r}) a `key:`, the name of an "
            "environment variable, and set that variable"
        )
    return endpoint.key


@cache
def counting(mixin: type, made: type) -> Any:
    """Return a subclass of a chat model class whose usage ``mixin`` reads; it keeps the class's name.

    Args:
        mixin: One of `usage`.
        made: The partner package's class.
    """
    return type(made)(made.__name__, (mixin, made), {"__module__": made.__module__, "__doc__": made.__doc__})


def http_client(made: type, endpoint: Endpoint) -> Any:
    """Build an HTTP client over aiohttp that passes response headers to the endpoint's ``on_headers``.

    Args:
        made: An SDK's ``DefaultAioHttpClient``.
        endpoint: The endpoint whose requests it will send.
    """
    hear = endpoint.on_headers

    async def pass_on(response: Any) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers.raw}
        if "".join((*headers, *headers.values())).isascii():
            # Otherwise every access would detect the encoding again.
            response.headers.encoding = "ascii"
        if hear is not None:
            hear(headers)

    hooks = {"response": [pass_on]}
    away = not is_here(endpoint.base_url)
    return _sparing(made)(
        timeout=endpoint.timeout, event_hooks=hooks, trust_env=away, verify=_certificates(made, from_environment=away)
    )


@cache
def _certificates(made: type, *, from_environment: bool) -> Any:
    """Return the certificates an SDK's clients trust; loading them takes longer than the rest of building a client."""
    client = next(base for base in made.__mro__ if base.__name__ == "AsyncClient")
    httpx = import_module(client.__module__.partition(".")[0])
    return httpx.create_ssl_context(trust_env=from_environment)


@cache
def _sparing(made: type) -> Any:
    """Return a class of HTTP clients that computes shared headers and URLs only once."""

    class Sparing(made):  # type: ignore[misc]  # either SDK's
        @cached_property
        def _own_headers(self) -> list[tuple[str, str]]:
            return [(name.lower(), value) for name, value in self.headers.multi_items()]

        def _init_transport(self, *args: Any, **kwargs: Any) -> Any:
            return _telling(super()._init_transport(*args, **kwargs))

        def _init_proxy_transport(self, *args: Any, **kwargs: Any) -> Any:
            return _telling(super()._init_proxy_transport(*args, **kwargs))

        def _merge_url(self, url: Any) -> Any:
            kept = self.__dict__.setdefault("_kept_urls", {})
            if url not in kept:
                if len(kept) >= _MOST_URLS:
                    kept.clear()
                kept[url] = super()._merge_url(url)
            return kept[url]

        def _merge_headers(self, headers: Any = None) -> Any:
            if type(headers) is not list:
                return super()._merge_headers(headers)
            given = {name.lower() for name, _ in headers}
            return [*[pair for pair in self._own_headers if pair[0] not in given], *headers]

    return Sparing


def _telling(transport: Any) -> Any:
    """Make a transport over aiohttp record in `REACH` when a request has a connection."""
    get_client = transport.get_client

    def client() -> Any:
        session = get_client()
        connect = session.connector.connect

        async def telling(*args: Any, **kwargs: Any) -> Any:
            reach = REACH.get()
            if reach is None:
                return await connect(*args, **kwargs)
            # Once the request may have been sent, a later connection must not reset this.
            reach.connected = bool(reach.connected)
            connection = await connect(*args, **kwargs)
            reach.connected = True
            return connection

        session.connector.connect = telling
        return session

    transport.get_client = client
    return transport


def hang_up_with(model: object, client: Any) -> None:
    """Close the connections of an HTTP client over aiohttp when its chat model is garbage-collected.

    By then nothing can await the client's own close method, and aiohttp warns about every session left open.

    Args:
        model: The chat model.
        client: From `http_client`; all requests of the model use it.
    """
    _telling_models[id(model)] = model
    weakref.finalize(model, _hang_up, client, os.getpid())


def tell_from(model: object, client: Any, *methods: str) -> None:
    """Make a chat model whose SDK manages its own connections record in `REACH` when the SDK starts a request.

    Args:
        model: The chat model.
        client: The SDK's object that sends the model's requests.
        methods: All of its methods that start a request.
    """
    for name in methods:
        setattr(client, name, _begun(getattr(client, name)))
    _telling_models[id(model)] = model


def _begun(send: Callable[..., Any]) -> Callable[..., Any]:
    def begun(*args: Any, **kwargs: Any) -> Any:
        if (reach := REACH.get()) is not None:
            # From here on its progress is unknown.
            reach.connected = None
        return send(*args, **kwargs)

    return begun


# By identity, since chat models have no hash.
_telling_models: weakref.WeakValueDictionary[int, object] = weakref.WeakValueDictionary()


def tells_reach(model: object) -> bool:
    """Return whether a chat model's requests record in `REACH` that they have, or are about to get, a connection."""
    return _telling_models.get(id(model)) is model


def _hang_up(client: Any, pid: int) -> None:
    # A forked child shares its parent's connections.
    if pid != os.getpid():
        return
    for transport in {client._transport, *client._mounts.values()}:
        session = getattr(transport, "client", None)
        connector = getattr(session, "connector", None)
        if connector is None or connector.closed:
            continue
        closing = connector.close()
        # The first step closes the connections and the rest only waits for lingering ones; the loop may be gone by now.
        with contextlib.suppress(StopIteration, RuntimeError):
            closing.send(None)
        closing.close()


def missing_extra(extra: str) -> ConfigError:
    """Return the error that says which extra to install."""
    return ConfigError(f"the backend {extra!r} needs an extra package: pip install 'pointsman[{extra}]'")
