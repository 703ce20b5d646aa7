"""Every call ends in exactly one row and is paid for, whichever way it ends and on whichever path it was made."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import sqlite3
import sys
import textwrap
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, aclosing, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pointsman import Agent, Workflow
from pointsman.agents.errors import RunTimeout
from pointsman.agents.lease.lease import Lease
from pointsman.agents.runs import run_scope, taken_up
from pointsman.agents.runtime import Runtime
from pointsman.backends.base import BackendError
from pointsman.configs.errors import ConfigError
from pointsman.dispatch.calls.bill import Bill
from pointsman.dispatch.calls.call import close_all
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.ensemble.ensemble import Ensemble
from pointsman.dispatch.errors import AllFailed
from pointsman.dispatch.model import RoutedChatModel
from pointsman.dispatch.request import ModelRequest
from pointsman.ledger.budgets.budgets import Budgets
from pointsman.ledger.ledger import Ledger
from pointsman.ledger.report import report
from pointsman.simulator import Answer, Fault, Latency, Match, Rule, Scenario, Simulator

Make = Callable[..., Dispatcher]
RIVER = "It flows through Cambridge and Ely, and then to the sea."
QUESTION = "Tell me about the Cam"
HANGING = Scenario(rules=(Rule(fault=Fault("hang")),))
# So long that it is not over before somebody leaves it, however busy the machine.
DRIPPING = Scenario(rules=(Rule(answer=Answer(text=f"{RIVER} " * 50), latency=Latency(ms=0, chunk_gap_ms=40)),))
VENDORS = {
    "anthropic": "anthropic/claude-haiku-4-5",
    "google": "google/gemini-3.5-flash",
    "openai": "openai/gpt-5.4-mini",
}


def _model(home: Dispatcher, prefer: str = "openai/gpt-5.4-mini", **facts: Any) -> RoutedChatModel:
    return RoutedChatModel(kind="transform", prefer=prefer, dispatcher=home, **facts)


@contextmanager
def capped(home: Dispatcher, max_cost: float = 5.0) -> Iterator[str]:
    runtime = Runtime(home.settings)
    runtime.__dict__["dispatcher"] = home
    with run_scope(runtime, "test", max_cost=max_cost) as books:
        yield books.id


async def _requests(simulator: Simulator, count: int) -> None:
    async with asyncio.timeout(240):
        while len(simulator.log) < count:
            await asyncio.sleep(0.01)


async def _paid(
    home: Dispatcher, simulator: Simulator, run: str, requests: int = 1, failure: str = "cancelled"
) -> list[Any]:
    """Each request has one row, and what is spent is what the rows say."""
    async with asyncio.timeout(240):
        # The provider's log is written when it has noticed that nobody listens any more.
        while len(home.ledger.calls(run=run)) < requests or len(simulator.log) < requests:
            await asyncio.sleep(0.01)
    rows = list(home.ledger.calls(run=run))
    assert (len(rows), len(simulator.log)) == (requests, requests)
    assert len({row.id for row in rows}) == len(rows)
    spent, reserved = home.budgets.totals(f"run:{run}")
    assert (spent, reserved) == (sum(row.cost or 0 for row in rows), 0)
    assert {row.failure for row in rows} == {failure}
    assert all(row.cost for row in rows)
    assert all(row.detail.startswith("broken off: ") for row in rows if failure == "cancelled")
    return rows


async def _plain(home: Dispatcher) -> None:
    await _model(home).ainvoke(QUESTION)


async def _streamed(home: Dispatcher) -> None:
    async for _ in _model(home).astream(QUESTION):
        pass


async def _hedged(home: Dispatcher) -> None:
    await _model(home, latency="critical").ainvoke(QUESTION)


async def _hedged_stream(home: Dispatcher) -> None:
    async for _ in _model(home, latency="critical").astream(QUESTION):
        pass


async def _ensemble(home: Dispatcher) -> None:
    await Ensemble([_model(home), _model(home, "anthropic/claude-haiku-4-5")]).ainvoke(QUESTION)


async def _agent(home: Dispatcher) -> None:
    runtime = Runtime(home.settings)
    runtime.__dict__["dispatcher"] = home
    await Agent("one", tier="economy").on(runtime).ainvoke(QUESTION)


PATHS: dict[str, tuple[Callable[[Dispatcher], Coroutine[Any, Any, None]], int]] = {
    "plain": (_plain, 1),
    "streamed": (_streamed, 1),
    "hedged": (_hedged, 2),
    "hedged stream": (_hedged_stream, 2),
    "ensemble": (_ensemble, 2),
    "agent": (_agent, 1),
}


@pytest.mark.parametrize("path", PATHS)
async def test_a_cancelled_call_ends_in_a_row_and_is_charged(dispatcher: Make, simulator: Simulator, path: str) -> None:
    work, requests = PATHS[path]
    simulator.scenario = HANGING
    home = dispatcher(routing__limits={"hedge": 0.05})
    with capped(home) as run:
        task = asyncio.create_task(work(home))
        await _requests(simulator, requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    rows = await _paid(home, simulator, run, requests)
    told = "broken off: the caller did not wait for the end; charged as reserved"
    assert [row.detail for row in rows] == [told] * requests


async def _within(work: Coroutine[Any, Any, None], simulator: Simulator, requests: int) -> None:
    """Do the work under a time-out that strikes once the requests are there."""
    async with asyncio.timeout(240) as patience:

        async def strike() -> None:
            await _requests(simulator, requests)
            patience.reschedule(0)

        striking = asyncio.create_task(strike())
        await work
        await striking


@pytest.mark.parametrize("path", PATHS)
async def test_a_callers_own_time_out_ends_in_a_row_and_is_charged(
    dispatcher: Make, simulator: Simulator, path: str
) -> None:
    work, requests = PATHS[path]
    simulator.scenario = HANGING
    home = dispatcher(routing__limits={"hedge": 0.05})
    with capped(home) as run, pytest.raises(TimeoutError):
        await _within(work(home), simulator, requests)
    await _paid(home, simulator, run, requests)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_deadline_ends_each_call_in_a_row_and_is_charged(
    dispatcher: Make, simulator: Simulator, leap: Any, vendor: str
) -> None:
    simulator.scenario = HANGING
    home = dispatcher()
    late = leap.when(lambda: len(simulator.log) == 1, 121)
    with capped(home) as run, late, pytest.raises(Exception, match="timeout"):
        await _model(home, VENDORS[vendor], deadline=120).ainvoke(QUESTION)
    await _paid(home, simulator, run, failure="timeout")


async def _until_words(chunks: AsyncIterator[Any]) -> None:
    async for chunk in chunks:
        if chunk.text:
            return


async def _closed(model: RoutedChatModel) -> None:
    async with aclosing(model.astream(QUESTION)) as chunks:  # type: ignore[type-var]
        await _until_words(chunks)


async def _dropped(model: RoutedChatModel) -> None:
    await _until_words(model.astream(QUESTION))
    gc.collect()


async def _cancelled(model: RoutedChatModel) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async for chunk in model.astream(QUESTION):
            if chunk.text:
                begun.set()

    task = asyncio.create_task(read())
    async with asyncio.timeout(240):
        await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _raised(model: RoutedChatModel) -> None:
    async def read() -> None:
        async for chunk in model.astream(QUESTION):
            if chunk.text:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await read()


# Each way of leaving with each vendor, and each of both with and without a hedge, which is of neither's making.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("leave", "vendor", "latency"),
    [
        (leave, vendor, ("interactive", "critical")[(at + place) % 2])
        for at, leave in enumerate([_closed, _dropped, _cancelled, _raised])
        for place, vendor in enumerate(VENDORS)
    ],
)
async def test_a_stream_left_in_the_middle_is_charged_for_what_was_seen(
    dispatcher: Make, simulator: Simulator, leave: Callable[[Any], Awaitable[None]], vendor: str, latency: Any
) -> None:
    simulator.scenario = DRIPPING
    home = dispatcher(routing__limits={"hedge": 60})
    with capped(home) as run:
        await leave(_model(home, VENDORS[vendor], latency=latency))
    (row,) = await _paid(home, simulator, run)
    assert row.first_token is not None
    # Less than all that was reserved: only a part of the answer was written.
    assert "charged as reserved" not in row.detail


async def test_a_stream_is_timed_to_its_end_in_its_row_and_to_its_first_words_for_health(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=(Rule(answer=Answer(text=RIVER), latency=Latency(ms=0, chunk_gap_ms=20)),))
    home = dispatcher()
    await home.clients.ready(home.cards["openai/gpt-5.4-mini"])
    began = time.monotonic()
    async for _ in _model(home).astream(QUESTION):
        pass
    (row,), (state,) = home.ledger.calls(), home.health.states()
    assert row.first_token is not None
    assert 0 < row.first_token < row.latency < time.monotonic() - began
    assert state.p95 == row.first_token


def test_a_call_has_taken_as_long_as_it_was_sent_ago_however_long_that_is() -> None:
    nobody: Any = None
    bill = Bill(nobody, nobody, (), nobody, nobody)
    for ago in (0, 3_600, time.time() - 1000):
        bill.begin(at=time.time() - ago)
        assert bill.seconds == pytest.approx(ago, abs=60)


async def test_a_stream_left_late_is_charged_for_all_the_words_that_were_seen(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=(Rule(answer=Answer(text=RIVER * 9), latency=Latency(ms=0, chunk_gap_ms=5)),))
    home = dispatcher()
    with capped(home) as run:
        async with aclosing(_model(home).astream(QUESTION)) as chunks:
            seen = ""
            async for chunk in chunks:
                seen += chunk.text
                if len(seen) > 60:
                    break
    (row,) = await _paid(home, simulator, run)
    assert row.usage is not None
    assert row.usage.output >= len(seen.split())


async def test_a_stream_of_a_reply_that_came_as_a_whole_is_charged_where_it_is_left(
    dispatcher: Make, tmp_path: Path
) -> None:
    own = {"backend": "scripted", "options": {"replies": [RIVER]}, "local": True}
    model = {"tier": "economy", "prices": {"input": 1, "output": 5, "as_of": "2026-11-28"}}
    (tmp_path / "models.yaml").write_text(json.dumps({"providers": {"own": own}, "models": {"own/script": model}}))
    home = dispatcher()
    with capped(home) as run:
        async with aclosing(_model(home, "own/script").astream(QUESTION)) as chunks:
            assert (await anext(chunks)).text == "It "
    (row,) = home.ledger.calls()
    assert (row.model, row.failure) == ("own/script", "cancelled")
    assert row.usage is not None
    assert 0 < row.usage.output < len(RIVER.split())
    assert home.budgets.totals(f"run:{run}") == (row.cost, 0)


async def test_a_stream_that_ends_at_its_first_letter_is_charged_for_one_token(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=(Rule(answer=Answer(text="I I I"), fault=Fault("cut_stream", after_chunks=1)),))
    home = dispatcher(routing__limits={"attempts": 1})
    with capped(home) as run, pytest.raises(BackendError):
        async for _ in _model(home).astream(QUESTION):
            pass
    (row,) = await _paid(home, simulator, run, failure="connection")
    assert row.usage is not None
    assert row.usage.output == 1


async def test_a_provider_that_refused_the_key_is_not_asked_by_the_next_call(
    dispatcher: Make, simulator: Simulator
) -> None:
    refusing = Rule(match=Match(vendor="openai"), fault=Fault("auth"))
    simulator.scenario = Scenario(rules=(refusing, Rule(answer=Answer(text=RIVER))))
    home = dispatcher()
    for prefer in ("openai/gpt-5.4-mini", "openai/gpt-5.5"):
        await _model(home, prefer).ainvoke(QUESTION)
    assert Counter(row.model.partition("/")[0] for row in home.ledger.calls())["openai"] == 1


@pytest.mark.slow
def test_a_stream_whose_event_loop_is_gone_is_charged(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = DRIPPING
    home = dispatcher()
    loop = asyncio.new_event_loop()
    with capped(home) as run:
        chunks = _model(home).astream(QUESTION)
        loop.run_until_complete(_until_words(chunks))
        # Without shutdown_asyncgens, as in code that does not use asyncio.run.
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del chunks
    gc.collect()
    asyncio.run(_paid(home, simulator, run))


@pytest.mark.parametrize("end", ["deadline", "cancelled"])
async def test_a_run_that_ends_before_its_calls_ends_them_in_rows(
    dispatcher: Make, simulator: Simulator, leap: Any, end: str
) -> None:
    simulator.scenario = HANGING
    home = dispatcher()
    runtime = Runtime(home.settings)
    runtime.__dict__["dispatcher"] = home
    flow = Workflow("f", agents=[Agent("a", model="openai/gpt-5.4-mini")])
    work = asyncio.create_task(flow.arun("x", runtime=runtime, timeout=170, max_cost=1.0))
    await _requests(simulator, 1)
    leap.forward(171) if end == "deadline" else work.cancel()
    with pytest.raises(RunTimeout if end == "deadline" else asyncio.CancelledError):
        (await work).raise_for_status()
    (run,) = home.ledger.runs()
    await _paid(home, simulator, run.id)


@pytest.mark.slow
def test_a_call_that_the_process_does_not_wait_for_is_booked_at_its_end(
    simulator: Simulator, programs: Any, tmp_path: Path
) -> None:
    simulator.scenario = DRIPPING
    script = f"""
        import asyncio
        from pathlib import Path
        from pointsman.configs.loading.loader import load
        from pointsman.dispatch.dispatcher import Dispatcher
        from pointsman.dispatch.model import RoutedChatModel

        environ = {{"OPENAI_API_KEY": "not-a-real-key",
                   "POINTSMAN_PROVIDERS__OPENAI__BASE_URL": {simulator.url("openai")!r}}}
        home = Dispatcher(load(Path({str(tmp_path)!r}), environ=environ, flags={{"routing.budgets": {{"day": 1}}}}))
        model = RoutedChatModel(kind="transform", prefer="openai/gpt-5.4-mini", dispatcher=home)
        loop = asyncio.new_event_loop()
        chunks = model.astream("Tell me about the Cam")
        async def some():
            async for chunk in chunks:
                if chunk.text:
                    return
        loop.run_until_complete(some())
    """
    programs.run(["-c", textwrap.dedent(script)], check=True)
    (path,) = tmp_path.rglob("ledger.db")
    with Ledger(path) as ledger:
        (row,) = ledger.calls()
    assert (row.failure, row.detail) == ("cancelled", "broken off: the process ended")
    budgets = Budgets(path)
    try:
        assert budgets.totals(f"day:{time.strftime('%Y-%m-%d', time.gmtime(row.at))}") == (row.cost, 0)
    finally:
        budgets.close()


@pytest.mark.slow
@pytest.mark.parametrize("leave", ["", "os._exit(0)"])
@pytest.mark.parametrize("loop", ["portal", "own"])
def test_calls_under_way_in_threads_as_the_process_ends_are_booked_once_each_and_quietly(
    simulator: Simulator, programs: Any, tmp_path: Path, loop: str, leave: str
) -> None:
    simulator.scenario = HANGING
    script = f"""
        import asyncio, os, threading, time
        from pathlib import Path
        from pointsman.configs.loading.loader import load
        from pointsman.dispatch.calls import call
        from pointsman.dispatch.dispatcher import Dispatcher
        from pointsman.dispatch.model import RoutedChatModel

        environ = {{"OPENAI_API_KEY": "not-a-real-key",
                   "POINTSMAN_PROVIDERS__OPENAI__BASE_URL": {simulator.url("openai")!r}}}
        home = Dispatcher(load(Path({str(tmp_path)!r}), environ=environ, flags={{"routing.budgets": {{"day": 1}}}}))
        model = RoutedChatModel(kind="transform", prefer="openai/gpt-5.4-mini", dispatcher=home)

        def work():
            while True:
                model.invoke("What?") if {loop!r} == "portal" else asyncio.run(model.ainvoke("What?"))

        for _ in range(5):
            threading.Thread(target=work, daemon=True).start()
        until = time.monotonic() + 200
        while len(call._under_way) < 5 and time.monotonic() < until:
            time.sleep(0.01)
        {leave}
    """
    ran = programs.run(["-c", textwrap.dedent(script)], check=True)
    assert ran.stderr == ""
    (path,) = tmp_path.rglob("ledger.db")
    with Ledger(path) as ledger:
        rows = ledger.calls()
    assert [row.failure for row in rows] == ["cancelled"] * 5
    assert len({(row.decision, row.attempt) for row in rows}) == 5
    budgets = Budgets(path)
    try:
        day = f"day:{time.strftime('%Y-%m-%d', time.gmtime(rows[0].at))}"
        assert budgets.totals(day) == (sum(row.cost or 0 for row in rows), 0)
    finally:
        budgets.close()


@pytest.mark.slow
def test_an_answer_that_comes_as_the_process_ends_disturbs_nobody(programs: Any, tmp_path: Path) -> None:
    script = f"""
        import asyncio, json, threading, time
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        ending = threading.Event()

        class Provider(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                ending.wait()
                message = {{"role": "assistant", "content": "Late"}}
                choice = {{"index": 0, "finish_reason": "stop", "message": message}}
                usage = {{"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}
                told = {{"id": "1", "object": "chat.completion", "created": 1, "model": "gpt-5.4-mini",
                        "choices": [choice], "usage": usage}}
                body = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        def answer():
            ending.set()
            asked.join(1)

        from pathlib import Path
        from pointsman.configs.loading.loader import load
        from pointsman.configs.process.forks import ExitPhase, at_exit
        from pointsman.dispatch.calls import call
        from pointsman.dispatch.dispatcher import Dispatcher
        from pointsman.dispatch.model import RoutedChatModel

        # After the phase in which calls are closed.
        at_exit(ExitPhase.WRITE)(answer)
        provider = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
        threading.Thread(target=provider.serve_forever, daemon=True).start()
        environ = {{"OPENAI_API_KEY": "not-a-real-key",
                   "POINTSMAN_PROVIDERS__OPENAI__BASE_URL": f"http://127.0.0.1:{{provider.server_port}}/v1"}}
        home = Dispatcher(load(Path({str(tmp_path)!r}), environ=environ))
        model = RoutedChatModel(kind="transform", prefer="openai/gpt-5.4-mini", dispatcher=home)
        asked = threading.Thread(target=lambda: asyncio.run(model.ainvoke("What?")), daemon=True)
        asked.start()
        while not call._under_way:
            time.sleep(0.001)
        time.sleep(0.5)
    """
    ran = programs.run(["-c", textwrap.dedent(script)], check=True)
    assert ran.stderr == ""
    (path,) = tmp_path.rglob("ledger.db")
    with Ledger(path) as ledger:
        assert [row.failure for row in ledger.calls()] == ["cancelled"]


@pytest.mark.parametrize("kind", ["overloaded", "rate_limit", "auth", "bad_request", "server_error"])
async def test_a_provider_that_answers_with_an_error_is_paid_nothing(
    dispatcher: Make, simulator: Simulator, kind: Any
) -> None:
    simulator.scenario = Scenario(rules=(Rule(fault=Fault(kind)),))
    home = dispatcher(routing__limits={"attempts": 1})
    with capped(home) as run, pytest.raises(Exception, match=r"\w"):
        await _model(home).ainvoke(QUESTION)
    assert home.budgets.totals(f"run:{run}") == (0, 0)
    (row,) = home.ledger.calls(run=run)
    assert row.failure is not None


@pytest.mark.parametrize("status", [408, 504])
async def test_a_gateway_that_gives_up_is_paid_nothing(
    dispatcher: Make, serve: Callable[..., str], status: int
) -> None:
    url = serve(lambda _: (status, {"content-type": "application/json"}, b'{"error": {"message": "timed out"}}'))
    home = dispatcher(providers__openai__base_url=f"{url}/v1", routing__limits={"attempts": 1})
    with capped(home) as run, pytest.raises(AllFailed):
        await _model(home).ainvoke(QUESTION)
    assert home.budgets.totals(f"run:{run}") == (0, 0)
    (row,) = home.ledger.calls(run=run)
    assert (row.failure, row.cost) == ("timeout", None)


async def test_a_provider_that_cannot_be_reached_is_paid_nothing(dispatcher: Make, simulator: Simulator) -> None:
    # Nothing listens on the discard port of this machine.
    home = dispatcher(providers__openai__base_url="http://127.0.0.1:9/v1", routing__limits={"attempts": 1})
    with capped(home) as run, pytest.raises(Exception, match="connection"):
        await _model(home).ainvoke(QUESTION)
    assert home.budgets.totals(f"run:{run}") == (0, 0)
    (row,) = home.ledger.calls(run=run)
    assert row.failure == "connection"


@contextmanager
def full_port() -> Iterator[int]:
    """A port of this machine at which connections are asked for in vain."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as busy, ExitStack() as callers:
        for _ in range(4):
            caller = callers.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(busy.getsockname())
        yield busy.getsockname()[1]


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
@pytest.mark.parametrize("path", ["plain", "streamed"])
@pytest.mark.parametrize("end", ["cancelled", "timeout"])
async def test_a_call_that_ends_before_it_has_a_connection_costs_nothing(
    dispatcher: Make, vendor: str, path: str, end: str
) -> None:
    with full_port() as port:
        flags: dict[str, Any] = {f"providers__{vendor}__base_url": f"http://127.0.0.1:{port}/v1"}
        limits = {"attempts": 1, **({} if end == "cancelled" else {"call": 0.5, "first_token": 0.5})}
        home = dispatcher(**flags, routing__limits=limits)
        model = _model(home, VENDORS[vendor])
        await home.clients.ready(home.cards[VENDORS[vendor]])
        with capped(home) as run:
            if path == "plain":
                work = asyncio.ensure_future(model.ainvoke(QUESTION))
            else:
                work = asyncio.ensure_future(anext(model.astream(QUESTION)))
            if end == "cancelled":
                async with asyncio.timeout(240):
                    while not home.budgets.totals(f"run:{run}")[1]:
                        await asyncio.sleep(0.01)
                    await asyncio.sleep(0.1)
                work.cancel()
            with pytest.raises(asyncio.CancelledError if end == "cancelled" else AllFailed):
                await work
    assert home.budgets.totals(f"run:{run}") == (0, 0)
    (row,) = home.ledger.calls(run=run)
    assert (row.failure, row.cost) == (end, 0)


@pytest.mark.slow
async def test_a_refused_hedge_leaves_only_stronger_models_to_answer(dispatcher: Make, simulator: Simulator) -> None:
    """The first refuses while a second of its own tier is still writing: evidence asks for a stronger one."""
    simulator.scenario = Scenario(
        rules=(
            Rule(match=Match(vendor="anthropic", model="*haiku*"), fault=Fault("refusal"), latency=Latency(ms=1500)),
            Rule(match=Match(vendor="google", model="*flash*"), fault=Fault("hang")),
            Rule(answer=Answer(text=RIVER)),
        )
    )
    home = dispatcher(routing__limits={"hedge": 0.1, "call": 60})
    for name in VENDORS.values():
        await home.clients.ready(home.cards[name])
    model = _model(home, VENDORS["anthropic"], tier="standard", latency="critical")
    answer = await model.ainvoke(QUESTION)
    assert answer.response_metadata["pointsman"]["tier"] in ("advanced", "frontier")
    await _requests(simulator, 3)
    rows = home.ledger.calls()
    assert len(rows) == len(simulator.log) == 3
    assert sorted(str(row.failure) for row in rows) == ["None", "cancelled", "refusal"]


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    ("fault", "failure"), [("error_in_stream", "overloaded"), ("cut_stream", "connection"), ("tidy_cut", "malformed")]
)
async def test_a_stream_that_the_provider_breaks_is_charged_for_what_was_seen(
    dispatcher: Make, simulator: Simulator, vendor: str, fault: Any, failure: str
) -> None:
    simulator.scenario = Scenario(rules=(Rule(answer=Answer(text=RIVER), fault=Fault(fault)),))
    home = dispatcher(routing__limits={"attempts": 1})
    with capped(home) as run, pytest.raises(BackendError):
        async for _ in _model(home, VENDORS[vendor]).astream(QUESTION):
            pass
    (row,) = await _paid(home, simulator, run, failure=failure)
    assert "charged as reserved" not in row.detail


@pytest.mark.slow
async def test_a_model_is_asked_again_once_at_most_where_the_policy_retries(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=(Rule(fault=Fault("overloaded")),))
    home = dispatcher(routing__on_failure={"overloaded": "retry"}, routing__limits={"attempts": 6})
    with pytest.raises(AllFailed):
        await _model(home).ainvoke(QUESTION)
    asked = Counter(row.model for row in home.ledger.calls())
    assert asked["openai/gpt-5.4-mini"] == 2
    assert max(asked.values()) == 2
    assert sum(asked.values()) == len(simulator.log) <= 6


async def test_after_a_refused_key_no_other_model_of_that_provider_is_asked(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=(Rule(fault=Fault("auth")),))
    home = dispatcher(routing__limits={"attempts": 9})
    with pytest.raises(AllFailed):
        await _model(home).ainvoke(QUESTION)
    asked = Counter(row.model.partition("/")[0] for row in home.ledger.calls())
    assert asked == {"openai": 1, "anthropic": 1, "google": 1}


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_error_that_no_backend_knows_is_the_next_candidates_turn(
    dispatcher: Make, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, leap: Any, streamed: bool
) -> None:
    simulator.scenario = Scenario(rules=(Rule(answer=Answer(text=RIVER)),))
    home = dispatcher()
    card = home.cards["openai/gpt-5.4-mini"]
    await home.clients.ready(card)
    client, _ = home.clients.bound(ModelRequest(()), card)

    async def confused(*_: Any, **__: Any) -> Any:
        raise LookupError("nobody has heard of this")

    async def confused_stream(*_: Any, **__: Any) -> Any:
        raise LookupError("nobody has heard of this")
        yield

    monkeypatch.setitem(client.__dict__, "_agenerate", confused)
    monkeypatch.setitem(client.__dict__, "_astream", confused_stream)
    model = _model(home)
    if streamed:
        text = "".join([chunk.text async for chunk in model.astream(QUESTION)])
    else:
        text = (await model.ainvoke(QUESTION)).text
    assert text == RIVER
    first, second = home.ledger.calls()
    assert (first.failure, second.failure) == ("unknown", None)
    assert "LookupError: nobody has heard of this" in first.detail


async def test_a_reply_that_cannot_be_read_is_paid_for_and_the_next_is_asked(
    dispatcher: Make, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.scenario = Scenario(rules=(Rule(answer=Answer(text=RIVER)),))
    home = dispatcher()

    def unreadable(*_: Any) -> Any:
        raise LookupError("nobody has seen such a reply")

    monkeypatch.setattr(type(home.clients.backend(home.cards["openai/gpt-5.4-mini"])), "read", unreadable)
    with capped(home) as run:
        assert (await _model(home).ainvoke(QUESTION)).text == RIVER
    first, second = home.ledger.calls(run=run)
    assert (first.failure, second.failure) == ("malformed", None)
    assert first.detail == "unreadable reply: LookupError; charged as reserved"
    assert home.budgets.totals(f"run:{run}") == ((first.cost or 0) + (second.cost or 0), 0)
    assert first.cost


async def test_a_reply_that_cannot_be_checked_is_paid_for_and_the_next_is_asked(
    dispatcher: Make, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.scenario = Scenario(rules=(Rule(answer=Answer(tool_calls=({"name": "look", "arguments": {"q": "x"}},))),))
    look = {
        "name": "look",
        "description": "Look.",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
    }

    def raising(schema: Any, arguments: Any) -> str | None:
        raise TypeError("the check itself fails")

    monkeypatch.setattr("pointsman.dispatch.calls.validation.misfit", raising)
    home = dispatcher(routing__limits={"attempts": 2})
    with capped(home) as run, pytest.raises(BackendError):
        await _model(home).bind_tools([look]).ainvoke(QUESTION)
    rows = home.ledger.calls(run=run)
    assert {row.failure for row in rows} == {"malformed"}
    assert home.budgets.totals(f"run:{run}") == (sum(row.cost or 0 for row in rows), 0)
    assert all(row.cost for row in rows)


@pytest.mark.parametrize("streamed", [False, True])
async def test_to_make_a_client_ready_counts_against_no_deadline_and_is_stated(
    dispatcher: Make, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, leap: Any, streamed: bool
) -> None:
    simulator.scenario = Scenario(rules=(Rule(answer=Answer(text=RIVER)),))
    home = dispatcher()
    card = home.cards["openai/gpt-5.4-mini"]
    await home.clients.ready(card)
    ready = home.clients.ready

    async def slowly(card: Any) -> Any:
        # Longer than the whole deadline, as loading an SDK can be on a busy machine.
        leap.forward(130)
        return await ready(card)

    monkeypatch.setattr(home.clients, "ready", slowly)
    model = _model(home, deadline=120)
    if streamed:
        answer: Any = None
        async for chunk in model.astream(QUESTION):
            answer = chunk if answer is None else answer + chunk
    else:
        answer = await model.ainvoke(QUESTION)
    assert answer.text == RIVER
    account = answer.response_metadata["pointsman"]
    assert account["setup"] >= 130
    assert account["seconds"] < account["setup"]


async def test_a_failure_states_what_it_took_to_make_the_client_ready(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = HANGING
    with pytest.raises(AllFailed) as failed:
        await _model(dispatcher(), deadline=0.3).ainvoke(QUESTION)
    assert failed.value.setup > 0


async def test_a_deadline_covers_the_wait_for_a_held_ledger_and_nothing_is_sent_after_it(
    dispatcher: Make, simulator: Simulator
) -> None:
    home = dispatcher()
    await _model(home).ainvoke("warm up")
    sent = len(simulator.log)
    with (
        capped(home) as run,
        closing(sqlite3.connect(home.settings.state / "ledger.db", isolation_level=None)) as other,
    ):
        home.ledger.flush()
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(AllFailed, match="before the ledger could reserve"):
            await _model(home, deadline=0.3).ainvoke(QUESTION)
        other.execute("ROLLBACK")
    assert len(simulator.log) == sent
    assert home.ledger.calls(run=run) == ()
    async with asyncio.timeout(240):
        # What a thread still had to ask the file for is given back as soon as it has it.
        while home.budgets.totals(f"run:{run}") != (0, 0):
            await asyncio.sleep(0.01)


async def test_a_call_whose_time_is_over_is_not_sent_and_costs_nothing(dispatcher: Make, simulator: Simulator) -> None:
    home = dispatcher(routing__limits={"call": 1e-9, "attempts": 1})
    with capped(home) as run, pytest.raises(AllFailed, match="timeout"):
        await _model(home).ainvoke(QUESTION)
    assert len(simulator.log) == 0
    assert home.budgets.totals(f"run:{run}") == (0, 0)
    (row,) = home.ledger.calls(run=run)
    assert (row.failure, row.cost) == ("timeout", 0)
    # Nobody need wonder what it may have cost.
    assert report(home.ledger, run=run).totals.unpriced == 0


async def test_closing_ends_the_calls_of_one_ledger_or_of_all(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = HANGING
    homes = [dispatcher(), dispatcher()]
    tasks = [asyncio.ensure_future(_model(home).ainvoke(QUESTION)) for home in homes]
    async with asyncio.timeout(240):
        while len(simulator.log) < 2:
            await asyncio.sleep(0.01)
    close_all("one is closed", homes[0].ledger)
    assert [row.detail for row in homes[0].ledger.calls()] == ["broken off: one is closed"]
    close_all("all are over")
    assert {row.detail for row in homes[1].ledger.calls()} == {"broken off: one is closed", "broken off: all are over"}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(homes[0].ledger.calls()) == 2


@pytest.mark.parametrize("work", [_plain, _streamed])
async def test_a_call_that_is_under_way_when_its_runtime_is_closed_is_booked_and_charged(
    dispatcher: Make, simulator: Simulator, leap: Any, work: Callable[[Dispatcher], Coroutine[Any, Any, None]]
) -> None:
    simulator.scenario = HANGING
    home = dispatcher(routing__limits={"call": 3_000, "first_token": 3_000, "deadline": 30_000})
    # The run's own end cannot be written either.
    with suppress(ConfigError), capped(home) as run:
        asking = asyncio.create_task(work(home))
        await _requests(simulator, 1)
        await asyncio.to_thread(home.close)
        leap.forward(3_600)
        await asyncio.wait({asking})
    # Not within the block, whose own end raises in place of what is raised there.
    with pytest.raises(ConfigError, match="keep it open"):
        await asking
    after = dispatcher()
    [row] = after.ledger.calls(run=run)
    assert (row.failure, row.detail.partition(";")[0]) == ("cancelled", "broken off: what it ran on was closed")
    assert row.cost
    assert after.budgets.totals(f"run:{run}") == (row.cost, 0)


@pytest.mark.parametrize("fault", [None, Fault("auth"), Fault("reset")], ids=["answered", "refused", "cut"])
async def test_a_row_and_the_end_of_its_reservation_reach_the_file_together_however_the_call_ends(
    dispatcher: Make, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, fault: Fault | None
) -> None:
    # Whenever the process is killed, another finds either the reservation, which it makes a row of, or the row.
    monkeypatch.setattr("pointsman.ledger.storage.writer._GROUP_SECONDS", 3600.0)
    simulator.scenario = Scenario(rules=(Rule(answer=Answer(text=RIVER), fault=fault),))
    home = dispatcher(routing__limits={"attempts": 2})
    with capped(home) as run:
        with suppress(AllFailed):
            await _plain(home)
        home.budgets._store._worker.finish()  # type: ignore[attr-defined]
        with closing(sqlite3.connect(home.settings.state / "ledger.db")) as file:
            counted = "SELECT (SELECT count(*) FROM reservations), (SELECT count(*) FROM calls)"
            seen = file.execute(counted).fetchone()
            spent, reserved = home.budgets.totals(f"run:{run}")
            rows = home.ledger.calls(run=run)
            # On a busy machine the statistics of tasks are read meanwhile, which has the rows written.
            assert sum(seen) == len(rows)
            assert len(rows) == (2 if fault else 1)
            assert (spent, reserved) == (sum(row.cost or 0 for row in rows), 0)
            assert file.execute("SELECT count(*) FROM reservations").fetchone() == (0,)


def _hung_up(request: Any) -> tuple[int, dict[str, str], Any]:
    def ending() -> Iterator[bytes]:
        yield b'{"id": "1"'
        raise OSError("the connection is gone")

    return 200, {"content-type": "application/json"}, ending()


def _no_http(request: Any) -> tuple[int, dict[str, str], Any]:
    return 200, {"content-type": "application/json", "x-trace": "a" * 20_000}, b"{}"


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("end", [None, _hung_up, _no_http], ids=["no reply", "half a reply", "a reply that is no HTTP"])
async def test_a_request_that_was_sent_and_whose_connection_ends_is_charged_as_reserved(
    dispatcher: Make, simulator: Simulator, serve: Callable[..., str], vendor: str, end: Any, streamed: bool
) -> None:
    # The clients call some of these ends a failure to connect, and others a refusal with status 400.
    simulator.scenario = Scenario(rules=(Rule(fault=Fault("reset")),))
    served = {} if end is None else {f"providers__{vendor}__base_url": serve(end)}
    home = dispatcher(routing__limits={"attempts": 1}, **served)
    model = _model(home, VENDORS[vendor])
    with capped(home) as run, pytest.raises(AllFailed):
        await (anext(model.astream(QUESTION)) if streamed else model.ainvoke(QUESTION))
    (row,) = home.ledger.calls(run=run)
    assert (row.model, row.failure) == (VENDORS[vendor], "connection")
    assert row.cost
    assert row.detail.endswith("charged as reserved")
    assert home.budgets.totals(f"run:{run}") == (row.cost, 0)


KILLED = """
import asyncio, os, signal
from pathlib import Path
from pointsman import RoutedChatModel
from pointsman.agents.runs import run_scope, taken_up
from pointsman.agents.runtime import Runtime
from pointsman.configs.loading.loader import environment, load

async def killed():
    home = Runtime(load(Path.cwd(), environ=environment()))
    with run_scope(home, "test", max_cost=5.0):
        model = RoutedChatModel(kind="transform", prefer="openai/gpt-5.4-mini", dispatcher=home.dispatcher)
        async for _ in model.astream("Tell me about the Cam"):
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(killed())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_call_under_way_in_a_killed_process_is_a_row_of_the_run_that_is_taken_up_charged_as_reserved(
    dispatcher: Make, simulator: Simulator, programs: Any, tmp_path: Path
) -> None:
    simulator.scenario = Scenario(rules=(Rule(match=Match(vendor="openai"), fault=Fault("auth")), *DRIPPING.rules))
    home = dispatcher()
    environ = {**os.environ, **{f"{vendor}_API_KEY": "not-a-real-key" for vendor in ("ANTHROPIC", "OPENAI", "GOOGLE")}}
    for vendor in ("anthropic", "openai", "google"):
        environ[f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL"] = simulator.url(vendor)
    started = programs.run(["-c", KILLED], cwd=tmp_path, env=environ)
    assert started.returncode == -signal.SIGKILL, started.stderr
    runtime = Runtime(home.settings)
    runtime.__dict__["dispatcher"] = home
    (run,) = home.ledger.runs()
    for _ in range(2):
        lease = Lease.take(home.ledger, home.settings.state, run.id)
        calls = taken_up(runtime, lease).calls
        lease.close()
        assert [(call.attempt, call.failure) for call in calls] == [(1, "auth"), (2, "lost")]
        assert calls[1].model != calls[0].model
        assert (calls[0].decision, calls[0].stream) == (calls[1].decision, True)
        assert home.budgets.totals(f"run:{run.id}") == (calls[1].cost, 0)
    assert home.ledger.verify() == []
