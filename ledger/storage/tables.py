"""The tables of the file, the conversion between rows and SQL values, and the schema's versions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any

from ...configs.catalog import MOST_TOKENS, Usage
from ...configs.redact import redact, redacted
from ...configs.words import FailureKind
from ..rows import CallRow, DecisionRow, EffectRow, HandoffRow, KeptRow, LeaseRow, RunRow

__all__ = [
    "CALLS",
    "CHAINED",
    "DECISIONS",
    "DIGESTS",
    "EFFECTS",
    "ERASABLE",
    "HALF",
    "HANDOFFS",
    "KEPT",
    "LEASES",
    "RUNS",
    "TABLES",
    "UNPRICED",
    "VERSIONS",
    "Row",
    "Table",
    "Values",
]

HALF = 10**9
"""Money is summed in two parts, above and below this: SQLite's sum overflows at 64 bits, as picodollars can."""

Row = RunRow | DecisionRow | CallRow | HandoffRow | EffectRow | LeaseRow | KeptRow
Values = tuple[str | int | float | None, ...]
"""One row as SQL stores it, in the order of its table's columns."""

_LARGEST = 2**63 - 1
_SQL_TYPES = {
    "text": "TEXT",
    "free": "TEXT",
    "tags": "TEXT",
    "json": "TEXT",
    "features": "TEXT",
    "real": "REAL",
    "int": "INTEGER",
    "bool": "INTEGER",
}


def _text(value: Any) -> str | None:
    if value is None:
        return None
    # Also turns enum members into plain strings, and replaces lone surrogates, which UTF-8 cannot represent.
    return str(value) if value.isascii() else value.encode("utf-8", "replace").decode()


def _real(value: Any) -> float | None:
    # SQLite would turn a NaN into NULL itself, unknown to the hash chain.
    return None if value is None or math.isnan(value) else float(value)


def _int(value: Any) -> int | None:
    if value is None:
        return None
    number = int(value)
    if abs(number) > _LARGEST:
        raise ValueError(f"{number} does not fit into the ledger")
    return number


def _tags(value: Any) -> str:
    # Tag by tag, because redacting a secret in the JSON text could leave invalid JSON.
    return json.dumps([redact(_text(tag) or "") for tag in value])


def _json(value: Any) -> str | None:
    text = _text(value)
    return None if text is None else _cleaned(text)


def _features(value: Any) -> str | None:
    text = _text(value)
    if text is None:
        return None
    for name in _FREE_FEATURES:
        start = text.find(name) + len(name)
        if start < len(name) or text.startswith("[]", start):
            continue
        end = _DECODER.raw_decode(text, start)[1]
        text = text[:start] + _cleaned(text[start:end]) + text[end:]
    return text


_FREE_FEATURES = ('"tags": ', '"evidence": ')
"""Features that hold the caller's free text, written as keys; in this form they cannot occur inside a JSON string."""
_DECODER = json.JSONDecoder()


@lru_cache(maxsize=1024)
def _cleaned(text: str) -> str:
    """Return JSON with its secrets redacted; cached, because most decisions of a process say the same."""
    try:
        said = json.loads(text)
    except ValueError:
        # Not JSON: a row that was not made by Pointsman.
        return redact(text)
    clean = redacted(said)
    return text if clean == said else json.dumps(clean)


_CODERS: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "free": _text,
    "tags": _tags,
    "json": _json,
    "features": _features,
    "real": _real,
    "int": _int,
    "bool": _int,
}
_DECODERS: dict[str, Callable[[Any], Any]] = {"bool": bool, "tags": lambda text: tuple(json.loads(text))}


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of row.

    Attributes:
        name: Name of its table.
        row: The dataclass of its rows.
        columns: Name and kind of each column; ``free`` is text that may contain a secret, ``tags``, ``json`` and
            ``features`` are JSON that may.
        make: Makes the row from the columns' values.
        read: Takes the columns' values from a row.
        coders: Convert them to SQL values, column by column.
        decoders: Index of a column -> what converts its SQL value back, for columns that need it.
        free: The indexes of the ``free`` columns.
        run: The index of the column with the run that a row belongs to.
    """

    name: str
    row: type
    columns: tuple[tuple[str, str], ...]
    make: Callable[..., Any]
    read: Callable[[Any], tuple[Any, ...]]
    coders: tuple[Callable[[Any], Any], ...]
    decoders: tuple[tuple[int, Callable[[Any], Any]], ...]
    free: tuple[int, ...]
    run: int

    @property
    def names(self) -> str:
        """The columns, as SQL lists them."""
        return ", ".join(f'"{name}"' for name, _ in self.columns)

    @property
    def definition(self) -> str:
        """The columns with their types, as CREATE TABLE lists them."""
        return ", ".join(f'"{name}" {_SQL_TYPES[kind]}' for name, kind in self.columns)

    @property
    def replacing(self) -> str:
        """SQL that stores a row, replacing the one with the same key."""
        marks = ", ".join("?" * len(self.columns))
        return f"REPLACE INTO {self.name} ({self.names}) VALUES ({marks})"  # noqa: S608 - our own names

    def decode(self, values: tuple[Any, ...]) -> Any:
        """Return the row with these values."""
        made = list(values)
        for place, decode in self.decoders:
            made[place] = decode(made[place])
        return self.make(*made)

    def encode(self, row: Any) -> Values:
        """Return the row's values.

        Raises:
            ValueError: A number is too large to be stored.
        """
        # Most columns are plain texts.
        return tuple(
            [
                value if code is _text and type(value) is str and value.isascii() else code(value)
                for code, value in zip(self.coders, self.read(row), strict=True)
            ]
        )


def _described(
    name: str,
    row: type,
    columns: str,
    make: Callable[..., Any] | None = None,
    read: Callable[[Any], tuple[Any, ...]] | None = None,
) -> Table:
    """Make a table from a line that lists its columns.

    Args:
        name: Its name.
        row: The dataclass of its rows.
        columns: ``name:kind`` of each, separated by spaces; without a kind it is text.
        make: Makes a row from the values; the dataclass if None.
        read: Takes the values from a row; by default each from the field with the column's name.
    """
    split = [word.partition(":") for word in columns.split()]
    pairs = tuple([(column, kind or "text") for column, _, kind in split])
    return Table(
        name=name,
        row=row,
        columns=pairs,
        make=make or row,
        read=read or attrgetter(*(column for column, _ in pairs)),
        coders=tuple([_CODERS[kind] for _, kind in pairs]),
        decoders=tuple([(place, _DECODERS[kind]) for place, (_, kind) in enumerate(pairs) if kind in _DECODERS]),
        free=tuple([index for index, (_, kind) in enumerate(pairs) if kind == "free"]),
        run=[column for column, _ in pairs].index("id" if row is RunRow else "run"),
    )


def _usage_values(usage: Usage | None) -> tuple[int | None, ...]:
    """Return the counts, or only Nones if one is impossible, so that a provider's nonsense is not added up."""
    if usage is None:
        return (None, None, None, None)
    counts = (usage.input, usage.output, usage.cache_read, usage.cache_write)
    # They come from a provider's JSON, so their annotations prove nothing.
    if any(type(count) is not int or not 0 <= count <= MOST_TOKENS for count in counts):
        return (None, None, None, None)
    return counts


def _further(usage: Usage | None) -> str | None:
    """Return what a usage holds beyond the four counts, as JSON; None if nothing, as for most calls."""
    values = () if usage is None else _REST(usage)
    if not any(values):
        return None
    return json.dumps({name: value for name, value in zip(_NAMES, values, strict=True) if value})


_NAMES = tuple([field.name for field in fields(Usage)][4:])
_REST = attrgetter(*_NAMES)


_CALL_HEAD = attrgetter(
    *("id", "decision", "run", "step", "agent", "attempt", "model", "tier", "risk", "at"),
    *("answered_by", "failure", "detail", "finish"),
)
_CALL_TAIL = attrgetter(
    *("cost", "flagship_cost", "price_version", "latency", "first_token", "confidence", "stream", "flagship")
)


def _read_call(row: CallRow) -> tuple[Any, ...]:
    counts = _usage_values(row.usage)
    return (*_CALL_HEAD(row), *counts, *_CALL_TAIL(row), None if counts[0] is None else _further(row.usage))


def _make_call(*values: Any) -> CallRow:
    head, counts, (*tail, further) = values[:14], values[14:18], values[18:]
    usage = None if counts[0] is None else Usage(*counts, **json.loads(further or "{}"))
    return CallRow(*(*head, usage, *tail))


RUNS = _described(
    "runs",
    RunRow,
    "id target:free started:real ended:real status user:free tags:tags user_class max_cost:int max_steps:int "
    "timeout:real parent max_tokens:int",
)
DECISIONS = _described(
    "decisions",
    DecisionRow,
    "id run step agent task at:real risk floor tier model candidates rejected:json rules:json complexity:real "
    "confidence:real features:features policy_hash price_version",
)
CALLS = _described(
    "calls",
    CallRow,
    "id decision run step agent attempt:int model tier risk at:real answered_by failure detail:free finish "
    "input:int output:int cache_read:int cache_write:int "
    "cost:int flagship_cost:int price_version latency:real first_token:real confidence:real stream:bool flagship "
    "usage_further",
    _make_call,
    _read_call,
)
HANDOFFS = _described("handoffs", HandoffRow, "id run at:real risk reason:free summary:free done:bool")
EFFECTS = _described(
    "effects",
    EffectRow,
    "id run step agent tool effect digest at:real outcome:free place token:int",
)
LEASES = _described(
    "leases",
    LeaseRow,
    "run token:int host process:int since:real until:real locked:bool cancel:bool",
)
KEPT = _described("kept", KeptRow, "run name sealed")

TABLES = {table.row: table for table in (RUNS, DECISIONS, CALLS, HANDOFFS, EFFECTS, LEASES, KEPT)}
CHAINED = (DECISIONS, CALLS, HANDOFFS, EFFECTS)
"""The append-only tables, in which each row is sealed by the hash of all rows before it."""


ERASABLE = (CALLS, HANDOFFS)
"""Those of them whose free texts may quote what a user later deletes: the chain seals the digests of these texts."""
DIGESTS = "digests"
"""The column with the digests of a row's free texts."""


_FREE_OF_CHARGE = (
    FailureKind.RATE_LIMIT,
    FailureKind.OVERLOADED,
    FailureKind.CONNECTION,
    FailureKind.AUTH,
    FailureKind.UNAVAILABLE,
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
"""SQL: the call may have cost an unknown amount. A provider that refuses a request outright charges nothing; one that
began to answer, or let the call run into its deadline, may charge for it."""

_BUDGETS = (
    "CREATE TABLE scopes (name TEXT PRIMARY KEY NOT NULL, spent INTEGER NOT NULL, reserved INTEGER NOT NULL)",
    "CREATE TABLE reservations (id TEXT PRIMARY KEY NOT NULL, owner TEXT NOT NULL, amount INTEGER NOT NULL, "
    "sent INTEGER NOT NULL, at REAL NOT NULL)",
    "CREATE TABLE reserved_in (reservation TEXT NOT NULL REFERENCES reservations (id) ON DELETE CASCADE, "
    "scope TEXT NOT NULL REFERENCES scopes (name), PRIMARY KEY (reservation, scope)) WITHOUT ROWID",
)
"""What `budgets` keeps: picodollars spent and reserved in each scope, and the reservations that are open."""


_USER_CLASS = '"user_class" TEXT'
_RUN_BOUNDS = ('"max_cost" INTEGER', '"max_steps" INTEGER', '"timeout" REAL')
_PARENT = '"parent" TEXT'
_MAX_TOKENS = '"max_tokens" INTEGER'
_FURTHER = '"usage_further" TEXT'
_PLACES = ('"place" TEXT', '"token" INTEGER')


def _schema() -> tuple[str, ...]:
    runs = RUNS.definition.replace('"id" TEXT', '"id" TEXT PRIMARY KEY NOT NULL', 1)
    for later in (_USER_CLASS, *_RUN_BOUNDS, _PARENT, _MAX_TOKENS):
        runs = runs.replace(f", {later}", "")
    heads = "CREATE TABLE heads (name TEXT PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, chain TEXT NOT NULL)"
    chained = [statement for table in (DECISIONS, CALLS, HANDOFFS) for statement in _chained(table)]
    return (f"CREATE TABLE runs ({runs})", *chained, heads, *_BUDGETS)


def _chained(table: Table) -> tuple[str, ...]:
    # No row is refused because of its parent or id: what happened is kept, and `verify` reports what does not fit.
    name, definition = table.name, table.definition
    for later in (_FURTHER, *_PLACES):
        definition = definition.replace(f", {later}", "")
    return (
        f"CREATE TABLE {name} (seq INTEGER PRIMARY KEY, {definition}, chain TEXT NOT NULL)",
        f"CREATE INDEX {name}_run ON {name} (run)",
        f"CREATE INDEX {name}_id ON {name} (id)",
    )


_HEALTH = (
    "CREATE TABLE health (provider TEXT NOT NULL, model TEXT NOT NULL, region TEXT NOT NULL, until REAL NOT NULL, "
    "reason TEXT NOT NULL, cause TEXT NOT NULL, trips INTEGER NOT NULL, PRIMARY KEY (provider, model, region)) "
    "WITHOUT ROWID",
)
"""The open breakers, for every process that uses the ledger."""

_CLASSES = (f"ALTER TABLE runs ADD COLUMN {_USER_CLASS} NOT NULL DEFAULT 'default'",)
"""The user class whose limits a run keeps when it is resumed."""

_BATCHES = (
    "CREATE TABLE batches (id TEXT PRIMARY KEY NOT NULL, at REAL NOT NULL, ended REAL, "
    "holder TEXT, held REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE batch_parts (id TEXT PRIMARY KEY NOT NULL, batch TEXT NOT NULL REFERENCES batches (id) "
    "ON DELETE CASCADE, model TEXT NOT NULL, state TEXT NOT NULL, at REAL NOT NULL, reservation TEXT, vendor TEXT, "
    "detail TEXT NOT NULL) WITHOUT ROWID",
    "CREATE INDEX batch_parts_batch ON batch_parts (batch)",
    "CREATE TABLE batch_asks (batch TEXT NOT NULL REFERENCES batches (id) ON DELETE CASCADE, place INTEGER NOT NULL, "
    "part TEXT, state TEXT NOT NULL, call TEXT NOT NULL, facts TEXT NOT NULL, ask TEXT NOT NULL, "
    "worst INTEGER NOT NULL, cost INTEGER, reply TEXT, error TEXT, PRIMARY KEY (batch, place)) WITHOUT ROWID",
    "CREATE INDEX batch_asks_part ON batch_asks (part)",
)
"""Asynchronous work of providers: batches that were submitted together, their parts that went to one model each, and
the single requests. A request is kept until it is answered, an answer until its batch is deleted."""

_BOUNDS = tuple(f"ALTER TABLE runs ADD COLUMN {column}" for column in _RUN_BOUNDS)
"""The limits of a run, whoever resumes it."""

_USAGE = (f"ALTER TABLE calls ADD COLUMN {_FURTHER}",)
"""What a call used beyond the four counts; null in older rows, whose seals leave it out."""

_PARENTS = (
    f"ALTER TABLE runs ADD COLUMN {_PARENT} NOT NULL DEFAULT ''",
    "CREATE INDEX runs_parent ON runs (parent) WHERE parent != ''",
)
"""The run whose cap the calls of a run count against besides its own."""

_RESERVATIONS = (
    "CREATE TABLE held (id TEXT PRIMARY KEY NOT NULL, owner TEXT NOT NULL, amount INTEGER NOT NULL, "
    "sent INTEGER NOT NULL, at REAL NOT NULL, scopes TEXT NOT NULL, row TEXT) WITHOUT ROWID",
    "INSERT INTO held SELECT id, owner, amount, sent, at, "
    "(SELECT json_group_array(scope) FROM reserved_in WHERE reservation = id), NULL FROM reservations",
    "DROP TABLE reserved_in",
    "DROP TABLE reservations",
    "ALTER TABLE held RENAME TO reservations",
)
"""A reservation in a single row, written by each capped call: with the scopes it counts in, and with what to record of
the call if its process is killed, both as JSON."""

_LEASES = (
    f"CREATE TABLE leases ({LEASES.definition}, PRIMARY KEY (run)) WITHOUT ROWID",
    f"CREATE TABLE kept ({KEPT.definition}, PRIMARY KEY (run, name)) WITHOUT ROWID",
    *(f"ALTER TABLE effects ADD COLUMN {column}" for column in _PLACES),
)
"""Who works on a run, what it needs again if it is interrupted, and where in it each act belongs; the latter is null in
older acts, whose seals leave it out."""

_TOKENS = (f"ALTER TABLE runs ADD COLUMN {_MAX_TOKENS}",)
"""A further limit of a run, whoever resumes it."""

_DIGESTS = tuple(f"ALTER TABLE {table.name} ADD COLUMN {DIGESTS} TEXT" for table in ERASABLE)
"""What is sealed in place of free texts, so that they can be erased; null in older rows, which seal the texts
themselves."""

VERSIONS = (
    _schema(),
    (*_HEALTH, *_CLASSES, *_BATCHES),
    (*_USAGE, *_BOUNDS, *_chained(EFFECTS)),
    _PARENTS,
    _RESERVATIONS,
    _LEASES,
    _TOKENS,
    _DIGESTS,
)
"""The statements at n - 1 turn version n - 1 of the tables into version n; version 0 is an empty file."""
