"""How a row lies in a table: as a tuple of SQL values, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

from ...configs.redact import redact, redacted
from ..rows import CallRow, DecisionRow, EffectRow, HandoffRow, KeptRow, LeaseRow, RunRow

__all__ = ["Row", "Table", "Values", "described"]

Row = RunRow | DecisionRow | CallRow | HandoffRow | EffectRow | LeaseRow | KeptRow
Values = tuple[str | int | float | None, ...]
"""One row as SQL keeps it, in the order of its table's columns."""

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
"""The features that are free words of whoever called. So written they stand nowhere within a text of JSON."""
_DECODER = json.JSONDecoder()


@lru_cache(maxsize=1024)
def _cleaned(text: str) -> str:
    """JSON without secrets; most decisions of a process say the same."""
    try:
        said = json.loads(text)
    except ValueError:
        # A row that somebody else has made.
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


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of row.

    Attributes:
        name: Its table.
        row: The dataclass of its rows.
        columns: Name and kind of each column; ``free`` is text in which a secret may stand, ``tags``, ``json``
            and ``features`` are JSON in which one may.
        decode: Makes the row of its values.
        read: Takes the columns' values from a row.
        coders: What makes SQL values of them, column by column.
        free: The places of the ``free`` columns.
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

    @property
    def definition(self) -> str:
        """The columns with their types, as CREATE TABLE lists them."""
        return ", ".join(f'"{name}" {_SQL_TYPES[kind]}' for name, kind in self.columns)

    def encode(self, row: Any) -> Values:
        """The row's values.

        Raises:
            ValueError: A number is too large to be kept.
        """
        return tuple([code(value) for code, value in zip(self.coders, self.read(row), strict=True)])


def described(
    name: str,
    row: type,
    columns: str,
    decode: Callable[[tuple[Any, ...]], Any],
    read: Callable[[Any], tuple[Any, ...]] | None = None,
) -> Table:
    """Make a table from a line that lists its columns.

    Args:
        name: Its name.
        row: The dataclass of its rows.
        columns: ``name:kind`` of each, separated by spaces; text where no kind is named.
        decode: Makes a row of the values.
        read: Takes the values from a row; each from the field of the column's name when absent.
    """
    split = [word.partition(":") for word in columns.split()]
    pairs = tuple([(column, kind or "text") for column, _, kind in split])
    return Table(
        name=name,
        row=row,
        columns=pairs,
        decode=decode,
        read=read or attrgetter(*(column for column, _ in pairs)),
        coders=tuple([_CODERS[kind] for _, kind in pairs]),
        free=tuple([index for index, (_, kind) in enumerate(pairs) if kind == "free"]),
    )
