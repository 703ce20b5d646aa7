"""The diff that a run leaves: what its file tools and its commands changed, as one, and which of it are tests."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman import ConfigError, Runtime, Status, run_scope, runs
from pointsman.agents.journal.changes import is_test
from pointsman.configs.loading.loader import load
from pointsman.tools import Workspace, probe
from pointsman.tools.files import noticing
from pointsman.tools.files.changes import Change

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
    assert len(list((home.settings.state / "edits").rglob("0*"))) == 5
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
        ("Tests/Total.cs", True), ("Shop.Tests/Total.cs", True), ("e2e/login.ts", True), ("login.cy.ts", True),
        ("__snapshots__/a.snap", True), ("TotalSpec.scala", True), ("install.bats", True), ("t/basic.t", True),
        ("login.feature", True), ("unit-tests/a.py", True), ("greatest/a.py", False), ("inspec/a.rb", False),
        ("spectrum.py", False), ("art.ts", False),
        ("contest.py", False), ("latest.py", False), ("attest/a.py", False), ("a.py", False), ("testimony.py", False),
    ],
)  # fmt: skip
def test_a_test_is_told_by_its_name_or_folder(path: str, told: bool) -> None:
    assert is_test(path) is told


@confined
def test_an_empty_file_that_is_made_or_deleted_is_in_the_diff(home: Runtime) -> None:
    made = (
        "diff --git a/new/__init__.py b/new/__init__.py\nnew file mode 100644\n--- /dev/null\n+++ b/new/__init__.py\n"
    )
    assert _run(home, "mkdir new; : > new/__init__.py").diff == made
    assert _run(home, "rm new/__init__.py; echo 2 > a.txt").diff.startswith("--- a/a.txt\n")
    (home.workspace / "b.txt").write_text("")
    assert _run(home, "mv b.txt c.txt").diff == (
        "diff --git a/b.txt b/b.txt\ndeleted file mode 100644\n--- a/b.txt\n+++ /dev/null\n"
        "diff --git a/c.txt b/c.txt\nnew file mode 100644\n--- /dev/null\n+++ b/c.txt\n"
    )


def _listed(folder: Path) -> dict[str, str]:
    """Each file and link of a folder, but for state: its mode, and what it holds or where it leads."""
    return {
        path.relative_to(folder).as_posix(): f"{path.lstat().st_mode & 0o777:o} "
        + (f"-> {path.readlink()}" if path.is_symlink() else path.read_text())
        for path in folder.rglob("*")
        if (path.is_symlink() or path.is_file()) and not {".pointsman", ".git"} & set(path.parts)
    }


_MODES = {
    "a link is made": (
        "mkdir -p new; ln -s ../a.txt new/link",
        "new file mode 120000\n--- /dev/null\n+++ b/new/link\n",
    ),
    "a link leads elsewhere": ("ln -sfn tests there", "--- a/there\n+++ b/there\n@@ -1 +1 @@\n-a.txt\n"),
    "a link is deleted": ("rm there", "deleted file mode 120000\n--- a/there\n+++ /dev/null\n"),
    "a link becomes a file": ("rm there; echo x > there", "deleted file mode 120000\n--- a/there\n"),
    "a file becomes a link": ("rm a.txt; ln -s /etc/passwd a.txt", "new file mode 120000\n--- /dev/null\n+++ b/a.txt"),
    "a file may be run": ("chmod 755 a.txt", "diff --git a/a.txt b/a.txt\nold mode 100644\nnew mode 100755\n"),
    "a file may not be written": ("chmod 444 a.txt", "old mode 100644\nnew mode 100444\n"),
    "a file is written and may be run": ("echo two > a.txt; chmod 755 a.txt", "new mode 100755\n--- a/a.txt\n"),
    "a file that is no text may be run": ("chmod 755 picture", "old mode 100644\nnew mode 100755\n"),
    "a file that may be run is made": ("echo x > x; chmod 755 x", "new file mode 100755\n--- /dev/null\n+++ b/x\n"),
    "a file that may be run is deleted": ("rm run.sh", "deleted file mode 100755\n--- a/run.sh\n"),
    "a folder becomes a link": ("rm -r tests; ln -s /etc tests", "--- a/tests/test_a.py\n+++ /dev/null\n"),
    "a folder becomes a file": ("rm -r tests; echo x > tests", "--- /dev/null\n+++ b/tests\n@@ -0,0 +1 @@\n+x\n"),
    "a link becomes a folder": ("rm there; mkdir there; echo x > there/x", "deleted file mode 120000\n--- a/there\n"),
    "a file becomes a folder": ("rm a.txt; mkdir -p a.txt/b; echo x > a.txt/b/x; : > a.txt/y", "+++ b/a.txt/b/x\n"),
    "a file that may not be written is made": ("echo x > x; chmod 444 x", "--- /dev/null\n+++ b/x\n"),
    "a file that may not be written moves": ("chmod 444 a.txt; mv a.txt x", "--- /dev/null\n+++ b/x\n"),
    "a file that may be run moves": ("mv run.sh walk.sh", "new file mode 100755\n--- /dev/null\n+++ b/walk.sh\n"),
}


@confined
@pytest.mark.parametrize(("command", "told"), _MODES.values(), ids=_MODES)
def test_links_and_modes_that_commands_change_are_in_the_diff_as_git_has_them_and_are_undone_and_redone(
    home: Runtime, tmp_path: Path, command: str, told: str
) -> None:
    (home.workspace / "there").symlink_to("a.txt")
    (home.workspace / "run.sh").write_text("echo\n")
    (home.workspace / "run.sh").chmod(0o755)
    (home.workspace / "picture").write_text("\0")
    before, copy = _listed(home.workspace), tmp_path / "copy"
    shutil.copytree(home.workspace, copy, symlinks=True, ignore=shutil.ignore_patterns(".pointsman"))
    result = _run(home, command)
    after = _listed(home.workspace)
    assert told in result.diff
    subprocess.run(["git", "init", "-q"], cwd=copy, check=True)
    subprocess.run(["git", "apply"], input=result.diff.encode(), cwd=copy, check=True)
    as_git_has_it = {path: one.replace("444 ", "644 ") for path, one in after.items()}
    assert _listed(copy) == as_git_has_it
    runs.undo(result.run, runtime=home)
    assert _listed(home.workspace) == before
    assert runs.undo(result.run, runtime=home) == ()
    runs.undo(result.run, runtime=home, redo=True)
    assert _listed(home.workspace) == after


@confined
@pytest.mark.parametrize(
    ("commands", "diff"),
    [
        (["chmod 000 a.txt"], "old mode 100644\nnew mode 100000\n"),
        (["chmod 000 a.txt", "chmod 600 a.txt; echo two > a.txt"], "new mode 100600\n--- a/a.txt\n"),
        (["echo x > x; chmod 000 x"], "--- /dev/null\n+++ b/x\n"),
        (["chmod 000 a.txt; rm a.txt"], "+++ /dev/null\n"),
        (["chmod 700 tests"], ""),
        (["chmod 500 tests", "chmod 700 tests; rm -r tests"], "--- a/tests/test_a.py\n+++ /dev/null\n"),
        (["mkdir -p new/deep"], ""),
        (["rmdir empty"], ""),
        (["chmod 755 shut; rm -r shut"], "--- a/shut/b.txt\n+++ /dev/null\n"),
        (["rm a.txt; mkdir a.txt"], "--- a/a.txt\n+++ /dev/null\n"),
        (["rmdir empty; echo x > empty"], "--- /dev/null\n+++ b/empty\n"),
        (["rmdir empty; ln -s a.txt empty"], "new file mode 120000\n--- /dev/null\n"),
    ],
    ids=lambda value: "; ".join(value) if isinstance(value, list) else "",
)
@confined
def test_folders_and_modes_of_no_bits_are_undone_and_redone(home: Runtime, commands: list[str], diff: str) -> None:
    (home.workspace / "empty").mkdir()
    (home.workspace / "shut").mkdir()
    (home.workspace / "shut" / "b.txt").write_text("b\n")
    (home.workspace / "shut").chmod(0o555)
    before = _modes_of(home.workspace)
    result = _run(home, *commands)
    after = _modes_of(home.workspace)
    assert after != before
    assert diff in result.diff
    assert bool(diff) is bool(result.diff)
    runs.undo(result.run, runtime=home)
    assert _modes_of(home.workspace) == before
    assert runs.undo(result.run, runtime=home) == ()
    runs.undo(result.run, runtime=home, redo=True)
    assert _modes_of(home.workspace) == after


def _modes_of(folder: Path) -> dict[str, str]:
    """Everything in a project but its state: its mode, and what a link or a file holds."""
    found = {}
    for path in folder.rglob("*"):
        if ".pointsman" not in path.parts:
            holds = f"-> {path.readlink()}" if path.is_symlink() else path.read_text() if path.is_file() else "/"
            found[path.relative_to(folder).as_posix()] = f"{path.lstat().st_mode & 0o777:o} {holds}"
    return found


@confined
def test_a_folder_in_which_somebody_else_has_something_is_left(home: Runtime) -> None:
    run = _run(home, "mkdir -p new/deep empty; echo x > new/x.txt").run
    (home.workspace / "new" / "deep" / "mine.txt").write_text("mine\n")
    undone = [(one.path, one.change) for one in runs.undo(run, runtime=home)]
    assert undone == [("new/x.txt", "deleted"), ("empty", "deleted")]
    assert (home.workspace / "new" / "deep" / "mine.txt").read_text() == "mine\n"


@confined
@pytest.mark.parametrize("command", ["mv new moved", "rm -r new", "chmod 700 new", "rmdir empty"])
def test_a_folder_that_a_tool_made_for_a_file_and_a_command_changed_is_undone(home: Runtime, command: str) -> None:
    (home.workspace / "empty").mkdir()
    before = _modes_of(home.workspace)

    async def work() -> str:
        with run_scope(home, "both") as books:
            await home.tools.get("write_file").ainvoke({"path": "new/deep/b.txt", "content": "b\n"})
            await home.tools.get("write_file").ainvoke({"path": "new/c.txt", "content": "c\n"})
            await home.tools.get("run_shell").ainvoke({"command": command})
            books.status = Status.DONE
        return books.id

    run = asyncio.run(work())
    after = _modes_of(home.workspace)
    runs.undo(run, runtime=home)
    assert _modes_of(home.workspace) == before
    runs.undo(run, runtime=home, redo=True)
    assert _modes_of(home.workspace) == after


@confined
def test_a_read_only_file_that_a_command_wrote_all_the_same_is_put_back(home: Runtime) -> None:
    (home.workspace / "a.txt").chmod(0o444)
    run = _run(home, "rm -f a.txt; echo two > a.txt; chmod 444 a.txt").run
    assert [one.path for one in runs.undo(run, runtime=home)] == ["a.txt"]
    assert _modes_of(home.workspace)["a.txt"] == "444 one\n"


def test_what_is_in_a_folder_that_could_not_be_looked_into_is_neither_kept_nor_taken_for_gone(
    home: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where its owner, and not root, commands ``chmod 000 tests``."""
    scandir = os.scandir

    def closed(folder: Any) -> Any:
        if Path(folder).name == "tests":
            raise PermissionError(errno.EACCES, "no")
        return scandir(folder)

    kept: list[Change] = []
    noticed = noticing.Noticing(Workspace(home.workspace))
    before = noticed.look()
    (home.workspace / "a.txt").write_text("two\n")
    monkeypatch.setattr(os, "scandir", closed)
    said = noticed.tell(before, kept.append)
    assert [one.path for one in kept] == ["a.txt"]
    assert "in 'tests' is neither kept nor told" in said
    before = noticed.look()
    monkeypatch.setattr(os, "scandir", scandir)
    assert "in 'tests' is neither kept nor told" in noticed.tell(before, kept.append)
    assert [one.path for one in kept] == ["a.txt"]
    assert noticed.tell(noticed.look(), kept.append) == ""


@pytest.mark.slow
@confined
def test_a_folder_that_became_a_link_is_undone_step_by_step(home: Runtime) -> None:
    before = _listed(home.workspace)
    run = _run(home, "mkdir x; mv tests x; ln -s x/tests tests").run
    steps = []
    while undone := runs.undo(run, runtime=home, last=True):
        steps += [(one.path, one.change) for one in undone]
    assert steps == [
        ("x/tests/test_a.py", "deleted"),
        ("x/tests", "deleted"),
        ("x", "deleted"),
        ("tests", "restored"),
        ("tests/test_a.py", "made again"),
    ]
    assert _listed(home.workspace) == before


@pytest.mark.slow
@confined
def test_what_stays_in_the_way_of_a_file_is_named_and_nothing_is_put_back(home: Runtime) -> None:
    run = _run(home, "rm -r tests; ln -s /etc tests; rm a.txt; mkdir a.txt; echo x > a.txt/x").run
    (home.workspace / "a.txt" / "mine").write_text("mine\n")
    there = _listed(home.workspace)
    for force in (False, True):
        with pytest.raises(ConfigError, match=r"nothing was put back: 'a\.txt/mine' is in the way of 'a\.txt'"):
            runs.undo(run, runtime=home, force=force)
        with pytest.raises(ConfigError, match=r"nothing was put back: 'tests' is in the way of 'tests/test_a\.py'"):
            runs.undo(run, ["tests/test_a.py"], runtime=home, force=force)
    assert _listed(home.workspace) == there


@confined
def test_a_mode_that_somebody_else_has_given_since_is_not_lost(home: Runtime) -> None:
    run = _run(home, "chmod 755 a.txt", "echo two > a.txt").run
    (home.workspace / "a.txt").chmod(0o600)
    with pytest.raises(ConfigError, match=r"'a\.txt' was changed by somebody else since"):
        runs.undo(run, runtime=home)
    runs.undo(run, runtime=home, last=True)
    assert _listed(home.workspace)["a.txt"] == "600 one\n"
    runs.undo(run, runtime=home, force=True)
    assert _listed(home.workspace)["a.txt"] == "644 one\n"


def test_the_diff_of_a_run_counts_the_runs_inside_it(home: Runtime) -> None:
    with run_scope(home, "outer") as outer:
        with run_scope(home, "inner") as inner:
            home.tools.get("write_file").invoke({"path": "a.txt", "content": "two\n"})
            inner.status = Status.DONE
        outer.status = Status.DONE
        diff = asyncio.run(outer.result(None, status=Status.DONE)).diff
    assert "+two" in diff
