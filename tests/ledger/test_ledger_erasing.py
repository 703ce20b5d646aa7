"""What was forgotten is erased out of the ledger, whose chain holds all the same."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.errors import ConfigError
from pointsman.ledger.ledger import Ledger

SECRET = "The merger with Contoso closes on Friday."


def contoso(texts: Sequence[str]) -> list[bool]:
    return ["Contoso" in text for text in texts]


@pytest.fixture
def told(path: Path, make: Any) -> Path:
    with Ledger(path) as ledger:
        for number in range(6):
            ledger.record(make.call(detail=f"quoted: {SECRET}" if number % 2 else ""))
            ledger.record(make.handoff(run=f"run-{number}", summary=SECRET if number == 3 else "look at it"))
            ledger.record(make.handoff(run="run-9", reason=f"{SECRET} Twice.", summary="look at it"))
    return path


def traces(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir() if b"Contoso" in file.read_bytes())


def changed(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.executescript(sql)


@pytest.mark.parametrize("old", [False, True])
def test_a_text_is_in_none_of_the_files_and_the_chain_holds(
    told: Path, make: Any, old: bool, as_of_version_7: Callable[[Path], None]
) -> None:
    if old:
        as_of_version_7(told)
    assert traces(told)
    with Ledger(told) as ledger:
        ledger.record(make.call(detail=SECRET))
        assert ledger.verify() == []
        assert ledger.texts.erase(contoso) == 3 + 1 + 6 + 1
        assert traces(told) == []
        assert ledger.verify() == []
        assert {call.detail for call in ledger.calls()} == {"", "[forgotten]"}
        assert {(row.reason, row.summary) for row in ledger.handoffs(run="run-9")} == {("[forgotten]", "look at it")}
        assert ledger.texts.erase(contoso) == 0
        ledger.record(make.handoff(summary="another"))
        assert ledger.verify() == []
    assert traces(told) == []


def test_rows_of_some_runs_can_be_kept(told: Path) -> None:
    with Ledger(told) as ledger:
        assert ledger.texts.erase(contoso, kept=["run-9"]) == 4
        assert SECRET in ledger.handoffs(run="run-9")[0].reason


@pytest.mark.parametrize(
    ("sql", "places"),
    [
        ("UPDATE handoffs SET summary = 'other' WHERE seq = 3", [("handoffs", 3)]),
        ("UPDATE handoffs SET summary = '[forgotten]' WHERE seq = 3", [("handoffs", 3)]),
        ("UPDATE handoffs SET reason = 'mine' WHERE reason = '[forgotten]' AND seq = 2", [("handoffs", 2)]),
        ("UPDATE handoffs SET digests = NULL WHERE seq = 3", [("handoffs", 3)]),
        ("UPDATE handoffs SET digests = '[' WHERE seq = 3", [("handoffs", 3)]),
        ("UPDATE handoffs SET digests = '[1, 2]' WHERE seq = 3", [("handoffs", 3)]),
        ("UPDATE handoffs SET digests = '[null, null]' WHERE seq = 3", [("handoffs", 3)]),
        ("UPDATE calls SET detail = 'broke' WHERE seq = 1", [("calls", 1)]),
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_what_is_changed_beside_an_erasure_shows(
    told: Path, sql: str, places: list[tuple[str, int]], old: bool, as_of_version_7: Callable[[Path], None]
) -> None:
    if old:
        as_of_version_7(told)
    with Ledger(told) as ledger:
        ledger.texts.erase(contoso)
    changed(told, sql)
    with Ledger(told) as ledger:
        assert [(found.table, found.seq) for found in ledger.verify()] == places


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE calls SET cost = 1 WHERE seq = 3",
        "DELETE FROM calls WHERE seq = 3",
        "UPDATE calls SET chain = 'x' WHERE seq = 4",
        "DELETE FROM calls WHERE seq = 6",
        "UPDATE heads SET chain = 'x' WHERE name = 'calls'",
        "UPDATE calls SET detail = 'Contoso is fine' WHERE seq = 2",
    ],
)
def test_an_erasure_heals_no_chain_of_before(told: Path, sql: str, as_of_version_7: Callable[[Path], None]) -> None:
    as_of_version_7(told)
    changed(told, sql)
    with Ledger(told) as ledger:
        before = ledger.verify()
        assert before
        ledger.texts.erase(contoso)
        assert ledger.verify() == before
        assert traces(told) == []


def test_an_erased_text_cannot_be_found_by_trying(told: Path) -> None:
    with Ledger(told) as ledger:
        ledger.texts.erase(contoso)
    with closing(sqlite3.connect(told)) as raw:
        for digests, summary in raw.execute("SELECT digests, summary FROM handoffs WHERE summary = '[forgotten]'"):
            assert (summary, '["",' in digests) == ("[forgotten]", True)


def test_who_reads_meanwhile_is_named(told: Path) -> None:
    with Ledger(told) as ledger, closing(sqlite3.connect(told)) as raw:
        raw.execute("BEGIN")
        raw.execute("SELECT count(*) FROM calls").fetchone()
        with pytest.raises(ConfigError, match="another process reads it: forget again"):
            ledger.texts.erase(contoso)
        raw.execute("ROLLBACK")
        assert ledger.texts.erase(contoso) == 0
        assert traces(told) == []
