"""`CheckpointFile`: a file of checkpoints and the one thread of this process that reads and writes it."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from ...configs.errors import ConfigError
from ...configs.process.forks import ExitPhase, Lock, at_exit, reset_in_children
from ...configs.process.queues import next_within
from ...ledger.storage.access import Access
from ...ledger.storage.connection import Connection
from .tables import CHECKPOINTS

__all__ = ["Use", "Work", "in_use"]

T = TypeVar("T")
Work = Callable[[Connection], T]

_LINGER_SECONDS: Final = 5.0
"""Seconds the file stays open after its last run: opening it costs as much as a step does, closing it more."""
_STOP_SECONDS: Final = 2.0
"""Maximum seconds that the end of the process waits for what is being written."""
_GROUP_SECONDS: Final = 0.002
"""Seconds patient work waits for more: a task's writes are followed by the next checkpoint well within that time."""
_MOST_TOGETHER: Final = 64
"""Maximum number of pieces of work written to disk together, so that none waits long for others."""


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work[Any]
    writes: bool
    patient: bool
    tell: Callable[[Any, BaseException | None], None]


class CheckpointFile:
    """Do each piece of work in a transaction, in one dedicated thread, in the order of submission.

    So an event loop never waits for the disk, and a piece of work costs one thread switch. Submitted work is completed
    even if the caller is cancelled or its event loop is closed. What is written at the same time goes to disk together.

    Args:
        path: The file; created on first use if it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._users = 0
        self._guard = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        # Taken from the queue, and not yet done.
        self._next: _Job | None = None
        # Opened, used and closed by the thread.
        self._access: Access | None = None
        self._stale = False
        reset_in_children(self)

    @contextmanager
    def used(self) -> Iterator[Use]:
        """Register one more user inside the block; the first uses whatever file is then at the path.

        Raises:
            ConfigError: The file was moved, deleted or replaced while others use it.
        """
        with self._guard:
            self._stale = self._access is not None and self._access.replaced
            if self._stale and self._users:
                raise ConfigError(
                    f"{CHECKPOINTS.name} {self.path} was moved, deleted or replaced while a run uses it: put it back, "
                    "or start again once that run has ended"
                )
            self._users += 1
        try:
            yield Use(self._give)
        finally:
            with self._guard:
                self._users -= 1

    def stop(self) -> None:
        """Close the file, once the submitted work is done."""
        with self._guard:
            thread = self._thread
            self._jobs.put(None)
        if thread is not None:
            thread.join(_STOP_SECONDS)

    def reset_after_fork(self) -> None:
        """Reset in a forked child, which does not have the parent's thread; `Access` handles the file itself."""
        self._guard = threading.Lock()
        self._jobs = queue.SimpleQueue()
        self._thread = self._next = None

    def _give(self, job: _Job) -> None:
        with self._guard:
            self._jobs.put(job)
            if self._thread is None:
                # A daemon: it may linger when the process ends, which waits for every non-daemon thread.
                self._thread = threading.Thread(target=self._serve, name="pointsman-checkpoints", daemon=True)
                self._thread.start()

    def _serve(self) -> None:
        while True:
            job, self._next = self._next, None
            try:
                job = job or next_within(self._jobs, _LINGER_SECONDS)
            except queue.Empty:
                if self._users:
                    continue
            if job is not None:
                self._do(job)
            elif self._ended():
                return

    def _ended(self) -> bool:
        """Close the file before the thread ends, unless there is more to do."""
        with self._guard:
            if not self._jobs.empty():
                return False
            access, self._access, self._thread = self._access, None, None
        if access is not None:
            access.close()
        return True

    def _do(self, job: _Job) -> None:
        done: list[tuple[_Job, Any, BaseException | None]] = []
        group = [job]
        try:
            access = self._opened()
            if job.writes:
                with access.changing(durable=True) as connection:
                    for number, each in enumerate(self._together(job)):
                        group[number:] = [each]
                        done.append((each, *_attempted(connection, each)))
            else:
                with access.reading() as connection:
                    done.append((job, job.work(connection), None))
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            done = [(each, None, error) for each in group]
        for each, result, wrong in done:
            each.tell(result, wrong)

    def _together(self, job: _Job) -> Iterator[_Job]:
        """Yield a piece of work that writes, and those after it that can go to disk with it."""
        end = time.monotonic() + _GROUP_SECONDS
        patient = True
        for _ in range(_MOST_TOGETHER):
            yield job
            patient = patient and job.patient
            try:
                more = next_within(self._jobs, max(0.0, end - time.monotonic()) if patient else 0.0)
            except queue.Empty:
                return
            if more is None:
                self._jobs.put(None)
                return
            if not more.writes:
                self._next = more
                return
            job = more
        self._next = job

    def _opened(self) -> Access:
        if self._stale and self._access is not None:
            self._access.close()
            self._access = None
        self._stale = False
        if self._access is None:
            self._access = Access(self.path, kind=CHECKPOINTS)
        return self._access


class Use:
    """One user's access to a file.

    Args:
        give: Submits a piece of work to the thread of the file.
    """

    def __init__(self, give: Callable[[_Job], None]) -> None:
        self._give = give
        self._waiting = 0
        self._cut_off = False

    async def call(self, work: Work[T], *, writes: bool, patient: bool = False) -> T:
        """Do work while the event loop continues.

        Args:
            work: Called with the connection, inside a transaction; its changes are rolled back if it raises.
            writes: Whether it writes; its changes are then on disk before this returns.
            patient: Whether more is about to be written and this may go to disk with it.

        Raises:
            ConfigError: The file cannot be used.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def tell(result: Any, error: BaseException | None) -> None:
            # In a closed loop nobody waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, future, result, error)

        self._give(_Job(work, writes, patient, tell))
        self._waiting += 1
        try:
            return await future
        except asyncio.CancelledError:
            self._cut_off = True
            raise
        finally:
            self._waiting -= 1

    def wait(self, work: Work[T], *, writes: bool) -> T:
        """Do work and block until it is done; arguments and errors as `call`."""
        future: Future[T] = Future()
        self._give(_Job(work, writes, False, lambda result, error: _settle(future, result, error)))
        return future.result()

    async def settle(self) -> None:
        """Wait, even when cancelled, until all submitted work is done that nobody has waited for to its end."""
        if not self._cut_off and not self._waiting:
            return
        last = asyncio.ensure_future(self.call(lambda _: None, writes=False))
        try:
            # What cannot be written has already reported its error.
            with suppress(ConfigError):
                await asyncio.shield(last)
        except asyncio.CancelledError:
            await asyncio.wait([last])
            raise


def _attempted(connection: Connection, job: _Job) -> tuple[Any, BaseException | None]:
    """Return the result of a piece of work, or why it was rolled back; an error of the file ends its whole group."""
    connection.execute("SAVEPOINT work")
    try:
        result = job.work(connection)
    except (OSError, sqlite3.Error):
        raise
    except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
        connection.execute("ROLLBACK TO work")
        connection.execute("RELEASE work")
        return None, error
    connection.execute("RELEASE work")
    return result, None


def _settle(future: asyncio.Future[Any] | Future[Any], result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


_files: WeakValueDictionary[Path, CheckpointFile] = WeakValueDictionary()
_guard = Lock()
reset_in_children(_guard)

# Users of a file in the parent do not use it in the child.
os.register_at_fork(after_in_child=_files.clear)


@contextmanager
def in_use(path: Path) -> Iterator[Use]:
    """Use a file, which all users in this process share.

    Args:
        path: Where it is.

    Raises:
        ConfigError: It was moved, deleted or replaced while others use it.
    """
    with _guard:
        file = _files.get(path)
        if file is None:
            file = _files[path] = CheckpointFile(path)
    with file.used() as use:
        yield use


@at_exit(ExitPhase.CLOSE)
def _stop_all() -> None:
    for file in list(_files.values()):
        file.stop()
