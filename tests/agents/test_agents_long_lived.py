"""What a process that lives long holds on to: no more threads and files after many runs than after a few."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman import Agent, Workflow, tool
from pointsman.agents.runtime import Runtime
from pointsman.simulator import Answer, Match, Rule, Scenario, Simulator

Make = Callable[..., Runtime]
Ends = Callable[[Callable[[], Any]], Any]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists a process's files")


@tool(effect="read")
def look(number: str) -> str:
    """Look."""
    return f"seen {number}"


def held() -> tuple[int, int]:
    """Threads and open files."""
    gc.collect()
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def comes_back_to(before: tuple[int, int]) -> bool:
    """Whether no more than two of each are left over, once connections and threads have had the time to end."""
    end = time.monotonic() + 240
    while any(now > then + 2 for now, then in zip(held(), before, strict=True)):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def home(simulated: Make, simulator: Simulator) -> Runtime:
    call = {"name": "look", "arguments": {"number": "1"}}
    simulator.scenario = Scenario(
        rules=[
            Rule(match=Match(contains_any_message="seen "), answer=Answer(text="done")),
            Rule(match=Match(contains="look"), answer=Answer(tool_calls=[call])),
            Rule(answer=Answer(text="plain")),
        ]
    )
    return simulated()


@pytest.mark.slow
def test_many_synchronous_runs(home: Runtime, ends: Ends) -> None:
    agent = Agent("looker", model="anthropic/claude-haiku-4-5", tools=[look]).on(home)
    flow = Workflow("solo", agents=[Agent("one", tier="economy")])

    def some(times: int) -> None:
        for _ in range(times):
            agent.invoke("look")
            flow.run("go", runtime=home)

    ends(lambda: some(3))
    before = held()
    ends(lambda: some(10))
    assert comes_back_to(before)


@pytest.mark.slow
def test_many_event_loops(home: Runtime, ends: Ends) -> None:
    agent = Agent("looker", model="anthropic/claude-haiku-4-5", tools=[look]).on(home)
    flow = Workflow("solo", agents=[Agent("one", tier="economy")])

    async def both() -> None:
        await agent.ainvoke("look")
        await flow.arun("go", runtime=home)

    def some(times: int) -> None:
        for _ in range(times):
            asyncio.run(both())

    ends(lambda: some(3))
    before = held()
    ends(lambda: some(10))
    assert comes_back_to(before)
