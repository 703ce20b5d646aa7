"""A run inside another: found again by its place there, so that it goes on where it was and is not begun anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ..agents.runs import forked_from
from ..dispatch.cache.key import request_digest
from ..dispatch.context import current

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from ..ledger.ledger import Ledger

__all__ = ["begun_inside", "tag_inside"]

_INSIDE: Final = "inside:"
"""Prefix of the tag under which a run keeps its place in the run around it."""


def tag_inside(workflow: str, asked: Sequence[BaseMessage], thread: str | None) -> str:
    """The tag of a run that a node or a tool starts now, as `Journal.act` places acts; to be asked for once for each.

    Args:
        workflow: Name of what is run.
        asked: What it is asked.
        thread: The conversation that it belongs to.

    Returns:
        Empty where no run around it starts it again.
    """
    journal = current().run.journal
    what = request_digest(asked, tools=(), options={}, facts={"workflow": workflow, "thread": thread})
    place = None if journal is None else journal.act(f"run {what or workflow}")
    return "" if place is None else _INSIDE + place


def begun_inside(ledger: Ledger, outer: str, tag: str) -> str | None:
    """The id of the run that was begun at a place, by the run around it or by the one which that was forked from.

    This waits for the ledger's file.

    Args:
        ledger: Has the runs.
        outer: Id of the run around it.
        tag: The place, as `tag_inside` gives it.

    Returns:
        None where none was.
    """
    found = ledger.inside(outer, tag)
    if found is not None:
        return found.id
    row = ledger.run(outer)
    source = "" if row is None else forked_from(row)
    return begun_inside(ledger, source, tag) if source else None
