"""Tools that block, and tools that raise what would end more than themselves."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from pointsman.tools import tool
from pointsman.tools.threads import THREADS, Threads, in_thread

Ends = Callable[[Callable[[], Any]], Any]

EXITS: list[tuple[BaseException, str]] = [
    (SystemExit(3), "SystemExit: 3"),
    (SystemExit("no such file"), "SystemExit: no such file"),
    (SystemExit(), "SystemExit"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
    (StopIteration("dry"), "StopIteration: dry"),
    (StopAsyncIteration(), "StopAsyncIteration"),
    (GeneratorExit(), "GeneratorExit"),
    (asyncio.CancelledError("elsewhere"), "CancelledError: elsewhere"),
]


def raising(error: BaseException, *, is_async: bool) -> BaseTool:
    if is_async:

        @tool(effect="read", name="leave")
        async def leave_async() -> str:
            """Leave."""
            await asyncio.sleep(0)
            raise error

        return leave_async

    @tool(effect="read", name="leave")
    def leave() -> str:
        """Leave."""
        raise error

    return leave


CALL = {"type": "tool_call", "id": "1", "name": "leave", "args": {}}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(("error", "said"), EXITS, ids=lambda value: repr(value))
def test_what_would_end_more_than_the_tool_is_told_as_its_failure(
    ends: Ends, error: BaseException, said: str, is_async: bool
) -> None:
    made = raising(error, is_async=is_async)
    for call in (lambda: made.invoke(CALL), lambda: asyncio.run(made.ainvoke(CALL))):
        message = ends(call)
        assert isinstance(message, ToolMessage)
        assert (message.status, message.content) == ("error", f"the tool 'leave' ended with {said}")


async def test_cancelling_the_run_is_no_failure_of_the_tool() -> None:
    started = asyncio.Event()

    @tool(effect="read")
    async def wait() -> str:
        """Wait."""
        started.set()
        await asyncio.Event().wait()
        return ""

    task = asyncio.create_task(wait.ainvoke({}))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_tool_that_is_left_when_its_loop_ends_is_closed_quietly() -> None:
    @tool(effect="read")
    async def wait() -> str:
        """Wait."""
        await asyncio.Event().wait()
        return ""

    made: Any = wait.coroutine
    call = made()
    loop = asyncio.new_event_loop()
    task = loop.create_task(call)
    loop.run_until_complete(asyncio.sleep(0))
    call.close()
    task.cancel()
    loop.close()


async def test_a_blocking_tool_does_not_stop_the_event_loop() -> None:
    went_on = threading.Event()

    @tool(effect="read")
    def block() -> bool:
        """Wait for the loop."""
        return went_on.wait(240)

    task = asyncio.create_task(block.ainvoke({}))
    await asyncio.sleep(0)
    went_on.set()
    assert await task is True


def test_a_hundred_tools_that_wait_for_each_other_all_end(ends: Ends) -> None:
    barrier = threading.Barrier(100)

    @tool(effect="read")
    def meet() -> int:
        """Wait for all the others."""
        return barrier.wait(240)

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(meet.ainvoke({}) for _ in range(100)))

    assert sorted(ends(lambda: asyncio.run(all_of_them()))) == list(range(100))


async def test_an_async_tool_is_called_with_invoke_where_a_loop_runs() -> None:
    @tool(effect="read")
    async def say(text: str) -> str:
        """Say it."""
        await asyncio.sleep(0)
        return text

    assert say.invoke({"text": "hi"}) == "hi"


async def test_a_tool_in_a_thread_sees_the_context_of_its_caller() -> None:
    whose = contextvars.ContextVar("whose", default="nobody's")

    @tool(effect="read")
    def ask() -> str:
        """Tell whose it is."""
        return whose.get()

    whose.set("mine")
    assert await ask.ainvoke({}) == "mine"


async def test_what_raises_stop_iteration_in_a_thread_does_not_wait_for_ever() -> None:
    def dry() -> None:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        await in_thread(dry)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.get_running_loop().run_in_executor(THREADS, dry)


def test_threads_are_used_again_and_end_when_nobody_needs_them(ends: Ends) -> None:
    seen: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    def note() -> int:
        seen.add(threading.current_thread())
        return threading.get_ident()

    patient = Threads(idle_seconds=60)
    for _ in range(200):
        patient.submit(note).result(240)
    # One that has just given its result may not have come to rest when the next call comes.
    assert len(seen) < 100

    seen.clear()
    hasty = Threads(idle_seconds=0.05)
    for _ in range(5):
        hasty.submit(note).result(240)
    for thread in list(seen):
        thread.join(240)
        assert not thread.is_alive()
    assert hasty.submit(note).result(240)


@pytest.mark.slow
async def test_a_thread_holds_nothing_of_a_call_that_is_over() -> None:
    class Large:
        pass

    argument = Large()
    gone = weakref.ref(argument)
    await in_thread(id, argument)
    del argument
    await in_thread(int)
    gc.collect()
    assert gone() is None
