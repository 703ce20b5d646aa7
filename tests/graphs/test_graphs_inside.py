"""A workflow that a node or a tool runs goes on where it was, when the run around it is done again."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langgraph.types import RetryPolicy
from pointsman import Agent, Workflow
from pointsman.agents.runtime import Runtime
from pointsman.graphs.keeping import forked
from pointsman.ledger import points
from pointsman.ledger.points import Point
from pointsman.simulator import Answer, Rule, Scenario, Simulator

Make = Callable[..., Runtime]
One = Callable[..., Workflow[Any]]


@pytest.fixture(autouse=True)
def _fresh(simulator: Simulator) -> Iterator[None]:
    simulator.scenario = Scenario(rules=[Rule(answer=_acting)])
    yield
    points.watcher = None


def _acting(request: Any) -> Answer:
    if request.tools[0].name == "Verdict":
        return Answer(tool_calls=[{"name": "Verdict", "arguments": {"ok": True, "reason": "fine"}}])
    if request.tool_results:
        return Answer(text=request.tool_results[-1].text)
    step = re.findall(r"do (\w+)", request.user_text)[-1]
    return Answer(tool_calls=[{"name": request.tools[0].name, "arguments": {"step": step}}])


@pytest.fixture
def inner(mark: Any) -> Workflow[Any]:
    return Workflow("inner", [Agent("actor", tier="economy", tools=[mark])], plan="in_order")


def _once(cut: list[str]) -> None:
    if not cut:
        cut.append("cut off")
        raise ValueError("cut off")


def _runs(home: Runtime) -> list[tuple[str, str]]:
    return sorted((run.target, run.status) for run in home.ledger.runs())


@pytest.mark.parametrize("way", ["resumed", "tried again"])
def test_a_run_inside_that_has_ended_gives_its_result_again(
    runtime: Make, simulator: Simulator, way: str, one_node: One, inner: Workflow[Any], acts: Counter[str]
) -> None:
    cut: list[str] = []
    ran: list[str] = []

    async def work(home: Runtime) -> Any:
        result = await inner.arun("do a", runtime=home)
        ran.append(result.run)
        _once(cut)
        return result.output

    policy = RetryPolicy(initial_interval=0.0, jitter=False, retry_on=ValueError)
    home, flow = runtime(), one_node(work, **({"retry_policy": policy} if way == "tried again" else {}))
    result = flow.run("Go", runtime=home)
    if way == "resumed":
        assert result.status == "failed"
        result = flow.resume(result.run, runtime=home)
    assert (result.status, result.output, acts) == ("done", "a is marked with 1", {"a": 1})
    assert (len(ran), len(set(ran))) == (2, 1)
    assert _runs(home) == [("inner", "done"), ("own", "done")]
    # Each is paid once, and counted once in the run around it.
    assert (len(simulator.log), len(result.calls)) == (3, 3)


@pytest.mark.parametrize("point", [Point.INTENT, Point.CHECKPOINT])
def test_a_run_inside_that_was_cut_off_goes_on(
    runtime: Make, point: Point, one_node: One, inner: Workflow[Any], acts: Counter[str]
) -> None:
    def watch(reached: Point) -> None:
        if reached == point:
            points.watcher = None
            raise OSError("cut off")

    async def work(home: Runtime) -> Any:
        result = await inner.arun("do a", runtime=home)
        if result.error is not None:
            raise result.error
        return result.output

    home, flow = runtime(), one_node(work)
    points.watcher = watch
    cut = flow.run("Go", runtime=home)
    assert (cut.status, _runs(home)) == ("failed", [("inner", "failed"), ("own", "failed")])
    result = flow.resume(cut.run, runtime=home)
    assert (result.output, acts) == ("a is marked with 1", {"a": 1})
    assert _runs(home) == [("inner", "done"), ("own", "done")]


async def test_a_run_inside_that_was_cancelled_with_the_one_around_it_goes_on(
    runtime: Make, one_node: One, inner: Workflow[Any], acts: Counter[str]
) -> None:
    reached = asyncio.Event()
    waits = [True]

    async def work(home: Runtime) -> Any:
        result = await inner.arun("do a", runtime=home)
        reached.set()
        if waits:
            await asyncio.Event().wait()
        return result.output

    home, flow = runtime(), one_node(work)
    running = asyncio.create_task(flow.arun("Go", runtime=home))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    waits.clear()
    (run,) = [row.id for row in await asyncio.to_thread(home.ledger.runs) if row.target == "own"]
    result = await flow.aresume(run, runtime=home)
    assert (result.output, acts) == ("a is marked with 1", {"a": 1})
    assert len(await asyncio.to_thread(home.ledger.runs)) == 2


@pytest.mark.slow
def test_a_person_who_has_answered_the_run_inside_is_not_asked_again(
    runtime: Make, one_node: One, erase: Any, acts: Counter[str]
) -> None:
    asking = Workflow("asking", [Agent("eraser", tools=[erase])], plan="in_order")
    seen: list[str] = []

    async def work(home: Runtime) -> Any:
        result = await asking.arun("do a", runtime=home)
        seen.append(result.status)
        if result.status == "pending":
            raise ValueError("it waits")
        return result.output

    home, flow = runtime(), one_node(work)
    outer = flow.run("Go", runtime=home).run
    assert flow.resume(outer, runtime=home).status == "failed"
    (waiting,) = [row.id for row in home.ledger.runs() if row.target == "asking"]
    assert (seen, acts) == (["pending", "pending"], {})
    assert asking.resume(waiting, "approve", runtime=home).status == "done"
    assert flow.resume(outer, runtime=home).output == "a is erased"
    assert (seen[2:], acts) == (["done"], {"a": 1})


@pytest.mark.slow
def test_runs_inside_are_told_apart_by_what_they_are_asked_and_equal_ones_are_each_done(
    runtime: Make, one_node: One, inner: Workflow[Any], acts: Counter[str]
) -> None:
    orders, cut = iter(["aab", "baa"]), list[str]()

    async def work(home: Runtime) -> Any:
        order = next(orders)
        found = [(await inner.arun(f"do {step}", runtime=home)).output for step in order]
        _once(cut)
        return found

    home, flow = runtime(), one_node(work)
    result = flow.resume(flow.run("Go", runtime=home).run, runtime=home)
    assert result.output == ["b is marked with 1", "a is marked with 1", "a is marked with 2"]
    assert acts == {"a": 2, "b": 1}
    assert len(home.ledger.runs()) == 4


@pytest.mark.slow
async def test_a_fork_does_not_do_again_what_the_other_did_in_a_run_inside(
    runtime: Make, one_node: One, inner: Workflow[Any], acts: Counter[str]
) -> None:
    cut: list[str] = []

    async def work(home: Runtime) -> Any:
        result = await inner.arun("do a", runtime=home)
        _once(cut)
        return result.output

    home, flow = runtime(), one_node(work)
    failed = await flow.arun("Go", runtime=home)
    copy = await forked(home, failed.run)
    for run in (copy.id, failed.run):
        assert (await flow.aresume(run, runtime=home)).output == "a is marked with 1"
    assert acts == {"a": 1}
