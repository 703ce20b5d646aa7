"""The checkpointer as LangGraph sees it."""

from __future__ import annotations

import asyncio
import operator
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.graph import END, START, StateGraph
from pointsman.configs.errors import ConfigError
from pointsman.graphs.checkpoints import checkpoints
from pointsman.graphs.checkpoints.growing import grown

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


class Counted(TypedDict, total=False):
    task: str
    seen: Annotated[list[str], operator.add]
    grows: Annotated[list[str], grown]


def graph_of(saver: Any, words: str) -> Any:
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(Counted)
    for word in words:
        graph.add_node(word, lambda _, word=word: {"seen": [word], "grows": [word * 300]})
    for first, then in zip([START, *words], [*words, END], strict=True):
        graph.add_edge(first, then)
    return graph.compile(checkpointer=saver, interrupt_after=[words[1]])


def config(thread: str) -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}


async def test_a_thread_that_version_01_began_in_its_file_is_read_and_gone_on_with(tmp_path: Path) -> None:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    file = tmp_path / "checkpoints.db"
    async with checkpoints(tmp_path, []) as ours, AsyncSqliteSaver.from_conn_string(str(file)) as theirs:
        theirs.serde = ours.serde
        # As version 0.1 wrote it: LangGraph's saver, our encryption.
        old = graph_of(theirs, "abc")
        await old.ainvoke({"task": "t" * 1000, "seen": []}, config("old"), durability="sync")
        new = graph_of(ours, "abc")
        assert (await new.aget_state(config("old"))).values == (await old.aget_state(config("old"))).values
        state = await new.ainvoke(None, config("old"), durability="sync")
        assert (state["seen"], [len(word) for word in state["grows"]]) == (["a", "b", "c"], [300] * 3)
        assert (await new.aget_state(config("old"))).values == state


async def test_what_a_later_checkpoint_has_in_common_is_written_once_and_a_list_grows_by_what_is_added(
    tmp_path: Path,
) -> None:
    async with checkpoints(tmp_path, []) as saver:
        graph = graph_of(saver, "abcdef")
        await graph.ainvoke({"task": "t" * 1000}, config("r"), durability="sync")
        # Another process, which knows of nothing that is kept, goes on.
    async with checkpoints(tmp_path, []) as saver:
        graph = graph_of(saver, "abcdef")
        state = await graph.ainvoke(None, config("r"), durability="sync")
        with sqlite3.connect(tmp_path / "checkpoints.db") as file:
            rows = file.execute("SELECT channel, length(value), base IS NOT NULL FROM channel_values").fetchall()
        kept = [row for row in rows if row[0] == "grows"]
        assert [row[0] for row in rows].count("task") == 1
        assert (len(kept), max(row[1] for row in kept) < 400, sum(row[2] for row in kept)) == (6, True, 5)
        past = [found.values.get("grows", []) async for found in graph.aget_state_history(config("r"))]
        assert past[0] == state["grows"] == [word * 300 for word in "abcdef"]
        assert [len(grows) for grows in past] == [6, 5, 4, 3, 2, 1, 0, 0]


@pytest.mark.parametrize("strategy", ["keep_latest", "copied", "forked", "runs"])
async def test_a_list_that_grew_is_whole_whatever_becomes_of_the_checkpoints_before(
    tmp_path: Path, strategy: str
) -> None:
    whole = [word * 300 for word in "abcd"]
    async with checkpoints(tmp_path, []) as saver:
        graph = graph_of(saver, "abcd")
        await graph.ainvoke({"task": "t"}, {**config("r"), "metadata": {"run_id": "first"}}, durability="sync")
        past = [found async for found in graph.aget_state_history(config("r"))]
        await graph.ainvoke(None, {**config("r"), "metadata": {"run_id": "second"}}, durability="sync")
        thread = "r"
        if strategy == "keep_latest":
            await saver.aprune(["r"])
        elif strategy == "copied":
            await saver.acopy_thread("r", thread := "s")
            await saver.adelete_thread("r")
        elif strategy == "runs":
            await saver.adelete_for_runs(["first"])
        else:
            # From the checkpoint after the first step, beside what follows it.
            fork = await graph.aupdate_state(past[1].config, {"grows": ["x" * 300]}, as_node="a")
            assert (await graph.aget_state(fork)).values["grows"] == ["a" * 300, "x" * 300]
            assert (await graph.aget_state(past[0].config)).values["grows"] == whole[:2]
            return
        assert (await graph.aget_state(config(thread))).values["grows"] == whole


async def test_where_langgraph_asks_for_further_types_what_nobody_encrypted_is_refused_still(tmp_path: Path) -> None:
    async with checkpoints(tmp_path, []) as saver:
        with pytest.raises(ConfigError, match="not encrypted with your key"):
            saver.with_allowlist({("a", "b")}).serde.loads_typed(("msgpack", b"\x01"))


def test_code_that_does_not_await_may_use_it_too(tmp_path: Path) -> None:
    async def used() -> Any:
        async with checkpoints(tmp_path, []) as saver:
            graph = graph_of(saver, "abc")
            await asyncio.to_thread(graph.invoke, {"task": "t"}, config("r"), durability="sync")
            await asyncio.to_thread(graph.invoke, None, config("r"), durability="sync")
            assert len(list(saver.list(config("r"), limit=2))) == 2
            saver.copy_thread("r", "s")
            saver.prune(["r"])
            saver.delete_for_runs(["none"])
            saver.delete_thread("s")
            return len(list(saver.list(None))), graph.get_state(config("r")).values["seen"]

    assert asyncio.run(used()) == (1, ["a", "b", "c"])
