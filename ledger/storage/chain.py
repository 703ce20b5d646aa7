"""The hash chain: every row seals all rows before it, so that a change to any of them can be detected.

For texts that may have to be erased it seals their digests, so that the chain stays valid without them.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import itemgetter
from typing import Any, TypeAlias

from .connection import Connection
from .tables import CHAINED, DIGESTS, EFFECTS, ERASABLE, HANDOFFS, Table, Values

__all__ = ["ERASED", "Break", "append", "breaks", "erase", "seal", "texts"]

ERASED = "[forgotten]"
"""What replaces an erased text."""

_Digests: TypeAlias = list[list[str] | None]
"""The salt and the digest of each free text of a row, in the order of `Table.free`; None if there is no text. An empty
salt means that the text was erased: without the salt nobody can test guesses of the text."""

# One encoder for all rows: creating it costs a fifth of an encoding.
_JSON = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Break:
    """A place where the ledger differs from what was recorded.

    Attributes:
        table: The table.
        seq: The row's number, counted from 1; if rows are missing, that of the first one.
        id: The row's id; empty if there is no row.
        what: What is wrong, in words.
    """

    table: str
    seq: int
    id: str
    what: str


def seal(previous: str, seq: int, values: Values) -> str:
    """Return the seal of a row: SHA-256, in hex, over the previous seal, the row's number and its values.

    Args:
        previous: The seal of the previous row; the table's name for the first row.
        seq: The row's number.
        values: The row as it is stored. Trailing nulls are left out, so that columns can be added to a table later.
    """
    while values and values[-1] is None:
        values = values[:-1]
    return sha256((previous + _JSON.encode([seq, *values])).encode()).hexdigest()


def append(connection: Connection, table: Table, rows: Sequence[Values]) -> None:
    """Append rows to a table's chain; must run inside a transaction."""
    seq, chain = _head(connection, table)
    sealed: list[Values] = []
    for values in rows:
        seq += 1
        digests = _digests(table, values)
        chain = seal(chain, seq, _with_digests(table, values, digests))
        sealed.append(
            (seq, *values, chain, *([_JSON.encode(digests) if digests else None] if _erasable(table) else ()))
        )
    names = f"{table.names}, chain{f', {DIGESTS}' if _erasable(table) else ''}"
    marks = ", ".join("?" * (names.count(",") + 2))
    connection.executemany(f"INSERT INTO {table.name} (seq, {names}) VALUES ({marks})", sealed)  # noqa: S608 - our own names
    connection.execute("REPLACE INTO heads (name, rows, chain) VALUES (?, ?, ?)", (table.name, seq, chain))


def _head(connection: Connection, table: Table) -> tuple[int, str]:
    """Return where a table's chain ends: the number of rows, and the seal of the last one."""
    found: tuple[int, str] | None = connection.execute(
        "SELECT rows, chain FROM heads WHERE name = ?", (table.name,)
    ).fetchone()
    last: tuple[int, str] | None = connection.execute(
        f"SELECT seq, chain FROM {table.name} ORDER BY seq DESC LIMIT 1"  # noqa: S608 - our own name
    ).fetchone()
    # If somebody set the head back, two rows must still not get the same number.
    return max(found or (0, table.name), last or (0, table.name), key=itemgetter(0))


def breaks(connection: Connection) -> Iterator[Break]:
    """Check every chain and yield its breaks; must run inside a transaction, so that no row is added meanwhile.

    It cannot detect a chain that somebody with write access to the file has rewritten to its very end.
    """
    for table in CHAINED:
        yield from _breaks_of(connection, table)


def texts(connection: Connection) -> list[str]:
    """Return every text that `erase` could erase."""
    found: dict[str, None] = {}
    for table in ERASABLE:
        for name in _free(table):
            query = f"SELECT DISTINCT {name} FROM {table.name} WHERE {name} NOT IN ('', ?)"  # noqa: S608 - our own names
            found.update((text, None) for (text,) in connection.execute(query, (ERASED,)))
    return list(found)


def erase(connection: Connection, going: Collection[str], *, kept: Collection[str] = ()) -> int:
    """Erase free texts, and return from how many rows; must run inside a transaction.

    The chain stays valid without them. If rows from older versions seal the texts themselves rather than digests, the
    chain is rebuilt from the first of these on; existing breaks stay breaks.

    Args:
        connection: The file.
        going: The texts to erase.
        kept: Runs whose rows stay as they are.
    """
    return sum(_erase_in(connection, table, frozenset(going), kept) for table in ERASABLE) if going else 0


def _free(table: Table) -> list[str]:
    return [table.columns[place][0] for place in table.free]


def _erase_in(connection: Connection, table: Table, going: frozenset[str], kept: Collection[str]) -> int:
    names = _free(table)
    some = " OR ".join(f"{name} NOT IN ('', '{ERASED}')" for name in names)
    query = f"SELECT seq, run, {DIGESTS}, {', '.join(names)} FROM {table.name} WHERE {some}"  # noqa: S608 - our own names
    found = [row for row in connection.execute(query) if row[1] not in kept]
    chosen = {seq: (digests, told) for seq, _, digests, *told in found if not going.isdisjoint(told)}
    old = [seq for seq, (digests, _) in chosen.items() if digests is None]
    if old:
        _seal_digests(connection, table, min(old))
    update = f"UPDATE {table.name} SET {DIGESTS} = ?, {', '.join(f'{name} = ?' for name in names)} WHERE seq = ?"  # noqa: S608 - our own names
    look = f"SELECT {DIGESTS} FROM {table.name} WHERE seq = ?"  # noqa: S608 - our own names
    for seq, (_, told) in chosen.items():
        (written,) = connection.execute(look, (seq,)).fetchone()
        digests = _read_digests(table, written)
        # A row without digests did not match its seal, and still does not.
        left = digests and [
            ["", one[1]] if one and text in going else one for one, text in zip(digests, told, strict=True)
        ]
        texts = [ERASED if text in going else text for text in told]
        connection.execute(update, (_JSON.encode(left) if left else None, *texts, seq))
    return len(chosen)


def _seal_digests(connection: Connection, table: Table, first: int) -> None:
    """From a row on, seal digests instead of texts in rows that seal the texts themselves."""
    before = connection.execute(f"SELECT chain FROM {table.name} WHERE seq = ?", (first - 1,)).fetchone()  # noqa: S608 - our own name
    was = now = before[0] if before else table.name
    query = f"SELECT seq, chain, {DIGESTS}, {table.names} FROM {table.name} WHERE seq >= ? ORDER BY seq"  # noqa: S608 - our own names
    expected = first
    for seq, chain, written, *values in connection.execute(query, (first,)).fetchall():
        digests = _read_digests(table, written)
        new = chain
        # A row that does not match its seal, or follows a missing row, stays as it is, so that the break still shows.
        if seq == expected and seal(was, seq, _with_digests(table, tuple(values), digests)) == chain:
            digests = digests or _digests(table, tuple(values))
            new = seal(now, seq, _with_digests(table, tuple(values), digests))
            connection.execute(
                f"UPDATE {table.name} SET chain = ?, {DIGESTS} = ? WHERE seq = ?",  # noqa: S608 - our own names
                (new, _JSON.encode(digests) if digests else None, seq),
            )
        was, now, expected = chain, new, seq + 1
    connection.execute("UPDATE heads SET chain = ? WHERE name = ? AND chain = ?", (now, table.name, was))


def _erasable(table: Table) -> bool:
    return table in ERASABLE


def _digests(table: Table, values: Values) -> _Digests | None:
    """Return new digests of a row's free texts; None if it has none."""
    if not _erasable(table) or not any(values[place] for place in table.free):
        return None
    found: _Digests = []
    for place in table.free:
        text = values[place]
        salt = secrets.token_hex(16)
        found.append([salt, _digest(salt, str(text))] if text else None)
    return found


def _digest(salt: str, text: str) -> str:
    return hmac.new(bytes.fromhex(salt), text.encode(), sha256).hexdigest()


def _with_digests(table: Table, values: Values, digests: _Digests | None) -> Values:
    """Return a row with digests in place of its texts, as it is sealed."""
    if digests is None:
        return values
    sealed = list(values)
    for place, one in zip(table.free, digests, strict=True):
        if one is not None:
            sealed[place] = one[1]
    return tuple(sealed)


def _fits(table: Table, values: Values, digests: _Digests) -> bool:
    """Whether a row's texts match the digests or were erased."""
    return all(
        one is None or (values[place] == ERASED if not one[0] else _digest(one[0], str(values[place])) == one[1])
        for place, one in zip(table.free, digests, strict=True)
    )


def _read_digests(table: Table, written: Any) -> _Digests | None:
    """Return the stored digests of a row; None if missing or malformed, in which case it does not match its seal."""
    try:
        found = json.loads(written or "null")
        fine = (
            isinstance(found, list)
            and len(found) == len(table.free)
            and all(one is None or (len(one) == 2 and (bytes.fromhex(one[0]), one[1])) for one in found)
        )
    except (TypeError, ValueError):
        return None
    return found if fine else None


def _breaks_of(connection: Connection, table: Table) -> Iterator[Break]:
    previous, expected = table.name, 1
    column = DIGESTS if _erasable(table) else "NULL"
    query = f"SELECT seq, chain, {column}, {table.names} FROM {table.name} ORDER BY seq"  # noqa: S608 - our own names
    for seq, chain, written, *values in connection.execute(query):
        row_id = str(values[0])
        gap = seq > expected
        if gap:
            yield Break(table.name, expected, "", f"{seq - expected} missing before row {seq}")
        digests = _read_digests(table, written)
        sealed = _with_digests(table, tuple(values), digests)
        # After a gap the previous seal is missing, so this row cannot be checked; the gap itself is reported.
        if not gap and (
            seal(previous, seq, sealed) != chain or not (digests is None or _fits(table, tuple(values), digests))
        ):
            yield Break(table.name, seq, row_id, "edited, or moved here from another place")
        previous, expected = chain, seq + 1
    # In these tables a later row with the same id records the outcome of an earlier one.
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
