"""Five model calls in sequence, each given the result before it: a supervised workflow and a bare graph.

Both ask the same model at the same provider and write a checkpoint to disk before each next step begins.
"""

from __future__ import annotations

import operator
import tempfile
import uuid
from pathlib import Path
from typing import Annotated, Any, TypedDict

from contenders import PRIMARY, Contender, Setting, chat_openai, runtime, told

__all__ = ["NONE_BUILD", "WORKFLOWS", "Graph", "Supervised"]

STEPS = ("one", "two", "three", "four", "five")
NONE_BUILD = {
    "id": "plan.many-depend",
    "reason": "never",
    "when": {"dependents": {"min": 1_000_000}},
    "risk": "medium",
}


class Supervised:
    """A `Workflow` of five agents without tools, each run once, in order, all at low risk.

    For that, the built-in rule that verifies steps with three dependents is switched off. The steps write to the run's
    memory and recall from it if the setting has ``memory``.
    """

    def __init__(self, setting: Setting) -> None:
        from pointsman import Agent, Workflow

        self._folder = tempfile.TemporaryDirectory(prefix="pointsman-benchmark-")
        self._runtime = runtime(Path(self._folder.name), setting["url"], risk={"risk": {"rules": [NONE_BUILD]}})
        agents = [Agent(name, model=f"openai/{PRIMARY}", kind="transform") for name in STEPS]
        self._flow = Workflow("five", agents, plan="in_order", memory=setting["memory"])

    async def plain(self, prompt: str) -> str:
        """Return the last step's output."""
        result = await self._flow.arun(prompt, runtime=self._runtime)
        ran = [step.model for step in result.steps]
        if ran != [f"openai/{PRIMARY}"] * len(STEPS):
            raise RuntimeError(f"the steps ran on {ran}")
        return str(result.output)

    def settle(self) -> None:
        """Write the ledger rows that are still queued."""
        self._runtime.ledger.flush()

    def close(self) -> None:
        """Close the files and delete them."""
        self._runtime.close()
        self._folder.cleanup()


class Graph(Contender):
    """A LangGraph graph of five nodes, each a call of one `ChatOpenAI`; compiled and its checkpoints opened once."""

    def __init__(self, setting: Setting) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="graph-benchmark-")
        self._model = chat_openai(setting, "openai", PRIMARY)
        self._graph: Any = None
        self._connection: Any = None

    async def _compiled(self) -> Any:
        import aiosqlite
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
        from langgraph.graph import END, START, StateGraph

        builder: Any = StateGraph(_State)
        for name in STEPS:
            builder.add_node(name, self._step)
        for start, end in zip((START, *STEPS), (*STEPS, END), strict=True):
            builder.add_edge(start, end)
        self._connection = await aiosqlite.connect(Path(self._folder.name) / "checkpoints.db")
        return builder.compile(checkpointer=AsyncSqliteSaver(self._connection))

    async def _step(self, state: _State) -> dict[str, Any]:
        asked = "\n\n".join([state["task"], *state["done"][-1:]])
        return {"done": [told(await self._model.ainvoke(asked))]}

    async def plain(self, prompt: str) -> str:
        """Return the last node's answer."""
        config = {"configurable": {"thread_id": uuid.uuid4().hex}}
        state = await self._graph.ainvoke({"task": prompt, "done": []}, config, durability="sync")
        return str(state["done"][-1])

    async def open(self) -> None:
        """Open the checkpoints in the event loop that will use them."""
        self._graph = await self._compiled()

    async def close(self) -> None:
        """Close the checkpoints and delete them."""
        if self._connection is not None:
            await self._connection.close()
        self._folder.cleanup()


class _State(TypedDict):
    task: str
    done: Annotated[list[str], operator.add]


WORKFLOWS = {"pointsman-workflow": Supervised, "langgraph": Graph}
