"""How the checkpoints of one long run grow, and what its late steps cost.

    python benchmarks/checkpoint_growth.py [--steps N] [--supervised N]

A graph of one node adds a message of 400 characters to its state in each step, and each step is on disk before the
next begins (``durability="sync"``). Bytes are those of the file after its write-ahead log was merged. CPU is that of
the whole process; ``late / early`` divides the median of the last hundred steps by that of steps 6 to 105, in
supervised runs the last tenth by an early one. The supervised runs have agents without tools, one step each, on the
loopback provider: in the order given, and as two such rows side by side, whose steps run in parallel, wave after wave.
"""

from __future__ import annotations

import asyncio
import operator
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph, add_messages
from pointsman.graphs.checkpoints import checkpoints
from pointsman.graphs.checkpoints.growing import grown
from stage import options, provider, table

WORDS = "The order has left the warehouse this morning and should reach you on Thursday. " * 5
BAR_MB, BAR_RATIO = 6.0, 1.3


def _joined(before: list[Any] | None, writes: Sequence[list[Any]]) -> list[Any]:
    return [*(before or ()), *(one for write in writes for one in write)]


STATES: dict[str, Any] = {
    "add_messages": add_messages,
    "operator.add": operator.add,
    "DeltaChannel": DeltaChannel(_joined),
    "grown": grown,
}


def _graph(reducer: Any, times: list[float], steps: int) -> StateGraph[Any, Any, Any, Any]:
    kind: Any = TypedDict("State", {"count": int, "messages": Annotated[list, reducer]})  # type: ignore[misc]  # made here

    def step(state: Any) -> Any:
        times.append(time.process_time())
        return {"count": state["count"] + 1, "messages": [AIMessage(WORDS[:400], id=str(state["count"]))]}

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(kind)
    graph.add_node("step", step)
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", lambda state: "step" if state["count"] < steps else END, ["step", END])
    return graph


SAVERS: dict[str, Callable[[Path], Any]] = {
    "LangGraph's": lambda folder: AsyncSqliteSaver.from_conn_string(str(folder / "checkpoints.db")),
    "pointsman's": lambda folder: checkpoints(folder, []),
}


async def _measured(saving: Callable[[Path], Any], reducer: Any, steps: int) -> tuple[float, float, float]:
    """Return MB of checkpoints, median CPU milliseconds of an early step, and the ratio of a late step to it."""
    times: list[float] = []
    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        async with saving(Path(name)) as saver:
            graph = _graph(reducer, times, steps).compile(checkpointer=saver)
            config: Any = {"configurable": {"thread_id": "long"}, "recursion_limit": steps + 10}
            await graph.ainvoke({"count": 0, "messages": []}, config, durability="sync")
        size = _bytes(Path(name) / "checkpoints.db")
    took = [after - before for before, after in pairwise(times)]
    early, late = statistics.median(took[5:105]), statistics.median(took[-100:])
    return size / 1e6, early * 1e3, late / early


def _bytes(file: Path) -> int:
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return file.stat().st_size


async def _supervised(url: str, steps: int, wide: int) -> tuple[float, float, float]:
    """Measure a supervised run with ``wide`` rows of steps, unpruned: as `_measured`, for each wave."""
    from contenders import PRIMARY, runtime
    from pointsman import Agent, Workflow
    from workflows import NONE_BUILD

    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        folder = Path(name)
        home = runtime(folder, url, risk={"risk": {"rules": [NONE_BUILD]}})
        agents = [Agent(f"a{n}", model=f"openai/{PRIMARY}", kind="transform") for n in range(steps)]
        plan = [
            {"id": str(n), "agent": agent.name, "needs": [str(n - wide)] if n >= wide else []}
            for n, agent in enumerate(agents)
        ]
        flow = Workflow("long", agents, plan=plan, memory=False)
        times: list[float] = []

        def stepped(event: Any) -> None:
            if type(event).__name__ == "Stepped":
                times.append(time.process_time())

        file = folder / ".pointsman" / "checkpoints.db"
        file.parent.mkdir(parents=True, exist_ok=True)
        async with checkpoints(file.parent, []) as saver:
            await saver.aget_tuple({"configurable": {"thread_id": "none"}})
        with sqlite3.connect(file) as other:
            # Keep the checkpoints that are normally pruned when a run ends, so that they can be measured.
            other.execute("CREATE TRIGGER kept BEFORE DELETE ON checkpoints BEGIN SELECT RAISE(ABORT, 'kept'); END")
        other.close()
        await flow.arun("Where is my order 4711?", runtime=home, emit=stepped, max_steps=steps + 10)
        size = _bytes(file)
        home.close()
    took = [after - before for before, after in pairwise(times[::wide])]
    part = max(1, len(took) // 10)
    early, late = statistics.median(took[5 : 5 + part]), statistics.median(took[-part:])
    return size / 1e6, early * 1e3, late / early


def main() -> None:
    """Measure and print."""
    given = options(__doc__, steps=(1000, "steps of the graphs"), supervised=(1000, "steps of each supervised run"))
    rows = []
    missed = []
    for saver, saving in SAVERS.items():
        for state, reducer in STATES.items():
            size, early, ratio = asyncio.run(_measured(saving, reducer, given.steps))
            rows.append([f"{saver}, {state}", f"{size:.1f}", f"{early:.2f}", f"{ratio:.2f}"])
            ours = saver == "pointsman's" and state in ("DeltaChannel", "grown")
            if ours and (size > BAR_MB or ratio > BAR_RATIO):
                missed.append(rows[-1][0])
    print(table([f"{given.steps} steps", "MB", "CPU ms early", "late / early"], rows))
    with provider() as played:
        played.play([{"answer": WORDS[:400]}], "openai")
        rows = []
        for name, wide in (("supervised, in order", 1), ("supervised, two side by side", 2)):
            size, early, ratio = asyncio.run(_supervised(played.url, given.supervised, wide))
            each = f"{size * 1e3 / given.supervised:.1f}"
            rows.append([name, f"{size:.1f}", each, f"{early / wide:.2f}", f"{ratio:.2f}"])
            if ratio > BAR_RATIO:
                missed.append(name)
    print()
    print(table([f"{given.supervised} steps", "MB", "kB a step", "CPU ms early", "late / early"], rows))
    print(f"\n{'MISSED: ' + ', '.join(missed) if missed else 'met'} (bar {BAR_MB:.0f} MB, {BAR_RATIO:.1f} times)")


if __name__ == "__main__":
    main()
