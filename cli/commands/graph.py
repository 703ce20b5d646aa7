"""``pointsman graph``: draw a workflow as Mermaid or in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .. import options
from ..io.output import as_json, result
from ..io.target import DEFAULT, found_target

if TYPE_CHECKING:
    from langchain_core.runnables.graph import Graph

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("graph")(graph)


def graph(
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help=f"file.py:name or module:name; {DEFAULT} when left out.")
    ] = None,
    mermaid: Annotated[
        bool, typer.Option("--mermaid/--ascii", help="Mermaid for a document, or a drawing for the terminal.")
    ] = False,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Draw the LangGraph graph of a workflow; dotted edges are choices."""
    from ..io.drawing import draw
    from ..settings import opened

    with opened(config, reads=True) as runtime:
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
