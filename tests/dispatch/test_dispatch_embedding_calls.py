"""What requests for vectors cost: each is in the ledger, counted by budgets, and in the report."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pointsman import Agent, Workflow
from pointsman.agents.runtime import Runtime
from pointsman.backends.base import BackendError
from pointsman.configs import ConfigError, load
from pointsman.configs.catalog import Usage
from pointsman.configs.words import FailureKind, Trust
from pointsman.dispatch.context import RunContext, entered
from pointsman.dispatch.guards.tokens import TokenCaps
from pointsman.ledger.budgets.budgets import BudgetExceeded
from pointsman.ledger.report import report
from pointsman.ledger.rows import CallRow
from pointsman.memory import Provenance
from pointsman.simulator import Simulator
from pointsman.simulator.scenario import Answer, Fault, Latency, Match, Rule, Scenario
from pointsman.simulator.scenario import Usage as Counted

KEYS = {"OPENAI_API_KEY": "sk-not-a-key", "GOOGLE_API_KEY": "not-a-key", "LAB_KEY": "not-a-key"}
BY = Provenance("", "desk", "", Trust.USER)
SMALL = "openai/text-embedding-3-small"
BOUND_SECONDS = 240.0

Open = Callable[..., Runtime]


@pytest.fixture
def runtime(tmp_path: Path, simulator: Simulator) -> Iterator[Open]:
    """Runtimes whose memory is embedded by a provider that the simulator plays."""
    opened: list[Runtime] = []

    def made(model: str = SMALL, routing: str = "", more: str = "", url: str = "") -> Runtime:
        own, project = tmp_path / "own", tmp_path / "project"
        for folder in (own, project):
            folder.mkdir(exist_ok=True)
        openai, google = url or simulator.url("openai"), simulator.url("google")
        lab = f"lab: {{backend: openai_compatible, base_url: '{openai}', key: LAB_KEY}}"
        here = f"here: {{backend: openai_compatible, base_url: '{openai}', local: true}}"
        (own / "models.yaml").write_text(
            f"providers: {{openai: {{base_url: '{openai}'}}, google: {{base_url: '{google}'}}, {lab}, {here}}}\n"
            f"embedder: {{model: {model}, dimensions: 8{more}}}\n"
        )
        (own / "routing.yaml").write_text(routing)
        opened.append(Runtime(load(project, user=own, environ=KEYS)))
        return opened[-1]

    yield made
    for each in opened:
        each.close()


def scripted(simulator: Simulator, *rules: Rule) -> None:
    simulator.scenario = Scenario(rules=rules)


def tokens(count: int) -> Rule:
    return Rule(answer=Answer(usage=Counted(input=count, output=0)))


def day_of(row: CallRow) -> str:
    return f"day:{datetime.fromtimestamp(row.at, UTC):%Y-%m-%d}"


def rows(runtime: Runtime) -> tuple[CallRow, ...]:
    return runtime.ledger.calls()


def test_each_request_has_a_row_with_its_tokens_its_cost_its_run_and_its_agent(
    runtime: Open, simulator: Simulator
) -> None:
    scripted(simulator, tokens(1_000))
    opened, observed = runtime(), list[CallRow]()
    opened.store.remember(("team",), "The depot opens at six.", provenance=BY)
    with entered(run=RunContext(id="run-1", observe=observed.append), step="look", agent="reader"):
        assert [item.text for item in opened.store.recall(("team",), "depot")] == ["The depot opens at six."]
    written, asked = rows(opened)
    assert [(row.run, row.step, row.agent) for row in (written, asked)] == [
        ("", "", "(memory)"),
        ("run-1", "look", "reader"),
    ]
    for row in (written, asked):
        assert (row.model, row.tier, row.failure, row.detail) == (SMALL, "embedding", None, "")
        assert row.usage == Usage(input=1_000)
        assert (row.cost, row.price_version.startswith("genai-prices")) == (20_000_000, True)  # $0.02 a million
    assert observed == [asked]
    assert len(simulator.log) == 2
    assert opened.ledger.verify() == []


def test_the_report_shows_embedding_under_its_own_name_and_saves_nothing_by_it(
    runtime: Open, simulator: Simulator
) -> None:
    scripted(simulator, tokens(1_000))
    opened = runtime()
    opened.store.remember(("team",), "The depot opens at six.", provenance=BY)
    made = report(opened.ledger)
    assert [(share.name, share.totals.calls, share.totals.input) for share in made.tiers] == [("embedding", 1, 1_000)]
    assert [share.name for share in (*made.models, *made.agents)] == [SMALL, "(memory)"]
    assert (made.totals.cost, made.totals.unpriced) == (pytest.approx(0.00002), 0)
    assert (made.savings, made.latency, made.error_rate) == (None, None, 0)


def test_tokens_that_are_not_reported_are_estimated_and_said_to_be(runtime: Open) -> None:
    opened = runtime("google/gemini-embedding-001")
    opened.store.remember(("team",), "The depot opens at six, and the canteen at seven.", provenance=BY)
    [row] = rows(opened)
    assert row.usage is not None
    assert 8 <= row.usage.input <= 20
    assert row.cost == row.usage.input * 150_000
    assert row.detail == "tokens estimated: the provider reports none"


@pytest.mark.parametrize(
    ("model", "more", "cost", "unpriced"),
    [
        ("lab/e5", "", None, 1),
        ("lab/e5", ", prices: {input: 1, output: 0, as_of: 2026-11-29}", 1_000_000_000, 0),
        ("here/e5", "", 0, 0),
    ],
)
def test_an_unknown_price_is_not_zero_but_a_server_of_ones_own_is_free(
    runtime: Open, simulator: Simulator, model: str, more: str, cost: int | None, unpriced: int
) -> None:
    scripted(simulator, tokens(1_000))
    opened = runtime(model, more=more)
    opened.store.remember(("team",), "The depot opens at six.", provenance=BY)
    assert [(row.model, row.cost) for row in rows(opened)] == [(model, cost)]
    assert report(opened.ledger).totals.unpriced == unpriced


def test_a_price_that_is_unknown_is_refused_where_a_cap_applies(runtime: Open, simulator: Simulator) -> None:
    opened = runtime("lab/e5", routing="routing: {budgets: {day: 1}}")
    with pytest.raises(ConfigError, match=r"lab/e5 has no known price, and day:.* set embedder\.prices"):
        opened.store.remember(("team",), "The depot opens at six.", provenance=BY)
    assert (len(simulator.log), rows(opened)) == (0, ())


def test_budgets_count_it_and_stop_it(runtime: Open, simulator: Simulator) -> None:
    scripted(simulator, tokens(10))
    opened = runtime(routing="routing: {budgets: {day: 0.001}}")
    opened.store.remember(("team",), "The depot opens at six.", provenance=BY)
    [row] = rows(opened)
    day = day_of(row)
    assert opened.dispatcher.budgets.totals(day) == (row.cost, 0)
    capped = RunContext(id="run-1", caps=(("run:run-1", 1_000_000),))
    with entered(run=capped), pytest.raises(BudgetExceeded, match="budget of run:run-1"):
        opened.store.remember(("team",), "The canteen serves soup. " * 20, provenance=BY)
    assert (len(simulator.log), len(rows(opened))) == (1, 1)
    assert opened.dispatcher.budgets.totals(day) == (row.cost, 0)


def test_a_cap_on_tokens_counts_it(runtime: Open, simulator: Simulator) -> None:
    scripted(simulator, tokens(60))
    opened = runtime()
    with entered(run=RunContext(id="run-1", tokens=TokenCaps("run-1", 100))):
        opened.store.remember(("team",), "The depot opens at six.", provenance=BY)
        with pytest.raises(BudgetExceeded, match="60 tokens is spent"):
            opened.store.remember(("team",), "The canteen serves fine hot soup.", provenance=BY)
    assert len(simulator.log) == 1


def test_a_failure_that_may_pass_is_asked_again_and_every_request_has_its_row(
    runtime: Open, simulator: Simulator
) -> None:
    scripted(simulator, Rule(match=Match(first=2), fault=Fault(kind="rate_limit", retry_after=0)), tokens(10))
    opened = runtime(routing="routing: {budgets: {day: 1}}")
    opened.store.remember(("team",), "The depot opens at six.", provenance=BY)
    assert [(row.failure, row.cost) for row in rows(opened)] == [
        ("rate_limit", 0),
        ("rate_limit", 0),
        (None, 200_000),
    ]
    assert opened.dispatcher.budgets.totals(day_of(rows(opened)[0])) == (200_000, 0)


def test_a_refusal_costs_nothing_and_is_not_repeated(runtime: Open, simulator: Simulator) -> None:
    scripted(simulator, Rule(fault="auth"))
    opened = runtime()
    with pytest.raises(BackendError):
        opened.store.remember(("team",), "The depot opens at six.", provenance=BY)
    [row] = rows(opened)
    assert (row.failure, row.cost, row.usage) == (FailureKind.AUTH.value, 0, None)
    assert report(opened.ledger).totals.unpriced == 0


@pytest.mark.slow
def test_a_request_that_times_out_is_charged_as_reserved(runtime: Open, simulator: Simulator) -> None:
    scripted(simulator, Rule(latency=Latency(ms=60_000)))
    opened = runtime(routing="routing: {budgets: {day: 1}, limits: {call: 0.2}}")
    with pytest.raises(BackendError):
        opened.store.remember(("team",), "The depot opens at six.", provenance=BY)
    found = rows(opened)
    assert [row.failure for row in found] == ["timeout"] * 3
    assert all(row.cost and "charged as reserved" in row.detail for row in found)
    assert opened.dispatcher.budgets.totals(day_of(found[0])) == (sum(row.cost or 0 for row in found), 0)


def test_a_cancelled_caller_leaves_the_request_booked(runtime: Open, serve: Callable[..., str]) -> None:
    arrived, release = threading.Event(), threading.Event()

    def answer(_: Any) -> tuple[int, dict[str, str], bytes]:
        arrived.set()
        assert release.wait(BOUND_SECONDS)
        data = [{"object": "embedding", "index": 0, "embedding": [1.0] * 8}]
        reply = {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 10, "total_tokens": 10}}
        return 200, {"content-type": "application/json"}, json.dumps(reply).encode()

    opened = runtime(url=f"{serve(answer)}/v1")
    store = opened.store

    async def cancelled() -> None:
        task = asyncio.create_task(store.aremember(("team",), "The depot opens at six.", provenance=BY))
        assert await asyncio.to_thread(arrived.wait, BOUND_SECONDS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert rows(opened) == ()
        release.set()

    # The end of the loop waits for its threads.
    asyncio.run(cancelled())
    assert [(row.failure, row.cost) for row in rows(opened)] == [(None, 200_000)]


KILLED = """
import os, signal, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

class Kills(BaseHTTPRequestHandler):
    def do_POST(self):
        os.kill(os.getpid(), signal.SIGKILL)

server = ThreadingHTTPServer(("127.0.0.1", 0), Kills)
threading.Thread(target=server.serve_forever, daemon=True).start()

from pointsman import Agent, Workflow
from pointsman.agents.runtime import Runtime
from pointsman.configs import load
from pointsman.configs.words import Trust
from pointsman.memory import Provenance

own, project = Path(sys.argv[1]), Path(sys.argv[2])
openai = f"{{base_url: 'http://127.0.0.1:{server.server_address[1]}/v1'}}"
(own / "models.yaml").write_text(
    f"providers: {{openai: {openai}}}\\nembedder: {{model: openai/text-embedding-3-small, dimensions: 8}}\\n"
)
(own / "routing.yaml").write_text("routing: {budgets: {day: 1}}")
runtime = Runtime(load(project, user=own, environ={"OPENAI_API_KEY": "sk-not-a-key"}))
runtime.store.remember(("team",), "The depot opens at six.", provenance=Provenance("", "desk", "", Trust.USER))
"""


@pytest.mark.slow
def test_a_request_of_a_killed_process_is_charged_and_recorded_once(programs: Any, tmp_path: Path) -> None:
    own, project = tmp_path / "own", tmp_path / "project"
    own.mkdir()
    project.mkdir()
    assert programs.run(["-c", KILLED, str(own), str(project)], check=False).returncode == -9
    with Runtime(load(project, user=own, environ=KEYS)) as opened:
        for _ in range(2):
            opened.dispatcher.budgets.reclaim()
            [row] = rows(opened)
        assert (row.failure, row.tier, row.model) == ("lost", "embedding", SMALL)
        assert row.cost
        assert opened.dispatcher.budgets.totals(day_of(row)) == (row.cost, 0)


def test_what_an_agent_recalls_and_keeps_is_booked_on_its_step(runtime: Open, simulator: Simulator) -> None:
    said = count(1)
    # A text that was embedded already is not sent again.
    scripted(simulator, Rule(answer=lambda _: Answer(text=f"At seven, says answer {next(said)}.")))
    home = runtime()
    clerk = Agent("clerk", tier="economy", memory="team", remember=True)
    home.store.remember(("team",), "The depot in Ely opens at seven.", provenance=BY)
    alone = clerk.run("When does the depot in Ely open?", runtime=home)
    other = Agent("other", tier="economy")
    flow = Workflow("flow", [clerk, other], plan="in_order").run("When does the depot in Bath open?", runtime=home)
    for result in (alone, flow):
        assert result.status == "done"
        made = {(row.agent, row.step) for row in result.calls if row.tier == "embedding"}
        assert made == {(step.agent, step.id) for step in result.steps}
