"""``pointsman graph``: draw a workflow as Mermaid or in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from .. import options
from ..io.output import as_json, result
from ..settings import opened
from ..target.target import DEFAULT, found_target

if TYPE_CHECKING:
    from langchain_core.runnables.graph import Graph

__all__ = ["Edge", "draw", "graph"]

Edge = tuple[str, str, bool]
"""Source, target, and whether it is one of several choices."""


def graph(
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help=f"file.py:name or module:name; {DEFAULT} when left out.")
    ] = None,
    mermaid: Annotated[
        bool, typer.Option("--mermaid/--ascii", help="Mermaid for a document, or a drawing for the terminal.")
    ] = False,
    json: options.AsJson = False,
) -> None:
    """Draw the LangGraph graph of a workflow; dotted edges are conditional."""
    with opened(reads=True) as runtime:
        workflow = found_target(target or DEFAULT, runtime, name_it=None if target else f"'pointsman graph {DEFAULT}'")
        drawn: Graph = workflow.builder(runtime).compile().get_graph()
    edges = [(edge.source, edge.target, bool(edge.conditional)) for edge in drawn.edges]
    if json:
        listed = [{"source": source, "target": target, "conditional": choice} for source, target, choice in edges]
        as_json({"name": workflow.name, "nodes": list(drawn.nodes), "edges": listed, "mermaid": drawn.draw_mermaid()})
    elif mermaid:
        result(drawn.draw_mermaid().rstrip())
    else:
        result(draw(list(drawn.nodes), edges))


def draw(nodes: Sequence[str], edges: Sequence[Edge]) -> str:
    """Draw a graph in ASCII with each node in a box above its successors; edges that lead back are listed at the end.

    Args:
        nodes: Every node, the start first.
        edges: The edges between them.
    """
    ended: list[str] = []
    seen: set[str] = set()

    def visit(node: str) -> None:
        seen.add(node)
        # From last to first, since the order is reversed at the end.
        for source, target, _ in reversed(edges):
            if source == node and target not in seen:
                visit(target)
        ended.append(node)

    for node in nodes:
        if node not in seen:
            visit(node)
    place = {node: place for place, node in enumerate(reversed(ended))}
    lines: list[str] = []
    for node in place:
        border = f"+{'-' * (len(node) + 2)}+"
        leading = [edge for edge in edges if edge[0] == node and place[edge[1]] > place[node]]
        lines += [border, f"| {node} |", border, *(f"  {_arrow(edge)}" for edge in leading), ""]
    back = [edge for edge in edges if place[edge[1]] <= place[edge[0]]]
    if back:
        lines += ["back again:", *(f"  {edge[0]} {_arrow(edge)}" for edge in back)]
    return "\n".join(lines).rstrip()


def _arrow(edge: Edge) -> str:
    return f"{'..' if edge[2] else '--'}> {edge[1]}"
