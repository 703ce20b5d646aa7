"""Draw a graph in plain ASCII: its nodes in boxes from top to bottom, each with arrows to those it leads to."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Edge", "draw"]

Edge = tuple[str, str, bool]
"""Source, target, and whether it is one of several choices."""


def draw(nodes: Sequence[str], edges: Sequence[Edge]) -> str:
    """Draw every node above all it leads to; edges that lead back are listed at the end.

    Args:
        nodes: Every node, the start first.
        edges: The edges between them.
    """
    ended: list[str] = []
    seen: set[str] = set()

    def visit(node: str) -> None:
        seen.add(node)
        # From the last to the first, since the order is turned round at the end.
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
