"""What every vendor's client needs before it can be built."""

from __future__ import annotations

import contextlib
import os
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any

from ..configs.errors import ConfigError
from .base import Endpoint
from .hosts import is_here, stay

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["counting", "hang_up_with", "http_settings", "missing_extra", "required_key"]


def required_key(endpoint: Endpoint, backend: str) -> SecretStr:
    """Give the endpoint's key.

    Args:
        endpoint: Where to find it.
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
    """Give a class of chat models whose usage is read by ``mixin``; it goes by the same name.

    Args:
        mixin: One of `usage`.
        made: The partner package's class.
    """
    return type(made)(made.__name__, (mixin, made), {"__module__": made.__module__, "__doc__": made.__doc__})


def http_settings(endpoint: Endpoint) -> dict[str, Any]:
    """Give the arguments of an SDK's ``DefaultAioHttpClient``: the time-out, and a hook that passes headers on.

    Args:
        endpoint: Whose requests it will send.
    """
    settings: dict[str, Any] = {"timeout": endpoint.timeout, "event_hooks": {"response": [stay]}}
    settings["trust_env"] = not is_here(endpoint.base_url)
    hear = endpoint.on_headers
    if hear is not None:

        async def pass_on(response: Any) -> None:
            # Its own dict would find out the encoding first, which takes longer than all else that is done to them.
            hear({name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers.raw})

        settings["event_hooks"]["response"].append(pass_on)
    return settings


def hang_up_with(model: object, client: Any) -> None:
    """Close the connections of an HTTP client over aiohttp when its chat model goes.

    Nobody can await the client's own closing then, and aiohttp complains of every session left open.

    Args:
        model: Whose end it is.
        client: An SDK's ``DefaultAioHttpClient``.
    """
    weakref.finalize(model, _hang_up, client, os.getpid())


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
        # It hangs up in its first step and then only waits for what lingers; the loop may be gone by now.
        with contextlib.suppress(StopIteration, RuntimeError):
            closing.send(None)
        closing.close()


def missing_extra(extra: str) -> ConfigError:
    """Make the error that tells which extra to install."""
    return ConfigError(f"the backend {extra!r} needs an extra package: pip install 'pointsman[{extra}]'")
