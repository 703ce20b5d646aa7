"""No cap is ever passed, nothing is charged twice, and nearly all of a cap can be used."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from pointsman.configs.errors import PointsmanError
from pointsman.ledger.budgets.budgets import BudgetExceeded, Budgets
from pointsman.ledger.budgets.reservations import MOST
from pointsman.ledger.ledger import Ledger
from pointsman.ledger.processes import ended, this_process

CAP = 1_000_000
WORST = 10_000


@pytest.fixture(params=["memory", "file"])
def budgets(request: pytest.FixtureRequest, path: Path) -> Iterator[Budgets]:
    opened = Budgets(path if request.param == "file" else None)
    yield opened
    opened.close()


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
def no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits tries again only when woken."""
    monkeypatch.setattr("pointsman.ledger.budgets.queues._POLL_SECONDS", 3600.0)


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_call_is_reserved_in_every_scope_and_settled_at_its_cost(budgets: Budgets) -> None:
    scopes = {"run:a": 100, "user:x": 1000, "tag:t": None}
    reservation = budgets.reserve(scopes, 60)
    assert [budgets.totals(scope) for scope in scopes] == [(0, 60)] * 3
    assert budgets.settle(reservation, 25) == 25
    assert [budgets.totals(scope) for scope in scopes] == [(25, 0)] * 3
    assert budgets.release(budgets.reserve(scopes, 75))
    assert [budgets.totals(scope) for scope in scopes] == [(25, 0)] * 3


def test_what_does_not_fit_one_scope_is_reserved_in_none(budgets: Budgets) -> None:
    budgets.settle(budgets.reserve({"user:x": 100}, 30), 30)
    budgets.reserve({"user:x": 100}, 20)
    with pytest.raises(BudgetExceeded) as caught:
        budgets.reserve({"run:a": 100, "user:x": 100}, 51)
    exceeded = caught.value
    assert (exceeded.scope, exceeded.cap, exceeded.spent, exceeded.reserved, exceeded.asked) == (
        "user:x",
        100,
        30,
        20,
        51,
    )
    assert not exceeded.final
    assert budgets.totals("run:a") == (0, 0)
    budgets.reserve({"run:a": 100, "user:x": 100}, 50)
    with pytest.raises(BudgetExceeded) as caught:
        budgets.reserve({"user:x": 100}, 71)
    assert caught.value.final


def test_a_refusal_says_in_dollars_whose_cap_it_is() -> None:
    error = BudgetExceeded("run:a", 5 * 10**11, 2 * 10**11, 4 * 10**11, 10**10)
    assert str(error) == (
        "the budget of run:a is $0.5000: $0.2000 is spent and $0.0100 is reserved, $0.4000 more is asked: "
        "raise max_cost (--max-cost)"
    )
    assert isinstance(error, PointsmanError)


def test_a_parents_cap_bounds_its_children(budgets: Budgets) -> None:
    for child in ("a", "b"):
        budgets.settle(budgets.reserve({"run:parent": 100, f"run:parent/{child}": 60}, 50), 50)
    with pytest.raises(BudgetExceeded, match="run:parent is"):
        budgets.reserve({"run:parent": 100, "run:parent/c": 60}, 1)


@pytest.mark.parametrize("actual", [None, -1, float("nan"), 3.5, "12", True])
def test_a_cost_that_is_not_known_is_charged_at_what_was_reserved(budgets: Budgets, actual: Any) -> None:
    assert budgets.settle(budgets.reserve({"run:a": 100}, 40), actual) == 40
    assert budgets.totals("run:a") == (40, 0)


def test_a_cost_above_the_reservation_is_charged_in_full_and_only_free_calls_follow(budgets: Budgets) -> None:
    assert budgets.settle(budgets.reserve({"run:a": 100}, 40), 130) == 130
    assert budgets.totals("run:a") == (130, 0)
    with pytest.raises(BudgetExceeded):
        budgets.reserve({"run:a": 100}, 1)
    assert budgets.settle(budgets.reserve({"run:a": 100}, 0), 0) == 0


def test_a_reservation_ends_once(budgets: Budgets) -> None:
    reservation = budgets.reserve({"run:a": 100}, 40)
    assert budgets.settle(reservation, 10) == 10
    assert budgets.settle(reservation, 10) is None
    assert not budgets.release(reservation)
    assert budgets.totals("run:a") == (10, 0)


@pytest.mark.parametrize("amount", [-1, 1.5, float("nan"), None, True])
def test_an_amount_or_cap_that_is_none_is_refused(budgets: Budgets, amount: Any) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        budgets.reserve({"run:a": 100}, amount)
    if amount is not None:
        with pytest.raises(ValueError, match="not an amount"):
            budgets.reserve({"run:a": amount}, 1)
    assert budgets.totals("run:a") == (0, 0)


def test_absurd_amounts_neither_overflow_nor_slip_through(budgets: Budgets) -> None:
    scopes = {"run:a": 10**40}
    with pytest.raises(BudgetExceeded):
        budgets.reserve(scopes, 10**30)
    for _ in range(3):
        budgets.settle(budgets.reserve({"run:a": None}, 0), 10**30)
    assert budgets.totals("run:a") == (MOST, 0)
    with pytest.raises(BudgetExceeded):
        budgets.reserve(scopes, 1)


class CallRecorder(RuleBasedStateMachine):
    """Any order of calls keeps the counts that a plain account keeps, and the cap."""

    held = Bundle("held")
    names = st.sampled_from(["run:a", "run:b", "user:x"])
    caps: ClassVar[dict[str, int | None]] = {"run:a": 100, "run:b": 250, "user:x": None}

    @initialize()
    def start(self) -> None:
        self.budgets = Budgets(None)
        self.open: dict[str, tuple[set[str], int]] = {}
        self.spent = dict.fromkeys(self.caps, 0)

    @rule(target=held, names=st.sets(names), amount=st.integers(0, 80))
    def reserve(self, names: set[str], amount: int) -> str:
        fits = all(
            self.caps[name] is None or self.spent[name] + self._reserved(name) + amount <= (self.caps[name] or 0)
            for name in names
        )
        try:
            reservation = self.budgets.reserve({name: self.caps[name] for name in sorted(names)}, amount)
        except BudgetExceeded:
            assert not fits
            return ""
        assert fits or amount == 0
        self.open[reservation] = (names, amount)
        return reservation

    @rule(reservation=consumes(held), part=st.integers(0, 100))
    def settle(self, reservation: str, part: int) -> None:
        names, amount = self.open.pop(reservation, (set(), 0))
        charged = self.budgets.settle(reservation, amount * part // 100)
        for name in names:
            self.spent[name] += charged or 0

    @rule(reservation=held)
    def release(self, reservation: str) -> None:
        assert self.budgets.release(reservation) == (self.open.pop(reservation, None) is not None)

    def _reserved(self, name: str) -> int:
        return sum(amount for names, amount in self.open.values() if name in names)

    @invariant()
    def the_counts_agree_and_no_cap_is_passed(self) -> None:
        for name, cap in self.caps.items():
            spent, reserved = self.budgets.totals(name)
            assert (spent, reserved) == (self.spent[name], self._reserved(name))
            assert cap is None or spent + reserved <= cap


TestBooking = CallRecorder.TestCase
TestBooking.settings = settings(stateful_step_count=30)


def test_threads_never_pass_a_cap_together(budgets: Budgets) -> None:
    charged: list[int] = []
    seen: list[int] = []

    def work(seed: int) -> None:
        dice = random.Random(seed)
        scopes = [{"run:a": CAP}, {"run:a": CAP, "user:x": None}, {"user:x": None, "run:a": CAP}][seed % 3]
        for _ in range(40):
            try:
                reservation = budgets.reserve(scopes, WORST, sent=dice.random() < 0.9)
            except BudgetExceeded:
                continue
            charged.append(budgets.settle(reservation, dice.randrange(WORST)) or 0)
            seen.append(sum(budgets.totals("run:a")))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budgets.totals("run:a") == (sum(charged), 0)
    assert max(seen) <= CAP


async def _branch(budgets: Budgets, seed: int) -> None:
    """Call until the cap refuses: each call costs a tenth of its worst case, or a little more."""
    dice = random.Random(seed)
    while True:
        try:
            reservation = await budgets.acquire({"run:a": CAP}, WORST, patience=240, sent=True)
        except BudgetExceeded:
            return
        await asyncio.sleep(0)
        assert sum(budgets.totals("run:a")) <= CAP
        budgets.settle(reservation, dice.randrange(WORST // 10, WORST // 5))


@pytest.mark.slow
async def test_two_hundred_parallel_branches_use_nearly_all_of_a_cap_and_never_pass_it(
    budgets: Budgets, no_polling: None
) -> None:
    # Without waiting, half of them find everything reserved by the others, though nothing is spent.
    reservations = [budgets.reserve({"run:a": CAP}, WORST) for _ in range(100)]
    with pytest.raises(BudgetExceeded) as caught:
        budgets.reserve({"run:a": CAP}, WORST)
    assert not caught.value.final
    for reservation in reservations:
        budgets.release(reservation)

    async with asyncio.timeout(240):
        await asyncio.gather(*(_branch(budgets, seed) for seed in range(200)))
    spent, reserved = budgets.totals("run:a")
    assert reserved == 0
    assert 0.95 * CAP <= spent <= CAP


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


@pytest.mark.slow
def test_four_processes_use_nearly_all_of_a_cap_and_never_pass_it(path: Path, opened: Callable[[], Budgets]) -> None:
    processes = [python(BRANCHES, path, CAP, WORST, seed) for seed in range(4)]
    charged = []
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        charged.append(int(out))
    assert opened().totals("run:a") == (sum(charged), 0)
    assert 0.95 * CAP <= sum(charged) <= CAP


async def test_who_cannot_be_helped_by_waiting_is_refused_at_once(budgets: Budgets) -> None:
    budgets.settle(budgets.reserve({"run:a": 100}, 60), 60)
    async with asyncio.timeout(240):
        with pytest.raises(BudgetExceeded):
            await budgets.acquire({"run:a": 100}, 41, patience=1000)


async def test_patience_has_an_end(budgets: Budgets) -> None:
    budgets.reserve({"run:a": 100}, 60)
    with pytest.raises(BudgetExceeded):
        await budgets.acquire({"run:a": 100}, 41, patience=0.01)


@pytest.mark.parametrize("order", ["woken first", "cancelled first"])
async def test_one_who_waits_and_is_cancelled_leaves_its_chance_to_the_next(
    budgets: Budgets, order: str, no_polling: None
) -> None:
    scopes = {"run:a": 100}
    held = budgets.reserve(scopes, 100)
    first, second = (asyncio.create_task(budgets.acquire(scopes, 100, patience=240)) for _ in range(2))
    await asyncio.sleep(0)
    for happens in (budgets.release, first.cancel) if order == "woken first" else (first.cancel, budgets.release):
        happens(*((held,) if happens == budgets.release else ()))
    async with asyncio.timeout(240):
        with pytest.raises(asyncio.CancelledError):
            await first
        assert budgets.release(await second)
    assert budgets.totals("run:a") == (0, 0)


async def test_what_one_gives_back_serves_all_that_fit_in_it(budgets: Budgets, no_polling: None) -> None:
    held = budgets.reserve({"run:a": 100}, 100)
    # The last is held up in another scope first, and must not hold up those behind it.
    other = budgets.reserve({"user:x": 100}, 90)
    scopes = {"run:a": 100, "user:x": 100}
    waiting = [asyncio.create_task(budgets.acquire({"run:a": 100}, 25, patience=240)) for _ in range(2)]
    waiting.append(asyncio.create_task(budgets.acquire(scopes, 25, patience=240)))
    waiting.append(asyncio.create_task(budgets.acquire({"run:a": 100}, 25, patience=240)))
    await asyncio.sleep(0)
    budgets.release(held)
    async with asyncio.timeout(240):
        await asyncio.gather(waiting[0], waiting[1], waiting[3])
        assert not waiting[2].done()
        budgets.release(other)
        await waiting[2]
    assert budgets.totals("run:a") == (0, 100)


CRASH = """
    import sys, time
    from pathlib import Path
    from pointsman.ledger.budgets.budgets import Budgets

    budgets = Budgets(Path(sys.argv[1]))
    scopes = {"run:a": 1000, "user:x": None}
    budgets.reserve(scopes, 300, sent=True)
    budgets.reserve(scopes, 500)
    budgets.settle(budgets.reserve(scopes, 100), 7)
    # A thread of its own writes what was settled.
    budgets._store._worker.finish()
    print("ready", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_had_reserved_is_reclaimed_once(path: Path, opened: Callable[[], Budgets]) -> None:
    process = python(CRASH, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    watching = [opened() for _ in range(4)]
    # While it runs, nothing of it is touched.
    assert [budgets.reclaim() for budgets in watching] == [0] * 4
    assert watching[0].totals("run:a") == (7, 800)
    with pytest.raises(BudgetExceeded):
        watching[0].reserve({"run:a": 1000}, 200)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    counts: list[int] = []
    threads = [threading.Thread(target=lambda one=one: counts.append(one.reclaim())) for one in watching]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 2
    assert [watching[0].totals(scope) for scope in ("run:a", "user:x")] == [(307, 0)] * 2


def test_a_crashed_processs_reservation_stands_in_nobodys_way(path: Path, opened: Callable[[], Budgets]) -> None:
    budgets = opened()
    process = python(CRASH, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    budgets.reserve({"run:a": 1000}, 693)


def test_a_number_given_to_another_process_is_not_taken_for_the_old_one() -> None:
    host, boot, namespace, pid, start = this_process().split("|")
    assert ended(this_process()) is False
    assert ended("|".join((host, boot, namespace, pid, str(int(start) - 1)))) is True
    assert ended("|".join((host, "an-earlier-boot", namespace, pid, start))) is True
    assert ended("|".join(("another-host", boot, namespace, pid, start))) is None
    assert ended("|".join((host, boot, "another-container", pid, start))) is None
    assert ended("who knows") is None


def test_a_process_that_ended_but_was_not_reaped_has_ended() -> None:
    code = "import sys; from pointsman.ledger.processes import this_process; print(this_process(), flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    assert ended(name) is False
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert ended(name) is True
    child.communicate()


def test_a_reservation_from_where_nobody_can_look_is_reclaimed_after_a_day(
    path: Path, opened: Callable[[], Budgets]
) -> None:
    budgets = opened()
    for _ in range(2):
        budgets.reserve({"run:a": 100}, 30, owner="another-host|b|n|1|1", sent=True)
    assert budgets.reclaim() == 0
    raw = sqlite3.connect(path)
    raw.execute("UPDATE reservations SET at = at - 86401 WHERE id = (SELECT min(id) FROM reservations)")
    raw.commit()
    raw.close()
    assert budgets.reclaim() == 1
    assert budgets.totals("run:a") == (30, 30)


def test_budgets_and_a_ledger_work_in_one_file_side_by_side(
    path: Path, opened: Callable[[], Budgets], make: Any
) -> None:
    budgets = opened()
    with Ledger(path) as ledger:
        for _ in range(300):
            ledger.record(make.call())
            budgets.settle(budgets.reserve({"run:a": None}, 10), 3)
        assert len(ledger.calls()) == 300
        assert ledger.verify() == []
    assert budgets.totals("run:a") == (900, 0)
