"""`pointsman config check`: what cannot be meant is a fault, what only this machine lacks is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., Any]


def _policy(project: Path, text: str) -> None:
    (project / "configs").mkdir(exist_ok=True)
    (project / "configs" / "routing.yaml").write_text(f"routing:\n{text}", encoding="utf-8")


def test_the_built_in_policy_has_no_fault_and_a_missing_key_is_none(pointsman: Run) -> None:
    ended = pointsman("config", "check", "--json")
    assert ended.exit_code == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert said["faults"] == []
    # What runs on this machine works without a key, for its tasks.
    ondevice, economy = said["notes"]
    assert ondevice == (
        "tier ondevice: only ondevice/wordllama-256 of this tier or above can be used, and for some tasks: "
        "answer, classify, extract, summarise"
    )
    assert economy == "tier economy: no model of this tier or above can be used, and risk medium demands one"


def test_a_rule_of_the_projects_own_that_never_applies_is_a_fault_and_a_built_in_one_it_hides_is_not(
    pointsman: Run, project: Path
) -> None:
    _policy(
        project,
        "  rules:\n"
        "    - {id: all, reason: everything, tier: economy}\n"
        "    - {id: late, reason: too late, when: {task: code}, tier: frontier}\n",
    )
    ended = pointsman("config", "check")
    assert ended.exit_code == 1
    (fault,) = [line for line in ended.stdout.splitlines() if line.startswith("fault")]
    assert fault == "fault  rule late: it can never apply: rule all names a tier first; move it above that rule"


def test_what_a_class_of_users_may_not_do_is_told(pointsman: Run, project: Path) -> None:
    _policy(project, "  classes: {guest: {tiers: [economy]}}\n")
    ended = pointsman("config", "check")
    assert ended.exit_code == 0
    assert "class guest: may use no model of tier standard or above, which risk medium demands" in ended.stdout


def test_a_rule_about_a_feature_that_does_not_exist_is_named_with_its_line(pointsman: Run, project: Path) -> None:
    _policy(project, "  rules:\n    - {id: typo, reason: x, when: {complexty: {min: 1}}, tier: frontier}\n")
    ended = pointsman("config", "check")
    assert ended.exit_code == 2
    assert "configs/routing.yaml:3" in ended.stderr
    assert "complexity" in ended.stderr


def test_a_file_of_the_project_that_is_not_read_is_named(pointsman: Run, project: Path) -> None:
    (project / "risk.yaml").write_text("risk: {}\n", encoding="utf-8")
    assert "not read" not in pointsman("config", "check").stdout
    _policy(project, "  strategy: quality\n")
    said = "note   risk.yaml is not read, as this project has a folder configs: move it there"
    ended = pointsman("config", "check")
    assert (ended.exit_code, said in ended.stdout.splitlines()) == (0, True)
    assert "not read" not in pointsman("config", "check", "--config", "configs").stdout
