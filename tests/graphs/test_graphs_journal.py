"""What is done and paid in a step that is cut off is not done or paid again, wherever it is cut off."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Annotated, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import InjectedToolCallId
from langgraph.types import Command, RetryPolicy
from pointsman import Agent, Ensemble, RoutedChatModel, Workflow, tool
from pointsman.agents.runtime import Runtime
from pointsman.dispatch.errors import AllFailed
from pointsman.ledger import points
from pointsman.ledger.points import Point
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator
from pointsman.tools.base import DECLARED, Declaration
from pydantic import BaseModel

Make = Callable[..., Runtime]
One = Callable[..., Workflow[Any]]
acts: Counter[str] = Counter()


class CutOff(OSError):
    """What ends a run at a point."""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    acts.clear()
    yield
    points.watcher = None


def _cut(point: Point, nth: int = 1) -> None:
    left = [nth]

    def watch(reached: Point) -> None:
        left[0] -= reached == point
        if not left[0]:
            left[0] = -1
            raise CutOff(point)

    points.watcher = watch


@tool(effect="write")
def mark(step: str) -> str:
    """Mark a step."""
    acts[step] += 1
    return f"it is marked with {acts[step]}"


def _calling(*steps: str, told: list[str] | None = None) -> Scenario:
    """A model that marks these steps in one turn, and then says what it was told."""

    def answer(request: Any) -> Answer:
        if request.tool_results:
            said = [one.text for one in request.tool_results]
            if told is not None:
                told[:] = said
            return Answer(text="so it is")
        return Answer(tool_calls=[{"name": "mark", "arguments": {"step": step}} for step in steps])

    return Scenario(rules=[Rule(answer=answer)])


def _actor(*tools: Any) -> Workflow:
    return Workflow("any", [Agent("actor", tier="economy", tools=tools or [mark])])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "asked"), [(Point.INTENT, 0), (Point.ACT, 1), (Point.OUTCOME, 1), (Point.CHECKPOINT, 0)], ids=str
)
def test_an_act_is_repeated_only_where_a_person_says_so_and_asked_about_only_where_nobody_knows(
    runtime: Make, simulator: Simulator, point: Point, asked: int
) -> None:
    simulator.scenario, home, flow = _calling("a"), runtime(), _actor()
    _cut(point)
    with pytest.raises(CutOff):
        flow.run("Go", runtime=home).raise_for_status()
    before = int(point in (Point.OUTCOME, Point.CHECKPOINT))
    assert acts["a"] == before
    (run,) = home.ledger.runs()
    result = flow.resume(run.id, runtime=home)
    assert [act.reason.partition("; ")[2] for act in result.pending] == [
        "it may have been done already, before the run was cut off"
    ] * asked
    if asked:
        assert acts["a"] == before
        result = flow.resume(run.id, "approve", runtime=home)
    assert (result.status, acts["a"]) == ("done", before + asked if asked else 1)
    assert [act.outcome for act in result.steps[0].acts] == ["done"]


def test_the_result_of_an_act_that_is_done_is_given_again_as_it_was(runtime: Make, simulator: Simulator) -> None:
    told: list[str] = []
    simulator.scenario, home, flow = _calling("a", told=told), runtime(), _actor()
    _cut(Point.CHECKPOINT)
    with pytest.raises(CutOff):
        flow.run("Go", runtime=home).raise_for_status()
    (run,) = home.ledger.runs()
    with closing(sqlite3.connect(str(home.ledger.path))) as raw:
        kept = raw.execute("SELECT name, sealed FROM kept WHERE run = ?", (run.id,)).fetchall()
    # Readable with the user's key alone, and gone with the end of the run.
    assert "act " in [name[:4] for name, _ in kept]
    assert all(sealed.startswith("aes256gcm") for _, sealed in kept)
    assert flow.resume(run.id, runtime=home).status == "done"
    assert (told, acts) == (["it is marked with 1"], {"a": 1})
    assert home.ledger.kept.names(run.id) == frozenset()


@pytest.mark.slow
def test_the_same_act_made_twice_on_purpose_is_made_twice_wherever_the_run_is_cut_off(
    runtime: Make, simulator: Simulator
) -> None:
    for nth in (1, 2):
        acts.clear()
        simulator.scenario, home, flow = _calling("a", "a"), runtime(), _actor()
        _cut(Point.CHECKPOINT, nth)
        with pytest.raises(CutOff):
            flow.run("Go", runtime=home).raise_for_status()
        run = home.ledger.runs(limit=1)[0]
        assert flow.resume(run.id, runtime=home).status == "done"
        assert acts == {"a": 2}
        assert [row.outcome for row in home.ledger.effects(run.id)] == ["done", "done"]


class _Idempotent(Declaration):
    idempotent: bool = True


@pytest.mark.slow
def test_an_act_that_comes_to_the_same_when_it_is_done_twice_is_done_again_unasked(
    runtime: Make, simulator: Simulator
) -> None:
    again = mark.model_copy(update={"metadata": {DECLARED: _Idempotent(effect="write")}})
    simulator.scenario, home, flow = _calling("a"), runtime(), _actor(again)
    _cut(Point.OUTCOME)
    with pytest.raises(CutOff):
        flow.run("Go", runtime=home).raise_for_status()
    (run,) = home.ledger.runs()
    assert flow.resume(run.id, runtime=home).status == "done"
    assert acts == {"a": 2}


def test_an_act_that_version_0_1_began_is_asked_about(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario, home, flow = _calling("a"), runtime(), _actor()
    _cut(Point.OUTCOME)
    with pytest.raises(CutOff):
        flow.run("Go", runtime=home).raise_for_status()
    (run,) = home.ledger.runs()
    # As that version left it: without a place, under the name that it gave.
    text = json.dumps(["mark", {"step": "a"}], sort_keys=True, ensure_ascii=False)
    named = hashlib.sha256(text.encode()).hexdigest()[:16]
    with closing(sqlite3.connect(str(home.ledger.path))) as raw:
        raw.execute("UPDATE effects SET place = NULL, digest = ?", (named,))
        raw.commit()
    result = flow.resume(run.id, runtime=home)
    assert (result.status, acts) == ("pending", {"a": 1})
    assert "it may have been done already" in result.pending[0].reason


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["long", "state"])
def test_a_result_that_cannot_be_kept_whole_keeps_its_act_from_being_repeated(
    runtime: Make, simulator: Simulator, kind: str
) -> None:
    @tool(effect="write", name="mark")
    def much(step: str, call: Annotated[str, InjectedToolCallId]) -> Any:
        """Mark a step."""
        acts[step] += 1
        message = ToolMessage("x" * 600_000 if kind == "long" else "so", tool_call_id=call)
        return message if kind == "long" else Command(update={"messages": [message]})

    told: list[str] = []
    simulator.scenario, home, flow = _calling("a", told=told), runtime(), _actor(much)
    _cut(Point.CHECKPOINT)
    with pytest.raises(CutOff):
        flow.run("Go", runtime=home).raise_for_status()
    flow.resume(home.ledger.runs()[0].id, runtime=home, max_steps=50)
    assert acts == {"a": 1}
    assert "not kept" in told[0]


def test_an_act_is_not_repeated_when_the_users_own_node_is_tried_again(
    runtime: Make, simulator: Simulator, one_node: One
) -> None:
    tries: list[int] = []

    async def work(home: Runtime) -> str:
        said = await Agent("actor", tier="economy", tools=[mark]).on(home).ainvoke("Go")
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("the node's own trouble")
        return str(said["messages"][-1].text)

    simulator.scenario = _calling("a")
    policy = RetryPolicy(initial_interval=0.0, jitter=False, retry_on=ConnectionError)
    result = one_node(work, retry_policy=policy).run("Go", runtime=runtime())
    assert (result.status, len(tries), acts) == ("done", 2, {"a": 1})


class Verse(BaseModel):
    """A verse."""

    line: str


async def _two_calls(home: Runtime) -> Any:
    model = RoutedChatModel(tier="economy", dispatcher=home.dispatcher)
    first = await model.ainvoke("the first question")
    second = await model.ainvoke("the last question")
    return [first.text, second.text]


async def _streamed(home: Runtime) -> Any:
    model = RoutedChatModel(tier="economy", dispatcher=home.dispatcher)
    first = "".join([str(chunk.text) async for chunk in model.astream("the first question")])
    return [first, (await model.ainvoke("the last question")).text]


async def _same_twice(home: Runtime) -> Any:
    model = RoutedChatModel(tier="economy", dispatcher=home.dispatcher)
    said = [(await model.ainvoke("the first question")).text for _ in range(2)]
    return [*said, (await model.ainvoke("the last question")).text]


async def _typed(home: Runtime) -> Any:
    model = RoutedChatModel(tier="economy", dispatcher=home.dispatcher).with_structured_output(Verse)
    return (await model.ainvoke("the last question")).model_dump()


async def _ensemble(home: Runtime) -> Any:
    members = [RoutedChatModel(tier="economy", dispatcher=home.dispatcher) for _ in range(3)]
    return (await Ensemble(members).ainvoke("the last question")).answer


@pytest.mark.parametrize(
    ("work", "paid", "hangs"),
    [
        (_two_calls, 1, Match(contains="the last question")),
        (_streamed, 1, Match(contains="the last question")),
        (_same_twice, 2, Match(contains="the last question")),
        (_typed, 1, Match(after=1)),
        (_ensemble, 2, Match(vendor="openai")),
    ],
    ids=["two calls", "streamed", "the same twice", "typed", "ensemble"],
)
async def test_of_the_calls_of_a_step_that_is_cut_off_only_the_one_in_flight_is_made_again(
    runtime: Make, simulator: Simulator, work: Any, paid: int, hangs: Match, one_node: One
) -> None:
    home, flow = runtime(), one_node(work)

    def answer(request: Any) -> Answer:
        if request.tools:
            # The first model to be asked for a verse gives none.
            line: Any = {"line": "a verse"} if len(simulator.log) > 1 else {"lines": 7}
            return Answer(tool_calls=[{"name": request.tools[0].name, "arguments": line}])
        return Answer(text="an answer")

    simulator.scenario = Scenario(rules=[Rule(match=hangs, fault=Fault("hang")), Rule(answer=answer)])
    running = asyncio.create_task(flow.arun("Go", runtime=home))
    while len(simulator.log) < paid + 1 or len(await asyncio.to_thread(home.ledger.calls)) < paid:
        await asyncio.sleep(0.002)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (run,) = await asyncio.to_thread(home.ledger.runs)
    before = len(simulator.log)
    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    result = await flow.aresume(run.id, runtime=home)
    assert (result.status, len(simulator.log) - before) == ("done", 1)
    # Those that were paid before are not among the calls a second time.
    assert len(result.calls) == paid + 2


def _wrong(request: Any) -> Answer:
    line: Any = {"line": ["no text"]} if "anthropic" in request.vendor else {}
    return Answer(tool_calls=[{"name": request.tools[0].name, "arguments": line}])


async def _cut_off_after_one_useless_reply(home: Runtime, flow: Workflow[Any], simulator: Simulator) -> str:
    simulator.scenario = Scenario(rules=[Rule(match=Match(after=1), fault=Fault("hang")), Rule(answer=_wrong)])
    running = asyncio.create_task(flow.arun("Go", runtime=home))
    while len(simulator.log) < 2 or not await asyncio.to_thread(home.ledger.calls):
        await asyncio.sleep(0.002)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (run,) = await asyncio.to_thread(home.ledger.runs)
    return run.id


async def test_where_no_model_is_left_when_a_run_is_taken_up_what_was_wrong_before_is_told_too(
    runtime: Make, simulator: Simulator, one_node: One
) -> None:
    home, flow = runtime(), one_node(_typed)
    run = await _cut_off_after_one_useless_reply(home, flow, simulator)
    simulator.scenario = Scenario(rules=[Rule(answer=_wrong)])
    with pytest.raises(AllFailed) as ended:
        (await flow.aresume(run, runtime=home)).raise_for_status()
    first, second, *_ = ended.value.failures
    assert (first.model, first.detail) == ("openai/gpt-5.4-mini", "Verse: line: field required")
    assert (second.model, second.detail) == (
        "anthropic/claude-haiku-4-5",
        "Verse: line: input should be a valid string",
    )


async def test_a_useless_reply_before_a_run_was_cut_off_is_not_taken_for_another_models(
    runtime: Make, simulator: Simulator, one_node: One
) -> None:
    home, flow = runtime(), one_node(_typed)
    run = await _cut_off_after_one_useless_reply(home, flow, simulator)
    home.dispatcher.overrides.off("openai", time.time() + 86_400)
    right = Answer(tool_calls=[{"name": "Verse", "arguments": {"line": "a verse"}}])
    simulator.scenario = Scenario(rules=[Rule(answer=right)])
    result = await flow.aresume(run, runtime=home)
    assert (result.output, result.calls[-1].model) == ({"line": "a verse"}, "anthropic/claude-haiku-4-5")


async def test_a_node_of_the_users_own_that_failed_asks_its_models_anew(
    runtime: Make, simulator: Simulator, one_node: One
) -> None:
    said: list[str] = []

    async def picky(home: Runtime) -> str:
        said.append((await RoutedChatModel(tier="economy", dispatcher=home.dispatcher).ainvoke("the question")).text)
        if said[-1] == "answer 1":
            raise ValueError("that is no answer")
        return said[-1]

    simulator.scenario = Scenario(rules=[Rule(answer=lambda _: Answer(text=f"answer {len(said) + 1}"))])
    home, flow = runtime(), one_node(picky)
    with pytest.raises(ValueError, match="that is no answer"):
        (await flow.arun("Go", runtime=home)).raise_for_status()
    (run,) = await asyncio.to_thread(home.ledger.runs)
    assert (await flow.aresume(run.id, runtime=home)).output == "answer 2"
    said.clear()
    tried = one_node(picky, retry_policy=RetryPolicy(initial_interval=0.0, jitter=False, retry_on=ValueError))
    assert (await tried.arun("Go", runtime=home)).output == "answer 2"


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_an_act_of_a_node_of_the_users_own_is_journalled_too(
    runtime: Make, simulator: Simulator, way: str, one_node: One
) -> None:
    left = ["after"]

    @tool(effect="write", name="mark")
    def breaking(step: str) -> str:
        """Mark a step."""
        acts[step] += 1
        if left == ["within"]:
            left.clear()
            raise CutOff("within")
        return "it is marked"

    async def work(_: Runtime) -> Any:
        given = {"step": "a"}
        said = breaking.invoke(given) if way == "invoke" else await breaking.ainvoke(given)
        if left == ["after"]:
            left.clear()
            raise CutOff("after")
        return said

    home, flow = runtime(), one_node(work)
    with pytest.raises(CutOff):
        flow.run("Go", runtime=home).raise_for_status()
    first = flow.resume(home.ledger.runs(limit=1)[0].id, runtime=home)
    assert (first.status, first.output, acts) == ("done", "it is marked", {"a": 1})

    left.append("within")
    with pytest.raises(CutOff):
        flow.run("Go", runtime=home).raise_for_status()
    waiting = flow.resume(home.ledger.runs(limit=1)[0].id, runtime=home)
    assert waiting.status == "pending"
    assert "may have been done already" in waiting.pending[0].reason
    assert acts == {"a": 2}
    assert flow.resume(waiting.run, {waiting.pending[0].id: True}, runtime=home).status == "done"
    assert acts == {"a": 3}
