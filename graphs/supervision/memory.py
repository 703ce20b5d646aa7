"""What steps recall before they begin, and keep when they have ended: results of their run, notes of all runs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final

from ...agents.agent import Agent
from ...agents.notes import fitting, keep, notes_for
from ...agents.result import StepRecord
from ...agents.runtime import Runtime
from ...agents.verification.verifier import as_text
from ...configs.words import Trust
from ...dispatch.context import current
from ...memory.base import Provenance, Recalled

__all__ = ["recalled", "remember"]

_RECALLED: Final = 4


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
        found = await asyncio.to_thread(runtime.store.recall, ("runs", run), asked, limit=_RECALLED)
    results = [one for one in found if one.source.removeprefix("step:") not in known]
    return list(fitting([*results, *await notes_for(agent, asked, step=step["id"])]))


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
    run, text = current().run.id, as_text(record.output)
    if not run or not text:
        return record
    results = tuple(runtime.store.id_of(("runs", run), need) for need in step["needs"])
    if not alone:
        provenance = Provenance(
            source=f"step:{record.id}",
            author=record.agent,
            run=run,
            trust=Trust(record.trust),
            step=record.id,
            lineage=(*results, *(one.id for one in record.recalled)),
        )
        await asyncio.to_thread(runtime.store.remember, ("runs", run), text, provenance=provenance, key=record.id)
    return await keep(agent, record, results)
