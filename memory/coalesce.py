"""`Coalescer`: runs the writes that many tasks await at the same time as one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from langgraph.store.base import PutOp

__all__ = ["Coalescer"]


class Coalescer:
    """Collect writes while a batch is running, and run them together as the next batch.

    Args:
        write: Performs a list of writes, all or none of them.
    """

    def __init__(self, write: Callable[[Sequence[PutOp]], object]) -> None:
        self._write = write
        # A program may run several event loops, one after another or in several threads.
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.AbstractEventLoop, list[tuple[Sequence[PutOp], asyncio.Future[None]]]] = {}

    async def put(self, ops: Sequence[PutOp]) -> None:
        """Perform writes, and return once they are stored."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        queue = self._waiting.get(loop)
        if queue is not None:
            queue.append((ops, done))
            await done
            return
        self._waiting[loop] = [(ops, done)]
        task = loop.create_task(self._drain(loop))
        # The event loop itself holds no strong reference to it.
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
        except Exception as error:  # noqa: BLE001 - it is raised where the write is awaited
            if len(batch) == 1:
                _settle(batch[0][1], error)
                return
            # One bad write must not make the others fail.
            for one in batch:
                await self._carry_out([one])
        else:
            for _, done in batch:
                _settle(done, None)


def _settle(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():  # the waiting task was cancelled
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
