"""``pointsman queue``: list what waits for a person, and mark items as done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ....configs.errors import ConfigError
from ....configs.visible import visible
from ... import options
from ...io.approval import described
from ...io.output import answer, as_json, line, minute, progress, result, short
from ...io.table import table
from ...settings import opened
from ...signals import end_cleanly

if TYPE_CHECKING:
    from ....agents.result import Pending
    from ....agents.runtime import Runtime
    from ....ledger.rows import HandoffRow

__all__ = ["commands"]

_SHOWN = 8
"""Characters of an id that are shown; ``done`` takes any unique prefix."""
_APPROVAL = "approval"
_INTERRUPTED = "interrupted"
_RUNNING = "running"


def queue(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Include items that are done.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show everything a person is told.")] = False,
    json: options.AsJson = False,
) -> None:
    """List what waits for a person: acts to approve, steps handed over, and runs that were interrupted."""
    from ....agents.approval.notify import has_hook

    if context.invoked_subcommand is not None:
        return
    with opened(reads=True) as runtime:
        rows = [_Item(row, _state(row)) for row in runtime.ledger.handoffs(open_only=not every)]
        rows += _interrupted(runtime)
        looks = full or json or has_hook(runtime.settings)
        acts = _acts(runtime) if looks and any(item.state == _APPROVAL for item in rows) else {}
    if json:
        as_json([_record(item, acts.get(item.row.id)) for item in rows])
        return
    if not rows:
        result("nothing waits for a person")
        return
    if full:
        for row, state in rows:
            result(f"{row.id}  {minute(row.at)}  {row.risk or '-'}  {state}  run {row.run}")
            if (act := acts.get(row.id)) is not None:
                result("\n".join(described(act, full=True)) + "\n", painted=True)
            else:
                result(f"  why   {line(row.reason)}\n  what  {line(row.summary)}\n")
    else:
        cells = [
            (
                row.id[:_SHOWN],
                minute(row.at),
                row.risk or "-",
                state,
                row.run,
                short(visible(row.summary), 60),
                short(visible(row.reason), 60),
            )
            for row, state in rows
        ]
        result(table(cells, ("id", "since (UTC)", "risk", "state", "run", "what", "why")))
    states = {item.state for item in rows}
    if _APPROVAL in states:
        progress("an act is shown whole with: pointsman queue --full")
        progress("an act is answered with: pointsman resume RUN --approve ID    (or --reject ID, --edit)")
    if _INTERRUPTED in states:
        progress("an interrupted run goes on with: pointsman resume RUN")


def _acts(runtime: Runtime) -> Mapping[str, Pending]:
    """Return the acts that wait, by their ids in the queue."""
    from ....agents.handoffs import act_id
    from ....graphs.waiting import waiting

    try:
        return {act_id(act): act for act in asyncio.run(waiting(runtime))}
    except ConfigError as error:
        progress(f"note: {error}")
        return {}


def _record(item: _Item, act: Pending | None) -> dict[str, object]:
    return {**asdict(item.row), "state": item.state, **({} if act is None else {"act": asdict(act)})}


class _Item(NamedTuple):
    row: HandoffRow
    state: str


def _interrupted(runtime: Runtime) -> Iterator[_Item]:
    """Return the runs that were cancelled or whose process is gone, and that can continue."""
    from ....agents.runs import status_of
    from ....dispatch.journal import INPUT
    from ....graphs.checkpoints import resumable
    from ....ledger.rows import HandoffRow

    rows = [row for status in (_RUNNING, _INTERRUPTED) for row in runtime.ledger.runs(status=status)]
    cut_off = [row for row in rows if status_of(runtime, row) == _INTERRUPTED]
    begun = resumable(runtime.settings.state, [row.id for row in cut_off])
    for row in sorted(cut_off, key=lambda row: row.started):
        if row.id in begun or INPUT in runtime.ledger.kept.names(row.id):
            why = f"it was interrupted before its end: pointsman resume {row.id}"
            yield _Item(HandoffRow(row.id, row.id, row.started, "", why, row.target), _INTERRUPTED)


def done(
    item: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    json: options.AsJson = False,
) -> None:
    """Mark an item as done."""
    from ....agents.handoffs import waits_for_approval

    end_cleanly()
    with opened() as runtime:
        fitting = [row for row in runtime.ledger.handoffs() if row.id.startswith(item)]
        if len(fitting) != 1:
            none = f"nothing in the queue has the id {item!r}: pointsman queue lists it"
            raise ConfigError(f"{len(fitting)} items begin with {item!r}: write more of the id" if fitting else none)
        if waits_for_approval(fitting[0]) and not fitting[0].done:
            raise ConfigError(f"it waits for an answer: pointsman resume {fitting[0].run} --approve ID, or --reject ID")
        finished = runtime.ledger.finish_handoff(fitting[0].id)
    answer(asdict(finished), f"{finished.id[:_SHOWN]} is done: {short(finished.summary, 100)}", json=json)


def _state(row: HandoffRow) -> str:
    from ....agents.handoffs import waits_for_approval

    if row.done:
        return "done"
    return _APPROVAL if waits_for_approval(row) else "open"


commands = options.listing(queue, done)
