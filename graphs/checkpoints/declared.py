"""The types that a graph declares in its schemas, which a checkpoint of it may make again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["declared", "declared_by"]


def declared(graph: CompiledStateGraph[Any, Any, Any, Any]) -> set[tuple[str, ...]]:
    """Module and name of each type in the state of a graph, of its subgraphs, and of agents that are nodes of them.

    They are dataclasses, Pydantic models and enums, at any depth of containers and of each other, as LangGraph itself
    collects them where ``LANGGRAPH_STRICT_MSGPACK`` is set.

    Args:
        graph: The graph.
    """
    graphs = [graph, *(inner for _, inner in graph.get_subgraphs(recurse=True))]
    return declared_by(schema for one in graphs for schema in _schemas(one))


def declared_by(schemas: Iterable[Any]) -> set[tuple[str, ...]]:
    """Module and name of each type in schemas.

    Args:
        schemas: Classes of state; None stands for no schema.
    """
    from langgraph._internal._serde import collect_allowlist_from_schemas

    return collect_allowlist_from_schemas(schemas=[schema for schema in schemas if schema is not None])


def _schemas(graph: Any) -> Iterable[Any]:
    builder = getattr(graph, "builder", None)
    if builder is None:
        return
    yield from (builder.state_schema, builder.input_schema, builder.output_schema)
    for node in builder.nodes.values():
        yield node.input_schema
        # An agent of ours makes its graph when it runs.
        yield getattr(node.runnable, "state_schema", None)
    for branches in builder.branches.values():
        yield from (branch.input_schema for branch in branches.values())
