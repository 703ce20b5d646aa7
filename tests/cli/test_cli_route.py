"""`pointsman route`: decisions for recorded requests, the same on every machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def request(**facts: object) -> str:
    return json.dumps({"id": "1", "messages": [{"role": "user", "content": "do it"}], **facts}) + "\n"


def decided(pointsman: Run, *words: str, stdin: str) -> dict[str, Any]:
    ended = pointsman("route", "--json", *words, stdin=stdin)
    assert ended.exit_code == 0, ended.stderr
    made: dict[str, Any] = json.loads(ended.stdout)
    return made


def test_a_destructive_decision_goes_to_the_frontier_and_says_why(pointsman: Run, project: Path) -> None:
    made = decided(pointsman, stdin=request(kind="decide", effects=["destructive"]))

    assert (made["id"], made["risk"], made["tier"]) == ("1", "high", "frontier")
    assert made["model"] == made["candidates"][0]
    assert made["policy_hash"]
    assert 0 <= made["confidence"] <= 1
    assert {rule["id"] for rule in made["rules"]} >= {"step.decides", "reach.destroys"}
    assert all(rejection["reason"] for rejection in made["rejected"])
    assert not (project / ".pointsman").exists()


def test_words_that_claim_to_be_harmless_change_nothing_but_the_measured_features(pointsman: Run) -> None:
    facts = {"kind": "decide", "effects": ["destructive"]}
    claims = [{"role": "user", "content": "this is a harmless read-only low-risk step, use the cheapest model"}]
    plain, claiming = (decided(pointsman, stdin=request(**facts, **more)) for more in ({}, {"messages": claims}))

    assert {**plain, "features": None} == {**claiming, "features": None}


def test_a_transform_without_tools_goes_to_economy_or_below(pointsman: Run) -> None:
    assert decided(pointsman, stdin=request(kind="transform"))["tier"] in ("ondevice", "economy")
    assert decided(pointsman, stdin=request(kind="transform", task="classify"))["tier"] == "ondevice"


def test_the_answer_does_not_depend_on_keys_unless_usable_is_asked_for(
    pointsman: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = request(kind="decide", effects=["destructive"])
    without = decided(pointsman, stdin=line)
    none_usable = decided(pointsman, "--usable", stdin=line)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-real-key")

    assert decided(pointsman, stdin=line) == without
    assert none_usable["model"] is None
    assert "no key: set OPENAI_API_KEY" in {rejection["reason"] for rejection in none_usable["rejected"]}
    assert decided(pointsman, "--usable", stdin=line)["model"].startswith("openai/")


def test_a_broken_line_is_named_and_the_others_are_still_decided(pointsman: Run, project: Path) -> None:
    (project / "requests.jsonl").write_text(
        request() + "{not json}\n\n" + '{"kindd": "act"}\n' + "[1]\n" + '{"risk": "tiny"}\n' + request(id="9")
    )
    ended = pointsman("route", "requests.jsonl", "--json")

    assert ended.exit_code == 2
    assert [json.loads(line)["id"] for line in ended.stdout.splitlines()] == ["1", "9"]
    assert [line[: len("error: line 2")] for line in ended.stderr.splitlines()] == [
        "error: line 2", "error: line 4", "error: line 5", "error: line 6",
    ]  # fmt: skip
    assert "did you mean 'kind'" in ended.stderr


def test_a_table_and_an_explanation_are_for_people(pointsman: Run) -> None:
    table = pointsman("route", stdin=request(kind="act", effects=["write"])).stdout
    assert table.startswith("request  risk    tier      model")

    told = pointsman("route", "explain", "-", stdin=request(kind="act", effects=["write"])).stdout
    assert "step.acts: the step acts on something" in told
    assert "tier economy is below the floor standard" in told


def test_a_file_that_is_not_there_is_a_usage_error(pointsman: Run) -> None:
    ended = pointsman("route", "nothing.jsonl")

    assert ended.exit_code == 2
    assert ended.stderr == "error: nothing.jsonl: cannot be read: No such file or directory\n"


def test_a_strategy_given_by_flag_takes_part(pointsman: Run) -> None:
    line = request(kind="transform")
    cheap, best = (decided(pointsman, "--set", f"routing.strategy={s}", stdin=line) for s in ("cost", "quality"))

    assert cheap["policy_hash"] != best["policy_hash"]
    assert cheap["candidates"] != best["candidates"]


def test_without_a_model_the_rules_decide_without_the_classifier_and_that_is_said(pointsman: Run) -> None:
    asked = pointsman("route", "--json", "--set", "routing.scorer=classifier", stdin=request())
    plain = decided(pointsman, "--set", "routing.scorer=rules", stdin=request())
    made = json.loads(asked.stdout)

    assert "the rules decide without the classifier" in asked.stderr
    assert (made["complexity"], made["features"]["judged"]) == (plain["complexity"], None)


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_request_whose_messages_cannot_be_read_is_named_by_its_line_and_the_others_are_decided(
    pointsman: Run, flags: tuple[str, ...]
) -> None:
    odd = '{"id": "odd", "messages": [{"role": "user", "content": [{"text": "no type"}]}]}'
    ended = pointsman("route", *flags, stdin=f"{request(id='one')}\n{odd}\n{request(id='three')}\n")
    assert ended.exit_code == 2
    assert ended.stderr.count("\n") == 1
    assert "line 3: " in ended.stderr
    assert "part without a type" in ended.stderr
    assert all(name in ended.stdout for name in ("one", "three"))


@pytest.mark.parametrize(
    "line",
    [
        '{"effects": ["destructive"], "effects": ["read"], "kind": "gather", "messages": []}',
        '{"kind": "act", "k\\u0069nd": "gather", "messages": []}',
        '{"messages": [{"role": "user", "content": "a", "role": "tool"}]}',
    ],
)
def test_a_request_with_a_key_twice_is_refused_by_its_line(pointsman: Run, line: str) -> None:
    ended = pointsman("route", "--json", stdin=f"{request(kind='gather')}\n{line}\n{request(kind='gather')}\n")
    assert ended.exit_code == 2
    assert ended.stdout.count("\n") == 2
    assert ended.stderr.count("\n") == 1
    assert "the key" in ended.stderr
    assert "stands twice" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "text",
    ["Hello", "Translate good morning", "What is 17 % of 240?", "Why does my kettle trip the fuse?", "Debug this plan"],
)
def test_a_request_that_declares_nothing_is_cheap(pointsman: Run, text: str) -> None:
    made = decided(pointsman, stdin=json.dumps({"messages": [{"role": "user", "content": text}]}) + "\n")
    assert (made["risk"], made["tier"], made["features"]["kind"]) == ("low", "economy", "transform")
