"""What git obeys in repositories within a workspace, and second names of what is protected there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from pointsman.tools import Sandbox, ToolFailed, Workspace, probe, shell_tool

needs_sandbox = pytest.mark.skipif(not probe().working, reason=str(probe()))


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def _run(workspace: Workspace, command: str) -> str:
    return str(shell_tool(workspace, Sandbox(timeout=600)).invoke({"command": command}))


def _committed(folder: Path) -> Path:
    folder.mkdir(parents=True)
    _git(folder, "init", "-q")
    (folder / "code.py").write_text("x = 1\n")
    _git(folder, "add", ".")
    _git(folder, "commit", "-qm", "first")
    return folder


# second names


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A repository whose hook and build file have second names, and a file with a second name elsewhere."""
    work = _committed(tmp_path / "work")
    (work / "scripts").mkdir()
    (tmp_path / "bashrc").write_text("ours")
    for name, second in (
        ("work/scripts/hook.sh", "work/.git/hooks/pre-commit"),
        ("work/copy.txt", "work/Makefile"),
        ("work/rc.txt", "bashrc"),
        ("work/one.txt", "work/scripts/other.txt"),
    ):
        (tmp_path / name).write_text("ours")
        (tmp_path / second).unlink(missing_ok=True)
        (tmp_path / second).hardlink_to(tmp_path / name)
    return work


@needs_sandbox
def test_no_command_writes_a_protected_file_or_one_elsewhere_by_its_second_name(linked: Path) -> None:
    said = _run(
        Workspace(linked), "for file in scripts/hook.sh copy.txt rc.txt one.txt; do echo evil > $file; done; ls"
    )
    assert said.count("Read-only file system") == 3
    held = [(linked / name).read_text() for name in (".git/hooks/pre-commit", "Makefile", "../bashrc")]
    assert held == ["ours"] * 3
    # All names of this one may be written.
    assert (linked / "scripts" / "other.txt").read_text() == "evil\n"


def test_a_file_tool_gives_the_name_a_file_of_its_own(linked: Path) -> None:
    for name in ("scripts/hook.sh", "copy.txt", "rc.txt"):
        Workspace(linked).replace(name, b"new")
    held = [(linked / name).read_text() for name in (".git/hooks/pre-commit", "Makefile", "../bashrc")]
    assert held == ["ours"] * 3


@needs_sandbox
@pytest.mark.parametrize("second", [".git/hooks/pre-commit", "Makefile"])
def test_a_second_name_that_is_made_between_two_commands_is_noticed(second: str, tmp_path: Path) -> None:
    work = _committed(tmp_path / "work")
    (work / "scripts").mkdir()
    (work / "scripts" / "hook.sh").write_text("ours")
    shell = shell_tool(Workspace(work), Sandbox(timeout=600))
    settle = "sleep 0.1"  # a folder that changed a moment ago is looked at again anyway
    for command in (settle, "echo ours > scripts/hook.sh"):
        assert shell.invoke({"command": command}) == "exit code: 0"
    (work / second).hardlink_to(work / "scripts" / "hook.sh")
    assert "Read-only file system" in shell.invoke({"command": "echo evil > scripts/hook.sh"})
    (work / second).unlink()
    assert shell.invoke({"command": "echo fine > scripts/hook.sh"}) == "exit code: 0"


@pytest.fixture
def led(tmp_path: Path) -> Path:
    """A workspace with links at protected paths, at its top and below, to something and to nothing."""
    (tmp_path / "below").mkdir()
    for link, target in ((".envrc", "local.sh"), ("below/Makefile", "build.txt"), ("below/justfile", "absent.txt")):
        (tmp_path / link).symlink_to(target)
    for name in ("local.sh", "below/build.txt"):
        (tmp_path / name).write_text("ours")
    return tmp_path


@needs_sandbox
def test_no_command_has_a_link_at_a_protected_path_lead_to_something_of_its_own(led: Path) -> None:
    _run(
        Workspace(led),
        "mkdir made other; mv .envrc made/Makefile; echo evil > made/local.sh; "
        "echo evil > below/build.txt; echo evil > below/absent.txt; mv below/justfile other/justfile; "
        "echo evil > other/absent.txt",
    )
    for name in (".envrc", "below/Makefile"):
        assert (led / name).read_text() == "ours"
    assert (led / "below" / "justfile").is_symlink()
    assert not [name for name in ("made/Makefile", "below/absent.txt", "other/justfile") if os.path.lexists(led / name)]


@needs_sandbox
def test_a_folder_takes_its_links_along(tmp_path: Path) -> None:
    (tmp_path / "work" / "below").mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("ours")
    (tmp_path / "work" / "below" / "Makefile").symlink_to(tmp_path / "elsewhere")
    assert _run(Workspace(tmp_path / "work"), "mv below moved").startswith("exit code: 0")
    assert (tmp_path / "work" / "moved" / "Makefile").read_text() == "ours"


@pytest.mark.parametrize("path", ["local.sh", "below/build.txt", "below/absent.txt"])
def test_file_tools_keep_from_what_a_link_at_a_protected_path_leads_to(path: str, led: Path) -> None:
    with pytest.raises(ToolFailed, match="is protected"):
        Workspace(led).replace(path, b"evil")


# repositories within the workspace


def _vendored(work: Path) -> Path:
    return _committed(work / "vendor" / "lib")


def _submodule(work: Path) -> Path:
    _committed(work.parent / "elsewhere")
    _git(work, "submodule", "add", "-q", str(work.parent / "elsewhere"), "vendor/lib")
    return work / "vendor" / "lib"


def _worktree(work: Path) -> Path:
    _git(work, "config", "extensions.worktreeConfig", "true")
    _git(work, "worktree", "add", "-q", "vendor/lib")
    return work / "vendor" / "lib"


def _separate(work: Path) -> Path:
    _git(work, "init", "-q", "--separate-git-dir", "store", "vendor/lib")
    return work / "vendor" / "lib"


_KINDS = pytest.mark.parametrize("make", [_vendored, _submodule, _worktree, _separate])


def _configured(work: Path, make: Callable[[Path], Path]) -> Path:
    """A repository within another, whose configuration names files of the workspace, there and not."""
    inner = make(_committed(work))
    where = ["--worktree"] if make is _worktree else []
    for key, value in (
        ("core.hooksPath", "tools/hooks"),
        ("include.path", str(inner / "shared.cfg")),
        ("core.fsmonitor", "../monitor.sh"),
        ("alias.x", "!sh alias.sh"),
    ):
        _git(inner, "config", *where, key, value)
    (inner / "tools" / "hooks").mkdir(parents=True)
    (inner / "tools" / "hooks" / "pre-commit").write_text("ours")
    (inner / "shared.cfg").write_text("[alias]\n")
    return inner


_OBEYED = ("tools/hooks/pre-commit", "tools/hooks/post-merge", "shared.cfg", "../monitor.sh", "alias.sh", ".git")


def _state(inner: Path) -> dict[str, str]:
    there = [name for name in _OBEYED if (inner / name).is_file()]
    return {name: (inner / name).read_text() for name in there}


@needs_sandbox
@_KINDS
def test_no_command_changes_what_git_obeys_in_a_repository_within(make: Callable[[Path], Path], tmp_path: Path) -> None:
    inner = _configured(tmp_path / "work", make)
    before, config = _state(inner), _git(inner, "config", "--list")
    names = " ".join(name for name in _OBEYED if name != ".git")
    attack = (
        f"cd vendor/lib; for name in {names}; do echo evil > $name; done; git config core.pager evil; "
        "mv tools tools2; mkdir -p tools/hooks; echo evil > tools/hooks/pre-commit; cd ../..; mv store store2; "
        "mv vendor vendor2; cp -r vendor2 vendor; echo evil > vendor/monitor.sh; echo evil > vendor2/monitor.sh; "
        "echo y > vendor/lib/code.py"
    )
    said = _run(Workspace(tmp_path / "work"), attack)
    assert _state(inner) == before, said
    assert _git(inner, "config", "--list") == config
    assert (inner / "code.py").read_text() == "y\n"


@_KINDS
def test_file_tools_keep_from_what_git_obeys_in_a_repository_within(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    inner = _configured(tmp_path / "work", make)
    workspace = Workspace(tmp_path / "work")
    for name in (*_OBEYED, *(["../../store/config"] if make is _separate else [])):
        path = os.path.relpath(inner / name, tmp_path / "work")
        with pytest.raises(ToolFailed, match="is protected"):
            workspace.replace(path, b"evil")
    workspace.replace("vendor/lib/code.py", b"fine")


def test_a_repository_that_comes_or_changes_meanwhile_is_seen(tmp_path: Path) -> None:
    workspace = Workspace(_committed(tmp_path / "work"))
    workspace.replace("vendor/lib/mine/pre-commit", b"fine")
    inner = _git(workspace.root / "vendor" / "lib", "init", "-q") or workspace.root / "vendor" / "lib"
    workspace.replace("vendor/lib/mine/pre-commit", b"fine")
    for folder in (inner, workspace.root):
        _git(folder, "config", "core.hooksPath", "mine")
        with pytest.raises(ToolFailed, match="is protected"):
            workspace.replace(f"{os.path.relpath(folder, workspace.root)}/mine/pre-commit", b"evil")


def test_asking_git_runs_nothing_that_a_repository_names(tmp_path: Path) -> None:
    work = _committed(tmp_path / "work")
    mark = tmp_path / "mark"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    (tmp_path / "hooks").mkdir()
    for hook in ("post-index-change", "reference-transaction", "post-checkout"):
        (tmp_path / "hooks" / hook).symlink_to(program)
    for key in ("fsmonitor", "pager", "editor", "sshCommand", "askPass"):
        _git(work, "config", f"core.{key}", str(program))
    for key in ("alias.config", "alias.rev-parse"):
        _git(work, "config", key, f"!{program}")
    _git(work, "config", "core.hooksPath", str(tmp_path / "hooks"))
    Workspace(work).replace("code.py", b"y = 1\n")
    assert not mark.exists()
    subprocess.run(["git", "status"], cwd=work, check=True, capture_output=True)
    assert mark.exists()


# a folder that git takes for a repository


def _bare(mark: Path, *, common: str = "") -> str:
    """Commands that make the folder they run in a repository whose configuration makes a mark."""
    laid = f"echo {common} > commondir; mkdir -p {common}" if common else ":"
    settings = "[core]\\nbare=false\\nworktree=.\\nrepositoryformatversion=0\\n"
    settings += f"fsmonitor=touch {mark}\\n[alias]\\nst=!touch {mark}\\n"
    rest = common or "."
    laid += f"; mkdir {rest}/objects {rest}/refs; printf '{settings}' > {rest}/config"
    return f"echo 'ref: refs/heads/main' > HEAD; {laid}"


@needs_sandbox
@pytest.mark.parametrize("folder", ["src", "new/deep", "."])
@pytest.mark.parametrize("common", ["", "c"])
def test_a_folder_does_not_stay_a_repository_that_a_command_has_made_it(
    folder: str, common: str, tmp_path: Path
) -> None:
    work, mark = tmp_path / "work", tmp_path / "mark"
    (work / "src").mkdir(parents=True)
    (work / "src" / "code.py").write_text("x = 1\n")
    made = f"mkdir -p {folder}; cd {folder}; {_bare(mark, common=common)}"
    said = _run(Workspace(work), f"{made}; echo evil > Makefile")
    subprocess.run(["bash", "-c", "git status; git st"], cwd=work / folder, capture_output=True, check=False)
    assert not mark.exists()
    assert "had become a git repository, whose configuration runs programs: its HEAD was moved to " in said
    assert (work / "src" / "code.py").exists()
    assert not (work / folder / "Makefile").exists()
    # It is none of Pointsman's doing that git would have obeyed.
    bare = f"mkdir -p x; cd x; {_bare(mark, common=common)}; git status; git st"
    subprocess.run(["bash", "-c", bare], cwd=tmp_path, capture_output=True, check=False)
    assert mark.exists()


@needs_sandbox
def test_a_repository_without_a_working_tree_is_protected_as_it_is(tmp_path: Path) -> None:
    work = _committed(tmp_path / "work")
    _git(work, "init", "-q", "--bare", "fixtures/some.git")
    _git(work, "-C", "fixtures/some.git", "config", "core.hooksPath", "../hooks")
    said = _run(
        Workspace(work),
        "cd fixtures; git -C some.git config core.pager x; echo evil > some.git/hooks/update; mv some.git other.git; "
        "mkdir hooks; echo evil > hooks/update; mv ../fixtures ../fixtures2",
    )
    assert "fixtures/hooks is protected" in said
    assert "pager" not in (work / "fixtures" / "some.git" / "config").read_text()
    assert not (work / "fixtures" / "some.git" / "hooks" / "update").exists()
    for path in ("fixtures/some.git/config", "fixtures/some.git/hooks/update", "fixtures/hooks/update"):
        with pytest.raises(ToolFailed, match="is protected"):
            Workspace(work).replace(path, b"evil")


@pytest.mark.parametrize(
    "paths", [["x/objects/a", "x/refs/a", "x/HEAD"], ["x/HEAD", "x/refs/a", "x/objects/a"], ["HEAD", "commondir"]]
)
def test_file_tools_do_not_make_a_repository(paths: list[str], tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    *first, last = paths
    for path in first:
        workspace.replace(path, b"ref: refs/heads/main")
    with pytest.raises(ToolFailed, match=r"is protected: git takes .* for a repository with it"):
        workspace.replace(last, b"ref: refs/heads/main")


@needs_sandbox
def test_what_a_command_makes_has_no_say_in_what_is_protected(tmp_path: Path) -> None:
    """Nor where a file tool looks while it runs."""
    work = _committed(tmp_path / "work")
    (work / "src").mkdir()
    (work / "src" / "code.py").write_text("x = 1\n")
    workspace = Workspace(work)
    made = "mkdir -p in/.git/objects in/.git/refs; echo 'ref: refs/heads/main' > in/.git/HEAD; "
    made += "printf '[core]\\nhooksPath=../src\\n' > in/.git/config; "
    command = threading.Thread(
        target=_run, args=[workspace, f"{made} touch ready; until [ -e go ]; do sleep 0.01; done"]
    )
    command.start()
    while not (work / "ready").exists() and command.is_alive():
        pass
    workspace.replace("go", b"")
    command.join()
    assert (work / "src" / "code.py").exists()
    workspace.replace("src/code.py", b"y = 1\n")


@needs_sandbox
@pytest.mark.parametrize("initialised", [True, False])
def test_a_users_configuration_that_is_a_link_into_the_workspace_is_protected(
    initialised: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "home" / "dotfiles"
    work.mkdir(parents=True)
    if initialised:
        _git(work, "init", "-q")
    for name in ("gitconfig", "more"):
        (work / name).write_text("[user]\n\tname = ours\n")
    (tmp_path / "home" / ".gitconfig").symlink_to(work / "gitconfig")
    (work / "gitconfig").write_text("[include]\n\tpath = ~/linked\n")
    (tmp_path / "home" / "linked").symlink_to(work / "more")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    said = _run(Workspace(work), "echo evil >> gitconfig; echo evil >> more")
    assert said.count("Read-only file system") == 2
    with pytest.raises(ToolFailed, match="protected"):
        Workspace(work).replace("gitconfig", b"evil")


WRITER = """
import sys
from pointsman.tools import ToolFailed, Workspace

workspace = Workspace(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    try:
        workspace.replace(line.rstrip("\\n"), b"")
        print("written", flush=True)
    except ToolFailed:
        print("refused", flush=True)
"""


@pytest.mark.slow
def test_file_tools_beside_each_other_do_not_make_a_repository(tmp_path: Path) -> None:
    """Each with a workspace of its own, in threads and in processes."""
    for number in range(50):
        (tmp_path / f"q{number}" / "refs").mkdir(parents=True)
    together = threading.Barrier(2)

    def write(name: str) -> None:
        workspace = Workspace(tmp_path)
        for number in range(50):
            together.wait()
            with suppress(ToolFailed):
                workspace.replace(f"q{number}/{name}", b"")

    threads = [threading.Thread(target=write, args=[name]) for name in ("HEAD", "objects/x")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [folder for folder in tmp_path.iterdir() if {"HEAD", "objects"} <= {one.name for one in folder.iterdir()}]
    assert made == []


@pytest.mark.slow
def test_what_another_process_completes_to_a_repository_is_taken_back(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"q{number}" / "refs").mkdir(parents=True)
    both = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for _ in range(2)
    ]
    ended: list[list[str]] = []
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for number in range(50):
        for process, name in zip(both, ("HEAD", "objects/x"), strict=True):
            assert process.stdin is not None
            process.stdin.write(f"q{number}/{name}\n")
        ended.append([process.stdout.readline() for process in both if process.stdout is not None])
    for process in both:
        process.communicate()
    assert all(said != ["written\n", "written\n"] for said in ended)
    made = [folder for folder in tmp_path.iterdir() if {"HEAD", "objects"} <= {one.name for one in folder.iterdir()}]
    assert made == []


@needs_sandbox
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a repository to another user")
def test_what_git_obeys_in_another_users_repository_is_protected(tmp_path: Path) -> None:
    work = _committed(tmp_path / "work")
    (work / "scripts").mkdir()
    (work / "scripts" / "hook.sh").write_text("ours")
    _git(work, "config", "core.hooksPath", "scripts")
    for place in (work, *work.rglob("*")):
        os.chown(place, 1000, 1000)
    assert "Read-only file system" in _run(Workspace(work), "echo evil > scripts/hook.sh")


def test_where_git_cannot_be_asked_nothing_is_written(tmp_path: Path) -> None:
    work = _committed(tmp_path / "work")
    (work / ".git" / "config").write_text("[core\n")
    workspace = Workspace(work)
    for _ in range(2):
        with pytest.raises(ToolFailed, match=r"git does not say what it obeys in .*: fatal: bad config line 1"):
            workspace.replace("a.txt", b"x")
    (work / ".git" / "config").write_text("[core]\n\thooksPath = scripts\n")
    workspace.replace("a.txt", b"x")
    with pytest.raises(ToolFailed, match="protected"):
        workspace.replace("scripts/x", b"x")


@needs_sandbox
def test_programs_that_git_runs_by_another_are_protected(tmp_path: Path) -> None:
    work = _committed(tmp_path / "work")
    (work / "tools" / "lib").mkdir(parents=True)
    for key, value in (
        ("filter.a.clean", "python3 -m tools.clean"),
        ("alias.b", "!cd tools && ./b.sh"),
        ("filter.c.clean", "node -r ./tools/pre.js ./tools/main.js"),
        ("alias.d", '!"$(git rev-parse --show-toplevel)/tools/d.sh"'),
        ("core.sshCommand", "ssh -F ./tools/ssh_config"),
        ("init.templateDir", str(work / "template")),
        ("filter.g.process", "uv run tools/g.py"),
        ("core.pager", "perl -I ./tools/lib tools/pager.pl"),
        ("alias.h", "!f() { sh tools/h.sh; }; f"),
        ("alias.i", "!make -f tools/i.mak"),
        ("alias.j", "!timeout 5 tools/j.sh"),
        ("alias.s", "!grep -rn todo tools/ ./"),
    ):
        _git(work, "config", key, value)
    made = "clean.py b.sh pre.js main.js d.sh ssh_config g.py lib/X.pm pager.pl h.sh i.mak j.sh"
    _run(Workspace(work), f"mkdir -p template/hooks; for f in {made} free.py; do echo x > tools/$f; done")
    assert [path.name for path in (work / "tools").rglob("*") if path.is_file()] == ["free.py"]
    assert not (work / "template").exists()
