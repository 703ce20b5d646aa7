"""Who works on a run, in words, and the errors of a process that may not, or no longer, work on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from ...configs.errors import PointsmanError
from ...ledger.rows import LeaseRow

__all__ = ["Holder", "RunCancelled", "RunOwned"]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who works on a run.

    Attributes:
        host: Name of the machine.
        process: Process id there; 0 if it has not given its name yet.
        since: When it took the run, in seconds since the epoch.
    """

    host: str
    process: int
    since: float

    @classmethod
    def of(cls, row: LeaseRow) -> Holder:
        """Return the holder that a lease names."""
        return cls(row.host, row.process, row.since)

    def __str__(self) -> str:
        if not self.process:
            return "another process"
        since = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S")
        return f"process {self.process} on {self.host} since {since} UTC"


class RunOwned(PointsmanError):
    """Somebody else works on the run right now.

    Args:
        run: The run.
        owner: Who does.
        lost: This process held it, and they have taken it over.

    Attributes:
        run: The run.
        owner: Who does; None if unknown.
    """

    def __init__(self, run: str, owner: Holder | None, *, lost: bool = False) -> None:
        who = owner or "another process"
        super().__init__(
            f"run {run} was taken over by {who}, since this process had not renewed its lease in time: nothing more is "
            f"done here; look at it with: pointsman runs show {run}"
            if lost
            else f"run {run} is being worked on by {who}: wait until it ends, or end that process; "
            f"pointsman runs cancel {run} asks it to stop"
        )
        self.run = run
        self.owner = owner


class RunCancelled(PointsmanError):
    """The run was stopped because somebody asked for it; what is done is kept."""

    def __init__(self, run: str, *, kept: bool = True) -> None:
        more = f"; go on with: pointsman resume {run}" if kept else ""
        super().__init__(f"run {run} was cancelled on request (pointsman runs cancel){more}")
        self.run = run
