"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
FOLDERS = [ROOT.joinpath(*name.split(".")[1:]) for name in PACKAGES]
FILES = sorted(file for folder in FOLDERS for file in folder.glob("*.py"))
SOURCES = [file for file in FILES if file.parent != ROOT] + [ROOT / "__init__.py"]


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _outside(*places: str) -> list[Path]:
    """The sources that are neither one of these files nor in one of these folders."""
    return [file for file in SOURCES if not {_name(file), file.relative_to(ROOT).parts[0]} & set(places)]


def _written(pattern: str, files: list[Path]) -> dict[str, list[str]]:
    """File -> what of the pattern stands in it."""
    found = {_name(file): re.findall(pattern, file.read_text(encoding="utf-8")) for file in files}
    return {name: words for name, words in found.items() if words}


def test_every_folder_with_python_in_it_is_listed_as_a_package() -> None:
    found = {
        ".".join(("pointsman", *init.parent.relative_to(ROOT).parts))
        for init in ROOT.rglob("__init__.py")
        if not {".venv", "build", "templates"} & set(init.parts)
    }
    assert found == set(PACKAGES)


def test_the_wheel_carries_every_data_file() -> None:
    import pointsman

    home = Path(str(pointsman.__file__)).parent
    for pattern in ("configs/*.yaml", "simulator/*.yaml", "cli/templates/**/*", "py.typed"):
        files = [file for file in ROOT.glob(pattern) if file.is_file() and "__pycache__" not in file.parts]
        assert files, pattern
        for file in files:
            assert (home / file.relative_to(ROOT)).is_file(), file


@pytest.mark.parametrize("module", ["pointsman", "pointsman.cli.main"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {
        "aiohttp", "anthropic", "chromadb", "genai_prices", "google", "httpx", "httpx2", "langchain", "langchain_core",
        "langgraph", "numpy", "openai", "prompt_toolkit", "pydantic", "scipy", "sklearn", "tree_sitter",
        "tree_sitter_bash", "wordllama", "yaml",
    }  # fmt: skip
    assert not loaded & heavy


@pytest.mark.slow
def test_public_names_exist() -> None:
    for file in map(ROOT.joinpath, _written("__all__", SOURCES)):
        exported = [
            ast.literal_eval(node.value)
            for node in _tree(file).body
            if isinstance(node, ast.Assign)
            and getattr(node.targets[0], "id", "") == "__all__"
            and isinstance(node.value, ast.List | ast.Tuple)
        ]
        for names in exported:
            assert len(exported) == 1, file
            assert len(set(names)) == len(names), file
            dotted = ".".join(("pointsman", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
            module = importlib.import_module(dotted)
            assert [name for name in names if not hasattr(module, name)] == [], file


def test_no_model_is_named_outside_backends_and_configs() -> None:
    files = _outside("backends", "configs", "simulator")
    assert _written(r"claude-|gpt-\d|gemini-\d|deepseek-v|llama-?\d", files) == {}


def test_the_environment_is_read_in_one_place_below_the_command_line() -> None:
    # The shell tool hands a command a few variables and keeps the rest from it; git is asked about a repository without
    # those that name another.
    handed = ("tools/shell/shell.py", "tools/files/repositories.py")
    files = _outside("cli", "server", "configs/loading/loader.py", *handed)
    assert _written(r"os\.environ|getenv\(", files) == {}


def test_only_graphs_builds_a_state_graph() -> None:
    for file in map(ROOT.joinpath, _written("StateGraph", _outside("graphs"))):
        calls = [node for node in ast.walk(_tree(file)) if isinstance(node, ast.Call)]
        assert [c for c in calls if getattr(c.func, "id", getattr(c.func, "attr", "")) == "StateGraph"] == [], file


def test_the_locks_have_a_hash_for_every_package_and_name_no_host() -> None:
    for lock in ("requirements.lock", "requirements-test.lock"):
        text = (ROOT / lock).read_text(encoding="utf-8")
        assert "://" not in text
        pins = re.findall(r"^([\w.-]+)==", text, flags=re.MULTILINE)
        blocks = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
        assert len(pins) == len(blocks) > 100
        assert all("--hash=sha256:" in block for block in blocks)


@pytest.mark.filterwarnings("ignore:A test tried to use socket:UserWarning")
def test_tests_cannot_reach_beyond_this_machine() -> None:
    import socket

    from pytest_socket import SocketConnectBlockedError

    with pytest.raises(SocketConnectBlockedError):
        socket.create_connection(("192.0.2.1", 80), timeout=0.1)


ROOMS = [file for file in SOURCES if file.parent != ROOT]


def _lines(node: ast.AST) -> int:
    return int(getattr(node, "end_lineno", 0)) - int(getattr(node, "lineno", 0)) + 1


def test_files_classes_and_functions_are_short() -> None:
    found = set()
    for file in ROOMS:
        text = file.read_text(encoding="utf-8")
        if text.count("\n") > 500:
            found.add(_name(file))
        for node in ast.walk(_tree(file)):
            most = {ast.ClassDef: 250, ast.FunctionDef: 60, ast.AsyncFunctionDef: 60}.get(type(node))
            if most is not None and _lines(node) > most:
                found.add(f"{_name(file)}:{node.name}")  # type: ignore[attr-defined]
    assert found == set()


def test_no_folder_has_more_than_sixteen_modules() -> None:
    counts = {folder: len([*folder.glob("*.py")]) - 1 for folder in FOLDERS}
    assert [_name(folder) for folder, count in counts.items() if count > 16] == []


def _imported(module: str, file: Path, known: set[str]) -> set[str]:
    """The modules that one imports, wherever in the file: at the top, in a function, or for types alone."""
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    named = set()
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                named.add(inner if inner in known else base)
    return (named & known) - {module}


def test_no_modules_import_each_other_in_a_circle() -> None:
    dotted = {
        ".".join(("pointsman", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): file
        for file in ROOMS
    }
    left = {module: _imported(module, file, set(dotted)) for module, file in dotted.items()}
    # Whoever imports nobody that is left is in no circle; what remains in the end is in one, or imports one.
    while free := {module for module, imported in left.items() if not imported}:
        left = {module: imported - free for module, imported in left.items() if module not in free}
    assert left == {}


def test_the_architecture_names_no_module_that_is_not_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+/[\w/]+\.py)`", text))
    assert len(named) > 20
    assert {module for module in named if not (ROOT / module).is_file()} == set()


def test_the_architecture_names_the_folders_of_each_room_and_no_others() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## The path")[0]
    rows = re.findall(r"^\| `(\w+)/` \| (.+) \| .+ \|$", text, re.MULTILINE)
    assert len(rows) == 11
    for room, told in rows:
        there = {folder.parent.name for folder in (ROOT / room).glob("*/__init__.py")}
        assert set(re.findall(r"`(\w+)/`", told)) == there, room
