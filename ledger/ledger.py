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
"""SQL: a run, or one that was started inside it."""


class Ledger(Closing):
    """Runs, decisions, calls, acts and what was handed to a person; all but runs only ever added to, in a hash chain.

    Recording costs the caller a few microseconds and never blocks: a thread writes the rows, many in one transaction.
    Reading waits for that thread first, so that what was recorded is seen. A ledger may be used from any thread and
    event loop, and in a forked child, where what was recorded before the fork is the parent's to write. On an event
    loop `record`, `committed` and `check` hold up nobody; all else belongs into a thread.

    While the file cannot be written, as the disk is full or another process has held it for ten seconds, what has
    happened is still taken and waits in memory, 100,000 rows at most, until it can; a log line says so. What is about
    to happen is refused meanwhile: `record` takes no decision, `commit` no act, and `check` raises.

    Args:
        path: The file, made with its folder where missing, readable by its owner alone; None keeps it in memory.

    Attributes:
        leases: Who works on which run: rows of a run that another process has taken over do not land.
        kept: What runs need again if they are cut off.
        texts: What calls and handoffs quote, which can be erased.

    Raises:
        ConfigError: The file cannot be used, is no ledger, or was written by a newer Pointsman.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._writer = Writer(path)
        # In memory there is only the one connection; a file is read beside the writer, without waiting for it.
        self._reader = self._writer.access if path is None else Access(path, reading=True)
        file = self._writer, self._reader
        self.leases, self.kept, self.texts = Leases(*file), Kept(*file), Texts(path, *file)
        # A ledger that is dropped unclosed is collected in whatever thread, which must not be made to wait there.
        self._dropped = weakref.finalize(self, _drop, self._writer, None if path is None else self._reader)
        self._dropped.atexit = False

    def record(self, row: Row) -> None:
        """Keep a row: a decision or a call as it is, a run or a handoff in place of what was recorded under its id.

        Args:
            row: What happened. Secrets are taken out of its free texts.

        Raises:
            ConfigError: The ledger is closed, or it is a decision and rows cannot be written now: no call must follow.
            Fenced: It is a decision in a run that another process has taken over.
            ValueError: A number in it is too large to be kept.
        """
        table = TABLES[type(row)]
        values = table.encode(row)
        if isinstance(row, DecisionRow):
            self._writer.check()
            if row.run in self._writer.fences.lost:
                raise Fenced(row.run)
        self._writer.put(table, values)

    def check(self) -> None:
        """Refuse what is about to happen while it could not be recorded; to be asked before calls without a decision.

        Raises:
            ConfigError: Rows cannot be written now, or the ledger is closed.
        """
        self._writer.check()

    def commit(self, row: EffectRow) -> None:
        """Record an act before it is carried out, and return once that is on the disk with all recorded before.

        Args:
            row: What is about to be done. What came of it is told by recording it again with an ``outcome``.

        Raises:
            ConfigError: It cannot be written, within ten seconds where another process holds the file: it was not
                recorded, and must not be done.
            Fenced: Another process has taken the run over: it must not be done.
        """
        self._writer.ask(durable=True, row=(EFFECTS, EFFECTS.encode(row))).result()

    async def committed(self, row: EffectRow) -> None:
        """Do what `commit` does, off the event loop; who is cancelled meanwhile must not act, recorded or not.

        Args:
            row: As in `commit`.

        Raises:
            ConfigError: As in `commit`.
        """
        await asyncio.wrap_future(self._writer.ask(durable=True, row=(EFFECTS, EFFECTS.encode(row))))

    def soon(self) -> Future[None]:
        """Have all that was recorded so far written at once, where it outlives the end of this process.

        Returns:
            Ends when it is written; a `ConfigError` in it says why it cannot be.

        Raises:
            ConfigError: The ledger is closed.
        """
        return self._writer.ask(durable=False)

    def flush(self) -> None:
        """Wait until everything recorded so far is on the disk.

        Raises:
            ConfigError: It could not be written.
        """
        self._writer.ask(durable=True).result()

    def close(self) -> None:
        """Write what is left and close the file; a second call does nothing.

        Raises:
            ConfigError: It could not be written.
        """
        self._dropped.detach()
        try:
            self._writer.close()
        finally:
            self._reader.close()

    def run(self, run: str) -> RunRow | None:
        """The run of this id, or None."""
        return next(iter(self._rows(RUNS, "WHERE id = ?", (run,))), None)

    def runs(self, limit: int | None = None, status: str | None = None) -> tuple[RunRow, ...]:
        """The runs, the newest first.

        Args:
            limit: Most to return.
            status: Only those of this status.
        """
        where, values = ("", ()) if status is None else ("WHERE status = ? ", (status,))
        most = -1 if limit is None else limit
        return self._rows(RUNS, f"{where}ORDER BY started DESC, id LIMIT ?", (*values, most))

    def inside(self, run: str, tag: str) -> RunRow | None:
        """The newest of the runs with a tag that were started inside a run.

        Args:
            run: The run around them.
            tag: The tag.
        """
        rest = (
            "WHERE parent = ? AND EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?) ORDER BY started DESC LIMIT 1"
        )
        return next(iter(self._rows(RUNS, rest, (run, tag))), None)

    def within(self, run: str) -> tuple[str, ...]:
        """The ids of a run and of the runs that were started inside it, at any depth."""
        return tuple(row.id for row in self._rows(RUNS, f"WHERE id {_WITHIN}", (run,)))

    def calls(self, run: str | None = None, limit: int | None = None, *, inner: bool = False) -> tuple[CallRow, ...]:
        """The calls in the order they were recorded.

        Args:
            run: Only those of this run.
            limit: Most to return, the latest.
            inner: Those of the runs that were started inside it too, at any depth.
        """
        if run is not None and inner:
            return self._rows(CALLS, f"WHERE run {_WITHIN} ORDER BY seq", (run,))
        return self._latest(CALLS, run, limit)

    def decisions(self, run: str | None = None, limit: int | None = None) -> tuple[DecisionRow, ...]:
        """The routing decisions in the order they were recorded.

        Args:
            run: Only those of this run.
            limit: Most to return, the latest.
        """
        return self._latest(DECISIONS, run, limit)

    def effects(self, run: str | None = None, *, inner: bool = False) -> tuple[EffectRow, ...]:
        """The acts in the order they were first recorded, each as it was last; without an outcome it may have happened.

        Args:
            run: Only those of this run.
            inner: Those of the runs that were started inside it too, at any depth.
        """
        latest = "JOIN (SELECT min(seq) AS first, max(seq) AS last FROM effects GROUP BY id) ON seq = last"
        where, values = ("", ()) if run is None else (f"WHERE run {_WITHIN if inner else '= ?'}", (run,))
        return self._rows(EFFECTS, f"{latest} {where} ORDER BY first", values)

    def decision(self, decision: str) -> DecisionRow | None:
        """The decision of this id, or None."""
        return next(iter(self._rows(DECISIONS, "WHERE id = ?", (decision,))), None)

    def handoffs(self, open_only: bool = False, run: str | None = None) -> tuple[HandoffRow, ...]:
        """What was handed to a person, the oldest first.

        Args:
            open_only: Only what is not done.
            run: Only those of this run.
        """
        where, values = ("", ()) if run is None else ("WHERE run = ? ", (run,))
        latest = f"WHERE seq IN (SELECT max(seq) FROM handoffs {where}GROUP BY id)"  # noqa: S608 - our own words
        return self._rows(HANDOFFS, f"{latest}{' AND done = 0' if open_only else ''} ORDER BY at, seq", values)

    def finish_handoff(self, handoff: str) -> HandoffRow:
        """Tick off what a person has done; doing it twice is no fault.

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
        """Find every decision, call, handoff and act that was edited, removed or moved since it was recorded."""
        with self.reading() as connection:
            return list(breaks(connection))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees all that was recorded, in one state of the file throughout the block.

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
