"""A failing test is mended in the sandbox, whatever mistakes the model makes on the way, and a diff is what is left."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman import Agent, ConfigError, Fix, Runtime, Workflow, code_fix
from pointsman.simulator import Answer, Rule, Scenario, Simulator
from pointsman.tools import probe

Make = Callable[..., Runtime]
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not probe().working, reason=str(probe()))


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The twenty repositories, as ``benchmarks/broken_repositories.py`` has them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("broken_repositories")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_every_broken_repository_ends_as_it_should_and_is_clean_but_for_its_diff(
    broken: Any, tmp_path: Path, number: int
) -> None:
    assert len(broken.CASES) == 20
    case = broken.CASES[number]
    assert broken.carried_out(case, tmp_path, seed=2).wrong == [], case.name


def _model(simulator: Simulator, *turns: Any, verdict: Any = None) -> list[str]:
    """What the coder says; who was asked what."""
    left, asked = list(turns), list[str]()

    def answer(request: Any) -> Answer:
        tools = {tool.name for tool in request.tools}
        if "apply_patch" in tools:
            asked.append("coder")
            turn = left.pop(0) if left else "done"
            if isinstance(turn, str):
                return Answer(text=turn)
            return Answer(tool_calls=[{"name": turn[0], "arguments": turn[1]}])
        if "search_files" in tools:
            asked.append("finder")
            return Answer(text="In add.py.")
        asked.append("verifier")
        said = verdict or {"ok": True, "reason": "it does"}
        if request.schema is not None:
            return Answer(json=said)
        return Answer(tool_calls=[{"name": next(iter(tools)), "arguments": said}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    return asked


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "add.py").write_text("def add(a, b):\n    return a - b\n")
    (tmp_path / "test_add.py").write_text("from add import add\n\nassert add(1, 2) == 3\n")
    return tmp_path


MEND = ("edit_file", {"path": "add.py", "old": "a - b", "new": "a + b"})
DIFF = "--- a/add.py\n+++ b/add.py\n@@ -1,2 +1,2 @@\n def add(a, b):\n-    return a - b\n+    return a + b\n"


def _flow(home: Runtime, **how: Any) -> Workflow[Fix | None]:
    return code_fix("mend", test="python3 test_add.py", coder=Agent.named("coding", home), **how)


@pytest.mark.slow
def test_a_fix_tells_how_it_came_about_and_is_verified_by_another_author(
    runtime: Make, simulator: Simulator, repository: Path
) -> None:
    asked = _model(simulator, MEND, "done")
    home = runtime()
    result = _flow(home).run("The test fails.", runtime=home)
    fix = result.output
    assert isinstance(fix, Fix)
    assert (fix.fixed, fix.attempts, fix.cause, fix.verdict, fix.diff) == (True, 1, "In add.py.", "it does", DIFF)
    assert "exit code: 1" in fix.before
    assert fix.after == "exit code: 0"
    assert asked == ["finder", "coder", "coder", "verifier"]
    assert [step.id for step in result.steps] == ["reproduce", "locate", "edit-1", "test-1"]
    vendors = {call.agent: call.model.partition("/")[0] for call in result.calls}
    assert vendors["verifier"] != vendors["coding"]
    assert [row.tool for row in home.ledger.effects(result.run)].count("edit_file") == 1


def test_where_the_test_passes_already_no_model_is_asked(runtime: Make, simulator: Simulator, repository: Path) -> None:
    (repository / "add.py").write_text("def add(a, b):\n    return a + b\n")
    asked = _model(simulator)
    home = runtime()
    result = _flow(home).run("The test fails.", runtime=home)
    assert (result.status, result.output and result.output.fixed, asked) == ("done", True, [])
    assert "the test passes already: nothing was changed" in result.notes


@pytest.mark.slow
def test_a_diff_that_is_doubted_to_the_end_goes_to_a_person(
    runtime: Make, simulator: Simulator, repository: Path
) -> None:
    asked = _model(simulator, MEND, "done", verdict={"ok": False, "reason": "it hides the fault"})
    home = runtime()
    result = _flow(home, attempts=2).run("The test fails.", runtime=home)
    assert result.status == "handed_over"
    assert result.output is not None
    assert (result.output.fixed, result.output.diff) == (False, DIFF)
    assert asked.count("verifier") == 2
    (waiting,) = home.ledger.handoffs(open_only=True)
    assert "it hides the fault" in waiting.reason


@pytest.mark.slow
def test_tests_may_be_changed_where_that_is_said(runtime: Make, simulator: Simulator, repository: Path) -> None:
    _model(simulator, ("edit_file", {"path": "test_add.py", "old": "== 3", "new": "== -1"}), "done")
    home = runtime()
    result = _flow(home, change_tests=True).run("add subtracts on purpose.", runtime=home)
    assert result.output is not None
    assert (result.output.fixed, result.output.changed_tests) == (True, ["test_add.py"])
    assert "tests were changed: test_add.py" in result.notes


def test_a_test_that_cannot_be_run_is_the_users_to_mend(runtime: Make, repository: Path) -> None:
    home = runtime()
    flow = code_fix("mend", test="no_such_program", coder=Agent.named("coding", home))
    result = flow.run("The test fails.", runtime=home)
    assert (result.status, len(result.calls)) == ("failed", 0)
    assert "the test cannot be run" in str(result.error)
    with pytest.raises(ConfigError, match="give a whole number of 1 or more"):
        _flow(home, attempts=0)
