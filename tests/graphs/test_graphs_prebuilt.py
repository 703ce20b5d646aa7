"""The prebuilt workflows: a cascade, an extraction, a vote, a batch."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pointsman import Agent, BackendError, ConfigError, batch, cascade, extraction, tool, vote
from pointsman.agents.runtime import Runtime
from pointsman.graphs.prebuilt.batch import inputs_of
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator
from pydantic import BaseModel

Make = Callable[..., Runtime]


class Invoice(BaseModel):
    """An invoice."""

    lines: list[float]
    total: float


def _adds_up(invoice: Invoice) -> str | None:
    return None if sum(invoice.lines) == invoice.total else f"the lines make {sum(invoice.lines):g}"


def _total(*totals: float) -> tuple[Scenario, list[Any]]:
    """Models that say these totals, one after the other."""
    asked: list[Any] = []

    def answer(request: Any) -> Answer:
        asked.append(request)
        said = {"lines": [1.0, 2.0], "total": totals[min(len(asked), len(totals)) - 1]}
        return Answer(tool_calls=[{"name": "Invoice", "arguments": said}])

    return Scenario(rules=[Rule(answer=answer)]), asked


def test_an_extraction_that_fails_its_check_is_done_again_by_a_stronger_model_that_is_told_why(
    runtime: Make, simulator: Simulator
) -> None:
    simulator.scenario, asked = _total(4.0, 3.0)
    home = runtime()
    result = extraction("invoice", Invoice, check=_adds_up).run("1 and 2", runtime=home)
    assert (result.status, result.output) == ("done", Invoice(lines=[1.0, 2.0], total=3.0))
    assert [(step.id, step.status.value) for step in result.steps] == [("invoice-1", "failed"), ("invoice-2", "done")]
    assert [step.tier for step in result.steps] == ["economy", "standard"]
    assert "the lines make 3" in asked[1].user_text
    assert "the lines make 3" not in asked[0].user_text
    assert any(hit["id"] == "evidence.failed-check" for row in result.decisions for hit in json.loads(row.rules))
    assert len(result.calls) == len(asked) == 2


def test_an_extraction_whose_attempts_are_used_up_goes_to_a_person(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario, asked = _total(9.0)
    home = runtime()
    result = extraction("invoice", Invoice, check=_adds_up, attempts=2).run("1 and 2", runtime=home)
    assert (result.status, result.output, len(asked)) == ("handed_over", None, 2)
    (item,) = home.ledger.handoffs(open_only=True)
    assert item.reason == "step invoice-2 does not pass its check: the lines make 3"


def test_a_cascade_ends_at_the_highest_tier(runtime: Make, simulator: Simulator) -> None:
    asked: list[str] = []

    def answer(request: Any) -> Answer:
        asked.append(request.model)
        return Answer(text="no idea")

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    flow = cascade("any", Agent("a", tier="economy"), check=lambda _: "not good enough", attempts=9)
    result = flow.run("Go", runtime=runtime())
    assert [step.tier for step in result.steps] == ["economy", "standard", "advanced", "frontier"]
    assert (result.status, len(asked)) == ("handed_over", 4)


def test_where_no_stronger_model_answers_the_last_output_goes_to_a_person(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=[
            Rule(match=Match(contains="An earlier attempt"), fault=Fault("bad_request")),
            Rule(answer=Answer(text="first")),
        ]
    )
    home = runtime()
    result = cascade("any", Agent("a", tier="economy"), check=lambda _: "too short").run("Go", runtime=home)
    assert [(step.id, step.status.value) for step in result.steps] == [("a-1", "failed"), ("a-2", "handed_over")]
    assert "no stronger model could do it again" in result.steps[1].note
    assert home.ledger.handoffs(open_only=True)[0].summary == "first"


def test_a_cascade_that_is_cut_off_after_an_attempt_does_not_make_it_again(runtime: Make, simulator: Simulator) -> None:
    asked: list[str] = []

    def answer(request: Any) -> Answer:
        asked.append(request.user_text)
        return Answer(text="good")

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    broken = [True]

    async def check(_: Any) -> str | None:
        if broken.pop():
            raise RuntimeError("the check was shut")
        return None

    home, flow = runtime(), cascade("any", Agent("a", tier="economy"), check=check)
    with pytest.raises(RuntimeError, match="shut"):
        flow.run("Go", runtime=home).raise_for_status()
    broken.append(False)
    result = flow.resume(home.ledger.runs()[0].id, runtime=home)
    assert (result.status, result.output, len(asked)) == ("done", "good", 1)


@tool(effect="write")
def write(text: str) -> str:
    """Write a text."""
    return text


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: cascade("c", Agent("a"), check=lambda _: None, attempts=0), "attempts is 0"),
        (lambda: cascade("c", Agent("a", tools=[write]), check=lambda _: None).builder(None), "'write' does more than"),
        (lambda: vote("v", [Agent("a")]), "has 1 agent"),
        (lambda: vote("v", [Agent("a"), Agent("b")], agree=3), "agree is 3"),
        (lambda: batch("b", Agent("a"), jobs=0), "jobs is 0"),
        (lambda: inputs_of("[1,"), "begin as a JSON array"),
        (lambda: inputs_of(" \n "), "all empty"),
    ],
)
def test_what_makes_no_workflow_is_refused(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


def test_a_check_that_says_neither_a_reason_nor_none_is_refused(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="x"))])
    with pytest.raises(ConfigError, match="gave False: return what is wrong"):
        cascade("c", Agent("a"), check=lambda _: False).run("Go", runtime=runtime()).raise_for_status()  # type: ignore[arg-type,return-value]


def _voters(simulator: Simulator, **said: str) -> list[Agent]:
    """Agents that say so, and a judge that takes the first."""

    def answer(request: Any) -> Answer:
        if any(one.name == "Ruling" for one in request.tools):
            return Answer(tool_calls=[{"name": "Ruling", "arguments": {"reason": "it is best", "best": "answer-1"}}])
        name = re.search(r"you are (\w+)", " ".join(message.text for message in request.messages))
        text = said[name[1]] if name else "?"
        return Answer(text=text)

    refusing = [
        Rule(match=Match(contains_any_message=f"you are {name}"), fault=Fault("bad_request"))
        for name, text in said.items()
        if text == "!"
    ]
    simulator.scenario = Scenario(rules=[*refusing, Rule(answer=answer)])
    return [Agent(name, instructions=f"you are {name}", tier="economy") for name in said]


@pytest.mark.parametrize(
    ("said", "agree", "status", "output"),
    [
        ({"a": "Yes.", "b": " yes", "c": "No"}, None, "done", "Yes."),
        ({"a": "Yes", "b": "No", "c": "Maybe"}, None, "handed_over", None),
        ({"a": "Yes", "b": "!", "c": "Yes"}, None, "done", "Yes"),
        ({"a": "Yes", "b": "!", "c": "!"}, None, "handed_over", None),
        ({"a": "Yes", "b": "Yes", "c": "No"}, 3, "handed_over", None),
    ],
)
def test_what_enough_agents_came_to_is_the_answer_and_each_is_asked_once(
    runtime: Make, simulator: Simulator, said: dict[str, str], agree: int | None, status: str, output: str | None
) -> None:
    home = runtime()
    result = vote("poll", _voters(simulator, **said), agree=agree).run("Is it so?", runtime=home)
    assert (result.status, result.output) == (status, output)
    assert Counter(call.step for call in result.calls if call.attempt == 1) == {"a": 1, "b": 1, "c": 1}
    assert len(home.ledger.handoffs(open_only=True)) == (status == "handed_over")


def test_where_too_few_agree_a_judge_may_choose(runtime: Make, simulator: Simulator) -> None:
    flow = vote("poll", _voters(simulator, a="Yes", b="No", c="Maybe"), judge=True)
    result = flow.run("Is it so?", runtime=runtime())
    assert (result.status, result.output in {"Yes", "No", "Maybe"}) == ("done", True)
    assert "so a judge chose that of" in result.notes[0]
    assert [call.step for call in result.calls].count("judge") == 1


@pytest.mark.slow
def test_a_batch_does_each_input_once_and_gives_the_outputs_in_order(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=lambda request: Answer(text=request.user_text.upper()))])
    texts = [f"row {number}" for number in range(30)]
    result = batch("rows", Agent("a", tier="economy"), jobs=3).run("\n".join(texts), runtime=runtime())
    assert (result.status, result.output) == ("done", [text.upper() for text in texts])
    assert len(result.calls) == len(result.steps) == 30


def test_an_input_that_fails_leaves_the_others_done_and_the_run_failed(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=[
            Rule(match=Match(contains="bad"), fault=Fault("bad_request")),
            Rule(answer=lambda request: Answer(text=request.user_text.upper())),
        ]
    )
    task = json.dumps(["one", "bad", {"n": 3}])
    home = runtime()
    result = batch("rows", Agent("a", tier="economy")).run(task, runtime=home)
    assert (result.status, result.output) == ("failed", ["ONE", None, '{"N": 3}'])
    assert result.notes[0] == "1 of 3 inputs failed"
    assert home.ledger.run(result.run).status == "failed"  # type: ignore[union-attr]


def test_a_batch_under_a_cap_says_which_inputs_it_could_not_pay_for(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="ok"))])
    flow = batch("rows", Agent("a", tier="frontier", kind="transform", max_output=1000), jobs=1)
    result = flow.run("one\ntwo\nthree", max_cost=0.03, runtime=runtime())
    assert result.status == "failed"
    assert result.output.count(None) >= 1
    assert result.cost <= 0.03


def test_the_first_attempt_of_a_cascade_that_no_model_answers_ends_the_run(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(fault=Fault("bad_request"))])
    with pytest.raises(BackendError):
        cascade("any", Agent("a"), check=lambda _: None).run("Go", runtime=runtime()).raise_for_status()
