"""What a command must leave alone in the workspace: mounted read-only where it is there, taken away where it was not.

A mount needs something to lie on, and making that would leave it in the user's folder. So a protected path that does
not exist can come into being while a command runs, and is moved out of the way before the command's end is told.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from ..base import ToolFailed
from ..files.scan import Inode, Seen, Thing, allow, inode_of, opened
from ..files.workspace import Workspace, printable
from .mounting import Mount, limit

__all__ = ["Guard"]

_REMOVED = ".pointsman-removed-"
"""How the folders are called to which is moved what came to lie at a protected path during a command."""
_MANY = 1_000
_STATE = ".pointsman"  # not only kept from being written: it holds other runs


class Guard:
    """Keeps the protected paths of a workspace as they are through a command.

    Args:
        workspace: Which paths are protected, and where.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._root = workspace.root
        self._protected = workspace.protected
        self._scan = workspace.scan
        self._ours: set[Inode] = set()

    def look(self) -> Seen:
        """Find what is protected and there."""
        return self._scan.look()

    def running(self) -> AbstractContextManager[None]:
        """While a command runs, what is protected stays as it was: what it makes has no say in that."""
        return self._scan.keeping()

    def mounts(self, seen: Seen) -> list[Mount]:
        """What to mount, so that what was seen cannot be changed inside a workspace mounted at its own path.

        Args:
            seen: By `look`.
        """
        kept = {*self._real(seen), *(str(self._root / path) for path in seen.closed)}
        shared = {str(self._root / path) for path in seen.shared}
        # Where they are too many, with all that lies beside them.
        kept |= shared if len(shared) < _MANY or len(kept | shared) < limit() else set(map(os.path.dirname, shared))
        fixed = [path for path in self._protected.fixed if str(self._root / path) in kept]
        above = {
            str(self._root.joinpath(*Path(path).parts[:end]))
            for path in (*fixed, *self._protected.moving)
            for end in range(1, len(Path(path).parts))
        }
        # What is mounted cannot be renamed, so that nothing else can be put where one of these is looked for.
        held = [Mount("hold", place) for place in above - kept if os.path.isdir(place) and not os.path.islink(place)]
        for place in kept:
            is_state = os.path.basename(place) == _STATE and os.path.isdir(place)
            held.append(Mount("hide" if is_state else "keep", place))
        return sorted(held, key=lambda mount: (mount.how != "hold", len(mount.place)))

    def restore(self, before: Seen) -> list[str]:
        """Move away what has come to lie at a protected path, set links back, and say so, in a line for each.

        Args:
            before: What `look` found before the command; all of its processes must have ended.

        Raises:
            ToolFailed: Some of them, each of which it names, cannot be moved; all others have been.
        """
        with self._writable(before.mode):
            return self._restored(before)

    @contextmanager
    def _writable(self, mode: int) -> Iterator[None]:
        """The workspace as one that this user may change, where a command has made it another."""
        own = stat.S_IMODE(os.stat(self._root).st_mode)
        if own & stat.S_IRWXU == stat.S_IRWXU:
            yield
            return
        with suppress(PermissionError):  # whose it is not: then no command can have changed anything in it
            os.chmod(self._root, own | stat.S_IRWXU)
        try:
            yield
        finally:
            with suppress(PermissionError):
                os.chmod(self._root, mode)

    def _restored(self, before: Seen) -> list[str]:
        after = self._scan.look(before)
        known = set(before.things.values())
        wrong = {
            path
            for path, thing in after.things.items()
            if thing.inode not in self._ours and _is_new(thing, before.things.get(path), known)
        }
        # A folder that has become a repository holds other things, too: without its HEAD it is none.
        made = {
            path: f"{path}/{head}" if path else head
            for path, head in after.repositories.items()
            if path in wrong or (not path and path not in before.repositories)
        }
        wrong -= made.keys()
        moved, left = self._remove({*wrong, *made.values()})
        changed = [
            path
            for path, thing in before.things.items()
            if thing.target is not None and after.things.get(path, thing._replace(target=None)).target != thing.target
        ]
        for path in changed:
            # Without the folder that held it nobody follows it either.
            with suppress(OSError), self._opened(path) as (folder, name):
                os.symlink(str(before.things[path].target), name, dir_fd=folder)
        if left:
            raise ToolFailed("\n".join(left))
        return [
            *(
                f"{printable(path)} is protected: what came to lie there meanwhile was moved to {moved[path]}"
                for path in sorted(wrong & moved.keys())
            ),
            *(f"{printable(path)} is protected: the link was set back" for path in sorted(changed)),
            *(
                f"{printable(path) or 'the workspace'} had become a git repository, whose configuration runs programs: "
                f"its HEAD was moved to {moved[made[path]]}"
                for path in sorted(made)
                if made[path] in moved
            ),
        ]

    def _real(self, seen: Seen) -> Iterator[str]:
        """Where to mount: a link cannot be mounted upon, but what it leads to."""
        for path, thing in seen.things.items():
            place = str(self._root / path)
            if thing.target is None:
                yield place
                continue
            if self._protected.naming(path.split("/")) is None:
                continue  # only on the way to something protected
            place = os.path.realpath(place)
            if self._root in Path(place).parents and os.path.exists(place):
                yield place

    def _remove(self, paths: Collection[str]) -> tuple[dict[str, str], list[str]]:
        """Move these away, and say where each lies now, and in a line for each which could not be moved."""
        moved: dict[str, str] = {}
        left: list[str] = []
        away = self._away() if paths else None
        for path in sorted(paths):
            try:
                with self._opened(path) as (folder, name):
                    moved[path] = printable(_moved(path, folder, name, away))
            except FileNotFoundError:
                continue
            except OSError as error:
                what = f"{printable(path)} is protected, and what came to lie there meanwhile cannot be moved away"
                left.append(f"{what} ({error.strerror}): a person has to")
        if away is not None:
            os.close(away[1])
        return moved, left

    def _away(self) -> tuple[str, int] | None:
        """A new folder to move things to, or None where none can be made."""
        try:
            # A name of its own, so that no link can lie in wait for it.
            made = tempfile.mkdtemp(prefix=_REMOVED, dir=self._root)
            folder = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # no space is left for it, or no inode
            return None
        self._ours.add(inode_of(os.fstat(folder)))
        return os.path.basename(made), folder

    @contextmanager
    def _opened(self, path: str) -> Iterator[tuple[int, str]]:
        """The folder in which a path lies, reached through no link, and its name there."""
        *above, name = path.split("/")
        top = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            folder = opened(top, tuple(above), opening=True)
        finally:
            os.close(top)
        try:
            yield folder, name
        finally:
            os.close(folder)


def _moved(path: str, folder: int, name: str, away: tuple[str, int] | None) -> str:
    """Move a thing away, or where that cannot be, give it another name where it lies; return its path now.

    Args:
        path: Its path.
        folder: The folder in which it lies.
        name: Its name there.
        away: The folder to move it to, by name and descriptor.
    """
    if away is not None:
        short = os.fsencode(path.replace("/", "-"))[-100:].decode(errors="ignore")
        new = f"{short}.{time.time_ns()}.removed"
        with suppress(OSError):
            _renamed(folder, name, new, away[1])
            return f"{away[0]}/{new}"
    new = f"{_REMOVED}{time.time_ns()}"
    _renamed(folder, name, new, folder)
    return os.path.join(os.path.dirname(path), new)


def _renamed(folder: int, name: str, new: str, to: int) -> None:
    try:
        os.rename(name, new, src_dir_fd=folder, dst_dir_fd=to)
    except PermissionError:
        allow(folder, ".")
        allow(folder, name)
        os.rename(name, new, src_dir_fd=folder, dst_dir_fd=to)


def _is_new(thing: Thing, was: Thing | None, known: Collection[Thing]) -> bool:
    """Whether a command has made this, and not only moved it with the folder in which it lies.

    Args:
        thing: What lies at a path now.
        was: What lay there before.
        known: All that lay at a protected path before.
    """
    if thing.target is None:
        return thing not in known
    # A link that has been moved alone, or whose end has been made, leads to something else.
    is_same = was is not None and (was.inode, was.target) == (thing.inode, thing.target)
    return not is_same and (thing.end is None or thing not in known)
