"""Typed answers of a batch: judged by the class itself, its validators too, whoever collects them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import StepKind
from pointsman.dispatch.batch.batches import BatchAnswer, Batches
from pointsman.dispatch.calls.structured_output import bindable
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.request import ModelRequest
from pointsman.routing.request import RouteRequest
from pointsman.simulator import Answer, BatchPace, Match, Rule, Scenario, Simulator, ToolCall, Usage
from pydantic import BaseModel, field_validator, model_validator

Make = Callable[..., Dispatcher]
Desk = Callable[..., tuple[Dispatcher, Batches]]


class Iban(BaseModel):
    iban: str

    @field_validator("iban")
    @classmethod
    def _german(cls, value: str) -> str:
        if not value.startswith("DE"):
            raise ValueError(value)
        return value


class Span(BaseModel):
    start: int
    end: int

    @model_validator(mode="after")
    def _forward(self) -> Span:
        assert self.start < self.end
        return self


def _local() -> type[BaseModel]:
    """A class that no other process can find by its name."""

    class Ticket(Iban):
        pass

    return Ticket


@pytest.fixture
def desk(dispatcher: Make) -> Iterator[Desk]:
    """Another process each time: what one knows of a class the next does not."""
    made: list[Batches] = []

    def make(**given: Any) -> tuple[Dispatcher, Batches]:
        home = dispatcher()
        made.append(Batches(home, **given))
        return home, made[-1]

    yield make
    for one in made:
        one.close()


_DECLARED = RouteRequest(kind=StepKind.TRANSFORM)


def _ask(kind: type[BaseModel]) -> ModelRequest:
    tools = tuple(bindable([kind], strict=False, answer=kind))
    name = kind.__name__
    return ModelRequest([HumanMessage("x")], _DECLARED, tools=tools, output=name, answer=kind, tool_choice=name)


def _answers(simulator: Simulator, kind: type[BaseModel], first: dict[str, Any], then: dict[str, Any]) -> None:
    """Have the model that is asked first, in the batch, give one answer, and any other the other."""

    def rule(arguments: dict[str, Any], **match: Any) -> Rule:
        call = ToolCall(kind.__name__, arguments)
        return Rule(match=Match(**match), answer=Answer(tool_calls=(call,), usage=Usage(input=1000, output=100)))

    simulator.scenario = Scenario(rules=[rule(first, model="gpt-5.4-mini"), rule(then)], batches=BatchPace(polls=0))


def _arguments(answer: BatchAnswer) -> dict[str, Any]:
    assert answer.message is not None, answer.error
    [call] = answer.message.tool_calls
    return dict(call["args"])


@pytest.mark.parametrize(
    ("kind", "bad", "good", "why"),
    [
        (Iban, {"iban": "FR1"}, {"iban": "DE1"}, "iban: a validator refuses it"),
        (Span, {"start": 3, "end": 1}, {"start": 1, "end": 3}, "the answer: a validator refuses it"),
    ],
)
@pytest.mark.parametrize("who", ["submits", "has it loaded"])
async def test_what_a_validator_refuses_is_paid_recorded_with_the_reason_and_asked_of_a_stronger_model(
    desk: Desk, simulator: Simulator, kind: type[BaseModel], bad: Any, good: Any, why: str, who: str
) -> None:
    _answers(simulator, kind, bad, good)
    home, batches = desk()
    batch = await batches.submit([_ask(kind)])
    if who != "submits":
        home, batches = desk()
    [answer] = await batches.collect(batch, pause=0.01)
    assert (_arguments(answer), answer.error, answer.note) == (good, None, "")
    refused, taken = sorted(home.ledger.calls(), key=lambda row: row.at)
    assert (refused.failure, taken.failure) == ("invalid_output", None)
    assert why in refused.detail
    assert home.cards[taken.model].tier > home.cards[refused.model].tier
    assert refused.cost
    assert taken.cost
    billed = sum(served.cost_usd or 0 for served in simulator.log)
    assert (refused.cost + taken.cost) / 1e12 == pytest.approx(billed)


async def test_a_class_that_is_given_again_judges_what_another_process_submitted(
    desk: Desk, simulator: Simulator
) -> None:
    kind = _local()
    _answers(simulator, kind, {"iban": "FR1"}, {"iban": "DE1"})
    batch = await desk()[1].submit([_ask(kind)])
    home, batches = desk(outputs=[_local()])
    [answer] = await batches.collect(batch, pause=0.01)
    assert (_arguments(answer), answer.note) == ({"iban": "DE1"}, "")
    assert sorted(str(row.failure) for row in home.ledger.calls()) == ["None", "invalid_output"]


@pytest.mark.slow
async def test_an_answer_whose_class_is_not_at_hand_says_that_its_schema_alone_judged_it(
    desk: Desk, simulator: Simulator
) -> None:
    kind = _local()
    _answers(simulator, kind, {"iban": "FR1"}, {"iban": "FR2"})
    batch = await desk()[1].submit([_ask(kind), ModelRequest([HumanMessage("y")], _DECLARED)])
    home, batches = desk()
    typed, _ = await batches.collect(batch, pause=0.01)
    assert (_arguments(typed), typed.error) == ({"iban": "FR1"}, None)
    assert "schema alone" in typed.note
    assert "test_dispatch_batch_typed:_local.<locals>.Ticket" in typed.note
    calls, asked = home.ledger.calls(), len(simulator.log)

    # Whoever has the class has it judge the answer that is there, and nothing is asked again.
    _, batches = desk(outputs=[kind])
    typed, _ = await batches.collect(batch, pause=0.01)
    assert (typed.message, typed.error, typed.note) == (
        None, "invalid_output (Ticket: iban: a validator refuses it)", "",
    )  # fmt: skip
    assert (len(home.ledger.calls()), len(simulator.log)) == (len(calls), asked)


async def test_a_live_answer_in_place_of_a_batchs_says_so_too(desk: Desk, simulator: Simulator) -> None:
    kind = _local()
    _answers(simulator, kind, {"iban": 3}, {"iban": "FR2"})
    batch = await desk()[1].submit([_ask(kind)])
    home, batches = desk()
    [answer] = await batches.collect(batch, pause=0.01)
    assert sorted(str(row.failure) for row in home.ledger.calls()) == ["None", "invalid_output"]
    assert _arguments(answer) == {"iban": "FR2"}
    assert "schema alone" in answer.note


async def test_a_class_that_has_another_schema_now_does_not_judge(
    desk: Desk, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answers(simulator, Iban, {"iban": "FR1"}, {"iban": "DE1"})
    batch = await desk()[1].submit([_ask(Iban)])
    monkeypatch.setitem(globals(), "Iban", Span)
    [answer] = await desk()[1].collect(batch, pause=0.01)
    assert _arguments(answer) == {"iban": "FR1"}
    assert "has another schema now" in answer.note


@pytest.mark.parametrize("output", [dict, "Ticket", Iban(iban="DE1")])
def test_only_a_pydantic_class_can_judge(desk: Desk, output: Any) -> None:
    with pytest.raises(ConfigError, match="is not a pydantic class"):
        desk(outputs=[output])


async def test_a_kept_answer_that_its_schema_alone_judged_is_given_to_nobody_whose_class_refuses_it(
    dispatcher: Make, simulator: Simulator
) -> None:
    _answers(simulator, Iban, {"iban": "FR1"}, {"iban": "DE1"})
    home = dispatcher(routing__cache={"mode": "exact"})
    ask = _ask(Iban)
    asks = [replace(ask, answer=None), replace(ask, answer=None), ask, ask]
    told = [(await home.call(one)).tool_calls[0]["args"]["iban"] for one in asks]
    assert told == ["FR1", "FR1", "DE1", "DE1"]
    rows = sorted(home.ledger.calls(), key=lambda row: row.at)
    assert [(row.finish == "cached", row.failure) for row in rows] == [
        (False, None), (True, None), (False, "invalid_output"), (False, None), (True, None),
    ]  # fmt: skip
