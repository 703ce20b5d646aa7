"""The types of the user's own that a state declares, which may be made again of what is kept of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["declared_by"]


def declared_by(schemas: Iterable[Any]) -> set[tuple[str, ...]]:
    """Module and name of each dataclass, Pydantic model and enum in schemas, at any depth.

    LangGraph itself collects them so where ``LANGGRAPH_STRICT_MSGPACK`` is set.

    Args:
        schemas: Classes of state, and of what is in it; None stands for none.
    """
    from langgraph._internal._serde import collect_allowlist_from_schemas

    return collect_allowlist_from_schemas(schemas=[schema for schema in schemas if schema is not None])
