"""The memory that all agents share: as a graph's store, and to pass results between the steps of one run."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from langgraph.store.base import BaseStore, Op, Result

from ...agents.result import StepRecord
from ...agents.runtime import Runtime
from ...agents.verification.verifier import as_text
from ...configs.evidence import Evidence
from ...configs.words import Trust
from ...dispatch.context import current
from ...memory.base import Provenance

__all__ = ["SharedMemory", "recalled", "remember"]

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
    run, text = current().run.id, as_text(record.output)
    if not run or not text:
        return
    provenance = Provenance(
        source=f"step:{record.id}",
        author=record.agent,
        run=run,
        trust=Trust(record.trust),
        step=record.id,
        lineage=tuple(runtime.store.id_of(("runs", run), need) for need in step["needs"]),
    )
    await asyncio.to_thread(runtime.store.remember, ("runs", run), text, provenance=provenance, key=record.id)
