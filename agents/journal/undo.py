"""Undo what the file tools changed in a run: everything, the last edit, or some files; and redo it."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from ...configs.errors import ConfigError
from ...configs.process.ids import new_id
from ...dispatch.state.edits import Edit, EditKind, Edits, folders_made, origin_of
from ...tools.base import ToolFailed
from ...tools.files.changes import LINK, Change, Found, is_folder, kept_by
from ...tools.files.diffs import text_of, unified
from ...tools.files.workspace import Workspace, shown
from ..errors import NoRun
from ..lease.lease import Lease
from .edits import edits_of

if TYPE_CHECKING:
    from ..runtime import Runtime

__all__ = ["Changed", "Undone", "changed", "undone"]

_ADVICE: Final = (
    "--dry-run shows how; --force puts all of it back, and keeps what is there; or name the files to put back"
)
_PUT_BACK: Final = 2
_SHOWN: Final = 5_000_000
"""Bytes of the longest text that is diffed."""


@dataclass(frozen=True, slots=True)
class Undone:
    """A file that was put back, or would be.

    Attributes:
        path: Path of the file, relative to the workspace.
        workspace: The folder in which the run changed it.
        change: ``restored``, ``deleted`` if it did not exist before, or ``made again`` if it did.
        diff: From what is there to what is put back, as a unified diff or in words.
        problem: Why it cannot be put back, in the result of a dry run; empty if it can.
    """

    path: str
    workspace: Path
    change: str
    diff: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    """A file that a run changed and that differs from its earlier state.

    Attributes:
        path: Path of the file, relative to the workspace.
        workspace: The folder in which the run changed it.
        diff: From what was there to what is there now, as a unified diff or in words.
    """

    path: str
    workspace: Path
    diff: str


def changed(runtime: Runtime, run: str) -> tuple[Changed, ...]:
    """Compare the files that a run changed with their state before; this waits for files and the ledger.

    Args:
        runtime: What it runs on.
        run: Its id; changes by nested runs are included.

    Raises:
        ConfigError: Its stored edits cannot be read.
    """
    return _Undoing(runtime, run).changed()


def undone(
    runtime: Runtime,
    run: str,
    paths: Sequence[str] = (),
    *,
    last: bool = False,
    redo: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> tuple[Undone, ...]:
    """Put files back as they were before a run changed them; this waits for files and the ledger.

    Either all of them are put back or, if one cannot be, none. What is replaced is saved first, so that it can be put
    back in turn. If this is interrupted in the middle, it can simply be repeated.

    Args:
        runtime: What it ran on.
        run: Its id; changes by nested runs are included.
        paths: Only these files, each relative to the workspace or absolute.
        last: Undo only the last edit.
        redo: Revert the last undo instead.
        force: Include files that somebody else has changed since; their current content is saved.
        dry_run: Change nothing.

    Raises:
        ConfigError: There is no such run; or files cannot be put back, and the message says which, why, and what to do.
        RunOwned: Somebody works on the run.
    """
    if runtime.ledger.run(run) is None:
        raise NoRun(runtime.settings.state, run)
    with closing(Lease.take(runtime.ledger, runtime.settings.state, run)):
        return _Undoing(runtime, run).done(paths, last=last, redo=redo, force=force, dry_run=dry_run)


@dataclass(frozen=True, slots=True)
class _File:
    """One file that a run changed.

    Attributes:
        made: The changes to it that were made, newest first.
        taken: The numbers of those that were undone.
        broken: The number of the newest change after which somebody else changed it; 0 if nobody did.
        now: What is there.
        way: What blocks its path and was put there in the run: a folder of its own name, or what stands in place of a
            folder above it; empty if nothing does.
        origin: For a folder that a tool made for a file before changing the folder itself: the edit that made it.
    """

    workspace: Workspace
    path: str
    made: tuple[Edit, ...]
    taken: frozenset[int]
    broken: int
    now: Found
    problem: str
    way: str
    origin: Edit | None = None

    @classmethod
    def of(cls, workspace: Workspace, path: str, edits: Sequence[Edit], edited: Container[str]) -> _File:
        """Find out which changes were made: each was recorded beforehand and may then have been cut off.

        Args:
            workspace: Where it lies.
            path: The file.
            edits: Its recorded changes.
            edited: All files in the workspace that have recorded changes.
        """
        problem, now, state = "", Found(), None
        # A symlink that somebody else put in the way is refused.
        way = one if (one := _in_way(workspace.root, path)) in edited else ""
        try:
            if not way or (way == path and any(map(_is_no_file, edits))):
                now = workspace.look(path, any_kind=any(map(_is_no_file, edits)))
            state = now.digest, now.mode
            workspace.refuse_protected(path)
            is_file = now.digest and not is_folder(now.mode)
            if is_file and not now.mode & 0o222 and all(now.mode not in (edit.mode, edit.given) for edit in edits):
                problem = f"{shown(path)} is read-only"
        except ToolFailed as error:
            problem = str(error)
        made, broken = list[Edit](), 0
        for edit in reversed(edits):
            if _was(edit, state):
                continue
            if not _became(edit, state):
                broken = broken or edit.number
            made.append(edit)
            # An edit that changes only the content leaves the mode unchanged.
            mode = state[1] if state is not None and edit.after and edit.given is None else edit.mode
            state = edit.before, mode
        taken: set[int] = set()
        for edit in made:
            if edit.number not in taken:
                taken.update(edit.of)
        return cls(workspace, path, tuple(made), frozenset(taken), broken, now, problem, way)

    def standing(self, *kinds: EditKind) -> tuple[Edit, ...]:
        """Return the changes of these kinds that nothing has undone, newest first."""
        return tuple(edit for edit in self.made if edit.kind in kinds and edit.number not in self.taken)

    def differs(self, edit: Edit, of_modes: bool) -> bool:
        """Return whether it differs from its state before a change."""
        is_other = of_modes and bool(edit.before) and self.now.mode != edit.mode
        return self.now.digest != edit.before or is_other


def _in_way(root: Path, path: str) -> str:
    """Return the first parent of a path that is not a folder, or the path itself if it is a folder; empty otherwise."""
    parts = path.split("/")
    for end in range(1, len(parts) + 1):
        try:
            is_folder = stat.S_ISDIR(os.lstat(root.joinpath(*parts[:end])).st_mode)
        except OSError:
            return ""
        if is_folder == (end == len(parts)):
            return "/".join(parts[:end])
    return ""


_State = tuple[str, int]
"""SHA-256 of a file's contents, and its mode."""


def _was(edit: Edit, state: _State | None) -> bool:
    """Return whether a file is as it was before a change; the mode counts only if the change set it."""
    counts = edit.before and edit.given is not None
    return state is not None and state == (edit.before, edit.mode if counts else state[1])


def _became(edit: Edit, state: _State | None) -> bool:
    """Return whether a file is as a change left it."""
    return state is not None and state == (edit.after, state[1] if edit.given is None else edit.given)


def _of_modes(edits: Iterable[Edit]) -> bool:
    """Return whether changes affect the mode too, so that it counts and is restored; otherwise it stays as it is."""
    return any(edit.given is not None or _is_no_file(edit) for edit in edits)


def _chmod(workspace: Workspace, path: str, mode: int) -> None:
    """Change the mode of an existing folder without recording an edit."""
    with kept_by(None):
        workspace.replace(path, b"", mode=mode)


def _may_be_entered(mode: int) -> bool:
    """Return whether a folder's owner may change what is in it."""
    return mode & stat.S_IRWXU == stat.S_IRWXU


def _is_no_file(edit: Edit) -> bool:
    """Return whether the path was a symlink or a folder before a change or is one after it."""
    return any(mode == LINK or is_folder(mode or 0) for mode in (edit.mode, edit.given))


@dataclass(frozen=True, slots=True)
class _Step:
    """One file that is put back to its state before the oldest of some changes."""

    file: _File
    edits: tuple[Edit, ...]
    force: bool

    @property
    def target(self) -> Edit:
        return self.edits[-1]

    @property
    def differs(self) -> bool:
        """Whether the file differs from its earlier state."""
        return bool(self.file.problem) or self.file.differs(self.target, _of_modes(self.edits))

    @property
    def place(self) -> tuple[int, int, int]:
        """Sort key: folders that become accessible come first, folders that become inaccessible last.

        In between come deletions, newest first, so that a folder made for a file is removed with the last file in it,
        and then restorations, each folder before its contents.
        """
        depth, target = self.file.path.count("/"), self.target
        if target.before and is_folder(target.mode) and is_folder(self.file.now.mode):
            return (0, depth, 0) if _may_be_entered(target.mode) else (3, -depth, 0)
        return (_PUT_BACK, depth, 0) if target.before else (1, -target.number, -depth)

    @property
    def changed(self) -> bool:
        """Whether somebody else has changed the file since."""
        if self.target.kind is EditKind.UNDO:
            return not _became(self.edits[0], (self.file.now.digest, self.file.now.mode))
        return self.file.broken >= self.target.number

    @property
    def closed(self) -> bool:
        """Whether a folder is made whose final mode does not allow access."""
        return self.place[0] == _PUT_BACK and is_folder(self.target.mode) and not _may_be_entered(self.target.mode)

    def stays(self, ends: _Ends) -> bool:
        """Return whether a folder that was made is left because somebody else has something in it."""
        is_left = not self.target.before and is_folder(self.file.now.mode)
        return is_left and bool(_staying(self.file, ends))

    def problem(self, ends: _Ends) -> str:
        """Return why it cannot be put back; empty if it can.

        Args:
            ends: The target state of all files.
        """
        name, target = shown(self.file.path), self.target
        if self.file.problem:
            return self.file.problem
        is_blocked = self.file.way and not (is_folder(target.mode) and self.file.way == self.file.path)
        if is_blocked and (kept := _staying(self.file, ends)):
            return f"{shown(kept)} is in the way of {name}"
        if target.before and not target.kept:
            return f"{name} had {target.size:,} bytes, which was too much to be kept"
        if self.changed and not self.force:
            return f"{name} was changed by somebody else since"
        return ""

    def told(self, edits: Edits, ends: _Ends) -> Undone:
        """Return what happens to the file; arguments as `problem`."""
        file, target = self.file, self.target
        change = "deleted" if not target.before else "restored" if file.now.digest else "made again"
        diff = "" if file.problem else _diff(file, self.edits, edits, f"is {change}")
        return Undone(file.path, file.workspace.root, change, diff, self.problem(ends))

    def carry_out(self, edits: Edits, ends: _Ends) -> None:
        """Put the file back; folders that were made for it, and have no edits of their own, are removed with it."""
        workspace, path, target, now = self.file.workspace, self.file.path, self.target, self.file.now
        of_modes = _of_modes(self.edits)
        with workspace.writing:
            there = workspace.look(path, any_kind=of_modes)
            if there.digest != now.digest or (of_modes and there.mode != now.mode):
                raise ToolFailed(f"{shown(path)} is being changed by somebody else right now")
            if target.before:
                mode = target.mode if of_modes or not now.digest else now.mode
                workspace.replace(path, edits.content(target.before), mode=mode)
                if self.closed:
                    _chmod(workspace, path, target.mode | stat.S_IRWXU)
            elif now.digest:
                made = [str(above) for above in PurePosixPath(path).parents][: target.folders]
                own = [(workspace.root, above) in ends for above in made]
                workspace.remove(path, folders=[*own, True].index(True), forced=of_modes)


_Ends = Mapping[tuple[Path, str], Edit]
"""Workspace and path of each file that is put back -> the change whose earlier state it gets."""


def _staying(file: _File, ends: _Ends) -> str:
    """Return what blocks a file and stays there, or lies in a folder that blocks it; empty if nothing does."""
    root = file.workspace.root
    if file.way != file.path:
        end = ends.get((root, file.way))
        return file.way if end is None or (end.before and not is_folder(end.mode)) else ""
    paths = {path for (other, path), end in ends.items() if other == root and not end.before}
    gone = paths | {str(above) for path in paths for above in PurePosixPath(path).parents}
    try:
        return next((one.path for one in file.workspace.walk(file.way) if one.path not in gone), "")
    except ToolFailed:  # it cannot be read
        return file.way


class _Undoing:
    """What can be undone of one run."""

    def __init__(self, runtime: Runtime, run: str) -> None:
        self._run = run
        self._edits = edits_of(runtime, run)
        within = frozenset(runtime.ledger.within(run))
        found: dict[tuple[str, str], list[Edit]] = {}
        for edit in self._edits.all():
            if edit.run in within:
                found.setdefault((edit.root, edit.path), []).append(edit)
        workspaces = {root: runtime.opened_at(self._edits.root(edits[0])) for (root, _), edits in found.items()}
        paths = {root: {path for other, path in found if other == root} for root in workspaces}
        made = folders_made(found)
        self._files = []
        for (root, path), edits in found.items():
            file = _File.of(workspaces[root], path, edits, paths[root])
            self._files.append(replace(file, origin=origin_of(edits, made.get((root, path)))))

    def done(self, paths: Sequence[str], *, last: bool, redo: bool, force: bool, dry_run: bool) -> tuple[Undone, ...]:
        """Undo what is asked for; see `undone`."""
        files = self._named(paths)
        chosen = _last_undo(files) if redo else _edits(files, last=last)
        steps = [_Step(file, edits, force) for file, edits in chosen]
        # Some may already be as they were.
        steps = sorted((one for one in steps if one.differs), key=lambda one: one.place)
        ends = {(step.file.workspace.root, step.file.path): step.target for step in steps}
        steps = [one for one in steps if not one.stays(ends)]
        told = tuple(step.told(self._edits, ends) for step in steps)
        if dry_run:
            return told
        if problems := [one.problem for one in told if one.problem]:
            raise ConfigError(f"nothing was put back: {'; '.join(problems)} ({_ADVICE})")
        batch, kind = new_id(), EditKind.REDO if redo else EditKind.UNDO
        for place, step in enumerate(steps):
            keep = partial(self._keep, kind, batch, tuple(edit.number for edit in step.edits))
            try:
                with kept_by(keep):
                    step.carry_out(self._edits, ends)
            except ToolFailed as error:
                raise ConfigError(
                    f"{place} of {len(steps)} files were put back, and then {error}: try again"
                ) from error
        for step in reversed(steps):
            if step.closed:
                _chmod(step.file.workspace, step.file.path, step.target.mode)
        return told

    def changed(self) -> tuple[Changed, ...]:
        """Return each file that differs from its state before its first change that still stands."""
        found = []
        for file in self._files:
            edits = file.standing(EditKind.TOOL)
            # A diff does not show folders, as git's does not.
            if edits and _of_folders(file, edits[-1]):
                continue
            if edits and file.differs(edits[-1], _of_modes(edits)):
                change = "made" if not edits[-1].before else "changed" if file.now.digest else "deleted"
                diff = _diff(file, edits, self._edits, f"was {change}", forward=True)
                found.append(Changed(file.path, file.workspace.root, diff))
        return tuple(sorted(found, key=lambda one: one.path))

    def _keep(self, kind: EditKind, batch: str, of: tuple[int, ...], change: Change) -> None:
        self._edits.keep(change, self._run, kind, batch=batch, of=of)

    def _named(self, paths: Sequence[str]) -> list[_File]:
        """Return the files at these paths; all files if no path is given."""
        if not paths:
            return self._files
        known = {name: file for file in self._files for name in (file.path, str(file.workspace.root / file.path))}
        wanted = {path: os.path.normpath(path) for path in paths}
        if strange := [path for path, name in wanted.items() if name not in known]:
            edited = ", ".join(sorted(shown(file.path) for file in self._files)) or "none"
            raise ConfigError(
                f"run {self._run} did not edit {', '.join(map(shown, strange))} by the file tools; it edited {edited}"
            )
        return list({id(known[name]): known[name] for name in wanted.values()}.values())


def _edits(files: Sequence[_File], *, last: bool) -> list[tuple[_File, tuple[Edit, ...]]]:
    """Return each file with the tools' changes that still stand; or only the last of these changes."""
    found = [(file, edits) for file in files if (edits := file.standing(EditKind.TOOL))]
    if not last or not found:
        return [(file, (*edits, file.origin) if file.origin else edits) for file, edits in found]
    file, edits = max(found, key=lambda one: one[1][0].number)
    return [(file, edits[:1])]


def _last_undo(files: Sequence[_File]) -> list[tuple[_File, tuple[Edit, ...]]]:
    """Return each file with its change by the last undo that still stands."""
    found = [(file, edit) for file in files for edit in file.standing(EditKind.UNDO)]
    batch = max(found, key=lambda one: one[1].number)[1].batch if found else ""
    return [(file, (edit,)) for file, edit in found if edit.batch == batch]


def _diff(file: _File, made: Sequence[Edit], edits: Edits, told: str, *, forward: bool = False) -> str:
    """Diff what is there against the state before the oldest of some changes, or forward from that state to now.

    Args:
        file: The file.
        made: The changes, newest first.
        edits: Stores what was there.
        told: What happens or happened to the file, for one that is not text.
        forward: Reverse the direction.
    """
    if _of_folders(file, made[-1]):
        return f"the folder {shown(file.path)} {told}\n"
    there, then = _sides(file, made[-1], edits)
    now, was = _modes(file, made)
    (old, new), modes = ((then, there), (was, now)) if forward else ((there, then), (now, was))
    text = unified(file.path, old[0], new[0], modes) if old[1] and new[1] else None
    return f"{shown(file.path)} {told}; it is no text, or too long for a diff\n" if text is None else text


def _of_folders(file: _File, edit: Edit) -> bool:
    """Return whether both the current and the earlier state are a folder or nothing, and at least one is a folder."""
    there, then = is_folder(file.now.mode), is_folder(edit.mode)
    return (there or then) and (there or not file.now.digest) and (then or not edit.before)


def _modes(file: _File, made: Sequence[Edit]) -> tuple[int, int]:
    """Return the modes now and before the oldest change, as a diff shows them: 0 unless the changes affect the mode."""
    if file.now.digest and made[-1].before and not _of_modes(made):
        return 0, 0
    now, was = (mode if mode == LINK else stat.S_IFREG | stat.S_IMODE(mode) for mode in (file.now.mode, made[-1].mode))
    return now, was


def _sides(file: _File, edit: Edit, edits: Edits) -> tuple[tuple[str | None, bool], tuple[str | None, bool]]:
    """Return what is there now and what was there before a change: each as text, and whether the text is complete."""
    there_is, there_was = (
        bool(digest) and not is_folder(mode)
        for digest, mode in ((file.now.digest, file.now.mode), (edit.before, edit.mode))
    )
    if file.now.digest == edit.before and there_is and there_was:  # only its mode has changed
        return ("", True), ("", True)
    content = edits.content(edit.before) if there_was and edit.kept else None
    there, then = text_of(file.now.content if there_is else None, _SHOWN), text_of(content, _SHOWN)
    return (there, there is not None or not there_is), (then, then is not None or not there_was)
