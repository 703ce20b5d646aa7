"""The story of one run: each step with its decisions, calls and acts; what a person decided; the cost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...io import records
from ...io.live import called
from ...io.outcome import TARGET_TAG, added_up
from ...io.output import line, seconds, short
from .resume import run_row

if TYPE_CHECKING:
    from ....agents.runtime import Runtime
    from ....ledger.rows import CallRow, DecisionRow, EffectRow, HandoffRow, RunRow

__all__ = ["Story", "differences", "labels", "run_record", "took", "when"]


class Story:
    """What the ledger and the checkpoint say about one run."""

    def __init__(self, runtime: Runtime, run: str, ended: dict[str, dict[str, Any]]) -> None:
        from ....agents.handoffs import waits_for_approval
        from ....agents.runs import status_of

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
    async def of(cls, runtime: Runtime, run: str) -> Story:
        """Read the story of a run."""
        from ....graphs.checkpoints import last_value

        run_row(runtime, run)
        done = await last_value(runtime.settings.state, run, "done")
        # A user's own graph may store anything under that name.
        kept = [one for one in done if isinstance(one, dict)] if isinstance(done, list) else []
        ended = {one["id"]: one for one in kept if {"id", "agent", "status", "note"} <= set(one)}
        return await asyncio.to_thread(cls, runtime, run, ended)

    def record(self) -> dict[str, Any]:
        """Return the story as JSON values, with amounts in USD."""
        return {
            **run_record(self.row, self.status),
            "steps": list(self.ended.values()),
            "decisions": [records.decision_record(row) for row in self.decisions],
            "calls": [records.call_record(row) for row in self.calls],
            "acts": [asdict(row) for row in self.acts],
            "approvals": [asdict(row) for row in self.approvals],
            "handoffs": [asdict(row) for row in self.handoffs],
            **{f"total_{name}": value for name, value in records.spent(self.calls).items() if name != "calls"},
        }

    def text(self) -> str:
        """Return the story as text for a person."""
        row = self.row
        lines = [
            f"run        {row.id}: {self.status.replace('_', ' ')}",
            f"target     {line(row.target)}  {line(labels(row))}".rstrip(),
            f"started    {when(row.started)} UTC, took {took(row)}" + (f", for {line(row.user)}" if row.user else ""),
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
        """Return the steps in the order in which they began."""
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
        if record:
            yield from _remembered(record)
        if record and record["note"]:
            yield f"  note     {short(record['note'], 400)}"


def _remembered(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a step recalled from the memory, and the note that its result was kept as."""
    for one in record.get("recalled", ()):
        yield f"  recalled {one['id'][:12]}  by {line(one['author'])}, from {line(one['source'])} ({one['trust']})"
    if kept := record.get("remembered"):
        yield f"  kept     {kept[:12]}"


def _asked(row: HandoffRow) -> Iterator[str]:
    yield f"{row.id[:8]}  {line(row.summary)}"
    yield f"          {'waits' if not row.done else line(row.reason)}"


def run_record(row: RunRow, status: str) -> dict[str, object]:
    """Return a run as JSON values."""
    told = {name: getattr(row, name) for name in ("target", "started", "ended", "user", "tags")}
    return {"run": row.id, **told, "status": status}


def when(at: float) -> str:
    """Format a time in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def took(row: RunRow) -> str:
    """Return how long a run took."""
    return seconds(None if row.ended is None else row.ended - row.started)


def labels(row: RunRow) -> str:
    """Return the tags of a run, with its target relative to the current folder."""
    here = Path.cwd()
    return " ".join(
        TARGET_TAG + os.path.relpath(tag.removeprefix(TARGET_TAG), here) if tag.startswith(f"{TARGET_TAG}/") else tag
        for tag in row.tags
    )


_OF_RUN = ("target", "status", "user", "total_cost", "total_tokens", "total_unpriced")
_OF_STEP = ("agent", "status", "model", "risk", "note", "output")


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the differences between the stories of two runs.

    Args:
        first: The story of a run, as `Story.record` gives it.
        second: The story of another run.

    Returns:
        For each difference: the step, empty for the run itself; the field; and both values, None for a missing one.
    """
    found = [_difference("", name, first.get(name), second.get(name)) for name in _OF_RUN]
    told = [{one["id"]: one for one in story["steps"]} for story in (first, second)]
    acts = [_acts(story) for story in (first, second)]
    for step in dict.fromkeys([*told[0], *told[1], *acts[0], *acts[1]]):
        one, other = (steps.get(step, {}) for steps in told)
        found += [_difference(step, name, one.get(name), other.get(name)) for name in _OF_STEP]
        found.append(_difference(step, "acts", acts[0].get(step), acts[1].get(step)))
    return [one for one in found if one["values"][0] != one["values"][1]]


def _difference(step: str, name: str, *values: Any) -> dict[str, Any]:
    return {"step": step, "field": name, "values": list(values)}


def _acts(story: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the acts of each step."""
    found: dict[str, list[str]] = {}
    for act in story["acts"]:
        found.setdefault(act["step"], []).append(f"{act['tool']}: {act['outcome'] or 'may have happened'}")
    return found
