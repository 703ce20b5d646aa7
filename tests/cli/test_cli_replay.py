"""`pointsman replay`: another routing.yaml over what the ledger has, with nothing asked of any model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.loading.loader import load
from pointsman.configs.words import StepKind
from pointsman.dispatch.context import RunContext, entered
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.model import RoutedChatModel
from pointsman.ledger.rows import RunRow
from pointsman.simulator import Simulator

Run = Callable[..., Any]
VENDORS = ("anthropic", "openai", "google")
MINE = "{id: mine, reason: try it, when: {kind: transform}, tier: standard, prefer: google/gemini-3.5-flash}"
NEW = f"routing:\n  rules:\n    - {MINE}\n"


@pytest.fixture
def recorded(project: Path, simulator: Simulator) -> Path:
    """A project whose ledger holds one run of seven steps."""
    environ = {f"{vendor.upper()}_API_KEY": "not-a-real-key" for vendor in VENDORS}
    environ |= {f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL": simulator.url(vendor) for vendor in VENDORS}
    home = Dispatcher(load(project, environ=environ))
    home.ledger.record(RunRow(id="run-1", target="x", started=1.0))
    with entered(run=RunContext(id="run-1")):
        for number in range(7):
            kind, prefer = (StepKind.TRANSFORM, None) if number < 2 else (StepKind.GATHER, "google/gemini-3.5-flash")
            RoutedChatModel(kind=kind, prefer=prefer, dispatcher=home).invoke("Say hello to Ada")
    home.close()
    (project / "new.yaml").write_text(NEW)
    return project


def test_a_policy_is_replayed_and_told_in_words_and_as_json(pointsman: Run, recorded: Path) -> None:
    made = json.loads(pointsman("replay", "--policy", "new.yaml", "--json").stdout)
    assert (made["decisions"], made["same"], made["other"]) == (7, 5, 2)
    assert made["cost"]["change"]["low"] <= made["cost"]["change"]["value"] <= made["cost"]["change"]["high"]
    (change,) = made["changes"]
    assert (change["decisions"], change["gained"], change["lost"]) == (2, ["mine"], ["default.economy"])

    told = pointsman("replay", "--policy", "new.yaml", "--run", "run-1").stdout
    assert "5 as before, 2 another model, 0 no model at all" in told
    assert "+mine -default.economy" in told
    assert "google/gemini-3.5-flash" in told


def test_each_decision_can_be_had_as_a_line(pointsman: Run, recorded: Path) -> None:
    lines = pointsman("replay", "--policy", "new.yaml", "--each", "--json").stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["outcome"] for row in rows[:-1]] == ["other", "other", *["same"] * 5]
    assert rows[-1]["decisions"] == 7


def test_the_new_file_stands_in_for_routing_yaml_and_everything_else_stays(pointsman: Run, recorded: Path) -> None:
    (recorded / "routing.yaml").write_text(NEW.replace("standard", "frontier"))
    (recorded / "risk.yaml").write_text("risk: {floors: {low: advanced}}\n")
    made = json.loads(pointsman("replay", "--policy", "new.yaml", "--json").stdout)
    assert {tier["tier"] for tier in made["tiers"] if tier["new"]} == {"advanced"}
    assert made["floor"]["higher"] == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("routing: {strategy: best}\n", "new.yaml:1: "),
        ("routing:\n  rules:\n    - {id: a, reason: b, when: {mood: sad}, tier: economy}\n", "new.yaml:3: "),
        ("models: {}\n", "new.yaml:1: 'models' belongs in models.yaml"),
    ],
)
def test_a_broken_policy_is_told_with_its_own_name_and_line(
    pointsman: Run, recorded: Path, text: str, said: str
) -> None:
    (recorded / "new.yaml").write_text(text)
    ended = pointsman("replay", "--policy", "new.yaml")
    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"error: {said}")
    assert ended.stderr.count("\n") == 1


def test_what_is_missing_is_named(pointsman: Run, project: Path) -> None:
    (project / "new.yaml").write_text(NEW)
    for words, said in (
        (["--policy", "old.yaml"], "old.yaml: there is no such policy file"),
        (["--policy", "new.yaml"], "nothing has been recorded yet"),
        (["--policy", "new.yaml", "--since", "soon"], "--since takes a span"),
        ([], "Missing option '--policy'"),
    ):
        ended = pointsman("replay", *words)
        assert ended.exit_code == 2
        assert said in ended.stderr
    assert not (project / ".pointsman").exists()


def test_a_run_that_is_none_is_refused(pointsman: Run, recorded: Path) -> None:
    ended = pointsman("replay", "--policy", "new.yaml", "--run", "nobody")
    assert (ended.exit_code, "there is no run 'nobody'" in ended.stderr) == (2, True)
