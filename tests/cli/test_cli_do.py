"""`pointsman do`: a task at a shell, planned, shown, done in the sandbox, and summed up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.simulator import Answer, Rule, Scenario, Simulator
from pointsman.tools import probe

Run = Callable[..., Any]
pytestmark = pytest.mark.skipif(not probe().working, reason=str(probe()))

TODOS = [{"content": "count the notes", "status": "in_progress"}, {"content": "write it down", "status": "pending"}]


@pytest.fixture(autouse=True)
def vendors(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """Three vendors on loopback, with keys."""
    for vendor in ("anthropic", "openai", "google"):
        monkeypatch.setenv(f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL", simulator.url(vendor))
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", f"sk-simulated-{vendor}")
    return simulator


def _script(simulator: Simulator, *turns: Any) -> None:
    """What the terminal agent says; a verifier is content."""
    left = list(turns)

    def answer(request: Any) -> Answer:
        if any(tool.name == "Verdict" for tool in request.tools) or request.schema is not None:
            return Answer() if request.schema is None else Answer(json={"ok": True, "reason": "fine"})
        turn = left.pop(0) if left else "done"
        if isinstance(turn, str):
            return Answer(text=turn)
        return Answer(tool_calls=[{"name": turn[0], "arguments": turn[1]}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])


def _shell(command: str) -> tuple[str, dict[str, str]]:
    return "run_shell", {"command": command}


@pytest.mark.slow
def test_a_task_is_planned_shown_done_and_summed_up(pointsman: Run, project: Path, simulator: Simulator) -> None:
    (project / "a.md").write_text("a\n")
    _script(
        simulator, ("write_todos", {"todos": TODOS}), _shell("ls *.md | wc -l"), _shell("echo 1 > count"), "One note."
    )
    ended = pointsman("do", "Count the notes and write it down.")
    assert (ended.exit_code, ended.stdout) == (0, "One note.\n"), ended.stderr
    shown = ended.stderr
    for line in ("  [>] count the notes", "  [ ] write it down", "  $ ls *.md | wc -l", "    1", "  $ echo 1 > count"):
        assert f"{line}\n" in shown
    assert shown.index("$ ls") < shown.index("$ echo") < shown.index("done      run_shell  echo 1 > count")
    assert "+++ b/count\n@@ -0,0 +1 @@\n+1\n" in shown
    assert "run_shell  ls" not in shown
    assert (project / "count").read_text() == "1\n"


@pytest.mark.slow
def test_what_deletes_waits_for_a_person_or_is_refused(pointsman: Run, project: Path, simulator: Simulator) -> None:
    (project / "a.md").write_text("a\n")
    _script(simulator, _shell("rm -rf *"), "It is left to you.")
    waiting = pointsman("do", "Tidy up.")
    assert waiting.exit_code == 4
    assert "deletes the whole workspace" in waiting.stderr
    _script(simulator, _shell("rm -rf *"), "It was refused.")
    refused = pointsman("do", "Tidy up.", "--approval", "deny")
    assert refused.exit_code == 1
    assert refused.stdout.startswith("It was refused.\n")
    assert "rejected  run_shell  rm -rf *" in refused.stderr
    assert (project / "a.md").read_text() == "a\n"
    run = waiting.stderr.rpartition("pointsman resume ")[2].split()[0]
    _script(simulator, "Gone.")
    assert pointsman("resume", run, "--approve", "all").exit_code == 0
    assert not (project / "a.md").exists()


@pytest.mark.slow
def test_its_json_has_what_was_done_and_the_diff(pointsman: Run, project: Path, simulator: Simulator) -> None:
    _script(simulator, _shell("echo 1 > count"), "Done.")
    made = json.loads(pointsman("do", "Count.", "--json").stdout)
    assert (made["status"], made["output"], made["changed_tests"]) == ("done", "Done.", [])
    assert "+++ b/count" in made["diff"]
    (act,) = made["steps"][0]["acts"]
    assert (act["tool"], act["arguments"], act["outcome"]) == ("run_shell", {"command": "echo 1 > count"}, "done")
