"""Rows are kept as they were recorded, by anyone, at no cost to the caller, and never lost in silence."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.catalog import Usage
from pointsman.configs.errors import ConfigError, PointsmanError
from pointsman.configs.words import Risk, Tier
from pointsman.ledger.ledger import Ledger
from pointsman.ledger.report import report
from pointsman.ledger.rows import CallRow, DecisionRow, HandoffRow, RunRow

WRITE = """
    import sys
    from pathlib import Path
    from pointsman.ledger.ledger import Ledger
    from pointsman.ledger.rows import CallRow

    ledger, name = Ledger(Path(sys.argv[1])), sys.argv[2]
    for number in range(int(sys.argv[3])):
        ledger.record(CallRow(f"{name}-{number}", "", name, "", "", 1, "p/m", "economy", "low", float(number)))
        if number == 500:
            ledger.flush()
            print("half", flush=True)
"""


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20).filter(lambda s: "=" not in s)
TIMES = st.floats(0, 4e9)
MONEY = st.none() | st.integers(0, 2**62)
TOKENS = st.integers(0, 10**9)
ROWS = st.one_of(
    st.builds(
        RunRow, WORDS, WORDS, TIMES, st.none() | TIMES, WORDS, WORDS, st.lists(WORDS, max_size=3).map(tuple)
    ),
    st.builds(
        DecisionRow, *[WORDS] * 5, TIMES, *[WORDS] * 3, st.none() | WORDS, *[WORDS] * 3, TIMES, TIMES, *[WORDS] * 3
    ),
    st.builds(HandoffRow, WORDS, WORDS, TIMES, WORDS, WORDS, WORDS, st.booleans()),
    st.builds(
        CallRow, *[WORDS] * 5, st.integers(1, 9), *[WORDS] * 3, TIMES, *[st.none() | WORDS] * 2, WORDS,
        st.none() | WORDS, st.none() | st.builds(Usage, TOKENS, TOKENS, TOKENS, TOKENS), MONEY, MONEY, WORDS, TIMES,
        st.none() | TIMES, st.none() | TIMES, st.booleans(), WORDS,
    ),
)  # fmt: skip


def kept(ledger: Ledger) -> list[Any]:
    return [*ledger.runs(), *ledger.decisions(), *ledger.calls(), *ledger.handoffs()]


@given(ROWS)
def test_a_row_comes_back_as_it_was_recorded(row: Any) -> None:
    with Ledger(None) as ledger:
        ledger.record(row)
        assert kept(ledger) == [row]
        assert ledger.verify() == []


def test_members_of_the_shared_words_and_odd_text_come_back_as_plain_text(either: Ledger, make: Any) -> None:
    either.record(make.call(risk=Risk.HIGH, tier=Tier.FRONTIER, finish="\ud800 stop", detail="nul \0 within"))
    (row,) = either.calls()
    assert (row.risk, row.tier, row.finish, row.detail) == ("high", "frontier", "? stop", "nul \0 within")
    assert type(row.risk) is str
    assert either.verify() == []


@pytest.mark.parametrize("count", [-1, 10**30, float("nan"), 1.5, None])
def test_a_usage_that_cannot_be_is_kept_as_unknown(either: Ledger, make: Any, count: Any) -> None:
    either.record(make.call(usage=Usage(10, count)))
    assert either.calls()[0].usage is None


def test_a_number_that_is_not_one_is_kept_as_nothing_and_the_chain_holds(either: Ledger, make: Any) -> None:
    either.record(make.call(latency=float("nan"), first_token=float("inf")))
    assert either.calls()[0].first_token == float("inf")
    assert either.verify() == []


def test_a_number_too_large_is_refused_where_it_is_recorded(either: Ledger, make: Any) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        either.record(make.call(cost=2**63))
    either.record(make.call())
    assert len(either.calls()) == 1


def test_a_run_is_updated_in_place(either: Ledger, make: Any) -> None:
    row = make.run(tags=("a", "b"))
    either.record(row)
    either.record(replace(row, ended=2000.0, status="done"))
    assert either.runs() == (replace(row, ended=2000.0, status="done"),)
    assert either.run(row.id) == either.runs()[0]
    assert either.run("another") is None


def test_rows_are_found_by_run_and_id_and_limited_to_the_latest(either: Ledger, make: Any) -> None:
    calls = [make.call(run=f"r{number % 2}") for number in range(6)]
    decisions = [make.decision(run=f"r{number % 2}") for number in range(6)]
    runs = [make.run(started=float(number)) for number in range(3)]
    for row in (*calls, *decisions, *runs):
        either.record(row)
    assert either.calls() == tuple(calls)
    assert either.calls(run="r1") == tuple(calls[1::2])
    assert either.calls(limit=2) == tuple(calls[-2:])
    assert either.decisions(run="r0", limit=1) == (decisions[4],)
    assert either.decision(decisions[3].id) == decisions[3]
    assert either.decision("another") is None
    assert either.runs(limit=2) == (runs[2], runs[1])
    either.record(replace(runs[2], status="done"))
    assert either.runs(status=runs[0].status) == (runs[1], runs[0])


def test_what_a_person_has_done_leaves_the_queue(either: Ledger, make: Any) -> None:
    first, second, third = (make.handoff() for _ in range(3))
    for row in (first, second, third):
        either.record(row)
    assert either.finish_handoff(second.id) == replace(second, done=True)
    assert either.finish_handoff(second.id) == replace(second, done=True)
    either.record(replace(third, done=True))
    assert either.handoffs() == (first, replace(second, done=True), replace(third, done=True))
    assert either.handoffs(open_only=True) == (first,)
    assert either.handoffs(run=second.run) == tuple(row for row in either.handoffs() if row.run == second.run)
    assert either.handoffs(run="nobody") == ()
    with pytest.raises(ConfigError, match="'nothing'"):
        either.finish_handoff("nothing")
    assert either.verify() == []


def test_the_cost_of_a_run_never_counts_what_is_unknown(either: Ledger, make: Any) -> None:
    for fields in (
        {"cost": 5, "usage": Usage(1, 1)},
        {"cost": 0, "usage": Usage(1, 1)},
        {"usage": Usage(1, 1)},
        {},
        {"failure": "timeout"},
        {"failure": "connection", "first_token": 0.5},
        {"failure": "rate_limit"},
        {"failure": "unavailable"},
        {"failure": "connection"},
        {"run": "other", "cost": 100},
    ):
        either.record(make.call(**fields))
    known, nobody = (report(either, run=run).totals for run in ("r", "none"))
    assert (known.cost, known.unpriced) == (5e-12, 4)
    assert (nobody.cost, nobody.unpriced) == (0, 0)


def test_money_beyond_64_bits_is_added_up(either: Ledger, make: Any) -> None:
    for _ in range(3):
        either.record(make.call(cost=2**63 - 1))
    totals = report(either, run="r").totals
    assert (totals.cost, totals.unpriced) == (pytest.approx(3 * (2**63 - 1) / 10**12), 0)


def test_the_file_is_for_its_owner_alone_from_the_beginning(path: Path, make: Any) -> None:
    before = os.umask(0)
    try:
        with Ledger(path) as ledger:
            ledger.record(make.call())
            ledger.flush()
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_others_may_read_is_closed_to_them_and_a_folder_is_left_alone(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    Ledger(path).close()
    path.chmod(0o644)
    Ledger(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


def test_no_secret_reaches_the_disk(path: Path, make: Any) -> None:
    key = "sk-proj-abcdefghijklmnop1234"
    with Ledger(path) as ledger:
        ledger.record(make.call(detail=f"Incorrect API key provided: {key}"))
        ledger.record(make.handoff(reason=f"key {key}", summary=f"token={key}"))
        ledger.record(make.run(target=key, user=key, tags=(f"k={key}", '"quoted"')))
        ledger.flush()
        assert ledger.runs()[0].tags == ("k=[redacted]", '"quoted"')
        assert ledger.calls()[0].detail == "Incorrect API key provided: [redacted]"
        assert not [file.name for file in path.parent.iterdir() if key.encode() in file.read_bytes()]


def test_a_decision_keeps_no_secret_of_its_tags_its_evidence_and_its_reasons_and_all_else(
    path: Path, make: Any
) -> None:
    key = "sk-proj-abcdefghijklmnop1234"
    said = {
        "kind": "act",
        "tags": [f"k={key}", "a"],
        "evidence": [["doubted", f"it said {key}", "frontier"]],
        "tokens": 9,
    }
    with Ledger(path) as ledger:
        ledger.record(
            make.decision(
                features=json.dumps(said),
                rejected=json.dumps([["p/m", "unavailable", f"told {key}"]]),
                rules=json.dumps([["doubted", f'said "{key}"']]),
            )
        )
        ledger.flush()
        (row,) = ledger.decisions("r")
        assert json.loads(row.features) == {
            **said, "tags": ["k=[redacted]", "a"], "evidence": [["doubted", "it said [redacted]", "frontier"]],
        }  # fmt: skip
        assert json.loads(row.rejected) == [["p/m", "unavailable", "told [redacted]"]]
        assert json.loads(row.rules) == [["doubted", 'said "[redacted]"']]
        assert not [file.name for file in path.parent.iterdir() if key.encode() in file.read_bytes()]


def test_a_newer_ledger_is_refused_and_left_as_it_is(path: Path) -> None:
    Ledger(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"newer Pointsman \(version 99 .* upgrade"):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_ledger_is_refused_and_left_as_it_is(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE mine (x)")
    raw.close()
    path.chmod(0o644)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="other program's"):
        Ledger(path)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (before, 0o644)
    path.write_text("no database at all " * 100)
    with pytest.raises(ConfigError, match="not a SQLite file"):
        Ledger(path)
    assert path.read_text() == "no database at all " * 100
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        Ledger(tmp_path / "file" / "ledger.db")
    assert "\n" not in str(caught.value)


def test_recording_does_not_wait_for_a_writer_that_holds_the_file(ledger: Ledger, path: Path, make: Any) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    # A row written now would wait, as this shows.
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite3.connect(path, timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
    for _ in range(200):
        ledger.record(make.call())
    other.execute("ROLLBACK")
    other.close()
    assert len(ledger.calls()) == 200


def test_a_closed_ledger_takes_nothing_more(either: Ledger, make: Any) -> None:
    either.record(make.call())
    either.close()
    either.close()
    for ask in (either.flush, either.calls, lambda: either.record(make.call())):
        with pytest.raises(PointsmanError, match="closed"):
            ask()


@pytest.mark.slow
def test_threads_and_event_loops_may_record_at_once(ledger: Ledger, make: Any) -> None:
    def work(name: int) -> None:
        async def one(number: int) -> None:
            ledger.record(make.call(id=f"{name}-{number}", run=f"r{name}"))
            await asyncio.sleep(0)

        async def every() -> None:
            await asyncio.gather(*map(one, range(100)))

        asyncio.run(every())
        assert len(ledger.calls(run=f"r{name}")) == 100

    threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({row.id for row in ledger.calls()}) == 600
    assert ledger.verify() == []


@pytest.mark.slow
def test_processes_that_write_one_file_keep_one_chain(path: Path) -> None:
    writers = [python(WRITE, path, name, 1500) for name in ("one", "two")]
    assert [(writer.communicate(timeout=240), writer.returncode)[1] for writer in writers] == [0, 0]
    with Ledger(path) as ledger:
        assert ledger.verify() == []
        for name in ("one", "two"):
            assert [row.id for row in ledger.calls(run=name)] == [f"{name}-{number}" for number in range(1500)]


@pytest.mark.slow
def test_a_ledger_nobody_closed_is_written_at_exit(path: Path) -> None:
    # The script ends without flushing its last rows.
    writer = python(WRITE, path, "one", 700)
    assert writer.communicate(timeout=240)[1] == ""
    with Ledger(path) as ledger:
        assert len(ledger.calls()) == 700


@pytest.mark.slow
def test_a_killed_process_leaves_all_it_flushed_and_a_chain_to_go_on_from(path: Path, make: Any) -> None:
    writer = python(WRITE, path, "one", 10**9)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "half\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=240)
    with Ledger(path) as ledger:
        rows = ledger.calls()
        assert len(rows) > 500
        assert [row.id for row in rows] == [f"one-{number}" for number in range(len(rows))]
        ledger.record(make.call())
        assert ledger.verify() == []


def test_a_ledger_that_is_dropped_ends_its_thread(path: Path, make: Any) -> None:
    ledger = Ledger(path)
    ledger.record(make.call())
    thread = ledger._writer._thread
    assert thread is not None
    del ledger
    thread.join(240)
    assert not thread.is_alive()
    with Ledger(path) as again:
        assert len(again.calls()) == 1


@pytest.mark.slow
def test_naming_the_rows_loads_neither_sqlite_nor_the_price_table() -> None:
    code = """
        import sys
        import pointsman.ledger
        from pointsman.ledger import CallRow
        print(*sorted({"sqlite3", "genai_prices", "pydantic"} & set(sys.modules)))
        from pointsman.ledger import Ledger, PriceBook
        print(*sorted({"genai_prices", "pydantic"} & set(sys.modules)))
    """
    assert python(code).communicate(timeout=240)[0] == "\n\n"


def test_what_a_usage_tells_beyond_its_four_counts_comes_back(either: Ledger, make: Any) -> None:
    usage = Usage(100, 50, 30, 20, 10, audio=7, output_audio=5, searches=2, charged=10**12, service_tier="flex")
    either.record(make.call(usage=usage))
    assert either.calls()[0].usage == usage
    assert either.verify() == []


def test_a_file_from_before_they_were_kept_is_taken_on_and_its_seals_hold(
    tmp_path: Path, make: Any, as_of_version_2: Callable[[Path], None]
) -> None:
    file = tmp_path / "ledger.db"
    with Ledger(file) as ledger:
        ledger.record(make.call(id="old", usage=Usage(10, 5)))
    # The same row under the same seal, without the column.
    as_of_version_2(file)
    with Ledger(file) as ledger:
        ledger.record(make.call(id="new", usage=Usage(10, 5, 4, 3, 2)))
        assert [call.usage for call in ledger.calls()] == [Usage(10, 5), Usage(10, 5, 4, 3, 2)]
        assert ledger.verify() == []
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("UPDATE calls SET usage_further = NULL WHERE id = 'new'")
        raw.commit()
    with Ledger(file) as ledger:
        assert [found.id for found in ledger.verify()] == ["new"]
