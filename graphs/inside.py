"""A run inside another: found again by its place there, so that it goes on where it was and is not begun anew."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..agents.bounds import Bounds
from ..agents.result import RunResult
from ..agents.runs import forked_from
from ..dispatch.cache.key import request_digest
from ..dispatch.context import current
from .answering import answered
from .execution import Execution
from .takeover import taken

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langgraph.types import Interrupt

    from ..ledger.ledger import Ledger

__all__ = ["begun_inside", "gone_on", "tag_inside"]

_INSIDE: Final = "inside:"
"""Prefix of the tag under which a run keeps its place in the run around it."""


def tag_inside(workflow: str, asked: Sequence[BaseMessage], thread: str | None) -> tuple[str, ...]:
    """The tag of a run that a node or a tool starts now, as `Journal.act` places acts; to be asked for once for each.

    Args:
        workflow: Name of what is run.
        asked: What it is asked.
        thread: The conversation that it belongs to.

    Returns:
        Empty where no run around it starts it again.
    """
    journal = current().run.journal
    if journal is None:
        return ()
    what = request_digest(asked, tools=(), options={}, facts={"workflow": workflow, "thread": thread})
    place = journal.act(f"run {what or workflow}")
    return () if place is None else (_INSIDE + place,)


def begun_inside(ledger: Ledger, outer: str, place: tuple[str, ...]) -> str | None:
    """The id of the run that was begun at a place, by the run around it or by the one which that was forked from.

    This waits for the ledger's file.

    Args:
        ledger: Has the runs.
        outer: Id of the run around it.
        place: As `tag_inside` gives it.

    Returns:
        None where none was.
    """
    [tag] = place
    found = ledger.inside(outer, tag)
    if found is not None:
        return found.id
    row = ledger.run(outer)
    source = "" if row is None else forked_from(row)
    return begun_inside(ledger, source, place) if source else None


async def gone_on(
    run: str,
    execution: Execution,
    bounds: Bounds,
    stops: Callable[[], Awaitable[Sequence[Interrupt]]],
) -> RunResult[Any]:
    """Go on with a run that the one around it began before; one that had ended gives its result again.

    Args:
        run: Its id.
        execution: Runs it.
        bounds: What bounds it.
        stops: Gives what it waits for.

    Raises:
        NothingKept: It had not begun.
    """
    runtime = execution.runtime
    async with taken(runtime, run, execution.name) as found:
        result = await execution.run(await answered(found, None, stops, runtime), found, bounds)
    return await execution.told(result)
