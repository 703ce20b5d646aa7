"""One run has one owner at a time, whoever it is, and loses it with its process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman import Agent, Workflow, tool
from pointsman.agents.owner import RunOwned, owned, owner_of
from pointsman.agents.runs import run_scope, status_of
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.simulator import Answer, Rule, Scenario, Simulator

Make = Callable[..., Runtime]

HOLDER = """
import sys
from pathlib import Path
from pointsman.agents.owner import owned
with owned(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def _holding(state: Path, run: str) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state), run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_run_that_another_process_owns_is_refused_with_its_name_until_that_is_killed(tmp_path: Path) -> None:
    holder = _holding(tmp_path, "r")
    try:
        said = rf"run r is being worked on by process {holder.pid} on .* since 20.* UTC"
        with pytest.raises(RunOwned, match=said), owned(tmp_path, "r"):
            pass
        found = owner_of(tmp_path, "r")
        assert found is not None
        assert found.process == holder.pid
        with owned(tmp_path, "another"):
            pass
    finally:
        holder.kill()
        holder.communicate()
    assert owner_of(tmp_path, "r") is None
    with owned(tmp_path, "r"):
        assert (owner_of(tmp_path, "r") or found).process == os.getpid()
    assert [path.name for path in (tmp_path / "owners").iterdir()] == []


def test_of_many_threads_one_at_a_time_owns_a_run(tmp_path: Path) -> None:
    inside, most, got = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, got
        for _ in range(20):
            try:
                with owned(tmp_path, "r"):
                    with guard:
                        inside, got = inside + 1, got + 1
                        most = max(most, inside)
                    owner_of(tmp_path, "r")
                    with guard:
                        inside -= 1
            except RunOwned:
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert got > 0


def test_whoever_only_looks_keeps_nobody_from_owning_a_run(tmp_path: Path) -> None:
    holder = _holding(tmp_path, "r")
    holder.kill()
    holder.communicate()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            owner_of(tmp_path, "r")

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(50):
            with owned(tmp_path, "r"):
                pass
    finally:
        over.set()
        looking.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_neither_keeps_a_run_nor_takes_it_from_its_parent(tmp_path: Path) -> None:
    held, release = os.pipe()
    try:
        with owned(tmp_path, "r"):
            child = os.fork()
            if child == 0:  # pragma: no cover - another process
                try:
                    raise RuntimeError("it unwinds through the block")
                finally:
                    os.close(release)
                    os.read(held, 1)
                    os._exit(0)
            assert owner_of(tmp_path, "r") is not None
        # The child lives on, and has nothing of the lock.
        with owned(tmp_path, "r"):
            pass
    finally:
        os.close(release)
        os.close(held)
        os.waitpid(child, 0)


@pytest.mark.parametrize("run", ["../../outside", "a/b", "", ".", "x y\n", "ü"], ids=repr)
def test_whatever_a_run_is_called_its_lock_stays_in_its_folder(tmp_path: Path, run: str) -> None:
    with owned(tmp_path / "state", run):
        (made,) = (tmp_path / "state" / "owners").iterdir()
        assert made.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["owners", "state"]


def test_a_run_whose_lock_cannot_be_made_is_a_mistake_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the run cannot be locked: File name too long"), owned(tmp_path, "x" * 300):
        pass


def test_a_run_under_way_is_running_and_one_whose_owner_has_gone_is_interrupted(simulated: Make) -> None:
    home = simulated()
    with run_scope(home, "test") as books:
        row = home.ledger.run(books.id)
        assert row is not None
        assert status_of(home, row) == "running"
    # Its row says so still, and by now it has ended.
    assert status_of(home, row) == "failed"
    home.ledger.record(row)
    assert status_of(home, row) == "interrupted"


async def test_a_run_that_is_resumed_twice_at_once_acts_once(simulated: Make, simulator: Simulator) -> None:
    ran: list[str] = []
    inside, go = asyncio.Event(), asyncio.Event()

    @tool(effect="destructive")
    async def delete_order(order_id: str) -> str:
        """Delete an order."""
        ran.append(order_id)
        inside.set()
        await go.wait()
        return "gone"

    def answer(request: Any) -> Answer:
        if request.tool_results:
            return Answer(text="so it is")
        return Answer(tool_calls=[{"name": "delete_order", "arguments": {"order_id": "A"}}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    home, flow = simulated(), Workflow("cleaner", [Agent("cleaner", tools=[delete_order])])
    stopped = await flow.arun("go", runtime=home)
    first = asyncio.create_task(flow.aresume(stopped.run, "approve", runtime=home))
    await inside.wait()
    for given in ("approve", "reject", None):
        with pytest.raises(RunOwned, match=f"process {os.getpid()} on "):
            await flow.aresume(stopped.run, given, runtime=home)
    go.set()
    assert ((await first).status, ran) == ("done", ["A"])
    assert (await flow.aresume(stopped.run, runtime=home)).status == "done"
    assert ran == ["A"]


def test_a_signal_that_ends_a_process_ends_its_ownership(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        holder = _holding(tmp_path, "r")
        holder.send_signal(number)
        holder.communicate()
        assert owner_of(tmp_path, "r") is None
