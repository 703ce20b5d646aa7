"""A cgroup per command, for the limits that the kernel applies to all its processes together."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Group", "grouped"]

_NAME = "pointsman"
_GRACE = 3.0  # seconds for killed processes to be gone


@dataclass(frozen=True, slots=True)
class Group:
    """The folders of one cgroup: one in version 2, one for each controller in version 1.

    Attributes:
        folders: Their paths.
        join: The file in each to which a single-threaded process writes 0 to join it.
        limits: What is limited: ``memory``, ``processes``.
    """

    folders: tuple[Path, ...]
    join: str
    limits: frozenset[str]

    def killed(self) -> bool:
        """Whether the kernel has killed one of its processes because its memory limit was reached."""
        # Versions 2 and 1 use the same name for the count.
        for folder in self.folders:
            for name in ("memory.events", "memory.oom_control"):
                with suppress(OSError, ValueError):
                    counts = dict(line.split() for line in (folder / name).read_text().splitlines())
                    if int(counts.get("oom_kill", 0)):
                        return True
        return False

    def remove(self) -> None:
        """Kill every process left in it and remove it."""
        until = time.monotonic() + _GRACE
        for folder in self.folders:
            while folder.exists() and time.monotonic() < until:
                try:
                    folder.rmdir()
                except OSError:
                    _end_all(folder)
                    time.sleep(0.001)


def grouped(memory: int, processes: int) -> Group | None:
    """Make a cgroup next to or below this process's own; return None if neither place is writable.

    Args:
        memory: Bytes that its processes may use together, swap included.
        processes: Processes and threads it may have.
    """
    second, first = _hierarchies()
    wanted = {"memory": str(memory), "processes": str(processes)}
    if second is not None and (group := _second(second, wanted)) is not None:
        return group
    return _first(first, wanted)


def _hierarchies() -> tuple[Path | None, Mapping[str, Path]]:
    """Return this process's cgroup in version 2, and in each controller of version 1."""
    second: Path | None = None
    first: dict[str, Path] = {}
    mounts: dict[str, tuple[str, str]] = {}
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
        memberships = Path("/proc/self/cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None, {}
    for line in lines:
        fields, _, rest = line.partition(" - ")
        kind, _, said = rest.partition(" ")
        if kind in ("cgroup", "cgroup2"):
            root, point = fields.split()[3:5]
            for name in said.split()[-1].split(",") if kind == "cgroup" else ("",):
                mounts[name] = (root, point)
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            if name in mounts:
                root, point = mounts[name]
                below = path if root == "/" else path.removeprefix(root)
                place = Path(point + below)
                if name == "":
                    second = place
                else:
                    first[name] = place
    return second, first


def _second(own: Path, wanted: Mapping[str, str]) -> Group | None:
    # A group that has processes cannot delegate controllers to groups below it, so a group next to it is tried first.
    for above in (own.parent, own):
        made = _made(above)
        if made is None:
            continue
        files = {"memory": "memory.max", "processes": "pids.max"}
        limits = {name for name, file in files.items() if _set(made / file, wanted[name])}
        if "memory" in limits:
            _set(made / "memory.swap.max", "0")
        if limits:
            return Group((made,), "cgroup.procs", frozenset(limits))
        made.rmdir()
    return None


def _first(places: Mapping[str, Path], wanted: Mapping[str, str]) -> Group | None:
    folders: list[Path] = []
    limits: set[str] = set()
    files = {"memory": ("memory", "memory.limit_in_bytes"), "processes": ("pids", "pids.max")}
    for name, (controller, file) in files.items():
        made = _made(places[controller]) if controller in places else None
        if made is None:
            continue
        if _set(made / file, wanted[name]):
            if name == "memory":
                _set(made / "memory.memsw.limit_in_bytes", wanted[name])
            folders.append(made)
            limits.add(name)
        else:
            made.rmdir()
    # Joining by cgroup.procs takes a machine-wide lock that waits for every processor.
    return Group(tuple(folders), "tasks", frozenset(limits)) if folders else None


def _end_all(folder: Path) -> None:
    """Kill what is left: if a command was cancelled while it started, nothing else may know its first process."""
    with suppress(OSError):
        for process in (folder / "cgroup.procs").read_text().split():
            # A process of another PID namespace is listed as 0, and kill(0, SIGKILL) would end the caller's own group.
            if process != "0":
                os.kill(int(process), signal.SIGKILL)


def _made(above: Path) -> Path | None:
    """Make a group, and remove those of processes that died before they could remove theirs."""
    if not os.access(above / "cgroup.procs", os.W_OK):
        return None
    for left in above.glob(f"{_NAME}-*-*"):
        owner = left.name.split("-")[1]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            with suppress(OSError):
                left.rmdir()
    made = above / f"{_NAME}-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        made.mkdir()
    except OSError:
        return None
    return made


def _set(file: Path, value: str) -> bool:
    try:
        file.write_text(value)
    except OSError:
        return False
    return True
