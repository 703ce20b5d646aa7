"""What a killed process had under way is charged once and recorded once, so that rows and budgets agree."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from pointsman.ledger.batches import AskRow, BatchBook, PartRow, owner_of
from pointsman.ledger.budgets.budgets import BudgetExceeded, Budgets
from pointsman.ledger.ledger import Ledger
from pointsman.ledger.processes import this_process
from pointsman.ledger.rows import CallRow

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
    return python(CALLS, path, name)


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def lose(path: Path, other: Budgets, *reservations: str) -> None:
    """Have reservations, or all there are, taken for abandoned, as if their process were on another machine."""
    only = f" WHERE id IN ({', '.join('?' * len(reservations))})" if reservations else ""
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(f"UPDATE reservations SET at = at - 86401, owner = 'another-host|b|n|1|1'{only}", reservations)
        (count,) = file.execute("SELECT count(*) FROM reservations WHERE owner LIKE 'another-host%'").fetchone()
    assert other.reclaim() == count


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize("when", ["under way", "settled", "released"])
def test_a_call_that_another_process_took_for_lost_keeps_its_one_row(path: Path, make: Any, when: str) -> None:
    row = make.call(id="c1", run="a")
    with Ledger(path) as ledger, closing(Budgets(path)) as mine, closing(Budgets(path)) as other:
        asyncio.run(mine.acquire({"run:a": CAP}, 500, 1, sent=True, row=row))
        if when == "settled":
            mine.settle("c1", 40, recorded=True)
        lose(path, other)
        if when == "under way":
            mine.settle("c1", 40, recorded=True)
        if when == "released":
            mine.release("c1")
        else:
            ledger.record(make.call(id="c1", run="a", cost=40))
        ledger.flush()
        mine.release(mine.reserve({"run:a": CAP}, 1))
        assert [(one.id, one.failure, one.cost) for one in ledger.calls()] == [("c1", "lost", 500)]
        assert mine.totals("run:a") == other.totals("run:a") == (500, 0)


@pytest.mark.slow
def test_a_process_that_stands_still_until_it_is_taken_for_dead_charges_and_records_nothing_again(path: Path) -> None:
    code = """
        import asyncio, sys, time
        from dataclasses import replace
        from pathlib import Path
        from pointsman.ledger.budgets.budgets import Budgets
        from pointsman.ledger.ledger import Ledger
        from pointsman.ledger.rows import CallRow

        ledger, budgets = Ledger(Path(sys.argv[1])), Budgets(Path(sys.argv[1]))
        rows = [CallRow(f"c{number}", "d", "a", "s", "agent", 1, "p/m", "economy", "low", 5.0) for number in range(6)]

        async def begun(row):
            await budgets.acquire({"run:a": 10_000_000}, 500, 1, sent=True, row=row)

        def ended(row, cost):
            ledger.record(replace(row, cost=budgets.settle(row.id, cost, recorded=True)))

        for row in rows[:5]:
            asyncio.run(begun(row))
        ended(rows[0], 40)
        ledger.flush()
        print("under way", flush=True)
        sys.stdin.readline()
        ended(rows[1], 40)
        ended(rows[2], 40_000)
        budgets.release(rows[3].id)
        asyncio.run(begun(rows[5]))
        ended(rows[5], 60)
        ledger.close()
        budgets.close()
    """
    process = python(code, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "under way\n"
    process.send_signal(signal.SIGSTOP)
    with closing(Budgets(path)) as other:
        # It is seen to be there.
        assert other.reclaim() == 0
        lose(path, other)
    process.send_signal(signal.SIGCONT)
    process.communicate("go on\n", timeout=240)
    assert process.returncode == 0
    with Ledger(path) as ledger, closing(Budgets(path)) as budgets:
        rows = {row.id: (row.failure, row.cost) for row in ledger.calls()}
        assert rows == {"c0": (None, 40), **{f"c{one}": ("lost", 500) for one in range(1, 5)}, "c5": (None, 60)}
        assert (len(ledger.calls()), ledger.verify()) == (6, [])
        assert budgets.totals("run:a") == (40 + 4 * 500 + 60, 0)


def test_money_that_is_settled_serves_the_next_before_its_row_is_written(
    path: Path, make: Any, monkeypatch: Any
) -> None:
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


@pytest.mark.parametrize(("recorded", "rows"), [(0, [500]), (120, [380]), (500, []), (700, [])])
def test_what_is_reclaimed_of_a_batch_is_recorded_less_what_its_rows_tell_already(
    path: Path, make: Any, recorded: int, rows: list[int]
) -> None:
    with Ledger(path) as ledger, closing(Budgets(path)) as budgets, closing(BatchBook(path)) as book:
        reservation = budgets.reserve({"run:a": CAP}, 500, owner_of("b"), sent=True)
        asks = [AskRow("b", place, "p", "waiting", f"c{place}", "{}", "{}", 250) for place in range(2)]
        book.add("b", [PartRow("p", "b", "p/m", reservation=reservation)], asks)
        if recorded:
            ledger.record(make.call(id="c0", run="a", cost=recorded))
            ledger.flush()
        # Another process of this machine may go on with it for a month.
        assert budgets.reclaim() == 0
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("UPDATE reservations SET at = at - 30 * 86400 - 1")
        assert [budgets.reclaim() for _ in range(2)] == [1, 0]
        assert budgets.settle(reservation, 200) is None
        lost = [row for row in ledger.calls() if row.failure == "lost"]
        assert [(row.run, row.cost) for row in lost] == [("a", cost) for cost in rows]
        assert budgets.totals("run:a") == (max(500, recorded), 0)


@pytest.mark.parametrize("ended", [True, False], ids=["its process ended", "its process runs"])
def test_a_lease_that_version_4_of_the_tables_left_is_settled_once_its_process_has_ended(
    path: Path, as_of_version_4: Callable[[Path], None], ended: bool
) -> None:
    Ledger(path).close()
    as_of_version_4(path)
    owner = this_process()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("INSERT INTO scopes VALUES ('run:a', 40, 700), ('day:d', 40, 700)")
        owner = owner.rpartition("|")[0] + "|1" if ended else owner
        for name, sent in (("lease", 1), ("unsent", 0)):
            amount = 600 if sent else 100
            file.execute("INSERT INTO reservations VALUES (?, ?, ?, ?, ?)", (name, owner, amount, sent, time.time()))
            file.executemany("INSERT INTO reserved_in VALUES (?, ?)", [(name, "run:a"), (name, "day:d")])
    with Ledger(path) as ledger, closing(Budgets(path)) as budgets:
        assert [budgets.totals(scope) for scope in ("run:a", "day:d")] == [(640, 0) if ended else (40, 700)] * 2
        assert [(row.run, row.failure, row.cost) for row in ledger.calls()] == ([("a", "lost", 600)] if ended else [])
        assert budgets.settle("lease", 1) == (None if ended else 1)
        assert ledger.verify() == []


@pytest.mark.parametrize("cost", [0, 700])
def test_what_cannot_be_written_of_a_call_is_written_later(path: Path, monkeypatch: Any, cost: int) -> None:
    failed = threading.Event()
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        failed.set()

    monkeypatch.setattr("pointsman.ledger.budgets.file_store.time", SimpleNamespace(sleep=pause))
    with closing(Budgets(path)) as budgets:
        reservation = budgets.reserve({"run:a": CAP}, 500, sent=True)
        with closing(sqlite3.connect(path)) as file:
            file.execute("CREATE TRIGGER full BEFORE UPDATE ON scopes BEGIN SELECT RAISE (ABORT, 'disk is full'); END")
            # More than was reserved is known to the file before the call's row is.
            assert budgets.settle(reservation, cost, recorded=cost > 0) == cost
            assert failed.wait(240)
            assert budgets.totals("run:a") == (cost, 0)
            file.execute("DROP TRIGGER full")
        with closing(sqlite3.connect(path)) as file:
            assert _eventually(lambda: file.execute("SELECT reserved FROM scopes").fetchone() == (cost,))
    assert set(pauses) == {1.0}


def _eventually(true: Callable[[], bool], seconds: float = 240.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


class Reserving(RuleBasedStateMachine):
    """Two users of one file, whose calls end in any way and may be taken for lost, keep the counts of their rows."""

    held = Bundle("held")
    names = st.sampled_from(["run:a", "run:b", "user:x"])
    caps: ClassVar[dict[str, int | None]] = {"run:a": 10_000, "run:b": 25_000, "user:x": None}

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.db"
        self.ledger = Ledger(self.path)
        self.users = [Budgets(self.path), Budgets(self.path)]
        self.open: dict[str, tuple[int, set[str], int]] = {}
        # Reservations that were taken for lost, and whose they were.
        self.lost: dict[str, int] = {}
        self.spent = dict.fromkeys(self.caps, 0)
        self.rows: dict[str, tuple[str | None, int]] = {}

    @rule(target=held, user=st.integers(0, 1), names=st.sets(names, min_size=1), amount=st.integers(1, 3_000))
    def reserve(self, user: int, names: set[str], amount: int) -> str:
        scopes = {name: self.caps[name] for name in sorted(names)}
        fits = all(cap is None or sum(self._counts(name)) + amount <= cap for name, cap in scopes.items())
        row = CallRow(f"c{len(self.rows)}", "d", "r", "s", "a", 1, "p/m", "economy", "low", 1.0)
        try:
            asyncio.run(self.users[user].acquire(scopes, amount, 0, sent=True, row=row))
        except BudgetExceeded:
            assert not fits
            return ""
        assert fits
        self.rows[row.id] = "under way", 0
        self.open[row.id] = (user, names, amount)
        return row.id

    @rule(reservation=consumes(held), part=st.integers(0, 100), recorded=st.booleans())
    def end(self, reservation: str, part: int, recorded: bool) -> None:
        if reservation in self.lost:
            # Whatever its own process says of it then.
            self._told(self.lost.pop(reservation), reservation, part, recorded)
        elif reservation in self.open:
            user, names, amount = self.open.pop(reservation)
            cost = amount * part // 100 if recorded else 0
            self._told(user, reservation, cost, recorded)
            for name in names:
                self.spent[name] += cost
            self.rows[reservation] = (None, cost) if recorded else ("released", 0)

    @rule(user=st.integers(0, 1))
    def lose(self, user: int) -> None:
        """The other takes what this one has under way for abandoned."""
        gone = [one for one, (owner, *_) in self.open.items() if owner == user]
        if gone:
            lose(self.path, self.users[1 - user], *gone)
        for one in gone:
            _, names, amount = self.open.pop(one)
            self.lost[one] = user
            for name in names:
                self.spent[name] += amount
            self.rows[one] = "lost", amount

    @rule()
    def flush(self) -> None:
        self.ledger.flush()

    @rule(user=st.integers(0, 1))
    def reopen(self, user: int) -> None:
        if not any(owner == user for owner in [one[0] for one in self.open.values()] + [*self.lost.values()]):
            self.users[user].close()
            self.users[user] = Budgets(self.path)

    @invariant()
    def no_cap_is_passed_and_nothing_is_forgotten(self) -> None:
        for name, cap in self.caps.items():
            for user in self.users:
                assert user.totals(name) == self._counts(name)
            with closing(sqlite3.connect(self.path)) as file:
                found = file.execute("SELECT spent, reserved FROM scopes WHERE name = ?", (name,)).fetchone() or (0, 0)
            # What any other process sees.
            assert sum(self._counts(name)) <= sum(found)
            assert cap is None or sum(found) <= cap

    def _counts(self, name: str) -> tuple[int, int]:
        return self.spent[name], sum(amount for _, names, amount in self.open.values() if name in names)

    def _told(self, user: int, reservation: str, cost: int, recorded: bool) -> None:
        if not recorded:
            self.users[user].release(reservation)
            return
        charged = self.users[user].settle(reservation, cost, recorded=True)
        self.ledger.record(CallRow(reservation, "d", "r", "s", "a", 1, "p/m", "economy", "low", 1.0, cost=charged))

    def teardown(self) -> None:
        if not hasattr(self, "users"):
            return
        for reservation in list(self.open):
            self.end(reservation, 100, recorded=True)
        self.ledger.close()
        for user in self.users:
            user.close()
        with closing(sqlite3.connect(self.path)) as file:
            assert file.execute("SELECT count(*) FROM reservations").fetchone() == (0,)
            counts = dict(file.execute("SELECT name, spent FROM scopes WHERE NOT reserved"))
        assert counts == {name: self.spent[name] for name in counts}
        with Ledger(self.path) as ledger:
            assert ledger.verify() == []
            rows = Counter((row.id, row.failure, row.cost) for row in ledger.calls())
        assert rows == Counter((one, *told) for one, told in self.rows.items() if told[0] != "released")
        self.folder.cleanup()


TestReserving = Reserving.TestCase
TestReserving.settings = settings(deadline=None, max_examples=15, stateful_step_count=20)
