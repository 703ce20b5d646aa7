"""What the user trusts in a project: the content of its files, stored in the user's home."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from ..errors import ConfigError, disk_errors
from ..process.atomic import replace_file
from .grants import Grant

__all__ = ["TrustStore", "UntrustedError", "rooted", "state_folder", "trusts"]


class UntrustedError(ConfigError):
    """Files of the project make changes that only the user may allow.

    Attributes:
        grants: The changes.
    """

    def __init__(self, grants: Sequence[Grant]) -> None:
        first, more = grants[0], len(grants) - 1
        others = f" (and {more} more)" if more else ""
        super().__init__(
            f"{first.what}{others}, which takes your trust: read it with 'pointsman trust' and allow it there, or use "
            "--trust or POINTSMAN_TRUST=1 for this once",
            file=first.place.name,
            line=first.place.line,
        )
        self.grants = tuple(grants)


def state_folder(environ: Mapping[str, str]) -> Path | None:
    """Return the folder for Pointsman's data of the user outside any project, or None if no home is known.

    ``$POINTSMAN_HOME/state``, else ``$XDG_STATE_HOME/pointsman``, else ``~/.local/state/pointsman``
    (specifications.freedesktop.org/basedir-spec, by which a relative path counts as unset; it would be inside whatever
    folder the command runs in, and could come with a project).
    """
    if own := environ.get("POINTSMAN_HOME"):
        return Path(own) / "state"
    if xdg := rooted(environ, "XDG_STATE_HOME"):
        return xdg / "pointsman"
    home = rooted(environ, "HOME", "USERPROFILE")
    return None if home is None else home / ".local" / "state" / "pointsman"


def rooted(environ: Mapping[str, str], *names: str) -> Path | None:
    """Return the path in the first of these variables that holds an absolute one, or None."""
    return next((Path(path) for name in names if os.path.isabs(path := environ.get(name, ""))), None)


def trusts(environ: Mapping[str, str]) -> bool:
    """Return whether ``POINTSMAN_TRUST`` says to obey a project's files without asking, as a CI job may set it.

    Raises:
        ConfigError: It means neither yes nor no.
    """
    text = environ.get("POINTSMAN_TRUST", "").strip().lower()
    if text in ("", "0", "false", "no", "off"):
        return False
    if text in ("1", "true", "yes", "on"):
        return True
    raise ConfigError("takes 1 to trust the project's files without asking, or 0", file="environment POINTSMAN_TRUST")


class TrustStore:
    """The contents of files that the user trusts, one entry per file, readable by the user only.

    Args:
        environ: Gives the user's home; without one nothing is trusted and nothing stored.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        state = state_folder(environ)
        self._folder = None if state is None else state / "trust"

    def knows(self, path: Path, text: str) -> bool:
        """Return whether the user trusts exactly this content at exactly this path."""
        return self.last(path) == text

    def last(self, path: Path) -> str | None:
        """Return the content that was trusted last, or None if there is none."""
        file = self._entry(path)
        if file is None:
            return None
        try:
            # Without O_NONBLOCK, opening a named pipe would block until there is a writer.
            with open(os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), encoding="utf-8") as kept:
                entry = json.load(kept)
        except (OSError, ValueError, RecursionError):
            return None
        whole = isinstance(entry, dict) and isinstance(entry.get("text"), str)
        return entry["text"] if whole and entry.get("path") == _place(path) else None

    def keep(self, path: Path, text: str) -> None:
        """Trust this content at this path from now on.

        Raises:
            ConfigError: No home is known, or the entry cannot be written.
        """
        file = self._entry(path)
        if file is None or self._folder is None:
            raise ConfigError("nothing can be trusted: set HOME, or POINTSMAN_HOME, to a folder of yours")
        if self.last(path) == text:
            return
        with disk_errors("what is trusted cannot be saved", file=file):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(file, json.dumps({"path": _place(path), "text": text}).encode(), mode=0o600)

    def forget(self, path: Path) -> bool:
        """Trust nothing at this path any more; return whether anything was trusted.

        Raises:
            ConfigError: The entry cannot be removed.
        """
        file = self._entry(path)
        known = self.last(path) is not None
        if file is not None and os.path.lexists(file):
            with disk_errors("remove it yourself, since it cannot be removed", file=file):
                file.unlink()
        return known

    def _entry(self, path: Path) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"{sha256(os.fsencode(_place(path))).hexdigest()[:32]}.json"


def _place(path: Path) -> str:
    """Return the absolute path with symlinks unresolved: trust in a file does not extend to symlinks to it."""
    return os.path.abspath(path)
