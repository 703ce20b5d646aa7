"""An agent that a node or a tool asks goes on where it was: found by what it is asked, in whatever order that comes."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, RetryPolicy, interrupt
from pointsman import Agent, Workflow, tool
from pointsman.agents.runtime import Runtime
from pointsman.simulator import Answer, Rule, Scenario, Simulator
from pydantic import BaseModel

Make = Callable[..., Runtime]
One = Callable[..., Workflow[Any]]
AGAIN = RetryPolicy(max_attempts=2, initial_interval=0.0, jitter=False, retry_on=ValueError)


@pytest.fixture
def actor(mark: Any) -> Agent[Any]:
    return Agent("actor", tier="economy", tools=[mark])


@pytest.fixture
def eraser(erase: Any) -> Agent[Any]:
    return Agent("eraser", tools=[erase])


def _asked(request: Any) -> str:
    return re.findall(r"do (\w+)", request.user_text)[-1]


def _acting(request: Any) -> Answer:
    if request.tool_results:
        return Answer(text=request.tool_results[-1].text)
    return Answer(tool_calls=[{"name": request.tools[0].name, "arguments": {"step": _asked(request)}}])


ACTS = Scenario(rules=[Rule(answer=_acting)])


async def _said(agent: Agent[Any], home: Runtime, step: str) -> str:
    return str((await agent.on(home).ainvoke(f"do {step}"))["messages"][-1].text)


def _to_the_end(flow: Workflow[Any], home: Runtime) -> Any:
    first = flow.run("Go", runtime=home)
    assert (first.status, str(first.error)) == ("failed", "cut off")
    return flow.resume(first.run, runtime=home)


@pytest.mark.slow
@pytest.mark.parametrize("sequence", ["a b !1 !2 c", "a b !1 c !2 !3", "a b !1 a !2 !3", "a !1 b !2 a b !3"])
def test_in_each_attempt_at_a_node_each_agent_gives_its_own_answer_and_acts_once(
    runtime: Make, simulator: Simulator, sequence: str, one_node: One, actor: Agent[Any], acts: Counter[str]
) -> None:
    simulator.scenario = ACTS
    cut: set[str] = set()
    said: list[list[str]] = []

    async def work(home: Runtime) -> str:
        said.append([])
        for word in sequence.split():
            if not word.startswith("!"):
                said[-1].append(await _said(actor, home, word))
            elif word not in cut:
                cut.add(word)
                raise ValueError("cut off")
        return "so it is"

    result = _to_the_end(one_node(work, retry_policy=AGAIN), runtime())
    steps = [word for word in sequence.split() if not word.startswith("!")]
    told = [f"{step} is marked with {steps[: place + 1].count(step)}" for place, step in enumerate(steps)]
    assert (result.status, acts) == ("done", Counter(steps))
    assert said == [told[: len(one)] for one in said]
    assert said[-1] == told
    # Each agent's two turns are paid once.
    assert len(simulator.log) == 2 * len(steps)


@pytest.mark.slow
@pytest.mark.parametrize("by_a_tool", [False, True])
def test_agents_asked_at_once_in_another_order_give_each_its_own_answer(
    runtime: Make, simulator: Simulator, by_a_tool: bool, one_node: One, actor: Agent[Any], acts: Counter[str]
) -> None:
    orders = iter(["abc", "cab"])
    said: list[dict[str, str]] = []
    homes: list[Runtime] = []

    async def ask() -> None:
        order = next(orders)
        found = await asyncio.gather(*(_said(actor, homes[0], step) for step in order))
        said.append(dict(zip(order, found, strict=True)))
        if len(said) == 1:
            raise ValueError("cut off")

    @tool(effect="read")
    async def research(step: str) -> str:
        """Ask others about a step."""
        await ask()
        return f"{step} is known"

    async def work(home: Runtime) -> str:
        homes.append(home)
        if by_a_tool:
            return await _said(Agent("boss", tier="economy", tools=[research]), home, "it")
        await ask()
        return "it is known"

    simulator.scenario = ACTS
    result = _to_the_end(one_node(work), runtime())
    assert (result.output, acts) == ("it is known", Counter("abc"))
    assert said == [{step: f"{step} is marked with 1" for step in "abc"}] * 2


def test_an_agent_that_is_not_asked_again_leaves_its_answer_to_nobody(
    runtime: Make, simulator: Simulator, one_node: One, actor: Agent[Any], acts: Counter[str]
) -> None:
    said: list[str] = []

    async def work(home: Runtime) -> str:
        if not said:
            said.append(await _said(actor, home, "a"))
            raise ValueError("cut off")
        said.append(await _said(actor, home, "b"))
        return said[-1]

    simulator.scenario = ACTS
    assert _to_the_end(one_node(work), runtime()).output == "b is marked with 1"
    assert acts == Counter("ab")


@pytest.mark.slow
@pytest.mark.parametrize("by_a_tool", ["", "read", "write"])
def test_what_waits_in_the_tasks_of_a_task_group_waits_for_a_person_and_is_no_failure(
    runtime: Make, simulator: Simulator, by_a_tool: Any, one_node: One, eraser: Agent[Any], acts: Counter[str]
) -> None:
    homes: list[Runtime] = []

    async def ask() -> str:
        async with asyncio.TaskGroup() as outer:
            a = outer.create_task(_said(eraser, homes[0], "a"))
            async with asyncio.TaskGroup() as inner:
                b = inner.create_task(_said(eraser, homes[0], "b"))
        return f"{a.result()}, {b.result()}"

    @tool(effect=by_a_tool or "read")
    async def research(step: str) -> str:
        """Ask others about a step."""
        return await ask()

    async def work(home: Runtime) -> str:
        homes.append(home)
        return await (_said(Agent("boss", tools=[research]), home, "it") if by_a_tool else ask())

    simulator.scenario, home, flow = ACTS, runtime(), one_node(work)
    result = flow.run("Go", runtime=home)
    answered: set[str] = set()
    while result.status == "pending":
        # One that was answered waits on where the other cancelled it before its act: its answer is not given again.
        news = [act.id for act in result.pending if act.arguments["step"] not in answered]
        answered |= {act.arguments["step"] for act in result.pending}
        result = flow.resume(result.run, dict.fromkeys(news, "approve"), runtime=home)
    assert (result.status, result.output, acts) == ("done", "a is erased, b is erased", Counter("ab"))


def test_what_the_tasks_of_a_task_group_ask_themselves_is_asked_one_by_one_and_answered_to_each(
    runtime: Make, one_node: One
) -> None:
    async def ask(number: int) -> str:
        return f"{number} {interrupt(f'question {number}')}"

    async def work(_: Runtime) -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(number)) for number in range(3)]
        return [task.result() for task in tasks]

    home, flow = runtime(keys=False), one_node(work)
    result = flow.run("Go", runtime=home)
    for number in range(3):
        (asked,) = result.pending
        assert asked.arguments == {"value": f"question {number}"}
        result = flow.resume(result.run, f"answer {number}", runtime=home)
    assert (result.status, result.output) == ("done", [f"{number} answer {number}" for number in range(3)])


@pytest.mark.slow
async def test_each_answer_of_a_person_finds_its_agent_whatever_order_they_are_asked_in(
    runtime: Make, simulator: Simulator, one_node: One, eraser: Agent[Any], acts: Counter[str]
) -> None:
    orders = iter(["abc", "cab", "bca", "acb"])

    async def work(home: Runtime) -> Any:
        order = next(orders)
        found = await asyncio.gather(*(_said(eraser, home, step) for step in order))
        return dict(zip(order, found, strict=True))

    simulator.scenario, home, flow = ACTS, runtime(), one_node(work)
    result = await flow.arun("Go", runtime=home)
    asked = []
    while result.status == "pending":
        (act,) = result.pending
        asked.append(act.arguments["step"])
        result = await flow.aresume(result.run, {act.id: "approve"}, runtime=home)
    assert sorted(asked) == ["a", "b", "c"]
    assert (result.output, acts) == ({step: f"{step} is erased" for step in "abc"}, Counter("abc"))


@pytest.mark.parametrize("asks", ["actor", "eraser"])
async def test_a_graph_under_somebody_elses_checkpoints_finds_its_agents_too(
    runtime: Make, simulator: Simulator, asks: str, request: pytest.FixtureRequest, one_node: One, acts: Counter[str]
) -> None:
    # An answer of a person's is not kept where the node does not get to what it was for.
    orders = iter(["ab", "ba"] if asks == "actor" else ["ab"] * 4)
    agent = request.getfixturevalue(asks)
    tries: list[str] = []

    async def work(home: Runtime) -> Any:
        tries.append(next(orders))
        found = [await _said(agent, home, step) for step in tries[-1]]
        if len(tries) == 1:
            raise ValueError("cut off")
        return dict(zip(tries[-1], found, strict=True))

    simulator.scenario = ACTS
    graph = one_node(work).compile(runtime())
    graph.checkpointer = InMemorySaver()
    config: Any = {"configurable": {"thread_id": "1"}}
    given: Any = {"task": "Go"}
    made: Any = {}
    while "output" not in made:
        try:
            made = await graph.ainvoke(given, config)
        except ValueError:
            made = {}
        stops = made.get("__interrupt__", ())
        given = Command(resume={stop.id: {"decisions": [{"type": "approve"}]} for stop in stops}) if stops else None
    assert acts == Counter("ab")
    assert all(text.startswith(f"{step} is ") for step, text in made["output"].items())


def test_what_an_agent_adds_is_the_same_when_it_is_given_again(
    runtime: Make, simulator: Simulator, one_node: One, actor: Agent[Any]
) -> None:
    added: list[list[str]] = []

    async def work(home: Runtime) -> str:
        added.append([message.type for message in (await actor.on(home).ainvoke("do a"))["messages"]])
        if len(added) == 1:
            raise ValueError("cut off")
        return "so it is"

    simulator.scenario = ACTS
    _to_the_end(one_node(work), runtime())
    assert added == [["ai", "tool", "ai"]] * 2


class Verse(BaseModel):
    """A verse."""

    line: str


def test_an_agent_that_can_call_nothing_is_asked_anew_in_another_attempt(
    runtime: Make, simulator: Simulator, one_node: One
) -> None:
    lines: list[str] = []

    async def work(home: Runtime) -> str:
        made = await Agent("poet", tier="economy", output=Verse).on(home).ainvoke("a verse")
        lines.append(made["structured_response"].line)
        if len(lines) == 1:
            raise ValueError("that is no verse")
        return lines[-1]

    def answer(request: Any) -> Answer:
        given = {"line": f"line {len(simulator.log)}"}
        return Answer(tool_calls=[{"name": request.tools[0].name, "arguments": given}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    result = one_node(work, retry_policy=AGAIN).run("Go", runtime=runtime())
    assert (result.status, len(lines), len(set(lines))) == ("done", 2, 2)


@pytest.mark.slow
def test_a_step_goes_on_where_it_was_whatever_is_remembered_since(
    runtime: Make, simulator: Simulator, mark: Any, acts: Counter[str]
) -> None:
    looks: list[str] = []

    @tool(effect="read")
    def look(step: str) -> str:
        """Look at a step."""
        looks.append(step)
        if len(looks) == 1:
            raise ValueError("cut off")
        return f"{step} is there"

    def answer(request: Any) -> Answer:
        told = "".join(one.text for one in request.tool_results)
        if not request.tools or "is there" in told:
            return Answer(text=f"to mark step a is thought {len(simulator.log)}")
        name = "look" if told else "mark"
        return Answer(tool_calls=[{"name": name, "arguments": {"step": "a"}}])

    steps: list[dict[str, Any]] = [
        {"id": "first", "agent": "thinker", "instruction": "think", "needs": []},
        {"id": "acts", "agent": "actor", "instruction": "mark step a", "needs": ["first"]},
        # What this says is remembered by the time the other is done again.
        {"id": "beside", "agent": "thinker", "instruction": "think on", "needs": ["first"]},
    ]
    agents = [Agent("thinker", tier="economy"), Agent("actor", tier="economy", tools=[mark, look])]
    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    assert _to_the_end(Workflow("desk", agents, plan=steps), runtime()).status == "done"
    assert (acts, len(looks)) == (Counter("a"), 2)
