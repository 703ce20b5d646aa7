"""Edits of a run are kept before they are made, and can be taken back: all, the last, some, and that in turn."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pointsman import ConfigError, Runtime, Status, run_scope, runs
from pointsman.agents.lease.holder import RunOwned
from pointsman.configs.loading.loader import load
from pointsman.graphs.keeping import pruned
from pointsman.tools import ToolFailed, Workspace, file_tools
from pointsman.tools.files import changes, workspace


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Runtime]:
    """A runtime on an empty project."""
    folder = tmp_path / "project"
    folder.mkdir()
    with Runtime(load(folder, environ={})) as runtime:
        yield runtime


@pytest.fixture
def call(home: Runtime) -> Callable[..., str]:
    """Call a file tool; what it tells of a failure comes back as its text."""

    def run(name: str, **arguments: Any) -> str:
        return str(home.tools.get(name).invoke(arguments))

    return run


def _tree(home: Runtime) -> dict[str, str]:
    """Every file of the project but the state, with what it holds."""
    files = (path for path in home.workspace.rglob("*") if path.is_file() and ".pointsman" not in path.parts)
    return {path.relative_to(home.workspace).as_posix(): path.read_text() for path in files}


def _kept(home: Runtime) -> list[Path]:
    return sorted(path for path in (home.settings.state / "edits").rglob("*") if path.is_file())


def _undo(home: Runtime, run: str, paths: Any = (), **how: bool) -> list[tuple[str, str]]:
    return [(one.path, one.change) for one in runs.undo(run, paths, runtime=home, **how)]


def _edit(home: Runtime, call: Callable[..., str]) -> str:
    """A run that edits one file twice, makes two in a new folder, and replaces one."""
    (home.workspace / "a.txt").write_text("one\n")
    (home.workspace / "b.sh").write_text("old\n")
    (home.workspace / "b.sh").chmod(0o750)
    with run_scope(home, "edits") as books:
        call("edit_file", path="a.txt", old="one", new="two")
        call("write_file", path="made/deep/c.txt", content="c\n")
        call("write_file", path="made/d.txt", content="d\n")
        call("write_file", path="b.sh", content="new\n")
        call("edit_file", path="a.txt", old="two", new="three")
        books.status = Status.DONE
    return books.id


BEFORE = {"a.txt": "one\n", "b.sh": "old\n"}
AFTER = {"a.txt": "three\n", "b.sh": "new\n", "made/deep/c.txt": "c\n", "made/d.txt": "d\n"}


@pytest.mark.slow
def test_all_edits_are_undone_with_modes_and_the_folders_that_were_made(
    home: Runtime, call: Callable[..., str]
) -> None:
    run = _edit(home, call)
    assert _tree(home) == AFTER
    assert sorted(_undo(home, run)) == [
        ("a.txt", "restored"),
        ("b.sh", "restored"),
        ("made/d.txt", "deleted"),
        ("made/deep/c.txt", "deleted"),
    ]
    assert _tree(home) == BEFORE
    assert not (home.workspace / "made").exists()
    assert stat.S_IMODE((home.workspace / "b.sh").stat().st_mode) == 0o750
    assert _undo(home, run) == []


def test_a_dry_run_changes_nothing_and_shows_what_would_change_as_a_unified_diff(
    home: Runtime, call: Callable[..., str]
) -> None:
    run = _edit(home, call)
    kept = _kept(home)
    told = {one.path: one for one in runs.undo(run, runtime=home, dry_run=True)}
    assert told["a.txt"].diff == "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-three\n+one\n"
    assert told["made/d.txt"].diff == "--- a/made/d.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-d\n"
    assert (_tree(home), _kept(home)) == (AFTER, kept)


@pytest.mark.slow
def test_the_last_edit_is_undone_and_each_further_time_the_one_before(home: Runtime, call: Callable[..., str]) -> None:
    run = _edit(home, call)
    states = []
    while _undo(home, run, last=True):
        states.append(_tree(home))
    assert [one.get("a.txt") for one in states] == ["two\n", "two\n", "two\n", "two\n", "one\n"]
    assert [len(one) for one in states] == [4, 4, 3, 2, 2]
    assert states[-1] == BEFORE


@pytest.mark.slow
def test_an_undo_is_undone_and_undone_again(home: Runtime, call: Callable[..., str]) -> None:
    run = _edit(home, call)
    _undo(home, run, last=True)
    _undo(home, run)
    assert _tree(home) == BEFORE
    assert dict(_undo(home, run, redo=True))["made/d.txt"] == "made again"
    assert _tree(home) == {**AFTER, "a.txt": "two\n"}
    _undo(home, run, redo=True)
    assert _tree(home) == AFTER
    assert _undo(home, run, redo=True) == []
    _undo(home, run)
    assert _tree(home) == BEFORE
    _undo(home, run, redo=True)
    assert _tree(home) == AFTER


@pytest.mark.slow
def test_only_the_files_that_are_named_are_undone(home: Runtime, call: Callable[..., str]) -> None:
    run = _edit(home, call)
    assert _undo(home, run, ["./a.txt", str(home.workspace / "made/d.txt")]) == [
        ("made/d.txt", "deleted"),
        ("a.txt", "restored"),
    ]
    assert _tree(home) == {"a.txt": "one\n", "b.sh": "new\n", "made/deep/c.txt": "c\n"}
    with pytest.raises(ConfigError, match=r"did not edit 'other.txt' by the file tools; it edited 'a.txt'"):
        _undo(home, run, ["other.txt"])


@pytest.mark.slow
def test_nothing_is_undone_where_somebody_else_changed_a_file_since_unless_forced(
    home: Runtime, call: Callable[..., str]
) -> None:
    run = _edit(home, call)
    (home.workspace / "a.txt").write_text("mine\n")
    with pytest.raises(ConfigError, match=r"nothing was put back: 'a.txt' was changed by somebody else.*--force"):
        _undo(home, run)
    assert _tree(home) == {**AFTER, "a.txt": "mine\n"}
    problems = {one.path: one.problem for one in runs.undo(run, runtime=home, dry_run=True) if one.problem}
    assert problems == {"a.txt": "'a.txt' was changed by somebody else since"}
    _undo(home, run, ["b.sh"])
    assert _tree(home)["b.sh"] == "old\n"
    _undo(home, run, force=True)
    assert _tree(home) == BEFORE
    # What it was forced over is kept as well.
    _undo(home, run, redo=True)
    assert _tree(home)["a.txt"] == "mine\n"


def test_an_edit_in_between_by_somebody_else_is_not_lost(home: Runtime, call: Callable[..., str]) -> None:
    with run_scope(home, "edits") as books:
        call("write_file", path="a.txt", content="1")
        (home.workspace / "a.txt").write_text("mine")
        call("write_file", path="a.txt", content="2")
    assert _undo(home, books.id, last=True) == [("a.txt", "restored")]
    assert _tree(home) == {"a.txt": "mine"}
    with pytest.raises(ConfigError, match="changed by somebody else"):
        _undo(home, books.id)
    (home.workspace / "a.txt").unlink()
    assert _undo(home, books.id) == []


def test_of_two_runs_that_edit_one_file_the_later_is_undone_first(home: Runtime, call: Callable[..., str]) -> None:
    with run_scope(home, "first") as first:
        call("write_file", path="a.txt", content="1")
    with run_scope(home, "second") as second:
        call("write_file", path="a.txt", content="2")
    with pytest.raises(ConfigError, match="changed by somebody else"):
        _undo(home, first.id)
    _undo(home, second.id)
    _undo(home, first.id)
    assert _tree(home) == {}


def test_a_run_is_undone_with_the_runs_inside_it_and_these_by_themselves(
    home: Runtime, call: Callable[..., str]
) -> None:
    with run_scope(home, "outer") as outer:
        call("write_file", path="a.txt", content="1")
        with run_scope(home, "inner") as inner:
            call("write_file", path="b.txt", content="2")
    assert _undo(home, inner.id) == [("b.txt", "deleted")]
    _undo(home, inner.id, redo=True)
    assert sorted(_undo(home, outer.id)) == [("a.txt", "deleted"), ("b.txt", "deleted")]


@pytest.mark.slow
def test_parallel_edits_of_one_file_are_all_undone(home: Runtime, call: Callable[..., str]) -> None:
    (home.workspace / "a.txt").write_text("".join(f"<{number}>" for number in range(20)))
    before = _tree(home)
    with run_scope(home, "edits") as books, ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(copy_context().run, call, "edit_file", path="a.txt", old=f"<{number}>", new=f"[{number}]")
            for number in range(20)
        ]
        assert all("+" in job.result() for job in jobs)
    assert "<" not in _tree(home)["a.txt"]
    assert len([path for path in _kept(home) if len(path.name) == 8]) == 20
    assert _undo(home, books.id) == [("a.txt", "restored")]
    assert _tree(home) == before


def test_what_is_kept_is_encrypted_readable_by_its_owner_alone_and_kept_once(
    home: Runtime, call: Callable[..., str]
) -> None:
    (home.workspace / "a.txt").write_text("a word of the user's")
    with run_scope(home, "edits"):
        for content in ("b", "a word of the user's", "c"):
            call("write_file", path="a.txt", content=content)
    kept = _kept(home)
    assert sorted(len(path.name) for path in kept) == [8, 8, 8, 64, 64]
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert not any(b"word" in path.read_bytes() or b"a.txt" in path.read_bytes() for path in kept)


def test_pruning_a_run_deletes_what_is_kept_of_its_edits_and_old_ones_go_by_themselves(
    home: Runtime, call: Callable[..., str]
) -> None:
    first, _, waiting = (_edit(home, call) for _ in range(3))
    row = home.ledger.run(waiting)
    assert row is not None
    home.ledger.record(replace(row, status="pending"))
    long_ago = time.time() - 31 * 86_400
    for folder in (home.settings.state / "edits").iterdir():
        if not folder.name.startswith(first):
            os.utime(folder, (long_ago, long_ago))
    last = _edit(home, call)
    left = {folder.name.removesuffix(".run") for folder in (home.settings.state / "edits").iterdir()}
    assert left == {first, waiting, last}
    asyncio.run(pruned(home, 0))
    assert {folder.name.removesuffix(".run") for folder in (home.settings.state / "edits").iterdir()} == {waiting}
    assert _undo(home, first) == []


@pytest.mark.slow
def test_a_link_that_was_put_in_the_way_is_not_followed(
    home: Runtime, call: Callable[..., str], tmp_path: Path
) -> None:
    run = _edit(home, call)
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    for name in ("three.txt", "d.txt", "deep/c.txt"):
        (outside / name).write_text({"d.txt": "d\n", "deep/c.txt": "c\n"}.get(name, "three\n"))
    (home.workspace / "a.txt").unlink()
    (home.workspace / "a.txt").symlink_to(outside / "three.txt")
    (home.workspace / "made").rename(tmp_path / "away")
    (home.workspace / "made").symlink_to(outside)
    for force in (False, True):
        with pytest.raises(ConfigError, match=r"a\.txt' leads through a symbolic link.*"):
            _undo(home, run, force=force)
    with pytest.raises(ConfigError, match=r"d\.txt' leads through"):
        _undo(home, run, ["made/d.txt"], force=True)
    assert sorted(path.name for path in outside.rglob("*") if path.is_file()) == ["c.txt", "d.txt", "three.txt"]
    assert (outside / "three.txt").read_text() == "three\n"


@pytest.mark.slow
def test_a_path_that_is_protected_by_now_is_not_written(home: Runtime, call: Callable[..., str]) -> None:
    run = _edit(home, call)
    home.protect([home.workspace / "b.sh"])
    for force in (False, True):
        with pytest.raises(ConfigError, match=r"nothing was put back: 'b\.sh' is protected \(/b\.sh\)"):
            _undo(home, run, force=force)
    assert _tree(home) == AFTER


@pytest.mark.slow
def test_a_file_that_was_made_read_only_is_left_and_so_are_the_others(home: Runtime, call: Callable[..., str]) -> None:
    run = _edit(home, call)
    (home.workspace / "a.txt").chmod(0o444)
    with pytest.raises(ConfigError, match=r"nothing was put back: 'a\.txt' is read-only"):
        _undo(home, run, force=True)
    assert _tree(home) == AFTER
    # Any other mode that was given since stays.
    (home.workspace / "a.txt").chmod(0o600)
    _undo(home, run)
    assert stat.S_IMODE((home.workspace / "a.txt").stat().st_mode) == 0o600


def test_a_file_that_is_too_large_to_be_kept_is_written_and_said_to_be_lost(
    home: Runtime, call: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "KEPT_LIMIT", 10)
    (home.workspace / "a.txt").write_text("eleven byte")
    with run_scope(home, "edits") as books:
        said = call("write_file", path="a.txt", content="short")
    assert "[what was there has 11 bytes and is not kept, so this cannot be undone" in said
    with pytest.raises(ConfigError, match=r"'a\.txt' had 11 bytes, which was too much to be kept"):
        _undo(home, books.id, force=True)
    assert _tree(home) == {"a.txt": "short"}
    assert changes.KEPT_LIMIT == 50_000_000


def test_what_cannot_be_kept_is_not_written(home: Runtime, call: Callable[..., str]) -> None:
    (home.workspace / "a.txt").write_text("before")
    home.settings.state.mkdir(exist_ok=True)
    (home.settings.state / "edits").write_text("in the way")
    with (
        run_scope(home, "edits"),
        pytest.raises(ConfigError, match=r"the content of a\.txt cannot be saved \(.*so it is not changed"),
    ):
        call("write_file", path="a.txt", content="after")
    assert _tree(home) == {"a.txt": "before"}


def test_what_was_kept_and_is_damaged_or_foreign_is_refused(home: Runtime, call: Callable[..., str]) -> None:
    run = _edit(home, call)
    entry = next(path for path in _kept(home) if len(path.name) == 8)
    entry.write_text('{"run": "forged"}')
    with pytest.raises(ConfigError, match="not encrypted with your key"):
        _undo(home, run)
    assert _tree(home) == AFTER


@pytest.mark.slow
def test_content_that_was_exchanged_is_not_put_back(home: Runtime, call: Callable[..., str]) -> None:
    run = _edit(home, call)
    one, other = [path for path in _kept(home) if len(path.name) == 64][:2]
    one.write_bytes(other.read_bytes())
    with pytest.raises(ConfigError, match="what was kept of a file is not what it was"):
        _undo(home, run)
    assert _tree(home) == AFTER


def test_a_run_under_way_is_not_undone(home: Runtime, call: Callable[..., str]) -> None:
    with run_scope(home, "edits") as books:
        call("write_file", path="a.txt", content="1")
        home.ledger.flush()
        failed: list[BaseException] = []

        def beside() -> None:
            try:
                runs.undo(books.id, runtime=home)
            except RunOwned as error:
                failed.append(error)

        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()
    assert len(failed) == 1
    with pytest.raises(ConfigError, match="there is no run 'another'"):
        runs.undo("another", runtime=home)


def test_a_workspace_of_the_users_own_is_kept_too_and_outside_runs_nothing_is(home: Runtime, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write = next(tool for tool in file_tools(Workspace(other)) if tool.name == "write_file")
    write.invoke({"path": "a.txt", "content": "1"})
    assert _kept(home) == []
    with run_scope(home, "edits") as books:
        write.invoke({"path": "a.txt", "content": "2"})
    (one,) = runs.undo(books.id, runtime=home)
    assert (one.workspace, (other / "a.txt").read_text()) == (other, "1")


def test_a_project_that_was_moved_is_undone_where_it_lies_now(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    with Runtime(load(old, environ={})) as before, run_scope(before, "edits") as books:
        before.tools.get("write_file").invoke({"path": "a.txt", "content": "1"})
    old.rename(new)
    with Runtime(load(new, environ={})) as after:
        assert _undo(after, books.id) == [("a.txt", "deleted")]
    assert not (new / "a.txt").exists()


KILLED = """
import os, sys
from pathlib import Path
from pointsman import Runtime, run_scope, runs
from pointsman.configs.loading.loader import environment, load

what, run = sys.argv[1:]
home = Runtime(load(Path.cwd(), environ=environment()))
rename = os.rename

def die(*args, **kwargs):
    os.kill(os.getpid(), 9)

if what == "edit":
    write = home.tools.get("write_file")
    with run_scope(home, "edits", run=run):
        write.invoke({"path": "a.txt", "content": "2"})
        os.rename = die
        write.invoke({"path": "a.txt", "content": "3"})
else:
    os.rename = die
    runs.undo(run, runtime=home)
"""


@pytest.mark.slow
def test_a_kill_between_keeping_and_writing_leaves_what_undo_puts_right(programs: Any, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.txt").write_text("1")

    def killed(what: str) -> int:
        return int(programs.run(["-c", KILLED, what, "run-1"], cwd=folder).returncode)

    assert killed("edit") == -9
    assert (folder / "a.txt").read_text() == "2"
    assert killed("undo") == -9
    assert (folder / "a.txt").read_text() == "2"
    with Runtime(load(folder, environ=dict(os.environ))) as home:
        assert len([path for path in _kept(home) if len(path.name) == 8]) == 3
        assert _undo(home, "run-1") == [("a.txt", "restored")]
        assert (folder / "a.txt").read_text() == "1"
        _undo(home, "run-1", redo=True)
        assert (folder / "a.txt").read_text() == "2"


def test_a_tool_that_fails_leaves_nothing_to_undo(home: Runtime, call: Callable[..., str]) -> None:
    (home.workspace / "a.txt").write_text("1")
    (home.workspace / "a.txt").chmod(0o444)
    with run_scope(home, "edits") as books:
        assert "read-only" in call("write_file", path="a.txt", content="2")
        assert "protected" in call("write_file", path=".git/hooks/pre-commit", content="2")
    assert _undo(home, books.id) == []
    with pytest.raises(ToolFailed, match="does not exist"):
        Workspace(home.workspace).remove("b.txt")
