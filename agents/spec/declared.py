"""The user's types that a state declares, which may be deserialized from what is stored of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

__all__ = ["declared_by"]

_MOST: Final = 512


def declared_by(schemas: Iterable[Any]) -> frozenset[tuple[str, ...]]:
    """Return module and name of each dataclass, Pydantic model and enum in schemas, at any depth.

    Args:
        schemas: Classes of state, and of what is in it; None stands for none.
    """
    return frozenset[tuple[str, ...]]().union(*(_declared_by(schema) for schema in schemas if schema is not None))


@lru_cache(maxsize=_MOST)
def _declared_by(schema: Any) -> frozenset[tuple[str, ...]]:
    # LangGraph itself collects them so if LANGGRAPH_STRICT_MSGPACK is set, but has no public name for it.
    from langgraph._internal._serde import collect_allowlist_from_schemas

    return frozenset(collect_allowlist_from_schemas(schemas=[schema]))
