"""`pointsman run --file`, `--thread` and `--dry-run`, `validate`, and targets that agents.yaml names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.simulator import Answer, Rule, Scenario, Simulator

Run = Callable[..., Any]
VENDORS = ("anthropic", "openai", "google")

YAML = """
agents:
  triage: {instructions: Sort it., kind: transform}
  answer: {instructions: Answer it., kind: transform}
workflows:
  sorted:
    agents: [triage, answer]
    plan: in_order
"""


@pytest.fixture
def vendors(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """Three vendors on loopback, with keys."""
    for vendor in VENDORS:
        monkeypatch.setenv(f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL", simulator.url(vendor))
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", f"sk-simulated-{vendor}")
    return simulator


@pytest.mark.slow
def test_a_file_goes_with_the_input_and_a_thread_goes_on(pointsman: Run, desk: Path, vendors: Simulator) -> None:
    seen: list[Any] = []

    def answer(request: Any) -> Answer:
        seen.append(request)
        return Answer(text="it says 42")

    vendors.scenario = Scenario(rules=[Rule(answer=answer)])
    (desk / "bill.pdf").write_bytes(b"%PDF-1.4\n%%EOF\n")
    (desk / "notes.txt").write_text("heron")
    named = ("--file", "bill.pdf", "--file", "notes.txt", "--thread", "al")
    ended = pointsman("run", "desk.py:helper", "What does it say?", *named)
    assert ended.exit_code == 0, ended.stderr
    assert sum(message.documents for message in seen[0].messages) == 1
    assert "heron" in str(seen[0].body)
    assert pointsman("run", "desk.py:helper", "And now?", "--thread", "al").exit_code == 0
    assert "user: What does it say?" in str(seen[1].messages)
    assert "bill.pdf (application/pdf)" in str(seen[1].messages)
    assert not [path for path in (desk / ".pointsman" / "files").rglob("*") if path.is_file()]
    gone = pointsman("run", "desk.py:helper", "See", "--file", "nowhere.png")
    assert (gone.exit_code, len(seen)) == (2, 2)
    assert "nowhere.png: cannot be attached: No such file or directory" in gone.stderr


@pytest.mark.slow
def test_a_dry_run_calls_nothing_leaves_no_trace_and_ends_by_whether_it_could_run(
    pointsman: Run, desk: Path, vendors: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = pointsman("run", "desk.py:clerk", "--dry-run")
    assert told.exit_code == 0, told.stderr
    assert "delete_account" in told.stdout
    assert "nothing was called; at most" in told.stderr
    made = json.loads(pointsman("run", "desk.py:flow", "good morning", "--dry-run", "--json").stdout)
    assert [(step["agent"], step["needs"]) for step in made["steps"]] == [("first", []), ("second", ["s1"])]
    assert (made["runnable"], made["plan"]) == (True, "in_order")
    assert len(vendors.log) == 0
    assert json.loads(pointsman("runs", "--json").stdout) == []
    for vendor in VENDORS:
        monkeypatch.delenv(f"{vendor.upper()}_API_KEY")
    refused = pointsman("run", "desk.py:clerk", "--dry-run")
    assert refused.exit_code == 2
    assert "clerk cannot run: no model can run clerk" in refused.stderr


def test_validate_tells_what_is_wrong_and_ends_by_it(
    pointsman: Run, desk: Path, vendors: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (desk / "desk.py").open("a") as file:
        file.write('capped = Agent("capped", tools=[delete_account], max_tier="standard")\n')
    assert pointsman("validate", "desk.py:flow").exit_code == 0
    wrong = pointsman("validate", "desk.py:capped")
    assert wrong.exit_code == 2
    assert "error  tier.ceiling  no model can run capped" in wrong.stdout
    assert "capped: 1 errors, 0 warnings" in wrong.stderr
    made = json.loads(pointsman("validate", "desk.py:capped", "--json").stdout)
    assert (made["valid"], [problem["code"] for problem in made["problems"]]) == (False, ["tier.ceiling"])
    assert len(vendors.log) == 0


@pytest.mark.slow
def test_a_workflow_or_agent_of_agents_yaml_runs_by_its_name(
    pointsman: Run, project: Path, vendors: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "agents.yaml").write_text(YAML)
    monkeypatch.setenv("POINTSMAN_TRUST", "1")
    ended = pointsman("run", "sorted", "good morning", "--json")
    assert ended.exit_code == 0, ended.stderr
    assert [step["agent"] for step in json.loads(ended.stdout)["steps"]] == ["triage", "answer"]
    assert pointsman("run", "triage", "good morning").exit_code == 0
    assert pointsman("validate", "sorted").exit_code == 0
    assert "plan" in pointsman("graph", "sorted", "--mermaid").stdout


@pytest.mark.slow
def test_a_stream_of_json_tells_of_steps_and_tools_too(pointsman: Run, desk: Path, vendors: Simulator) -> None:
    lines = pointsman("run", "desk.py:flow", "good morning", "--stream", "--json").stdout.splitlines()
    told = [json.loads(line) for line in lines]
    kinds = [event["event"] for event in told if event["event"] not in ("token", "call")]
    assert kinds == ["began", "step", "began", "step", "result"]
    assert told[0] == {"event": "began", "step": "s1", "agent": "first", "path": []}
