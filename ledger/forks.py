"""What must rest before a process forks, what begins anew in the child, and what is done when a process ends."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol

from ..configs.errors import PointsmanError

__all__ = [
    "End",
    "Lock",
    "at_end",
    "begin_anew",
    "broken_by_the_end",
    "lock_of",
    "mind_the_end",
    "refuse_at_the_end",
    "rest_before_forks",
]

_FORK_SECONDS = 5.0
"""How long a fork waits at most for a thread that is using the file: transactions take milliseconds."""
_END_SECONDS = 15.0
"""How long `os._exit` waits at most; a file that another process holds is waited for ten seconds."""
_IMPORT_SECONDS = 10.0
"""How long the end of a process waits at most for what a thread imports."""

_log = logging.getLogger(__name__)


class End(IntEnum):
    """What is done when a process ends, in this order.

    Attributes:
        BREAK_OFF: What still runs is broken off, and says itself what it cost.
        CLOSE: What nobody has ended is closed.
        WRITE: What there is to book and to write is written.
    """

    BREAK_OFF = 1
    CLOSE = 2
    WRITE = 3


class Anew(Protocol):
    """Has threads, locks or work that a forked child does not get."""

    def anew(self) -> None:
        """Begin anew in a forked child, in which no other thread runs."""


class Resting(Anew, Protocol):
    """Has a file open that must not be open while the process forks."""

    lock: Lock

    def rest(self) -> None:
        """Close the file until it is needed again; called with the lock held."""


class Lock:
    """A reentrant lock that a weak dictionary can hold, and that is free again in a forked child.

    Args:
        shared: By all who write a file; who has one of their own may wait for it, but not the other way round.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self.shared = shared
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def acquire(self, seconds: float) -> bool:
        """Take it, waiting so many seconds at most; False when somebody else has it still."""
        return self._lock.acquire(timeout=seconds)

    def release(self) -> None:
        """Let the next have it."""
        self._lock.release()

    def anew(self) -> None:
        """Make it free in a forked child, whoever had it in the parent."""
        self._lock = threading.RLock()


# Reentrant, since the garbage collector may make or drop any of these from within.
_guard = threading.RLock()
_locks: weakref.WeakValueDictionary[str, Lock] = weakref.WeakValueDictionary()
_beginners: weakref.WeakSet[Anew] = weakref.WeakSet()
_resters: weakref.WeakSet[Resting] = weakref.WeakSet()
_ends: list[tuple[End, Callable[[], None]]] = []
_minded = False
_leave = os._exit
_taken: list[Lock] = []


def lock_of(path: Path | None) -> Lock:
    """The lock that the writers of one file take first in this process.

    SQLite's own lock is waited for by polling, 1 to 100 ms at a time; among threads a lock that wakes the next is
    faster.

    Args:
        path: The file; None gives a lock of its own.
    """
    if path is None:
        return Lock()
    name = os.path.realpath(path)
    with _guard:
        lock = _locks.get(name)
        if lock is None:
            lock = _locks[name] = Lock(shared=True)
        return lock


def begin_anew(member: Anew) -> None:
    """Have a member told in every forked child, as long as it lives."""
    with _guard:
        _beginners.add(member)


def rest_before_forks(member: Resting) -> None:
    """Have a member rest before every fork and begin anew in the child, as long as it lives.

    What SQLite knows of the locks on a file it keeps for the whole process, and a child inherits it together with the
    open file, but not the locks themselves (https://www.sqlite.org/howtocorrupt.html, 2.6): the child would write
    without any, and lose its log to the next process that closes the file. So nothing may be open while it forks.
    """
    with _guard:
        _resters.add(member)


def at_end(part: End) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Have a function called when the process ends by itself, by `os._exit` too; it may be called twice.

    Args:
        part: Which part of the end it is.
    """

    def register(end: Callable[[], None]) -> Callable[[], None]:
        _ends.append((part, end))
        return end

    return register


def broken_by_the_end(error: BaseException | None) -> bool:
    """Whether an error comes of the end of the process: from then on Python starts no thread.

    That is before `at_end` is heard of, since Python first waits for the threads that are not daemons.

    Args:
        error: With whatever it was raised from.
    """
    while error is not None:
        # As `concurrent.futures.thread` and, from Python 3.12 on, `_thread` put it.
        if isinstance(error, RuntimeError) and str(error).endswith("interpreter shutdown"):
            return True
        error = error.__cause__ or error.__context__
    return False


def refuse_at_the_end() -> NoReturn:
    """Stop a thread that wants something of a process that ends: Python itself stops daemons a moment later.

    Raises:
        PointsmanError: In any other thread.
    """
    if threading.current_thread().daemon:
        while True:
            threading.Event().wait()
    raise PointsmanError("the process is ending and makes no more calls: make them before its end")


def mind_the_end() -> None:
    """See to it that `at_end` holds in this process; to be called before there is work.

    Forked children mostly leave by `os._exit`, which calls nothing that is registered with `atexit`: those of
    multiprocessing, of Celery, of RQ, and of whoever forks by hand.
    """
    global _minded, _leave
    if _minded:
        return
    _minded = True
    if os._exit is not _end_and_leave:
        _leave, os._exit = os._exit, _end_and_leave


def _end_and_leave(status: int) -> NoReturn:
    if _minded:
        # In a thread, so that what is stuck keeps no process alive; at the very end none starts, and all is done.
        ending = threading.Thread(target=_end, name="pointsman-end", daemon=True)
        with suppress(RuntimeError):
            ending.start()
            ending.join(_END_SECONDS)
    _leave(status)


def _end() -> None:
    for _, end in sorted(_ends, key=lambda one: one[0]):
        try:
            end()
        except Exception:  # noqa: BLE001 - the others must be called all the same
            _log.exception("at the end of the process")


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if (frame.f_code.co_filename, frame.f_code.co_name) == ("<frozen importlib._bootstrap>", "_load_unlocked"):
            return True
        frame = frame.f_back
    return False


def _await_imports() -> None:
    """Let threads finish what they import.

    Python stops daemons wherever they are, and crashes where that is within the making of an extension module.
    """
    deadline = time.monotonic() + _IMPORT_SECONDS
    own = threading.get_ident()
    while time.monotonic() < deadline:
        if not any(_importing(frame) for thread, frame in sys._current_frames().items() if thread != own):
            return
        time.sleep(0.01)


atexit.register(_await_imports)
# The last to register is called first. The first finalizer has all of them run at exit: they hang up connections on
# which calls are still under way.
weakref.finalize(_end, int).detach()
atexit.register(_end)


def _before_fork() -> None:
    deadline = time.monotonic() + _FORK_SECONDS
    while True:
        with _guard:
            locks = {member.lock for member in _resters}
        # First those whose holders may wait for the others.
        taken = [
            lock
            for lock in sorted(locks, key=lambda one: one.shared)
            if lock.acquire(max(0.0, deadline - time.monotonic()))
        ]
        # Held through the fork, so that nobody opens a file meanwhile.
        _guard.acquire()
        if locks.issuperset(member.lock for member in _resters):
            break
        _guard.release()
        for lock in taken:
            lock.release()
    for member in _resters:
        if member.lock in taken:
            member.rest()
    _taken.extend(taken)


def _in_parent() -> None:
    while _taken:
        _taken.pop().release()
    _guard.release()


def _in_child() -> None:
    global _guard, _minded
    _guard = threading.RLock()
    _minded = False
    _taken.clear()
    for member in [*_resters, *_beginners]:
        member.anew()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
