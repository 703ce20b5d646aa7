"""A run inside another: found again by its place there, so that it continues instead of restarting."""

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
"""Prefix of the tag that names a run's place in its enclosing run."""


def tag_inside(workflow: str, asked: Sequence[BaseMessage], thread: str | None) -> tuple[str, ...]:
    """Return the tag of a run that a node or tool starts now, as `Journal.act` places acts; call this once per run.

    Args:
        workflow: Name of what is run.
        asked: What it is asked.
        thread: The conversation that it belongs to.

    Returns:
        Empty if no enclosing run would start it again.
    """
    journal = current().run.journal
    if journal is None:
        return ()
    what = request_digest(asked, tools=(), options={}, facts={"workflow": workflow, "thread": thread})
    place = journal.act(f"run {what or workflow}")
    return () if place is None else (_INSIDE + place,)


def begun_inside(ledger: Ledger, outer: str, place: tuple[str, ...]) -> str | None:
    """Return the id of the run begun at a place, by the enclosing run or by the run that one was forked from.

    This waits for the ledger's file.

    Args:
        ledger: Holds the runs.
        outer: Id of the enclosing run.
        place: As `tag_inside` returns it.

    Returns:
        None if there was none.
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
    """Continue a run that its enclosing run began before; one that had ended returns its result again.

    Args:
        run: Its id.
        execution: Runs it.
        bounds: Its limits.
        stops: Returns what it waits for.

    Raises:
        NothingKept: It had not begun.
    """
    runtime = execution.runtime
    async with taken(runtime, run, execution.name) as found:
        result = await execution.run(await answered(found, None, stops, runtime), found, bounds)
    return await execution.told(result)
