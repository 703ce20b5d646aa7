"""A cap on tokens bounds a run in all its parts, with the agents it calls, whatever they cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pointsman import Agent, Workflow, tool
from pointsman.agents.runs import run_scope
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.dispatch.guards.guards import Grant
from pointsman.dispatch.guards.tokens import TokenCaps
from pointsman.ledger.budgets.budgets import BudgetExceeded
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator, Usage

Make = Callable[..., Runtime]

THOUSAND = Usage(input=900, output=100)


def used(home: Runtime) -> int:
    return sum(row.usage.input + row.usage.output for row in home.ledger.calls() if row.usage)


def flow() -> Workflow[Any]:
    return Workflow("three", [Agent(n, max_output=200) for n in "abc"], plan="in_order", memory=False)


def test_a_run_ends_before_the_call_that_could_pass_its_cap(simulated: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="done", usage=THOUSAND))])
    home = simulated()
    result = flow().run("x", runtime=home, max_tokens=2_500)
    with pytest.raises(BudgetExceeded, match=r"is 2,500 tokens: 2,000 tokens is spent.*raise max_tokens"):
        result.raise_for_status()
    assert [step.output for step in result.steps] == ["done", "done"]
    assert (len(simulator.log), used(home)) == (2, 2_000)


async def test_calls_at_the_same_time_pass_a_cap_no_more_than_calls_in_turn(
    simulated: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="done", usage=Usage(input=100, output=100)))])
    home = simulated()
    agent = Agent("one", max_output=200)
    with run_scope(home, "many", max_tokens=2_000):
        ended = await asyncio.gather(*(agent.arun("x", runtime=home) for _ in range(12)))
    short = [one for one in ended if isinstance(one.error, BudgetExceeded)]
    # Each may need 850, and what the others gave back is waited for.
    assert (len(simulator.log), used(home)) == (12 - len(short), 200 * (12 - len(short)))
    assert 1_150 < used(home) <= 2_000


def test_a_run_that_is_taken_up_keeps_its_cap_and_what_it_has_used(simulated: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="done", usage=THOUSAND))])
    home = simulated()
    with pytest.raises(BudgetExceeded) as told:
        flow().run("x", runtime=home, max_tokens=2_500).raise_for_status()
    run = str(told.value.run)
    with pytest.raises(BudgetExceeded, match="2,500 tokens: 2,000 tokens is spent"):
        flow().resume(run, runtime=home).raise_for_status()
    assert used(home) == 2_000
    assert flow().resume(run, runtime=home, max_tokens=9_000).status == "done"
    assert used(home) == 3_000
    assert home.ledger.run(run).max_tokens == 9_000  # type: ignore[union-attr]  # it is there


def test_agents_called_by_a_tool_count_against_the_run_around_them(simulated: Make, simulator: Simulator) -> None:
    home = simulated()

    @tool(effect="read")
    def ask(question: str) -> str:
        """Ask a colleague."""
        return str(Agent("colleague", max_output=200).run(question, runtime=home, max_tokens=50_000).output)

    simulator.scenario = Scenario(
        rules=[
            Rule(match=Match(contains="how much"), answer=Answer(text="42", usage=Usage(input=4_000, output=10))),
            Rule(
                answer=Answer(tool_calls=[{"name": "ask", "arguments": {"question": "how much"}}], usage=THOUSAND),
            ),
        ]
    )
    asker = Agent("asker", tools=[ask], max_output=200)
    with pytest.raises(BudgetExceeded, match="5,500 tokens: 5,010 tokens is spent"):
        asker.run("x", runtime=home, max_tokens=5_500).raise_for_status()
    assert (len(simulator.log), used(home)) == (2, 5_010)


def test_a_failed_call_gives_its_tokens_back(simulated: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=[Rule(match=Match(first=2), fault=Fault("overloaded")), Rule(answer=Answer(text="done", usage=THOUSAND))]
    )
    home = simulated()
    with run_scope(home, "some", max_tokens=3_000):
        agent = Agent("one", max_output=200)
        assert agent.run("x", runtime=home).output == "done"
        assert agent.run("x", runtime=home).output == "done"
    assert used(home) == 2_000


@pytest.mark.parametrize("cap", [0, -1, 2.5, True, "5"])
def test_a_cap_that_bounds_nothing_is_refused(simulated: Make, cap: Any) -> None:
    with pytest.raises(ConfigError, match=f"max_tokens is {cap!r}: give"):
        Agent("one").run("x", runtime=simulated(), max_tokens=cap)


async def test_a_call_that_is_not_sent_gives_all_its_tokens_back() -> None:
    caps, grant = TokenCaps("one", 100), Grant(None, None)
    grant.tokens = caps, await caps.reserve(60, 0)
    with pytest.raises(BudgetExceeded):
        await caps.reserve(41, 0)
    grant.give_back()
    await caps.reserve(100, 0)


async def test_a_cap_bounds_a_call_of_which_nobody_says_how_long_its_answer_may_be(
    simulated: Make, simulator: Simulator
) -> None:
    home = simulated()
    with run_scope(home, "small", max_tokens=10):
        ended = await Agent("one").arun("x", runtime=home)
    assert isinstance(ended.error, BudgetExceeded)
    assert list(simulator.log) == []
