"""Draw a graph in plain ASCII: boxes in layers, full lines for edges always taken, dotted ones for choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Edge", "draw"]

_GAP = 3
Edge = tuple[str, str, bool]
"""Source, target, and whether it is one of several choices."""


@dataclass(slots=True)
class _Box:
    """A node in its layer; without a label it only passes a long edge on."""

    label: str
    layer: int
    out: list[tuple[_Box, bool]] = field(default_factory=list)
    middle: int = 0

    @property
    def width(self) -> int:
        return len(self.label) + 4 if self.label else 1


def draw(nodes: Sequence[str], edges: Sequence[Edge]) -> str:
    """Draw a graph from top to bottom; edges that lead back are listed below it.

    Args:
        nodes: Every node, the start first.
        edges: The edges between them.
    """
    forward, back = _split(nodes, edges)
    layers = _layers(nodes, forward)
    _place(layers)
    width = max(box.middle + box.width for layer in layers for box in layer) + 1
    lines: list[str] = []
    for layer in layers:
        lines += _boxes(layer, width)
        lines += _lanes(layer, width)
    text = "\n".join(line.rstrip() for line in lines).rstrip()
    if back:
        listed = [f"  {source} {'..' if choice else '--'}> {target}" for source, target, choice in back]
        text += "\n\nback again:\n" + "\n".join(listed)
    return text


def _split(nodes: Sequence[str], edges: Sequence[Edge]) -> tuple[list[Edge], list[Edge]]:
    """Part the edges into those that lead on and those that close a circle."""
    following: dict[str, list[Edge]] = {node: [] for node in nodes}
    for edge in edges:
        following[edge[0]].append(edge)
    back: list[Edge] = []
    state: dict[str, str] = {}

    def visit(node: str) -> None:
        state[node] = "open"
        for edge in following[node]:
            if state.get(edge[1]) == "open":
                back.append(edge)
            elif edge[1] not in state:
                visit(edge[1])
        state[node] = "closed"

    for node in nodes:
        if node not in state:
            visit(node)
    return [edge for edge in edges if edge not in back], back


def _layers(nodes: Sequence[str], forward: Sequence[Edge]) -> list[list[_Box]]:
    """Give every node a layer below all its sources, and long edges a place in the layers they cross."""
    depth = dict.fromkeys(nodes, 0)
    for _ in nodes:
        for source, target, _choice in forward:
            depth[target] = max(depth[target], depth[source] + 1)
    boxes = {node: _Box(node, depth[node]) for node in nodes}
    layers: list[list[_Box]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for box in boxes.values():
        layers[box.layer].append(box)
    for source, target, choice in forward:
        last = boxes[source]
        for layer in range(depth[source] + 1, depth[target]):
            passing = _Box("", layer)
            layers[layer].append(passing)
            last.out.append((passing, choice))
            last = passing
        last.out.append((boxes[target], choice))
    return layers


def _place(layers: Sequence[list[_Box]]) -> None:
    """Order each layer by where its sources stand, and centre it."""
    sources: dict[int, list[_Box]] = {}
    for layer in layers:
        for box in layer:
            for target, _ in box.out:
                sources.setdefault(id(target), []).append(box)
    widths = [sum(box.width + _GAP for box in layer) - _GAP for layer in layers]
    for layer, own in zip(layers, widths, strict=True):
        layer.sort(key=lambda box: _mean([source.middle for source in sources.get(id(box), [])]))
        left = (max(widths) - own) // 2
        for box in layer:
            box.middle = left + box.width // 2
            left += box.width + _GAP


def _mean(places: Sequence[int]) -> float:
    return sum(places) / len(places) if places else 0.0


def _boxes(layer: Sequence[_Box], width: int) -> list[str]:
    rows = [[" "] * width for _ in range(3)]
    for box in layer:
        left = box.middle - box.width // 2
        edge = "+" + "-" * (box.width - 2) + "+"
        drawn = (edge, f"| {box.label} |", edge) if box.label else (_stroke(box),) * 3
        for row, text in zip(rows, drawn, strict=True):
            row[left : left + len(text)] = text
    return ["".join(row) for row in rows]


def _stroke(box: _Box) -> str:
    return ":" if any(choice for _, choice in box.out) else "|"


def _lanes(layer: Sequence[_Box], width: int) -> list[str]:
    """Lead the edges of one layer to the next, each source along a row of its own."""
    leading = [box for box in layer if box.out]
    if not leading:
        return []
    turning = [box for box in leading if any(target.middle != box.middle for target, _ in box.out)]
    rows = [[" "] * width for _ in range(len(turning) + 1)]
    for box in leading:
        lane = turning.index(box) if box in turning else 0
        for row in rows[:lane]:
            _vertical(row, box.middle, _stroke(box))
        if box in turning:
            _horizontal(rows[lane], box)
        for target, choice in box.out:
            for row in rows[lane + (box in turning) : -1]:
                _vertical(row, target.middle, ":" if choice else "|")
            rows[-1][target.middle] = "v" if target.label else ":" if choice else "|"
    return ["".join(row) for row in rows]


def _vertical(row: list[str], place: int, stroke: str) -> None:
    if row[place] != "+":
        row[place] = stroke


def _horizontal(row: list[str], box: _Box) -> None:
    places = [box.middle, *(target.middle for target, _ in box.out)]
    stroke = "." if any(choice for _, choice in box.out) else "-"
    for place in range(min(places), max(places) + 1):
        if row[place] == " ":
            row[place] = stroke
    for place in places:
        row[place] = "+"
