"""Threads that a tool starts belong to its run, however they are started, and to no other."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from pointsman import Agent, Workflow, tool
from pointsman.agents import threads
from pointsman.agents.result import RunResult
from pointsman.agents.runs import run_scope
from pointsman.agents.runtime import Runtime
from pointsman.dispatch.context import current
from pointsman.graphs.events import Called, Finished
from pointsman.ledger.budgets.budgets import BudgetExceeded
from pointsman.simulator import Answer, Match, Rule, Scenario, Simulator

Make = Callable[..., Runtime]

WAYS = ("thread", "subclass", "timer", "pool", "shared pool", "map", "to_thread", "executor", "nested")


class _Asking(threading.Thread):
    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self._work = work

    def run(self) -> None:
        self._work()


async def _off_the_loop(way: str, work: Callable[[], None]) -> None:
    if way == "to_thread":
        await asyncio.to_thread(work)
    else:
        await asyncio.get_running_loop().run_in_executor(None, work)


def _through(way: str, work: Callable[[], None], shared: ThreadPoolExecutor) -> None:
    """Do some work in a thread."""
    if way in ("to_thread", "executor"):
        asyncio.run(_off_the_loop(way, work))
    elif way in ("pool", "map"):
        with ThreadPoolExecutor(1) as pool:
            list(pool.map(lambda _: work(), [0])) if way == "map" else pool.submit(work).result()
    elif way == "shared pool":
        shared.submit(work).result()
    else:
        inner = threading.Thread(target=work)
        thread = {
            "thread": lambda: inner,
            "subclass": lambda: _Asking(work),
            "timer": lambda: threading.Timer(0, work),
            "nested": lambda: threading.Thread(target=lambda: (inner.start(), inner.join())),
        }[way]()
        thread.start()
        thread.join()


@pytest.fixture
def pool() -> Any:
    """A pool that several runs share; its worker was started inside none of them."""
    with ThreadPoolExecutor(1) as shared:
        shared.submit(int).result()
        yield shared


def _asking(
    home: Runtime, way: str, shared: ThreadPoolExecutor, errors: list[BaseException], times: int = 4
) -> Workflow:
    """A workflow whose tool asks an agent from a thread of its own, until it is refused."""
    inner = Agent("inner", tier="economy", max_output=50).on(home)

    def work() -> None:
        try:
            for _ in range(times):
                inner.invoke("What now?")
        except BaseException as error:
            errors.append(error)

    @tool(effect="read", name="look")
    def asking(at: str) -> str:
        """Look."""
        _through(way, work, shared)
        return "seen"

    return Workflow("asking", [Agent("outer", tier="economy", tools=[asking], max_output=50)])


LOOKING = Scenario(
    rules=[
        Rule(match=Match(contains_any_message="seen"), answer=Answer(text="done")),
        Rule(match=Match(contains="Go"), answer=Answer(tool_calls=[{"name": "look", "arguments": {"at": "x"}}])),
        Rule(answer=Answer(text="as it was")),
    ]
)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_what_a_tools_own_threads_spend_is_the_runs_and_bounded_by_its_cap(
    runtime: Make, simulator: Simulator, pool: ThreadPoolExecutor, way: str
) -> None:
    simulator.scenario = LOOKING
    home, errors = runtime(), list[BaseException]()
    free = _asking(home, way, pool, errors).run("Go", runtime=home)
    assert (errors, len(free.calls)) == ([], 6)
    assert {call.run for call in home.ledger.calls()} == {free.run}
    assert len(home.ledger.calls(free.run)) == 6

    with suppress(BudgetExceeded):
        _asking(home, way, pool, errors, times=200).run("Go", max_cost=free.cost * 6, runtime=home)
    (refused,) = errors
    assert isinstance(refused, BudgetExceeded)
    (row,) = home.ledger.runs(limit=1)
    assert row.max_cost is not None
    assert 0 < sum(call.cost or 0 for call in home.ledger.calls(run=row.id)) <= row.max_cost


@pytest.mark.slow
def test_threads_of_runs_that_go_on_at_the_same_time_are_never_mixed_up(
    runtime: Make, simulator: Simulator, pool: ThreadPoolExecutor
) -> None:
    simulator.scenario = LOOKING
    home, errors = runtime(), list[BaseException]()
    together = [*WAYS, *WAYS]

    def one(number: int, way: str) -> RunResult:
        return _asking(home, way, pool, errors).run("Go", user=f"u{number}", runtime=home)

    with ThreadPoolExecutor(len(together)) as callers:
        results = list(callers.map(one, range(len(together)), together))
    assert errors == []
    assert [len(result.calls) for result in results] == [6] * len(together)
    assert [len(home.ledger.calls(result.run)) for result in results] == [6] * len(together)


@pytest.mark.slow
@pytest.mark.parametrize("begun", ["thread", "task"])
@pytest.mark.parametrize("way", WAYS)
def test_what_a_run_has_started_belongs_to_it_when_it_is_over_with_all_that_it_starts_then(
    runtime: Make, simulator: Simulator, pool: ThreadPoolExecutor, way: str, begun: str
) -> None:
    simulator.scenario = LOOKING
    home, errors, over = runtime(), list[BaseException](), threading.Event()
    inner = Agent("inner", tier="economy", max_output=50).on(home)
    inner.invoke("What now?")

    def work() -> None:
        try:
            for _ in range(200):
                inner.invoke("What now?")
        except BaseException as error:
            errors.append(error)

    def later() -> None:
        over.wait(240)
        _through(way, work, pool)

    async def waits() -> None:
        await asyncio.to_thread(over.wait, 240)
        await asyncio.to_thread(_through, way, work, pool)

    loop = asyncio.new_event_loop()
    with run_scope(home, "one", max_cost=0.001) as one:
        if begun == "thread":
            thread = threading.Thread(target=later)
            thread.start()
        else:
            task = loop.create_task(waits())
    over.set()
    thread.join() if begun == "thread" else loop.run_until_complete(task)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    (refused,) = errors
    assert isinstance(refused, BudgetExceeded)
    assert {call.run for call in home.ledger.calls()} == {"", one.id}
    assert 0 < sum(call.cost or 0 for call in home.ledger.calls(run=one.id)) <= 10**9


def test_threads_outside_a_run_belong_to_none(runtime: Make, simulator: Simulator, pool: ThreadPoolExecutor) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="as it was"))])
    home, seen = runtime(), list[str]()
    with run_scope(home, "one") as one, ThreadPoolExecutor(1) as inside:
        inside.submit(lambda: seen.append(current().run.id)).result()
        with run_scope(home, "two"):
            pass
        # Another caller's thread, while the run goes on.
        outside = threading.Thread(target=lambda: seen.append(current().run.id))
        contextvars.Context().run(outside.start)
        outside.join()
        contextvars.Context().run(lambda: inside.submit(lambda: seen.append(current().run.id)).result())
    assert seen == [one.id, "", ""]
    after = threading.Thread(target=lambda: seen.append(current().run.id))
    after.start()
    after.join()
    with ThreadPoolExecutor(1) as own:
        own.submit(lambda: seen.append(current().run.id)).result()
    assert seen[3:] == ["", ""]


def test_whoever_puts_back_what_was_there_before_loses_no_later_run(runtime: Make) -> None:
    home, seen = runtime(), list[str]()
    with run_scope(home, "one"):
        pass
    ours = threading.Thread.start
    threading.Thread.start = threads._start  # type: ignore[method-assign]
    with run_scope(home, "two") as two:
        thread = threading.Thread(target=lambda: seen.append(current().run.id))
        thread.start()
        thread.join()
    assert (seen, threading.Thread.start) == ([two.id], ours)


def test_whoever_wraps_threads_during_a_run_keeps_working_after_it(runtime: Make, monkeypatch: Any) -> None:
    home, started = runtime(), list[str]()
    with monkeypatch.context() as patch, run_scope(home, "one"):
        inner = threading.Thread.start

        def traced(thread: threading.Thread) -> None:
            started.append(current().run.id)
            inner(thread)

        patch.setattr(threading.Thread, "start", traced)
        with run_scope(home, "two"):
            pass
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
    assert len(started) == 1
    with run_scope(home, "three") as three:
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.append(current().run.id))
        thread.start()
        thread.join()
    assert seen == [three.id]


async def test_a_stream_hears_of_calls_that_a_thread_of_a_tool_makes(
    runtime: Make, simulator: Simulator, pool: ThreadPoolExecutor
) -> None:
    simulator.scenario = LOOKING
    home = runtime()
    flow = _asking(home, "thread", pool, [])
    events = [event async for event in flow.astream("Go", runtime=home)]
    assert sum(isinstance(event, Called) for event in events) == 6
    assert isinstance(events[-1], Finished)


@pytest.mark.parametrize("left", ["cancelled", "closed"])
async def test_a_stream_that_is_left_leaves_no_task_behind(runtime: Make, simulator: Simulator, left: str) -> None:
    simulator.scenario = LOOKING
    home, reached = runtime(), asyncio.Event()

    @tool(effect="read", name="look")
    async def waits(at: str) -> str:
        """Look."""
        reached.set()
        await asyncio.Event().wait()
        return "seen"

    flow = Workflow("waiting", [Agent("outer", tier="economy", tools=[waits], max_output=50)])
    before = asyncio.all_tasks()

    async def read() -> None:
        stream = flow.astream("Go", runtime=home)
        async for _ in stream:
            if left == "closed":
                await stream.aclose()  # type: ignore[attr-defined]
                return

    reading = asyncio.create_task(read())
    if left == "cancelled":
        await reached.wait()
        reading.cancel()
    await asyncio.wait([reading])
    del reading
    # What was cancelled has had its turn by now.
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    (run,) = home.ledger.runs()
    assert (run.status, run.ended is not None) == ("interrupted", True)
