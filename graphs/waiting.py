"""What the runs of a project wait for, read from ledger and checkpoints without the graphs that ran."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..agents.approval.answers import pending_of
from ..agents.approval.notify import has_hook
from ..agents.handoffs import act_id, tell, untold, waits_for_approval
from ..agents.lease.lease import holder_of
from ..agents.result import Pending
from .checkpoints import checkpoints

if TYPE_CHECKING:
    from ..agents.runtime import Runtime

__all__ = ["waiting"]

_log = logging.getLogger(__name__)


async def waiting(runtime: Runtime, run: str | None = None) -> tuple[Pending, ...]:
    """Return what waits for a person, longest-waiting first.

    Notifications that are still due, because the run was killed before sending them, are sent first.

    Args:
        runtime: Runtime whose runs are read.
        run: Only this run.

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
            stops = await saver.aasked(one)
            acts = [act for stop in stops if act_id(act := pending_of(stop, one)) in asked]
            found |= {act_id(act): act for act in acts}
            if has_hook(runtime.settings):
                await asyncio.to_thread(_tell_late, runtime, one, acts)
    return tuple(found[key] for key in asked if key in found)


def _tell_late(runtime: Runtime, run: str, acts: Sequence[Pending]) -> None:
    late = untold(runtime, run, acts)
    row = runtime.ledger.run(run)
    # The process that works on the run sends the notification itself.
    if row is None or not late or holder_of(runtime.ledger, runtime.settings.state, run) is not None:
        return
    for note in tell(runtime, run, row.target, late):
        _log.warning("run %s: %s", run, note)
