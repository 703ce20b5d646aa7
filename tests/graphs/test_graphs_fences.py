"""Whoever was overtaken on a run writes nothing more of it."""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from pointsman.configs.errors import PointsmanError
from pointsman.graphs.checkpoints import Fenced, checkpoints, prune, raise_fence

TAKEN = r"^run r was taken over by somebody else; nothing more of it is written here$"
Write = Callable[[Any, Any], Awaitable[Any]]


class State(TypedDict, total=False):
    task: str
    seen: Annotated[list[str], operator.add]


def see(word: str) -> Callable[[State], Any]:
    return lambda _: {"seen": [word]}


def graph_of(saver: Any, *nodes: Callable[[State], Any]) -> Any:
    """The nodes, one after the other."""
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    names = [f"n{place}" for place, _ in enumerate(nodes)]
    for name, node in zip(names, nodes, strict=True):
        graph.add_node(name, node)
    for first, then in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(first, then)
    return graph.compile(checkpointer=saver)


def config(run: str) -> Any:
    return {"configurable": {"thread_id": run, "checkpoint_ns": ""}}


WRITES: dict[str, Write] = {
    "put": lambda saver, last: saver.aput(config("r"), {**last.checkpoint, "id": "9"}, {}, {}),
    "put_writes": lambda saver, last: saver.aput_writes(last.config, [("seen", ["b"])], "task"),
    "delete_thread": lambda saver, _: saver.adelete_thread("r"),
    "delete_for_runs": lambda saver, _: saver.adelete_for_runs(["named"]),
    "copy_thread": lambda saver, _: saver.acopy_thread("other", "r"),
    "prune": lambda saver, _: saver.aprune(["other", "r"]),
}


async def rows(saver: Any) -> list[Any]:
    return [(found.config, found.metadata, found.pending_writes) async for found in saver.alist(None)]


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_a_write_below_the_fence_changes_nothing_and_one_at_it_happens(tmp_path: Path, write: Write) -> None:
    async with checkpoints(tmp_path, [], token=3) as late, checkpoints(tmp_path, [], token=4) as now:
        graph = graph_of(late, see("a"))
        for run in ("r", "other"):
            await graph.ainvoke({"task": run}, {**config(run), "metadata": {"run_id": "named"}}, durability="sync")
        last = await late.aget_tuple(config("r"))
        kept = await rows(late)
        assert await raise_fence(tmp_path, "r", 4) == 4

        with pytest.raises(Fenced, match=TAKEN) as told:
            await write(late, last)
        assert (told.value.run, isinstance(told.value, PointsmanError)) == ("r", True)
        assert await rows(late) == kept
        # It may still be read, and other runs written.
        await late.aput_writes({"configurable": {**config("o")["configurable"], "checkpoint_id": "1"}}, [("a", 1)], "t")
        await write(now, last)
        assert await rows(late) != kept


async def test_a_fence_is_only_raised_and_whoever_has_no_token_is_not_held_up(tmp_path: Path) -> None:
    assert [await raise_fence(tmp_path, "r", token) for token in (2, 5, 3, 5)] == [2, 5, 5, 5]
    assert await raise_fence(tmp_path, "s", 1) == 1
    async with checkpoints(tmp_path, []) as anybody:
        await anybody.aput_writes(
            {"configurable": {**config("r")["configurable"], "checkpoint_id": "1"}}, [("a", 1)], "t"
        )


async def test_a_graph_that_is_overtaken_ends_with_that_and_leaves_the_state_of_the_taker(tmp_path: Path) -> None:
    async def overtaken(_: State) -> Any:
        async with checkpoints(tmp_path, [], token=2) as taker:
            await raise_fence(tmp_path, "r", 2)
            await graph_of(taker, see("x")).ainvoke({"task": "taken"}, config("r"), durability="sync")
        return {"seen": ["late"]}

    async with checkpoints(tmp_path, [], token=1) as saver:
        graph = graph_of(saver, see("a"), overtaken, see("c"))
        with pytest.raises(Fenced, match=TAKEN):
            await graph.ainvoke({"task": "first"}, config("r"), durability="sync")
        with pytest.raises(Fenced, match=TAKEN):
            await prune(graph, "r")
        assert (await graph.aget_state(config("r"))).values["task"] == "taken"
        assert "late" not in (await graph.aget_state(config("r"))).values["seen"]
