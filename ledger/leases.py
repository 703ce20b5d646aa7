"""`Leases`: who works on which run and since when; authoritative for every process that uses the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .rows import LeaseRow
from .storage.access import Access
from .storage.connection import Connection
from .storage.tables import LEASES
from .storage.writer import Writer

__all__ = ["Leases"]


class Leases:
    """The leases in a ledger's file. A run's current lease blocks (fences) writes by earlier holders of the run.

    Args:
        writer: Writes the ledger's rows.
        reader: Reads them.
    """

    def __init__(self, writer: Writer, reader: Access) -> None:
        self._writer = writer
        self._reader = reader

    def begin(self, row: LeaseRow) -> None:
        """Hold a run that nobody has held yet, without waiting for the file.

        Args:
            row: The first lease of the run.

        Raises:
            ConfigError: The ledger is closed.
        """
        self._writer.fences.hold(row.run, row.token)
        self._writer.put(LEASES, LEASES.encode(row))

    def take(self, run: str, claim: Callable[[LeaseRow | None], LeaseRow]) -> LeaseRow:
        """Hold a run that somebody may have held; from then on, rows that an earlier holder writes are refused.

        This waits for the file.

        Args:
            run: The run.
            claim: Makes the new lease from the last one, with a higher token, or raises.

        Raises:
            ConfigError: The file cannot be written.
        """
        self._writer.settle()
        # Synced to disk: the token must not go back after the machine crashes.
        with self._writer.access.changing(durable=True) as connection:
            row = claim(_found(connection, run))
            connection.execute(LEASES.replacing, LEASES.encode(row))
        self._writer.fences.hold(run, row.token)
        return row

    def renew(self, held: Mapping[str, int], until: Callable[[], float]) -> dict[str, LeaseRow]:
        """Renew the leases of those runs that nobody has taken over; this waits for the file.

        Args:
            held: Run -> token.
            until: Returns the new expiry, an absolute time. It is called while nobody else can write, so that waiting
                for the file cannot outdate it.

        Returns:
            The lease of each run as it is now, whoever holds it.

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
        """Release a run once everything recorded about it is in the file.

        Args:
            row: The lease as it is to be stored.
            done: Called then, from another thread; also if the lease cannot be written.
        """

        def over(_: object) -> None:
            self._writer.fences.let_go(row.run, row.token)
            done()

        self._writer.put(LEASES, LEASES.encode(row))
        self._writer.ask(durable=False).add_done_callback(over)

    def check(self, run: str) -> None:
        """Raise if a run is known to be lost.

        Raises:
            Fenced: Another process has taken it over, and a row of it was refused since.
        """
        self._writer.fences.check(run)

    def cancel(self, run: str) -> LeaseRow | None:
        """Ask the holder of a run to stop; this waits for the file.

        Args:
            run: The run.

        Returns:
            Its lease; None if nobody ever held it.
        """
        self._writer.settle()
        with self._writer.access.changing() as connection:
            connection.execute("UPDATE leases SET cancel = 1 WHERE run = ? AND until > 0", (run,))
            return _found(connection, run)

    def of(self, run: str) -> LeaseRow | None:
        """Return the current or last lease of a run; None if nobody ever held it. This waits for the file."""
        self._writer.settle()
        with self._reader.reading() as connection:
            return _found(connection, run)


def _found(connection: Connection, run: str) -> LeaseRow | None:
    query = f"SELECT {LEASES.names} FROM leases WHERE run = ?"  # noqa: S608 - our own words
    found = connection.execute(query, (run,)).fetchone()
    return None if found is None else LEASES.decode(found)
