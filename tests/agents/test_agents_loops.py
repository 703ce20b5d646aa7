"""An agent that makes the same call again and again and is told the same is ended; one that gets on is not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents.middleware import SummarizationMiddleware
from pointsman import Agent, PointsmanError, RoutedChatModel, RunResult, tool
from pointsman.agents import CutOff, RepeatedCall
from pointsman.agents.runtime import Runtime
from pointsman.simulator import Answer, Request, Scenario, Simulator
from pointsman.simulator import Rule as Play

Make = Callable[..., Runtime]

calls: Counter[str] = Counter()
tells: dict[str, Callable[[int], str]] = {}


@pytest.fixture(autouse=True)
def _anew() -> None:
    calls.clear()
    tells.clear()


def _made(name: str, effect: Any) -> Any:
    def look(at: str, deep: bool = False) -> str:
        """Look at something."""
        calls[name] += 1
        return tells.get(name, lambda _: "nothing there")(calls[name])

    return tool(look, effect=effect, name=name)


look, listen, press = _made("look", "read"), _made("listen", "read"), _made("press", "write")


def _says(*names: str, then: int = 1000, order: bool = False) -> Callable[[Request], Answer]:
    """Call these tools in turn so often, then answer."""

    def answer(request: Request) -> Answer:
        made = sum(calls.values())
        if made >= then:
            return Answer(text="I found it.")
        arguments = [("at", "door"), ("deep", True)]
        said = dict(arguments[:: -1 if order and made % 2 else 1])
        return Answer(tool_calls=[{"name": names[made % len(names)], "arguments": said}])

    return answer


def _run(simulator: Simulator, home: Runtime, answer: Any, *, own_loop: bool = False, **more: Any) -> RunResult[str]:
    simulator.scenario = Scenario(rules=[Play(answer=answer)])
    agent = Agent("looper", instructions="Look.", tools=[look, listen, press], **more)
    if own_loop:
        return asyncio.run(agent.arun("Where is it?", runtime=home))
    return agent.run("Where is it?", runtime=home)


@pytest.mark.parametrize("own_loop", [False, True], ids=["run", "arun"])
def test_the_same_call_told_the_same_five_times_ends_the_run_after_a_stronger_model_had_three_turns(
    simulated: Make, simulator: Simulator, own_loop: bool
) -> None:
    home = simulated()
    simulator.scenario = Scenario(rules=[Play(answer=_says("look", order=True))])
    agent = Agent("looper", instructions="Look.", tools=[look], tier="economy")

    said = r"agent 'looper' called look\(.*\"at\": \"door\".*\) 5 times and was told the same each time: have the tool"
    so_far = asyncio.run(agent.arun("Where?", runtime=home)) if own_loop else agent.run("Where?", runtime=home)
    with pytest.raises(RepeatedCall, match=said) as ended:
        so_far.raise_for_status()

    assert isinstance(ended.value, CutOff)
    assert (so_far.run, so_far.status.value, ended.value.run) == (ended.value.run, "failed", home.ledger.runs()[0].id)
    assert calls["look"] == len(simulator.log) == len(so_far.calls) == 5
    assert [call.tier for call in so_far.calls] == ["economy", "economy", "standard", "standard", "standard"]


def test_an_agent_in_a_program_of_langchains_is_ended_too(simulated: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Play(answer=_says("look"))])
    with pytest.raises(RepeatedCall):
        Agent("looper", tools=[look]).on(simulated()).invoke("Where is it?")
    assert calls["look"] == 5


@pytest.mark.slow
def test_two_calls_in_turn_are_the_same_again_as_well(simulated: Make, simulator: Simulator) -> None:
    with pytest.raises(RepeatedCall, match="called look"):
        _run(simulator, simulated(), _says("look", "listen")).raise_for_status()
    assert calls == {"look": 5, "listen": 4}


def test_the_same_error_each_time_ends_it_and_its_act_is_in_the_result(simulated: Make, simulator: Simulator) -> None:
    tells["press"] = lambda _: "Error: it is locked"
    home = simulated()
    with pytest.raises(RepeatedCall, match="called press"):
        _run(simulator, home, _says("press")).raise_for_status()
    assert calls["press"] == len(home.ledger.effects(home.ledger.runs()[0].id)) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "told",
    [
        lambda made: f"{made} % are done",
        lambda made: f"Error: attempt {made} failed",
        # What was told before is told again, but never so often since there was news.
        lambda made: "still waiting" if made % 4 else f"{made} % are done",
    ],
    ids=["news", "other errors", "news now and then"],
)
def test_a_call_that_is_told_something_else_goes_on(
    simulated: Make, simulator: Simulator, told: Callable[[int], str]
) -> None:
    tells["look"] = told
    result = _run(simulator, simulated(), _says("look", then=12))
    assert (result.output, calls["look"]) == ("I found it.", 12)


@pytest.mark.slow
def test_other_calls_in_between_that_tell_news_are_progress(simulated: Make, simulator: Simulator) -> None:
    tells["listen"] = lambda made: f"step {made}"
    result = _run(simulator, simulated(), _says("press", "listen", then=16))
    assert (result.output, calls) == ("I found it.", {"press": 8, "listen": 8})


@pytest.mark.slow
def test_a_user_who_asks_again_has_it_done_again(simulated: Make, simulator: Simulator) -> None:
    home = simulated()
    simulator.scenario = Scenario(
        rules=[Play(answer=lambda r: Answer(text="No.") if calls["look"] % 2 else _says("look")(r))]
    )
    agent = Agent("looper", instructions="Look.", tools=[look])
    for _ in range(7):
        calls["look"] += calls["look"] % 2
        assert agent.run("Is it there?", thread="door", runtime=home).output == "No."
    assert calls["look"] == 13


def test_what_a_middleware_takes_out_of_the_conversation_still_counts(simulated: Make, simulator: Simulator) -> None:
    home = simulated()

    def answer(request: Request) -> Answer:
        return _says("look")(request) if request.tools else Answer(text="It looked.")

    short = SummarizationMiddleware(
        RoutedChatModel(task="summarise", dispatcher=home.dispatcher), trigger=("messages", 5), keep=("messages", 2)
    )
    with pytest.raises(PointsmanError, match="called look"):
        _run(simulator, home, answer, middleware=[short]).raise_for_status()
    assert calls["look"] == 5
