"""Names of a package that are imported at their first use, since what they need costs up to a second to load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazily"]


def lazily(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Args:
        package: Its name.
        homes: Public name -> the module inside the package that has it; a module of that very name is meant itself.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = import_module(f".{homes[name].lstrip('.')}", package)
        return home if homes[name] == name else getattr(home, name)

    return find, lambda: sorted(homes)
