"""What a killed process had under way is charged once and recorded once, so that rows and budgets agree."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from pointsman.ledger.budgets.budgets import LASTING, Budgets
from pointsman.ledger.ledger import Ledger

CAP = 10_000_000

CALLS = """
    import asyncio, random, sys, time
    from pathlib import Path
    from pointsman.ledger.budgets.budgets import Budgets
    from pointsman.ledger.ledger import Ledger
    from pointsman.ledger.rows import CallRow
    from dataclasses import replace

    path, name = Path(sys.argv[1]), sys.argv[2]
    ledger, budgets, dice = Ledger(path), Budgets(path), random.Random(name)

    async def lane(number):
        for count in range(10_000):
            run = dice.choice("ab")
            scopes = {f"run:{run}": 10_000_000, "day:d": None}
            row = CallRow(f"{name}.{number}.{count}", "d", run, "s", "a", 1, "p/m", "economy", "low", time.time())
            reservation = await budgets.acquire(scopes, 400, 60, sent=True, row=row)
            await asyncio.sleep(dice.random() / 500)
            cost = dice.randrange(500)
            charged = budgets.settle(reservation, cost, recorded=True)
            ledger.record(replace(row, cost=charged))
            if count == 3:
                print("under way", flush=True)

    async def every():
        await asyncio.gather(*map(lane, range(10)))

    asyncio.run(every())
"""


def begun(path: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(CALLS), str(path), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def killed(process: subprocess.Popen[str], dice: random.Random) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "under way\n"
    time.sleep(dice.random() / 20)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def reclaimed_by_two(users: list[Budgets]) -> int:
    counts: list[int] = []
    threads = [threading.Thread(target=lambda one=one: counts.append(one.reclaim())) for one in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in users:
        one.close()
    return sum(counts)


def rows_and_budgets_agree(path: Path) -> Counter[str | None]:
    with Ledger(path) as ledger, closing(Budgets(path)) as budgets:
        calls = ledger.calls()
        assert ledger.verify() == []
        assert max(Counter(call.id for call in calls).values()) == 1
        cost: Counter[str] = Counter()
        for call in calls:
            cost[f"run:{call.run}"] += call.cost or 0
        for run in ("run:a", "run:b"):
            assert budgets.totals(run) == (cost[run], 0)
        assert budgets.totals("day:d") == (sum(cost.values()), 0)
        return Counter(call.failure for call in calls)


def test_after_any_number_of_kills_the_rows_cost_what_the_budgets_have_spent(path: Path) -> None:
    dice, ends = random.Random(7), Counter[str | None]()
    for turn in range(2):
        processes = [begun(path, f"{turn}.{number}") for number in range(2)]
        users = [Budgets(path), Budgets(path)]
        for process in processes:
            killed(process, dice)
        reclaimed_by_two(users)
        ends = rows_and_budgets_agree(path)
    assert ends["lost"] > 0


def test_two_who_reclaim_at_once_write_one_row_for_each_lost_call(path: Path, make: Any, script: Any) -> None:
    code = """
        import asyncio, os, sys
        from pathlib import Path
        from pointsman.ledger.budgets.budgets import Budgets
        from pointsman.ledger.rows import CallRow

        budgets = Budgets(Path(sys.argv[1]))
        row = lambda name: CallRow(name, "d", "a", "s", "agent", 2, "p/m", "economy", "low", 5.0)

        async def every():
            for number in range(3):
                await budgets.acquire({"run:a": 10_000}, 300, 1, sent=True, row=row(f"c{number}"))
            await budgets.acquire({"run:a": 10_000}, 50, 1)
            budgets.settle("c2", 7, recorded=True)
            os.kill(os.getpid(), 9)

        pid = os.fork()
        if not pid:
            asyncio.run(every())
        os.waitpid(pid, 0)
    """
    users = [Budgets(path), Budgets(path)]
    script(code, path)
    assert reclaimed_by_two(users) == 4
    with Ledger(path) as ledger, closing(Budgets(path)) as budgets:
        rows = ledger.calls("a")
        assert [(row.id, row.failure, row.cost) for row in rows] == [(f"c{one}", "lost", 300) for one in range(3)]
        assert {(row.decision, row.agent, row.attempt, row.model) for row in rows} == {("d", "agent", 2, "p/m")}
        assert budgets.totals("run:a") == (900, 0)


def test_a_call_that_another_process_took_for_lost_keeps_its_one_row(path: Path, make: Any) -> None:
    import asyncio

    row = make.call(id="c1", run="a")
    with Ledger(path) as ledger, closing(Budgets(path)) as mine, closing(Budgets(path)) as other:
        asyncio.run(mine.acquire({"run:a": CAP}, 500, 1, sent=True, row=row))
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("UPDATE reservations SET at = at - 86401, owner = 'another-host|b|n|1|1'")
        assert other.reclaim() == 1
        mine.settle("c1", 40, recorded=True)
        ledger.record(make.call(id="c1", run="a", cost=40))
        assert [(one.id, one.failure, one.cost) for one in ledger.calls()] == [("c1", "lost", 500)]
        assert mine.totals("run:a") == other.totals("run:a") == (500, 0)


def test_money_that_is_settled_serves_the_next_before_its_row_is_written(
    path: Path, make: Any, monkeypatch: Any
) -> None:
    import asyncio

    monkeypatch.setattr("pointsman.ledger.storage.writer._GROUP_SECONDS", 3600.0)
    with Ledger(path) as ledger, closing(Budgets(path)) as budgets:

        async def calls() -> None:
            for number in range(5):
                row = make.call(id=f"c{number}", run="a")
                await budgets.acquire({"run:a": 1_000}, 900, 60, sent=True, row=row)
                assert budgets.settle(row.id, 10, recorded=True) == 10
                assert budgets.totals("run:a") == ((number + 1) * 10, 0)
                assert budgets.settle(row.id, 10) is None
                ledger.record(make.call(id=row.id, run="a", cost=10))

        asyncio.run(calls())
    with closing(Budgets(path)) as budgets:
        assert budgets.totals("run:a") == (50, 0)


def test_what_is_reclaimed_of_a_batch_is_recorded_less_what_its_rows_tell_already(path: Path) -> None:
    with closing(Budgets(path)) as budgets:
        budgets.reserve({"run:a": CAP}, 500, f"{LASTING}b", sent=True)
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("UPDATE reservations SET at = 0")
        assert budgets.reclaim() == 1
        assert budgets.totals("run:a") == (500, 0)
    with Ledger(path) as ledger:
        assert [(row.run, row.failure, row.cost) for row in ledger.calls()] == [("a", "lost", 500)]


def test_a_release_that_cannot_be_written_is_written_later(path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("pointsman.ledger.budgets.file_store._PAUSE_SECONDS", 0.01)
    with closing(Budgets(path)) as budgets:
        reservation = budgets.reserve({"run:a": CAP}, 500, sent=True)
        with closing(sqlite3.connect(path)) as file:
            file.execute("CREATE TRIGGER full BEFORE UPDATE ON scopes BEGIN SELECT RAISE (ABORT, 'disk is full'); END")
            assert budgets.release(reservation)
            assert budgets.totals("run:a") == (0, 0)
            file.execute("DROP TRIGGER full")
        with closing(sqlite3.connect(path)) as file:
            assert _eventually(lambda: file.execute("SELECT reserved FROM scopes").fetchone() == (0,))


def _eventually(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
