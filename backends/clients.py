"""What every vendor's client needs before it can be built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.errors import ConfigError
from .base import Endpoint

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["missing_extra", "required_key"]


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


def missing_extra(extra: str) -> ConfigError:
    """Make the error that tells which extra to install."""
    return ConfigError(f"the backend {extra!r} needs an extra package: pip install 'pointsman[{extra}]'")
