"""The memory that all agents share: as a graph's store, and to pass results between the steps of one run."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from langgraph.store.base import BaseStore, Op, Result

from ...agents.result import Status, StepRecord
from ...agents.runtime import Runtime
from ...agents.verification.verifier import as_text
from ...configs.evidence import Evidence
from ...configs.words import Trust
from ...dispatch.context import current
from ...memory.base import Note, Provenance

__all__ = ["SharedMemory", "recalled", "remember", "taken_along"]

_RECALLED: Final = 4
_LETTERS: Final = 16_000  # of them all, some four thousand tokens


class SharedMemory(BaseStore):
    """The memory of a runtime, which costs nothing until a tool uses it.

    Args:
        runtime: Runtime whose memory it is.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime.store, name)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Execute operations."""
        return self._runtime.store.batch(ops)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Execute operations."""
        return await self._runtime.store.abatch(ops)


async def recalled(runtime: Runtime, step: Mapping[str, Any], asked: str, *, known: Collection[str]) -> list[Evidence]:
    """Return what other agents of this run wrote that is relevant to a step and was not passed to it, as room allows.

    Args:
        runtime: Runtime whose memory it is.
        step: The step, as dumped.
        asked: What it is to do.
        known: The steps whose results were passed to it.
    """
    run = current().run.id
    if not run or not step["needs"]:
        return []
    found = await asyncio.to_thread(runtime.store.recall, ("runs", run), asked, limit=_RECALLED)
    room, evidence = _LETTERS, []
    for one in found:
        # A result that does not fit is left out entirely, since half of it may say something else.
        if one.source.removeprefix("step:") not in known and len(one.text) <= room:
            room -= len(one.text)
            evidence.append(Evidence(one.id, one.source, one.text, one.trust))
    return evidence


async def remember(runtime: Runtime, step: Mapping[str, Any], record: StepRecord) -> None:
    """Store a result that can be relied upon for the other steps of a run.

    Args:
        runtime: Runtime whose memory it is.
        step: The step, as dumped.
        record: Its record.
    """
    run = current().run.id
    note = _note(runtime, run, step, record) if run else None
    if note is not None:
        await asyncio.to_thread(runtime.store.remember_all, ("runs", run), [note])


async def taken_along(runtime: Runtime, run: str, fork: str, values: Mapping[str, Any]) -> None:
    """Store for a fork what the steps before it wrote: each result as the fork has it, if the run still remembers one.

    Args:
        runtime: Runtime whose memory it is.
        run: The run.
        fork: The run that continues from one of its checkpoints.
        values: The plan and the steps that are done at that checkpoint.
    """
    steps = {step["id"]: step for step in values.get("plan") or () if isinstance(step, Mapping)}
    done = [StepRecord.restored(one) for one in values.get("done") or () if isinstance(one, Mapping)]
    ended = {record.id: record for record in done if record.id in steps and record.status is Status.DONE}
    if ended:
        await asyncio.to_thread(_copy, runtime, run, fork, [(steps[key], record) for key, record in ended.items()])


def _copy(runtime: Runtime, run: str, fork: str, steps: Iterable[tuple[Mapping[str, Any], StepRecord]]) -> None:
    store, notes = runtime.store, []
    for step, record in steps:
        # A workflow without memory has none, and what a person had forgotten stays so.
        held = store.item(store.id_of(("runs", run), record.id))
        note = held and _note(runtime, fork, step, record)
        if held and note:
            # What the run has learned since may have lowered the trust.
            trust = min(note.provenance.trust, held.trust)
            notes.append(replace(note, provenance=replace(note.provenance, trust=trust)))
    if notes:
        store.remember_all(("runs", fork), notes)


def _note(runtime: Runtime, run: str, step: Mapping[str, Any], record: StepRecord) -> Note | None:
    """Return what a step's result is stored as for the other steps of a run; None if it says nothing."""
    text = as_text(record.output)
    if not text:
        return None
    provenance = Provenance(
        source=f"step:{record.id}",
        author=record.agent,
        run=run,
        trust=Trust(record.trust),
        step=record.id,
        lineage=tuple(runtime.store.id_of(("runs", run), need) for need in step["needs"]),
    )
    return Note(text, provenance, record.id)
