"""What cannot be written waits and is written once it can be; what cannot be recorded does not happen."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.errors import ConfigError
from pointsman.ledger.budgets.budgets import Budgets
from pointsman.ledger.ledger import Ledger
from pointsman.ledger.storage.connection import LEDGER, connect, explain
from pointsman.ledger.storage.tables import VERSIONS

Script = Callable[..., str]
RUN = {"run:a": 10**9}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 600 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a disk")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@contextmanager
def full(place: Path, pages: int = 0) -> Iterator[None]:
    """Not a byte, or no more than some pages of 4 kB, is left on the disk inside the block."""
    filler = os.open(place / "filler", os.O_CREAT | os.O_WRONLY)
    try:
        with suppress(OSError):
            while True:
                os.write(filler, b"x" * 4096)
        os.ftruncate(filler, os.fstat(filler).st_size - pages * 4096)
        assert os.statvfs(place).f_bavail == pages
        yield
    finally:
        os.close(filler)
        (place / "filler").unlink()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else is writing to the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("BEGIN IMMEDIATE")
        yield
        file.execute("ROLLBACK")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for another process."""
    monkeypatch.setattr("pointsman.ledger.storage.access.BUSY_SECONDS", 0.05)


def told(ask: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        ask()
    assert "\n" not in str(caught.value)


def test_rows_wait_for_room_on_the_disk_and_calls_and_acts_do_not_happen(
    disk: Path, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = disk / "ledger.db"
    with Ledger(path) as ledger:
        ledger.record(make.call())
        ledger.flush()
        with caplog.at_level(logging.WARNING), full(disk):
            for _ in range(500):
                ledger.record(make.call(detail="x" * 200))
            said = r"^the ledger .*ledger\.db: the disk is full: free some space \(\d+ rows wait in memory\)$"
            for ask in (ledger.flush, ledger.calls, ledger.check, lambda: ledger.record(make.decision())):
                told(ask, said)
            told(lambda: ledger.commit(make.effect()), said)
            # What has happened is taken all the same.
            ledger.record(make.call(id="late"))
            ledger.record(make.run(id="ended"))
            ledger.record(make.handoff())
        ledger.flush()
        ledger.check()
        ledger.commit(make.effect(id="after"))
        ledger.record(make.decision())
        assert [row.id for row in ledger.calls()][-1] == "late"
        assert (len(ledger.calls()), len(ledger.decisions()), len(ledger.handoffs())) == (502, 1, 1)
        assert [row.id for row in ledger.effects()] == ["after"]
        assert ledger.verify() == []
    assert len([one for one in caplog.records if "free some space" in one.getMessage()]) == 1


def test_a_file_that_nobody_has_open_names_the_full_disk_and_opens_once_there_is_room(disk: Path, make: Any) -> None:
    path = disk / "ledger.db"
    with Ledger(path) as ledger:
        ledger.record(make.call())
    with full(disk):
        # SQLite has nowhere to put what it keeps beside the file, not even to read.
        said = r"^the ledger .*ledger\.db: the disk reports an error: check it, its free space and your quota$"
        told(lambda: Ledger(path).calls(), said)
    with Ledger(path) as ledger:
        assert len(ledger.calls()) == 1


def contoso(texts: Sequence[str]) -> list[bool]:
    return ["Contoso" in text for text in texts]


def refused(ask: Callable[[], object]) -> bool:
    """Whether a full disk is told, in one line."""
    said = ""
    try:
        ask()
    except ConfigError as error:
        said = str(error)
    assert not said or re.fullmatch(r"the ledger \S+ledger\.db: the disk .*free (some )?space.*", said)
    return bool(said)


@pytest.fixture
def quoting(disk: Path, make: Any) -> Path:
    """A ledger of forty rows that quote what is to be forgotten."""
    path = disk / "ledger.db"
    with Ledger(path) as ledger:
        for number in range(40):
            ledger.record(make.handoff(run=f"run-{number}", summary=f"Contoso buys number {number}. " + "x" * 900))
    return path


def test_what_a_full_disk_keeps_from_being_erased_is_not_told_as_erased(disk: Path, quoting: Path, make: Any) -> None:
    outcomes = []
    for pages in (0, 4, 16, 40):
        with Ledger(quoting) as ledger:
            ledger.record(make.call())
            ledger.flush()
            with full(disk, pages):
                outcomes.append(refused(lambda ledger=ledger: ledger.texts.erase(contoso)))
                left = [row for row in ledger.handoffs() if "Contoso" in row.summary]
                assert len(left) == (40 if outcomes[-1] else 0)
                assert ledger.verify() == []
        if not outcomes[-1]:
            break
    assert (outcomes[0], outcomes[-1]) == (True, False)
    assert not [file.name for file in disk.iterdir() if b"Contoso" in file.read_bytes()]


def test_a_ledger_of_before_is_taken_on_as_soon_as_there_is_room_and_stays_as_it_is_until_then(
    disk: Path, quoting: Path, as_of_version_7: Callable[[Path], None]
) -> None:
    as_of_version_7(quoting)
    versions = []
    # Who has it open keeps what SQLite needs beside the file, so that the tables are what there is no room for.
    with closing(sqlite3.connect(quoting, isolation_level=None)) as other:
        other.execute("SELECT count(*) FROM handoffs").fetchone()
        for pages in range(10):
            with full(disk, pages):
                shut = refused(lambda: Ledger(quoting).calls())
            versions.append(other.execute("PRAGMA user_version").fetchone()[0])
            assert shut == (versions[-1] == 7)
            assert other.execute("SELECT count(*) FROM handoffs WHERE summary LIKE '%Contoso%'").fetchone() == (40,)
    assert (versions[0], versions[-1]) == (7, len(VERSIONS))
    with Ledger(quoting) as ledger:
        assert ledger.verify() == []
        assert ledger.texts.erase(contoso) == 40


@pytest.mark.slow
def test_rows_are_written_by_themselves_once_there_is_room(disk: Path, make: Any) -> None:
    path = disk / "ledger.db"
    with Ledger(path) as ledger, closing(sqlite3.connect(path)) as other:
        with full(disk):
            ledger.record(make.call(detail="x" * 9000))
            told(ledger.flush, "free some space")
        # Nobody asks.
        written = threading.Event()
        for _ in range(2_400):
            if other.execute("SELECT count(*) FROM calls").fetchone() == (1,):
                written.set()
                break
            threading.Event().wait(0.1)
        assert written.is_set()


@pytest.mark.slow
def test_trouble_is_over_only_once_something_could_be_written(
    disk: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.ledger.storage.writer._PAUSE_SECONDS", 0.005)
    with Ledger(disk / "ledger.db") as ledger:
        with full(disk):
            # The log's first pages have room already: it takes as many rows as fill them.
            ledger.record(make.call(detail="x" * 100_000))
            told(ledger.flush, "free some space")
            told(lambda: ledger.commit(make.effect()), "free some space")
            for _ in range(50):
                told(ledger.check, "free some space")
                threading.Event().wait(0.005)
        for _ in range(24_000):
            if ledger._writer._trouble is None:
                break
            threading.Event().wait(0.01)
        ledger.check()
        assert len(ledger.calls()) == 1


def test_an_act_that_was_refused_leaves_calls_refused_until_the_file_is_free(
    ledger: Ledger, path: Path, make: Any, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.ledger.storage.writer._PAUSE_SECONDS", 0.005)
    with locked(path):
        # No row waits that would be tried again.
        told(lambda: ledger.commit(make.effect()), "another process")
        for _ in range(50):
            told(ledger.check, r"\(0 rows wait in memory\)$")
            threading.Event().wait(0.005)
    for _ in range(24_000):
        if ledger._writer._trouble is None:
            break
        threading.Event().wait(0.01)
    ledger.check()
    ledger.record(make.decision())


def test_money_waits_for_room_on_the_disk_and_no_more_is_spent(disk: Path) -> None:
    path = disk / "ledger.db"
    with closing(Budgets(path)) as budgets:
        held = [budgets.reserve(RUN, 100, sent=True) for _ in range(3)]
        with full(disk):
            # The log has room in pages it used before; then it must grow.
            calls = (budgets.reserve({f"run:{number}": 10**9}, 10**6, sent=True) for number in range(10_000))
            with pytest.raises(ConfigError, match=r"the disk is full: free some space$"):
                deque(calls, maxlen=0)
            assert budgets.settle(held[0], 7) == 7
            assert budgets.settle(held[1], 130) == 130
            assert budgets.release(held[2])
            assert budgets.totals("run:a") == (137, 0)
        budgets.release(budgets.reserve(RUN, 10**6, sent=True))
    with closing(Budgets(path)) as again:
        assert again.totals("run:a") == (137, 0)


@contextmanager
def read_only(budgets: Budgets) -> Iterator[None]:
    """What the disk of the file becomes after errors."""
    connection = budgets._store._access._connection  # type: ignore[attr-defined]
    connection.execute("PRAGMA query_only = ON")
    yield
    connection.execute("PRAGMA query_only = OFF")


@pytest.mark.parametrize(
    ("trouble", "said"),
    [("full", "free some space"), ("read-only", "it may not be written"), ("held", "another process has held it")],
)
async def test_a_call_that_cannot_be_reserved_is_refused_clearly_and_what_was_under_way_is_charged(
    disk: Path, make: Any, impatient: None, monkeypatch: pytest.MonkeyPatch, trouble: str, said: str
) -> None:
    monkeypatch.setattr("pointsman.ledger.budgets.file_store._PAUSE_SECONDS", 0.005)
    path = disk / "ledger.db"
    with Ledger(path) as ledger, closing(Budgets(path)) as budgets:

        async def begun(name: str, amount: int = 100) -> str:
            row = make.call(id=name, run="a", detail="x" * amount)
            return await budgets.acquire({"run:a": 10**9}, amount, 1, sent=True, row=row)

        for name in "abc":
            await begun(name)
        with {"full": full(disk), "read-only": read_only(budgets), "held": locked(path)}[trouble]:
            with pytest.raises(ConfigError, match=said) as caught:
                await begun("d", 100_000)
            assert "\n" not in str(caught.value)
            assert budgets.settle("a", 7, recorded=True) == 7
            assert budgets.settle("b", 130) == 130
            assert budgets.release("c")
            ledger.record(make.call(id="a", run="a", cost=7))
            assert budgets.totals("run:a") == (137, 0)
        await begun("e")
        assert budgets.totals("run:a") == (137, 100)
        assert budgets.release("e")
        assert [(row.id, row.cost) for row in ledger.calls()] == [("a", 7)]
    with closing(Budgets(path)) as again:
        assert again.totals("run:a") == (137, 0)


@pytest.mark.slow
def test_a_limit_on_the_size_of_files_is_outlived_too(path: Path, script: Script) -> None:
    code = """
        import resource, sys
        from pathlib import Path
        from pointsman.configs.errors import ConfigError
        from pointsman.ledger import Ledger, EffectRow, CallRow

        def act(name):
            return EffectRow(name, "r", "s", "a", "send", "external", "d", 1.0)

        import logging
        logging.getLogger("pointsman").setLevel(logging.ERROR)
        ledger = Ledger(Path(sys.argv[1]))
        ledger.commit(act("before"))
        size = Path(sys.argv[1] + "-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        for number in range(300):
            ledger.record(CallRow(str(number), "", "r", "", "", 1, "p/m", "economy", "low", 1.0))
        try:
            ledger.commit(act("in between"))
        except ConfigError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        ledger.commit(act("after"))
        print(len(ledger.calls()), [one.id for one in ledger.effects()], ledger.verify())
        ledger.close()
    """
    first, second = script(code, path).splitlines()
    assert "the disk reports an error: check it, its free space and your quota (300 rows wait in memory)" in first
    assert second == "300 ['before', 'after'] []"


def test_a_file_that_is_held_too_long_stops_calls_and_acts_until_it_is_free(
    ledger: Ledger, path: Path, make: Any, impatient: None
) -> None:
    held = "another process has held it for over 10 seconds: end that process, then try again"
    with locked(path):
        ledger.record(make.call())
        told(lambda: ledger.commit(make.effect()), held)
        told(lambda: ledger.record(make.decision()), held)
        ledger.record(make.call())
    ledger.commit(make.effect())
    ledger.record(make.decision())
    assert (len(ledger.calls()), len(ledger.effects()), len(ledger.decisions())) == (2, 1, 1)


def test_only_so_many_rows_wait_and_the_next_is_refused(
    ledger: Ledger, path: Path, make: Any, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.ledger.storage.writer._MOST_WAITING", 40)
    with locked(path):
        ledger.record(make.call())
        told(ledger.flush, "1 rows wait")
        for _ in range(39):
            ledger.record(make.call())
        told(lambda: ledger.record(make.call()), r"40 rows wait in memory, this one was not kept\)$")
    assert len(ledger.calls()) == 40


def test_closing_tells_how_many_rows_were_lost(path: Path, make: Any, impatient: None) -> None:
    ledger = Ledger(path)
    with locked(path):
        for _ in range(3):
            ledger.record(make.call())
        told(ledger.close, r"\(3 rows were not kept\)$")
    told(lambda: ledger.record(make.call()), "closed: open it again")


@pytest.mark.slow
@pytest.mark.parametrize("then", ["put back", "replaced"])
def test_a_file_that_is_moved_away_while_in_use_stops_calls_acts_and_money(
    path: Path, make: Any, impatient: None, then: str
) -> None:
    gone = r"ledger\.db was moved, deleted or replaced while in use: put it back, or start again"
    ledger, budgets = Ledger(path), Budgets(path)
    under_way = budgets.reserve(RUN, 100, sent=True)
    ledger.commit(make.effect())
    path.rename(path.with_suffix(".away"))
    if then == "replaced":
        path.touch()
    ledger.record(make.call())
    told(lambda: ledger.commit(make.effect()), gone)
    told(lambda: ledger.record(make.decision()), gone)
    told(lambda: budgets.reserve(RUN, 10**6, sent=True), gone)
    assert budgets.settle(under_way, 7) == 7
    # A new file must not be made, where every cap would begin at nothing.
    assert not (path.exists() and path.stat().st_size)
    if then == "replaced":
        path.unlink()
    path.with_suffix(".away").rename(path)
    ledger.commit(make.effect())
    assert (len(ledger.calls()), len(ledger.effects())) == (1, 2)
    budgets.release(budgets.reserve(RUN, 10**6, sent=True))
    assert budgets.totals("run:a") == (7, 0)
    budgets.close()
    ledger.close()


def test_a_deleted_file_is_not_missed_by_who_closes_it(path: Path, make: Any) -> None:
    ledger = Ledger(path)
    ledger.record(make.call())
    ledger.flush()
    path.unlink()
    ledger.record(make.call())
    told(ledger.close, r"moved, deleted or replaced while in use: .* \(1 rows were not kept\)$")


@pytest.mark.slow
def test_a_folder_that_may_not_be_written_is_told_in_one_line(script: Script) -> None:
    code = """
        import os, sys, tempfile
        from pathlib import Path
        from pointsman.configs.errors import ConfigError
        from pointsman.ledger import Budgets, Ledger

        folder = Path(tempfile.mkdtemp())
        (folder / "there").mkdir()
        Ledger(folder / "there" / "ledger.db").close()
        folder.chmod(0o755)
        for one in [folder / "there" / "ledger.db", folder / "there"]:
            one.chmod(0o555)
        if not os.getuid():
            os.setuid(65534)
        for path in (folder / "there" / "ledger.db", folder / "there" / "new.db", folder / "there" / "in" / "new.db"):
            for open_it in (Ledger, Budgets):
                try:
                    open_it(path)
                    print("opened")
                except ConfigError as error:
                    print(str(error).replace(str(folder), ""))
    """
    lines = script(code).splitlines()
    assert len(lines) == 6
    assert all(line.startswith("the ledger /there/") for line in lines)
    assert all("check" in line or "Permission denied" in line for line in lines)


def test_an_act_is_recorded_before_it_is_done_and_again_when_its_outcome_is_known(either: Ledger, make: Any) -> None:
    first, second, other = make.effect(), make.effect(), make.effect(run="other")
    for row in (first, second, other):
        either.commit(row)
    assert either.effects() == (first, second, other)
    done = replace(first, outcome="sent with token=sk-proj-abcdefghijklmnop1234")
    either.record(done)
    assert [row.outcome for row in either.effects("r")] == ["sent with token=[redacted]", ""]
    assert either.effects(run="other") == (other,)
    assert either.verify() == []


async def test_acts_are_committed_from_an_event_loop_side_by_side(ledger: Ledger, make: Any) -> None:
    await asyncio.gather(*(ledger.committed(make.effect(id=f"act {number}")) for number in range(40)))
    assert sorted(row.id for row in ledger.effects()) == sorted(f"act {number}" for number in range(40))
    assert ledger.verify() == []


def test_an_act_is_synced_to_the_disk_and_a_call_is_not(ledger: Ledger, make: Any) -> None:
    said: list[str] = []
    with ledger._writer.access.changing() as connection:
        connection.set_trace_callback(said.append)

    def how(insert: str) -> str:
        (place,) = [number for number, one in enumerate(said) if one.startswith(f"INSERT INTO {insert}")]
        return [one for one in said[:place] if one.startswith("PRAGMA synchronous")][-1]

    ledger.commit(make.effect())
    ledger.record(make.call())
    ledger.calls()
    assert (how("effects"), how("calls")) == ("PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL")
    # What was written without a sync is synced when that is asked for, once.
    said.clear()
    ledger.flush()
    ledger.flush()
    assert [one for one in said if one.startswith(("PRAGMA synchronous", "COMMIT"))] == [
        "PRAGMA synchronous = FULL",
        "COMMIT",
    ]


def test_an_act_that_is_edited_afterwards_shows(path: Path, make: Any) -> None:
    with Ledger(path) as ledger:
        for _ in range(3):
            ledger.commit(make.effect())
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.execute("UPDATE effects SET tool = 'read' WHERE seq = 2")
        assert [(one.table, one.seq) for one in ledger.verify()] == [("effects", 2)]


def test_a_closed_ledger_commits_no_act(either: Ledger, make: Any) -> None:
    either.close()
    told(lambda: either.commit(make.effect()), "closed: open it again")
    told(either.check, "closed: open it again")


def test_a_ledger_of_the_version_before_takes_acts(
    path: Path, make: Any, as_of_version_2: Callable[[Path], None]
) -> None:
    with Ledger(path) as old:
        old.record(make.call())
    as_of_version_2(path)
    with Ledger(path) as ledger:
        ledger.commit(make.effect())
        assert (len(ledger.calls()), len(ledger.effects())) == (1, 1)
        assert ledger.verify() == []


@pytest.mark.slow
def test_every_act_that_was_committed_outlives_a_kill(path: Path) -> None:
    code = """
        import itertools, sys
        from pathlib import Path
        from pointsman.ledger import EffectRow, Ledger

        ledger = Ledger(Path(sys.argv[1]))
        for number in itertools.count():
            ledger.commit(EffectRow(str(number), "r", "s", "a", "send", "external", "d", 1.0))
            print(number, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(50):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    last = 49 + len([line for line in process.communicate()[0].splitlines() if line])
    with Ledger(path) as ledger:
        assert len(ledger.effects()) > last
        assert ledger.verify() == []


def test_four_threads_open_one_new_file_at_once(path: Path, make: Any) -> None:
    # A descriptor that one of them closes must not take the others' locks away.
    together, opened = threading.Barrier(4), []

    def open_it() -> None:
        together.wait()
        ledger = Ledger(path)
        ledger.commit(make.effect())
        opened.append(ledger)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    inode = path.stat().st_ino
    locks = [line for line in Path("/proc/locks").read_text().splitlines() if f":{inode} " in line]
    assert locks
    for ledger in opened:
        assert len(ledger.effects()) == 4
        ledger.close()


def test_a_missing_folder_for_temporary_files_is_told_with_the_way_to_set_one() -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_GETTEMPPATH
    assert "SQLITE_TMPDIR" in str(explain(Path("ledger.db"), error))


def test_a_new_file_has_the_tables_that_all_versions_make_one_after_the_other(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "new.db")) as new, closing(sqlite3.connect(":memory:")) as raised:
        for statements in LEDGER.versions:
            for statement in statements:
                raised.execute(statement)
        every = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid"
        assert new.execute(every).fetchall() == raised.execute(every).fetchall()
        columns = "SELECT m.name, c.* FROM sqlite_master m, pragma_table_xinfo(m.name) c ORDER BY m.name, c.cid"
        assert new.execute(columns).fetchall() == raised.execute(columns).fetchall()
