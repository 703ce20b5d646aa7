"""Checkpoints on disks that are full, held, denied, damaged or too new: refused in a line, resumed after repair."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from pointsman import Workflow, tool
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.graphs.checkpoints import checkpoints, resumable

Make = Callable[..., Runtime]


class State(TypedDict, total=False):
    task: str
    first: str
    output: str


class Steps:
    """Two steps, and what befalls the disk between them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.befalls: Callable[[], None] = lambda: None

    def first(self, _: State) -> State:
        self.done.append("first")
        return {"first": os.urandom(20_000).hex()}

    def second(self, _: State) -> State:
        self.done.append("second")
        self.befalls()
        return {"output": os.urandom(20_000).hex()}

    def build(self, _: Runtime) -> StateGraph[Any, Any, Any, Any]:
        graph: StateGraph[Any, Any, Any, Any] = StateGraph(State)
        graph.add_node("a", self.first)
        graph.add_node("b", self.second)
        graph.add_edge(START, "a")
        graph.add_edge("a", "b")
        graph.add_edge("b", END)
        return graph


class Trouble:
    """A trouble with a file that comes, and goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._copy = path.with_suffix(".copy")

    def full(self) -> Iterator[None]:
        log = Path(f"{self.path}-wal")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, limits[1]))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    def locked(self) -> Iterator[None]:
        other = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        yield
        other.close()

    def replaced(self) -> Iterator[None]:
        self.path.rename(self._copy)
        yield
        self._copy.rename(self.path)


TROUBLES = {
    "full": r"checkpoint file .*checkpoints\.db: the disk reports an error: check it, its free space and your quota",
    "locked": r"checkpoint file .*checkpoints\.db: another process has held it for over 10 seconds: end that process",
    "replaced": r"checkpoint file .*checkpoints\.db was moved, deleted or replaced while in use: put it back, or",
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_run_whose_disk_fails_says_so_and_goes_on_after_repair_with_what_it_had_kept(
    runtime: Make, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr("pointsman.ledger.storage.access.BUSY_SECONDS", 0.05)
    home, steps = runtime(), Steps()
    flow = Workflow("two", graph=steps.build)
    came: list[Iterator[None]] = []

    def befalls() -> None:
        came.append(getattr(Trouble(home.settings.state / "checkpoints.db"), trouble)())
        next(came[-1])

    steps.befalls = befalls
    try:
        stopped = await flow.arun("go", runtime=home)
    finally:
        next(came[0], None)
    assert isinstance(stopped.error, ConfigError)
    assert re.search(TROUBLES[trouble], str(stopped.error))
    assert "\n" not in str(stopped.error)
    (row,) = home.ledger.runs()
    assert (stopped.run, stopped.status, row.status) == (row.id, "failed", "failed")
    steps.befalls = lambda: None
    result = await flow.aresume(row.id, runtime=home)
    assert (result.status, len(result.output)) == ("done", 40_000)
    # The first step was kept; the second, which was not, ran again.
    assert steps.done == ["first", "second", "second"]


async def test_nothing_is_done_for_an_input_that_cannot_be_kept_and_the_run_begins_after_repair(
    runtime: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.ledger.storage.access.BUSY_SECONDS", 0.05)
    home, marks = runtime(), []

    @tool(effect="write")
    def mark(step: str) -> str:
        """Mark a step."""
        marks.append(step)
        return "it is marked"

    async def act(state: Any) -> dict[str, Any]:
        return {"output": await mark.ainvoke({"step": state["task"]})}

    def build(_: Runtime) -> StateGraph[Any, Any, Any, Any]:
        graph: StateGraph[Any, Any, Any, Any] = StateGraph(State)
        graph.add_node("act", act)
        graph.add_edge(START, "act")
        graph.add_edge("act", END)
        return graph

    flow = Workflow("act", graph=build)
    assert (await flow.arun("first", runtime=home)).status == "done"
    with held(home.settings.state / "checkpoints.db"), pytest.raises(ConfigError):
        await flow.arun("second", runtime=home)
    assert marks == ["first"]
    row = home.ledger.runs()[0]
    result = await flow.aresume(row.id, runtime=home)
    assert (row.status, result.status, result.run, marks) == ("failed", "done", row.id, ["first", "second"])


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def truncated(path: Path) -> None:
    # Its log goes with the last connection.
    with path.open("r+b") as file:
        file.truncate(5_000)


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def emptied_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * 100)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "newer": (newer, "was written by a newer Pointsman .*: upgrade Pointsman, or move the file away"),
    "truncated": (truncated, "it is damaged: move it away"),
    "garbage": (garbage, "it is not a SQLite file: move it away, or choose another"),
    "header": (emptied_header, "it is not a SQLite file: move it away, or choose another"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "it cannot be opened: check that the folder exists"),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_file_that_is_broken_is_refused_as_it_is_and_a_copy_put_back_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("pointsman.graphs.checkpoints.file._LINGER_SECONDS", 0.01)
    path, copy = tmp_path / "state" / "checkpoints.db", tmp_path / "copy.db"
    steps, others = Steps(), set(threading.enumerate())
    config: Any = {"configurable": {"thread_id": "r"}}
    async with checkpoints(path.parent, []) as saver:
        graph = steps.build(None).compile(checkpointer=saver, interrupt_before=["b"])  # type: ignore[arg-type]
        await graph.ainvoke({"task": "go"}, config, durability="sync")
    # Until its thread has ended: it deletes the log before it lets go of the file.
    async with asyncio.timeout(240):
        while any(thread.name == "pointsman-checkpoints" for thread in set(threading.enumerate()) - others):
            await asyncio.sleep(0.01)
    shutil.copy(path, copy)
    breaks, words = BROKEN[how]
    breaks(path)
    before = path.read_bytes() if path.is_file() else b""
    async with checkpoints(path.parent, []) as saver:
        for attempt in (
            saver.aget_tuple(config),
            saver.aput_writes({"configurable": {**config["configurable"], "checkpoint_id": "1"}}, [("a", 1)], "t"),
        ):
            with pytest.raises(ConfigError, match=rf"^the checkpoint file {path}: .*{words}") as told:
                await attempt
            assert "\n" not in str(told.value)
    if how != "newer":
        with pytest.raises(ConfigError, match=words):
            resumable(path.parent, ["r"])
    assert (path.read_bytes() if path.is_file() else b"") == before

    shutil.rmtree(path) if path.is_dir() else path.unlink()
    for left in path.parent.glob("checkpoints.db-*"):
        left.unlink()
    shutil.copy(copy, path)
    async with checkpoints(path.parent, []) as saver:
        graph = steps.build(None).compile(checkpointer=saver)  # type: ignore[arg-type]  # it takes nothing of it
        assert "output" in await graph.ainvoke(None, config, durability="sync")
    assert steps.done == ["first", "second"]


@contextmanager
def held(path: Path) -> Iterator[None]:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


async def test_an_event_loop_goes_on_while_the_file_is_held_by_another_process(tmp_path: Path) -> None:
    at: Any = {"configurable": {"thread_id": "r", "checkpoint_ns": "", "checkpoint_id": "1"}}
    async with checkpoints(tmp_path, []) as saver:
        await saver.aput_writes(at, [("a", 1)], "first")
        with held(tmp_path / "checkpoints.db"):
            writing = asyncio.create_task(saver.aput_writes(at, [("a", 2)], "second"))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not writing.done()
        await writing
    with sqlite3.connect(tmp_path / "checkpoints.db") as connection:
        assert connection.execute("SELECT count(*) FROM writes").fetchone() == (2,)


@contextmanager
def mounted(place: Path) -> Iterator[None]:
    """A disk of its own at a folder."""
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("only root may mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


async def test_a_disk_that_may_only_be_read_is_told_and_gone_on_with_once_it_may_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.graphs.checkpoints.file._LINGER_SECONDS", 0.01)
    at: Any = {"configurable": {"thread_id": "r", "checkpoint_ns": "", "checkpoint_id": "1"}}
    with mounted(tmp_path):
        state = tmp_path / "state"
        async with checkpoints(state, []) as saver:
            await saver.aput_writes(at, [("a", 1)], "first")
        async with asyncio.timeout(240):
            # A disk that is written to cannot be made so.
            while subprocess.run(["mount", "-o", "remount,ro", tmp_path], capture_output=True).returncode:
                await asyncio.sleep(0.01)
        async with checkpoints(state, []) as saver:
            with pytest.raises(
                ConfigError, match=r"checkpoint file .*: it (may not be written|cannot be opened): check"
            ):
                await saver.aput_writes(at, [("a", 2)], "second")
            subprocess.run(["mount", "-o", "remount,rw", tmp_path], check=True)
            await saver.aput_writes(at, [("a", 2)], "second")
        with sqlite3.connect(state / "checkpoints.db") as connection:
            assert connection.execute("SELECT count(*) FROM writes").fetchone() == (2,)
        connection.close()
