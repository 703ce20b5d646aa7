"""Resume a run: hold it, fence off its earlier holders, then read its state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..agents.lease.lease import leased
from ..agents.runs import Taken, row_of, taken_up
from ..agents.runtime import Runtime
from ..configs.errors import ConfigError
from ..ledger.rows import RunRow
from .checkpoints import raise_fence

__all__ = ["own_row", "taken"]


def own_row(runtime: Runtime, run: str, workflow: str) -> RunRow:
    """The row of a run of a workflow; this waits for the ledger's file.

    The graph of another workflow may have the same steps for another purpose.

    Args:
        runtime: The runtime it ran on.
        run: Its id.
        workflow: Name of the workflow.

    Raises:
        ConfigError: There is no such run, or it belongs to a workflow of another name.
    """
    row = row_of(runtime, run)
    if row.target != workflow:
        raise ConfigError(
            f"run {run} belongs to workflow {row.target!r}, and this one is {workflow!r}: resume it with that one, or "
            "give this one its name where it was renamed"
        )
    return row


@asynccontextmanager
async def taken(runtime: Runtime, run: str, workflow: str) -> AsyncIterator[Taken]:
    """Hold a run inside the block; nothing is read of it before all earlier holders are kept from changing it.

    Args:
        runtime: The runtime it ran on.
        run: Its id.
        workflow: Name of the workflow that resumes it.

    Raises:
        ConfigError: As `own_row`, or its checkpoints do not match the ledger.
        RunOwned: Somebody works on it right now.
    """
    await asyncio.to_thread(own_row, runtime, run, workflow)
    state = runtime.settings.state
    async with leased(runtime.ledger, state, run) as lease:
        if await raise_fence(state, run, lease.token) > lease.token:
            raise ConfigError(
                f"run {run} cannot be resumed: its checkpoints are newer than the ledger, as when one of them was put "
                "back from a copy: put both back as they were together"
            )
        yield await asyncio.to_thread(taken_up, runtime, lease)
