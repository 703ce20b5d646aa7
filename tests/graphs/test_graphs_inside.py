"""A workflow that a node or a tool runs goes on where it was, when the run around it is done again."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy
from pointsman import Agent, Workflow, tool
from pointsman.agents.runtime import Runtime
from pointsman.graphs.keeping import forked
from pointsman.ledger import points
from pointsman.ledger.points import Point
from pointsman.simulator import Answer, Rule, Scenario, Simulator

Make = Callable[..., Runtime]
Work = Callable[[Runtime], Awaitable[Any]]
acts: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _fresh(simulator: Simulator) -> Iterator[None]:
    acts.clear()
    simulator.scenario = Scenario(rules=[Rule(answer=_acting)])
    yield
    points.watcher = None


@tool(effect="write")
def mark(step: str) -> str:
    """Mark a step."""
    acts[step] += 1
    return f"{step} is marked with {acts[step]}"


@tool(effect="destructive")
def erase(step: str) -> str:
    """Erase a step."""
    acts[step] += 1
    return f"{step} is erased"


def _acting(request: Any) -> Answer:
    if request.tools[0].name == "Verdict":
        return Answer(tool_calls=[{"name": "Verdict", "arguments": {"ok": True, "reason": "fine"}}])
    if request.tool_results:
        return Answer(text=request.tool_results[-1].text)
    step = re.findall(r"do (\w+)", request.user_text)[-1]
    return Answer(tool_calls=[{"name": request.tools[0].name, "arguments": {"step": step}}])


INNER = Workflow("inner", [Agent("actor", tier="economy", tools=[mark])], plan="in_order")
ASKING = Workflow("asking", [Agent("eraser", tools=[erase])], plan="in_order")


class State(TypedDict, total=False):
    task: str
    output: Any


def _flow(work: Work, **options: Any) -> Workflow[Any]:
    def build(home: Runtime) -> StateGraph[Any, Any, Any, Any]:
        async def node(_: State) -> State:
            return {"output": await work(home)}

        graph: StateGraph[Any, Any, Any, Any] = StateGraph(State)
        graph.add_node("node", node, **options)
        graph.add_edge(START, "node")
        graph.add_edge("node", END)
        return graph

    return Workflow("outer", graph=build)


def _once(cut: list[str]) -> None:
    if not cut:
        cut.append("cut off")
        raise ValueError("cut off")


def _runs(home: Runtime) -> list[tuple[str, str]]:
    return sorted((run.target, run.status) for run in home.ledger.runs())


@pytest.mark.parametrize("way", ["resumed", "tried again"])
def test_a_run_inside_that_has_ended_gives_its_result_again(runtime: Make, simulator: Simulator, way: str) -> None:
    cut: list[str] = []
    ran: list[str] = []

    async def work(home: Runtime) -> Any:
        result = await INNER.arun("do a", runtime=home)
        ran.append(result.run)
        _once(cut)
        return result.output

    policy = RetryPolicy(initial_interval=0.0, jitter=False, retry_on=ValueError)
    home, flow = runtime(), _flow(work, **({"retry_policy": policy} if way == "tried again" else {}))
    result = flow.run("Go", runtime=home)
    if way == "resumed":
        assert result.status == "failed"
        result = flow.resume(result.run, runtime=home)
    assert (result.status, result.output, acts) == ("done", "a is marked with 1", {"a": 1})
    assert (len(ran), len(set(ran))) == (2, 1)
    assert _runs(home) == [("inner", "done"), ("outer", "done")]
    # Each is paid once, and counted once in the run around it.
    assert (len(simulator.log), len(result.calls)) == (3, 3)


@pytest.mark.parametrize("point", [Point.INTENT, Point.CHECKPOINT])
def test_a_run_inside_that_was_cut_off_goes_on(runtime: Make, point: Point) -> None:
    def watch(reached: Point) -> None:
        if reached == point:
            points.watcher = None
            raise OSError("cut off")

    async def work(home: Runtime) -> Any:
        result = await INNER.arun("do a", runtime=home)
        if result.error is not None:
            raise result.error
        return result.output

    home, flow = runtime(), _flow(work)
    points.watcher = watch
    cut = flow.run("Go", runtime=home)
    assert (cut.status, _runs(home)) == ("failed", [("inner", "failed"), ("outer", "failed")])
    result = flow.resume(cut.run, runtime=home)
    assert (result.output, acts) == ("a is marked with 1", {"a": 1})
    assert _runs(home) == [("inner", "done"), ("outer", "done")]


async def test_a_run_inside_that_was_cancelled_with_the_one_around_it_goes_on(runtime: Make) -> None:
    reached = asyncio.Event()
    waits = [True]

    async def work(home: Runtime) -> Any:
        result = await INNER.arun("do a", runtime=home)
        reached.set()
        if waits:
            await asyncio.Event().wait()
        return result.output

    home, flow = runtime(), _flow(work)
    running = asyncio.create_task(flow.arun("Go", runtime=home))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    waits.clear()
    (run,) = [row.id for row in await asyncio.to_thread(home.ledger.runs) if row.target == "outer"]
    result = await flow.aresume(run, runtime=home)
    assert (result.output, acts) == ("a is marked with 1", {"a": 1})
    assert len(await asyncio.to_thread(home.ledger.runs)) == 2


def test_a_person_who_has_answered_the_run_inside_is_not_asked_again(runtime: Make) -> None:
    seen: list[str] = []

    async def work(home: Runtime) -> Any:
        result = await ASKING.arun("do a", runtime=home)
        seen.append(result.status)
        if result.status == "pending":
            raise ValueError("it waits")
        return result.output

    home, flow = runtime(), _flow(work)
    outer = flow.run("Go", runtime=home).run
    assert flow.resume(outer, runtime=home).status == "failed"
    (inner,) = [row.id for row in home.ledger.runs() if row.target == "asking"]
    assert (seen, acts) == (["pending", "pending"], {})
    assert ASKING.resume(inner, "approve", runtime=home).status == "done"
    assert flow.resume(outer, runtime=home).output == "a is erased"
    assert (seen[2:], acts) == (["done"], {"a": 1})


def test_runs_inside_are_told_apart_by_what_they_are_asked_and_equal_ones_are_each_done(runtime: Make) -> None:
    orders, cut = iter(["aab", "baa"]), list[str]()

    async def work(home: Runtime) -> Any:
        order = next(orders)
        found = [(await INNER.arun(f"do {step}", runtime=home)).output for step in order]
        _once(cut)
        return found

    home, flow = runtime(), _flow(work)
    result = flow.resume(flow.run("Go", runtime=home).run, runtime=home)
    assert result.output == ["b is marked with 1", "a is marked with 1", "a is marked with 2"]
    assert acts == {"a": 2, "b": 1}
    assert len(home.ledger.runs()) == 4


async def test_a_fork_does_not_do_again_what_the_other_did_in_a_run_inside(runtime: Make) -> None:
    cut: list[str] = []

    async def work(home: Runtime) -> Any:
        result = await INNER.arun("do a", runtime=home)
        _once(cut)
        return result.output

    home, flow = runtime(), _flow(work)
    failed = await flow.arun("Go", runtime=home)
    copy = await forked(home, failed.run)
    for run in (copy.id, failed.run):
        assert (await flow.aresume(run, runtime=home)).output == "a is marked with 1"
    assert acts == {"a": 1}
