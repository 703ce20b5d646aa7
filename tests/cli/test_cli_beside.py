"""What runs with a file that a command names: that file, what it imports beside it, and nothing else of its folder."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib._bootstrap_external import _code_to_hash_pyc  # type: ignore[attr-defined]  # no public name makes one
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.settings import GIVEN, Given, opened
from pointsman.cli.target.target import load_target, read_with
from pointsman.configs.process.variables import set_to

Run = Callable[..., Any]

NOTE = "open('ran.txt', 'a').write(__name__ + ' ')\n"
FLOW = (
    "from pointsman import Agent, Workflow\n"
    "flow = Workflow('pair', [Agent('first', kind='transform')], plan='in_order')\n"
)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Each test imports anew: the names that one project uses are those of the next as well."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        folder = getattr(sys.modules[name], "__file__", None) or ""
        if f"{os.sep}project{os.sep}" in folder:
            del sys.modules[name]


def ran() -> str:
    return Path("ran.txt").read_text() if Path("ran.txt").exists() else ""


@pytest.mark.parametrize("name", ["wordllama", "json", "queue", "brotli", "no_such_library"])
def test_a_library_takes_no_module_of_the_folder_for_another_library(name: str, project: Path) -> None:
    """An installed one goes before, and what tries whether one is installed finds none in the folder."""
    (project / "desk.py").write_text(FLOW)
    (project / f"{name}.py").write_text(NOTE)
    load_target("desk.py:flow")
    library = {"__name__": "some.library", "__builtins__": __builtins__}
    try:
        exec(compile(f"import {name}", "/usr/lib/some/library.py", "exec"), library)
    except ImportError:
        assert name in ("brotli", "no_such_library")
    assert ran() == ""


def test_a_file_imports_what_lies_beside_it_even_inside_its_functions(project: Path) -> None:
    (project / "near").mkdir()
    for file in ("helper.py", "later.py", "near/__init__.py", "near/inner.py"):
        (project / file).write_text(NOTE)
    (project / "desk.py").write_text(
        "import helper, near.inner\n"
        "def flow():\n"
        "    import importlib\n"
        "    importlib.import_module('later')\n"
        "    from pointsman import Agent\n"
        "    return Agent('a')\n"
    )
    load_target("desk.py:flow")
    assert ran() == "helper near near.inner later "


def test_a_compiled_file_that_is_of_something_else_does_not_run(project: Path) -> None:
    """One that says of itself not to be checked is taken by Python for the file, whatever stands in that."""
    (project / "desk.py").write_text(FLOW)
    cached = Path(importlib.util.cache_from_source(str(project / "desk.py")))
    cached.parent.mkdir()
    cached.write_bytes(_code_to_hash_pyc(compile(NOTE + FLOW, "desk.py", "exec"), bytes(8), False))
    load_target("desk.py:flow")
    assert ran() == ""


def test_a_module_that_is_named_is_that_of_the_folder_though_one_is_installed(project: Path) -> None:
    (project / "timeit.py").write_text(NOTE + FLOW)
    installed = sys.modules.pop("timeit", None)
    try:
        load_target("timeit:flow")
    finally:
        sys.modules.pop("timeit", None)
        if installed is not None:
            sys.modules["timeit"] = installed
    assert ran() == "timeit "


@pytest.mark.slow
@pytest.mark.parametrize("changed", ["helper.py", "near/inner.py"])
def test_a_run_that_is_taken_up_asks_when_what_its_file_imports_has_changed(
    changed: str, pointsman: Run, project: Path
) -> None:
    (project / "near").mkdir()
    for file in ("helper.py", "near/__init__.py", "near/inner.py"):
        (project / file).write_text("")
    (project / "desk.py").write_text("import helper, near.inner\n" + FLOW)
    run = json.loads(pointsman("run", "desk.py:flow", "hello", "--json", "--offline").stdout)["run"]
    assert pointsman("resume", run, "--offline").exit_code == 0
    (project / changed).write_text(NOTE)
    for name in ("desk", "helper", "near", "near.inner"):
        del sys.modules[name]
    ended = pointsman("resume", run, "--offline")
    assert (ended.exit_code, ran()) == (2, "")
    assert f"{changed}: has changed since you last named or trusted it: read it, then name it with" in ended.stderr
    assert pointsman("resume", run, "--target", "desk.py:flow", "--offline").exit_code == 0


@pytest.mark.slow
def test_a_run_of_a_file_that_is_a_link_is_taken_up_and_a_link_to_what_is_trusted_elsewhere_asks(
    pointsman: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "real").mkdir()
    (project / "real" / "desk.py").write_text(FLOW)
    (project / "desk.py").symlink_to("real/desk.py")
    run = json.loads(pointsman("run", "desk.py:flow", "hello", "--json", "--offline").stdout)["run"]
    assert pointsman("resume", run, "--offline").exit_code == 0
    assert pointsman("graph").exit_code == 0
    (project / "clone").mkdir()
    (project / "clone" / "desk.py").symlink_to("../desk.py")
    monkeypatch.chdir("clone")
    assert "desk.py: is not known to be yours to run" in pointsman("graph").stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    ["desk.py", "helper.py", "absent.py", "absent/__init__.py", "near/inner.py", "near/more.py", "./x/../helper.py"],
)
def test_no_file_tool_writes_what_the_file_imports_there_or_not(path: str, project: Path) -> None:
    (project / "near").mkdir()
    for file in ("helper.py", "near/__init__.py", "near/inner.py"):
        (project / file).write_text("")
    (project / "desk.py").write_text(
        "import helper, near.inner\ntry:\n    import absent\nexcept ImportError:\n    pass\n" + FLOW
    )
    with set_to(GIVEN, Given(offline=True)), opened() as runtime:
        load_target("desk.py:flow")
        runtime.protect(read_with("desk.py:flow"))
        write = runtime.tools.get("write_file")
        assert "is protected" in write.invoke({"path": path, "content": "x"})
        assert "+x" in write.invoke({"path": "other.py", "content": "x"})


def test_no_file_tool_writes_the_code_that_a_program_of_the_users_own_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "mine.py").write_text("")
    monkeypatch.syspath_prepend(project)
    importlib.import_module("mine")
    with set_to(GIVEN, Given(offline=True)), opened() as runtime:
        write = runtime.tools.get("write_file")
        assert "is protected" in write.invoke({"path": "mine.py", "content": "x"})
