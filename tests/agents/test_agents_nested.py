"""Agents as tools of agents, called from synchronous code at any depth and in any number."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.tools import tool as langchain_tool
from pointsman import Agent, tool
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import PointsmanError
from pointsman.simulator import Answer, Match, Rule, Scenario, Simulator
from pointsman.tools import declare

Make = Callable[..., Runtime]
Ends = Callable[[Callable[[], Any]], Any]

MODEL = "anthropic/claude-haiku-4-5"


class Tower:
    """Agents, each of which asks the one below several times at once, in synchronous code.

    Args:
        widths: How often each asks the one below, from the top down.
        make: Makes a tool of a function and its name.
    """

    def __init__(
        self, simulator: Simulator, runtime: Runtime, widths: list[int], make: Callable[[Any, str], BaseTool]
    ) -> None:
        self.ran: Counter[int] = Counter()
        rules = [Rule(match=Match(contains_any_message="heard back"), answer=Answer(text="heard back"))]
        agent: Agent | None = None
        for level, width in enumerate(reversed(widths)):
            calls = [{"name": f"ask_{level}", "arguments": {"number": str(n)}} for n in range(width)]
            rules.append(Rule(match=Match(contains=f"level {level}"), answer=Answer(tool_calls=calls)))
            agent = Agent(f"agent-{level}", model=MODEL, tools=[self._ask(level, agent, make)]).on(runtime)
        simulator.scenario = Scenario(rules=rules)
        assert agent is not None
        self.top, self.first = agent, f"level {len(widths) - 1}"

    def _ask(self, level: int, below: Agent | None, make: Callable[[Any, str], BaseTool]) -> BaseTool:
        def ask(number: str) -> str:
            """Ask the one below."""
            self.ran[level] += 1
            if below is not None:
                below.invoke(f"level {level - 1}")
            return "heard back"

        return make(ask, f"ask_{level}")


def ours(function: Any, name: str) -> BaseTool:
    return tool(function, effect="read", name=name)


def plain(function: Any, name: str) -> BaseTool:
    return declare(StructuredTool.from_function(function, name=name), effect="read")


def of_a_class(function: Any, name: str) -> BaseTool:
    class Own(BaseTool):
        def _run(self, number: str) -> str:
            return str(function(number))

    return declare(Own(name=name, description="Ask."), effect="read")


def every(widths: list[int]) -> list[int]:
    """How often the tool of each level runs, from the bottom up."""
    counts: list[int] = []
    for width in widths:
        counts.append(width * (counts[-1] if counts else 1))
    return counts[::-1]


# However a tool is made, more of them than a pool has threads, and agents below each other; for ours both together too.
@pytest.mark.parametrize(
    ("widths", "make"),
    [
        *itertools.product(([45, 1], [2, 1, 1, 1, 1]), (ours, plain, of_a_class)),
        ([3, 3, 3], ours),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.slow
def test_sync_calls_inside_sync_tools_all_come_back(
    simulated: Make, simulator: Simulator, ends: Ends, widths: list[int], make: Callable[[Any, str], BaseTool]
) -> None:
    tower = Tower(simulator, simulated(), widths, make)
    ends(lambda: tower.top.invoke(tower.first))
    assert [tower.ran[level] for level in range(len(widths))] == every(widths)


@pytest.mark.slow
@pytest.mark.parametrize("make", [ours, plain, of_a_class], ids=lambda make: make.__name__)
def test_they_come_back_in_the_users_own_event_loop_too(
    simulated: Make, simulator: Simulator, ends: Ends, make: Callable[[Any, str], BaseTool]
) -> None:
    tower = Tower(simulator, simulated(), [21, 2], make)
    ends(lambda: asyncio.run(tower.top.ainvoke(tower.first)))
    assert tower.ran == {1: 21, 0: 42}


@pytest.mark.slow
def test_they_come_back_from_several_threads_at_once(simulated: Make, simulator: Simulator, ends: Ends) -> None:
    tower = Tower(simulator, simulated(), [8, 2], ours)

    def all_at_once() -> None:
        threads = [threading.Thread(target=tower.top.invoke, args=(tower.first,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    ends(all_at_once)
    assert tower.ran == {1: 48, 0: 96}


@pytest.mark.parametrize("own_loop", [False, True])
def test_a_blocking_tool_does_not_hold_up_its_neighbour(
    simulated: Make, simulator: Simulator, ends: Ends, own_loop: bool
) -> None:
    met = threading.Barrier(50)

    @langchain_tool
    def meet(number: str) -> str:
        """Wait for all the others."""
        return f"heard back from {met.wait(240)}"

    calls = [{"name": "meet", "arguments": {"number": str(n)}} for n in range(50)]
    simulator.scenario = Scenario(
        rules=[
            Rule(match=Match(contains_any_message="heard back"), answer=Answer(text="done")),
            Rule(answer=Answer(tool_calls=calls)),
        ]
    )
    agent = Agent("host", model=MODEL, tools=[declare(meet, effect="read")]).on(simulated())
    answer = ends((lambda: asyncio.run(agent.ainvoke("go"))) if own_loop else (lambda: agent.invoke("go")))
    heard = [message for message in answer["messages"] if message.type == "tool"]
    assert [message.status for message in heard] == ["success"] * 50


def test_a_sync_call_in_an_async_tool_says_what_to_do_instead_of_waiting_for_itself(
    simulated: Make, simulator: Simulator, ends: Ends
) -> None:
    home = simulated()

    @tool(effect="read")
    async def ask(number: str) -> str:
        """Ask wrongly."""
        return str(Agent("other").on(home).invoke("hello"))

    simulator.scenario = Scenario(
        rules=[Rule(answer=Answer(tool_calls=[{"name": "ask", "arguments": {"number": "1"}}]))]
    )
    agent = Agent("host", model=MODEL, tools=[ask]).on(home)
    with pytest.raises(PointsmanError, match="await its async form"):
        ends(lambda: agent.invoke("go"))
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="well"))])
    assert ends(lambda: agent.invoke("again"))["messages"][-1].text == "well"


@pytest.mark.parametrize("messages", ["hello", HumanMessage("hello"), ["hello"]], ids=["text", "message", "list"])
def test_an_agent_is_asked_one_thing_by_a_state_with_one_message(
    simulated: Make, simulator: Simulator, messages: Any
) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=lambda request: Answer(text=request.user_text))])
    agent = Agent("asked", model=MODEL).on(simulated())
    assert agent.invoke({"messages": messages})["messages"][-1].text == "hello"
