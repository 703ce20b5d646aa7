"""`pointsman batch`: hand in, look, collect, each time as another process would."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from pointsman.configs.words import StepKind
from pointsman.dispatch.batch.batches import Batches
from pointsman.dispatch.calls.structured_output import bindable
from pointsman.dispatch.request import ModelRequest
from pointsman.routing.request import RouteRequest
from pointsman.simulator import Answer, BatchPace, Match, Rule, Scenario, Simulator, ToolCall

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _providers(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC", "OPENAI", "GOOGLE"):
        monkeypatch.setenv(f"{name}_API_KEY", "not-a-real-key")
        monkeypatch.setenv(f"POINTSMAN_PROVIDERS__{name}__BASE_URL", simulator.url(name.lower()))
    simulator.scenario = Scenario(batches=BatchPace(polls=0))


def line(text: str, **facts: object) -> str:
    record = {"messages": [{"role": "user", "content": text}], "kind": "transform", **facts}
    return json.dumps(record) + "\n"


def submitted(pointsman: Run, text: str) -> str:
    ended = pointsman("batch", "submit", stdin=text)
    assert ended.exit_code == 0, ended.stderr
    return str(ended.stdout.strip())


@pytest.mark.slow
def test_what_is_submitted_is_collected_in_order_as_json_lines(pointsman: Run, project: Path) -> None:
    (project / "night.jsonl").write_text(line("one", id="a") + "\n" + line("two", id="b", tier="frontier") + line("3"))
    batch = pointsman("batch", "submit", "night.jsonl").stdout.strip()
    ended = pointsman("batch", "collect", batch, "--wait", "--json")

    assert ended.exit_code == 0, ended.stderr
    told = [json.loads(one) for one in ended.stdout.splitlines()]
    assert [(one["id"], one["text"], one["error"]) for one in told] == [
        ("a", "You said: one", None), ("b", "You said: two", None), ("4", "You said: 3", None),
    ]  # fmt: skip
    assert [one["model"].partition("/")[0] for one in told] == ["openai", "anthropic", "openai"]
    assert all(one["cost"] > 0 for one in told)
    again = pointsman("batch", "collect", batch, "--json")
    assert (again.exit_code, again.stdout) == (0, ended.stdout)
    explained = pointsman("route", "explain", told[0]["decision"], "--json")
    assert json.loads(explained.stdout)["features"]["latency"] == "batch"


def test_all_that_a_line_declares_is_decided_by(pointsman: Run) -> None:
    said = {"max_tier": "standard", "only_reads": True, "model": "google/gemini-3.1-pro-preview", "max_output": 7}
    ended = pointsman("batch", "collect", submitted(pointsman, line("one", **said)), "--wait", "--json")
    explained = pointsman("route", "explain", json.loads(ended.stdout)["decision"], "--json")
    assert said.items() <= json.loads(explained.stdout)["features"].items()


@pytest.mark.slow
def test_list_and_show_tell_how_far_a_batch_is(pointsman: Run, simulator: Simulator) -> None:
    assert pointsman("batch", "list").stdout == "there is no batch\n"
    batch = submitted(pointsman, line("one") + line("two"))
    asked = len(simulator.log)

    [listed] = json.loads(pointsman("batch", "list", "--json").stdout)
    assert (listed["batch"], listed["state"], listed["requests"]) == (batch, "working", 2)
    [part] = listed["parts"]
    assert (part["state"], part["provider_id"].startswith("batch_")) == ("sent", True)
    assert batch in pointsman("batch", "list").stdout
    assert "0 of 2 answered" in pointsman("batch", "show", batch).stdout
    # Neither asks a provider.
    assert len(simulator.log) == asked

    assert "You said: one" in pointsman("batch", "collect", batch).stdout
    assert "2 of 2 answered" in pointsman("batch", "show", batch).stdout
    assert json.loads(pointsman("batch", "show", batch, "--json").stdout)["state"] == "done"


def test_collecting_too_early_says_so_and_prints_nothing(pointsman: Run, simulator: Simulator) -> None:
    simulator.scenario = Scenario(batches=BatchPace(seconds=3600))
    batch = submitted(pointsman, line("one"))
    ended = pointsman("batch", "collect", batch, "--json")

    assert (ended.exit_code, ended.stdout) == (1, "")
    assert ended.stderr == f"0 of 1 answered yet: wait with pointsman batch collect {batch} --wait\n"


def test_a_broken_line_is_named_and_the_others_are_submitted(pointsman: Run) -> None:
    text = (
        line("one") + "{not json}\n" + '{"kindd": "act"}\n' + '{"messages": []}\n' + line("x", tools=1)
        + '{"messages": [{"role": "nobody", "content": "x"}]}\n' + line("two")
    )  # fmt: skip
    ended = pointsman("batch", "submit", "--json", stdin=text)

    assert ended.exit_code == 2
    assert json.loads(ended.stdout)["requests"] == 2
    assert [said[: len("error: line 2")] for said in ended.stderr.splitlines()] == [
        f"error: line {number}" for number in (2, 3, 4, 5, 6)
    ]


def test_a_request_without_an_answer_has_its_error_and_code_1(pointsman: Run, simulator: Simulator) -> None:
    rule = Rule(match=Match(contains="bad"), fault="bad_request")
    simulator.scenario = Scenario(rules=[rule], batches=BatchPace(polls=0))
    batch = submitted(pointsman, line("good") + line("bad"))
    ended = pointsman("batch", "collect", batch, "--wait", "--json")

    assert ended.exit_code == 1
    good, bad = (json.loads(one) for one in ended.stdout.splitlines())
    assert (good["error"], bad["text"]) == (None, None)
    assert "bad_request" in bad["error"]


def test_what_a_cap_does_not_allow_ends_with_the_code_for_budgets(pointsman: Run) -> None:
    ended = pointsman("batch", "submit", "--set", "routing.budgets.day=0.000001", stdin=line("one"))
    assert ended.exit_code == 3
    assert pointsman("batch", "list").stdout == "there is no batch\n"


def test_no_requests_and_unknown_batches_are_said(pointsman: Run) -> None:
    assert "there were no requests" in pointsman("batch", "submit", stdin="").stderr
    ended = pointsman("batch", "show", "nope")
    assert ended.exit_code == 2
    assert "no batch 'nope'" in ended.stderr


TICKET = """
from pydantic import BaseModel, field_validator
open("ran.txt", "a").write("x")

class Ticket(BaseModel):
    iban: str

    @field_validator("iban")
    @classmethod
    def german(cls, value):
        if not value.startswith("DE"):
            raise ValueError(value)
        return value
"""


def _submitted_in_python(project: Path) -> str:
    """The id of a batch of two asks typed by a class that this process then forgets."""
    from pointsman.cli.settings import opened
    from pointsman.cli.target.target import load_class

    kind = load_class("desk.py:Ticket")
    ask = ModelRequest(
        [HumanMessage("x")], RouteRequest(kind=StepKind.TRANSFORM),
        tools=tuple(bindable([kind], strict=False, answer=kind)),
        output="Ticket", answer=kind, tool_choice="Ticket",
    )  # fmt: skip
    with opened() as runtime, Batches(runtime.dispatcher) as batches:
        batch = asyncio.run(batches.submit([ask, ask]))
    del sys.modules["desk"]
    (project / "ran.txt").unlink()
    return batch


@pytest.mark.slow
def test_typed_answers_are_judged_by_the_class_that_is_named_and_by_no_code_that_is_not(
    pointsman: Run, project: Path, simulator: Simulator
) -> None:
    (project / "desk.py").write_text(TICKET)
    call = Answer(tool_calls=(ToolCall("Ticket", {"iban": "FR1"}),))
    simulator.scenario = Scenario(rules=[Rule(answer=call)], batches=BatchPace(polls=0))
    batch = _submitted_in_python(project)

    ended = pointsman("batch", "collect", batch, "--wait", "--json")
    told = [json.loads(one) for one in ended.stdout.splitlines()]
    assert [one["tool_calls"][0]["args"] for one in told] == [{"iban": "FR1"}] * 2
    assert all("the class desk:Ticket is not at hand" in one["note"] for one in told)
    assert "2 of 2 answers were judged by its schema alone" in ended.stderr
    assert (ended.exit_code, (project / "ran.txt").exists()) == (0, False)

    ended = pointsman("batch", "collect", batch, "--json", "--output", "desk.py:Ticket")
    told = [json.loads(one) for one in ended.stdout.splitlines()]
    assert [(one["error"], one["note"]) for one in told] == [
        ("invalid_output (Ticket: iban: a validator refuses it)", None)
    ] * 2
    assert (ended.exit_code, (project / "ran.txt").read_text()) == (1, "x")

    for spec, said in (("desk.py:Tickets", "did you mean 'Ticket'"), ("desk.py:open", "no 'open'")):
        ended = pointsman("batch", "collect", batch, "--output", spec)
        assert (ended.exit_code, said in ended.stderr) == (2, True), ended.stderr
    sys.modules.pop("desk", None)
