"""The diff that a run leaves: what its file tools and its commands changed, as one, and which of it are tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman import Runtime, Status, run_scope, runs
from pointsman.agents.journal.changes import is_test
from pointsman.configs.loading.loader import load
from pointsman.tools import probe
from pointsman.tools.files import noticing

confined = pytest.mark.skipif(not probe().working, reason=str(probe()))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Runtime]:
    """A runtime on a project with a few files."""
    folder = tmp_path / "project"
    (folder / "tests").mkdir(parents=True)
    (folder / "a.txt").write_text("one\n")
    (folder / "gone.txt").write_text("gone\n")
    (folder / "tests" / "test_a.py").write_text("assert True\n")
    with Runtime(load(folder, environ={})) as runtime:
        yield runtime


def _run(home: Runtime, *commands: str) -> Any:
    """The result of a run that makes these commands."""

    async def work() -> Any:
        with run_scope(home, "commands") as books:
            for command in commands:
                await home.tools.get("run_shell").ainvoke({"command": command})
            return await books.result(None, status=Status.DONE)

    return asyncio.run(work())


@confined
def test_what_commands_change_is_in_the_diff_and_can_be_undone(home: Runtime) -> None:
    result = _run(home, "sed -i s/one/two/ a.txt; mkdir -p new/deep; echo made > new/deep/b.txt", "rm gone.txt")
    assert "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-one\n+two\n" in result.diff
    assert "--- /dev/null\n+++ b/new/deep/b.txt\n" in result.diff
    assert "--- a/gone.txt\n+++ /dev/null\n" in result.diff
    assert len(list((home.settings.state / "edits").rglob("0*"))) == 3
    runs.undo(result.run, runtime=home)
    assert (home.workspace / "a.txt").read_text() == "one\n"
    assert (home.workspace / "gone.txt").read_text() == "gone\n"
    assert not (home.workspace / "new").exists()


@confined
def test_commands_side_by_side_are_noticed_each(home: Runtime) -> None:
    async def work() -> Any:
        with run_scope(home, "both") as books:
            shell = home.tools.get("run_shell")
            commands = ("echo two > a.txt; sleep 0.4; echo x > x.txt", "sleep 0.2; echo y > y.txt")
            await asyncio.gather(*(shell.ainvoke({"command": command}) for command in commands))
            return await books.result(None, status=Status.DONE)

    diff = asyncio.run(work()).diff
    assert [name for name in ("b/a.txt", "b/x.txt", "b/y.txt") if name not in diff] == []


@confined
def test_a_command_that_only_reads_is_not_looked_around_for(home: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    look = noticing.Noticing.look
    monkeypatch.setattr(noticing.Noticing, "look", lambda self: (looks.append("x"), look(self))[1])
    assert _run(home, "cat a.txt; ls").diff == ""
    assert looks == []
    assert _run(home, "touch a.txt").diff == ""
    assert len(looks) == 2


@confined
def test_where_there_are_too_many_files_a_command_says_so(home: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noticing, "_MOST_FILES", 2)

    async def work() -> str:
        with run_scope(home, "many"):
            return str(await home.tools.get("run_shell").ainvoke({"command": "echo two > a.txt"}))

    assert "what this command changed is neither kept nor told" in asyncio.run(work())


@confined
def test_of_what_is_too_large_to_be_kept_it_is_told_that_it_changed(
    home: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noticing, "_LARGEST", 3)
    assert "'a.txt' was changed; it is no text, or too long" in _run(home, "echo three > a.txt").diff


def test_edits_of_tests_are_reported_as_such(home: Runtime) -> None:
    async def work() -> Any:
        with run_scope(home, "edits") as books:
            write = home.tools.get("write_file")
            await write.ainvoke({"path": "a.txt", "content": "two\n"})
            await write.ainvoke({"path": "tests/test_a.py", "content": "assert False\n"})
            await write.ainvoke({"path": "gone.txt", "content": "back\n"})
            await write.ainvoke({"path": "gone.txt", "content": "gone\n"})
            return await books.result(None, status=Status.DONE)

    result = asyncio.run(work())
    assert [line for line in result.diff.splitlines() if line.startswith("+++")] == [
        "+++ b/a.txt",
        "+++ b/tests/test_a.py",
    ]
    assert result.changed_tests == ("tests/test_a.py",)
    assert "tests were changed: tests/test_a.py" in result.notes


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("tests/a.py", True), ("src/tests/data.json", True), ("test_a.py", True), ("a_test.go", True),
        ("a.test.ts", True), ("a.spec.js", True), ("conftest.py", True), ("test.sh", True), ("TotalTests.cs", True),
        ("contest.py", False), ("latest.py", False), ("attest/a.py", False), ("a.py", False), ("testimony.py", False),
    ],
)  # fmt: skip
def test_a_test_is_told_by_its_name_or_folder(path: str, told: bool) -> None:
    assert is_test(path) is told


@confined
def test_an_empty_file_that_is_made_or_deleted_is_in_the_diff(home: Runtime) -> None:
    assert _run(home, "mkdir new; : > new/__init__.py").diff == "--- /dev/null\n+++ b/new/__init__.py\n"
    assert _run(home, "rm new/__init__.py; echo 2 > a.txt").diff.startswith("--- a/a.txt\n")
    (home.workspace / "b.txt").write_text("")
    assert _run(home, "mv b.txt c.txt").diff == "--- a/b.txt\n+++ /dev/null\n--- /dev/null\n+++ b/c.txt\n"


def test_the_diff_of_a_run_counts_the_runs_inside_it(home: Runtime) -> None:
    with run_scope(home, "outer") as outer:
        with run_scope(home, "inner") as inner:
            home.tools.get("write_file").invoke({"path": "a.txt", "content": "two\n"})
            inner.status = Status.DONE
        outer.status = Status.DONE
        diff = asyncio.run(outer.result(None, status=Status.DONE)).diff
    assert "+two" in diff
