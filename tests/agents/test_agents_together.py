"""What goes on beside a task that fails ends, and is noted, before the failure ends all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Annotated, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from pointsman.agents.together import Together


class _State(TypedDict):
    done: Annotated[list[str], lambda old, new: old + new]


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("apart", [1, 0])
@pytest.mark.parametrize("at_once", [None, 1, 2])
@pytest.mark.parametrize("fails", [("a",), ("b",), ("a", "b"), ("b", "c"), ("a", "b", "c")])
async def test_all_that_had_begun_is_noted_before_the_first_failure_is_raised(
    fails: tuple[str, ...], at_once: int | None, apart: int
) -> None:
    togethers, calls, broken = [Together()], Counter[str](), set(fails)

    def node(name: str, turns: int) -> Callable[[_State], Awaitable[_State]]:
        async def work(state: _State) -> _State:
            async with togethers[-1].task():
                calls[name] += 1
                await _turns(turns)
                if name in broken:
                    raise OSError(name)
            # LangGraph learns of the end long after the block.
            await _turns(300)
            return {"done": [name]}

        return work

    builder = StateGraph(_State)
    for turns, name in enumerate("abc"):
        # Those that are not apart fail in the same turn of the event loop.
        builder.add_node(name, node(name, 1 + turns * apart))
        builder.add_edge(START, name)
    graph = builder.compile(checkpointer=InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": "1"}}
    if at_once:
        config["max_concurrency"] = at_once
    async with asyncio.timeout(240):
        with pytest.raises(OSError, match=fails[0] if at_once is None and apart else r"[abc]"):
            await graph.ainvoke({"done": []}, config)
        before = Counter(calls)
        broken.clear()
        togethers.append(Together())
        state = await graph.ainvoke(None, config)
    assert sorted(state["done"]) == ["a", "b", "c"]
    assert {name: count for name, count in calls.items() if count > 1} == dict.fromkeys(set(before) & set(fails), 2)
