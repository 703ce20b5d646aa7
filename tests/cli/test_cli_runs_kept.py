"""Runs that are kept: stopped in the middle of an act, cancelled from beside, forked, told apart and pruned."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.simulator import Answer, Match, Rule, Scenario, Simulator
from pointsman.simulator.request import ToolCall

Run = Callable[..., Any]
VENDORS = ("anthropic", "openai", "google")
COMMAND = ["-c", "from pointsman.cli.main import main; main()"]
FLOW = """
import os, signal, time
from pathlib import Path
from pointsman import Agent, Workflow, tool

@tool(effect="write")
def mark(step: str) -> str:
    \"\"\"Mark a step.\"\"\"
    with open("marks.txt", "a") as file:
        file.write(step + "\\n")
    if signals := os.environ.get("SIGNAL"):
        os.kill(os.getpid(), getattr(signal, signals))
        time.sleep(0.2)
    if gate := os.environ.get("GATE"):
        Path("inside").touch()
        while not Path(gate).exists():
            time.sleep(0.005)
    return "it is marked"

first = Agent("first", kind="transform")
marker = Agent("marker", instructions="MARK", tools=[mark], tier="economy")
flow = Workflow("marking", [first, marker], plan="in_order")
"""


@pytest.fixture(autouse=True)
def vendors(simulator: Simulator, project: Path, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """Three vendors on loopback, with keys, and a flow whose second step acts."""
    for vendor in VENDORS:
        monkeypatch.setenv(f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL", simulator.url(vendor))
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", f"sk-simulated-{vendor}")
    (project / "marking.py").write_text(FLOW)

    def answer(request: Any) -> Answer:
        if any(one.name == "Verdict" for one in request.tools):
            return Answer(tool_calls=[ToolCall("Verdict", {"ok": True, "reason": "it holds"})])
        return Answer(tool_calls=(ToolCall("mark", {"step": "here"}),))

    simulator.scenario = Scenario(
        rules=(
            Rule(match=Match(contains_any_message="it is marked"), answer=Answer(text="so it is")),
            Rule(match=Match(contains_any_message="MARK"), answer=answer),
            Rule(match=Match(contains_any_message="mark("), answer=answer),
            Rule(answer=lambda request: answer(request) if request.tools else Answer(text="the first is done")),
        )
    )
    return simulator


def _marks() -> list[str]:
    return Path("marks.txt").read_text().split()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_lets_the_act_under_way_end_and_the_run_says_how_to_go_on(
    pointsman: Run, programs: Any, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    monkeypatch.setenv("SIGNAL", name)
    ended = programs.run([*COMMAND, "run", "marking.py:flow", "go"])
    monkeypatch.delenv("SIGNAL")
    assert ended.returncode == code, ended.stderr
    (run,) = json.loads(pointsman("runs", "--json").stdout)
    assert run["status"] == "interrupted"
    assert f"what is done is kept; go on with: pointsman resume {run['run']}" in ended.stderr
    # It is known how the act ended, so nobody is asked and nothing is done twice.
    assert [act["outcome"] for act in _shown(pointsman, run["run"])["acts"]] == ["done"]
    assert pointsman("resume", run["run"]).exit_code == 0
    assert _marks() == ["here"]


def _shown(pointsman: Run, run: str) -> Any:
    return json.loads(pointsman("runs", "show", run, "--json").stdout)


@pytest.mark.slow
def test_a_run_is_cancelled_by_another_process_and_goes_on_when_it_is_taken_up(
    pointsman: Run, programs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATE", "gate")
    quick = "import pointsman.agents.lease.heartbeat as h; h.BEAT_SECONDS = 0.01; "
    words = ["-c", quick + COMMAND[1], "run", "marking.py:flow", "go"]
    with programs.start(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while not Path("inside").exists():
            assert running.poll() is None, running.communicate()
            time.sleep(0.01)
        (run,) = json.loads(pointsman("runs", "--json").stdout)
        asked = json.loads(pointsman("runs", "cancel", run["run"], "--json").stdout)
        assert (asked["run"], asked["asked"]["process"]) == (run["run"], running.pid)
        Path("gate").touch()
        _, said = running.communicate(timeout=240)
    assert running.returncode == 1
    assert f"was cancelled on request (pointsman runs cancel); go on with: pointsman resume {run['run']}" in said
    assert _shown(pointsman, run["run"])["status"] == "interrupted"
    refused = pointsman("runs", "cancel", run["run"])
    assert refused.exit_code == 2
    assert "nothing works on run" in refused.stderr
    assert pointsman("resume", run["run"]).exit_code == 0
    assert _marks() == ["here"]


@pytest.mark.slow
def test_a_fork_does_a_step_anew_but_none_of_its_acts_and_the_two_runs_can_be_told_apart(
    pointsman: Run, vendors: Simulator
) -> None:
    brain = vendors.scenario
    vendors.scenario = Scenario(
        rules=(Rule(match=Match(contains_any_message="it is marked"), answer=Answer(text="")), *brain.rules)
    )
    assert pointsman("run", "marking.py:flow", "go").exit_code == 1
    (run,) = json.loads(pointsman("runs", "--json").stdout)
    assert _marks() == ["here"]
    vendors.scenario = brain
    step = _shown(pointsman, run["run"])["steps"][0]["id"]
    forked = pointsman("runs", "fork", run["run"], "--at", step)
    assert forked.exit_code == 0, forked.stderr
    made = forked.stdout.strip()
    assert f"go on with: pointsman resume {made}" in forked.stderr
    assert _shown(pointsman, made)["steps"] == []
    assert pointsman("resume", made).exit_code == 0
    assert _shown(pointsman, made)["status"] == "done"
    assert _shown(pointsman, run["run"])["status"] == "failed"

    told = json.loads(pointsman("runs", "diff", run["run"], made, "--json").stdout)
    assert {"step": "", "field": "status", "values": ["failed", "done"]} in told["differences"]
    assert made in pointsman("runs", "diff", run["run"], made).stdout
    assert pointsman("runs", "diff", made, made).stdout == "they do not differ\n"
    unknown = pointsman("runs", "fork", run["run"], "--at", "nosuch")
    assert unknown.exit_code == 2
    assert "cannot be forked there" in unknown.stderr


@pytest.mark.slow
def test_pruning_deletes_what_is_kept_of_old_runs_and_leaves_what_they_did(pointsman: Run) -> None:
    assert pointsman("run", "marking.py:flow", "go").exit_code == 0
    (run,) = json.loads(pointsman("runs", "--json").stdout)
    assert pointsman("runs", "prune").stdout == "0 runs pruned\n"
    assert json.loads(pointsman("runs", "prune", "--older-than", "0", "--json").stdout) == {"pruned": [run["run"]]}
    assert len(_shown(pointsman, run["run"])["acts"]) == 1
    refused = pointsman("resume", run["run"])
    assert refused.exit_code == 2
    assert "nothing is kept of it" in refused.stderr
