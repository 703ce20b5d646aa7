"""What the runs of a project wait for, read from ledger and checkpoints without the graphs that ran."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from ..agents.approval.answers import pending_of
from ..agents.handoffs import act_id, waits_for_approval
from ..agents.result import Pending
from .checkpoints import checkpoints

if TYPE_CHECKING:
    from ..agents.runtime import Runtime

__all__ = ["waiting"]

_INTERRUPT: Final = "__interrupt__"
"""Where LangGraph writes what a task waits for (`langgraph._internal._constants`)."""


async def waiting(runtime: Runtime, run: str | None = None) -> tuple[Pending, ...]:
    """What waits for a person, the longest first.

    Args:
        runtime: Whose runs.
        run: This run alone.

    Raises:
        ConfigError: The checkpoints cannot be read.
    """
    rows = await asyncio.to_thread(runtime.ledger.handoffs, open_only=True, run=run)
    asked = {row.id: row for row in sorted(rows, key=lambda row: row.at) if waits_for_approval(row)}
    if not asked:
        return ()
    found: dict[str, Pending] = {}
    async with checkpoints(runtime.settings.state, ()) as saver:
        for one in dict.fromkeys(row.run for row in asked.values()):
            kept = await saver.aget_tuple({"configurable": {"thread_id": one}})
            for stop in _stops(kept):
                act = pending_of(stop, one)
                found[act_id(act)] = act
    return tuple(found[key] for key in asked if key in found)


def _stops(kept: Any) -> Iterator[Any]:
    for _, channel, value in (kept and kept.pending_writes) or ():
        if channel == _INTERRUPT:
            yield from value if isinstance(value, list | tuple) else (value,)
