"""Taking back what the file tools changed in a run: all of it, its last edit, or some files; and taking that back."""

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
"""Bytes of the longest text of which a diff is made."""


@dataclass(frozen=True, slots=True)
class Undone:
    """A file that was put back, or would be.

    Attributes:
        path: Of the file, relative to the workspace.
        workspace: The folder in which the run changed it.
        change: ``restored``, ``deleted`` since it did not exist, or ``made again`` since it did.
        diff: From what is there to what is put back, as a unified diff or in words.
        problem: Why it cannot be put back, in what a dry run gives; empty where it can.
    """

    path: str
    workspace: Path
    change: str
    diff: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    """A file that a run changed, and that is not as it was.

    Attributes:
        path: Of the file, relative to the workspace.
        workspace: The folder in which the run changed it.
        diff: From what was there to what is there now, as a unified diff or in words.
    """

    path: str
    workspace: Path
    diff: str


def changed(runtime: Runtime, run: str) -> tuple[Changed, ...]:
    """Compare what a run changed with what is there; this waits for files and the ledger.

    Args:
        runtime: What it runs on.
        run: Its id; what runs inside it changed counts, too.

    Raises:
        ConfigError: What is kept of it cannot be read.
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

    All of them are put back or, where one cannot be, none. What is replaced is kept first, so that it can be put back
    in turn, and when this is cut off in the middle it can simply be done again.

    Args:
        runtime: What it ran on.
        run: Its id; what runs inside it changed counts, too.
        paths: These files alone, each relative to the workspace, or absolute.
        last: The last edit alone.
        redo: Take the last undo back instead.
        force: Also files that somebody else has changed since; what is there is kept.
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
        made: The changes of it that were made, the newest first.
        taken: The numbers of those that were taken back.
        broken: The number of the newest change after which somebody else changed it; 0 where nobody did.
        now: What is there.
        way: What is in the way of it, and was put there in the run: a folder of its own name, or what stands where a
            folder above it was; empty for nothing.
        origin: Of a folder that a tool made for a file before it was changed itself: that it was made.
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
        """Find out which changes were made: each was written down before, and may have been cut off in between.

        Args:
            workspace: Where it lies.
            path: The file.
            edits: What was written down of it.
            edited: All files there of which anything was.
        """
        problem, now, state = "", Found(), None
        # A link that somebody else has put in the way is refused.
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
            # What changes the content alone leaves the mode as it was.
            mode = state[1] if state is not None and edit.after and edit.given is None else edit.mode
            state = edit.before, mode
        taken: set[int] = set()
        for edit in made:
            if edit.number not in taken:
                taken.update(edit.of)
        return cls(workspace, path, tuple(made), frozenset(taken), broken, now, problem, way)

    def standing(self, *kinds: EditKind) -> tuple[Edit, ...]:
        """The changes of these kinds that nothing has taken back, the newest first."""
        return tuple(edit for edit in self.made if edit.kind in kinds and edit.number not in self.taken)

    def differs(self, edit: Edit, of_modes: bool) -> bool:
        """Whether it is not as it was before a change."""
        is_other = of_modes and bool(edit.before) and self.now.mode != edit.mode
        return self.now.digest != edit.before or is_other


def _in_way(root: Path, path: str) -> str:
    """The first of the folders above a path that is none, or the path where it is a folder; empty for neither."""
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
"""What a file holds, by its SHA-256, and its mode."""


def _was(edit: Edit, state: _State | None) -> bool:
    """Whether a file is as it was before a change; the mode counts where that changed it, too."""
    counts = edit.before and edit.given is not None
    return state is not None and state == (edit.before, edit.mode if counts else state[1])


def _became(edit: Edit, state: _State | None) -> bool:
    """Whether a file is as a change left it."""
    return state is not None and state == (edit.after, state[1] if edit.given is None else edit.given)


def _of_modes(edits: Iterable[Edit]) -> bool:
    """Whether changes are of the mode as well, so that it counts and is put back; else it stays what it is by now."""
    return any(edit.given is not None or _is_no_file(edit) for edit in edits)


def _chmod(workspace: Workspace, path: str, mode: int) -> None:
    """Give a folder that is there another mode, of which nothing is kept."""
    with kept_by(None):
        workspace.replace(path, b"", mode=mode)


def _may_be_entered(mode: int) -> bool:
    """Whether its owner may change what is in a folder."""
    return mode & stat.S_IRWXU == stat.S_IRWXU


def _is_no_file(edit: Edit) -> bool:
    """Whether a link or a folder was there before a change, or is after it."""
    return any(mode == LINK or is_folder(mode or 0) for mode in (edit.mode, edit.given))


@dataclass(frozen=True, slots=True)
class _Step:
    """One file that is put back as it was before the oldest of some changes."""

    file: _File
    edits: tuple[Edit, ...]
    force: bool

    @property
    def target(self) -> Edit:
        return self.edits[-1]

    @property
    def differs(self) -> bool:
        """Whether the file is not as it was before."""
        return bool(self.file.problem) or self.file.differs(self.target, _of_modes(self.edits))

    @property
    def place(self) -> tuple[int, int, int]:
        """When its turn is: what may be entered again first, and what may not be any more last.

        In between what is deleted, the newest first, so that a folder that was made for a file goes with the last file
        in it, and then what is put back, a folder before what is in it.
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
        """Whether a folder is made that may not be entered in the end."""
        return self.place[0] == _PUT_BACK and is_folder(self.target.mode) and not _may_be_entered(self.target.mode)

    def stays(self, ends: _Ends) -> bool:
        """Whether a folder that was made is left, since somebody else has something in it."""
        is_left = not self.target.before and is_folder(self.file.now.mode)
        return is_left and bool(_staying(self.file, ends))

    def problem(self, ends: _Ends) -> str:
        """Why it cannot be put back; empty where it can.

        Args:
            ends: What becomes of all.
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
        """What becomes of the file; as `problem`."""
        file, target = self.file, self.target
        change = "deleted" if not target.before else "restored" if file.now.digest else "made again"
        diff = "" if file.problem else _diff(file, self.edits, edits, f"is {change}")
        return Undone(file.path, file.workspace.root, change, diff, self.problem(ends))

    def carry_out(self, edits: Edits, ends: _Ends) -> None:
        """Put the file back; folders that were made for it, and of which nothing was kept by itself, go with it."""
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
"""Workspace and path of each file that is put back -> the change before which it was as it is made."""


def _staying(file: _File, ends: _Ends) -> str:
    """What is in the way of a file and stays there, or lies in a folder that is in its way; empty for nothing."""
    root = file.workspace.root
    if file.way != file.path:
        end = ends.get((root, file.way))
        return file.way if end is None or (end.before and not is_folder(end.mode)) else ""
    paths = {path for (other, path), end in ends.items() if other == root and not end.before}
    gone = paths | {str(above) for path in paths for above in PurePosixPath(path).parents}
    try:
        return next((one.path for one in file.workspace.walk(file.way) if one.path not in gone), "")
    except ToolFailed:  # it may not be looked into
        return file.way


class _Undoing:
    """What can be taken back of one run."""

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
        """Take back what is asked for; see `undone`."""
        files = self._named(paths)
        chosen = _last_undo(files) if redo else _edits(files, last=last)
        steps = [_Step(file, edits, force) for file, edits in chosen]
        # One may be as it was already.
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
        """Each file that is not as it was before the first change of it that stands."""
        found = []
        for file in self._files:
            edits = file.standing(EditKind.TOOL)
            # Of folders a diff tells nothing, as git's do not.
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
        """The files of these paths, all where there are none."""
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
    """Each file with the tools' changes that stand; or the last of these changes alone."""
    found = [(file, edits) for file in files if (edits := file.standing(EditKind.TOOL))]
    if not last or not found:
        return [(file, (*edits, file.origin) if file.origin else edits) for file, edits in found]
    file, edits = max(found, key=lambda one: one[1][0].number)
    return [(file, edits[:1])]


def _last_undo(files: Sequence[_File]) -> list[tuple[_File, tuple[Edit, ...]]]:
    """Each file with its change by the last undo that stands."""
    found = [(file, edit) for file in files for edit in file.standing(EditKind.UNDO)]
    batch = max(found, key=lambda one: one[1].number)[1].batch if found else ""
    return [(file, (edit,)) for file, edit in found if edit.batch == batch]


def _diff(file: _File, made: Sequence[Edit], edits: Edits, told: str, *, forward: bool = False) -> str:
    """From what is there to what was there before the oldest of some changes, or forward from that to what is there.

    Args:
        file: The file.
        made: The changes, the newest first.
        edits: Has what was there.
        told: What becomes of the file, or became, for one that is no text.
        forward: The other way round.
    """
    if _of_folders(file, made[-1]):
        return f"the folder {shown(file.path)} {told}\n"
    there, then = _sides(file, made[-1], edits)
    now, was = _modes(file, made)
    (old, new), modes = ((then, there), (was, now)) if forward else ((there, then), (now, was))
    text = unified(file.path, old[0], new[0], modes) if old[1] and new[1] else None
    return f"{shown(file.path)} {told}; it is no text, or too long for a diff\n" if text is None else text


def _of_folders(file: _File, edit: Edit) -> bool:
    """Whether there is, and was before a change, a folder or nothing."""
    there, then = is_folder(file.now.mode), is_folder(edit.mode)
    return (there or then) and (there or not file.now.digest) and (then or not edit.before)


def _modes(file: _File, made: Sequence[Edit]) -> tuple[int, int]:
    """Its mode now, and before the oldest of some changes, as a diff tells them: none unless the changes are of it."""
    if file.now.digest and made[-1].before and not _of_modes(made):
        return 0, 0
    now, was = (mode if mode == LINK else stat.S_IFREG | stat.S_IMODE(mode) for mode in (file.now.mode, made[-1].mode))
    return now, was


def _sides(file: _File, edit: Edit, edits: Edits) -> tuple[tuple[str | None, bool], tuple[str | None, bool]]:
    """What is there, and what was there before a change: each as text, and whether that is all that there is to it."""
    there_is, there_was = (
        bool(digest) and not is_folder(mode)
        for digest, mode in ((file.now.digest, file.now.mode), (edit.before, edit.mode))
    )
    if file.now.digest == edit.before and there_is and there_was:  # its mode has changed alone
        return ("", True), ("", True)
    content = edits.content(edit.before) if there_was and edit.kept else None
    there, then = text_of(file.now.content if there_is else None, _SHOWN), text_of(content, _SHOWN)
    return (there, there is not None or not there_is), (then, then is not None or not there_was)
