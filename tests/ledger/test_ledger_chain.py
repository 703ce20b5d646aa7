"""Whatever is done to the rows behind the ledger's back shows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.ledger.ledger import Ledger

TAMPERINGS: dict[str, tuple[str, list[tuple[str, int]]]] = {
    "a cost lowered": ("UPDATE calls SET cost = 1 WHERE seq = 4", [("calls", 4)]),
    "an unknown cost made zero": ("UPDATE calls SET cost = 0 WHERE seq = 5", [("calls", 5)]),
    "a model renamed": ("UPDATE decisions SET model = 'p/other' WHERE seq = 1", [("decisions", 1)]),
    "a word of text changed": ("UPDATE handoffs SET summary = summary || '.' WHERE seq = 10", [("handoffs", 10)]),
    "a number made text": ("UPDATE decisions SET features = 0 WHERE seq = 2", [("decisions", 2)]),
    "ticked off by hand": ("UPDATE handoffs SET done = 1 WHERE seq = 3", [("handoffs", 3)]),
    "one removed": ("DELETE FROM calls WHERE seq = 3", [("calls", 3)]),
    "the first removed": ("DELETE FROM calls WHERE seq = 1", [("calls", 1)]),
    "three removed": ("DELETE FROM calls WHERE seq IN (2, 3, 7)", [("calls", 2), ("calls", 7)]),
    "the last removed": ("DELETE FROM calls WHERE seq = 10", [("calls", 10)]),
    "all removed": ("DELETE FROM decisions", [("decisions", 1)]),
    "two exchanged": (
        "UPDATE calls SET seq = -4 WHERE seq = 4; UPDATE calls SET seq = 4 WHERE seq = 6; "
        "UPDATE calls SET seq = 6 WHERE seq = -4",
        [("calls", 4), ("calls", 5), ("calls", 6), ("calls", 7)],
    ),
    "the rest moved up": (
        "DELETE FROM calls WHERE seq = 9; UPDATE calls SET seq = 9 WHERE seq = 10",
        [("calls", 9), ("calls", 10)],
    ),
    "one put in at the end": (
        "CREATE TEMP TABLE t AS SELECT * FROM calls WHERE seq = 10; UPDATE t SET seq = 11; "
        "INSERT INTO calls SELECT * FROM t",
        [("calls", 11), ("calls", 11), ("calls", 11)],
    ),
    "a seal replaced": ("UPDATE calls SET chain = 'x' WHERE seq = 2", [("calls", 2), ("calls", 3)]),
    "the head set back": ("UPDATE heads SET rows = 9 WHERE name = 'calls'", [("calls", 10)]),
    "the head removed": ("DELETE FROM heads WHERE name = 'calls'", [("calls", 10)]),
}


@pytest.fixture
def filled(path: Path, make: Any) -> Path:
    with Ledger(path) as ledger:
        for number in range(10):
            ledger.record(make.decision())
            ledger.record(make.call(cost=None if number == 4 else 100 + number, detail="broke"))
            ledger.record(make.handoff())
    return path


@pytest.mark.parametrize(("sql", "places"), TAMPERINGS.values(), ids=TAMPERINGS)
def test_verify_finds_the_place(filled: Path, sql: str, places: list[tuple[str, int]]) -> None:
    with Ledger(filled) as ledger:
        assert ledger.verify() == []
    raw = sqlite3.connect(filled)
    raw.executescript(sql)
    raw.commit()
    raw.close()
    with Ledger(filled) as ledger:
        assert [(found.table, found.seq) for found in ledger.verify()] == places


@pytest.mark.parametrize("column", ["id", "run", "at", "cost", "input", "latency", "stream", "flagship", "failure"])
def test_every_column_of_a_call_is_sealed(filled: Path, column: str) -> None:
    raw = sqlite3.connect(filled)
    raw.execute(f"UPDATE calls SET {column} = 77 WHERE seq = 6")
    raw.commit()
    raw.close()
    with Ledger(filled) as ledger:
        assert [(found.table, found.seq) for found in ledger.verify()] == [("calls", 6)]


def test_rows_recorded_after_a_tampering_do_not_hide_it(filled: Path, make: Any) -> None:
    raw = sqlite3.connect(filled)
    raw.execute("DELETE FROM calls WHERE seq = 10")
    raw.execute("DELETE FROM heads")
    raw.execute("UPDATE decisions SET risk = 'low!' WHERE seq = 10")
    raw.commit()
    raw.close()
    with Ledger(filled) as ledger:
        ledger.record(make.call())
        ledger.record(make.decision())
        assert ("decisions", 10) in [(found.table, found.seq) for found in ledger.verify()]


def test_a_decision_recorded_twice_is_kept_twice_and_shows(path: Path, make: Any) -> None:
    row = make.decision()
    with Ledger(path) as ledger:
        ledger.record(row)
        ledger.record(row)
        assert ledger.decisions() == (row, row)
        assert [(found.seq, found.what) for found in ledger.verify()] == [(2, "recorded more than once")]


def test_verifying_sees_one_state_while_others_write(filled: Path, make: Callable[..., Any]) -> None:
    with Ledger(filled) as reading, Ledger(filled) as writing:
        for _ in range(20):
            for _ in range(20):
                writing.record(make.call())  # type: ignore[attr-defined]  # the maker of rows
            assert reading.verify() == []
