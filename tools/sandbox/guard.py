"""What a command must not change in the workspace: mounted read-only if it exists, moved away if it is new.

A mount needs a mount point, and creating one would leave it in the user's folder. So a protected path that does not
exist can be created while a command runs, and is moved out of the way before the command's result is returned.
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
"""Prefix of the folders to which things are moved that a command created at a protected path."""
_MANY = 1_000
_STATE = ".pointsman"  # hidden, not only read-only: it holds other runs


class Guard:
    """Keeps the protected paths of a workspace unchanged through a command.

    Args:
        workspace: Says which paths are protected, and where.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._root = workspace.root
        self._protected = workspace.protected
        self._scan = workspace.scan
        self._ours: set[Inode] = set()

    def look(self) -> Seen:
        """Find the protected paths that exist."""
        return self._scan.look()

    def running(self) -> AbstractContextManager[None]:
        """Keep the set of protected paths as it was while a command runs: what the command makes does not change it."""
        return self._scan.keeping()

    def mounts(self, seen: Seen) -> list[Mount]:
        """Return the mounts that keep what was seen from being changed inside a workspace mounted at its own path.

        Args:
            seen: The result of `look`.
        """
        kept = {*self._real(seen), *(str(self._root / path) for path in seen.closed)}
        shared = {str(self._root / path) for path in seen.shared}
        # If there are too many, mount the folders that contain them, with everything else in those.
        kept |= shared if len(shared) < _MANY or len(kept | shared) < limit() else set(map(os.path.dirname, shared))
        fixed = [path for path in self._protected.fixed if str(self._root / path) in kept]
        above = {
            str(self._root.joinpath(*Path(path).parts[:end]))
            for path in (*fixed, *self._protected.moving)
            for end in range(1, len(Path(path).parts))
        }
        # A mount point cannot be renamed, so nothing else can be put where one of these is looked for.
        held = [Mount("hold", place) for place in above - kept if os.path.isdir(place) and not os.path.islink(place)]
        for place in kept:
            is_state = os.path.basename(place) == _STATE and os.path.isdir(place)
            held.append(Mount("hide" if is_state else "keep", place))
        return sorted(held, key=lambda mount: (mount.how != "hold", len(mount.place)))

    def restore(self, before: Seen) -> list[str]:
        """Move away what has appeared at a protected path, restore links, and return one line for each.

        Args:
            before: What `look` found before the command; all of its processes must have ended.

        Raises:
            ToolFailed: Some of them, each of which it names, cannot be moved; all others have been.
        """
        with self._writable(before.mode):
            return self._restored(before)

    @contextmanager
    def _writable(self, mode: int) -> Iterator[None]:
        """Make the workspace's folder writable for this user, if a command has changed its mode."""
        own = stat.S_IMODE(os.stat(self._root).st_mode)
        if own & stat.S_IRWXU == stat.S_IRWXU:
            yield
            return
        with suppress(PermissionError):  # not this user's folder: then no command can have changed anything in it
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
        # A folder that has become a repository holds other things, too: without its HEAD it is not a repository.
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
            # If the folder that held the link is gone, nobody follows it either.
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
        """Yield where to mount: not on a link, which is impossible, but on its target."""
        for path, thing in seen.things.items():
            place = str(self._root / path)
            if thing.target is None:
                yield place
                continue
            if self._protected.naming(path.split("/")) is None:
                continue  # only an ancestor of something protected
            place = os.path.realpath(place)
            if self._root in Path(place).parents and os.path.exists(place):
                yield place

    def _remove(self, paths: Collection[str]) -> tuple[dict[str, str], list[str]]:
        """Move these away; return the new path of each, and a line for each that could not be moved."""
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
        """Return a new folder to move things to, or None if none can be made."""
        try:
            # A unique name, so that no link can already exist under it.
            made = tempfile.mkdtemp(prefix=_REMOVED, dir=self._root)
            folder = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # no space or no inode is left
            return None
        self._ours.add(inode_of(os.fstat(folder)))
        return os.path.basename(made), folder

    @contextmanager
    def _opened(self, path: str) -> Iterator[tuple[int, str]]:
        """Yield the folder that contains a path, opened without following links, and the path's name in it."""
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
    """Move a thing away, or, if that fails, rename it in its folder; return its new path.

    Args:
        path: Its path.
        folder: The folder that contains it.
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
    """Whether a command has made this, rather than only moved it with the folder that contains it.

    Args:
        thing: What is at the path now.
        was: What was there before.
        known: Everything that was at a protected path before.
    """
    if thing.target is None:
        return thing not in known
    # A link that was moved alone, or whose target was created, leads to something else.
    is_same = was is not None and (was.inode, was.target) == (thing.inode, thing.target)
    return not is_same and (thing.end is None or thing not in known)
