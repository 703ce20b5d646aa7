"""``pointsman runs undo``: what a run edited is put back at the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.simulator import Answer, Match, Rule, Scenario, Simulator
from pointsman.simulator.request import ToolCall

Run = Callable[..., Any]
VENDORS = ("anthropic", "openai", "google")
FLOW = """
from pointsman import Agent, Workflow

coder = Agent("coder", instructions="EDIT", tools=["write_file", "edit_file"], kind="act")
flow = Workflow("coding", [coder], plan="in_order")
"""


@pytest.fixture
def edited(pointsman: Run, simulator: Simulator, project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run whose agent edited one file and made another."""
    for vendor in VENDORS:
        monkeypatch.setenv(f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL", simulator.url(vendor))
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", f"sk-simulated-{vendor}")
    (project / "coding.py").write_text(FLOW)
    (project / "a.txt").write_text("one\n")

    def answer(request: Any) -> Answer:
        if any(one.name == "Verdict" for one in request.tools):
            return Answer(tool_calls=[ToolCall("Verdict", {"ok": True, "reason": "it holds"})])
        calls = (
            ToolCall("edit_file", {"path": "a.txt", "old": "one", "new": "two"}),
            ToolCall("write_file", {"path": "new/b.txt", "content": "b\n"}),
        )
        return Answer(tool_calls=calls)

    done = Rule(match=Match(contains_any_message="+two"), answer=Answer(text="it is edited"))
    simulator.scenario = Scenario(rules=(done, Rule(answer=answer)))
    ran = pointsman("run", "coding.py:flow", "edit", "--json")
    assert ran.exit_code == 0, ran.output
    assert (project / "a.txt").read_text() == "two\n"
    return str(json.loads(ran.stdout)["run"])


@pytest.mark.slow
def test_a_run_is_undone_and_that_is_taken_back(pointsman: Run, edited: str, project: Path) -> None:
    shown = pointsman("runs", "undo", edited, "--dry-run")
    assert shown.exit_code == 0
    assert "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-two\n+one\n" in shown.stdout
    assert "it would be deleted: new/b.txt" in shown.stderr
    assert (project / "new/b.txt").exists()
    undone = pointsman("runs", "undo", edited)
    assert (undone.exit_code, (project / "a.txt").read_text(), (project / "new").exists()) == (0, "one\n", False)
    assert pointsman("runs", "undo", edited).stdout == "no edit is left to be undone\n"
    told = json.loads(pointsman("runs", "undo", edited, "--redo", "--json").stdout)
    assert sorted((one["path"], one["change"]) for one in told["files"]) == [
        ("a.txt", "restored"),
        ("new/b.txt", "made again"),
    ]
    assert (project / "a.txt").read_text() == "two\n"
    assert pointsman("runs", "undo", edited, "--last").exit_code == 0


@pytest.mark.slow
def test_what_somebody_else_changed_is_refused_by_name_with_what_to_do(
    pointsman: Run, edited: str, project: Path
) -> None:
    (project / "a.txt").write_text("mine\n")
    refused = pointsman("runs", "undo", edited)
    assert refused.exit_code == 2
    assert refused.stderr.startswith(
        "error: nothing was put back: 'a.txt' was changed by somebody else since (--dry-run"
    )
    assert (project / "a.txt").read_text() == "mine\n"
    assert (project / "new/b.txt").exists()
    dry = pointsman("runs", "undo", edited, "--dry-run", "--json")
    assert dry.exit_code == 2
    problems = {one["path"]: one["problem"] for one in json.loads(dry.stdout)["files"]}
    assert problems == {"a.txt": "'a.txt' was changed by somebody else since", "new/b.txt": ""}
    assert pointsman("runs", "undo", edited, "new/b.txt").exit_code == 0
    assert pointsman("runs", "undo", edited, "--force").exit_code == 0
    assert (project / "a.txt").read_text() == "one\n"


@pytest.mark.slow
def test_what_cannot_be_meant_is_said(pointsman: Run, edited: str) -> None:
    assert "there is no run 'nothing'" in pointsman("runs", "undo", "nothing").stderr
    assert "give one of them" in pointsman("runs", "undo", edited, "--last", "--redo").stderr
    assert "it edited 'a.txt', 'new/b.txt'" in pointsman("runs", "undo", edited, "c.txt").stderr
    pruned = pointsman("runs", "prune", "--older-than", "0")
    assert pruned.exit_code == 0
    assert pointsman("runs", "undo", edited).stdout == "no edit is left to be undone\n"
