"""The path under which the simulator serves each provider."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["PATHS"]

PATHS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "anthropic": "",
        "google": "",
        "openai": "/v1",
        "openai_compatible": "/v1",
        "openai_decisions": "/v1",
        "systemone": "/v1",
    }
)
"""Backend -> what its SDK needs after the provider's own path; a backend not listed here cannot be simulated."""
