"""`--sandbox`: a run confines its commands, is refused, or has a person asked who sees that nothing confines them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman.simulator import Answer, Match, Rule, Scenario, Simulator
from pointsman.simulator.request import ToolCall
from pointsman.tools import probe

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def vendors(simulator: Simulator, project: Path, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """A vendor whose model has one command run, by whatever name the tool has, and an agent with a shell."""
    for vendor in ("anthropic", "openai", "google"):
        monkeypatch.setenv(f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL", simulator.url(vendor))
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", f"sk-simulated-{vendor}")
    (project / "term.py").write_text(
        "from pointsman import Agent\n"
        "term = Agent('term', instructions='Work in the shell.', tools=['run_shell'], kind='act')\n"
    )
    return simulator


def _scripted(simulator: Simulator, tool: str, text: str = "touch made; cat term.py | wc -l") -> None:
    command = ToolCall(tool, {"command": text})
    simulator.scenario = Scenario(
        rules=(
            Rule(
                match=Match(contains_any_message="You check another"), answer=Answer(text='{"ok": true, "reason": ""}')
            ),
            Rule(match=Match(contains_any_message="exit code"), answer=Answer(text="it is made")),
            Rule(answer=Answer(tool_calls=(command,))),
        )
    )


@pytest.fixture
def no_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which bubblewrap is missing."""
    found = shutil.which("bash")
    assert found is not None
    (tmp_path / "bin").mkdir()
    for name in ("bash", "touch", "cat", "wc", "env", "grep"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    probe.cache_clear()
    yield
    probe.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("no_sandbox")
def test_without_a_sandbox_a_run_that_nobody_attends_is_refused_before_it_costs_anything(
    pointsman: Run, vendors: Simulator, project: Path
) -> None:
    _scripted(vendors, "run_shell")
    ended = pointsman("run", "term.py:term", "make it", "--json")
    assert ended.exit_code == 2
    assert "run_shell needs a sandbox, and there is none: bubblewrap is missing" in ended.stderr
    assert "apt-get install bubblewrap" in ended.stderr
    assert list(vendors.log) == []
    assert pointsman("run", "term.py:term", "make it", "--sandbox", "required").exit_code == 2
    assert "'required', 'ask'" in pointsman("run", "term.py:term", "make it", "--sandbox", "off").stderr


@pytest.mark.slow
@pytest.mark.usefixtures("no_sandbox")
def test_without_a_sandbox_a_person_may_be_asked_about_each_command_and_sees_it(
    pointsman: Run, vendors: Simulator, project: Path
) -> None:
    _scripted(vendors, "run_shell_UNSANDBOXED")
    ended = pointsman("run", "term.py:term", "make it", "--sandbox", "ask", "--json")
    assert ended.exit_code == 4, ended.stderr
    waiting = json.loads(ended.stdout)["pending"][0]
    assert (waiting["tool"], waiting["risk"]) == ("run_shell_UNSANDBOXED", "critical")
    unconfined = "UNSANDBOXED: it may do whatever you may, on all files and over the network"
    assert waiting["sandbox"] == unconfined
    assert f"  sandbox    {unconfined}\n" in pointsman("queue", "--full").stdout
    assert not (project / "made").exists()
    run = json.loads(ended.stdout)["run"]
    assert "run_shell_UNSANDBOXED" in pointsman("queue").stdout
    assert pointsman("resume", run, "--approve", "all").exit_code == 0
    assert (project / "made").exists()


@pytest.mark.slow
@pytest.mark.skipif(not probe().working, reason=str(probe()))
def test_in_a_sandbox_a_command_runs_without_a_question(pointsman: Run, vendors: Simulator, project: Path) -> None:
    _scripted(vendors, "run_shell")
    ended = pointsman("run", "term.py:term", "make it", "--json")
    assert ended.exit_code == 0, ended.stderr
    assert (project / "made").exists()
    story = json.loads(pointsman("runs", "show", json.loads(ended.stdout)["run"], "--json").stdout)
    assert [(act["tool"], act["effect"], act["outcome"]) for act in story["acts"]] == [("run_shell", "write", "done")]


@pytest.mark.slow
@pytest.mark.skipif(not probe().working, reason=str(probe()))
def test_in_a_sandbox_a_command_that_is_asked_about_waits_where_nobody_is_there_and_is_shown(
    pointsman: Run, vendors: Simulator, project: Path
) -> None:
    _scripted(vendors, "run_shell", "touch made && rm -rf old")
    (project / "old").mkdir()
    ended = pointsman("run", "term.py:term", "tidy up")
    assert ended.exit_code == 4, ended.stderr
    assert "run_shell counts as destructive with these arguments; writes files: touch" in ended.stderr
    assert "deletes files it names: rm old" in ended.stderr
    assert '"command": "touch made && rm -rf old"' in ended.stderr
    assert "  sandbox    in the sandbox: no network, workspace writable\n" in ended.stderr
    assert "  source     command: the model\n" in ended.stderr
    assert "answer with: pointsman resume" in ended.stderr
    assert ((project / "made").exists(), (project / "old").exists()) == (False, True)
    (run,) = json.loads(pointsman("runs", "--json").stdout)
    assert pointsman("resume", run["run"], "--approve", "all").exit_code == 0
    assert ((project / "made").exists(), (project / "old").exists()) == (True, False)


def test_a_project_may_be_stricter_about_the_sandbox_and_takes_trust_to_be_laxer(pointsman: Run, project: Path) -> None:
    (project / "risk.yaml").write_text("sandbox: {mode: required, memory: 1000000000, timeout: 5}\n")
    assert pointsman("config", "show").exit_code == 0
    for laxer in (
        "mode: ask",
        "domains: example.org",
        "memory: 100000000000",
        "readable: ~/.ssh",
        "environment: [A_KEY]",
    ):
        (project / "risk.yaml").write_text(f"sandbox: {{{laxer}}}\n")
        refused = pointsman("config", "show")
        assert (refused.exit_code, "sandbox." in refused.stderr) == (2, True), laxer
    (project / "risk.yaml").write_text("sandbox: {domain: example.org}\n")
    assert "unknown key 'domain' in sandbox; did you mean 'domains'?" in pointsman("config", "show").stderr
