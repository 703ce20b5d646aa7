"""A process that runs one bash command and outlives everything the command starts.

Killing a process group misses children that started their own session. Under Linux this process adopts them instead
(``PR_SET_CHILD_SUBREAPER``), so it can end them all, however often they forked; elsewhere only the command's own group
is ended. Its standard input is a lifeline: when the other end closes, on purpose or because Pointsman died, the command
is ended.

Run as ``python reaper.py BASH COMMAND``; it exits as the command does, with 128 + n after signal n.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time

__all__ = ["main"]

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_GRACE = 3.0  # seconds for killed processes to disappear; one blocked in the kernel can take longer
_STOPPED = 128 + signal.SIGKILL


def main(bash: str, command: str) -> int:
    """Run the command, end the processes it left, and return its exit code."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    shell = os.fork()
    if shell == 0:
        _become(bash, command)
    status = None
    while status is None:
        ready, _, _ = select.select([0, woken], [], [])
        if 0 in ready:
            break
        os.read(woken, 512)
        status = _reap(shell)
    status = _end_all(shell, status)
    if status is None:
        return _STOPPED
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become(bash: str, command: str) -> None:
    os.setsid()  # the command may signal its own group, which must not include this process
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.set_wakeup_fd(-1)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and exec would pass that on
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execv(bash, [bash, "--noprofile", "--norc", "-c", command])  # noqa: S606 - a shell is what was asked for
    finally:
        os._exit(127)


def _reap(shell: int) -> int | None:
    """Reap every process that has ended; return the shell's status if it is among them, else None."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == shell:
            found = status


def _end_all(shell: int, status: int | None) -> int | None:
    _kill(-shell)
    deadline = time.monotonic() + _GRACE
    while time.monotonic() < deadline:
        left = _descendants()
        if status is not None and not left:
            break
        for process in left:
            _kill(process)
        found = _reap(shell)
        status = found if status is None else status
        time.sleep(0.002)
    return status


def _descendants() -> list[int]:
    """Return all descendants of this process, including adopted ones; empty if there is no /proc."""
    children: dict[int, list[int]] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    for name in filter(str.isdecimal, names):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()  # the name in brackets may contain anything
        except OSError:
            continue  # it has ended in the meantime
        children.setdefault(int(fields[1]), []).append(int(name))
    found = children.get(os.getpid(), [])
    for process in found:
        found.extend(children.get(process, []))
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # it has ended, or runs as another user now


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
