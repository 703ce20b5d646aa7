"""`pointsman batch`: hand in, look, collect, each time as another process would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.simulator import BatchPace, Match, Rule, Scenario, Simulator

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
