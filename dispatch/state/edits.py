"""Edits of a run: each file's content before a tool changed it, kept once, encrypted, until the run is forgotten."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import quote, unquote

from ...configs.errors import ConfigError, disk_errors
from ...tools.files.changes import Change, is_folder
from .private import replace_private
from .sealing import user_seal

__all__ = ["Edit", "EditKind", "Edits", "folders_made", "origin_of", "untouched"]

_FOLDER: Final = "edits"
_SUFFIX: Final = ".run"
_DIGITS: Final = 8


class EditKind(StrEnum):
    """Who changed a file: a tool; ``undo``; or ``redo``, which reverts an undo."""

    TOOL = "tool"
    UNDO = "undo"
    REDO = "redo"


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of one file, recorded before it is made, so the change may never have happened.

    Attributes:
        run: The run.
        kind: Who changed it.
        root: The workspace, relative to the project, so that both can be moved.
        path: Path of the file, relative to the workspace.
        before: SHA-256 of the previous content; empty if there was no file.
        size: Bytes of the previous content.
        mode: Its previous mode, as in `Found`.
        kept: Whether the previous content is kept.
        after: SHA-256 of the new content; empty if the file was deleted.
        folders: How many folders of the path were created for it.
        batch: Identifies the changes that one command made.
        of: Numbers of the changes that it reverts.
        after_mode: As in `Change`.
        number: Its position among the changes of the outermost run and the runs inside it.
    """

    run: str
    kind: EditKind
    root: str
    path: str
    before: str
    size: int
    mode: int
    kept: bool
    after: str
    folders: int
    batch: str = ""
    of: tuple[int, ...] = ()
    after_mode: int = 0
    number: int = 0

    @property
    def given(self) -> int | None:
        """The mode that it set, as in `Found`; None if the mode did not change."""
        if not self.after_mode:
            return None
        # Earlier versions recorded only a file's permission bits, without the file type.
        is_file = stat.S_IFMT(self.after_mode) in (0, stat.S_IFREG)
        return stat.S_IMODE(self.after_mode) if is_file else self.after_mode


class Edits:
    """The changes of a run and of the runs inside it, in the order they were made.

    Args:
        state: The project's state folder.
        project: The project.
        run: Id of the outermost run.
    """

    def __init__(self, state: Path, project: Path, run: str) -> None:
        self._folder = state / _FOLDER / f"{quote(run, safe='')}{_SUFFIX}"
        self._project = project
        self._last = 0

    def root(self, edit: Edit) -> Path:
        """Return the current path of a change's workspace."""
        return Path(os.path.normpath(Path(os.path.realpath(self._project)) / edit.root))

    def keep(
        self, change: Change, run: str, kind: EditKind = EditKind.TOOL, *, batch: str = "", of: tuple[int, ...] = ()
    ) -> None:
        """Record a change that is about to be made; it is on disk when this returns.

        Args:
            change: The change.
            run: The run.
            kind: Who makes it.
            batch: As in `Edit`.
            of: As in `Edit`.

        Raises:
            ConfigError: It cannot be recorded, so it must not be made.
        """
        before, root = change.before, os.path.relpath(change.root, os.path.realpath(self._project))
        edit = Edit(
            run, kind, root, change.path, before.digest, before.size, before.mode, before.content is not None,
            change.after, change.folders, batch, of, change.mode,
        )  # fmt: skip
        try:
            kept = self._folder / before.digest
            if before.content is not None and not kept.exists():
                replace_private(kept, user_seal().close_bytes(before.content))
            path = self._next()
            replace_private(path, user_seal().close(json.dumps(asdict(edit))).encode())
        except OSError as error:
            raise ConfigError(
                f"the content of {change.path} cannot be saved ({error.strerror}), so it is not changed: make room, or "
                "make the state folder writable",
                file=self._folder,
            ) from error

    def all(self) -> tuple[Edit, ...]:
        """Return the changes, the oldest first.

        Raises:
            ConfigError: One cannot be read.
        """
        made = []
        for path in self._numbered():
            # An empty file was begun, but its change was never made.
            if sealed := path.read_text(encoding="utf-8"):
                told: dict[str, Any] = json.loads(user_seal().open(sealed))
                edit = Edit(**{**told, "kind": EditKind(told["kind"]), "of": tuple(told["of"])})
                made.append(replace(edit, number=int(path.name)))
        return tuple(made)

    def content(self, digest: str) -> bytes:
        """Return the kept content of a file.

        Args:
            digest: Its SHA-256.

        Raises:
            ConfigError: It is missing, cannot be read, or has been changed.
        """
        path = self._folder / digest
        with disk_errors("what was kept of a file cannot be read", file=path):
            sealed = path.read_bytes()
        content = user_seal().open_bytes(sealed)
        if hashlib.sha256(content).hexdigest() != digest:
            raise ConfigError("what was kept of a file is not what it was", file=path)
        return content

    def forget(self) -> None:
        """Delete everything that is kept."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _next(self) -> Path:
        """Reserve the next free number by creating its empty file, and return the file's path."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._last = self._last or max((int(path.name) for path in self._numbered()), default=0)
        while True:
            self._last += 1
            path = self._folder / f"{self._last:0{_DIGITS}}"
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                return path

    def _numbered(self) -> list[Path]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        return [self._folder / name for name in sorted(names) if len(name) == _DIGITS and name.isdecimal()]


def folders_made(found: Mapping[tuple[str, str], Sequence[Edit]]) -> dict[tuple[str, str], int]:
    """Find the folders that tools created for files.

    Args:
        found: Workspace and path of a file -> its changes.

    Returns:
        Workspace and path of each folder -> the number of the first change that created it.
    """
    made: dict[tuple[str, str], int] = {}
    for (root, path), edits in found.items():
        for edit in edits:
            if edit.kind is EditKind.TOOL:
                for above in list(PurePosixPath(path).parents)[: edit.folders]:
                    made[root, str(above)] = min(edit.number, made.get((root, str(above)), edit.number))
    return made


def origin_of(edits: Sequence[Edit], made: int | None) -> Edit | None:
    """Return the creation of a folder as an edit, if a tool created it for a file before its own first edit.

    Args:
        edits: The recorded edits of the folder.
        made: The number of that file's change; None if no tool created the folder.
    """
    first = edits[0]
    if made is None or made > first.number or not (first.before and is_folder(first.mode)):
        return None
    return replace(first, before="", mode=0, after=first.before, after_mode=first.mode, number=made)


def untouched(state: Path, before: float) -> list[str]:
    """Return the outermost runs whose kept edits have not changed since a given time.

    Args:
        state: The project's state folder.
        before: The time, in seconds since the epoch.
    """
    try:
        with os.scandir(state / _FOLDER) as found:
            return [unquote(one.name.removesuffix(_SUFFIX)) for one in found if one.stat().st_mtime < before]
    except OSError:
        return []
