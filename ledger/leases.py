"""`Leases`: who works on which run, and since when; the truth about it, for every process that uses the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .rows import LeaseRow
from .storage.access import Access
from .storage.connection import Connection
from .storage.tables import LEASES
from .storage.writer import Writer

__all__ = ["Leases"]


class Leases:
    """The leases in a ledger's file. Whoever holds one fences off what earlier holders still write of the run.

    Args:
        writer: Writes the ledger's rows.
        reader: Reads them.
    """

    def __init__(self, writer: Writer, reader: Access) -> None:
        self._writer = writer
        self._reader = reader

    def begin(self, row: LeaseRow) -> None:
        """Hold a run that nobody has held yet; this waits for no file.

        Args:
            row: The first lease of the run.

        Raises:
            ConfigError: The ledger is closed.
        """
        self._writer.fences.hold(row.run, row.token)
        self._writer.put(LEASES, LEASES.encode(row))

    def take(self, run: str, claim: Callable[[LeaseRow | None], LeaseRow]) -> LeaseRow:
        """Hold a run that somebody may have held; from then on nothing lands that an earlier holder writes of it.

        This waits for the file.

        Args:
            run: The run.
            claim: Makes the new lease of the last one, with a higher token, or raises.

        Raises:
            ConfigError: The file cannot be written.
        """
        self._writer.settle()
        # On the disk: after a crash of the machine the token must not count down.
        with self._writer.access.changing(durable=True) as connection:
            row = claim(_found(connection, run))
            connection.execute(LEASES.replacing, LEASES.encode(row))
        self._writer.fences.hold(run, row.token)
        return row

    def renew(self, held: Mapping[str, int], until: Callable[[], float]) -> dict[str, LeaseRow]:
        """Go on holding runs, those of them that nobody has taken over; this waits for the file.

        Args:
            held: Run -> token.
            until: Says how long from now, asked while nobody else can write: what is late is so much shorter.

        Returns:
            The lease of each run as it is now, whoever has it.

        Raises:
            ConfigError: The file cannot be written.
        """
        self._writer.settle()
        with self._writer.access.changing() as connection:
            connection.executemany(
                "UPDATE leases SET until = ? WHERE run = ? AND token = ? AND until > 0",
                [(until(), run, token) for run, token in held.items()],
            )
            found = [_found(connection, run) for run in held]
        return {row.run: row for row in found if row is not None}

    def release(self, row: LeaseRow, done: Callable[[], None]) -> None:
        """Let a run go once all that was recorded of it is in the file.

        Args:
            row: The lease as it shall be kept.
            done: Called then, from another thread; also where it cannot be written.
        """

        def over(_: object) -> None:
            self._writer.fences.let_go(row.run, row.token)
            done()

        self._writer.put(LEASES, LEASES.encode(row))
        self._writer.ask(durable=False).add_done_callback(over)

    def check(self, run: str) -> None:
        """Refuse to go on with a run that is known to be lost.

        Raises:
            Fenced: Another process has taken it over, and a row of it was refused since.
        """
        self._writer.fences.check(run)

    def cancel(self, run: str) -> LeaseRow | None:
        """Ask whoever holds a run to stop; this waits for the file.

        Args:
            run: The run.

        Returns:
            Its lease; None where nobody ever held it.
        """
        self._writer.settle()
        with self._writer.access.changing() as connection:
            connection.execute("UPDATE leases SET cancel = 1 WHERE run = ? AND until > 0", (run,))
            return _found(connection, run)

    def of(self, run: str) -> LeaseRow | None:
        """Who works on a run, or did so last; None where nobody ever held it. This waits for the file."""
        self._writer.settle()
        with self._reader.reading() as connection:
            return _found(connection, run)


def _found(connection: Connection, run: str) -> LeaseRow | None:
    query = f"SELECT {LEASES.names} FROM leases WHERE run = ?"  # noqa: S608 - our own words
    found = connection.execute(query, (run,)).fetchone()
    return None if found is None else LEASES.decode(found)
