"""Rows to record, and ledgers to record them in."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pointsman.ledger.ledger import Ledger
from pointsman.ledger.rows import CallRow, DecisionRow, EffectRow, HandoffRow, RunRow
from pointsman.ledger.storage.chain import seal
from pointsman.ledger.storage.tables import CALLS, HANDOFFS, VERSIONS

Rows = Callable[..., Any]
Script = Callable[..., str]


class Make:
    """Makes rows, each with an id of its own unless told."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def run(self, **fields: Any) -> RunRow:
        return RunRow(**{"id": f"run{next(self._numbers)}", "target": "desk.py:flow", "started": 1000.0, **fields})

    def call(self, **fields: Any) -> CallRow:
        number = next(self._numbers)
        base: dict[str, Any] = {
            "id": f"call{number}", "decision": f"decision{number}", "run": "r", "step": "s", "agent": "a", "attempt": 1,
            "model": "p/m", "tier": "economy", "risk": "low", "at": 1000.0 + number,
        }  # fmt: skip
        return CallRow(**{**base, **fields})

    def decision(self, **fields: Any) -> DecisionRow:
        number = next(self._numbers)
        base: dict[str, Any] = {
            "id": f"decision{number}", "run": "r", "step": "s", "agent": "a", "task": "chat", "at": 1000.0 + number,
            "risk": "low", "floor": "ondevice", "tier": "economy", "model": "p/m", "candidates": '["p/m"]',
            "rejected": "[]", "rules": "[]", "complexity": 0.25, "confidence": 1, "features": "{}",
            "policy_hash": "00", "price_version": "",
        }  # fmt: skip
        return DecisionRow(**{**base, **fields})

    def effect(self, **fields: Any) -> EffectRow:
        number = next(self._numbers)
        base: dict[str, Any] = {
            "id": f"effect{number}", "run": "r", "step": "s", "agent": "a", "tool": "send", "effect": "external",
            "digest": f"d{number}", "at": 1000.0 + number,
        }  # fmt: skip
        return EffectRow(**{**base, **fields})

    def handoff(self, **fields: Any) -> HandoffRow:
        number = next(self._numbers)
        base: dict[str, Any] = {
            "id": f"handoff{number}", "run": "r", "at": 1000.0 + number, "risk": "high", "reason": "no model may",
            "summary": "look at it",
        }  # fmt: skip
        return HandoffRow(**{**base, **fields})


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path) as opened:
        yield opened


@pytest.fixture(params=["file", "memory"])
def either(request: pytest.FixtureRequest, path: Path) -> Iterator[Ledger]:
    """A ledger in a file, and one in memory."""
    with Ledger(path if request.param == "file" else None) as opened:
        yield opened


@pytest.fixture
def script() -> Script:
    """Runs Python in a process of its own, and gives what it says once it has ended well."""

    def run(code: str, *arguments: object, seconds: float = 90.0) -> str:
        # Pythons from 3.12 on warn of every fork while threads run, which is what is tried.
        command = [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            textwrap.dedent(code),
            *map(str, arguments),
        ]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
        return ended.stdout

    return run


def seal_texts(raw: sqlite3.Connection) -> None:
    """Seal the texts themselves, as before their digests were."""
    for table in (CALLS, HANDOFFS):
        previous = table.name
        for seq, *values in raw.execute(f"SELECT seq, {table.names} FROM {table.name} ORDER BY seq").fetchall():
            previous = seal(previous, seq, tuple(values))
            raw.execute(f"UPDATE {table.name} SET chain = ? WHERE seq = ?", (previous, seq))
        raw.execute("UPDATE heads SET chain = ? WHERE name = ?", (previous, table.name))
        raw.execute(f"ALTER TABLE {table.name} DROP COLUMN digests")


@pytest.fixture
def as_of_version_7() -> Callable[[Path], None]:
    """Turns a ledger's file into one that version 7 of the tables has left."""

    def turn(path: Path) -> None:
        with closing(sqlite3.connect(path)) as raw, raw:
            seal_texts(raw)
            raw.execute("PRAGMA user_version = 7")

    return turn


@pytest.fixture
def as_of_version_4() -> Callable[[Path], None]:
    """Turns a ledger's file without reservations into one that version 4 of the tables has left."""

    def turn(path: Path) -> None:
        with closing(sqlite3.connect(path)) as raw, raw:
            seal_texts(raw)
            for table in ("reservations", "leases", "kept"):
                raw.execute(f"DROP TABLE {table}")
            for column in ("place", "token"):
                raw.execute(f"ALTER TABLE effects DROP COLUMN {column}")
            raw.execute("ALTER TABLE runs DROP COLUMN max_tokens")
            for statement in VERSIONS[0]:
                if "TABLE reserv" in statement:
                    raw.execute(statement)
            raw.execute("PRAGMA user_version = 4")

    return turn


@pytest.fixture
def as_of_version_2(as_of_version_4: Callable[[Path], None]) -> Callable[[Path], None]:
    """Turns a ledger's file without acts into one that version 2 of the tables has left."""

    def turn(path: Path) -> None:
        as_of_version_4(path)
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.execute("ALTER TABLE calls DROP COLUMN usage_further")
            raw.execute("DROP INDEX runs_parent")
            for column in ("max_cost", "max_steps", "timeout", "parent"):
                raw.execute(f"ALTER TABLE runs DROP COLUMN {column}")
            raw.execute("DROP TABLE effects")
            raw.execute("DELETE FROM heads WHERE name = 'effects'")
            raw.execute("PRAGMA user_version = 2")

    return turn
