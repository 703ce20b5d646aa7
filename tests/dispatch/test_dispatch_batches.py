"""Work that can wait: handed in at the providers' batch APIs, collected by whoever comes, paid and recorded once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from pointsman.backends.batch.openai import OpenAIBatches
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Effect, Risk, StepKind, Tier, Trust
from pointsman.dispatch.batch.batches import BatchAnswer, Batches
from pointsman.dispatch.batch.codec import ask_of, ask_text, step_of, step_record
from pointsman.dispatch.context import RunContext, StepContext, entered
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.journal import Journal
from pointsman.dispatch.request import ModelRequest
from pointsman.ledger.budgets.budgets import BudgetExceeded, Budgets
from pointsman.routing.evidence import Finding
from pointsman.routing.request import RouteRequest
from pointsman.simulator import Answer, BatchPace, Fault, Match, Rule, Scenario, Simulator, Usage

Make = Callable[..., Dispatcher]
Desk = Callable[..., tuple[Dispatcher, Batches]]

_PROMPT = BatchPace(polls=0)
_CAP = {"routing__budgets": {"day": 5.0}}


@pytest.fixture
def batches(dispatcher: Make) -> Iterator[Desk]:
    """Make a dispatcher and batches over it; keyword arguments are flags of the loader."""
    made: list[Batches] = []

    def make(**flags: Any) -> tuple[Dispatcher, Batches]:
        home = dispatcher(**flags)
        made.append(Batches(home))
        return home, made[-1]

    yield make
    for one in made:
        one.close()


def _asks(*texts: str, **facts: Any) -> list[ModelRequest]:
    declared = RouteRequest(**{"kind": StepKind.TRANSFORM, **facts})
    return [ModelRequest([HumanMessage(text)], declared) for text in texts]


async def _all(batches: Batches, asks: list[ModelRequest]) -> list[BatchAnswer]:
    return await batches.collect(await batches.submit(asks), pause=0.01)


def _texts(answers: list[BatchAnswer]) -> list[str | None]:
    return [None if answer.message is None else str(answer.message.text) for answer in answers]


def _model(answer: BatchAnswer) -> str:
    assert answer.message is not None, answer.error
    return str(answer.message.response_metadata["pointsman"]["model"])


def _today(home: Dispatcher) -> tuple[int, int]:
    return home.budgets.totals(f"day:{time.strftime('%Y-%m-%d', time.gmtime())}")


def _asked(simulator: Simulator) -> list[tuple[str, bool]]:
    """The requests that a model answered, or failed to: the model, and whether in a batch."""
    return [(served.model, served.batch) for served in simulator.log if served.endpoint != "batches"]


async def test_answers_come_back_in_the_order_of_the_asks_at_half_the_price(
    batches: Desk, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="hi", usage=Usage(input=1000, output=100)))])
    home, waiting = batches()
    await home.call(_asks("live")[0])
    answers = await _all(waiting, [*_asks("one", "two"), *_asks("three", kind=None, tier=Tier.FRONTIER), *_asks("4")])

    assert [answer.place for answer in answers] == [0, 1, 2, 3]
    assert [_model(answer).partition("/")[0] for answer in answers] == ["openai", "openai", "anthropic", "openai"]
    assert [batch for _, batch in _asked(simulator)] == [False, True, True, True, True]
    live, *batched = sorted(home.ledger.calls(), key=lambda row: row.at)
    assert live.cost
    assert {row.attempt for row in batched} == {1}
    same = [row for row in batched if row.model == live.model]
    assert [(row.cost, row.failure) for row in same] == [(live.cost // 2, None)] * 3
    assert {row.flagship_cost for row in same} == {live.flagship_cost}
    # Each was decided as a live call is, and said to be able to wait.
    decided = [home.ledger.decision(row.decision) for row in batched]
    assert [json.loads(row.features)["latency"] for row in decided if row] == ["batch"] * 4
    billed = sum(served.cost_usd or 0 for served in simulator.log if served.batch)
    assert sum(row.cost or 0 for row in batched) / 1e12 == pytest.approx(billed)
    assert home.ledger.verify() == []


@pytest.mark.parametrize(("discount", "share"), [(0, 1.0), (0.25, 0.75)])
async def test_the_discount_is_the_providers_in_the_configuration(
    batches: Desk, simulator: Simulator, discount: float, share: float
) -> None:
    home, waiting = batches(providers__openai__batch_discount=discount)
    live = await home.call(_asks("one")[0])
    [answer] = await _all(waiting, _asks("one"))
    assert answer.message is not None
    costs = [message.response_metadata["pointsman"]["cost"] for message in (live, answer.message)]
    assert costs[1] == costs[0] * share


async def test_the_answers_say_what_ran_as_those_of_live_calls_do(batches: Desk, simulator: Simulator) -> None:
    home, waiting = batches()
    live = await home.call(_asks("one")[0])
    [answer] = await _all(waiting, _asks("one"))
    assert answer.message is not None
    account = answer.message.response_metadata["pointsman"]
    assert set(account) == set(live.response_metadata["pointsman"])
    assert answer.message.text == live.text
    assert answer.message.usage_metadata == live.usage_metadata


async def test_a_model_is_shown_the_tools_of_a_request_in_a_batch_and_no_others(
    batches: Desk, simulator: Simulator
) -> None:
    shown: list[list[str]] = []

    def answer(request: Any) -> Answer:
        shown.append([tool.name for tool in request.tools])
        return Answer(text="hi")

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    _, waiting = batches()
    [ask] = _asks("one")
    tool = {"type": "function", "function": {"name": "forecast", "parameters": {"type": "object", "properties": {}}}}
    assert _texts(await _all(waiting, [replace(ask, tools=(tool,)), ask])) == ["hi", "hi"]
    assert sorted(shown) == [[], ["forecast"]]


async def test_what_has_no_batch_api_is_asked_live_when_the_batch_is_looked_at(
    batches: Desk, simulator: Simulator
) -> None:
    _, waiting = batches(providers__openai__backend="openai_compatible")
    batch = await waiting.submit(_asks("one"))
    assert waiting.book.parts(batch) == []
    assert _asked(simulator) == []
    [answer] = await waiting.collect(batch, pause=0.01)
    assert _model(answer).startswith("openai/")
    assert [batched for _, batched in _asked(simulator)] == [False]


async def test_an_ask_no_model_may_run_fails_alone(batches: Desk) -> None:
    _, waiting = batches(routing__limits={"tiers": ["economy"]})
    answers = await _all(waiting, [*_asks("one"), *_asks("two", kind=StepKind.ACT, effects=(Effect.DESTRUCTIVE,))])
    assert [answer.error is None for answer in answers] == [True, False]
    assert "no model can run" in str(answers[1].error)


async def test_a_request_that_fails_in_the_batch_is_asked_live_at_the_same_tier_or_above(
    batches: Desk, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(
        rules=[Rule(match=Match(contains="bad", model="claude-sonnet-*"), fault=Fault("server_error"))]
    )
    home, waiting = batches()
    asks = _asks("good", "bad", tier=Tier.ADVANCED, model="anthropic/claude-sonnet-4-6")
    good, bad = await _all(waiting, asks)
    assert _model(good) == "anthropic/claude-sonnet-4-6"
    assert home.cards[_model(bad)].tier >= Tier.ADVANCED
    rows = [(row.model, row.failure) for row in home.ledger.calls() if row.failure]
    assert ("anthropic/claude-sonnet-4-6", "overloaded") in rows
    assert [row.cost for row in home.ledger.calls() if row.detail.startswith("batch ") and row.failure] == [0]


@pytest.mark.parametrize(
    ("fault", "least"),
    [
        ("truncation", Tier.STANDARD),
        ("refusal", Tier.STANDARD),
        ("bad_tool_arguments", Tier.STANDARD),
        ("empty", Tier.ECONOMY),
        ("wrong_model", Tier.ECONOMY),
    ],
)
async def test_an_unusable_answer_is_paid_and_then_asked_of_a_model_no_weaker(
    batches: Desk, simulator: Simulator, fault: Any, least: Tier
) -> None:
    variant = "finish" if fault == "refusal" else None
    simulator.scenario = Scenario(rules=[Rule(match=Match(vendor="openai"), fault=Fault(fault, variant))])
    home, waiting = batches()
    [answer] = await _all(waiting, _asks("one"))
    first, last = home.ledger.calls()
    assert (first.model, first.failure is None) == ("openai/gpt-5.4-mini", False)
    assert first.cost
    assert home.cards[_model(answer)].tier >= least
    assert _model(answer) == last.model != first.model
    # Without the cure the answer would be the one that cannot be used.
    assert [batched for _, batched in _asked(simulator)] == [True, False]


async def test_a_request_without_time_is_expired_costs_nothing_and_is_asked_live(
    batches: Desk, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=[Rule(match=Match(contains="late", first=1), fault="hang")])
    home, waiting = batches()
    answers = await _all(waiting, _asks("soon", "late"))
    assert [_model(answer) for answer in answers] == ["openai/gpt-5.4-mini"] * 2
    [expired] = [row for row in home.ledger.calls() if row.failure]
    assert (expired.failure, expired.cost) == ("timeout", 0)


async def test_what_a_batch_refuses_is_asked_of_one_more_provider(batches: Desk, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(match=Match(contains="bad"), fault="bad_request")])
    _, waiting = batches()
    good, bad = await _all(waiting, _asks("good", "bad"))
    assert good.error is None
    assert str(bad.error).count("bad_request (") == 2
    assert _asked(simulator) == [("gpt-5.4-mini", True), ("gpt-5.4-mini", True), ("claude-haiku-4-5", False)]
    assert waiting.book.batch(waiting.book.batches()[0].id).failed == 1


async def test_the_worst_case_is_reserved_until_the_answers_are_there(batches: Desk, simulator: Simulator) -> None:
    home, waiting = batches(**_CAP)
    batch = await waiting.submit(_asks("one", "two", max_output=1000))
    spent, reserved = _today(home)
    assert spent == 0
    assert reserved > 0
    await waiting.collect(batch, pause=0.01)
    cost = sum(row.cost or 0 for row in home.ledger.calls())
    assert _today(home) == (cost, 0)
    assert 0 < cost < reserved


async def test_a_batch_that_may_cost_more_than_a_cap_leaves_is_not_handed_in(
    batches: Desk, simulator: Simulator
) -> None:
    home, waiting = batches(routing__budgets={"day": 0.01})
    with pytest.raises(BudgetExceeded):
        await waiting.submit(_asks(*["one"] * 5, max_output=4000) + _asks("two", tier=Tier.FRONTIER))
    assert list(simulator.log) == []
    assert waiting.book.batches() == []
    assert _today(home) == (0, 0)


async def test_collecting_again_gives_the_same_answers_and_costs_nothing(batches: Desk, simulator: Simulator) -> None:
    home, waiting = batches(**_CAP)
    batch = await waiting.submit(_asks("one", "two"))
    first = await waiting.collect(batch, pause=0.01)
    rows, spent, served = home.ledger.calls(), _today(home), len(simulator.log)
    assert await waiting.collect(batch) == first
    assert (home.ledger.calls(), _today(home), len(simulator.log)) == (rows, spent, served)


async def test_only_one_at_a_time_works_on_a_batch(batches: Desk, simulator: Simulator) -> None:
    simulator.scenario = Scenario(batches=BatchPace(seconds=3600))
    _, waiting = batches()
    batch = await waiting.submit(_asks("one"))
    async with asyncio.timeout(240):
        collecting = asyncio.create_task(waiting.collect(batch, pause=30))
        while sum(served.endpoint == "batches" for served in simulator.log) < 3:
            await asyncio.sleep(0.01)
        with pytest.raises(ConfigError, match="worked on by another"):
            await waiting.poll(batch)
        collecting.cancel()
        await asyncio.wait([collecting])
    assert (await waiting.poll(batch)).ended is None


def test_a_batch_nobody_submitted_is_named(batches: Desk) -> None:
    with pytest.raises(ConfigError, match="no batch 'nope'"):
        asyncio.run(batches()[1].collect("nope"))


async def test_asks_beyond_a_providers_limit_go_into_further_parts(
    batches: Desk, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenAIBatches, "most_requests", 2)
    _, waiting = batches()
    texts = [f"text {number}" for number in range(5)]
    batch = await waiting.submit(_asks(*texts))
    assert len(waiting.book.parts(batch)) == 3
    answers = await waiting.collect(batch, pause=0.01)
    assert _texts(answers) == [f"You said: {text}" for text in texts]


async def test_an_outage_while_a_batch_is_polled_is_waited_out(batches: Desk, simulator: Simulator) -> None:
    _, waiting = batches()
    batch = await waiting.submit(_asks("one"))
    simulator.scenario = Scenario(rules=[Rule(match=Match(endpoint="batches", first=3), fault="overloaded")])
    assert (await waiting.poll(batch)).ended is None
    [part] = waiting.book.parts(batch)
    assert (part.state, "overloaded" in part.detail) == ("sent", True)
    assert _texts(await waiting.collect(batch, pause=0.01)) == ["You said: one"]
    assert _asked(simulator) == [("gpt-5.4-mini", True)]


async def test_a_batch_api_that_takes_no_more_now_is_asked_again_later(batches: Desk, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(match=Match(endpoint="batches", first=1), fault="rate_limit")])
    home, waiting = batches(**_CAP)
    batch = await waiting.submit(_asks("one"))
    assert [part.state for part in waiting.book.parts(batch)] == ["planned"]
    await waiting.collect(batch, pause=0.01)
    assert [batched for _, batched in _asked(simulator)] == [True]
    assert _today(home)[1] == 0


async def test_what_a_batch_api_refuses_is_asked_live(batches: Desk, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(match=Match(endpoint="batches"), fault="permission")])
    home, waiting = batches(**_CAP)
    [answer] = await _all(waiting, _asks("one"))
    assert _model(answer) == "openai/gpt-5.4-mini"
    assert [batched for _, batched in _asked(simulator)] == [False]
    assert _today(home) == (sum(row.cost or 0 for row in home.ledger.calls()), 0)


async def test_a_batch_whose_receipt_was_lost_is_paid_once(batches: Desk, simulator: Simulator) -> None:
    lost = Rule(match=Match(endpoint="batches", vendor="anthropic", first=1), fault="cut_stream")
    simulator.scenario = Scenario(rules=[lost], batches=_PROMPT)
    home, waiting = batches(**_CAP)
    batch = await waiting.submit(_asks("one", "two", kind=None, tier=Tier.FRONTIER))
    [part] = waiting.book.parts(batch)
    assert (part.state, part.vendor) == ("sending", None)
    # Whether the working batch is ours cannot be told there yet, so nothing is handed in a second time.
    assert (await waiting.poll(batch)).answered == 0
    assert [part.state for part in waiting.book.parts(batch)] == ["sending"]
    _somebody_looks(simulator)
    answers = await waiting.collect(batch, pause=0.01)
    assert _texts(answers) == ["You said: one", "You said: two"]
    assert len(_asked(simulator)) == 2
    assert len(home.ledger.calls()) == 2


def _somebody_looks(simulator: Simulator) -> None:
    """Let the provider's only batch come to its end, as hours would."""
    import urllib.request

    url = simulator.url("anthropic") + "/v1/messages/batches"
    with urllib.request.urlopen(url) as page:
        [batch] = json.load(page)["data"]
    with urllib.request.urlopen(f"{url}/{batch['id']}") as one:
        assert json.load(one)["processing_status"] == "ended"


async def test_answers_the_provider_no_longer_has_are_charged_in_full_and_asked_for_anew(
    batches: Desk, simulator: Simulator
) -> None:
    home, waiting = batches(**_CAP)
    batch = await waiting.submit(_asks("one"))
    _, reserved = _today(home)
    with closing(sqlite3.connect(home.settings.state / "ledger.db")) as file, file:
        file.execute("UPDATE batch_parts SET vendor = 'batch_gone'")
    [answer] = await waiting.collect(batch, pause=0.01)
    assert answer.message is not None
    lost, live = home.ledger.calls()
    assert (lost.cost, lost.failure) == (reserved, "malformed")
    assert _today(home) == (reserved + (live.cost or 0), 0)


async def test_a_process_that_dies_after_recording_the_answers_leaves_nothing_to_be_paid_twice(
    batches: Desk, simulator: Simulator
) -> None:
    home, waiting = batches(**_CAP)
    batch = await waiting.submit(_asks("one", "two"))
    file = home.settings.state / "ledger.db"
    tables = ("batches", "batch_parts", "batch_asks")
    with closing(sqlite3.connect(file)) as before:
        kept = {table: before.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
    first = await waiting.collect(batch, pause=0.01)
    rows, spent = home.ledger.calls(), _today(home)
    # What was written down about the batch after its calls and its charge is lost.
    with closing(sqlite3.connect(file)) as after, after:
        for table, values in kept.items():
            after.execute(f"DELETE FROM {table}")
            after.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(values[0]))})", values)
    again = await waiting.collect(batch, pause=0.01)
    assert _texts(again) == _texts(first)
    assert home.ledger.calls() == rows
    assert _today(home) == spent
    assert [batched for _, batched in _asked(simulator)] == [True, True]


_WORK = """
import asyncio, os, sys
from pathlib import Path
from langchain_core.messages import HumanMessage
from pointsman.configs.loading.loader import environment, load
from pointsman.configs.words import StepKind
from pointsman.dispatch.request import ModelRequest
from pointsman.dispatch.batch.batches import Batches
from pointsman.dispatch.context import RunContext, entered
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.routing.request import RouteRequest

async def main(what):
    home = Dispatcher(load(Path.cwd(), environ=environment()))
    batches = Batches(home)
    if what == "submit":
        with entered(run=RunContext(id="r1", user="ada", tags=("night",)), step="s1"):
            asks = [ModelRequest([HumanMessage(t)], RouteRequest(kind=StepKind.TRANSFORM)) for t in ("one", "bad")]
            print(await batches.submit(asks))
        sys.stdout.flush()
        await asyncio.sleep(600)
    else:
        for answer in await batches.collect(what, pause=0.01):
            print(answer.message.text)
        batches.close()
        home.close()

asyncio.run(main(sys.argv[1]))
"""


class _Process:
    """Runs `_WORK` in a project whose providers are the simulator."""

    def __init__(self, programs: Any, simulator: Simulator, project: Path) -> None:
        self.programs = programs
        self.project = project
        names = ("ANTHROPIC", "OPENAI", "GOOGLE")
        self.environ = {
            **os.environ,
            **{f"{name}_API_KEY": "not-a-real-key" for name in names},
            **{f"POINTSMAN_PROVIDERS__{name}__BASE_URL": simulator.url(name.lower()) for name in names},
            "POINTSMAN_ROUTING__BUDGETS__DAY": "5.0",
        }

    def start(self, what: str) -> Any:
        return self.programs.start(
            ["-c", _WORK, what], cwd=self.project, env=self.environ, stdout=subprocess.PIPE, text=True
        )

    def killed_after_submit(self) -> str:
        with self.start("submit") as process:
            assert process.stdout is not None
            batch = process.stdout.readline().strip()
            process.send_signal(signal.SIGKILL)
        assert batch
        return batch

    def killed_within_submit(self, simulator: Simulator) -> None:
        with self.start("submit") as process:
            limit = time.monotonic() + 240
            while not any(served.fault == "hang" for served in simulator.log):
                assert time.monotonic() < limit
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)

    def collect(self, batch: str) -> list[str]:
        with self.start(batch) as process:
            out, _ = process.communicate(timeout=240)
        assert process.returncode == 0
        return out.splitlines()


@pytest.mark.slow
def test_a_process_that_is_killed_after_submit_loses_nothing(
    programs: Any, simulator: Simulator, tmp_path: Path, dispatcher: Make
) -> None:
    simulator.scenario = Scenario(rules=[Rule(match=Match(contains="bad", model="gpt-*"), fault="truncation")])
    processes = _Process(programs, simulator, tmp_path)
    batch = processes.killed_after_submit()
    assert _asked(simulator) == []
    home = dispatcher(**_CAP)
    _, reserved = _today(home)
    assert reserved > 0
    # The process is gone, the work is not, and what it may cost stays out of others' reach.
    assert home.budgets.reclaim() == 0
    assert _today(home) == (0, reserved)

    assert processes.collect(batch) == ["You said: one", "You said: bad"]
    calls = home.ledger.calls()
    assert [(row.run, row.step) for row in calls] == [("r1", "s1")] * 3
    assert [batched for _, batched in _asked(simulator)] == [True, True, False]
    assert _today(home) == (sum(row.cost or 0 for row in calls), 0)
    assert home.ledger.verify() == []
    assert processes.collect(batch) == ["You said: one", "You said: bad"]
    assert home.ledger.calls() == calls


@pytest.mark.slow
def test_a_process_that_is_killed_within_submit_is_taken_over_without_paying_twice(
    programs: Any, simulator: Simulator, tmp_path: Path, dispatcher: Make
) -> None:
    simulator.scenario = Scenario(rules=[Rule(match=Match(endpoint="batches", after=1, first=2), fault="hang")])
    processes = _Process(programs, simulator, tmp_path)
    processes.killed_within_submit(simulator)
    home = dispatcher(**_CAP)
    waiting = Batches(home)
    [found] = waiting.book.batches()
    [part] = waiting.book.parts(found.id)
    assert (part.state, part.vendor) == ("sending", None)
    waiting.close()

    assert processes.collect(found.id) == ["You said: one", "You said: bad"]
    assert [batched for _, batched in _asked(simulator)] == [True, True]
    assert _today(home) == (sum(row.cost or 0 for row in home.ledger.calls()), 0)


def test_a_reservation_that_a_dead_process_could_not_write_down_is_given_back(
    simulator: Simulator, dispatcher: Make
) -> None:
    home = dispatcher(**_CAP)
    waiting = Batches(home)
    simulator.scenario = Scenario(batches=_PROMPT)

    async def work() -> None:
        batch = await waiting.submit(_asks("one"))
        day = f"day:{time.strftime('%Y-%m-%d', time.gmtime())}"
        home.budgets.reserve({day: None}, 10**12, f"batch:{batch}", sent=True)
        await waiting.collect(batch, pause=0.01)

    asyncio.run(work())
    waiting.close()
    assert _today(home) == (sum(row.cost or 0 for row in home.ledger.calls()), 0)


def test_the_reservation_of_a_batch_nobody_collects_is_charged_when_no_provider_has_it_any_more(
    dispatcher: Make,
) -> None:
    home = dispatcher(**_CAP)
    home.budgets.reserve({"tag:x": None}, 7, "batch:b", sent=True)
    file = home.settings.state / "ledger.db"
    for days, closed in ((29, 0), (31, 1)):
        with closing(sqlite3.connect(file)) as ledger, ledger:
            ledger.execute("UPDATE reservations SET at = ?", (time.time() - days * 86_400,))
        with closing(Budgets(file)) as others:
            assert others.totals("tag:x") == ((7, 0) if closed else (0, 7))


_SAID: dict[str, Any] = {
    "task": "code", "kind": "decide", "tier": "advanced", "max_tier": "frontier", "model": "a/b", "reversible": False,
    "max_output": 7, "effects": ("read",), "only_reads": True, "latency": "batch", "deadline": 60.0,
}  # fmt: skip


def test_an_ask_that_version_0_1_wrote_says_the_same() -> None:
    older = json.loads(ask_text(ModelRequest([HumanMessage("x")])))
    del older["declared"]
    said = {("prefer" if name == "model" else name): value for name, value in _SAID.items()}
    assert ask_of(json.dumps({**older, **said})).declared == RouteRequest(**_SAID)


def test_an_ask_and_its_step_come_back_from_their_text_as_they_were() -> None:
    call = {"name": "forecast", "args": {"city": "Oslo"}, "id": "c1", "type": "tool_call"}
    ask = ModelRequest(
        (SystemMessage("s"), HumanMessage([{"type": "text", "text": "é"}]), AIMessage("", tool_calls=[call]),
         ToolMessage("rain", tool_call_id="c1")),
        RouteRequest(**_SAID), tools=({"type": "function", "function": {"name": "forecast"}},), tool_choice="any",
        output="forecast", stop=("END",), options={"temperature": 0.5},
    )  # fmt: skip
    back = ask_of(ask_text(ask))
    assert list(back.messages) == list(ask.messages)
    for name in ("declared", "tools", "tool_choice", "output", "stop", "options"):
        assert getattr(back, name) == getattr(ask, name), name
    run = RunContext("r", "ada", ("night",), (("run:r", 5),), "free")
    step = StepContext(run, "s", "agent", 3, "personal", Risk.HIGH, (("a/b", "why"),),
                       evidence=(Finding("evidence.doubted", "no source", Tier.ADVANCED),),
                       recalled=Trust.UNTRUSTED, trust=Trust.TOOL)  # fmt: skip
    restored = step_of(json.loads(json.dumps(step_record(step))))
    assert (restored, type(restored.recalled), type(restored.trust)) == (step, Trust, Trust)


async def test_an_ask_that_cannot_be_written_down_is_refused_before_anything_is_sent(
    batches: Desk, simulator: Simulator
) -> None:
    _, waiting = batches()
    with pytest.raises(ConfigError, match="written down"):
        await waiting.submit([ModelRequest([HumanMessage("one")], options={"response_format": ModelRequest})])
    assert list(simulator.log) == []


async def test_the_caps_of_a_run_hold_for_the_batch_submitted_in_it(batches: Desk, simulator: Simulator) -> None:
    home, waiting = batches()
    run = RunContext("r1", caps=(("run:r1", 10**12),))
    with entered(run=run, step="s"):
        batch = await waiting.submit(_asks("one"))
    assert home.budgets.totals("run:r1")[1] > 0
    await waiting.collect(batch, pause=0.01)
    assert home.budgets.totals("run:r1") == (sum(row.cost or 0 for row in home.ledger.calls(run="r1")), 0)


async def test_a_batch_of_a_run_that_can_be_taken_up_is_written_down(batches: Desk, simulator: Simulator) -> None:
    home, waiting = batches()
    journal = Journal(home.ledger, "r1", 1)
    with entered(run=RunContext("r1", journal=journal, observe=lambda _: None), step="s", chain=("flow", "agent")):
        batch = await waiting.submit(_asks("one"))
    (answer,) = await waiting.collect(batch, pause=0.01)
    assert answer.error is None
    assert [row.run for row in home.ledger.calls()] == ["r1"]


async def test_a_submit_that_is_cancelled_while_it_is_written_down_leaves_nothing(
    batches: Desk, simulator: Simulator
) -> None:
    home, desk = batches(**_CAP)
    home.ledger.flush()
    with closing(sqlite3.connect(home.settings.state / "ledger.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        work = asyncio.create_task(desk.submit(_asks("one", "two")))
        for _ in range(40):
            await asyncio.sleep(0.01)
        work.cancel()
        other.execute("ROLLBACK")
        with pytest.raises(asyncio.CancelledError):
            await work
        assert other.execute("SELECT count(*) FROM batches").fetchone() == (0,)
        assert other.execute("SELECT count(*) FROM reservations").fetchone() == (0,)
    assert len(simulator.log) == 0
