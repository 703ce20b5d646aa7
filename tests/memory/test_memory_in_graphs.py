"""The memory as the store of a LangGraph graph: nodes and tools get it as they get LangGraph's own stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedStore, ToolNode
from langgraph.store.base import BaseStore
from pointsman.memory import ChromaStore, HashingEmbedder


@tool
def note(fact: str, store: Annotated[BaseStore, InjectedStore()]) -> str:
    """Keep a fact."""
    store.put(("facts",), fact, {"text": fact})
    return "kept"


@tool
async def find(question: str, runtime: ToolRuntime[Any, Any]) -> str:
    """Look a fact up."""
    assert runtime.store is not None
    found = await runtime.store.asearch(("facts",), query=question, limit=1)
    return str(found[0].value["text"])


def _calls(*calls: tuple[str, dict[str, str]]) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": name} for name, args in calls])


async def test_tools_of_a_graph_get_the_memory_injected_and_through_their_runtime(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        builder = StateGraph(MessagesState)
        builder.add_node("tools", ToolNode([note, find]))
        builder.add_edge(START, "tools")
        builder.add_edge("tools", END)
        graph = builder.compile(store=store)
        kept = _calls(("note", {"fact": "the depot opens at six"}))
        assert (await graph.ainvoke({"messages": [kept]}))["messages"][-1].content == "kept"
        asked = _calls(("find", {"question": "when does the depot open"}))
        assert (await graph.ainvoke({"messages": [asked]}))["messages"][-1].content == "the depot opens at six"
        assert [item.key for item in store.search(("facts",))] == ["the depot opens at six"]


async def test_time_to_live_is_the_same_in_the_awaited_forms() -> None:
    now = 1_000_000.0
    with ChromaStore(None, HashingEmbedder(), clock=lambda: now, ttl={"default_ttl": 10}) as store:
        await store.aput(("t",), "default", {"text": "x"})
        await store.aput(("t",), "short", {"text": "x"}, ttl=5)
        await store.aput(("t",), "for ever", {"text": "x"}, ttl=None)
        now += 4 * 60
        assert await store.aget(("t",), "short", refresh_ttl=True) is not None
        now += 4 * 60
        assert len(await store.asearch(("t",), query="x", refresh_ttl=False)) == 3
        assert await store.aget(("t",), "default", refresh_ttl=False) is not None
        now += 2 * 60
        assert {item.key for item in await store.asearch(("t",), query="x")} == {"for ever"}
        assert await store.alist_namespaces() == [("t",)]
        assert store.sweep_ttl() == 2
        assert store.sweep_ttl() == 0
