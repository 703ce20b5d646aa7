"""The checkpoint file under several event loops, threads and processes."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.errors import ConfigError
from pointsman.graphs.checkpoints import checkpoints

Ends = Callable[[Callable[[], Any]], Any]

EMPTY: Any = {
    "v": 1,
    "ts": "2026",
    "id": "1",
    "channel_values": {},
    "channel_versions": {},
    "versions_seen": {},
    "pending_sends": [],
}


async def put(saver: Any, thread: str, number: int) -> None:
    config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    await saver.aput(config, {**EMPTY, "id": str(number)}, {}, {})


def count(state: Path) -> int:
    with sqlite3.connect(state / "checkpoints.db") as connection:
        found: int = connection.execute("SELECT count(*) FROM checkpoints").fetchone()[0]
        return found


async def test_a_write_whose_task_was_cancelled_is_whole_and_locks_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever is locked out says so at once.
    monkeypatch.setattr("pointsman.ledger.storage.access.BUSY_SECONDS", 0.0)
    async with checkpoints(tmp_path, []) as beside:
        await put(beside, "a", 1)
        async with checkpoints(tmp_path, []) as saver:
            writing = asyncio.create_task(put(saver, "a", 2))
            await asyncio.sleep(0)
            writing.cancel()
            await asyncio.wait([writing])
        assert writing.cancelled()
        with sqlite3.connect(tmp_path / "checkpoints.db", timeout=0) as process:
            process.execute("UPDATE checkpoints SET type = type")
        assert count(tmp_path) == 2


def test_event_loops_in_several_threads_write_a_new_file_at_once(tmp_path: Path, ends: Ends) -> None:
    async def write(name: str, start: threading.Barrier) -> None:
        start.wait(240)
        async with checkpoints(tmp_path, []) as saver:
            for number in range(10):
                await put(saver, name, number)

    def all_at_once() -> None:
        start = threading.Barrier(6)
        threads = [threading.Thread(target=lambda n=n: asyncio.run(write(f"{n}", start))) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    ends(all_at_once)
    assert count(tmp_path) == 60


async def test_a_second_event_loop_and_a_second_process_leave_the_first_its_file(tmp_path: Path) -> None:
    other = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('select * from sqlite_master'); c.close()"

    async def look() -> None:
        async with checkpoints(tmp_path, []) as saver:
            await saver.aget_tuple({"configurable": {"thread_id": "a"}})

    async with checkpoints(tmp_path, []) as saver:
        await put(saver, "a", 1)
        await asyncio.to_thread(asyncio.run, look())
        await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", other, str(tmp_path / "checkpoints.db")], check=True
        )
        await put(saver, "a", 2)
        assert count(tmp_path) == 2
    assert count(tmp_path) == 2


FORKS = """
import asyncio, os, signal, sys, traceback
from pathlib import Path
from pointsman.configs.errors import ConfigError
from pointsman.graphs.checkpoints import checkpoints
state, how = Path(sys.argv[1]), sys.argv[2]
EMPTY = {"v": 1, "ts": "2026", "channel_values": {}, "channel_versions": {}, "versions_seen": {}, "pending_sends": []}

async def write(name, numbers, busy=None):
    async with checkpoints(state, []) as saver:
        for number in numbers:
            config = {"configurable": {"thread_id": name, "checkpoint_ns": ""}}
            await saver.aput(config, {**EMPTY, "id": str(number)}, {}, {})
            if busy: busy.set()

def child(name):
    asyncio.run(write(name, range(30)))
    os._exit(0)

def forked(number):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            child(f"child {number}")
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return pid

if how == "after":
    asyncio.run(write("parent", range(30)))
    pids = [forked(n) for n in range(5)]
    asyncio.run(write("parent", range(30, 60)))
else:
    async def all_of_it():
        async with checkpoints(state, []) as saver:
            await saver.aget_tuple({"configurable": {"thread_id": "parent"}})
            pids = [forked(n) for n in range(2)] if how == "idle" else []
            busy = asyncio.Event()
            task = asyncio.create_task(write("parent", range(300), busy))
            await busy.wait()
            # From another thread, while this one writes.
            for n in range(2, 5):
                pids.append(await asyncio.to_thread(forked, n))
            await task
        return pids
    pids = asyncio.run(all_of_it())
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "rows", "children"), [("after", 60 + 150, 5), ("idle", 300 + 150, 5), ("busy", 300 + 90, 3)]
)
def test_forked_children_and_their_parent_all_keep_what_they_write(
    programs: Any, tmp_path: Path, how: str, rows: int, children: int
) -> None:
    ran = programs.run(["-c", FORKS, tmp_path, how])
    assert ran.stdout == f"{[0] * children}\n", ran.stderr
    assert count(tmp_path) == rows


def test_whoever_is_cancelled_while_the_file_is_opened_leaves_no_thread_that_complains(
    tmp_path: Path, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", complaints.append)
    monkeypatch.setattr("pointsman.graphs.checkpoints.file._LINGER_SECONDS", 0.01)
    other = sqlite3.connect(tmp_path / "checkpoints.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    before = set(threading.enumerate())

    async def use() -> None:
        async with checkpoints(tmp_path, []) as saver:
            await put(saver, "a", 1)

    async def cancelled() -> None:
        using = asyncio.create_task(use())
        # Its thread waits for the file by then, which is let go of once nobody waits for the thread.
        while len(set(threading.enumerate()) - before) < 2:
            await asyncio.sleep(0.01)
        threading.Timer(0.5, other.close).start()
        using.cancel()
        await asyncio.wait([using])

    def run() -> None:
        asyncio.run(cancelled())
        left = set(threading.enumerate()) - before - {threading.current_thread()}
        # Whoever comes next closes what the loop that is over left open.
        asyncio.run(use())
        for thread in left:
            thread.join(240)
            assert not thread.is_alive()

    ends(run)
    assert complaints == []
    assert count(tmp_path) == 1


@pytest.mark.parametrize("forged", ["checkpoint", "write"])
async def test_a_checkpoint_that_is_not_encrypted_is_refused_since_anybody_may_have_written_it(
    tmp_path: Path, forged: str
) -> None:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    config: Any = {"configurable": {"thread_id": "a", "checkpoint_ns": ""}}
    async with checkpoints(tmp_path, []) as saver:
        await saver.aput(config, {**EMPTY, "id": "1", "channel_values": {"said": "sealed words"}}, {}, {})
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "checkpoints.db")) as saver:
        if forged == "checkpoint":
            await saver.aput(config, {**EMPTY, "id": "2", "channel_values": {"said": "forged"}}, {}, {})
        else:
            at: Any = {"configurable": {"thread_id": "a", "checkpoint_ns": "", "checkpoint_id": "1"}}
            await saver.aput_writes(at, [("__resume__", "approve")], "task")

    async with checkpoints(tmp_path, []) as saver:
        with pytest.raises(ConfigError, match="not encrypted with your key"):
            await saver.aget_tuple(config)
    assert b"sealed w" not in (tmp_path / "checkpoints.db").read_bytes()


async def test_a_lost_key_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with checkpoints(tmp_path, []) as saver:
        await put(saver, "a", 1)
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "another home"))

    with pytest.raises(
        ConfigError, match=r"state\.key: is not there, the key that this was encrypted with: put"
    ) as told:
        async with checkpoints(tmp_path, []) as saver:
            await saver.aget_tuple({"configurable": {"thread_id": "a", "checkpoint_ns": ""}})
    assert "\n" not in str(told.value)


def serving() -> set[threading.Thread]:
    """The threads that read and write checkpoints."""
    return {thread for thread in threading.enumerate() if thread.name == "pointsman-checkpoints"}


async def test_runs_one_after_the_other_share_a_thread_that_closes_the_file_once_it_is_unused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = serving()
    for number in range(3):
        async with checkpoints(tmp_path / "kept", []) as saver:
            await put(saver, "a", number)
    assert len(serving() - others) == 1
    assert (tmp_path / "kept" / "checkpoints.db-wal").exists()
    monkeypatch.setattr("pointsman.graphs.checkpoints.file._LINGER_SECONDS", 0.01)
    others = serving()
    async with checkpoints(tmp_path / "closed", []) as saver:
        await put(saver, "a", 1)
    async with asyncio.timeout(240):
        while (tmp_path / "closed" / "checkpoints.db-wal").exists() or serving() - others:
            await asyncio.sleep(0.01)
    assert (count(tmp_path / "kept"), count(tmp_path / "closed")) == (3, 1)


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
async def test_a_run_after_its_file_is_no_more_there_is_kept_in_the_one_that_is(tmp_path: Path, how: str) -> None:
    state = tmp_path / "state"
    async with checkpoints(state, []) as saver:
        await put(saver, "a", 1)
    state.rename(tmp_path / "away")
    if how == "deleted":
        shutil.rmtree(tmp_path / "away")
    elif how == "replaced":
        shutil.copytree(tmp_path / "away", state)
    async with checkpoints(state, []) as saver:
        await put(saver, "b", 2)
        assert count(state) == (2 if how == "replaced" else 1)
        shutil.rmtree(state)
        with pytest.raises(ConfigError, match=r"moved, deleted or replaced while a run uses it: put it back, or"):
            async with checkpoints(state, []):
                pass


LEFT = """
import asyncio, sys
from pathlib import Path
from pointsman.graphs.checkpoints import checkpoints

async def use(state):
    async with checkpoints(state, []) as saver:
        await saver.aget_tuple({"configurable": {"thread_id": "a"}})

for name in sys.argv[1:]:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(use(Path(name)))
    if name.endswith("closed"):
        loop.close()
"""


def test_an_event_loop_that_is_left_keeps_no_process_alive_and_no_log_behind(programs: Any, tmp_path: Path) -> None:
    states = [tmp_path / "closed", tmp_path / "again closed", tmp_path / "left"]
    for state in states:
        state.mkdir()
    ran = programs.run(["-c", LEFT, *states])
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [[path.name for path in state.glob("checkpoints.db*")] for state in states] == [["checkpoints.db"]] * 3
