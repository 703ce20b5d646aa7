"""Leases spare the file most calls, and give up nothing that budgets promise."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from pointsman.configs.errors import PointsmanError
from pointsman.ledger.budgets.budgets import LASTING, BudgetExceeded, Budgets
from pointsman.ledger.budgets.reservations import MOST

CAP = 1_000_000
WORST = 1_000
RUN = {"run:a": CAP}


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[[], Budgets]]:
    """Opens the same file again and again."""
    made: list[Budgets] = []

    def open_one() -> Budgets:
        made.append(Budgets(path))
        return made[-1]

    yield open_one
    for one in made:
        one.close()


@pytest.fixture
def budgets(opened: Callable[[], Budgets]) -> Budgets:
    return opened()


@pytest.fixture
def hourly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is booked or given back by the clock."""
    monkeypatch.setattr("pointsman.ledger.budgets.lease._PERIOD_SECONDS", 3600.0)


@pytest.fixture
def no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits tries again only when woken."""
    monkeypatch.setattr("pointsman.ledger.budgets.queues._POLL_SECONDS", 3600.0)


def call(budgets: Budgets, scopes: dict[str, int | None] | dict[str, int], cost: int, most: int = WORST) -> None:
    reservation = budgets.reserve(dict(scopes), most, sent=True)
    assert budgets.settle(reservation, cost) == cost
    # As a call does on every way out.
    assert not budgets.release(reservation)


def begun(budgets: Budgets, amount: int, scopes: dict[str, int] | None = None) -> str:
    return budgets.reserve(dict(scopes or RUN), amount, sent=True)


def in_file(path: Path, scope: str = "run:a") -> tuple[int, int]:
    """What any other process sees."""
    with closing(sqlite3.connect(path)) as file:
        spent, reserved = file.execute("SELECT spent, reserved FROM scopes WHERE name = ?", (scope,)).fetchone()
        return spent, reserved


def eventually(true: Callable[[], bool], seconds: float = 240.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else is writing to the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("BEGIN IMMEDIATE")
        yield
        file.execute("ROLLBACK")


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_calls_that_follow_each_other_quickly_do_not_wait_for_the_file(
    budgets: Budgets, path: Path, hourly: None
) -> None:
    for _ in range(20):
        call(budgets, RUN, 10)
    finished = threading.Event()

    def more() -> None:
        for _ in range(50):
            call(budgets, RUN, 10)
        finished.set()

    with locked(path):
        thread = threading.Thread(target=more)
        thread.start()
        assert finished.wait(20)
    thread.join()
    assert budgets.totals("run:a") == (700, 0)


def test_one_call_alone_takes_no_more_than_it_may_cost(budgets: Budgets, path: Path, hourly: None) -> None:
    begun(budgets, WORST)
    assert in_file(path) == (0, WORST)


def test_what_is_taken_ahead_is_a_64th_of_what_is_left_at_most(budgets: Budgets, path: Path, hourly: None) -> None:
    for _ in range(50):
        begun(budgets, 100, {"run:a": 64 * 500 + 5_000})
    assert 5_000 < in_file(path)[1] <= 5_500
    for _ in range(10):
        begun(budgets, 600, {"run:b": 64 * 500})
    assert in_file(path, "run:b") == (0, 6_000)


def test_what_a_burst_of_calls_did_not_need_is_cut_to_a_64th_while_calls_go_on(budgets: Budgets, path: Path) -> None:
    scopes = {"run:a": 64 * 500}

    def reserved() -> int:
        for _ in range(20):
            call(budgets, scopes, 0, 100)
        return in_file(path)[1]

    for reservation in [begun(budgets, 100, scopes) for _ in range(50)]:
        budgets.release(reservation)
    assert eventually(lambda: 0 < reserved() <= 500)
    assert max(reserved() for _ in range(50)) <= 600


def test_a_scope_without_a_cap_is_counted_to_the_picodollar(budgets: Budgets, path: Path, hourly: None) -> None:
    for _ in range(10):
        budgets.reserve({"tag:t": None}, 600, sent=True)
    assert in_file(path, "tag:t") == budgets.totals("tag:t") == (0, 6_000)


def test_totals_tell_what_is_spent_and_what_calls_have_reserved_and_no_idle_lease(
    budgets: Budgets, path: Path, hourly: None
) -> None:
    scopes = {"run:a": CAP, "user:x": 2 * CAP}
    under_way = [begun(budgets, WORST, scopes) for _ in range(10)]
    call(budgets, scopes, 7)
    call(budgets, {"run:b": CAP, "user:x": 2 * CAP}, 3)
    assert budgets.totals("run:a") == (7, 10 * WORST)
    assert budgets.totals("user:x") == (10, 10 * WORST)
    spent, reserved = in_file(path)
    assert spent < 7 or reserved > 10 * WORST
    for reservation in under_way:
        assert budgets.mark_sent(reservation)
        assert budgets.release(reservation)
    assert budgets.totals("user:x") == (10, 0)


def test_what_was_spent_is_booked_and_an_idle_lease_given_back_by_the_clock(budgets: Budgets, path: Path) -> None:
    held = begun(budgets, WORST)
    for _ in range(20):
        call(budgets, RUN, 10)
    assert eventually(lambda: in_file(path) == (200, WORST))
    budgets.settle(held, 1)
    assert eventually(lambda: in_file(path) == (201, 0))
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT count(*) FROM reservations").fetchone() == (0,)


def test_a_file_that_cannot_be_written_for_a_while_loses_nothing(budgets: Budgets, path: Path) -> None:
    for _ in range(20):
        call(budgets, RUN, 10)
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TRIGGER full BEFORE UPDATE ON scopes BEGIN SELECT RAISE (ABORT, 'disk is full'); END")
        # The lease lasts for some more calls.
        call(budgets, RUN, 900)
        with pytest.raises(PointsmanError, match="free some space"):
            begun(budgets, CAP // 2)
        assert budgets.totals("run:a") == (1_100, 0)
        file.execute("DROP TRIGGER full")
    assert eventually(lambda: in_file(path) == (1_100, 0))


def test_what_one_lease_has_idle_serves_another_at_once(budgets: Budgets, hourly: None) -> None:
    day = {"day:d": CAP}
    for _ in range(10):
        call(budgets, {"run:a": CAP, **day}, 0)
    # First the fault: who looks only into the file finds less than there is.
    begun(budgets, CAP - 500, day)
    assert budgets.totals("day:d") == (0, CAP - 500)
    with pytest.raises(BudgetExceeded) as caught:
        begun(budgets, 501, {"run:b": CAP, **day})
    assert (caught.value.spent, caught.value.reserved) == (0, CAP - 500)
    assert budgets.release(budgets.reserve({"run:b": CAP, **day}, 500))


@pytest.mark.parametrize("actual", [None, -1, float("nan"), 3.5, "12", True, WORST])
def test_a_cost_that_is_not_known_is_charged_at_what_was_reserved(budgets: Budgets, actual: Any, hourly: None) -> None:
    for _ in range(5):
        call(budgets, RUN, 0)
    assert budgets.settle(begun(budgets, WORST), actual) == WORST
    assert budgets.totals("run:a") == (WORST, 0)


def test_a_cost_above_what_is_leased_is_booked_in_full_and_at_once(budgets: Budgets, path: Path, hourly: None) -> None:
    held = begun(budgets, 400)
    assert budgets.settle(begun(budgets, WORST), CAP + 5) == CAP + 5
    assert eventually(lambda: in_file(path) == (CAP + 5, 400))
    with pytest.raises(BudgetExceeded) as caught:
        begun(budgets, 1)
    assert caught.value.final
    assert budgets.settle(held, 10**40) == MOST
    assert budgets.totals("run:a") == (MOST, 0)
    assert eventually(lambda: in_file(path) == (MOST, 0))
    assert budgets.settle(begun(budgets, 0), 0) == 0


def test_a_reservation_under_a_lease_ends_once(budgets: Budgets, hourly: None) -> None:
    for _ in range(5):
        call(budgets, RUN, 0)
    reservation = begun(budgets, 40)
    assert budgets.settle(reservation, 10) == 10
    assert budgets.settle(reservation, 10) is None
    assert not budgets.release(reservation)
    assert not budgets.mark_sent(reservation)
    assert budgets.totals("run:a") == (10, 0)


def test_what_a_batch_reserves_is_in_the_file_for_any_process_to_settle(
    opened: Callable[[], Budgets], path: Path, hourly: None
) -> None:
    mine, other = opened(), opened()
    reservation = mine.reserve(RUN, 300, f"{LASTING}b1", sent=True)
    assert in_file(path) == (0, 300)
    assert other.settle(reservation, 20) == 20
    assert not mine.release(reservation)
    assert mine.totals("run:a") == other.totals("run:a") == (20, 0)


def test_a_lease_that_was_taken_for_abandoned_is_charged_once(
    opened: Callable[[], Budgets], path: Path, hourly: None
) -> None:
    mine, other = opened(), opened()
    call(mine, RUN, 10)
    under_way = begun(mine, 500)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE reservations SET at = at - 86401, owner = 'another-host|b|n|1|1'")
    held = sum(in_file(path))
    assert other.reclaim() == 1
    assert in_file(path) == (held, 0)
    # The next that needs the file hears of it.
    mine.release(begun(mine, 100_000))
    assert mine.settle(under_way, 500) is None
    assert mine.totals("run:a") == (held, 0)


def test_closing_books_what_was_spent_and_leaves_what_is_under_way(
    opened: Callable[[], Budgets], path: Path, hourly: None
) -> None:
    budgets = opened()
    under_way = [begun(budgets, WORST) for _ in range(5)]
    call(budgets, RUN, 10)
    budgets.close()
    assert in_file(path) == (10, 5 * WORST)
    with pytest.raises(PointsmanError):
        budgets.settle(under_way[0], 1)
    with pytest.raises(PointsmanError):
        begun(budgets, 1)


def test_what_was_overdrawn_is_booked_before_anything_else_is_let_through(
    budgets: Budgets, path: Path, hourly: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.ledger.budgets.clerk.Clerk.ring", lambda *_: None)
    day = {"day:d": CAP}
    assert budgets.settle(begun(budgets, WORST, {"run:a": CAP, **day}), CAP - 10) == CAP - 10
    # First the fault: the file knows nothing of it yet.
    assert in_file(path, "day:d")[0] == 0
    with pytest.raises(BudgetExceeded) as caught:
        begun(budgets, 11, {"run:b": CAP, **day})
    assert caught.value.spent == CAP - 10
    assert budgets.release(begun(budgets, 10, {"run:b": CAP, **day}))


def test_a_process_that_ends_without_closing_has_booked_what_it_spent(path: Path, budgets: Budgets) -> None:
    code = """
        import sys
        from pathlib import Path
        from pointsman.ledger.budgets import lease
        from pointsman.ledger.budgets.budgets import Budgets

        lease._PERIOD_SECONDS = 3600.0
        budgets = Budgets(Path(sys.argv[1]))
        for _ in range(50):
            budgets.settle(budgets.reserve({"run:a": 1_000_000}, 1_000, sent=True), 3)
    """
    process = python(code, path)
    assert process.communicate(timeout=240)[1] == ""
    assert budgets.totals("run:a") == (150, 0)


IDLE = """
    import sys, time
    from pathlib import Path
    from pointsman.ledger.budgets import lease
    from pointsman.ledger.budgets.budgets import Budgets

    lease._PERIOD_SECONDS = float(sys.argv[2])
    budgets = Budgets(Path(sys.argv[1]))
    for _ in range(20):
        budgets.settle(budgets.reserve({"run:a": 1_000_000}, 1_000, sent=True), 3)
    print("ready", flush=True)
    time.sleep(600)
"""


async def test_what_another_process_has_idle_comes_to_who_waits_for_it(path: Path, budgets: Budgets) -> None:
    everything = CAP - 60
    # First the fault: a lease that nobody gives back stands in the way until its process ends.
    greedy = python(IDLE, path, 3600)
    ready(greedy)
    with pytest.raises(BudgetExceeded):
        await budgets.acquire(RUN, everything, patience=0.6, sent=True)
    kill(greedy)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("DELETE FROM reservations")
        file.execute("UPDATE scopes SET spent = 0, reserved = 0")

    fair = python(IDLE, path, 0.05)
    ready(fair)
    async with asyncio.timeout(240):
        assert budgets.release(await budgets.acquire(RUN, everything, patience=240, sent=True))
    assert budgets.totals("run:a") == (60, 0)
    kill(fair)


def test_who_is_killed_is_charged_what_it_spent_and_had_under_way_and_a_64th_at_most(
    path: Path, budgets: Budgets
) -> None:
    code = """
        import sys, time
        from pathlib import Path
        from pointsman.ledger.budgets import lease
        from pointsman.ledger.budgets.budgets import Budgets

        lease._PERIOD_SECONDS = 3600.0
        budgets = Budgets(Path(sys.argv[1]))
        scopes = {"run:a": 1_000_000, "user:x": None}
        budgets.reserve(scopes, 500)
        for _ in range(10):
            budgets.settle(budgets.reserve(scopes, 1_000, sent=True), 900)
            budgets.reserve(scopes, 1_000, sent=True)
        print("ready", flush=True)
        time.sleep(600)
    """
    process = python(code, path)
    ready(process)
    assert budgets.reclaim() == 0
    kill(process)
    assert budgets.reclaim() == 2
    spent, reserved = budgets.totals("run:a")
    assert reserved == 0
    assert 19_000 <= spent <= 19_000 + CAP // 64
    assert budgets.totals("user:x") == (spent, 0)
    assert budgets.reclaim() == 0


async def _branch(budgets: Budgets, cap: int, worst: int, seed: int) -> None:
    dice = random.Random(seed)
    while True:
        try:
            reservation = await budgets.acquire({"run:a": cap}, worst, patience=240, sent=True)
        except BudgetExceeded:
            return
        await asyncio.sleep(0)
        assert sum(budgets.totals("run:a")) <= cap
        budgets.settle(reservation, dice.randrange(worst // 10, worst // 5))


# The first cap is one that leases are made under for most of the way, the second one that the branches fill at once.
@pytest.mark.parametrize(("cap", "worst"), [(1_000_000, 1_000), (1_000_000, 10_000)])
async def test_four_hundred_parallel_branches_use_nearly_all_of_a_cap_and_never_pass_it(
    budgets: Budgets, cap: int, worst: int, no_polling: None
) -> None:
    async with asyncio.timeout(240):
        await asyncio.gather(*(_branch(budgets, cap, worst, seed) for seed in range(400)))
    spent, reserved = budgets.totals("run:a")
    assert reserved == 0
    assert 0.95 * cap <= spent <= cap


BRANCHES = """
    import asyncio, random, sys
    from pathlib import Path
    from pointsman.ledger.budgets.budgets import BudgetExceeded, Budgets

    budgets, dice = Budgets(Path(sys.argv[1])), random.Random(sys.argv[4])
    cap, worst = int(sys.argv[2]), int(sys.argv[3])
    charged = []

    async def branch():
        while True:
            try:
                reservation = await budgets.acquire({"run:a": cap}, worst, patience=240, sent=True)
            except BudgetExceeded:
                return
            await asyncio.sleep(0)
            assert sum(budgets.totals("run:a")) <= cap
            charged.append(budgets.settle(reservation, dice.randrange(worst // 10, worst // 5)))

    async def every():
        await asyncio.gather(*(branch() for _ in range(50)))

    asyncio.run(every())
    print(sum(charged))
"""


@pytest.mark.parametrize("worst", [1_000, 10_000])
def test_four_processes_use_nearly_all_of_a_cap_and_never_pass_it(path: Path, budgets: Budgets, worst: int) -> None:
    processes = [python(BRANCHES, path, CAP, worst, seed) for seed in range(4)]
    charged = []
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        charged.append(int(out))
    assert budgets.totals("run:a") == (sum(charged), 0)
    assert 0.95 * CAP <= sum(charged) <= CAP


def test_threads_never_pass_a_cap_together(budgets: Budgets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.ledger.budgets.lease._PERIOD_SECONDS", 0.001)
    charged: list[int] = []
    seen: list[int] = []

    def work(seed: int) -> None:
        dice = random.Random(seed)
        sets: list[dict[str, int | None]]
        sets = [{"run:a": CAP}, {"run:a": CAP, "user:x": None}, {"user:x": None, "run:a": CAP}]
        for _ in range(300):
            amount = dice.randrange(1, 2 * WORST)
            try:
                reservation = budgets.reserve(sets[seed % 3], amount, sent=dice.random() < 0.9)
            except BudgetExceeded:
                continue
            charged.append(budgets.settle(reservation, dice.randrange(amount)) or 0)
            seen.append(sum(budgets.totals("run:a")))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budgets.totals("run:a") == (sum(charged), 0)
    assert max(seen) <= CAP


class Leasing(RuleBasedStateMachine):
    """Two users of one file, in any order and whenever the clock strikes, keep the counts of a plain account."""

    held = Bundle("held")
    names = st.sampled_from(["run:a", "run:b", "user:x"])
    caps: ClassVar[dict[str, int | None]] = {"run:a": 10_000, "run:b": 25_000, "user:x": None}

    @initialize()
    def start(self) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.db"
        self.users = [Budgets(self.path), Budgets(self.path)]
        self.open: dict[str, tuple[int, set[str], int]] = {}
        self.spent = dict.fromkeys(self.caps, 0)

    @rule(target=held, user=st.integers(0, 1), names=st.sets(names), amount=st.integers(0, 900), sent=st.booleans())
    def reserve(self, user: int, names: set[str], amount: int, sent: bool) -> str:
        try:
            scopes = {name: self.caps[name] for name in sorted(names)}
            reservation = self.users[user].reserve(scopes, amount, sent=sent)
        except BudgetExceeded:
            # What the other has idle may be missing, a 64th at most; all that is this user's own is found.
            left = min((self.caps[name] or 10**9) - self.spent[name] - self._reserved(name) for name in names)
            assert amount > left - 10_000 // 64
            return ""
        self.open[reservation] = (user, names, amount)
        return reservation

    @rule(reservation=consumes(held), part=st.integers(0, 110))
    def settle(self, reservation: str, part: int) -> None:
        user, names, amount = self.open.pop(reservation, (0, set(), 0))
        cost = amount * part // 100
        # More than was reserved only where that passes no cap.
        if any(self.caps[n] and self.spent[n] + self._reserved(n) + cost > (self.caps[n] or 0) for n in names):
            cost = min(cost, amount)
        charged = self.users[user].settle(reservation, cost)
        for name in names:
            self.spent[name] += charged or 0

    @rule(reservation=held)
    def release(self, reservation: str) -> None:
        user = self.open[reservation][0] if reservation in self.open else 0
        assert self.users[user].release(reservation) == (self.open.pop(reservation, None) is not None)

    @rule(user=st.integers(0, 1))
    def reopen(self, user: int) -> None:
        if not any(owner == user for owner, *_ in self.open.values()):
            self.users[user].close()
            self.users[user] = Budgets(self.path)

    def _reserved(self, name: str, user: int | None = None) -> int:
        found = [one for one in self.open.values() if name in one[1]]
        return sum(amount for owner, _, amount in found if user is None or user == owner)

    def _told(self, ask: Callable[[], tuple[int, int]], used: int) -> tuple[int, int]:
        """The answer, once a thread has told the file what calls cost above their reservations."""
        for _ in range(6_000):
            found = ask()
            if sum(found) >= used:
                break
            time.sleep(0.01)
        return found

    @invariant()
    def no_cap_is_passed_and_nothing_is_forgotten(self) -> None:
        for name, cap in self.caps.items():
            used = self.spent[name] + self._reserved(name)
            spent, reserved = self._told(partial(in_file, self.path, name), used) if used else (0, 0)
            assert spent <= self.spent[name] <= spent + reserved
            assert used <= spent + reserved
            assert cap is None or spent + reserved <= cap
            for budgets in self.users:
                # What lay idle in the file may have stood for it until a moment ago.
                spent, reserved = self._told(partial(budgets.totals, name), used)
                assert spent + reserved >= used
                assert spent <= self.spent[name]

    def teardown(self) -> None:
        if hasattr(self, "users"):
            for user, other in ((0, 1), (1, 0)):
                self.users[other].close()
                self.users[other] = Budgets(self.path)
                for name in self.caps:
                    assert self.users[other].totals(name)[0] <= self.spent[name]
                    if not self._reserved(name, other):
                        assert self.users[user].totals(name) == (self.spent[name], self._reserved(name))
            for budgets in self.users:
                budgets.close()
            for name in self.caps:
                if self.spent[name] or self._reserved(name):
                    assert in_file(self.path, name) == (self.spent[name], self._reserved(name))
            self.folder.cleanup()


TestLeasing = Leasing.TestCase
TestLeasing.settings = settings(deadline=None, max_examples=30, stateful_step_count=30)


SCHEDULE = """
    import os, random, sys, threading
    from pathlib import Path
    from pointsman.ledger.budgets import lease
    from pointsman.ledger.budgets.budgets import BudgetExceeded, Budgets

    lease._PERIOD_SECONDS = 0.002
    budgets = Budgets(Path(sys.argv[1]))
    caps = {"run:a": 300_000, "run:b": 200_000, "day:d": 400_000}
    sets = [["run:a"], ["run:a", "day:d"], ["run:b", "day:d"]]

    diary = os.open(sys.argv[3], os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def say(*words):
        # One write of a short line is whole, and it is there even when the process is killed right after.
        os.write(diary, (" ".join(map(str, words)) + "\\n").encode())

    def work(seed):
        dice = random.Random(seed)
        under_way = []
        for number in range(2_000):
            if under_way and dice.random() < 0.55:
                name, names, reservation, amount = under_way.pop(dice.randrange(len(under_way)))
                cost = dice.randrange(amount + 1) if dice.random() < 0.9 else 0
                say("ends", name, cost)
                budgets.settle(reservation, cost) if cost else budgets.release(reservation)
                say("ended", name)
            else:
                names, amount = dice.choice(sets), dice.randrange(1, 400)
                name = f"{seed}/{number}"
                say("begins", name, amount, *names)
                try:
                    reservation = budgets.reserve({one: caps[one] for one in names}, amount, sent=True)
                except BudgetExceeded:
                    say("refused", name)
                else:
                    say("begun", name)
                    under_way.append((name, names, reservation, amount))
        for name, names, reservation, amount in under_way:
            say("ends", name, 0)
            budgets.release(reservation)
            say("ended", name)

    threads = [threading.Thread(target=work, args=(f"{sys.argv[2]}.{one}",)) for one in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


@pytest.mark.parametrize("seed", range(4))
def test_whenever_a_process_is_killed_its_calls_are_charged_at_their_cost_or_their_worst(
    path: Path, tmp_path: Path, budgets: Budgets, seed: int
) -> None:
    """One of two processes of three threads each is killed on its way; its diary says where each call was."""
    caps = {"run:a": 300_000, "run:b": 200_000, "day:d": 400_000}
    diaries = [tmp_path / "killed", tmp_path / "survived"]
    killed, survivor = (python(SCHEDULE, path, f"{seed}.{diary.name}", diary) for diary in diaries)
    lines = random.Random(seed).randrange(50, 4_000)
    assert eventually(lambda: diaries[0].exists() and diaries[0].read_text().count("\n") >= lines, seconds=240)
    kill(killed)
    _, err = survivor.communicate(timeout=240)
    assert survivor.returncode == 0, err
    budgets.reclaim()

    least, most = dict.fromkeys(caps, 0), dict.fromkeys(caps, 0)
    for diary in diaries:
        calls: dict[str, dict[str, Any]] = {}
        for line in diary.read_text().splitlines():
            what, name, *rest = line.split()
            if what == "begins":
                calls[name] = {"amount": int(rest[0]), "names": rest[1:]}
            calls[name][what] = int(rest[0]) if what == "ends" else True
        for one in calls.values():
            begun, over = "begun" in one, "ended" in one
            for name in one["names"]:
                least[name] += (one["ends"] if "ends" in one else one["amount"]) if begun else 0
                most[name] += 0 if "refused" in one else one["ends"] if over else one["amount"]
    for name, cap in caps.items():
        spent, reserved = budgets.totals(name)
        assert reserved == 0
        # Three sets of scopes, each with a lease of its own.
        assert least[name] <= spent <= min(cap, most[name] + 3 * cap // 64)
