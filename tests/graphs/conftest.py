"""A runtime whose three vendors are the simulator, or which has no key; tools that count; a graph of one node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from pointsman import Workflow, tool
from pointsman.agents.runtime import Runtime
from pointsman.configs.loading.loader import load
from pointsman.simulator import Simulator

KEYS = {name: "not-a-real-key" for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GOOGLE_API_KEY")}


@pytest.fixture
def runtime(simulator: Simulator, tmp_path: Path) -> Iterator[Callable[..., Runtime]]:
    """Make a runtime over the simulator; ``keys=False`` leaves only what runs on this machine."""
    made: list[Runtime] = []

    def make(*, keys: bool = True, **flags: Any) -> Runtime:
        urls = {
            f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL": simulator.url(vendor)
            for vendor in ("anthropic", "openai", "google")
        }
        environ = {**(KEYS if keys else {}), **urls}
        made.append(Runtime(load(tmp_path, environ=environ, flags=flags)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def acts() -> Counter[str]:
    """How often each step was marked or erased."""
    return Counter()


@pytest.fixture
def mark(acts: Counter[str]) -> Any:
    """A tool that writes and says how often it did."""

    @tool(effect="write")
    def mark(step: str) -> str:
        """Mark a step."""
        acts[step] += 1
        return f"{step} is marked with {acts[step]}"

    return mark


@pytest.fixture
def erase(acts: Counter[str]) -> Any:
    """A tool of which a person is asked."""

    @tool(effect="destructive")
    def erase(step: str) -> str:
        """Erase a step."""
        acts[step] += 1
        return f"{step} is erased"

    return erase


class State(TypedDict, total=False):
    """Of a graph of one node."""

    task: str
    output: Any


@pytest.fixture
def one_node() -> Callable[..., Workflow[Any]]:
    """Make a workflow of a graph whose one node awaits ``work(runtime)``; options are LangGraph's, of the node."""

    def make(work: Callable[[Runtime], Awaitable[Any]], **options: Any) -> Workflow[Any]:
        def build(home: Runtime) -> StateGraph[Any, Any, Any, Any]:
            async def node(_: State) -> State:
                return {"output": await work(home)}

            graph: StateGraph[Any, Any, Any, Any] = StateGraph(State)
            graph.add_node("node", node, **options)
            graph.add_edge(START, "node")
            graph.add_edge("node", END)
            return graph

        return Workflow("own", graph=build)

    return make
