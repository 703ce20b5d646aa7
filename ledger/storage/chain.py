"""The hash chain: every row seals all rows before it, so that a change to any of them shows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from .connection import Connection
from .tables import CHAINED, EFFECTS, HANDOFFS, Table, Values

__all__ = ["Break", "append", "breaks", "seal"]

# One for all rows: to make it costs a fifth of what it does.
_JSON = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Break:
    """A place where the ledger is not what was recorded.

    Attributes:
        table: The table.
        seq: The row's number, counted from 1; of the first one where rows are missing.
        id: The row's id; empty where there is no row.
        what: What is wrong, in words.
    """

    table: str
    seq: int
    id: str
    what: str


@dataclass(frozen=True, slots=True)
class _Head:
    """Where a table's chain ends: how many rows there are, and the seal of the last."""

    rows: int
    chain: str


def seal(previous: str, seq: int, values: Values) -> str:
    """The seal of a row: SHA-256, in hex, over the seal before it, its number and its values.

    Args:
        previous: The seal of the row before; the table's name for the first.
        seq: The row's number.
        values: The row as it is stored. Nulls at its end are left out, so that a table may get columns later.
    """
    while values and values[-1] is None:
        values = values[:-1]
    return sha256((previous + _JSON.encode([seq, *values])).encode()).hexdigest()


def append(connection: Connection, table: Table, rows: Sequence[Values]) -> None:
    """Add rows at the end of a table's chain; must run inside a transaction."""
    head = _read_head(connection, table)
    seq, chain = head.rows, head.chain
    sealed: list[Values] = []
    for values in rows:
        seq += 1
        chain = seal(chain, seq, values)
        sealed.append((seq, *values, chain))
    marks = ", ".join("?" * (len(table.columns) + 2))
    connection.executemany(f"INSERT INTO {table.name} (seq, {table.names}, chain) VALUES ({marks})", sealed)  # noqa: S608 - our own names
    connection.execute("REPLACE INTO heads (name, rows, chain) VALUES (?, ?, ?)", (table.name, seq, chain))


def _read_head(connection: Connection, table: Table) -> _Head:
    found = connection.execute("SELECT rows, chain FROM heads WHERE name = ?", (table.name,)).fetchone()
    last = connection.execute(f"SELECT seq, chain FROM {table.name} ORDER BY seq DESC LIMIT 1").fetchone()  # noqa: S608 - our own name
    head = _Head(*(found or (0, table.name)))
    # A head that somebody set back must not make two rows claim one number.
    return _Head(*last) if last is not None and last[0] > head.rows else head


def breaks(connection: Connection) -> Iterator[Break]:
    """Walk every chain; must run inside a transaction, so that no row is added meanwhile.

    What it cannot see: somebody who may write the file and rewrites a chain to its very end.
    """
    for table in CHAINED:
        yield from _breaks_of(connection, table)


def _breaks_of(connection: Connection, table: Table) -> Iterator[Break]:
    previous, expected = table.name, 1
    query = f"SELECT seq, chain, {table.names} FROM {table.name} ORDER BY seq"  # noqa: S608 - our own names
    for seq, chain, *values in connection.execute(query):
        row_id = str(values[0])
        gap = seq > expected
        if gap:
            yield Break(table.name, expected, "", f"{seq - expected} missing before row {seq}")
        # After a gap the seal before is gone; whether this row was changed too cannot be told, and the gap is reported.
        if not gap and seal(previous, seq, tuple(values)) != chain:
            yield Break(table.name, seq, row_id, "edited, or moved here from another place")
        previous, expected = chain, seq + 1
    # Of these a later row tells what came of an earlier one.
    if table not in (HANDOFFS, EFFECTS):
        query = f"SELECT max(seq), id FROM {table.name} GROUP BY id HAVING count(*) > 1"  # noqa: S608 - our own name
        for seq, row_id in connection.execute(query):
            yield Break(table.name, seq, row_id, "recorded more than once")
    found = connection.execute("SELECT rows, chain FROM heads WHERE name = ?", (table.name,)).fetchone()
    if found is None:
        if expected > 1:
            yield Break(table.name, expected - 1, "", "the head of the chain is missing")
    elif found[0] >= expected:
        yield Break(table.name, expected, "", f"{found[0] - expected + 1} missing at the end")
    elif tuple(found) != (expected - 1, previous):
        yield Break(table.name, expected - 1, "", "the head of the chain does not fit the last row")
