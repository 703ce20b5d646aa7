"""The lines typed in the sessions of a project: kept in its state, readable by the owner only, secrets redacted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from prompt_toolkit.history import History

from ...configs.redact import redact

__all__ = ["FILE", "Kept"]

FILE: Final = "history.jsonl"
_MOST: Final = 1_000
"""How many lines the arrow keys can reach."""
_READ_BYTES: Final = 4_000_000
"""If the file is larger, only this much of its end is read."""


class Kept(History):
    """A file with one line of JSON for each input, newest last. Errors while reading or writing it are ignored.

    Args:
        state: Folder of the project's state, which exists.
    """

    def __init__(self, state: Path) -> None:
        super().__init__()
        self._file = state / FILE

    def load_history_strings(self) -> Iterable[str]:
        """Return the typed lines, newest first."""
        return list(islice(self._lines(), _MOST))

    def _lines(self) -> Iterator[str]:
        try:
            with self._file.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _READ_BYTES))
                lines = file.read().splitlines()
        except OSError:
            return
        for line in reversed(lines):
            with suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, str):
                    yield said

    def store_string(self, string: str) -> None:
        """Store a line with its secrets redacted."""
        written = (json.dumps(redact(string)) + "\n").encode()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with suppress(OSError):
            file = os.open(self._file, flags, 0o600)
            try:
                os.fchmod(file, 0o600)
                os.write(file, written)
            finally:
                os.close(file)
