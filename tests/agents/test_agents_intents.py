"""Intents: what does more than read is written down first, and not done where that cannot be."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pointsman import Agent, tool
from pointsman.agents.journal.places import act_digest
from pointsman.agents.runs import run_scope
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.configs.loading.loader import load
from pointsman.simulator import Answer, Match, Rule, Scenario, Simulator
from pointsman.tools.base import ToolFailed

acts: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    acts.clear()


@pytest.fixture
def home(simulator: Simulator, tmp_path: Path) -> Iterator[Runtime]:
    vendors = ("anthropic", "openai", "google")
    environ = {f"POINTSMAN_PROVIDERS__{name.upper()}__BASE_URL": simulator.url(name) for name in vendors}
    runtime = Runtime(load(tmp_path, environ={**environ, **{f"{name.upper()}_API_KEY": "x" for name in vendors}}))
    yield runtime
    runtime.close()


@tool(effect="write")
def send(to: str) -> str:
    """Send something."""
    acts[to] += 1
    if to == "nobody":
        raise ToolFailed("there is no such address")
    return "it is sent"


@tool(effect="read")
def look(at: str) -> str:
    """Look at something."""
    acts[at] += 1
    return "it is sent"


def _calling(simulator: Simulator, name: str, **arguments: Any) -> None:
    call = Answer(tool_calls=[{"name": name, "arguments": arguments}])
    told = [Rule(match=Match(contains_any_message=text), answer=Answer(text="so")) for text in ("is sent", "no such")]
    simulator.scenario = Scenario(rules=[*told, Rule(answer=call)])


@pytest.mark.parametrize(("to", "outcome"), [("ann", "done"), ("nobody", "failed")])
def test_an_act_is_in_the_ledger_before_it_is_done_and_its_outcome_after(
    home: Runtime, simulator: Simulator, to: str, outcome: str
) -> None:
    before: list[Any] = []

    @tool(effect="write", name="send")
    def sending(to: str) -> str:
        """Send something."""
        # On the disk already, for whoever opens the file beside us.
        with sqlite3.connect(f"file:{home.ledger.path}?mode=ro", uri=True) as beside:
            before.extend(beside.execute("SELECT tool, effect, outcome FROM effects"))
        return str(send.func(to))  # type: ignore[misc]

    _calling(simulator, "send", to=to)
    with run_scope(home, "test") as run:
        Agent("clerk", tier="economy", tools=[sending]).on(home).invoke("Send it")
    assert before == [("send", "write", "")]
    (row,) = home.ledger.effects(run.id)
    assert (row.agent, row.step, row.tool, row.effect, row.outcome) == ("clerk", "clerk", "send", "write", outcome)
    assert row.digest == act_digest(send, {"to": to})
    assert acts == {to: 1}


def test_what_only_reads_needs_no_row(home: Runtime, simulator: Simulator) -> None:
    _calling(simulator, "look", at="x")
    Agent("reader", tier="economy", tools=[look]).on(home).invoke("Look")
    assert (dict(acts), home.ledger.effects()) == ({"x": 1}, ())


def test_an_agent_outside_any_run_leaves_a_row_too(home: Runtime, simulator: Simulator) -> None:
    _calling(simulator, "send", to="ann")
    Agent("clerk", tier="economy", tools=[send]).on(home).invoke("Send it")
    (row,) = home.ledger.effects()
    assert (row.run, row.tool) == ("", "send")


async def test_nothing_is_done_while_another_process_holds_the_ledger_and_the_loop_goes_on(
    home: Runtime, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, leap: Any
) -> None:
    monkeypatch.setattr("pointsman.ledger.storage.access.BUSY_SECONDS", 240.0)
    _calling(simulator, "send", to="ann")
    agent = Agent("clerk", tier="economy", tools=[send]).on(home)
    home.ledger.flush()
    with closing(sqlite3.connect(str(home.ledger.path), isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        asking = asyncio.create_task(agent.ainvoke("Send it"))
        while not simulator.log:
            await asyncio.sleep(0.001)
        # A loop that waited for the file as well would have no turns while somebody holds it.
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert not asking.done()
        with pytest.raises(ConfigError, match="send was not called, since the ledger cannot record that it is"):
            await leap.through(asking, 241)
    assert acts == {}
