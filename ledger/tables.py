"""How rows lie in the file: the tables, and each row as a tuple of SQL values and back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from ..configs.catalogue import Usage
from ..configs.words import FailureKind
from .prices import MOST_TOKENS
from .redact import redact
from .rows import CallRow, DecisionRow, HandoffRow, RunRow

__all__ = [
    "CALLS",
    "CHAINED",
    "DECISIONS",
    "HALF",
    "HANDOFFS",
    "RUNS",
    "SCHEMA",
    "SCHEMA_VERSION",
    "TABLES",
    "UNPRICED",
    "Row",
    "Table",
    "Values",
]

Row = RunRow | DecisionRow | CallRow | HandoffRow
Values = tuple[str | int | float | None, ...]
"""One row as SQL keeps it, in the order of its table's columns."""

SCHEMA_VERSION = 1

HALF = 10**9
"""Money is summed in two parts, above and below this: SQLite's sum overflows at 64 bits, as picodollars can."""

_LARGEST = 2**63 - 1
_SQL_TYPES = {"text": "TEXT", "free": "TEXT", "tags": "TEXT", "real": "REAL", "int": "INTEGER", "bool": "INTEGER"}


def _text(value: Any) -> str | None:
    if value is None:
        return None
    # Also makes plain strings of enum members, and takes out lone surrogates, which UTF-8 cannot hold.
    return str(value) if value.isascii() else value.encode("utf-8", "replace").decode()


def _real(value: Any) -> float | None:
    # SQLite would turn a NaN into NULL by itself, behind the hash chain's back.
    return None if value is None or math.isnan(value) else float(value)


def _int(value: Any) -> int | None:
    if value is None:
        return None
    number = int(value)
    if abs(number) > _LARGEST:
        raise ValueError(f"{number} does not fit into the ledger")
    return number


def _tags(value: Any) -> str:
    # Tag by tag, since taking a secret out of the JSON could leave something else than JSON.
    return json.dumps([redact(str(tag)) for tag in value])


_CODERS: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "free": _text,
    "tags": _tags,
    "real": _real,
    "int": _int,
    "bool": _int,
}


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of row.

    Attributes:
        name: Its table.
        row: The dataclass of its rows.
        columns: Name and kind of each column; ``free`` is text in which a secret may stand.
        decode: Makes the row of its values.
    """

    name: str
    row: type
    columns: tuple[tuple[str, str], ...]
    decode: Callable[[tuple[Any, ...]], Any]
    read: Callable[[Any], tuple[Any, ...]]
    coders: tuple[Callable[[Any], Any], ...]
    free: tuple[int, ...]

    @property
    def names(self) -> str:
        """The columns, as SQL lists them."""
        return ", ".join(f'"{name}"' for name, _ in self.columns)

    def encode(self, row: Any) -> Values:
        """The row's values.

        Raises:
            ValueError: A number is too large to be kept.
        """
        return tuple([code(value) for code, value in zip(self.coders, self.read(row), strict=True)])


def _table(name: str, row: type, columns: str, decode: Callable[[tuple[Any, ...]], Any], read: Any = None) -> Table:
    pairs = tuple((column, kind) for column, _, kind in (word.partition(":") for word in columns.split()))
    pairs = tuple((column, kind or "text") for column, kind in pairs)
    return Table(
        name,
        row,
        pairs,
        decode,
        read or attrgetter(*(column for column, _ in pairs)),
        tuple(_CODERS[kind] for _, kind in pairs),
        tuple(index for index, (_, kind) in enumerate(pairs) if kind == "free"),
    )


def _usage_values(usage: Usage | None) -> tuple[int | None, ...]:
    """The counts; none of them where one cannot be, so that a provider's nonsense is unknown rather than added up."""
    if usage is None:
        return (None, None, None, None)
    counts = (usage.input, usage.output, usage.cache_read, usage.cache_write)
    # They were read off a provider's JSON, so their annotation proves nothing.
    if any(type(count) is not int or not 0 <= count <= MOST_TOKENS for count in counts):
        return (None, None, None, None)
    return counts


_CALL_HEAD = attrgetter(
    *("id", "decision", "run", "step", "agent", "attempt", "model", "tier", "risk", "at"),
    *("answered_by", "failure", "detail", "finish"),
)
_CALL_TAIL = attrgetter(
    *("cost", "flagship_cost", "price_version", "latency", "first_token", "confidence", "stream", "flagship")
)


def _read_call(row: CallRow) -> tuple[Any, ...]:
    return (*_CALL_HEAD(row), *_usage_values(row.usage), *_CALL_TAIL(row))


def _make_call(values: tuple[Any, ...]) -> CallRow:
    head, counts, tail = values[:14], values[14:18], values[18:]
    usage = None if counts[0] is None else Usage(*counts)
    *rest, stream, flagship = tail
    return CallRow(*(*head, usage, *rest, bool(stream), flagship))


def _make_run(values: tuple[Any, ...]) -> RunRow:
    *rest, tags = values
    return RunRow(*(*rest, tuple(json.loads(tags))))


def _make_handoff(values: tuple[Any, ...]) -> HandoffRow:
    *rest, done = values
    return HandoffRow(*(*rest, bool(done)))


RUNS = _table("runs", RunRow, "id target:free started:real ended:real status user:free tags:tags", _make_run)
DECISIONS = _table(
    "decisions",
    DecisionRow,
    "id run step agent task at:real risk floor tier model candidates rejected rules complexity:real confidence:real "
    "features policy_hash price_version",
    lambda values: DecisionRow(*values),
)
CALLS = _table(
    "calls",
    CallRow,
    "id decision run step agent attempt:int model tier risk at:real answered_by failure detail:free finish "
    "input:int output:int cache_read:int cache_write:int "
    "cost:int flagship_cost:int price_version latency:real first_token:real confidence:real stream:bool flagship",
    _make_call,
    _read_call,
)
HANDOFFS = _table("handoffs", HandoffRow, "id run at:real risk reason:free summary:free done:bool", _make_handoff)

TABLES = {table.row: table for table in (RUNS, DECISIONS, CALLS, HANDOFFS)}
CHAINED = (DECISIONS, CALLS, HANDOFFS)
"""The tables that are only ever added to, each row sealed by the hash of all before it."""


_FREE_OF_CHARGE = (
    FailureKind.RATE_LIMIT,
    FailureKind.OVERLOADED,
    FailureKind.CONNECTION,
    FailureKind.AUTH,
    FailureKind.QUOTA,
    FailureKind.CONTEXT_LENGTH,
    FailureKind.CONTENT_FILTER,
    FailureKind.BAD_REQUEST,
)
UNPRICED = (
    "(cost IS NULL AND (failure IS NULL OR input IS NOT NULL OR first_token IS NOT NULL OR failure NOT IN ("
    + ", ".join(f"'{kind}'" for kind in _FREE_OF_CHARGE)
    + ")))"
)
"""SQL: the call may have cost something and nobody knows what. A provider that refuses a request outright charges
nothing; one that began to answer, or let the call run into its deadline, may charge for it."""

_BUDGETS = (
    "CREATE TABLE scopes (name TEXT PRIMARY KEY NOT NULL, spent INTEGER NOT NULL, reserved INTEGER NOT NULL)",
    "CREATE TABLE reservations (id TEXT PRIMARY KEY NOT NULL, owner TEXT NOT NULL, amount INTEGER NOT NULL, "
    "sent INTEGER NOT NULL, at REAL NOT NULL)",
    "CREATE TABLE reserved_in (reservation TEXT NOT NULL REFERENCES reservations (id) ON DELETE CASCADE, "
    "scope TEXT NOT NULL REFERENCES scopes (name), PRIMARY KEY (reservation, scope)) WITHOUT ROWID",
)
"""What `budgets` keeps: picodollars spent and reserved in each scope, and the reservations that are open."""


def _schema() -> tuple[str, ...]:
    columns = {
        table.name: ", ".join(f'"{name}" {_SQL_TYPES[kind]}' for name, kind in table.columns)
        for table in TABLES.values()
    }
    runs = columns["runs"].replace('"id" TEXT', '"id" TEXT PRIMARY KEY NOT NULL', 1)
    statements = [f"CREATE TABLE runs ({runs})"]
    for table in CHAINED:
        # No row is refused for a parent or an id: what happened is kept, and what does not fit shows in `verify`.
        statements.append(
            f"CREATE TABLE {table.name} (seq INTEGER PRIMARY KEY, {columns[table.name]}, chain TEXT NOT NULL)"
        )
        statements.append(f"CREATE INDEX {table.name}_run ON {table.name} (run)")
        statements.append(f"CREATE INDEX {table.name}_id ON {table.name} (id)")
    statements.append("CREATE TABLE heads (name TEXT PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, chain TEXT NOT NULL)")
    return (*statements, *_BUDGETS)


SCHEMA = _schema()
