"""``pointsman runs``: list what ran, and tell the story of one run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....configs.visible import visible
from ... import options
from ...io import records
from ...io.live import called
from ...io.outcome import TARGET_TAG, added_up
from ...io.output import as_json, line, result, seconds, short
from ...io.table import table
from .resume import run_row

if TYPE_CHECKING:
    from ....agents.runtime import Runtime
    from ....ledger.rows import CallRow, DecisionRow, EffectRow, HandoffRow, RunRow

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    options.add_listing(app, runs, show)


def runs(
    context: typer.Context,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Most runs to list, the newest first.")
    ] = 20,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """List what ran; 'runs show RUN' tells the story of one."""
    from ....agents.runs import status_of
    from ...settings import opened

    if context.invoked_subcommand is not None:
        return
    with opened(config, reads=True) as runtime:
        rows = [(row, status_of(runtime, row)) for row in runtime.ledger.runs(limit=limit)]
    if json:
        as_json([_record(row, status) for row, status in rows])
        return
    if not rows:
        result("nothing has run yet: pointsman run")
        return
    cells = [
        (row.id, _when(row.started), status.replace("_", " "), _took(row), row.target, row.user, _labels(row))
        for row, status in rows
    ]
    result(table(cells, ("run", "started (UTC)", "status", "took", "target", "user", "tags"), right=[3]))


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")],
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Tell the story of a run: its steps, and for each its decisions, calls and acts; what a person decided; the cost.

    'route explain ID' says why a decision fell as it did.
    """
    from ...settings import opened

    with opened(config, reads=True) as runtime:
        # A call that was under way in a process that was killed becomes a row.
        runtime.dispatcher.budgets.reclaim()
        story = asyncio.run(_Story.of(runtime, run))
    if json:
        as_json(story.record())
    else:
        result(story.text(), painted=True)


class _Story:
    """What is known of one run, by its ledger and its checkpoint."""

    def __init__(self, runtime: Runtime, run: str, ended: dict[str, dict[str, Any]]) -> None:
        from ....agents.runs import status_of, waits_for_approval

        ledger = runtime.ledger
        self.row = run_row(runtime, run)
        self.status = status_of(runtime, self.row)
        self.ended = ended
        self.decisions: Sequence[DecisionRow] = ledger.decisions(run)
        self.calls: Sequence[CallRow] = ledger.calls(run)
        self.acts: Sequence[EffectRow] = ledger.effects(run)
        handed = ledger.handoffs(run=run)
        self.approvals: Sequence[HandoffRow] = [row for row in handed if waits_for_approval(row)]
        self.handoffs: Sequence[HandoffRow] = [row for row in handed if not waits_for_approval(row)]

    @classmethod
    async def of(cls, runtime: Runtime, run: str) -> _Story:
        """Read what is known of a run."""
        from ....graphs.checkpoints import last_state

        run_row(runtime, run)
        done = (await last_state(runtime.settings.state, run)).get("done")
        # A graph of the user's own may keep anything under that name.
        kept = [one for one in done if isinstance(one, dict)] if isinstance(done, list) else []
        ended = {one["id"]: one for one in kept if {"id", "agent", "status", "note"} <= set(one)}
        return await asyncio.to_thread(cls, runtime, run, ended)

    def record(self) -> dict[str, Any]:
        """The story as JSON values, money in USD."""
        return {
            **_record(self.row, self.status),
            "steps": list(self.ended.values()),
            "decisions": [records.decision_record(row) for row in self.decisions],
            "calls": [records.call_record(row) for row in self.calls],
            "acts": [asdict(row) for row in self.acts],
            "approvals": [asdict(row) for row in self.approvals],
            "handoffs": [asdict(row) for row in self.handoffs],
            **{f"total_{name}": value for name, value in records.spent(self.calls).items() if name != "calls"},
        }

    def text(self) -> str:
        """The story for a person."""
        row = self.row
        lines = [
            f"run        {row.id}: {self.status.replace('_', ' ')}",
            f"target     {line(row.target)}  {line(_labels(row))}".rstrip(),
            f"started    {_when(row.started)} UTC, took {_took(row)}" + (f", for {line(row.user)}" if row.user else ""),
            f"in all     {added_up(len(self.ended), self.calls)}",
        ]
        for step in self._steps():
            lines += ["", *self._step(step)]
        for name, rows in (("approvals", self.approvals), ("handed to a person", self.handoffs)):
            if rows:
                lines += ["", name, *(f"  {said}" for row in rows for said in _asked(row))]
        if self.status in ("pending", "interrupted", "failed"):
            lines += ["", f"go on with: pointsman resume {row.id}"]
        return "\n".join(lines)

    def _steps(self) -> list[str]:
        """The steps in the order in which they began."""
        rows: list[DecisionRow | CallRow | EffectRow] = [*self.decisions, *self.calls, *self.acts]
        return list(dict.fromkeys((*(row.step for row in sorted(rows, key=lambda row: row.at)), *self.ended)))

    def _step(self, step: str) -> Iterator[str]:
        record = self.ended.get(step)
        mine = [row for row in self.decisions if row.step == step]
        agent = record["agent"] if record else next((row.agent for row in mine), "")
        status = f": {line(record['status']).replace('_', ' ')}" if record else ""
        yield f"step {line(step)}" + (f" ({line(agent)})" if agent and agent != step else "") + status
        for decision in mine:
            model = decision.model or "no model may run it"
            yield f"  decision {decision.id}  {decision.risk} risk, {decision.tier} or above: {line(model)}"
            yield from (f"    call   {called(row, err=False)}" for row in self.calls if row.decision == decision.id)
        known = {decision.id for decision in mine}
        yield from (
            f"  call     {called(row, err=False)}"
            for row in self.calls
            if row.step == step and row.decision not in known
        )
        for act in self.acts:
            if act.step == step:
                yield f"  act      {line(act.tool)} ({act.effect}): {line(act.outcome) or 'it may have happened'}"
        if record and record["note"]:
            yield f"  note     {short(record['note'], 400)}"


def _asked(row: HandoffRow) -> Iterator[str]:
    yield f"{row.id[:8]}  {line(visible(row.summary))}"
    yield f"          {'waits' if not row.done else line(visible(row.reason))}"


def _record(row: RunRow, status: str) -> dict[str, object]:
    return {
        "run": row.id,
        "target": row.target,
        "started": row.started,
        "ended": row.ended,
        "status": status,
        "user": row.user,
        "tags": list(row.tags),
    }


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _took(row: RunRow) -> str:
    return seconds(None if row.ended is None else row.ended - row.started)


def _labels(row: RunRow) -> str:
    here = Path.cwd()
    return " ".join(
        TARGET_TAG + os.path.relpath(tag.removeprefix(TARGET_TAG), here) if tag.startswith(f"{TARGET_TAG}/") else tag
        for tag in row.tags
    )
