"""Identify processes, and tell whether one still runs even if its process id was reused."""

from __future__ import annotations

import os
import socket
from pathlib import Path

__all__ = ["ended", "this_process"]

_PROC = Path("/proc")


def this_process() -> str:
    """Return a name for this process that no other process has.

    Returns:
        Host, boot, process namespace, process id and start time; parts that the system does not provide are empty.
    """
    pid = os.getpid()
    return "|".join((*_place(), str(pid), _start(pid) or ""))


def ended(process: str) -> bool | None:
    """Return whether a process has ended.

    Args:
        process: Its name from `this_process`.

    Returns:
        None if that cannot be determined here: the process is, or was, on another machine or in another container.
    """
    parts = process.split("|")
    if len(parts) != 5 or not parts[3].isdigit():
        return None
    host, boot, namespace = _place()
    if parts[0] != host:
        return None
    if parts[1] != boot:
        return True
    if parts[2] != namespace:
        return None
    pid, start = int(parts[3]), parts[4]
    if not start:
        return not _exists(pid)
    return _start(pid) != start


def _place() -> tuple[str, str, str]:
    return socket.gethostname(), _boot(), _namespace()


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink(_PROC / "self/ns/pid")
    except OSError:
        return ""


def _start(pid: int) -> str | None:
    """Return the clock ticks from boot to the start of a running process, or None; field 22 of proc_pid_stat(5)."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The program's name, in brackets, may itself contain brackets and spaces.
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in ("Z", "X") else rest[18]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
