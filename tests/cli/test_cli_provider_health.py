"""`pointsman provider list` and `probe`: how each model is, and whether it answers, over real HTTP."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.loading.loader import environment, load
from pointsman.dispatch.state.ownership import claim
from pointsman.ledger.health import HealthBook, HealthRow
from pointsman.ledger.ledger import Ledger
from pointsman.simulator import Answer, Fault, Match, RateLimit, Rule, Scenario, Simulator

Run = Callable[..., Any]
VENDORS = ("anthropic", "openai", "google")


@pytest.fixture(autouse=True)
def _vendors(simulator: Simulator, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulator.scenario = Scenario()
    for vendor in VENDORS:
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", "not-a-real-key")
        monkeypatch.setenv(f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL", simulator.url(vendor))


@pytest.fixture
def ledger(project: Path) -> Path:
    claim(load(project, environ=environment()))
    return project / ".pointsman" / "ledger.db"


def _keep(ledger: Path, row: HealthRow) -> None:
    book = HealthBook(ledger)
    book.put(row)
    deadline = time.monotonic() + 240
    while row not in book.load():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _listed(pointsman: Run) -> dict[str, Any]:
    return {one["name"]: one for one in json.loads(pointsman("provider", "list", "--json").stdout)}


def _probed(pointsman: Run, *names: str) -> tuple[int, dict[str, Any]]:
    ended = pointsman("provider", "probe", *names, "--json", "--timeout", "600")
    return ended.exit_code, {one["model"]: one for one in json.loads(ended.stdout)}


def test_the_list_tells_how_each_model_is(pointsman: Run, project: Path, ledger: Path) -> None:
    (project / "models.yaml").write_text("models: {openai/gpt-5.4-mini: {rpm: 500, tpm: 30000}}\n")
    assert pointsman("provider", "list").exit_code == 0
    assert not ledger.exists(), "looking made a ledger"
    now = time.time()
    _keep(ledger, HealthRow("anthropic", "claude-haiku-4-5", "", now + 3_000, "5 failures in a row", "ill", 1))
    _keep(ledger, HealthRow("openai", "gpt-5.5", "", now - 5, "rate limited for 9 s", "ill", 1))
    pointsman("provider", "off", "google", "--for", "600", "--reason", "maintenance")

    listed = _listed(pointsman)
    ill = listed["anthropic/claude-haiku-4-5"]
    assert (ill["state"], ill["reason"]) == ("open", "5 failures in a row")
    assert 0 < ill["seconds"] <= 3_000
    assert listed["openai/gpt-5.5"]["state"] == "half open"
    assert listed["google/gemini-3.5-flash"]["state"] == "off"
    assert listed["anthropic/claude-opus-4-7"]["state"] == "on"
    assert listed["deepseek/deepseek-v4-flash"]["state"] == "unusable"
    assert (listed["openai/gpt-5.4-mini"]["rpm"], listed["openai/gpt-5.4-mini"]["tpm"]) == (500, 30000)
    shown = pointsman("provider", "list").stdout
    assert "500 requests, 30000 tokens" in shown
    assert "5 failures in a row" in shown


def test_every_usable_model_is_asked_for_one_word(pointsman: Run, simulator: Simulator, ledger: Path) -> None:
    simulator.log.clear()
    code, found = _probed(pointsman)
    assert code == 0
    assert {name.partition("/")[0] for name in found} == set(VENDORS)
    assert all(one["ok"] and one["seconds"] < 600 and one["detail"] == "" for one in found.values())
    assert 0 < sum(one["cost"] for one in found.values()) < 0.05
    assert len(simulator.log) == len(found)
    with Ledger(ledger) as kept:
        calls = kept.calls()
    assert {call.agent for call in calls} == {"probe"}
    assert {call.model for call in calls} == set(found)
    assert all(call.usage is not None and call.usage.output <= 16 for call in calls)


def test_a_provider_or_a_model_can_be_named(pointsman: Run) -> None:
    assert set(_probed(pointsman, "google")[1]) == {"google/gemini-3.5-flash", "google/gemini-3.1-pro"}
    assert set(_probed(pointsman, "openai/gpt-5.5")[1]) == {"openai/gpt-5.5"}
    ended = pointsman("provider", "probe", "opnai")
    assert ended.exit_code == 2
    assert "did you mean 'openai'?" in ended.stderr


def test_one_that_fails_or_hangs_is_told_and_ends_with_code_1(
    pointsman: Run, simulator: Simulator, ledger: Path, leap: Any
) -> None:
    simulator.scenario = Scenario(
        rules=(
            Rule(match=Match(vendor="anthropic"), fault=Fault("overloaded")),
            Rule(match=Match(vendor="google"), fault=Fault("hang")),
        )
    )

    def all_but_google_have_answered() -> bool:
        if sum(served.fault == "hang" for served in simulator.log) < 2 or not ledger.exists():
            return False
        with Ledger(ledger) as kept:
            answered = {call.model for call in kept.calls()}
        return {"anthropic/claude-opus-4-7", "openai/gpt-5.5", "openai/gpt-5.4-mini"} <= answered

    with leap.when(all_but_google_have_answered, 101):
        ended = pointsman("provider", "probe", "--timeout", "100")
    assert ended.exit_code == 1
    lines = {words[1]: words for words in map(str.split, ended.stdout.splitlines())}
    assert lines["openai/gpt-5.5"][0] == "ok"
    assert lines["anthropic/claude-opus-4-7"][0] == "failed"
    assert "overloaded:" in lines["anthropic/claude-opus-4-7"]
    assert "timeout:" in lines["google/gemini-3.5-flash"]


def test_a_model_that_thinks_away_its_few_tokens_is_well(pointsman: Run, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=(Rule(answer=Answer(text="I am here, and have much to say. " * 40)),))
    code, found = _probed(pointsman, "openai/gpt-5.5")
    assert (code, found["openai/gpt-5.5"]["ok"]) == (0, True)


def test_one_that_cannot_be_used_is_told_where_it_was_named(pointsman: Run) -> None:
    code, found = _probed(pointsman, "deepseek/deepseek-v4-flash")
    assert code == 1
    assert found["deepseek/deepseek-v4-flash"]["detail"] == "no key: set DEEPSEEK_API_KEY"


@pytest.mark.parametrize("cause", ["ill", "down", "slow"])
def test_a_probe_that_is_answered_closes_an_open_circuit(pointsman: Run, ledger: Path, cause: str) -> None:
    _keep(ledger, HealthRow("openai", "gpt-5.5", "", time.time() + 3_000, "something", cause, 3))
    assert _listed(pointsman)["openai/gpt-5.5"]["state"] == "open"
    assert _probed(pointsman, "openai/gpt-5.5")[0] == 0
    deadline = time.monotonic() + 240
    while _listed(pointsman)["openai/gpt-5.5"]["state"] != "on":
        assert time.monotonic() < deadline


def test_a_probe_that_is_not_answered_keeps_it_open(pointsman: Run, simulator: Simulator, ledger: Path) -> None:
    simulator.scenario = Scenario(rules=(Rule(fault=Fault("overloaded")),))
    _keep(ledger, HealthRow("openai", "gpt-5.5", "", time.time() + 1, "5 failures in a row", "ill", 3))
    assert _probed(pointsman, "openai/gpt-5.5")[0] == 1
    deadline = time.monotonic() + 240
    while (state := _listed(pointsman)["openai/gpt-5.5"])["reason"] != "the probe failed: overloaded":
        assert time.monotonic() < deadline
    assert state["seconds"] > 30


def test_a_probe_tells_what_is_left_of_the_limits(pointsman: Run, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rate_limits={"anthropic": RateLimit(requests_per_minute=6)})
    _, found = _probed(pointsman, "anthropic/claude-haiku-4-5")
    # One in ten seconds comes back.
    assert 5 <= found["anthropic/claude-haiku-4-5"]["left"]["requests"] <= 6
    shown = pointsman("provider", "probe", "anthropic/claude-haiku-4-5").stdout
    assert re.search(r"[4-6] requests left$", shown.rstrip())


def test_an_answer_given_before_is_no_answer_to_a_probe(pointsman: Run, own: Path, simulator: Simulator) -> None:
    (own / "routing.yaml").write_text("routing: {cache: {mode: exact}}\n")
    for _ in range(2):
        simulator.log.clear()
        assert _probed(pointsman, "openai/gpt-5.5")[0] == 0
        assert len(simulator.log) == 1


def test_without_any_model_there_is_nothing_to_ask(pointsman: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for vendor in VENDORS:
        monkeypatch.delenv(f"{vendor.upper()}_API_KEY")
    ended = pointsman("provider", "probe")
    assert ended.exit_code == 1
    assert ended.stdout == "there is no model to ask: pointsman doctor says what is missing\n"
