"""What a confined command cannot change in its workspace, there or not: what would act later on the user's machine."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pointsman.configs.errors import ConfigError
from pointsman.configs.process import forks
from pointsman.tools import Sandbox, ToolFailed, Workspace, probe, shell_tool
from pointsman.tools.sandbox import mounting

needs_sandbox = pytest.mark.skipif(not probe().working, reason=str(probe()))


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def _run(workspace: Workspace, command: str) -> str:
    return str(shell_tool(workspace, Sandbox(timeout=600)).invoke({"command": command}))


def _tree(folder: Path) -> dict[str, str]:
    """Every file and link below a folder, but for what was moved away, with what it holds."""
    found: dict[str, str] = {}
    for top, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".pointsman-removed-")]
        for name in (*files, *(each for each in folders if Path(top, each).is_symlink())):
            path = Path(top, name)
            found[str(path.relative_to(folder))] = (
                f"-> {path.readlink()}" if path.is_symlink() else path.read_text("latin1")
            )
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with hooks in a folder of its own, a link, a worktree, and a nested repository."""
    work = tmp_path / "project"
    (work / "tools" / "hooks").mkdir(parents=True)
    (work / "tools" / "hooks" / "pre-commit").write_text("#!/bin/sh\n")
    (work / "AGENTS.md").write_text("be kind\n")
    (work / "CLAUDE.md").symlink_to("AGENTS.md")
    (work / "src").mkdir()
    (work / "src" / "code.py").write_text("x = 1\n")
    (work / "src" / "shared.cfg").write_text("[alias]\n")
    _git(work, "init", "-q")
    _git(work, "config", "core.hooksPath", "tools/hooks")
    _git(work, "config", "include.path", "../src/shared.cfg")
    _git(work, "config", "core.fsmonitor", "src/absent-monitor.sh")
    _git(work, "add", ".")
    _git(work, "commit", "-qm", "first", "--no-verify")
    (work / "vendor").mkdir()
    _git(work / "vendor", "init", "-q")
    (work / "configs").mkdir()
    (work / "configs" / "risk.yaml").write_text("risk: {}\n")
    return work


MOUNTED = pytest.mark.parametrize("few", [10_000, 0], ids=["by bubblewrap", "before it"])
"""Whoever makes the mounts, they hold."""

ATTACKS = """
echo evil >> .git/config
git config core.pager evil
mkdir -p .git/hooks && echo evil > .git/hooks/post-checkout
echo evil > tools/hooks/pre-commit
mv tools/hooks tools/other
mv tools tools2
echo '[alias] x = !evil' >> src/shared.cfg
mv .git .git2
rm -rf .git
echo evil >> vendor/.git/config
mv vendor vendor2 && mkdir -p vendor/.git && echo evil > vendor/.git/config
echo evil > AGENTS.md
rm CLAUDE.md; echo evil > CLAUDE.md
echo evil > src/absent-monitor.sh
echo evil > .envrc
mkdir -p .github/workflows && echo evil > .github/workflows/ci.yaml
mkdir .vscode && echo evil > .vscode/tasks.json
mkdir -p deep/er/.husky && echo evil > deep/er/.husky/pre-push
mkdir hidden && mkdir hidden/.git && echo evil > hidden/.git/config && chmod 000 hidden
mkdir locked && echo evil > locked/Makefile && chmod 555 locked
echo evil > pointsman.yaml
echo evil > configs/risk.yaml
mv configs configs2; mkdir configs; echo evil > configs/risk.yaml
echo evil > configs/models.yaml
ln -s /etc .pointsman
ln -s src .CIRCLECI
mkdir .pointsman-removed-1 && echo evil > .pointsman-removed-1/x
ln -s "$PWD/src" .pointsman-removed-2
printf 'evil' > $'new\\nline.mk'
echo y = 2 >> src/code.py
echo fine > src/new.py
exit 0
"""


@needs_sandbox
@MOUNTED
def test_a_command_changes_sources_and_nothing_that_acts_later(
    few: int, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounting, "_FEW", few)
    before = _tree(project)
    said = _run(Workspace(project), ATTACKS)
    after = _tree(project)
    # A folder of no meaning may be moved, with what is protected in it as it was.
    after = {path.replace("vendor2/", "vendor/"): held for path, held in after.items()}
    added = {path: held for path, held in after.items() if before.get(path) != held}
    assert added == {"src/code.py": "x = 1\ny = 2\n", "src/new.py": "fine\n"}
    assert set(before) - set(after) == set()
    for told in (".envrc", "CLAUDE.md", "hidden/.git", ".github", "locked/Makefile", "src/absent-monitor.sh"):
        assert f"{told} is protected: " in said
    # git runs as before, and nothing but what the user has written.
    assert "src/code.py" in _git(project, "-c", "core.fsmonitor=", "status", "--porcelain")
    # What was made is kept for the user, outside of the way of whatever looks for such names.
    kept = [path for folder in project.glob(".pointsman-removed-*") for path in folder.iterdir()]
    assert len(kept) >= 12
    assert all(path.name.endswith(".removed") for path in kept)


@needs_sandbox
def test_a_missing_protected_path_leaves_no_trace_of_its_protection(tmp_path: Path) -> None:
    assert _run(Workspace(tmp_path), "ls -A; git status; python3 --version >/dev/null").startswith("exit code: 0")
    assert list(tmp_path.iterdir()) == []


@needs_sandbox
@MOUNTED
def test_the_state_of_other_runs_is_not_even_shown(few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounting, "_FEW", few)
    (tmp_path / ".pointsman").mkdir()
    (tmp_path / ".pointsman" / "ledger.db").write_text("rows")
    said = _run(Workspace(tmp_path), "ls -A .pointsman; touch .pointsman/x || echo refused")
    assert "ledger" not in said
    assert "refused" in said


@needs_sandbox
def test_what_changes_between_commands_is_seen_by_the_next(project: Path) -> None:
    shell = shell_tool(Workspace(project), Sandbox(timeout=600))
    shell.invoke({"command": "mkdir -p fresh/folder"})
    (project / "fresh" / "folder" / "Makefile").write_text("all:\n")
    said = str(shell.invoke({"command": "echo evil > fresh/folder/Makefile"}))
    assert "Read-only file system" in said
    assert (project / "fresh" / "folder" / "Makefile").read_text() == "all:\n"


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        "tools/hooks/pre-commit",
        "src/shared.cfg",
        "src/absent-monitor.sh",
        "vendor/.git/config",
        ".envrc",
        "app/gradle/wrapper/gradle-wrapper.properties",
        ".yarn/releases/yarn.cjs",
        ".mvn/extensions.xml",
        ".readthedocs.yaml",
        "core/Cargo.toml",
        ".agents/rules.md",
        ".config/mise/config.toml",
        ".Rprofile",
        ".Renviron",
        ".dir-locals-2.el",
        "app/.bsp/sbt.json",
        "hie.yaml",
        ".lintstagedrc.json",
        ".lfsconfig",
        "ansible.cfg",
        "svelte.config.js",
    ],
)
def test_file_tools_keep_from_the_same_paths(project: Path, path: str) -> None:
    with pytest.raises(ToolFailed, match="is protected"):
        Workspace(project).replace(path, b"evil")
    Workspace(project).replace("src/absent.sh", b"fine")


DETOURS = """
mkdir -p evil/hooks evil/fish evil/bin
for file in evil/risk.yaml evil/hooks/pre-commit evil/fish/config.fish evil/bin/git; do echo evil > $file; done
ln -s evil configs
ln -s evil .config
ln -s evil .local
mkdir inner && ln -s ../evil inner/.config
echo evil > scripts/pre-push
mv scripts scripts2; mkdir scripts; echo evil > scripts/pre-push
echo evil > scripts/absent.sh
echo evil > local.sh
echo evil > ssh.sh
mkdir -p tool && echo evil > tool/pager
echo fine > lint/fine.py
exit 0
"""


@needs_sandbox
@MOUNTED
def test_no_link_on_the_way_or_at_the_end_puts_something_else_at_a_protected_path(
    few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounting, "_FEW", few)
    for folder in ("scripts", "lint"):
        (tmp_path / folder).mkdir()
    (tmp_path / "scripts" / "pre-push").write_text("#!/bin/sh\n")
    (tmp_path / ".envrc").symlink_to("local.sh")
    _git(tmp_path, "init", "-q")
    hooks = tmp_path / ".git" / "hooks"
    (hooks / "pre-push").symlink_to("../../scripts/pre-push")
    (hooks / "post-merge").symlink_to("../../scripts/absent.sh")
    _git(tmp_path, "config", "alias.lint", "!cd lint && bash ssh.sh lint/ || tool/pager")
    workspace = Workspace(tmp_path)
    for path in ("scripts/pre-push", "scripts/absent.sh", "local.sh", "ssh.sh", "tool/pager"):
        with pytest.raises(ToolFailed, match="is protected"):
            workspace.replace(path, b"evil")
    said = _run(workspace, DETOURS)
    reached = (
        "configs/risk.yaml", ".config/fish/config.fish", ".local/bin/git", "inner/.config",
        ".git/hooks/pre-push", ".git/hooks/post-merge", ".envrc", "ssh.sh", "tool/pager",
    )  # fmt: skip
    held = {path: (tmp_path / path).read_text() for path in reached if (tmp_path / path).exists()}
    assert held == {".git/hooks/pre-push": "#!/bin/sh\n"}, said
    assert (tmp_path / "lint" / "fine.py").exists()


@needs_sandbox
@pytest.mark.parametrize("there", [True, False])
def test_a_hooks_folder_behind_a_link_stays_what_it_is(there: bool, tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "config", "core.hooksPath", "tools/hooks")
    if there:
        (tmp_path / "src" / "hooks").mkdir(parents=True)
        (tmp_path / "src" / "hooks" / "pre-commit").write_text("ours")
        (tmp_path / "tools").symlink_to("src")
    evil = "mkdir -p evil/hooks src; for to in evil src; do echo evil > $to/hooks/pre-commit; done"
    _run(Workspace(tmp_path), f"{evil}; rm tools; ln -s evil tools; echo fine > src/code.py")
    assert (tmp_path / "tools").is_symlink() == there
    assert not there or (tmp_path / "tools" / "hooks" / "pre-commit").read_text() == "ours"
    assert (tmp_path / "src" / "code.py").exists()


@needs_sandbox
@pytest.mark.parametrize("entry", ["{0}/bin", "bin", "{0}", "."])
def test_no_program_of_the_workspace_is_started_in_the_place_of_one_of_ours(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, marks = tmp_path / "work", tmp_path / "marks"
    (work / "bin").mkdir(parents=True)
    marks.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("PATH", os.pathsep.join((entry.format(work), os.environ["PATH"])))
    folder = "bin" if entry.endswith("bin") else "."
    shim = f"printf '#!/bin/sh\\ntouch {marks}/%s\\n' $name > {folder}/$name; chmod +x {folder}/$name"
    _run(Workspace(work), f"for name in bwrap bash git; do {shim}; done")
    assert _run(Workspace(work), "echo confined").endswith("confined")
    assert [*marks.iterdir(), *(work / "bin").iterdir()] == []


@needs_sandbox
@pytest.mark.parametrize("mode", ["555", "000"])
def test_a_workspace_closed_by_a_command_is_opened_again_to_put_it_right(mode: str, tmp_path: Path) -> None:
    """Of any user but root, whom no mode keeps out."""
    before = tmp_path.stat().st_mode
    assert ".envrc is protected: what came" in _run(Workspace(tmp_path), f"touch .envrc; chmod {mode} .")
    assert not (tmp_path / ".envrc").exists()
    assert os.geteuid() == 0 or tmp_path.stat().st_mode == before


@needs_sandbox
def test_a_folder_that_leads_into_the_workspace_by_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to("work")
    shell = shell_tool(Workspace(tmp_path / "work"), Sandbox(writable=(tmp_path / "link",)))
    with pytest.raises(ConfigError, match=r"leads by a link to .*/work, where the workspace lies"):
        shell.invoke({"command": "true"})


@needs_sandbox
def test_a_worktree_does_not_reach_the_repository_it_belongs_to(project: Path) -> None:
    _git(project, "worktree", "add", "-q", "../tree")
    tree = project.parent / "tree"
    held = (tree / ".git").read_text()
    _run(
        Workspace(tree),
        f"echo evil > .git; mv .git x; echo 'gitdir: {tree}/mine' > .git; echo x > {project}/.git/config",
    )
    assert (tree / ".git").read_text() == held
    assert "evil" not in (project / ".git" / "config").read_text()


def test_a_git_folder_under_another_name_is_protected_as_such(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q", "--separate-git-dir", "store", "work")
    (tmp_path / "store").rename(tmp_path / "work" / "store")
    (tmp_path / "work" / ".git").write_text("gitdir: store\n")
    with pytest.raises(ToolFailed, match="is protected"):
        Workspace(tmp_path / "work").replace("store/config", b"evil")


@pytest.mark.parametrize("place", [lambda home: home, lambda home: home.parent, lambda _: Path("/")])
@needs_sandbox
def test_a_workspace_that_holds_a_home_is_refused(
    place: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(ConfigError, match="which no command may see: name a folder below"):
        _run(Workspace(place(tmp_path / "home")), "true")


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """More protected files than bubblewrap takes mounts."""
    for number in range(3_200):
        (tmp_path / f"part{number}").mkdir()
        (tmp_path / f"part{number}" / "Makefile").write_text("ours")
    return tmp_path


@pytest.mark.slow
@needs_sandbox
def test_thousands_of_protected_paths_are_protected(crowded: Path) -> None:
    said = _run(Workspace(crowded), "for file in part*/Makefile; do echo evil > $file; done; echo fine > part7/code.py")
    assert said.startswith("exit code: 0")
    assert {file.read_text() for file in crowded.glob("*/Makefile")} == {"ours"}
    assert (crowded / "part7" / "code.py").exists()


@pytest.mark.slow
@needs_sandbox
def test_more_than_can_be_protected_are_refused(crowded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a system lets bubblewrap alone make namespaces."""
    mounting._may_premount.cache_clear()
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    try:
        said = _run(Workspace(crowded), "echo evil > part1/Makefile")
        assert "the command was not run: 3,200 protected paths have to be made read-only for it" in said
        assert "here no more than 2,900 can be. A person has to name a smaller folder as the workspace" in said
        assert (crowded / "part1" / "Makefile").read_text() == "ours"
        for number in range(3_000):
            (crowded / f"part{number}" / "Makefile").unlink()
        assert "Read-only file system" in _run(Workspace(crowded), "echo evil > part3199/Makefile")
    finally:
        mounting._may_premount.cache_clear()


@pytest.mark.slow
@needs_sandbox
def test_a_command_that_waits_too_long_for_another_is_told_so(tmp_path: Path) -> None:
    hold = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        said = shell_tool(Workspace(tmp_path), Sandbox(timeout=1)).invoke({"command": "echo hi"})
        other.communicate("\n")
    assert f"another one has been running in this workspace (of process {other.pid})" in said
    assert "hi" in _run(Workspace(tmp_path), "echo hi")


@pytest.mark.slow
@needs_sandbox
async def test_to_wait_for_another_command_is_no_part_of_a_commands_own_time(tmp_path: Path) -> None:
    long, short = (shell_tool(Workspace(tmp_path), Sandbox(timeout=seconds)) for seconds in (600, 1))
    first = asyncio.create_task(long.ainvoke({"command": "touch begun; until [ -e go ]; do sleep 0.02; done; echo a"}))
    while not (tmp_path / "begun").exists():
        await asyncio.sleep(0.01)
    second, third = (asyncio.create_task(short.ainvoke({"command": "touch ran; echo b"})) for _ in range(2))
    await asyncio.sleep(1.5)
    third.cancel()
    with pytest.raises(asyncio.CancelledError):
        await third
    assert not (tmp_path / "ran").exists()
    (tmp_path / "go").touch()
    assert [said.split("stdout:\n")[1] for said in await asyncio.gather(first, second)] == ["a", "b"]


@pytest.mark.slow
@needs_sandbox
@pytest.mark.parametrize("through_python", [True, False])
def test_a_child_forked_during_a_command_does_not_hold_the_next_one_up(through_python: bool, tmp_path: Path) -> None:
    """Nor does one that C code forks, which Python's own hooks do not see."""
    started = tmp_path / "started"
    tool = shell_tool(Workspace(tmp_path), Sandbox(timeout=30))
    first = threading.Thread(
        target=tool.invoke, args=[{"command": "touch started; until [ -e go ]; do sleep 0.01; done"}]
    )
    first.start()
    # A child of C code forked while Python still starts the command would keep it from ever having started.
    while not started.exists() or forks._undivided():
        pass
    child = os.fork() if through_python else ctypes.PyDLL(None).fork()
    if child == 0:
        # Where C code forked, the child may wait for a lock of the interpreter's for ever: it is killed below.
        signal.pause()
        os._exit(0)
    (tmp_path / "go").touch()
    first.join()
    try:
        assert "hi" in shell_tool(Workspace(tmp_path), Sandbox(timeout=5)).invoke({"command": "echo hi"})
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@needs_sandbox
def test_commands_of_one_workspace_run_one_after_the_other(tmp_path: Path) -> None:
    """One that runs beside another could move a folder away before what is in it is mounted."""
    workspaces = [Workspace(tmp_path), Workspace(tmp_path)]
    command = "echo begin >> log; sleep 0.2; echo end >> log"
    threads = [threading.Thread(target=_run, args=[workspace, command]) for workspace in workspaces]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "log").read_text().split() == ["begin", "end"] * 2


@needs_sandbox
@pytest.mark.skipif(os.geteuid() == 0, reason="no mode keeps root out")
def test_what_lies_in_a_folder_that_nobody_may_enter_stays_there(tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.mkdir()
    (shut / "Makefile").write_text("ours")
    shut.chmod(0)
    _run(Workspace(tmp_path), "chmod 755 shut; echo evil > shut/Makefile; mv shut open")
    shut.chmod(0o755)
    assert (shut / "Makefile").read_text() == "ours"


@pytest.mark.slow
@needs_sandbox
def test_a_long_name_is_moved_away_with_all_that_follow_it(tmp_path: Path) -> None:
    folder = "/".join("議事録資料一覧" * size for size in (10, 11, 12))
    made = [f"{folder}/Makefile", "zz/.vscode/tasks.json", "bare/HEAD"]
    command = "\n".join(f"mkdir -p $(dirname {path}) && echo evil > {path}" for path in made)
    said = _run(Workspace(tmp_path), f"{command}; mkdir bare/objects bare/refs")
    assert _tree(tmp_path) == {}
    assert said.count("moved to .pointsman-removed-") == 3
    assert all(
        (tmp_path / line.split(" moved to ")[1].split(", and a ")[0]).exists() for line in said.splitlines()[-3:]
    )


@needs_sandbox
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_where_no_inode_is_left_what_a_command_made_gets_another_name(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=40", "tmpfs", tmp_path], check=True)
    try:
        command = "echo evil > Makefile; mkdir -p b/objects b/refs; : > b/HEAD; for i in $(seq 99); do : > f$i; done"
        said = _run(Workspace(tmp_path), f"{command} 2>/dev/null")
        assert not (tmp_path / "Makefile").exists()
        assert not (tmp_path / "b" / "HEAD").exists()
        assert "moved to .pointsman-removed-" in said
        assert "moved to b/.pointsman-removed-" in said
    finally:
        subprocess.run(["umount", tmp_path], check=True)


DEEP = """
import os
for _ in range({count}):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
open("Makefile", "w").close()
"""


@needs_sandbox
@pytest.mark.parametrize("count", [19, 40])
def test_what_lies_too_deep_to_be_looked_at_is_moved_away_with_its_folder(count: int, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    command = f"python3 - <<'END'\n{DEEP.format(count=count)}\nEND\nmkdir zz; echo evil > zz/Makefile"
    assert _run(workspace, command).count("moved to .pointsman-removed-") == 2
    assert _tree(tmp_path) == {}
    assert "hi" in _run(workspace, "echo hi")
    workspace.replace("a.txt", b"x")
    with pytest.raises(ToolFailed, match="is too long"):
        workspace.replace("/".join(["d" * 200] * 19 + ["HEAD"]), b"x")


@needs_sandbox
def test_a_folder_whose_names_can_be_read_and_nothing_more_is_opened(tmp_path: Path) -> None:
    """Of any user but root, whom no mode keeps out."""
    said = _run(Workspace(tmp_path), "mkdir shut; echo evil > shut/Makefile; chmod 400 shut")
    assert "shut/Makefile is protected: what came" in said
    assert _tree(tmp_path) == {}
    assert "hi" in _run(Workspace(tmp_path), "echo hi")


@needs_sandbox
def test_no_folder_above_the_workspace_is_moved_where_one_may_be_written(tmp_path: Path) -> None:
    work = tmp_path / "top" / "mid" / "inner" / "work"
    work.mkdir(parents=True)
    tool = shell_tool(Workspace(work), Sandbox(writable=(tmp_path / "top",)))
    said = str(tool.invoke({"command": "cd /; mv {0}/mid {0}/c; mv {0}/mid/inner {0}/c".format(tmp_path / "top")}))
    assert said.count("Device or resource busy") == 2
    assert "hi" in str(tool.invoke({"command": "echo hi > a.txt; echo hi > ../../x; cat ../../x"}))
    assert _tree(tmp_path) == {"top/mid/x": "hi\n", "top/mid/inner/work/a.txt": "hi\n"}
