"""`Proxy`: what stands in the place of an SDK's object and changes some of it."""

from __future__ import annotations

from typing import Any

__all__ = ["Proxy"]


class Proxy:
    """Has all that an object has, but for what a subclass defines itself.

    Args:
        behind: The object.
    """

    def __init__(self, behind: Any) -> None:
        self._behind = behind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)
