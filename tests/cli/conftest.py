"""A project of its own for each test, and the command run in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.main import app
from typer.testing import CliRunner

Run = Callable[..., Any]

DESK = """
from pointsman import Agent, Workflow, tool

deleted = []

@tool(effect="read")
def order_status(order_id: str) -> str:
    \"\"\"Look up the status of an order.\"\"\"
    return f"order {order_id} was sent on Monday"

@tool(effect="destructive")
def delete_account(user: str) -> str:
    \"\"\"Delete the account of a user.\"\"\"
    with open("deleted.txt", "a") as file:
        file.write(user + "\\n")
    return f"{user} is deleted"

helper = Agent("helper", instructions="Help.", kind="transform")
clerk = Agent("clerk", instructions="Delete what you are told to.", tools=[delete_account], kind="act")
flow = Workflow("pair", [Agent("first", kind="transform"), Agent("second", kind="transform")], plan="in_order")

def made():
    return Workflow("made", [helper])

number = 3
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project to stand in, whose modules are forgotten with it."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    known = set(sys.modules.copy())
    yield folder
    # A copy is one step for the interpreter; a thread that imports something would disturb a walk.
    for name, module in sys.modules.copy().items():
        if name not in known and str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def own() -> Path:
    """The folder of the user's own configuration."""
    folder = Path.home() / ".config" / "pointsman"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def desk(project: Path) -> Path:
    """A project with a file of agents."""
    (project / "desk.py").write_text(DESK)
    return project


@pytest.fixture
def pointsman() -> Run:
    """Run the command in this process and give back how it ended."""
    runner = CliRunner()

    def run(*words: str, stdin: str | bytes | None = None) -> Any:
        return runner.invoke(app, list(words), input=stdin)

    return run
