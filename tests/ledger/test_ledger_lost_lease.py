"""A lease that somebody took for abandoned is charged in full, once, and leaves nothing reserved."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from pointsman.ledger.budgets.budgets import BudgetExceeded, Budgets

CAP = 1_000_000
RUN: dict[str, int | None] = {"run:a": CAP}
ELSEWHERE = "another-host|b|n|1|1"
SCOPES = "SELECT scope, amount FROM reservations JOIN reserved_in ON reservation = id WHERE id = ?"


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
def hourly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is booked or given back by the clock."""
    monkeypatch.setattr("pointsman.ledger.budgets.lease._PERIOD_SECONDS", 3600.0)


def begun(budgets: Budgets, amount: int, scopes: dict[str, int | None] = RUN) -> str:
    return budgets.reserve(scopes, amount, sent=True)


def in_file(path: Path, scope: str = "run:a") -> tuple[int, int]:
    """What any other process sees."""
    with closing(sqlite3.connect(path)) as file:
        found = file.execute("SELECT spent, reserved FROM scopes WHERE name = ?", (scope,)).fetchone()
        return found or (0, 0)


def reservations(path: Path) -> int:
    with closing(sqlite3.connect(path)) as file:
        (count,) = file.execute("SELECT count(*) FROM reservations").fetchone()
        return int(count)


def lose(path: Path, other: Budgets, seconds: float = 86_401) -> int:
    """Have all that is reserved taken for abandoned; what that charged."""
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE reservations SET at = at - ?, owner = ?", (seconds, ELSEWHERE))
        (held,) = file.execute("SELECT coalesce(sum(amount), 0) FROM reservations").fetchone()
    other.reclaim()
    return int(held)


def eventually(true: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@pytest.mark.parametrize("end", ["settle", "release", "settle twice", "leave"])
def test_a_lost_lease_leaves_nothing_reserved_in_the_file_or_in_memory(
    opened: Callable[[], Budgets], path: Path, hourly: None, end: str
) -> None:
    mine, other = opened(), opened()
    under_way = [begun(mine, 500) for _ in range(3)]
    assert mine.settle(under_way.pop(), 10) == 10
    held = lose(path, other)
    assert in_file(path) == (held, 0)
    # The next that needs the file hears of it.
    later = begun(mine, 100_000)
    if end == "leave":
        assert not mine.mark_sent(under_way[0])
    for _ in range(2 if end == "settle twice" else 1):
        for one in under_way if end != "leave" else ():
            assert not mine.release(one) if end == "release" else mine.settle(one, 500) is None
    assert mine.totals("run:a") == (held, 100_000)
    assert mine.settle(later, 7) == 7
    mine._store.book()  # type: ignore[attr-defined]
    assert mine.totals("run:a") == other.totals("run:a") == in_file(path) == (held + 7, 0)
    assert reservations(path) == 0
    # And all of the cap that is left can be used.
    rest = begun(mine, CAP - held - 7)
    assert in_file(path) == (held + 7, CAP - held - 7)
    mine.release(rest)


def test_a_lease_whose_loss_is_heard_of_by_the_clock_leaves_nothing_reserved(
    opened: Callable[[], Budgets], path: Path
) -> None:
    mine, other = opened(), opened()
    under_way = [begun(mine, 500) for _ in range(3)]
    held = lose(path, other)
    # Each ends before anybody has heard of it, and is charged no second time.
    for one in under_way:
        assert mine.settle(one, 100) == 100
    assert eventually(lambda: in_file(path) == (held, 0) and mine.totals("run:a") == (held, 0))
    assert eventually(lambda: reservations(path) == 0)
    assert [mine.settle(one, 100) for one in under_way] == [None] * 3


def test_what_is_told_before_the_loss_is_heard_of_counts_nothing_twice(
    opened: Callable[[], Budgets], path: Path, hourly: None
) -> None:
    mine, other = opened(), opened()
    under_way = begun(mine, 500)
    mine.settle(begun(mine, 500), 20)
    held = lose(path, other)
    assert mine.totals("run:a") == other.totals("run:a") == (held, 0)
    assert mine.settle(under_way, 30) == 30
    assert mine.totals("run:a") == (held, 0)


def test_a_call_that_began_while_its_lease_was_being_renewed_is_lost_with_it(
    opened: Callable[[], Budgets], path: Path, hourly: None
) -> None:
    mine, other = opened(), opened()
    for one in [begun(mine, 500) for _ in range(10)]:
        mine.release(one)
    # The lease has some idle now: this one needs no file.
    lost = begun(mine, 500)
    held = lose(path, other)
    begun_after = begun(mine, 500)
    mine._store._strike()  # type: ignore[attr-defined]
    assert [mine.settle(one, 1) for one in (lost, begun_after)] == [None, None]
    # What was idle is lost too: nobody may begin with it any more.
    assert mine.totals("run:a") == in_file(path) == (held, 0)
    after = begun(mine, 500)
    assert in_file(path)[1] >= 500
    mine.release(after)
    mine._store.book()  # type: ignore[attr-defined]
    assert in_file(path) == mine.totals("run:a") == (held, 0)


def test_other_leases_are_not_lost_with_one(opened: Callable[[], Budgets], path: Path, hourly: None) -> None:
    mine, other = opened(), opened()
    lost = begun(mine, 500)
    held = lose(path, other)
    kept = begun(mine, 300, {"run:b": CAP})
    mine.release(begun(mine, 100_000))
    assert mine.settle(lost, 1) is None
    assert mine.settle(kept, 2) == 2
    mine._store.book()  # type: ignore[attr-defined]
    assert (in_file(path), in_file(path, "run:b")) == ((held, 0), (2, 0))


def test_a_renewal_that_outlives_its_lease_books_nothing_on_it(path: Path, opened: Callable[[], Budgets]) -> None:
    """A process that stands still for a day finds its lease reclaimed when it goes on."""
    code = """
        import sys
        from pathlib import Path
        from pointsman.ledger.budgets import lease
        from pointsman.ledger.budgets.budgets import Budgets

        lease._PERIOD_SECONDS = 3600.0
        budgets, run = Budgets(Path(sys.argv[1])), {"run:a": 1_000_000}
        under_way = [budgets.reserve(run, 1_000, sent=True) for _ in range(5)]
        assert budgets.settle(under_way.pop(), 900) == 900
        print("ready", flush=True)
        sys.stdin.readline()
        lease._PERIOD_SECONDS = 0.001
        print(budgets.settle(under_way.pop(), 900))
        for _ in range(50):
            budgets.settle(budgets.reserve(run, 100_000, sent=True), 1)
        print([budgets.settle(one, 900) for one in under_way])
        budgets.close()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), path], stdin=-1, stdout=-1, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGSTOP)
    other = opened()
    held = lose(path, other)
    assert in_file(path) == (held, 0)
    process.send_signal(signal.SIGCONT)
    said, errors = process.communicate("go on\n", timeout=60)
    assert (said, errors) == ("900\n[None, None, None]\n", "")
    assert in_file(path) == other.totals("run:a") == (held + 50, 0)
    assert reservations(path) == 0


@pytest.mark.parametrize("days", [-2, 2])
def test_a_clock_that_is_set_back_or_on_costs_no_more_than_was_reserved(
    opened: Callable[[], Budgets], path: Path, hourly: None, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    mine, other = opened(), opened()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + days * 86_400)
    under_way = begun(mine, 500)
    # Whoever runs here is seen to run, whatever the clock says.
    assert other.reclaim() == 0
    monkeypatch.setattr(time, "time", real)
    assert other.reclaim() == 0
    lose(path, other, seconds=0)
    # By a clock of today it is abandoned where it was made two days ago, and not where that is still to come.
    assert in_file(path) == ((500, 0) if days < 0 else (0, 500))
    mine.release(begun(mine, 100_000))
    assert mine.settle(under_way, 30) == (None if days < 0 else 30)
    mine._store.book()  # type: ignore[attr-defined]
    assert in_file(path) == mine.totals("run:a") == ((500, 0) if days < 0 else (30, 0))


class Sharing(RuleBasedStateMachine):
    """Two users of one file, whose leases are booked, renewed, lost and left behind at any time."""

    held = Bundle("held")
    names = st.sampled_from(["run:a", "run:b", "user:x"])
    caps: ClassVar[dict[str, int | None]] = {"run:a": 10_000, "run:b": 25_000, "user:x": None}
    users_of = st.integers(0, 1)

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.db"
        self.users = [Budgets(self.path), Budgets(self.path)]
        # Nothing is booked but where a rule says so.
        for user in self.users:
            user._store._clerk.stop()  # type: ignore[attr-defined]
            user._store._clerk.ring = lambda _: None  # type: ignore[attr-defined]
        self.open: dict[str, tuple[int, set[str], int]] = {}
        self.over: set[str] = set()
        self.costs = dict.fromkeys(self.caps, 0)
        self.lost = dict.fromkeys(self.caps, 0)

    @rule(target=held, user=users_of, names=st.sets(names, min_size=1), amount=st.integers(0, 900))
    def reserve(self, user: int, names: set[str], amount: int) -> str:
        scopes = {name: self.caps[name] for name in sorted(names)}
        try:
            reservation = self.users[user].reserve(scopes, amount, sent=True)
        except BudgetExceeded:
            return ""
        assert reservation not in self.open
        self.open[reservation] = (user, names, amount)
        return reservation

    @rule(reservation=held, part=st.integers(0, 100), how=st.sampled_from(["settle", "release"]))
    def end(self, reservation: str, part: int, how: str) -> None:
        user, names, amount = self.open.pop(reservation, (0, set(), 0))
        cost = amount * part // 100 if how == "settle" else 0
        if how == "settle":
            charged = self.users[user].settle(reservation, cost)
        else:
            charged = 0 if self.users[user].release(reservation) else None
        # Every reservation ends once; one that was lost may have ended already.
        assert charged in (None, cost)
        assert charged is None or reservation not in self.over
        self.over.add(reservation)
        for name in names:
            self.costs[name] += charged or 0

    @rule(user=users_of)
    def strike(self, user: int) -> None:
        self.users[user]._store._strike()  # type: ignore[attr-defined]

    @rule(user=users_of)
    def lose(self, user: int) -> None:
        """The other takes what this one holds for abandoned."""
        ids = [lease.id for lease in self.users[user]._store._leases.values()]  # type: ignore[attr-defined]
        with closing(sqlite3.connect(self.path)) as file, file:
            for one in ids:
                file.execute("UPDATE reservations SET at = 0, owner = ? WHERE id = ?", (ELSEWHERE, one))
                for name, amount in file.execute(SCOPES, (one,)).fetchall():
                    self.lost[name] += amount
        self.users[1 - user].reclaim()

    @invariant()
    def no_cap_is_passed_and_nothing_is_forgotten(self) -> None:
        for name, cap in self.caps.items():
            spent, reserved = in_file(self.path, name)
            assert reserved >= 0
            assert cap is None or spent + reserved <= cap
            # All that calls cost is booked, or at least held.
            assert self.costs[name] <= spent + reserved
            for user in self.users:
                told, left = user.totals(name)
                assert left >= 0
                assert told + left <= spent + reserved

    def teardown(self) -> None:
        if not hasattr(self, "users"):
            return
        for reservation in list(self.open):
            self.end(reservation, 100, "settle")
        for user in self.users:
            user.close()
        assert reservations(self.path) == 0
        for name in self.caps:
            spent, reserved = in_file(self.path, name)
            assert reserved == 0
            assert self.costs[name] <= spent + self.lost[name]
            assert spent <= self.costs[name] + self.lost[name]
            assert self.lost[name] or spent == self.costs[name]
        self.folder.cleanup()


TestSharing = Sharing.TestCase
TestSharing.settings = settings(deadline=None, max_examples=40, stateful_step_count=30)
