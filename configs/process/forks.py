"""Process life cycle: what is closed before a fork, what is reset in the child, and what runs when a process exits."""

from __future__ import annotations

import atexit
import ctypes
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

from ..errors import PointsmanError
from .properties import unlock_properties

__all__ = [
    "ExitPhase",
    "Lock",
    "at_exit",
    "broken_by_exit",
    "close_before_forks",
    "keep_for_good",
    "lock_of",
    "refuse_at_exit",
    "reset_in_children",
    "watch_exit",
]

_FORK_SECONDS = 5.0
"""Maximum time a fork waits for a thread: transactions take milliseconds."""
_END_SECONDS = 15.0
"""Maximum time `os._exit` waits; a file locked by another process is waited for ten seconds."""
_IMPORT_SECONDS = 10.0
"""Maximum time the exit of a process waits for a thread's import."""

_UNDIVIDED = {
    # They take the lock of a module, which would never be released in a child.
    "_find_and_load": "<frozen importlib._bootstrap>",
    "_lock_unlock_module": "<frozen importlib._bootstrap>",
    # It waits until a pipe that the started program closes is open in no process; a forked child would keep it open.
    "_execute_child": os.__file__.replace("os.py", "subprocess.py"),
}
"""Functions, with their files, that no other thread may be running while the process forks."""

_log = logging.getLogger(__name__)


class ExitPhase(IntEnum):
    """The phases of a process's exit, in order.

    Attributes:
        BREAK_OFF: Cancel running work, which records what it cost.
        CLOSE: Close calls that are still open.
        WRITE: Write rows and settlements that are still queued.
    """

    BREAK_OFF = 1
    CLOSE = 2
    WRITE = 3


class ForkAware(Protocol):
    """Has threads, locks or queued work that must be reset in a forked child."""

    def reset_after_fork(self) -> None:
        """Reset in a forked child, in which no other thread runs."""


class ClosedOverForks(ForkAware, Protocol):
    """Has a file that must be closed while the process forks."""

    def close_for_fork(self) -> None:
        """Close the file; it is opened again at its next use. Called with the member's locks held."""


class Lock:
    """A reentrant lock that can be weakly referenced and is released in a forked child.

    Args:
        shared: Shared by all writers of one file. The holder of a lock that is not shared may wait for a shared one,
            never the reverse.
        last: Its holder waits for no other lock, and holders of all others may wait for it.

    Attributes:
        inner: The lock itself, for callers where a microsecond counts; replaced in a forked child.
    """

    def __init__(self, *, shared: bool = False, last: bool = False) -> None:
        self.shared, self.last = shared, last
        self.inner = threading.RLock()

    def __enter__(self) -> None:
        self.inner.acquire()

    def __exit__(self, *_: object) -> None:
        self.inner.release()

    def acquire(self, seconds: float) -> bool:
        """Acquire it; False if another thread still holds it after ``seconds``."""
        return self.inner.acquire(timeout=seconds)

    def release(self) -> None:
        """Release it."""
        self.inner.release()

    def reset_after_fork(self) -> None:
        """Release it in a forked child, whichever thread held it in the parent."""
        self.inner = threading.RLock()


# Reentrant, since garbage collection may add or drop members while it is held.
_guard = threading.RLock()
_locks: weakref.WeakValueDictionary[str, Lock] = weakref.WeakValueDictionary()
_fork_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_closed_over_forks: weakref.WeakKeyDictionary[ClosedOverForks, tuple[Lock, ...]] = weakref.WeakKeyDictionary()
_ends: list[tuple[ExitPhase, Callable[[], None]]] = []
_watching = False
_leave = os._exit
_taken: list[Lock] = []
_endless: set[int] = set()
_interval = sys.getswitchinterval()


def lock_of(path: Path | None) -> Lock:
    """Return the lock that this process's writers of one file take before SQLite's own.

    SQLite waits for its lock by polling every 1 to 100 ms; between threads a lock that wakes its next holder is
    faster.

    Args:
        path: The file; None gives a new lock.
    """
    if path is None:
        return Lock()
    name = os.path.realpath(path)
    with _guard:
        lock = _locks.get(name)
        if lock is None:
            lock = _locks[name] = Lock(shared=True)
        return lock


def reset_in_children(member: ForkAware) -> None:
    """Call ``member.reset_after_fork`` in every forked child, as long as the member lives."""
    with _guard:
        _fork_aware.add(member)


def close_before_forks(member: ClosedOverForks, *locks: Lock) -> None:
    """Close a member's file before every fork and reset the member in the child, as long as it lives.

    SQLite keeps its record of file locks per process. A child inherits that record and the open file, but not the
    locks (https://www.sqlite.org/howtocorrupt.html, 2.6): it would write without a lock, and the next process that
    closes the file would delete its write-ahead log. So no file may be open during a fork.

    Args:
        member: The member; it is left open if another thread holds one of its locks longer than a fork waits.
        locks: The locks under which its file is used.
    """
    with _guard:
        _closed_over_forks[member] = locks


def keep_for_good(inherited: object) -> None:
    """Exempt an object of the parent from garbage collection in a forked child, until the child exits.

    A child shares its parent's files, sockets and the epoll object of its parent's event loop. Objects close what they
    hold when they are collected; in the child that would drop locks of the parent's files, or remove its connections
    from its epoll object.

    Args:
        inherited: An object that holds files, event loops or connections of the parent.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


def at_exit(phase: ExitPhase) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a function to call when the process exits normally or by `os._exit`; it may be called twice.

    Args:
        phase: When to call it, relative to the others.
    """

    def register(end: Callable[[], None]) -> Callable[[], None]:
        _ends.append((phase, end))
        return end

    return register


def broken_by_exit(error: BaseException | None) -> bool:
    """Return whether an error was raised because the interpreter is shutting down and starts no more threads.

    This can happen before the functions of `at_exit` run, since Python first waits for non-daemon threads.

    Args:
        error: The error; its causes and contexts are checked too.
    """
    while error is not None:
        # The wording of `concurrent.futures.thread` and, from Python 3.12 on, of `_thread`.
        if isinstance(error, RuntimeError) and str(error).endswith("interpreter shutdown"):
            return True
        error = error.__cause__ or error.__context__
    return False


def refuse_at_exit() -> NoReturn:
    """Refuse new work during exit: a daemon thread blocks here until Python stops it.

    Raises:
        PointsmanError: In a non-daemon thread.
    """
    if threading.current_thread().daemon:
        while True:
            threading.Event().wait()
    raise PointsmanError("the process is ending and makes no more calls: make them before its end")


def watch_exit() -> None:
    """Make `at_exit` effective for `os._exit` in this process; call it before any work begins.

    Forked children (of multiprocessing, Celery, RQ or a plain `os.fork`) mostly leave by `os._exit`, which skips the
    functions registered with `atexit`.
    """
    global _watching, _leave
    if _watching:
        return
    _watching = True
    if os._exit is not _end_and_leave:
        _leave, os._exit = os._exit, _end_and_leave


def _end_and_leave(status: int) -> NoReturn:
    if _watching:
        # In a thread, so that a blocked function cannot keep the process alive. At the very end no thread can start,
        # but then everything has already run.
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


def _undivided() -> set[int]:
    """Return the ids of other threads' innermost frames that run a function of `_UNDIVIDED`."""
    found = set()
    own = threading.get_ident()
    for thread, innermost in sys._current_frames().items():
        frame: FrameType | None = None if thread == own else innermost
        # Skip a thread that is itself forking, such as for a `preexec_fn`: it waits for this thread.
        while frame is not None and frame.f_code is not _before_fork.__code__:
            if _UNDIVIDED.get(frame.f_code.co_name) == frame.f_code.co_filename:
                found.add(id(frame))
                break
            frame = frame.f_back
    return found


def _await_undivided(seconds: float = _IMPORT_SECONDS) -> None:
    """Wait for other threads that import or start a process.

    Python stops daemon threads at any point, and crashes if one is initialising an extension module. In a forked child
    the lock of a module that another thread was importing is never released: importing it there would block forever.

    Args:
        seconds: Maximum time. An import that is still running then, such as a module that serves forever, is not
            waited for again.
    """
    global _endless
    deadline = time.monotonic() + seconds
    while under_way := _undivided() - _endless:
        if time.monotonic() >= deadline:
            _endless = under_way
            return
        time.sleep(0.01)


atexit.register(_await_undivided)
# The last registered function is called first. The first finalizer ever created registers the call of all finalizers
# at exit, and those close connections that calls still use.
weakref.finalize(_end, int).detach()
atexit.register(_end)


def _before_fork() -> None:
    global _interval
    deadline = time.monotonic() + _FORK_SECONDS
    while True:
        with _guard:
            locks = _locks_in_use()
        # Take first the locks whose holders may wait for the others.
        taken = [
            lock
            for lock in sorted(locks, key=lambda one: (one.last, one.shared))
            if lock.acquire(max(0.0, deadline - time.monotonic()))
        ]
        # Held during the fork, so that no thread opens a file meanwhile.
        _guard.acquire()
        if locks.issuperset(_locks_in_use()):
            break
        _guard.release()
        for lock in taken:
            lock.release()
    for member, own in _closed_over_forks.items():
        if set(own) <= set(taken):
            member.close_for_fork()
    _taken.extend(taken)
    # Do this last, and let no other thread run between the last check and the fork, since it could start anew.
    _interval = sys.getswitchinterval()
    deadline = time.monotonic() + _FORK_SECONDS
    while True:
        _await_undivided(deadline - time.monotonic())
        sys.setswitchinterval(_FORK_SECONDS)
        if not _undivided() - _endless or time.monotonic() >= deadline:
            return
        sys.setswitchinterval(_interval)


def _locks_in_use() -> set[Lock]:
    return {lock for locks in _closed_over_forks.values() for lock in locks}


def _in_parent() -> None:
    sys.setswitchinterval(_interval)
    while _taken:
        _taken.pop().release()
    _guard.release()


def _in_child() -> None:
    global _guard, _watching
    sys.setswitchinterval(_interval)
    _guard = threading.RLock()
    _watching = False
    # A lock may have no member yet, if another thread of the parent was waiting for `_guard` to register one.
    for lock in [*_taken, *_locks.values()]:
        lock.reset_after_fork()
    _taken.clear()
    unlock_properties()
    for member in [*_closed_over_forks, *_fork_aware]:
        member.reset_after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
