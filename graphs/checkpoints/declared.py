"""The types that a graph declares in its schemas, which may be deserialized from its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ...agents.spec.declared import declared_by

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["declared"]


def declared(graph: CompiledStateGraph[Any, Any, Any, Any]) -> frozenset[tuple[str, ...]]:
    """Return module and name of each type in the state of a graph and of its subgraphs.

    Args:
        graph: The graph.
    """
    graphs = [graph, *(inner for _, inner in graph.get_subgraphs(recurse=True))]
    return declared_by(schema for one in graphs for schema in _schemas(one))


def _schemas(graph: Any) -> Iterable[Any]:
    builder = getattr(graph, "builder", None)
    if builder is None:
        return
    yield from (builder.state_schema, builder.input_schema, builder.output_schema)
    for node in builder.nodes.values():
        yield node.input_schema
    for branches in builder.branches.values():
        yield from (branch.input_schema for branch in branches.values())
