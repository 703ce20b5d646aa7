"""What waits for a person: acts to approve, and what a run could not do."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from ..configs.errors import ConfigError
from ..dispatch.context import current
from ..dispatch.errors import AllFailed
from ..ledger.rows import HandoffRow, KeptRow
from .approval.notify import has_hook, notified
from .result import Pending
from .runtime import Runtime

__all__ = [
    "act_id",
    "ask_person",
    "hand_over",
    "hand_over_failed",
    "note_answers",
    "tell",
    "tick_off",
    "untold",
    "waits_for_approval",
]

_HANDOFF = "failed-"
_UNTOLD = "untold "
"""Prefix of the names of the marks for acts that nobody has been told of."""
_ACT = ":"
"""Separates the id of the question from the digest in the id of an act that waits."""


async def hand_over(runtime: Runtime, *, risk: str, reason: str, summary: str, step: str = "") -> HandoffRow:
    """Put something of the current run in the person's queue.

    Args:
        runtime: Whose ledger keeps the queue.
        risk: Risk of the step that could not be done.
        reason: Why it comes to a person.
        summary: What they need to know.
        step: Id of the step; if given, handing the same step over again has no effect.
    """
    run = current().run.id
    handoff = uuid.uuid5(uuid.NAMESPACE_URL, f"{run}/{step}").hex if step else uuid.uuid4().hex
    if step:
        queued = await asyncio.to_thread(runtime.ledger.handoffs, run=run)
        if (row := next((row for row in queued if row.id == handoff), None)) is not None:
            return row
    row = HandoffRow(
        id=handoff,
        run=run,
        at=time.time(),
        risk=risk,
        reason=reason,
        summary=summary,
    )
    runtime.ledger.record(row)
    return row


def hand_over_failed(runtime: Runtime, run: str, error: AllFailed) -> None:
    """Put a run for which every model failed in the person's queue; the run itself can be resumed.

    Args:
        runtime: Whose ledger keeps the queue.
        run: Its id.
        error: Why it ended.
    """
    # The last rung of every fallback is a person.
    row = HandoffRow(
        id=_HANDOFF + run,
        run=run,
        at=time.time(),
        risk=error.risk.value,
        reason="no model gave a usable answer",
        summary=f"{error}; take it up again with: pointsman resume {run}",
    )
    runtime.ledger.record(row)


def tick_off(runtime: Runtime, run: str) -> None:
    """Remove a resumed run that got further from the person's queue; this waits for the ledger's file.

    Args:
        runtime: Whose ledger keeps the queue.
        run: Its id.
    """
    handoff = _HANDOFF + run
    if any(row.id == handoff for row in runtime.ledger.handoffs(open_only=True, run=run)):
        runtime.ledger.finish_handoff(handoff)


def waits_for_approval(row: HandoffRow) -> bool:
    """Return whether an item of the person's queue is an act of a run, which is answered rather than ticked off."""
    return _ACT in row.id


def ask_person(runtime: Runtime, run: str, pending: Sequence[Pending]) -> list[Pending]:
    """Put what a run waits for in the person's queue, and remove what it no longer waits for.

    If somebody is to be notified, a mark is stored with each new act until they have been (`tell`).

    Args:
        runtime: Whose ledger keeps the queue; this waits for its file.
        run: The run.
        pending: What it waits for.

    Returns:
        What nobody has been told of.
    """
    hooked = has_hook(runtime.settings)
    waiting = {act_id(act): act for act in pending}
    known = {row.id: row for row in runtime.ledger.handoffs(open_only=True, run=run)}
    new = {key: act for key, act in waiting.items() if key not in known}
    for key, act in new.items():
        if hooked:
            runtime.ledger.record(KeptRow(run, _UNTOLD + key, sealed=""))
        runtime.ledger.record(_act_row(run, act))
    for key, row in known.items():
        if waits_for_approval(row) and key not in waiting:
            runtime.ledger.record(replace(row, done=True))
    return untold(runtime, run, pending) if hooked else []


def untold(runtime: Runtime, run: str, pending: Sequence[Pending]) -> list[Pending]:
    """Return the acts a run waits for that nobody has been told of; this waits for the ledger's file.

    Args:
        runtime: Whose ledger keeps the marks.
        run: The run.
        pending: What it waits for.
    """
    marks = runtime.ledger.kept.names(run)
    return [act for act in pending if _UNTOLD + act_id(act) in marks]


def tell(runtime: Runtime, run: str, target: str, acts: Sequence[Pending]) -> tuple[str, ...]:
    """Notify somebody of acts that wait, and remove their marks; after a kill in between they are notified again.

    Args:
        runtime: Whose settings say whom; this waits until it is told, or for the time that may take.
        run: The run that waits.
        target: What runs.
        acts: What they are to be told of.

    Returns:
        A note for each channel that failed.
    """
    notes = notified(runtime.settings, run, target, acts)
    # If the marks cannot be removed, the notification is repeated next time.
    with suppress(ConfigError):
        for act in acts:
            runtime.ledger.kept.forget(run, _UNTOLD + act_id(act))
    return notes


def note_answers(runtime: Runtime, run: str, answers: Sequence[tuple[Pending, str]]) -> None:
    """Record a person's answers in the ledger before acting on them.

    Args:
        runtime: Whose ledger; this waits for its file.
        run: The run.
        answers: Each act with what was decided, in a few words.
    """
    known = {row.id: row for row in runtime.ledger.handoffs(run=run)}
    for act, said in answers:
        row = known.get(act_id(act)) or _act_row(run, act)
        runtime.ledger.record(replace(row, done=True, reason=said))


def act_id(act: Pending) -> str:
    """Return the id under which an act that waits is in the person's queue."""
    return f"{act.id}{_ACT}{act.digest}"


def _act_row(run: str, act: Pending) -> HandoffRow:
    shown = json.dumps(act.arguments, ensure_ascii=False, default=str)
    return HandoffRow(
        act_id(act), run, time.time(), risk=act.risk, reason=act.reason, summary=f"{act.tool} {shown}".strip()
    )
