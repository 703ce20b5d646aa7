"""No path leaves the workspace, by name, by link or by race, and what is protected stays as it was."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from langchain_core.tools import BaseTool
from pointsman.configs.errors import ConfigError
from pointsman.tools import ToolFailed, Workspace, file_tools, image_tools
from pointsman.tools.files import openat2
from pointsman.tools.files.folders import Entry
from pointsman.tools.files.openat2 import open_beneath
from pointsman.tools.files.workspace import shown
from pydantic import ValidationError

SECRET = "the secret that lies outside"


@pytest.fixture(params=["kernel", "walk"], autouse=True)
def opening(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run every test twice: with openat2, and as on a kernel that has none."""
    if request.param == "walk":

        def absent(root: int, parts: Any, flags: int) -> int:
            raise OSError(errno.ENOSYS, "no openat2")

        monkeypatch.setattr(openat2, "_resolved_by_kernel", absent)
    return str(request.param)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return _furnished(tmp_path)


def _furnished(home: Path) -> Path:
    """A workspace with links out of it, beside a folder that holds a secret."""
    outside, inside = home / "outside", home / "inside"
    (inside / "a" / "b").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.txt").write_text(SECRET)
    (inside / "plain.txt").write_text("plain")
    (inside / "a" / "deep.txt").write_text("deep")
    (inside / "to_file").symlink_to(outside / "secret.txt")
    (inside / "to_folder").symlink_to(outside)
    (inside / "to_parent").symlink_to("..")
    (inside / "a" / "to_root").symlink_to("/")
    (inside / "dangling").symlink_to(outside / "made.txt")
    (inside / "to_self").symlink_to("plain.txt")
    return inside


def _state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.lstat().st_mode, p.read_bytes() if p.is_file() else b"") for p in folder.rglob("*")}


@pytest.fixture
def tools(place: Path) -> dict[str, BaseTool]:
    workspace = Workspace(place)
    return {tool.name: tool for tool in (*file_tools(workspace), *image_tools(workspace))}


def _all_calls(tools: dict[str, BaseTool], path: str) -> Iterator[str]:
    for name, arguments in (
        ("read_file", {}),
        ("read_image", {}),
        ("list_files", {}),
        ("edit_file", {"old": SECRET, "new": "changed"}),
        ("write_file", {"content": "changed"}),
    ):
        try:
            yield str(tools[name].invoke({"path": path, **arguments}))
        except ValidationError:  # lone surrogates are no text to pydantic
            yield ""


_COMPONENTS = st.sampled_from(
    [
        *("..", ".", "", "a", "b", "plain.txt", "to_file", "to_folder", "to_parent", "to_root", "dangling", "to_self"),
        *(
            "secret.txt",
            "outside",
            "inside",
            "made.txt",
            "\0",
            "x" * 300,
            "é",
            "e\u0301",
            "\u2024\u2024",
            "..\\..",
            "~",
        ),
        *("\ud800", "%2e%2e", "proc", "self", "root", "new"),
    ]
) | st.text(max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_COMPONENTS, max_size=7), st.booleans())
@example(["to_folder", "secret.txt"], False)
@example(["a", "..", "to_parent", "outside", "secret.txt"], False)
@example(["dangling"], False)
@example(["a", "to_root", "etc", "passwd"], False)
@example(["x" * 200] * 30, False)
def test_no_path_reads_or_writes_outside(
    tools: dict[str, BaseTool], place: Path, parts: list[str], absolute: bool
) -> None:
    # The tools are made once: that takes much longer than to call them all.
    for folder in (place, place.parent / "outside"):
        shutil.rmtree(folder)
    _furnished(place.parent)
    before = _state(place.parent / "outside")
    path = "/".join(parts)
    path = f"{place.parent}/{path}" if absolute else path
    for answer in _all_calls(tools, path):
        assert SECRET not in answer
    assert _state(place.parent / "outside") == before
    assert sorted(os.listdir(place.parent)) == ["inside", "outside"]


def test_the_naive_way_out_is_there_and_is_closed(place: Path) -> None:
    naive = place / "to_folder" / "secret.txt"
    assert naive.read_text() == SECRET
    assert os.read(os.open(naive, os.O_RDONLY | os.O_NOFOLLOW), 99).decode() == SECRET  # follows a linked folder
    with pytest.raises(ToolFailed, match=r"link"), Workspace(place).reading("to_folder/secret.txt"):
        pass


@pytest.mark.parametrize("path", ["to_file", "to_folder/secret.txt", "dangling", "to_self", "a/to_root/etc/passwd"])
def test_a_link_is_refused_for_reading_and_writing(place: Path, path: str) -> None:
    workspace = Workspace(place)
    with pytest.raises(ToolFailed, match="link"), workspace.reading(path):
        pass
    with pytest.raises(ToolFailed, match="link"):
        workspace.replace(path, b"changed")
    assert not (place.parent / "outside" / "made.txt").exists()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../outside/secret.txt", "leads out of the workspace"),
        ("a/../../outside/secret.txt", "leads out of the workspace"),
        ("/etc/passwd", "is absolute"),
        ("a\0b", "NUL"),
        ("x" * 300, "is too long"),
        ("x/" * 3000, "is too long"),
        ("missing/new.txt", "does not exist"),
        ("a", "is a folder"),
        (".", "is a folder"),
        ("plain.txt/x", "not a folder"),
        ("\ud800", "no file name can"),
    ],
)
def test_each_refusal_says_why(place: Path, path: str, reason: str) -> None:
    with pytest.raises(ToolFailed, match=reason) as refused, Workspace(place).reading(path):
        pass
    assert len(str(refused.value)) < 300
    assert str(refused.value).isprintable()


def test_dots_within_the_workspace_are_only_another_name(place: Path) -> None:
    with Workspace(place).reading("./a/b/..//deep.txt") as file:
        assert file.read() == b"deep"


@pytest.mark.skipif(sys.platform != "linux", reason="openat2 is Linux's")
def test_linux_resolves_paths_in_the_kernel(place: Path, opening: str) -> None:
    if opening == "walk":
        pytest.skip("this run has no openat2")
    root = os.open(place, os.O_RDONLY)
    try:
        os.close(openat2._resolved_by_kernel(root, ("a", "deep.txt"), os.O_RDONLY))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            pytest.skip("this kernel or container has no openat2")
        raise
    finally:
        os.close(root)


def test_neither_opener_follows_a_link_or_climbs(place: Path) -> None:
    root = os.open(place, os.O_RDONLY)
    try:
        for kernel in (True, False):
            for parts in (("to_folder", "secret.txt"), ("to_file",), ("a", "to_root", "etc"), ("to_parent", "outside")):
                with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
                    open_beneath(root, parts, os.O_RDONLY, kernel=kernel)
            for parts in (("..", "outside"), ("a/../..",), ("",)):
                with pytest.raises(OSError, match="not plain"):
                    open_beneath(root, parts, os.O_RDONLY, kernel=kernel)
            descriptor = open_beneath(root, ("a", "deep.txt"), os.O_RDONLY, kernel=kernel)
            assert os.read(descriptor, 9) == b"deep"
            assert not os.get_inheritable(descriptor)
            os.close(descriptor)
    finally:
        os.close(root)


def test_a_folder_that_turns_into_a_link_meanwhile_leads_nowhere(place: Path) -> None:
    workspace, over = Workspace(place), threading.Event()
    outside = place.parent / "outside"
    (place / "flips").mkdir()
    (place / "flips" / "secret.txt").write_text("inside")
    (place / "trap").symlink_to(outside)

    swap = ctypes.CDLL(None).renameat2
    at_fdcwd, rename_exchange = -100, 2

    def flip() -> None:
        one, other = os.fsencode(place / "flips"), os.fsencode(place / "trap")
        while not over.is_set():
            assert swap(at_fdcwd, one, at_fdcwd, other, rename_exchange) == 0

    before, flipper, seen = _state(outside), threading.Thread(target=flip), set()
    flipper.start()
    try:
        for _ in range(300):
            try:
                with workspace.reading("flips/secret.txt") as file:
                    seen.add(file.read())
                workspace.replace("flips/secret.txt", b"inside")
            except ToolFailed:
                continue
    finally:
        over.set()
        flipper.join()
    assert seen <= {b"inside"}
    assert _state(outside) == before


@pytest.mark.parametrize(
    "path",
    [
        ".git/hooks/pre-commit", ".git/config", ".git", "vendor/lib/.git/config", ".GIT/config", ".ｇit/config",
        ".gitmodules", ".github/workflows/ci.yml", ".gitlab-ci.yml", ".ci/run.sh", "Jenkinsfile", ".bashrc",
        "home/.zshrc", ".ssh/authorized_keys", ".pointsman/state.db", "models.yaml", "configs/routing.yaml",
        "a/../.git/config", "./configs//risk.yaml", ".config/git/config", ".envrc", ".env", "app/.env.production",
        "Makefile", "lib/makefile", "rules.mk", "package.json", "web/package.json", ".claude/settings.json", "justfile",
        "pyproject.toml", "src/setup.py", ".venv/lib/python3.11/site-packages/yaml.py", "node_modules/.bin/x",
        "gradlew.bat", ".local/bin/git", ".config/systemd/user/x.service", ".aws/credentials", "AGENTS.md",
        "src/claude.md", ".aider.conf.yml", ".windsurfrules", "opencode.jsonc", "__pycache__/desk.cpython-311.pyc",
        ".devcontainer/devcontainer.json", ".devcontainer.json", ".githooks/pre-push", ".hg/hgrc", "lefthook.yml",
        ".circleci/config.yml", ".cirrus.yml", "azure-pipelines-release.yml", "buildspec.yaml", "sitecustomize.py",
        "venv/lib/x.pth", "work.code-workspace", ".cursor/rules", ".vimrc", "rust-toolchain.toml",
        "lib/.python-version", "uv.toml", "setup.cfg", ".pylintrc", "web/eslint.config.mjs", ".eslintrc.cjs",
        ".prettierrc", "pnpm-workspace.yaml", ".openhands/setup.sh", ".sl/config", "_darcs/prefs/defaults",
        "gradle.properties", "global.json",
    ],
)  # fmt: skip
def test_what_would_act_later_with_more_authority_is_protected(place: Path, path: str) -> None:
    before = _state(place)
    with pytest.raises(ToolFailed, match="is protected"):
        Workspace(place).replace(path, b"x")
    assert _state(place) == before


@pytest.mark.parametrize(
    "path",
    [
        "src/models.yaml",
        "docs/configs/risk.yaml",
        "git/config",
        ".gitignore",
        "a/ci/x.py",
        "env",
        "Makefile.md",
        "src/python-version",
        "lint.py",
    ],
)
def test_what_only_looks_alike_is_not_protected(place: Path, path: str) -> None:
    Workspace(place).replace(path, b"x")
    assert (place / path).read_bytes() == b"x"


def test_a_caller_can_protect_more(place: Path) -> None:
    workspace = Workspace(place, protected=["*.lock", "/a/b"])
    for path in ("x/y/poetry.lock", "a/b/c.txt", ".git/config"):
        with pytest.raises(ToolFailed, match="is protected"):
            workspace.replace(path, b"x")
    workspace.replace("c/a/b/c.txt", b"x")


def test_a_caller_can_protect_files_by_their_paths_there_or_not(place: Path, tmp_path: Path) -> None:
    (place / "real").mkdir()
    (place / "link").symlink_to("real")
    files = [place / "x[1]" / "kept.yaml", place / "link" / "kept.yaml", place / "state", tmp_path / "elsewhere"]
    workspace = Workspace(place, protected=files)
    for path in ("x[1]/kept.yaml", "X[1]/Kept.yaml", "real/kept.yaml", "state/a/b"):
        with pytest.raises(ToolFailed, match="is protected"):
            workspace.replace(path, b"x")
    for path in ("x1/kept.yaml", "real/other.yaml", "elsewhere", "a/state"):
        workspace.replace(path, b"x")


def test_a_workspace_inside_what_is_protected_is_read_only(place: Path) -> None:
    (place / "state" / "deep").mkdir(parents=True)
    for root in (place / "state", place / "state" / "deep"):
        with pytest.raises(ToolFailed, match="is protected"):
            Workspace(root, protected=[place / "state"]).replace("any.txt", b"x")


def test_pipes_sockets_and_devices_are_refused_at_once(place: Path) -> None:
    os.mkfifo(place / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(place)  # socket paths are short
    try:
        listener.bind("sock")
    finally:
        os.chdir(here)
        listener.close()
    for name in ("pipe", "sock"):
        with pytest.raises(ToolFailed, match="not a regular file"), Workspace(place).reading(name):
            pass
        with pytest.raises(ToolFailed, match="not a regular file"):
            Workspace(place).replace(name, b"x")


def test_writing_keeps_the_mode_and_leaves_other_links_alone(place: Path) -> None:
    script, other = place / "run.sh", place.parent / "outside" / "run.sh"
    script.write_text("old")
    script.chmod(0o750)
    os.link(script, other)
    Workspace(place).replace("run.sh", b"new")
    assert script.read_text() == "new"
    assert stat.S_IMODE(script.stat().st_mode) == 0o750
    assert other.read_text() == "old"


def test_a_read_only_file_stays_as_it_is(place: Path) -> None:
    (place / "plain.txt").chmod(0o444)
    with pytest.raises(ToolFailed, match="is read-only"):
        Workspace(place).replace("plain.txt", b"new")
    assert (place / "plain.txt").read_text() == "plain"


def test_a_write_that_fails_leaves_the_old_file_and_no_other(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    before = _state(place)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ToolFailed, match="the disk is full"):
        Workspace(place).replace("plain.txt", b"new")
    assert _state(place) == before


def test_walking_names_links_but_never_follows_them(place: Path) -> None:
    (place / ".git").mkdir()
    (place / ".git" / "config").write_text("x")
    found = list(Workspace(place).walk())
    assert Entry("to_folder", "link") in found
    assert Entry("a/b", "folder") in found
    assert Entry(".git", "folder") in found
    assert not [e for e in found if e.path.startswith(("to_folder/", "to_parent/", ".git/", "a/to_root/"))]
    assert [e.path for e in found] == sorted(e.path for e in found)
    assert {e.path for e in Workspace(place).walk("a", deep=False)} == {"a/b", "a/deep.txt", "a/to_root"}
    assert list(Workspace(place).walk("a/deep.txt")) == [Entry("a/deep.txt", "file")]
    for path in ("to_folder", "to_file", "to_folder/secret.txt"):
        with pytest.raises(ToolFailed, match="link"):
            list(Workspace(place).walk(path))


def test_a_workspace_needs_a_folder(place: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        Workspace(place / "plain.txt")
    with pytest.raises(ConfigError, match="is not a folder"):
        Workspace(place / "absent")


def test_nothing_stays_open(place: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    workspace = Workspace(place)
    for path in ("plain.txt", "to_file", "a/deep.txt", "absent", "a", "../x", "to_folder/secret.txt", "plain.txt/x"):
        try:
            with workspace.reading(path) as file:
                file.read()
            workspace.replace(path, b"x")
        except ToolFailed:
            continue
    list(workspace.walk())
    assert len(os.listdir("/proc/self/fd")) == before


@given(st.text())
def test_a_path_is_shown_on_one_short_printable_line(path: str) -> None:
    assert shown(path).isprintable()
    assert len(shown(path)) <= 203
