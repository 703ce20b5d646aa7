"""Several models and one answer, over the real SDKs: who runs, what counts, what fails, what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pointsman import tool
from pointsman.agents.runs import run_scope
from pointsman.agents.runtime import Runtime
from pointsman.backends.base import BackendError
from pointsman.configs.errors import ConfigError
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.ensemble.ensemble import Ensemble, EnsembleFailed
from pointsman.dispatch.model import RoutedChatModel
from pointsman.ledger.budgets.budgets import BudgetExceeded
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator
from pointsman.simulator.request import Request, ToolCall
from pydantic import BaseModel

Make = Callable[..., Dispatcher]
QUESTION = "What flows through Ely?"
MINI, HAIKU, FLASH = "openai/gpt-5.4-mini", "anthropic/claude-haiku-4-5", "google/gemini-3.5-flash"


class Order(BaseModel):
    """An order."""

    subject: str
    pieces: float


@tool(effect="read")
def order_status(order_id: str) -> str:
    """Look up an order."""
    return order_id


@tool(effect="write")
def rename_order(order_id: str) -> str:
    """Rename an order."""
    return order_id


def _says(**texts: str) -> Scenario:
    return Scenario(rules=tuple(Rule(match=Match(vendor=v), answer=Answer(text=text)) for v, text in texts.items()))


def _fills(**values: dict[str, Any]) -> tuple[Rule, ...]:
    """A rule a vendor that fills whatever schema it is held to."""
    return tuple(
        Rule(match=Match(vendor=vendor, contains=QUESTION), answer=_filler(value)) for vendor, value in values.items()
    )


def _filler(value: dict[str, Any]) -> Callable[[Request], Answer]:
    return lambda request: Answer(tool_calls=(ToolCall(name=request.tools[0].name, arguments=value),))


def _three(home: Dispatcher, **facts: Any) -> list[RoutedChatModel]:
    return [RoutedChatModel(kind="transform", dispatcher=home, **facts) for _ in range(3)]


async def test_members_alike_run_on_different_models_and_the_majority_wins(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = _says(openai="The Cam.", anthropic='"The  Great Ouse."', google="the great ouse")
    answer = await Ensemble(_three(dispatcher())).ainvoke(QUESTION)
    assert [member.model for member in answer.members] == [MINI, HAIKU, FLASH]
    assert answer.answer == "the great ouse"
    assert answer.agreement == pytest.approx(2 / 3)
    assert [vote.models for vote in answer.votes] == [(FLASH, HAIKU), (MINI,)]
    assert all((member.cost or 0) > 0 for member in answer.members)


async def test_a_tie_goes_to_the_stronger_tier_whatever_the_order_of_the_members(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = _says(openai="Cam", anthropic="Ouse")
    home = dispatcher()
    for order in ((MINI, HAIKU), (HAIKU, MINI)):
        members = [RoutedChatModel(kind="transform", prefer=name, dispatcher=home) for name in order]
        assert (await Ensemble(members).ainvoke(QUESTION)).answer == "Ouse"


async def test_structured_answers_are_compared_by_value(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=_fills(
            openai={"pieces": 2, "subject": "Cam"},
            anthropic={"subject": "Ouse ", "pieces": 2.0},
            google={"pieces": 2, "subject": "Ouse"},
        )
    )
    answer = await Ensemble(_three(dispatcher())).ainvoke(QUESTION, Order)
    assert answer.answer == Order(subject="Ouse", pieces=2)
    assert answer.agreement == pytest.approx(2 / 3)


async def test_calls_of_tools_that_read_can_be_voted_on(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=_fills(openai={"order_id": "A"}, anthropic={"order_id": "B"}, google={"order_id": "B"})
    )
    members = [model.bind_tools([order_status]) for model in _three(dispatcher())]
    answer = await Ensemble(members).ainvoke(QUESTION)
    assert [call["args"] for call in answer.answer.tool_calls] == [{"order_id": "B"}]


async def test_one_members_failure_does_not_fail_the_rest_while_the_quorum_is_met(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(
        rules=(Rule(match=Match(vendor="openai"), fault=Fault("overloaded")), Rule(answer=Answer(text="Ouse")))
    )
    home = dispatcher(routing__limits={"attempts": 1})
    answer = await Ensemble(_three(home)).ainvoke(QUESTION)
    assert (answer.answer, answer.agreement) == ("Ouse", 1.0)
    assert "overloaded" in str(answer.members[0].failure)
    with pytest.raises(EnsembleFailed, match=r"of 3 members answered, 3 are needed.*overloaded"):
        await Ensemble(_three(home), quorum=3).ainvoke(QUESTION)


async def test_a_quorum_out_of_reach_calls_the_others_off(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=(Rule(match=Match(vendor="openai"), fault=Fault("overloaded")), Rule(fault=Fault("hang")))
    )
    home = dispatcher(routing__limits={"attempts": 1})
    # Nothing else ends the others here: they hang, and may do so for a long time.
    with pytest.raises(EnsembleFailed, match="called off"):
        await Ensemble(_three(home), quorum=3).ainvoke(QUESTION)


async def test_a_fallback_never_runs_on_another_members_model(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=(
            Rule(match=Match(vendor="openai", model="gpt-5.4-mini"), fault=Fault("overloaded")),
            Rule(match=Match(vendor="google"), fault=Fault("unavailable")),
            Rule(answer=Answer(text="Ouse")),
        )
    )
    home = dispatcher()
    alone = await RoutedChatModel(kind="transform", dispatcher=home).ainvoke(QUESTION)
    assert alone.response_metadata["pointsman"]["model"] == HAIKU
    answer = await Ensemble(_three(home)).ainvoke(QUESTION)
    models = [member.model for member in answer.members]
    assert None not in models
    assert len(set(models)) == 3
    asked = [row.model for row in home.ledger.calls()][2:]
    assert len(set(asked)) == len(asked)


async def test_with_fewer_models_than_members_nobody_is_asked_twice(dispatcher: Make, simulator: Simulator) -> None:
    home = dispatcher(routing__approved=[MINI, HAIKU])
    answer = await Ensemble(_three(home)).ainvoke(QUESTION)
    assert [member.model for member in answer.members] == [MINI, HAIKU, None]
    assert "another member of the ensemble has it" in str(answer.members[2].error)


async def test_a_model_at_two_names_is_one_model(dispatcher: Make, simulator: Simulator) -> None:
    again = {"name": "gpt-5.4-mini", "tier": "economy"}
    home = dispatcher(models={"openai/again": again}, routing__approved=[MINI, "openai/again"])
    answer = await Ensemble(_three(home), quorum=1).ainvoke(QUESTION)
    assert [member.model is None for member in answer.members] == [False, True, True]


@pytest.mark.slow
async def test_answers_kept_in_a_cache_never_make_one_model_count_twice(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = _says(openai="Cam", anthropic="Ouse", google="Ouse")
    home = dispatcher(routing__cache={"mode": "exact"})
    await RoutedChatModel(kind="transform", dispatcher=home).ainvoke(QUESTION)
    for _ in range(2):
        answer = await Ensemble(_three(home), quorum=1).ainvoke(QUESTION)
        models = [member.model for member in answer.members if member.model]
        assert len(set(models)) == len(models) > 0


async def test_weights_can_outvote_a_majority(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = _says(openai="Cam", anthropic="Ouse", google="Ouse")
    members = _three(dispatcher())
    answer = await Ensemble(members, "weighted", weights=[3, 1, 1]).ainvoke(QUESTION)
    assert (answer.answer, answer.agreement) == ("Cam", pytest.approx(0.6))
    answer = await Ensemble(members, "weighted").ainvoke(QUESTION)
    assert (answer.answer, answer.agreement) == ("Ouse", pytest.approx(1.35 / 1.95))


async def test_best_of_asks_upwards_and_stops_at_the_first_answer_accepted(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = _says(openai="Cam", anthropic="Ouse", google="never asked")
    home = dispatcher()
    members = [
        RoutedChatModel(kind="transform", prefer=name, dispatcher=home)
        for name in ("google/gemini-3.1-pro", HAIKU, MINI)
    ]

    async def accepts(answer: str) -> bool:
        await asyncio.sleep(0)
        return answer == "Ouse"

    answer = await Ensemble(members, "best_of", verify=accepts).ainvoke(QUESTION)
    assert [member.model for member in answer.members] == [None, HAIKU, MINI]
    assert (answer.answer, [served.vendor for served in simulator.log]) == ("Ouse", ["openai", "anthropic"])
    with pytest.raises(EnsembleFailed, match="no answer was accepted"):
        await Ensemble(members, "best_of", verify=lambda answer: False).ainvoke(QUESTION)


async def test_nothing_that_can_do_more_than_read_is_given_to_several(dispatcher: Make) -> None:
    model = RoutedChatModel(dispatcher=dispatcher())
    for member in (
        model.bind_tools([rename_order]),
        model.bind(tools=[{"type": "function", "function": {"name": "anything"}}]),
        RoutedChatModel(kind="act"),
    ):
        with pytest.raises(ConfigError, match="only steps that read"):
            Ensemble([model, member])
    with pytest.raises(ConfigError, match="bind tools or ask for an output"):
        await Ensemble([model.bind_tools([order_status])]).ainvoke(QUESTION, Order)


@pytest.mark.parametrize(
    "wrong",
    [
        {"combine": "toss"},
        {"weights": [1]},
        {"combine": "weighted", "weights": [0, 1]},
        {"combine": "best_of"},
        {"quorum": 3},
        {"judge": RoutedChatModel()},
    ],
    ids=str,
)
def test_arguments_that_do_not_go_together_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Ensemble([RoutedChatModel(), RoutedChatModel()], **wrong)


async def test_cancelling_cancels_every_call_and_charges_those_that_were_sent(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=(Rule(fault=Fault("hang")),))
    home = dispatcher()
    runtime = Runtime(home.settings)
    runtime.__dict__["dispatcher"] = home
    with run_scope(runtime, "test", max_cost=1.0) as books:
        call = asyncio.create_task(Ensemble(_three(home)).ainvoke(QUESTION))
        async with asyncio.timeout(240):
            while len(simulator.log) < 3:
                await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        spent, reserved = home.budgets.totals(f"run:{books.id}")
    rows = home.ledger.calls(run=books.id)
    assert [row.failure for row in rows] == ["cancelled"] * 3
    assert (spent, reserved) == (sum(row.cost or 0 for row in rows), 0)
    assert spent > 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_cap_holds_over_all_members_and_what_they_cost_is_told(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=(Rule(answer=Answer(text="Ouse")),))
    home = dispatcher()
    runtime = Runtime(home.settings)
    runtime.__dict__["dispatcher"] = home
    with run_scope(runtime, "test", max_cost=1.0) as books:
        answer = await Ensemble(_three(home, max_output=64)).ainvoke(QUESTION)
        spent = home.budgets.totals(f"run:{books.id}")[0]
    assert spent == sum(member.cost or 0 for member in answer.members) > 0
    with run_scope(runtime, "test", max_cost=1e-6), pytest.raises(BudgetExceeded):
        await Ensemble(_three(home, max_output=64)).ainvoke(QUESTION)


async def test_a_request_at_fault_is_told_as_such(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=(Rule(fault=Fault("bad_request")),))
    with pytest.raises(BackendError) as caught:
        await Ensemble(_three(dispatcher())).ainvoke(QUESTION)
    assert caught.value.kind == "bad_request"
