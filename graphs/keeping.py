"""Operations on runs that are not active: fork them, and delete what is stored of them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..agents.journal.edits import forget_edits
from ..agents.result import Status
from ..agents.runs import FORKED, row_of, status_of
from ..agents.runtime import Runtime
from ..configs.errors import ConfigError
from ..dispatch.state import files
from ..ledger.rows import RunRow
from .checkpoints import forking
from .supervision.memory import taken_along

__all__ = ["forked", "give_up", "pruned"]

_DAY = 86_400.0
_PLANNED = ("plan", "done", "tried")
"""The channels that show how far a plan has come."""
_KEPT = (Status.RUNNING, Status.PENDING)


async def forked(runtime: Runtime, run: str, at: str | None = None) -> RunRow:
    """Create a run that has come as far as another, and can be resumed on its own.

    It does not repeat what the other has done: the same act requested at the same place is answered with its result,
    or a person is asked if it is unknown whether it happened. In the memory it finds what the other's steps had written
    by then, and nothing that they write later.

    Args:
        runtime: What it ran on.
        run: Id of the other run.
        at: A step of its plan, or the number of a superstep, to be repeated with all that follows; by default the
            new run continues from where the other run stands.

    Returns:
        The row of the new run, which `Workflow.resume` resumes.

    Raises:
        ConfigError: There is no such run, or nothing is stored of it from before that step.
    """
    row = await asyncio.to_thread(row_of, runtime, run)
    now = time.time()
    made = time.strftime("%Y%m%d-%H%M%S-", time.gmtime(now)) + uuid.uuid4().hex[:8]
    state = runtime.settings.state
    await asyncio.to_thread(files.shared, state, run, made)
    try:
        wanted = None if at is None else lambda *found: _is_before(at, *found)
        values = await forking.fork(state, run, made, wanted, _PLANNED)
    except ConfigError:
        files.forget(state, made)
        raise
    try:
        await taken_along(runtime, run, made, values)
    except BaseException:
        await give_up(runtime, [made])
        raise
    tags = (*(tag for tag in row.tags if not tag.startswith(FORKED)), FORKED + run)
    twin = replace(row, id=made, started=now, ended=now, status=Status.INTERRUPTED.value, tags=tags, parent="")
    runtime.ledger.record(twin)
    await asyncio.to_thread(runtime.ledger.flush)
    return twin


def _is_before(at: str, values: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Return whether a step was still to be done when a checkpoint was made."""
    steps = [step.get("id") for step in values.get("plan") or () if isinstance(step, Mapping)]
    if at in steps:
        return at not in [record.get("id") for record in (*_records(values, "done"), *_tried(values))]
    return at.isdecimal() and metadata.get("step", -1) < int(at)


def _records(values: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return [one for one in values.get(name) or () if isinstance(one, Mapping)]


def _tried(values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one["record"] for one in _records(values, "tried") if isinstance(one.get("record"), Mapping)]


async def pruned(runtime: Runtime, older_than: float) -> list[str]:
    """Delete what is stored of runs that ended long ago, so that they can no longer be resumed.

    Their rows stay in the ledger, and what they wrote in the memory: other items may be made from it. Active runs and
    those that wait for a person are kept.

    Args:
        runtime: What they ran on.
        older_than: Minimum number of days since their end.

    Returns:
        Their ids.

    Raises:
        ConfigError: The number is below zero.
    """
    if not older_than >= 0:
        raise ConfigError(f"older_than is {older_than}: give a number of days, 0 or more")
    before = time.time() - older_than * _DAY

    def over() -> list[str]:
        return [
            row.id
            for row in runtime.ledger.runs()
            if (row.ended or row.started) <= before and status_of(runtime, row) not in _KEPT
        ]

    runs = await asyncio.to_thread(over)
    await give_up(runtime, runs)
    return runs


async def give_up(runtime: Runtime, runs: Sequence[str]) -> None:
    """Delete what is stored of runs, so that they can no longer be resumed.

    Args:
        runtime: What they ran on.
        runs: Their ids.
    """
    if runs:
        await forking.forget(runtime.settings.state, runs)
        for run in runs:
            await asyncio.to_thread(_forget, runtime, run)


def _forget(runtime: Runtime, run: str) -> None:
    files.forget(runtime.settings.state, run)
    runtime.ledger.kept.forget(run)
    forget_edits(runtime, run)
