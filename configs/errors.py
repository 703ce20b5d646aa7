"""The root of all errors, and the errors that the user must fix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .redact import redact

__all__ = ["ConfigError", "PointsmanError", "disk_errors"]


class PointsmanError(Exception):
    """The base class of every error Pointsman raises on purpose; its message is redacted of secrets.

    Attributes:
        run: Id of the run that it ended; empty outside a run. The message includes it, too.
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
    """A mistake the user can fix: a file, a flag, a name, a missing key.

    Args:
        message: One line that says what is wrong and what to do.
        file: The file that contains the mistake, if any.
        line: Its line, counted from 1.
    """

    def __init__(self, message: str, *, file: Path | str | None = None, line: int | None = None) -> None:
        where = "" if file is None else f"{file}:{line}: " if line is not None else f"{file}: "
        super().__init__(where + message)
        self.file = file
        self.line = line


@contextmanager
def disk_errors(problem: str, *, file: Path | str) -> Iterator[None]:
    """Convert an OSError raised inside the block to a `ConfigError`.

    Args:
        problem: The problem, such as ``cannot be read``; the message adds the reason.
        file: The file.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{problem}: {error.strerror or type(error).__name__}", file=file) from error
