"""What a confined command sees of the machine, as arguments of bubblewrap."""

from __future__ import annotations

import functools
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from ...configs.errors import ConfigError
from ...configs.sandbox import Sandbox

__all__ = [
    "VARIABLES",
    "namespaces",
    "options",
    "refuse_aliases",
    "refuse_workspace",
    "system",
    "workspace",
]

_HOME = "/tmp/home"  # noqa: S108 - in the command's own file system, which ends with it
VARIABLES = {
    "HOME": _HOME,
    # Python's compiled files are protected in a workspace, because they would run in place of the source.
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""Variables that refer only to what is inside."""

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/etc")
"""Folders every program needs. No other is there: not the homes, ``/run``, ``/var``, ``/srv``, ``/sys``, ``/mnt``."""
_READ_ONLY = ("--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/")
"""In /proc the machine's root could change settings of the whole machine, even without any capability."""
_READABLE_BY_ALL = 0o004
_TMPFS = 256 * 1024**2  # bytes; it counts as memory


@functools.cache
def options(program: str) -> frozenset[str]:
    """Return the options that this bubblewrap supports.

    Args:
        program: Its path.

    Raises:
        OSError: It cannot be started.
    """
    done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=10, env={})  # noqa: S603
    return frozenset(word for word in (done.stdout + done.stderr).split() if word.startswith("--"))


def namespaces(program: str) -> list[str]:
    """Return the arguments for its own namespaces, without privileges and without a way to make further ones.

    The caller starts it in its own session, so that there is no terminal to type into.

    Args:
        program: The path of bubblewrap.
    """
    words = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts"]
    words += ["--unshare-cgroup-try", "--cap-drop", "ALL", "--die-with-parent", "--hostname", "sandbox"]
    # Before 0.8 only the system call filter forbids further user namespaces.
    return [*words, *(["--disable-userns"] if "--disable-userns" in options(program) else [])]


def system(program: str, sandbox: Sandbox) -> list[str]:
    """Return the arguments for the system read-only, without what only some of its users may read, and nothing else.

    Args:
        program: The path of bubblewrap.
        sandbox: Which further folders may be read or written.
    """
    words: list[str] = []
    for folder in _SYSTEM:
        if os.path.islink(folder):
            words += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            words += ["--ro-bind", folder, folder]
    for private, is_folder in _private("/etc"):
        words += ["--tmpfs", private, "--remount-ro", private] if is_folder else ["--ro-bind", "/dev/null", private]
    words += ["--proc", "/proc", "--dev", "/dev", *_temporary(program, "/dev/shm"), *_temporary(program, "/tmp")]  # noqa: S108
    words += ["--dir", _HOME, "--symlink", "/tmp", "/var/tmp", "--dir", "/run"]  # noqa: S108
    for place in (*_programs(), *map(str, sandbox.readable)):
        words += ["--ro-bind-try", place, place]
    for place in map(str, sandbox.writable):
        words += ["--bind-try", place, place]
    return words


def workspace(root: Path, writable: Iterable[Path] = ()) -> list[str]:
    """Return the arguments for the workspace at its own path, with the root and /dev otherwise read-only.

    Args:
        root: The workspace.
        writable: Which further folders may be written.
    """
    words: list[str] = []
    for folder in reversed(root.parents):
        if any(place in folder.parents for place in writable):
            # A mount point cannot be renamed, nor can the workspace in it.
            words += ["--bind", str(folder), str(folder)]
    # Last, because bubblewrap compares all mounts below a folder with each other.
    return [*words, "--dir", str(root), *_READ_ONLY, "--bind", str(root), str(root), "--chdir", str(root)]


def refuse_workspace(root: Path) -> None:
    """Raise ConfigError if the workspace would show more than a project: a home, the system, other users."""
    homes = {os.path.expanduser("~")}
    with suppress(KeyError):  # in a container, the user's number may have no name
        homes.add(pwd.getpwuid(os.getuid()).pw_dir)
    for place in (*homes, *_SYSTEM, "/home", "/proc", "/dev", "/run", "/tmp", "/var"):  # noqa: S108
        if Path(os.path.realpath(place)).is_relative_to(root):
            raise ConfigError(f"the workspace {root} holds {place}, which no command may see: name a folder below")


def refuse_aliases(root: Path, sandbox: Sandbox) -> None:
    """Raise ConfigError if another allowed folder leads into the workspace by a link, bypassing its protection."""
    for place in (*sandbox.readable, *sandbox.writable):
        real = Path(os.path.realpath(place))
        if real != Path(os.path.abspath(place)) and (root.is_relative_to(real) or real.is_relative_to(root)):
            raise ConfigError(
                f"sandbox: {place} leads by a link to {real}, where the workspace lies: name {real} itself"
            )


def _temporary(program: str, place: str) -> list[str]:
    size = ["--size", str(_TMPFS)] if "--size" in options(program) else []
    return ["--perms", "1777", *size, "--tmpfs", place] if "--perms" in options(program) else ["--tmpfs", place]


@functools.cache
def _programs() -> tuple[str, ...]:
    """Return the folders of this Python and of the programs on the PATH that are outside the system's folders."""
    places: list[str] = []
    homes = (_home_of(folder) for folder in os.get_exec_path() if os.path.isabs(folder))
    for place in sorted({sys.base_prefix, sys.prefix, *homes}, key=len):
        inside = any(place == top or place.startswith(f"{top}/") for top in (*_SYSTEM, *places))
        if os.path.isdir(place) and not inside and not _is_wide(place):
            places.append(place)
    return tuple(places)


def _home_of(folder: str) -> str:
    """Return the folder that the programs of a folder need: that of a version, or of a version manager.

    A hidden folder with ``bin`` in it is different: ``~/.local`` and ``~/.cargo`` hold keys, too.
    """
    place = os.path.normpath(folder)
    above, name = os.path.split(place)
    whole = name == "shims" or (name == "bin" and not os.path.basename(above).startswith("."))
    return above if whole and not _is_wide(above) else place


def _is_wide(place: str) -> bool:
    """Whether a folder holds more than programs: the root, a home, or a parent of one."""
    try:
        refuse_workspace(Path(os.path.realpath(place)))
    except ConfigError:
        return True
    return False


@functools.cache
def _private(folder: str) -> tuple[tuple[str, bool], ...]:
    """Return what not every user may read, and whether it is a folder: as root, and in some groups, a command could."""
    return tuple(_found_private(folder))


def _found_private(folder: str) -> Iterator[tuple[str, bool]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return  # this user cannot read it either
    for entry in entries:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if stat.S_ISLNK(status.st_mode):
            continue
        is_folder = stat.S_ISDIR(status.st_mode)
        if not status.st_mode & _READABLE_BY_ALL:
            if os.access(entry.path, os.R_OK):
                yield entry.path, is_folder
        elif is_folder:
            yield from _found_private(entry.path)
