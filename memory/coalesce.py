"""`Coalescer`: writes that many tasks await at once, carried out as one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from langgraph.store.base import PutOp

__all__ = ["Coalescer"]


class Coalescer:
    """Gather writes while one batch is under way, and carry them out together as the next.

    Args:
        write: Carries writes out, all or none.
    """

    def __init__(self, write: Callable[[Sequence[PutOp]], object]) -> None:
        self._write = write
        # A program may run several event loops, one after the other or in threads.
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.AbstractEventLoop, list[tuple[Sequence[PutOp], asyncio.Future[None]]]] = {}

    async def put(self, ops: Sequence[PutOp]) -> None:
        """Carry writes out, and return when they are kept."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        queue = self._waiting.get(loop)
        if queue is not None:
            queue.append((ops, done))
            await done
            return
        self._waiting[loop] = [(ops, done)]
        task = loop.create_task(self._drain(loop))
        # The loop itself keeps no hold of it.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await done

    async def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while batch := self._waiting[loop]:
                self._waiting[loop] = []
                await self._carry_out(batch)
        finally:
            del self._waiting[loop]

    async def _carry_out(self, batch: Sequence[tuple[Sequence[PutOp], asyncio.Future[None]]]) -> None:
        try:
            await asyncio.to_thread(self._write, [op for ops, _ in batch for op in ops])
        except Exception as error:  # noqa: BLE001 - whoever awaits it gets it
            if len(batch) == 1:
                _settle(batch[0][1], error)
                return
            # One bad write must not take the others with it.
            for one in batch:
                await self._carry_out([one])
        else:
            for _, done in batch:
                _settle(done, None)


def _settle(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():  # whoever waited was cancelled
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
