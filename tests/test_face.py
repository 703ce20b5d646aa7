"""What the top of the package and its rooms export."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import get_args

import pointsman
import pytest
from pointsman.graphs import events

ROOT = Path(__file__).parent.parent
ROOMS = (
    *("agents", "backends", "cli", "configs", "dispatch", "evaluation"),
    *("graphs", "ledger", "memory", "routing", "simulator", "tools"),
)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_exports_its_port(room: str) -> None:
    port = importlib.import_module(f"pointsman.{room}")
    assert port.__all__
    assert dir(port) == sorted(port.__all__)
    assert [name for name in port.__all__ if not hasattr(port, name)] == []


def test_every_event_is_exported_at_the_top_and_by_its_room() -> None:
    names = {event.__name__ for event in map(_class_of, get_args(events.Event))} | {"Event"}
    assert names <= set(pointsman.__all__)
    assert names <= set(importlib.import_module("pointsman.graphs").__all__)


def _class_of(event: object) -> type:
    found: type = getattr(event, "__origin__", event)
    return found


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_a_type_checker_reads_what_a_star_import_gives(room: str) -> None:
    tree = ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))
    written = [node.value for node in tree.body if isinstance(node, ast.Assign) and _is_all(node.targets[0])]
    assert [type(value) for value in written] == [ast.List]


def _is_all(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "__all__"
