"""One run has one holder at a time, whoever it is, and loses it with its process or when its lease is over."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman import Agent, Workflow, tool
from pointsman.agents.lease import heartbeat
from pointsman.agents.lease.holder import Holder, RunCancelled, RunOwned
from pointsman.agents.lease.lease import LEASE_SECONDS, Lease, holder_of
from pointsman.agents.runs import run_scope, status_of
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.ledger import Ledger
from pointsman.ledger.rows import CallRow, EffectRow, KeptRow, LeaseRow, RunRow
from pointsman.ledger.storage.fences import Fenced
from pointsman.simulator import Answer, Rule, Scenario, Simulator

Make = Callable[..., Runtime]
BOUND = 240.0

HOLDER = """
import sys
from pathlib import Path
from pointsman.agents.lease.lease import Lease
from pointsman.ledger.ledger import Ledger
state = Path(sys.argv[1])
ledger = Ledger(state / "ledger.db")
lease = Lease.take(ledger, state, sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


class Clock:
    """A clock that is set."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


def _holding(programs: Any, state: Path, run: str) -> Any:
    holder = programs.start(
        ["-c", HOLDER, state, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert holder.stdout.readline().strip() == "held"
    return holder


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_another_process_holds_is_refused_with_its_name_until_that_is_gone(
    programs: Any, ledger: Ledger, tmp_path: Path, number: int
) -> None:
    holder = _holding(programs, tmp_path, "r")
    try:
        said = rf"run r is being worked on by process {holder.pid} on .* since 20.* UTC"
        with pytest.raises(RunOwned, match=said):
            Lease.take(ledger, tmp_path, "r")
        found = holder_of(ledger, tmp_path, "r")
        assert found is not None
        assert found.process == holder.pid
        Lease.take(ledger, tmp_path, "another").close()
    finally:
        os.kill(holder.pid, number)
        holder.communicate()
    assert holder_of(ledger, tmp_path, "r") is None
    ours = Lease.take(ledger, tmp_path, "r")
    assert (holder_of(ledger, tmp_path, "r") or found).process == os.getpid()
    assert ours.token == 2
    ours.close()
    ledger.flush()
    assert [path.name for path in (tmp_path / "owners").iterdir()] == []


def test_a_holder_that_is_stopped_keeps_the_run_until_its_lease_is_over(
    programs: Any, ledger: Ledger, tmp_path: Path
) -> None:
    holder = _holding(programs, tmp_path, "r")
    os.kill(holder.pid, signal.SIGSTOP)
    clock = Clock(time.time())
    try:
        with pytest.raises(RunOwned, match=f"process {holder.pid} on "):
            Lease.take(ledger, tmp_path, "r", clock)
        clock.now += LEASE_SECONDS + 1
        ours = Lease.take(ledger, tmp_path, "r", clock)
        assert ours.token == 2
        ours.close()
    finally:
        holder.kill()
        holder.communicate()


def _run(status: str) -> RunRow:
    return RunRow("r", "test", 1.0, status=status)


def _call(name: str, run: str) -> CallRow:
    return CallRow(name, "d", run, "step", "agent", 1, "a/b", "economy", "low", 1.0, cost=7)


def _effect(run: str) -> EffectRow:
    return EffectRow(f"{run}-act", run, "step", "agent", "send", "write", "d", 1.0)


def test_nothing_lands_that_a_holder_writes_once_another_has_taken_its_run_over(ledger: Ledger, tmp_path: Path) -> None:
    clock = Clock()
    with Ledger(tmp_path / "ledger.db") as beside:
        ours = Lease.begin(ledger, tmp_path, "r", clock)
        ledger.record(_run("running"))
        ledger.record(_call("before", "r"))
        ledger.record(KeptRow("r", "input", "sealed"))
        ledger.flush()
        with pytest.raises(RunOwned):
            Lease.take(beside, tmp_path, "r", clock)
        clock.now += LEASE_SECONDS + 1
        theirs = Lease.take(beside, tmp_path, "r", clock)
        beside.record(_run("pending"))
        beside.flush()

        ledger.record(_run("done"))
        ledger.record(_call("after", "r"))
        ledger.record(_call("elsewhere", "another"))
        with pytest.raises(Fenced, match="run r was taken over by somebody else"):
            ledger.commit(_effect("r"))
        with pytest.raises(Fenced):
            ledger.leases.check("r")
        # The taker takes the run up from what it kept.
        with pytest.raises(Fenced):
            ledger.kept.forget("r", token=ours.token)
        assert beside.kept.names("r") == {"input"}
        assert [call.id for call in beside.calls()] == ["before", "elsewhere"]
        assert beside.effects() == ()
        assert beside.run("r") == _run("pending")
        assert ledger.verify() == []

        heartbeat.beat([ours])
        assert (ours.lost or Holder("", 0, 0)).process == os.getpid()
        ours.close()
        ledger.flush()
        # Its renewal and its end have changed nothing of what is the other's.
        assert beside.leases.of("r") == LeaseRow(
            "r", 2, socket.gethostname(), os.getpid(), clock.now, clock.now + LEASE_SECONDS, locked=True
        )
        theirs.close()


def test_a_holder_that_was_away_goes_on_where_nobody_has_taken_its_run(ledger: Ledger, tmp_path: Path) -> None:
    clock = Clock()
    with Ledger(tmp_path / "ledger.db") as beside:
        ours = Lease.begin(ledger, tmp_path, "r", clock)
        clock.now += 10 * LEASE_SECONDS
        assert holder_of(beside, tmp_path, "r", clock) is None
        heartbeat.beat([ours])
        assert ours.lost is None
        with pytest.raises(RunOwned):
            Lease.take(beside, tmp_path, "r", clock)
        ledger.commit(_effect("r"))
        # What it renews lasts as long from that moment, and no longer.
        clock.now += LEASE_SECONDS + 1
        Lease.take(beside, tmp_path, "r", clock).close()
        ours.close()


def test_of_a_holder_on_another_machine_only_its_lease_tells(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    row = LeaseRow("r", 1, "elsewhere", 1, clock.now, clock.now + LEASE_SECONDS, locked=True)
    ledger.leases.begin(row)
    with pytest.raises(RunOwned, match="process 1 on elsewhere since"):
        Lease.take(ledger, tmp_path, "r", clock)
    # On that machine the lock would tell: nobody has it.
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    Lease.take(ledger, tmp_path, "r", clock).close()


def test_on_a_disk_without_locks_the_lease_alone_tells_and_that_is_said_once(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    clock = Clock()
    ours = Lease.begin(ledger, tmp_path, "r", clock)
    Lease.begin(ledger, tmp_path, "another", clock).close()
    assert caplog.text.count("the disk has no file locks (No locks available)") == 1
    with pytest.raises(RunOwned, match=f"process {os.getpid()}"):
        Lease.take(ledger, tmp_path, "r", clock)
    clock.now += LEASE_SECONDS + 1
    Lease.take(ledger, tmp_path, "r", clock).close()
    ours.close()


def test_of_many_threads_one_at_a_time_holds_a_run(ledger: Ledger, tmp_path: Path) -> None:
    inside, most, got = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, got
        for _ in range(10):
            try:
                lease = Lease.take(ledger, tmp_path, "r")
            except RunOwned:
                continue
            with guard:
                inside, got = inside + 1, got + 1
                most = max(most, inside)
            holder_of(ledger, tmp_path, "r")
            with guard:
                inside -= 1
            lease.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert got > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_neither_keeps_a_run_nor_takes_it_from_its_parent(ledger: Ledger, tmp_path: Path) -> None:
    held, release = os.pipe()
    lease = Lease.take(ledger, tmp_path, "r")
    try:
        child = os.fork()
        if child == 0:  # pragma: no cover - another process
            try:
                lease.close()
            finally:
                os.close(release)
                os.read(held, 1)
                os._exit(0)
        assert holder_of(ledger, tmp_path, "r") is not None
        lease.close()
        # The child lives on, and has nothing of the lock.
        Lease.take(ledger, tmp_path, "r").close()
    finally:
        os.close(release)
        os.close(held)
        os.waitpid(child, 0)


@pytest.mark.parametrize("run", ["../../outside", "a/b", "", ".", "x y\n", "ü"], ids=repr)
def test_whatever_a_run_is_called_its_lock_stays_in_its_folder(ledger: Ledger, tmp_path: Path, run: str) -> None:
    lease = Lease.take(ledger, tmp_path / "state", run)
    (made,) = (tmp_path / "state" / "owners").iterdir()
    assert made.stat().st_mode & 0o077 == 0
    lease.close()
    ledger.flush()
    assert list((tmp_path / "state" / "owners").iterdir()) == []


def test_a_run_whose_lock_cannot_be_made_is_a_mistake_that_says_so(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the run cannot be locked: File name too long"):
        Lease.take(ledger, tmp_path, "x" * 300)
    assert ledger.leases.of("x" * 300) is None


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


@pytest.mark.parametrize("why", ["lost", "cancelled"])
async def test_a_run_that_is_taken_over_or_asked_to_stop_is_broken_off_and_says_so(
    simulated: Make, simulator: Simulator, tmp_path: Path, why: str
) -> None:
    home, state = simulated(), tmp_path / ".pointsman"
    begun = asyncio.Event()

    async def work() -> None:
        with run_scope(home, "test") as books:
            books.lease._clock = clock
            begun.set()
            await asyncio.sleep(BOUND)

    clock = Clock(time.time())
    task = asyncio.create_task(work())
    await begun.wait()
    (run,) = await asyncio.to_thread(home.ledger.runs)
    with Ledger(state / "ledger.db") as beside:
        if why == "lost":
            clock.now += LEASE_SECONDS + 1
            theirs = await asyncio.to_thread(Lease.take, beside, state, run.id, clock)
        else:
            await asyncio.to_thread(beside.leases.cancel, run.id)
        await asyncio.to_thread(heartbeat.beat, list(heartbeat._leases))
        said = "was taken over by process" if why == "lost" else f"go on with: pointsman resume {run.id}"
        with pytest.raises(RunOwned if why == "lost" else RunCancelled, match=said):
            await task
        await asyncio.to_thread(home.ledger.flush)
        after = await asyncio.to_thread(beside.run, run.id)
        assert after is not None
        assert after.status == ("running" if why == "lost" else "interrupted")
        if why == "lost":
            theirs.close()
