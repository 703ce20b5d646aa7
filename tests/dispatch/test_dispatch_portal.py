"""The background event loop: what runs on it, what leaves it, and what cannot end it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pointsman.configs.errors import PointsmanError
from pointsman.dispatch import sync

Ends = Callable[[Callable[[], Any]], Any]


async def words(number: int, count: int = 6) -> AsyncIterator[tuple[int, int]]:
    for word in range(count):
        await asyncio.sleep(0)
        yield number, word


@pytest.mark.parametrize("number", [2, 8, 100])
def test_streams_that_are_read_in_turns_all_come_to_their_end(ends: Ends, number: int) -> None:
    def in_turns() -> list[Any]:
        return list(zip(*[sync.stream(words(n)) for n in range(number)], strict=True))

    assert len(ends(in_turns)) == 6


def test_a_stream_makes_no_more_than_two_items_ahead(ends: Ends) -> None:
    made: list[int] = []

    async def counting() -> AsyncIterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    def read() -> int:
        stream = sync.stream(counting())
        next(stream), next(stream)
        # Whatever was to be made ahead is made by the time other work has had its turn.
        for _ in range(20):
            sync.run(asyncio.sleep(0))
        ahead = len(made)
        stream.close()
        return ahead

    assert ends(read) <= 4


@pytest.mark.slow
def test_a_stream_that_is_left_is_closed_before_its_reader_goes_on(ends: Ends) -> None:
    closed = threading.Event()

    async def settling() -> AsyncIterator[int]:
        try:
            for number in range(100):
                yield number
        finally:
            await asyncio.sleep(0.01)
            closed.set()

    def leave() -> bool:
        for _ in sync.stream(settling()):
            break
        gc.collect()
        return closed.is_set()

    assert ends(leave) is True


def test_a_stream_raises_what_its_source_raised_after_the_items_before(ends: Ends) -> None:
    async def breaking() -> AsyncIterator[int]:
        yield 1
        raise ValueError("cut")

    seen: list[int] = []

    def read() -> None:
        for item in sync.stream(breaking()):
            seen.append(item)  # noqa: PERF402 - what came before the error counts

    with pytest.raises(ValueError, match="cut"):
        ends(read)
    assert seen == [1]


@pytest.mark.parametrize("exit_", [SystemExit, KeyboardInterrupt])
def test_what_stops_an_event_loop_stops_only_the_call_that_raised_it(ends: Ends, exit_: type[BaseException]) -> None:
    started = threading.Event()

    async def leave() -> None:
        started.set()
        await asyncio.sleep(0)
        raise exit_

    async def neighbour() -> str:
        while not started.is_set():
            await asyncio.sleep(0.001)
        for _ in range(10):
            await asyncio.sleep(0)
        return "well"

    beside: list[str] = []
    other = threading.Thread(target=lambda: beside.append(sync.run(neighbour())), daemon=True)
    other.start()
    with pytest.raises(exit_):
        ends(lambda: sync.run(leave()))
    other.join(240)
    assert beside == ["well"]
    assert ends(lambda: sync.run(asyncio.sleep(0, "still there"))) == "still there"


def test_blocking_functions_on_the_loop_never_wait_for_a_thread(ends: Ends) -> None:
    met = threading.Barrier(64)

    async def all_at_once() -> list[int]:
        return await asyncio.gather(*(asyncio.to_thread(met.wait, 60) for _ in range(64)))

    assert sorted(ends(lambda: sync.run(all_at_once()))) == list(range(64))


def test_a_call_on_the_loop_itself_is_refused_with_what_to_do(ends: Ends) -> None:
    async def inside() -> int:
        return sync.run(asyncio.sleep(0, 1))

    async def streaming() -> list[Any]:
        return list(sync.stream(words(1)))

    for wrong in (inside, streaming):
        with pytest.raises(PointsmanError, match="await its async form"):
            ends(lambda wrong=wrong: sync.run(wrong()))


def test_a_call_from_another_running_loop_is_answered(ends: Ends) -> None:
    async def inside() -> int:
        return sync.run(asyncio.sleep(0, 7))

    assert ends(lambda: asyncio.run(inside())) == 7


def test_work_sees_the_context_of_its_caller(ends: Ends) -> None:
    whose = contextvars.ContextVar("whose", default="nobody's")

    async def ask() -> str:
        return whose.get()

    def call() -> str:
        whose.set("mine")
        return sync.run(ask())

    assert ends(call) == "mine"


def test_a_stream_dropped_on_the_loop_itself_does_not_stop_it(ends: Ends) -> None:
    kept: list[Any] = []

    def begin() -> None:
        stream = sync.stream(words(1, 100))
        next(stream)
        kept.append(stream)

    async def drop() -> None:
        kept.clear()

    ends(begin)
    ends(lambda: sync.run(drop()))
    assert ends(lambda: sync.run(asyncio.sleep(0, 1))) == 1


def test_a_thousand_calls_and_streams_leave_no_thread_behind(ends: Ends) -> None:
    def once(number: int) -> None:
        sync.run(asyncio.sleep(0))
        for _ in sync.stream(words(number)):
            break

    once(0)
    before = threading.active_count()
    ends(lambda: [once(number) for number in range(1, 1000)])
    assert threading.active_count() <= before + 1


def test_importing_starts_nothing() -> None:
    code = "import threading, pointsman.dispatch.sync; print(threading.active_count())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


ENDING = """
    import asyncio, atexit, os, sys, threading, time
    from pointsman.dispatch import sync as portal

    # Nobody has to wait so long for what ends when it is told to.
    portal._END_SECONDS = 3600.0
    started = threading.Semaphore(0)

    async def words():
        try:
            for number in range(10**9):
                yield number
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0.01)
            os.write(1, b"paid\\n")

    async def call():
        started.release()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            os.write(1, b"paid\\n")

    def leave():
        if sys.argv[1] == "exit":
            sys.exit(0)
        if sys.argv[1] == "error":
            raise ValueError("mine")
        os._exit(0) if sys.argv[1] == "os._exit" else None
"""


def _ended(programs: Any, code: str, how: str) -> tuple[str, str]:
    """What a program says that must end by itself, soon."""
    ran = programs.run(["-c", textwrap.dedent(ENDING) + textwrap.dedent(code), how])
    assert ran.returncode == (how == "error")
    return ran.stdout, ran.stderr


@pytest.mark.parametrize("how", ["exit", "error", "end", "os._exit"])
def test_a_process_ends_at_once_with_streams_still_held_and_each_says_what_it_cost(programs: Any, how: str) -> None:
    code = """
        from pointsman.configs.process.forks import watch_exit
        watch_exit()
        held = [portal.stream(words()) for _ in range(20)]
        for stream in held:
            next(stream)
        leave()
    """
    said, errors = _ended(programs, code, how)
    assert said == "paid\n" * 20
    mine = ["ValueError: mine"] if how == "error" else []
    assert (errors.count("Traceback"), errors.splitlines()[-1:]) == (len(mine), mine)


def test_threads_with_calls_under_way_do_not_hold_up_the_end_and_say_nothing(programs: Any) -> None:
    code = """
        def work():
            while True:
                portal.run(call())

        def reads():
            for _ in portal.stream(words()):
                pass

        for target in [work, reads] * 4:
            threading.Thread(target=target, daemon=True).start()
        for _ in range(4):
            started.acquire()
        portal.run(asyncio.sleep(0))
    """
    said, errors = _ended(programs, code, "end")
    assert (4 <= said.count("paid\n") <= 8, errors) == (True, "")


def test_what_asks_for_a_call_after_the_end_is_told_and_not_left_waiting(programs: Any) -> None:
    code = """
        from pointsman.configs.errors import PointsmanError
        from pointsman.configs.process import forks

        def late():
            anew = lambda: next(portal.stream(words()))
            for ask in (lambda: portal.run(asyncio.sleep(0)), lambda: next(stream), anew):
                try:
                    while True:
                        ask()
                except PointsmanError as error:
                    print(str(error).partition(":")[0])
            stream.close()

        # Called last, since it is registered first.
        atexit.unregister(forks._end)
        atexit.register(late)
        atexit.register(forks._end)
        stream = portal.stream(words())
        next(stream)
    """
    said, errors = _ended(programs, code, "end")
    assert (said, errors) == ("paid\n" + "the process is ending and makes no more calls\n" * 3, "")
