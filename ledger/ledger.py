"""`Ledger`: what happened, in one SQLite file that several processes may share."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..configs.errors import ConfigError
from ..configs.process.closing import Closing
from .kept import Kept
from .leases import Leases
from .rows import CallRow, DecisionRow, EffectRow, HandoffRow, RunRow
from .storage.access import Access
from .storage.chain import Break, breaks
from .storage.connection import Connection
from .storage.fences import Fenced
from .storage.tables import CALLS, DECISIONS, EFFECTS, HANDOFFS, RUNS, TABLES, Row, Table
from .storage.writer import Writer
from .texts import Texts

__all__ = ["Ledger"]

_WITHIN = (
    "IN (WITH RECURSIVE part(id) AS (VALUES (?) UNION SELECT runs.id FROM runs JOIN part ON runs.parent = part.id) "
    "SELECT id FROM part)"
)
"""SQL: a run, or one that was started inside it, at any depth."""


class Ledger(Closing):
    """Runs, decisions, calls, acts and handoffs to a person; all but runs are append-only, in a hash chain.

    Recording costs the caller a few microseconds and never blocks: a thread writes the rows, many in one transaction.
    Reading waits for that thread first, so that it sees everything recorded. A ledger may be used from any thread and
    event loop, and in a forked child, where the parent writes what was recorded before the fork. `record`, `committed`
    and `check` do not block an event loop; run everything else in a thread.

    While the file cannot be written, because the disk is full or another process has held it for ten seconds, rows
    about what has happened are still accepted and wait in memory, at most 100,000 of them; a log line says so. What is
    about to happen is refused in the meantime: `record` accepts no decision, `commit` no act, and `check` raises.

    Args:
        path: The file, created with its folder if missing, readable only by its owner; None keeps it in memory.

    Attributes:
        leases: Who works on which run: rows of a run that another process has taken over are not written.
        kept: What runs need again if they are interrupted.
        texts: What calls and handoffs quote, which can be erased.

    Raises:
        ConfigError: The file cannot be used, is not a ledger, or was written by a newer Pointsman.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._writer = Writer(path)
        # In memory there is only one connection; a file is read in parallel with the writer, without waiting for it.
        self._reader = self._writer.access if path is None else Access(path, reading=True)
        file = self._writer, self._reader
        self.leases, self.kept, self.texts = Leases(*file), Kept(*file), Texts(path, *file)
        # A ledger dropped without closing may be garbage-collected in any thread, which must not have to wait for it.
        self._dropped = weakref.finalize(self, _drop, self._writer, None if path is None else self._reader)
        self._dropped.atexit = False

    def record(self, row: Row) -> None:
        """Record a row: append it to its hash chain, or replace the row with its key if it is a run, a lease or kept.

        Args:
            row: What happened. Secrets are redacted from its free texts. The latest row of a handoff or act counts.

        Raises:
            ConfigError: The ledger is closed, or it is a decision and rows cannot be written now: no call must follow.
            Fenced: It is a decision in a run that another process has taken over.
            ValueError: A number in it is too large to be stored.
        """
        table = TABLES[type(row)]
        values = table.encode(row)
        if isinstance(row, DecisionRow):
            self._writer.check()
            if row.run in self._writer.fences.lost:
                raise Fenced(row.run)
        self._writer.put(table, values)

    def check(self) -> None:
        """Raise while nothing can be recorded; to be called before model calls that have no decision.

        Raises:
            ConfigError: Rows cannot be written now, or the ledger is closed.
        """
        self._writer.check()

    def commit(self, row: EffectRow) -> None:
        """Record an act before it is carried out, and return once it is on disk with everything recorded before it.

        Args:
            row: The act about to be done. To store its result, record it again with an ``outcome``.

        Raises:
            ConfigError: It cannot be written, or not within ten seconds if another process holds the file: it was not
                recorded, and must not be done.
            Fenced: Another process has taken the run over: the act must not be done.
        """
        self._writer.ask(durable=True, row=(EFFECTS, EFFECTS.encode(row))).result()

    async def committed(self, row: EffectRow) -> None:
        """Do what `commit` does without blocking the event loop; if cancelled, do not act, even if it was recorded.

        Args:
            row: As in `commit`.

        Raises:
            ConfigError: As in `commit`.
        """
        await asyncio.wrap_future(self._writer.ask(durable=True, row=(EFFECTS, EFFECTS.encode(row))))

    def soon(self) -> Future[None]:
        """Have everything recorded so far written at once, so that it survives the end of this process.

        Returns:
            A future that is done when it is written; its `ConfigError` says why it cannot be.

        Raises:
            ConfigError: The ledger is closed.
        """
        return self._writer.ask(durable=False)

    def flush(self) -> None:
        """Wait until everything recorded so far is on disk.

        Raises:
            ConfigError: It could not be written.
        """
        self._writer.ask(durable=True).result()

    def close(self) -> None:
        """Write the remaining rows and close the file; a second call does nothing.

        Raises:
            ConfigError: They could not be written.
        """
        self._dropped.detach()
        try:
            self._writer.close()
        finally:
            self._reader.close()

    def run(self, run: str) -> RunRow | None:
        """Return the run with this id, or None."""
        return next(iter(self._rows(RUNS, "WHERE id = ?", (run,))), None)

    def runs(self, limit: int | None = None, status: str | None = None) -> tuple[RunRow, ...]:
        """Return the runs, newest first.

        Args:
            limit: Maximum number to return.
            status: Only those with this status.
        """
        where, values = ("", ()) if status is None else ("WHERE status = ? ", (status,))
        most = -1 if limit is None else limit
        return self._rows(RUNS, f"{where}ORDER BY started DESC, id LIMIT ?", (*values, most))

    def inside(self, run: str, tag: str) -> RunRow | None:
        """Return the newest run with a tag that was started directly inside a run, or None.

        Args:
            run: The enclosing run.
            tag: The tag.
        """
        rest = (
            "WHERE parent = ? AND EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?) ORDER BY started DESC LIMIT 1"
        )
        return next(iter(self._rows(RUNS, rest, (run, tag))), None)

    def within(self, run: str) -> tuple[str, ...]:
        """Return the ids of a run and of the runs that were started inside it, at any depth."""
        return tuple(row.id for row in self._rows(RUNS, f"WHERE id {_WITHIN}", (run,)))

    def calls(self, run: str | None = None, limit: int | None = None, *, inner: bool = False) -> tuple[CallRow, ...]:
        """Return the calls in the order they were recorded.

        Args:
            run: Only those of this run.
            limit: Maximum number to return, the latest; ignored with ``inner`` and a run.
            inner: Also those of the runs that were started inside it, at any depth.
        """
        if run is not None and inner:
            return self._rows(CALLS, f"WHERE run {_WITHIN} ORDER BY seq", (run,))
        return self._latest(CALLS, run, limit)

    def decisions(self, run: str | None = None, limit: int | None = None) -> tuple[DecisionRow, ...]:
        """Return the routing decisions in the order they were recorded.

        Args:
            run: Only those of this run.
            limit: Maximum number to return, the latest.
        """
        return self._latest(DECISIONS, run, limit)

    def effects(self, run: str | None = None, *, inner: bool = False) -> tuple[EffectRow, ...]:
        """Return the latest row of each act, in the order the acts were first recorded.

        An act without an outcome may have happened.

        Args:
            run: Only those of this run.
            inner: Also those of the runs that were started inside it, at any depth.
        """
        latest = "JOIN (SELECT min(seq) AS first, max(seq) AS last FROM effects GROUP BY id) ON seq = last"
        where, values = ("", ()) if run is None else (f"WHERE run {_WITHIN if inner else '= ?'}", (run,))
        return self._rows(EFFECTS, f"{latest} {where} ORDER BY first", values)

    def decision(self, decision: str) -> DecisionRow | None:
        """Return the decision with this id, or None."""
        return next(iter(self._rows(DECISIONS, "WHERE id = ?", (decision,))), None)

    def handoffs(self, open_only: bool = False, run: str | None = None) -> tuple[HandoffRow, ...]:
        """Return what was handed to a person, oldest first.

        Args:
            open_only: Only what is not done.
            run: Only those of this run.
        """
        where, values = ("", ()) if run is None else ("WHERE run = ? ", (run,))
        latest = f"WHERE seq IN (SELECT max(seq) FROM handoffs {where}GROUP BY id)"  # noqa: S608 - our own words
        return self._rows(HANDOFFS, f"{latest}{' AND done = 0' if open_only else ''} ORDER BY at, seq", values)

    def finish_handoff(self, handoff: str) -> HandoffRow:
        """Mark a handoff as done and return it; marking it twice is not an error.

        Args:
            handoff: Its id.

        Raises:
            ConfigError: There is no such handoff.
        """
        row: HandoffRow | None = next(iter(self._rows(HANDOFFS, "WHERE id = ? ORDER BY seq DESC", (handoff,))), None)
        if row is None:
            raise ConfigError(f"nothing was handed over under the id {handoff!r}")
        if not row.done:
            row = replace(row, done=True)
            self.record(row)
            self.flush()
        return row

    def verify(self) -> list[Break]:
        """Return every place where a decision, call, handoff or act was edited, removed or moved since recording."""
        with self.reading() as connection:
            return list(breaks(connection))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection that sees everything recorded, with one snapshot of the file throughout the block.

        Raises:
            ConfigError: Rows could not be written, or the file cannot be read.
        """
        self._writer.settle()
        with self._reader.reading() as connection:
            yield connection

    def _latest(self, table: Table, run: str | None, limit: int | None) -> tuple[Any, ...]:
        where, values = ("", ()) if run is None else ("WHERE run = ?", (run,))
        rows = self._rows(table, f"{where} ORDER BY seq DESC LIMIT ?", (*values, -1 if limit is None else limit))
        return rows[::-1]

    def _rows(self, table: Table, rest: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        query = f"SELECT {table.names} FROM {table.name} {rest}"  # noqa: S608 - our own words
        with self.reading() as connection:
            return tuple([table.decode(found) for found in connection.execute(query, values)])


def _drop(writer: Writer, reader: Access | None) -> None:
    writer.stop()
    if reader is not None:
        reader.close()
