"""What was typed in the sessions of a project: kept in its state, for its owner alone, without secrets."""

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
"""Lines that the arrow keys reach back."""
_READ_BYTES: Final = 4_000_000
"""Of a larger file its end is read."""


class Kept(History):
    """A line of JSON for each thing typed, the newest last. What cannot be kept does not disturb the session.

    Args:
        state: Folder of the project's state, which is there.
    """

    def __init__(self, state: Path) -> None:
        super().__init__()
        self._file = state / FILE

    def load_history_strings(self) -> Iterable[str]:
        """What was typed, the newest first."""
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
        """Keep a line, its secrets redacted."""
        written = (json.dumps(redact(string)) + "\n").encode()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with suppress(OSError):
            file = os.open(self._file, flags, 0o600)
            try:
                os.fchmod(file, 0o600)
                os.write(file, written)
            finally:
                os.close(file)
