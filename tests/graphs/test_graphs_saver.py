"""The checkpointer as LangGraph sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from langgraph.checkpoint.conformance import checkpointer_test, validate
from pointsman.graphs.checkpoints import checkpoints

EVERYTHING = {
    "put": 17,
    "put_writes": 10,
    "get_tuple": 10,
    "list": 16,
    "delete_thread": 5,
    "delete_for_runs": 7,
    "copy_thread": 8,
    "prune": 8,
}
"""Capability of `langgraph-checkpoint-conformance` 0.0.2 -> its tests."""


async def test_it_passes_every_test_of_langgraphs_conformance_suite(tmp_path: Path) -> None:
    @checkpointer_test(name="pointsman")
    async def ours() -> AsyncGenerator[Any, None]:
        async with checkpoints(tmp_path, []) as saver:
            yield saver

    report = await validate(ours)
    told = {name: (result.tests_passed, result.failures) for name, result in report.results.items()}
    assert told == {name: (number, []) for name, number in EVERYTHING.items()}
