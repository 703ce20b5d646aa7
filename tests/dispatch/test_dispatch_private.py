"""Private SQLite files: their mode, and the locks of whoever has them open."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.dispatch.cache.responses import ResponseCache
from pointsman.dispatch.state.private import open_private

Ends = Callable[[Callable[[], Any]], Any]

OTHER = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('select * from sqlite_master'); c.close()"


def locks(path: Path) -> list[str]:
    lines = Path("/proc/locks").read_text().splitlines()
    return [line.partition(": ")[2] for line in lines if f":{path.stat().st_ino} " in line]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists its locks")
@pytest.mark.parametrize("again", [open_private, ResponseCache], ids=["open_private", "ResponseCache"])
def test_opening_a_file_that_is_open_keeps_its_locks_and_its_log(tmp_path: Path, again: Callable[[Path], Any]) -> None:
    path = tmp_path / "own.db"
    first = open_private(path, isolation_level=None)
    first.execute("CREATE TABLE t (a)")
    held = locks(path)
    assert held
    for _ in range(3):
        again(path).close()
    assert locks(path) == held
    subprocess.run([sys.executable, "-c", OTHER, str(path)], check=True)
    first.execute("INSERT INTO t VALUES (1)")
    assert Path(f"{path}-wal").exists()
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT count(*) FROM t").fetchone() == (1,)


def test_files_are_their_owners_only_and_those_of_older_versions_become_so(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    sqlite3.connect(old).execute("CREATE TABLE t (a)").connection.close()
    old.chmod(0o644)
    for path in (old, tmp_path / "made" / "new.db"):
        connection = open_private(path)
        connection.execute("CREATE TABLE more (a)")
        connection.commit()
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob(f"{path.name}*")} == {0o600}
        connection.close()
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o700


@pytest.mark.slow
def test_many_threads_open_a_new_file_at_once_and_keep_its_locks(tmp_path: Path, ends: Ends) -> None:
    def round_(number: int) -> None:
        path, start = tmp_path / f"{number}.db", threading.Barrier(8)
        opened: list[sqlite3.Connection] = []

        def open_it() -> None:
            start.wait(240)
            opened.append(open_private(path, check_same_thread=False, isolation_level=None))

        threads = [threading.Thread(target=open_it) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(opened) == 8
        opened[0].execute("CREATE TABLE t (a)")
        assert sys.platform != "linux" or locks(path)
        for connection in opened:
            connection.close()

    ends(lambda: [round_(number) for number in range(25)])
