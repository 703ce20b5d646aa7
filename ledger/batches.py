"""`BatchBook`: the batches that providers work on, in the ledger's file, so that any process can continue them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from ..configs.errors import ConfigError
from ..configs.redact import redact
from .budgets.budgets import LASTING
from .processes import ended, this_process
from .storage.access import Access
from .storage.connection import Connection

__all__ = ["AskRow", "BatchBook", "BatchRow", "Outcome", "PartRow", "PartState", "owner_of"]

_KEPT_SECONDS = 30 * 86_400.0
"""How long a batch is kept after its submission; after that no provider has the answers any more."""
_SILENT_SECONDS = 3_600.0
"""A holder that cannot be observed from here, and has not renewed its claim for this long, counts as gone."""

PartState = Literal["planned", "sending", "sent", "collected", "given_up"]
"""``sending``: it may have been submitted. ``given_up``: it was not, or its answers are lost."""


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One batch with the counts of its requests (asks); ``ended`` is None as long as one of them is open."""

    id: str
    at: float
    ended: float | None = None
    asks: int = 0
    answered: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class PartRow:
    """The part of a batch that is submitted to one model at once.

    Attributes:
        id: The label it is submitted under.
        at: When it was first about to be submitted, seconds since the epoch; 0 before.
        reservation: Its reservation in the budgets, None if nothing is capped.
        vendor: The provider's id for it, None until known.
        detail: What the provider last said about it.
    """

    id: str
    batch: str
    model: str
    state: PartState = "planned"
    at: float = 0.0
    reservation: str | None = None
    vendor: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AskRow:
    """One request (ask) of a batch.

    Attributes:
        place: Its index in the order of the asks, from 0.
        part: The part it is in; None if it was never meant for one.
        state: ``waiting`` for its part, to be called ``live``, or ``done``.
        call: Id of the ledger's row for its call in the part.
        facts: JSON of the step it belongs to, and of what was decided about it.
        ask: JSON of the request, empty once it is done.
        worst: Maximum picodollars it can cost in its part.
        cost: Picodollars it actually cost there, None if unknown.
        reply: JSON of the reply.
        error: Why there is no reply.
    """

    batch: str
    place: int
    part: str | None
    state: Literal["waiting", "live", "done"]
    call: str
    facts: str
    ask: str
    worst: int = 0
    cost: int | None = None
    reply: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an ask: the fields of `AskRow` that change."""

    place: int
    state: Literal["live", "done"]
    ask: str = ""
    facts: str | None = None
    cost: int | None = None
    reply: str | None = None
    error: str | None = None


_Kept = TypeVar("_Kept", AskRow, Outcome)


def owner_of(batch: str) -> str:
    """Return the owner under which a batch reserves money, whichever process works on it."""
    return f"{LASTING}{batch}"


class BatchBook:
    """Stores batches; each method is atomic.

    Args:
        path: The ledger's file.
        close: Encodes, for storage, texts that must come back unchanged with any secrets in them: asks, replies, facts.
        open_: Decodes them again.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, path: Path, *, close: Callable[[str], str] = str, open_: Callable[[str], str] = str) -> None:
        self._file = Access(path)
        self._close, self._open = close, open_

    def add(self, batch: str, parts: Sequence[PartRow], asks: Sequence[AskRow]) -> None:
        """Store a new batch, held by this process, and delete those that are too old to be collected."""
        now = time.time()
        parted = [astuple(replace(part, detail=redact(part.detail))) for part in parts]
        asked = [astuple(self._closed(ask)) for ask in asks]
        with self._file.changing() as connection:
            connection.execute("DELETE FROM batches WHERE at < ?", (now - _KEPT_SECONDS,))
            connection.execute(
                "INSERT INTO batches (id, at, holder, held) VALUES (?, ?, ?, ?)",
                (batch, now, this_process(), now),
            )
            connection.executemany("INSERT INTO batch_parts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", parted)
            connection.executemany("INSERT INTO batch_asks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", asked)

    def drop(self, batch: str) -> None:
        """Delete a batch of which nothing was submitted."""
        with self._file.changing() as connection:
            connection.execute("DELETE FROM batches WHERE id = ?", (batch,))

    def batch(self, batch: str) -> BatchRow:
        """Return the batch with this id.

        Raises:
            ConfigError: There is no such batch.
        """
        found = self._batches("WHERE id = ?", batch)
        if not found:
            raise ConfigError(f"there is no batch {batch!r}: pointsman batch list shows those there are")
        return found[0]

    def batches(self) -> list[BatchRow]:
        """Return all batches, newest first."""
        return self._batches("ORDER BY at DESC, id")

    def parts(self, batch: str) -> list[PartRow]:
        """Return the parts of a batch."""
        names = "id, batch, model, state, at, reservation, vendor, detail"
        query = f"SELECT {names} FROM batch_parts WHERE batch = ? ORDER BY model, id"  # noqa: S608 - our own words
        return [PartRow(*row) for row in self._file.read(query, batch)]

    def asks(self, batch: str, *, part: str | None = None, state: str | None = None) -> list[AskRow]:
        """Return the asks of a batch in their order.

        Args:
            batch: The batch.
            part: Only those of this part.
            state: Only those in this state.
        """
        names = "batch, place, part, state, call, facts, ask, worst, cost, reply, error"
        query = (
            f"SELECT {names} FROM batch_asks WHERE batch = ? AND (? IS NULL OR part = ?) "  # noqa: S608 - our own words
            "AND (? IS NULL OR state = ?) ORDER BY place"
        )
        found = self._file.read(query, batch, part, part, state, state)
        return [_changed(AskRow(*row), self._open) for row in found]

    def update(self, part: PartRow) -> None:
        """Store the current state of a part."""
        with self._file.changing() as connection:
            connection.execute(
                "UPDATE batch_parts SET state = ?, at = ?, reservation = ?, vendor = ?, detail = ? WHERE id = ?",
                (part.state, part.at, part.reservation, part.vendor, redact(part.detail), part.id),
            )

    def answer(self, batch: str, outcomes: Iterable[Outcome]) -> None:
        """Store the outcomes of asks; an ask that is done keeps its outcome."""
        kept = map(self._closed, outcomes)
        values = [(one.state, one.ask, one.facts, one.cost, one.reply, one.error, batch, one.place) for one in kept]
        with self._file.changing() as connection:
            connection.executemany(
                "UPDATE batch_asks SET state = ?, ask = ?, facts = coalesce(?, facts), cost = coalesce(?, cost), "
                "reply = ?, error = ? WHERE batch = ? AND place = ? AND state <> 'done'",
                values,
            )

    def end(self, batch: str) -> None:
        """Record that no ask of a batch is open any more."""
        with self._file.changing() as connection:
            connection.execute("UPDATE batches SET ended = coalesce(ended, ?) WHERE id = ?", (time.time(), batch))

    def recorded(self, part: str) -> set[int]:
        """Return the places of the part's asks whose call is already in the ledger."""
        query = "SELECT place FROM batch_asks a WHERE part = ? AND EXISTS (SELECT 1 FROM calls c WHERE c.id = a.call)"
        return {place for (place,) in self._file.read(query, part)}

    def charge(self, part: str) -> int:
        """Return the picodollars that the part's asks cost together; an unknown cost counts as the maximum."""
        # Summed in Python, because SQLite's sum could overflow.
        return sum(
            cost for (cost,) in self._file.read("SELECT coalesce(cost, worst) FROM batch_asks WHERE part = ?", part)
        )

    def stray_reservations(self, batch: str) -> list[str]:
        """Return reservations for a batch by a process that ended before it could store for which part they were."""
        query = (
            "SELECT id FROM reservations WHERE owner = ? AND id NOT IN "
            "(SELECT reservation FROM batch_parts WHERE batch = ? AND reservation IS NOT NULL)"
        )
        return [found for (found,) in self._file.read(query, owner_of(batch), batch)]

    @contextmanager
    def held(self, batch: str) -> Iterator[None]:
        """Keep every other worker away from a batch during the block.

        Raises:
            ConfigError: Another worker holds it, or there is no such batch.
        """
        self.batch(batch)
        with self._file.changing() as connection:
            holder, since = connection.execute("SELECT holder, held FROM batches WHERE id = ?", (batch,)).fetchone()
            if holder is not None and not _gone(holder, since):
                raise ConfigError(f"batch {batch} is being worked on by another process or task: let it end first")
            self._hold(connection, batch)
        try:
            yield
        finally:
            self.let_go(batch)

    def stir(self, batch: str) -> None:
        """Renew the holder's claim."""
        with self._file.changing() as connection:
            self._hold(connection, batch)

    def let_go(self, batch: str) -> None:
        """Release a batch, so that others can work on it."""
        with self._file.changing() as connection:
            connection.execute("UPDATE batches SET holder = NULL WHERE id = ?", (batch,))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _hold(self, connection: Connection, batch: str) -> None:
        connection.execute("UPDATE batches SET holder = ?, held = ? WHERE id = ?", (this_process(), time.time(), batch))

    def _closed(self, row: _Kept) -> _Kept:
        return replace(_changed(row, self._close), error=None if row.error is None else redact(row.error))

    def _batches(self, rest: str, *values: str) -> list[BatchRow]:
        counts = ", ".join(
            f"(SELECT count({what}) FROM batch_asks WHERE batch = id)"  # noqa: S608 - our own words
            for what in ("*", "reply", "error")
        )
        query = f"SELECT id, at, ended, {counts} FROM batches {rest}"  # noqa: S608 - our own words
        return [BatchRow(*row) for row in self._file.read(query, *values)]


def _changed(row: _Kept, change: Callable[[str], str]) -> _Kept:
    """Return a row in which the texts that must come back unchanged are encoded or decoded by ``change``."""
    return replace(
        row,
        facts=None if row.facts is None else change(row.facts),
        ask=change(row.ask) if row.ask else "",
        reply=None if row.reply is None else change(row.reply),
    )


def _gone(holder: str, since: float) -> bool:
    gone = ended(holder)
    return time.time() - since > _SILENT_SECONDS if gone is None else gone
