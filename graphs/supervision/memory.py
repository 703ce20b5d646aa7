"""What steps recall before they begin, and keep when they have ended: results of their run, notes of all runs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from ...agents.agent import Agent
from ...agents.result import Status, StepRecord
from ...agents.runtime import Runtime
from ...agents.shared.notes import fitting, items_in_view, keep, notes_for
from ...agents.verification.verifier import as_text
from ...configs.words import Trust
from ...dispatch.context import current, entered
from ...memory.base import Note, Provenance, Recalled

__all__ = ["recalled", "remember", "taken_along"]

_RECALLED: Final = 4
_END: Final = 2_000


async def recalled(
    runtime: Runtime, agent: Agent, step: Mapping[str, Any], asked: str, *, known: Collection[str]
) -> list[Recalled]:
    """Return what bears on a step and was not passed to it, as room allows.

    These are results of other steps of the run, if the step builds on any, and notes in the memory of its agent.

    Args:
        runtime: Runtime whose memory it is.
        agent: The agent of the step.
        step: The step, as dumped.
        asked: What it is to do.
        known: The steps whose results were passed to it.
    """
    run, found = current().run.id, list[Recalled]()
    if run and step["needs"]:
        with entered(agent=agent.name, step=step["id"]):
            found = await asyncio.to_thread(runtime.store.recall, ("runs", run), _ends(asked), limit=_RECALLED)
    results = [one for one in found if one.source.removeprefix("step:") not in known]
    # What a step of this run kept as a note is passed on once, as its result.
    told = {(run, one) for one in (*known, *(one.writers[-1].step for one in results))}
    notes = [
        one
        for one in await notes_for(agent, asked, step=step["id"])
        if not told & {(w.run, w.step) for w in one.writers}
    ]
    return list(fitting([*results, *notes]))


def _ends(asked: str) -> str:
    """Return what is looked up of a task: of one with a document in it, the beginning and the end."""
    return asked if len(asked) <= 2 * _END else f"{asked[:_END]} {asked[-_END:]}"


async def remember(
    runtime: Runtime, agent: Agent, step: Mapping[str, Any], record: StepRecord, *, alone: bool
) -> StepRecord:
    """Keep a result that can be relied upon, for the other steps of the run and in the memory of its agent.

    Args:
        runtime: Runtime whose memory it is.
        agent: The agent of the step.
        step: The step, as dumped.
        record: Its record.
        alone: Whether the run has no other steps.

    Returns:
        The record, with what was kept.
    """
    run = current().run.id
    note = await asyncio.to_thread(_note, runtime, run, step, record) if run else None
    if note is None:
        return record
    if not alone:
        with entered(agent=agent.name, step=record.id):
            await asyncio.to_thread(runtime.store.remember_all, ("runs", run), [note])
    return await keep(agent, record, note.provenance.lineage)


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
        lineage=(
            *(runtime.store.id_of(("runs", run), need) for need in step["needs"]),
            *items_in_view(runtime.store, record),
        ),
    )
    return Note(text, provenance, record.id)
