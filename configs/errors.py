"""Errors named by who must act; the root of the family and the user's own branch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .redact import redact

__all__ = ["ConfigError", "PointsmanError", "disk_errors"]


class PointsmanError(Exception):
    """The root of every error Pointsman raises on purpose; no secret stands in what it says.

    Attributes:
        run: Id of the run that it ended; empty outside any. It stands in the message, too.
    """

    run: str = ""

    def __init__(self, *said: object) -> None:
        super().__init__(*(redact(part) if isinstance(part, str) else part for part in said))

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own way calls the class with the message, but most of these classes take what the message is made
        # of. A pool of processes that cannot restore an error never returns.
        return _restored, (type(self), self.args), self.__dict__

    def __str__(self) -> str:
        said = super().__str__()
        return said if not self.run or self.run in said else f"{said} (run {self.run})"


def _restored(kind: type[PointsmanError], said: tuple[object, ...]) -> PointsmanError:
    error = kind.__new__(kind, *said)
    error.args = said
    return error


class ConfigError(PointsmanError):
    """A mistake the user can mend: a file, a flag, a name, a missing key.

    Args:
        message: One line that says what is wrong and what to do.
        file: The file the mistake stands in, where there is one.
        line: Its line, counted from 1.
    """

    def __init__(self, message: str, *, file: Path | str | None = None, line: int | None = None) -> None:
        where = "" if file is None else f"{file}:{line}: " if line is not None else f"{file}: "
        super().__init__(where + message)
        self.file = file
        self.line = line


@contextmanager
def disk_errors(problem: str, *, file: Path | str) -> Iterator[None]:
    """Raise what the disk refuses inside the block as a `ConfigError`.

    Args:
        problem: What is wrong then, such as ``cannot be read``; why follows it.
        file: The file.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{problem}: {error.strerror or type(error).__name__}", file=file) from error
