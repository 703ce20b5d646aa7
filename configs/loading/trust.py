"""What of a project the user trusts: the content of its files, kept in the user's home."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from ..errors import ConfigError
from .grants import Grant

__all__ = ["TrustStore", "UntrustedError", "rooted", "state_folder", "trusts"]


class UntrustedError(ConfigError):
    """Files of the project want what only the user may allow.

    Attributes:
        grants: What they want.
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
    """Find the folder of what Pointsman keeps for the user beside a project, or None where no home is known.

    ``$POINTSMAN_HOME/state``, else ``$XDG_STATE_HOME/pointsman``, else ``~/.local/state/pointsman``
    (specifications.freedesktop.org/basedir-spec, by which a relative path counts as none; it would lie in whatever
    folder the command is run in, and come with it).
    """
    if own := environ.get("POINTSMAN_HOME"):
        return Path(own) / "state"
    if xdg := rooted(environ, "XDG_STATE_HOME"):
        return xdg / "pointsman"
    home = rooted(environ, "HOME", "USERPROFILE")
    return None if home is None else home / ".local" / "state" / "pointsman"


def rooted(environ: Mapping[str, str], *names: str) -> Path | None:
    """The first of these variables that holds an absolute path, or None."""
    return next((Path(path) for name in names if os.path.isabs(path := environ.get(name, ""))), None)


def trusts(environ: Mapping[str, str]) -> bool:
    """Whether ``POINTSMAN_TRUST`` says to obey a project's files without asking, as a CI job sets it.

    Raises:
        ConfigError: It says neither yes nor no.
    """
    text = environ.get("POINTSMAN_TRUST", "").strip().lower()
    if text in ("", "0", "false", "no", "off"):
        return False
    if text in ("1", "true", "yes", "on"):
        return True
    raise ConfigError("takes 1 to trust the project's files without asking, or 0", file="environment POINTSMAN_TRUST")


class TrustStore:
    """The contents of files that the user trusts, one entry a file, readable by the user alone.

    Args:
        environ: Tells where the user's home is; without one nothing is trusted and nothing kept.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        state = state_folder(environ)
        self._folder = None if state is None else state / "trust"

    def knows(self, path: Path, text: str) -> bool:
        """Whether the user trusts this very content at this very place."""
        return self.last(path) == text

    def last(self, path: Path) -> str | None:
        """The content that was trusted last, None where none was."""
        file = self._entry(path)
        if file is None:
            return None
        try:
            # Without O_NONBLOCK the opening of a named pipe would wait for a writer for ever.
            with open(os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), encoding="utf-8") as kept:
                entry = json.load(kept)
        except (OSError, ValueError, RecursionError):
            return None
        whole = isinstance(entry, dict) and isinstance(entry.get("text"), str)
        return entry["text"] if whole and entry.get("path") == _place(path) else None

    def keep(self, path: Path, text: str) -> None:
        """Trust this content at this place from now on.

        Raises:
            ConfigError: No home is known, or it cannot be written.
        """
        file = self._entry(path)
        if file is None or self._folder is None:
            raise ConfigError("nothing can be trusted: set HOME, or POINTSMAN_HOME, to a folder of yours")
        if self.last(path) == text:
            return
        draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as entry:
                json.dump({"path": _place(path), "text": text}, entry)
            os.replace(draft, file)
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            raise ConfigError(
                f"cannot be written: {error.strerror}; what is trusted is kept there", file=file
            ) from error

    def forget(self, path: Path) -> bool:
        """Trust nothing at this place any more; says whether anything was.

        Raises:
            ConfigError: What is kept cannot be taken away.
        """
        file = self._entry(path)
        known = self.last(path) is not None
        try:
            if file is not None and os.path.lexists(file):
                file.unlink()
        except OSError as error:
            raise ConfigError(f"cannot be removed: {error.strerror}; remove it yourself", file=file) from error
        return known

    def _entry(self, path: Path) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"{sha256(os.fsencode(_place(path))).hexdigest()[:32]}.json"


def _place(path: Path) -> str:
    """The place by its name: what a link in a folder leads to is not trusted there for being trusted elsewhere."""
    return os.path.abspath(path)
