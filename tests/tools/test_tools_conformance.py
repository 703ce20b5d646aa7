"""LangChain's own suite for tools, run on every built-in one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.unit_tests import ToolsUnitTests
from pointsman.configs.evidence import Evidence
from pointsman.tools import ToolRegistry, Workspace, memory_tools

EXAMPLES: dict[str, dict[str, Any]] = {
    "read_file": {"path": "a.txt"},
    "write_file": {"path": "a.txt", "content": "x"},
    "edit_file": {"path": "a.txt", "old": "x", "new": "y"},
    "apply_patch": {"patch": "x"},
    "list_files": {"path": "."},
    "search_files": {"pattern": "x"},
    "read_document": {"path": "a.pdf"},
    "read_image": {"path": "a.png"},
    "run_shell": {"command": "true"},
    "remember": {"text": "x"},
    "recall": {"query": "x"},
    "forget": {"ids": ["x"]},
}


class _Notebook:
    def remember(self, namespace: tuple[str, ...], text: str, *, provenance: Any) -> str:
        return "1"

    def recall(self, namespace: tuple[str, ...], query: str, *, limit: int = 5) -> list[Evidence]:
        return []

    def item(self, item_id: str) -> Any:
        return Evidence(item_id, "", "x")

    def forget(self, *, ids: Sequence[str], namespace: tuple[str, ...]) -> int:
        return len(ids)


@pytest.mark.parametrize("name", EXAMPLES)
class TestBuiltInTools(ToolsUnitTests):
    """The suite asks for one tool a class; the name of the case picks it."""

    name: str

    @pytest.fixture(autouse=True)
    def chosen(self, name: str, tmp_path: Path) -> None:
        registry = ToolRegistry(Workspace(tmp_path), plugins=False)
        registry.add(memory_tools(_Notebook(), ("x",), provenance=lambda: None), source="the test")
        assert registry.names() == sorted(EXAMPLES)
        self.name, self.made = name, registry.get(name)

    @property
    def tool_constructor(self) -> BaseTool:
        return self.made

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return EXAMPLES[self.name]

    def test_every_argument_is_described_to_the_model(self, tool: BaseTool) -> None:
        assert tool.description
        assert all(argument.get("description") for argument in tool.args.values())
