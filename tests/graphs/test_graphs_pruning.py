"""What the checkpoints keep of a run that has ended."""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels import DeltaChannel
from langgraph.graph import END, START, StateGraph
from pointsman import Workflow
from pointsman.agents.runtime import Runtime
from pointsman.graphs.checkpoints import KEPT_DAYS, checkpoints, prune

Make = Callable[..., Runtime]
DAY = 86_400.0


class State(TypedDict, total=False):
    task: str
    seen: Annotated[list[str], operator.add]
    output: str


def joined(before: list[str] | None, writes: list[list[str]]) -> list[str]:
    return [*(before or []), *(word for write in writes for word in write)]


class Long(TypedDict, total=False):
    seen: Annotated[list[str], DeltaChannel(joined)]


def steps(*nodes: Callable[[State], Any], kind: Any = State) -> Callable[[Runtime], StateGraph[Any, Any, Any, Any]]:
    def build(_: Runtime) -> StateGraph[Any, Any, Any, Any]:
        graph: StateGraph[Any, Any, Any, Any] = StateGraph(kind)
        names = [f"n{place}" for place, _ in enumerate(nodes)]
        for name, node in zip(names, nodes, strict=True):
            graph.add_node(name, node)
        for first, then in zip([START, *names], [*names, END], strict=True):
            graph.add_edge(first, then)
        return graph

    return build


def see(word: str) -> Callable[[State], State]:
    return lambda state: {"seen": [word], "output": " ".join([*state.get("seen", []), word])}


def count(state: Path, table: str) -> int:
    with sqlite3.connect(state / "checkpoints.db") as connection:
        found: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return found


async def test_a_run_that_ended_keeps_its_last_state_alone_and_is_still_what_it_was(runtime: Make) -> None:
    home = runtime()
    flow = Workflow("seen", graph=steps(see("a"), see("b"), see("c")))
    done = await flow.arun("look", runtime=home)

    assert (count(home.settings.state, "checkpoints"), count(home.settings.state, "writes")) == (1, 0)
    again = await flow.aresume(done.run, runtime=home)
    assert (again.output, again.status) == (done.output, done.status) == ("a b c", "done")
    assert (count(home.settings.state, "checkpoints"), count(home.settings.state, "writes")) == (1, 0)


async def test_a_run_that_failed_keeps_all_until_it_has_ended(runtime: Make) -> None:
    home = runtime()
    broken = [True]

    def breaks(_: State) -> State:
        if broken:
            raise RuntimeError(broken.pop())
        return {"seen": ["mended"]}

    flow = Workflow("broken", graph=steps(see("a"), breaks, see("b")))
    with pytest.raises(RuntimeError):
        (await flow.arun("look", runtime=home)).raise_for_status()
    kept = count(home.settings.state, "checkpoints")
    assert kept > 1
    (run,) = [row.id for row in home.ledger.runs()]
    assert (await flow.aresume(run, runtime=home)).output == "a mended b"
    assert count(home.settings.state, "checkpoints") == 1


async def test_what_ended_thirty_days_ago_is_gone_and_what_did_not_end_stays(tmp_path: Path) -> None:
    async with checkpoints(tmp_path, []) as saver:
        graph = steps(see("a"))(None).compile(checkpointer=saver)  # type: ignore[arg-type]  # it takes nothing of it
        for run in ("old", "young", "open"):
            await graph.ainvoke({"task": run}, {"configurable": {"thread_id": run}}, durability="sync")
        await prune(graph, "old", now=1.0)
        await prune(graph, "young", now=1.0 + KEPT_DAYS * DAY)
        left = {run: (await graph.aget_state({"configurable": {"thread_id": run}})).values for run in ("old", "young")}
        assert [bool(values) for values in left.values()] == [True, True]
        await prune(graph, "young", now=2.0 + KEPT_DAYS * DAY)
        assert (await graph.aget_state({"configurable": {"thread_id": "old"}})).values == {}
        assert (await graph.aget_state({"configurable": {"thread_id": "young"}})).values["output"] == "a"
    with sqlite3.connect(tmp_path / "checkpoints.db") as connection:
        rows = dict(connection.execute("SELECT thread_id, count(*) FROM checkpoints GROUP BY thread_id").fetchall())
    assert rows.keys() == {"young", "open"}
    assert rows["young"] == 1 < rows["open"]


async def test_the_last_state_that_is_kept_has_delta_channels_whole(tmp_path: Path) -> None:
    async with checkpoints(tmp_path, []) as saver:
        nodes = [lambda _, word=word: {"seen": [word]} for word in "abc"]
        graph = steps(*nodes, kind=Long)(None).compile(checkpointer=saver)  # type: ignore[arg-type]  # as above
        config: Any = {"configurable": {"thread_id": "long"}}
        await graph.ainvoke({"seen": []}, config, durability="sync")
        await prune(graph, "long")
        assert (await graph.aget_state(config)).values == {"seen": ["a", "b", "c"]}
        assert (count(tmp_path, "checkpoints"), count(tmp_path, "writes")) == (1, 0)
        # It may be gone on with.
        await graph.aupdate_state(config, {"seen": ["d"]})
        assert (await graph.aget_state(config)).values == {"seen": ["a", "b", "c", "d"]}


async def test_a_file_that_cannot_be_pruned_now_lets_the_run_end(runtime: Make) -> None:
    home = runtime()
    flow = Workflow("seen", graph=steps(see("a")))
    await flow.arun("look", runtime=home)
    with sqlite3.connect(home.settings.state / "checkpoints.db") as connection:
        connection.execute("CREATE TRIGGER kept BEFORE DELETE ON checkpoints BEGIN SELECT RAISE(ABORT, 'kept'); END")

    assert (await flow.arun("look", runtime=home)).output == "a"
    assert count(home.settings.state, "ended") == 1
