"""Nothing that is called on an event loop waits for the ledger's file."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pointsman.configs.errors import ConfigError
from pointsman.ledger.budgets.budgets import BudgetExceeded, Budgets
from pointsman.ledger.budgets.queues import Queues
from pointsman.ledger.health import HealthBook, HealthRow
from pointsman.ledger.ledger import Ledger

CAP = 1_000_000
RUN: dict[str, int | None] = {"run:a": CAP}
WORST = 1_000
ABANDONED = """
    import os, sys
    from pathlib import Path
    from pointsman.ledger.budgets.budgets import Budgets

    Budgets(Path(sys.argv[1])).reserve({"run:a": None}, 300, sent=True)
    os._exit(0)
"""


@pytest.fixture
def budgets(path: Path) -> Iterator[Budgets]:
    with closing(Budgets(path)) as opened:
        yield opened


@asynccontextmanager
async def held(path: Path) -> AsyncIterator[None]:
    """Another connection holds the file, and at the end of the block the loop has had a hundred turns meanwhile."""
    turns = 0

    async def turning() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(turning())
        yield
        async with asyncio.timeout(240):
            while turns < 100:
                await asyncio.sleep(0.001)
        task.cancel()
        file.execute("ROLLBACK")


async def begun(budgets: Budgets, scopes: dict[str, int | None] = RUN) -> str:
    return await budgets.acquire(scopes, WORST, patience=240, sent=True)


async def test_a_call_that_needs_the_file_holds_up_itself_alone(path: Path, budgets: Budgets) -> None:
    async with held(path):
        waiting = [asyncio.create_task(begun(budgets, {f"run:{name}": CAP})) for name in range(20)]
    for one in waiting:
        assert budgets.settle(await one, 7) == 7
    assert [budgets.totals(f"run:{name}") for name in range(20)] == [(7, 0)] * 20


@pytest.mark.slow
async def test_budgets_and_a_ledger_are_opened_while_the_file_is_held(path: Path, make: Any, script: Any) -> None:
    # Somebody has ended without giving back what they held, which a new process does for them.
    script(ABANDONED, path)
    async with held(path):
        budgets, ledger = Budgets(path), Ledger(path)
        waiting = asyncio.create_task(begun(budgets))
        ledger.record(make.decision())
    assert budgets.release(await waiting)
    assert len(await asyncio.to_thread(ledger.decisions)) == 1
    await asyncio.to_thread(budgets.close)
    ledger.close()


async def test_what_a_process_left_behind_is_reclaimed_when_budgets_are_opened(path: Path, script: Any) -> None:
    script(ABANDONED, path)
    with closing(Budgets(path)) as budgets:
        async with asyncio.timeout(240):
            while budgets.totals("run:a") != (300, 0):
                await asyncio.sleep(0.005)


async def test_a_call_ends_without_a_look_at_the_file(path: Path, budgets: Budgets) -> None:
    reservations = [await begun(budgets) for _ in range(3)]
    async with held(path):
        assert budgets.settle(reservations[0], 10) == 10
        # More than was reserved, which the file has to hear of at once.
        assert budgets.settle(reservations[1], 5 * WORST) == 5 * WORST
        assert budgets.release(reservations[2])
        assert not budgets.release(reservations[2])
        assert budgets.totals("run:a") == (10 + 5 * WORST, 0)


async def test_what_costs_less_than_was_reserved_is_written_with_its_row_alone(path: Path) -> None:
    with closing(Budgets(path)) as budgets:
        assert budgets.settle(await begun(budgets), 10, recorded=True) == 10
        assert budgets.totals("run:a") == (10, 0)
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT amount FROM reservations").fetchall() == [(WORST,)]


def test_what_a_call_cost_is_refused_once_the_file_is_closed(path: Path) -> None:
    budgets = Budgets(path)
    reservation = budgets.reserve(RUN, WORST)
    budgets.close()
    with pytest.raises(ConfigError, match="the budgets are closed"):
        budgets.settle(reservation, 10)


async def test_who_has_no_time_to_wait_asks_the_file_once(budgets: Budgets, monkeypatch: pytest.MonkeyPatch) -> None:
    await begun(budgets, {"run:a": WORST})
    asked: list[Any] = []
    ask = budgets._store.asked

    async def counted(request: Any, undo: Any) -> Any:
        asked.append(request)
        assert len(asked) == 1
        return await ask(request, undo)

    monkeypatch.setattr(budgets._store, "asked", counted)
    monkeypatch.setattr("pointsman.ledger.budgets.budgets.time", SimpleNamespace(monotonic=lambda: 5.0))
    with pytest.raises(BudgetExceeded):
        await budgets.acquire({"run:a": WORST}, WORST, patience=0)


async def test_those_who_wait_ask_the_file_the_more_seldom_the_more_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    queues, loop = Queues(), asyncio.get_running_loop()
    asked_after: list[float] = []
    later = loop.call_later

    def at_once(seconds: float, *arguments: Any) -> asyncio.TimerHandle:
        asked_after.append(seconds)
        return later(0, *arguments)

    monkeypatch.setattr(loop, "call_later", at_once)
    first, *others = [loop.create_future() for _ in range(50)]
    for most in (600.0, 0.125):
        queues.join(first, "run:a")
        await queues.change(first, "run:a", most)
        for one in others:
            queues.join(one, "run:a")
    queues.join(first, "run:a")
    await queues.change(first, "run:a", 600)
    # A quarter of a second and five milliseconds for each that waits, or as long as one is willing to.
    assert asked_after == [0.255, 0.125, 0.5]


@pytest.mark.parametrize("how", ["cancelled", "dropped with its loop"])
async def test_one_who_gives_up_while_the_file_is_held_reserves_nothing(path: Path, budgets: Budgets, how: str) -> None:
    async with held(path):
        if how == "cancelled":
            waiting = [asyncio.create_task(begun(budgets)) for _ in range(5)]
            await asyncio.sleep(0.01)
            for one in waiting:
                one.cancel()
            ends = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(ended) for ended in ends} == {asyncio.CancelledError}
        else:
            dropped = [begun(budgets) for _ in range(5)]
            for coroutine in dropped:
                coroutine.send(None)
            for coroutine in dropped:
                coroutine.close()
    async with asyncio.timeout(240):
        while budgets.totals("run:a") != (0, 0):
            await asyncio.sleep(0.005)
    budgets.release(await budgets.acquire(RUN, CAP, patience=240, sent=True))


async def test_one_whose_name_no_file_can_hold_is_refused_alone(path: Path, budgets: Budgets) -> None:
    async with held(path):
        waiting = [asyncio.create_task(begun(budgets, {f"run:{name}": CAP})) for name in ("a", "\ud800", "b")]
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(ended) for ended in ends] == [str, UnicodeEncodeError, str]
    assert [budgets.totals(f"run:{name}") for name in "ab"] == [(0, WORST)] * 2


async def test_calls_of_many_loops_wait_for_one_file_at_once(path: Path, budgets: Budgets) -> None:
    done: list[int] = []

    async def every() -> None:
        begins = await asyncio.gather(*(begun(budgets, {"run:a": 40 * WORST}) for _ in range(10)))
        done.extend(budgets.settle(one, 3) or 0 for one in begins)

    async with held(path):
        threads = [threading.Thread(target=asyncio.run, args=(every(),)) for _ in range(4)]
        for one in threads:
            one.start()
    for one in threads:
        await asyncio.to_thread(one.join, 240)
    assert sum(done) == 120
    assert budgets.totals("run:a") == (120, 0)


async def test_rows_and_acts_are_recorded_off_the_loop(path: Path, ledger: Ledger, make: Any) -> None:
    async with held(path):
        for _ in range(50):
            ledger.record(make.decision())
            ledger.record(make.call())
        ledger.check()
        acts = [asyncio.create_task(ledger.committed(make.effect())) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert not any(one.done() for one in acts)
    await asyncio.gather(*acts)
    assert (len(ledger.decisions()), len(ledger.calls()), len(ledger.effects())) == (50, 50, 3)


async def test_a_ledger_that_is_held_too_long_refuses_an_act_off_the_loop(
    path: Path, ledger: Ledger, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.ledger.storage.access.BUSY_SECONDS", 0.2)
    async with held(path):
        with pytest.raises(ConfigError, match="another process has held it"):
            await ledger.committed(make.effect())
    assert ledger.effects() == ()


async def test_what_is_known_of_providers_is_looked_up_and_kept_off_the_loop(path: Path) -> None:
    Ledger(path).close()
    book = HealthBook(path)
    looked: asyncio.Queue[tuple[HealthRow, ...]] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    rows = [HealthRow(name, "m", "", 4e9, "down", "down", 1) for name in ("a", "b")]
    async with held(path):
        for row in rows:
            book.put(row)
        book.drop("b", "m", "")
        book.look(lambda found: loop.call_soon_threadsafe(looked.put_nowait, found))
    async with asyncio.timeout(240):
        assert await looked.get() == (rows[0],)


@pytest.mark.parametrize("counted", ["memory", "file"])
async def test_what_is_given_back_while_another_asks_the_file_wakes_them(
    path: Path, counted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who waits tries again only when woken: nobody may miss it between asking and waiting.
    monkeypatch.setattr("pointsman.ledger.budgets.queues._POLL_SECONDS", 3600.0)
    with closing(Budgets(path if counted == "file" else None)) as budgets:

        async def branch(times: int) -> None:
            for _ in range(times):
                reservation = await budgets.acquire({"run:a": 2 * WORST}, WORST, patience=240, sent=True)
                await asyncio.sleep(0)
                budgets.release(reservation)

        async with asyncio.timeout(240):
            await asyncio.gather(*(branch(20) for _ in range(12)))
        assert budgets.totals("run:a") == (0, 0)


async def test_what_is_given_back_between_the_answer_and_the_wait_is_not_missed(
    path: Path, budgets: Budgets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.ledger.budgets.queues._POLL_SECONDS", 3600.0)
    scopes: dict[str, int | None] = {"run:a": WORST}
    held = await begun(budgets, scopes)
    ask = budgets._store.asked

    async def ask_then_give_back(*asked: Any) -> Any:
        short = await ask(*asked)
        budgets.release(held)
        return short

    monkeypatch.setattr(budgets._store, "asked", ask_then_give_back)
    async with asyncio.timeout(240):
        assert budgets.release(await begun(budgets, scopes))
