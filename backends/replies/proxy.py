"""`Proxy`: wraps an SDK's object and overrides parts of it."""

from __future__ import annotations

from typing import Any

__all__ = ["Proxy"]


class Proxy:
    """Forwards attribute access to an object, except for attributes that a subclass defines.

    Args:
        behind: The wrapped object.
    """

    def __init__(self, behind: Any) -> None:
        self._behind = behind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)
