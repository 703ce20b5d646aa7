"""What a loop opened is closed before the loop is."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.request import ModelRequest
from pointsman.simulator import Simulator

PROGRAM = """
import asyncio, gc, sys, warnings
from pointsman import Agent, RoutedChatModel, Workflow
told = []
warnings.simplefilter("always")
warnings.showwarning = lambda message, category, *_: told.append(str(message)) if category is ResourceWarning else None
flow = Workflow("f", [Agent("a"), Agent("b")], plan="in_order")

async def serve():
    for n in range(2):
        await RoutedChatModel(prefer=sys.argv[1], tier="standard").ainvoke("x")
        await asyncio.to_thread(RoutedChatModel(prefer=sys.argv[1], tier="standard").invoke, "x")
        async for _ in RoutedChatModel(prefer=sys.argv[1], tier="standard").astream("x"):
            pass
    await flow.arun("y")

for n in range(3):
    asyncio.run(serve())
gc.collect()
print(len(told), *told)
"""


@pytest.mark.slow
@pytest.mark.parametrize("model", ["anthropic/claude-haiku-4-5", "openai/gpt-5.5", "google/gemini-3.5-flash"])
def test_loops_that_come_and_go_leave_no_connection_open(
    simulator: Simulator, programs: Any, tmp_path: Path, model: str
) -> None:
    keys = {f"{vendor}_API_KEY": "x" for vendor in ("ANTHROPIC", "OPENAI", "GOOGLE")}
    urls = {
        f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL": simulator.url(vendor)
        for vendor in ("anthropic", "openai", "google")
    }
    done = programs.run(["-c", PROGRAM, model], cwd=tmp_path, env={**os.environ, **keys, **urls})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0"


def test_a_loop_that_begins_leaves_those_that_are_open_their_clients_and_drops_those_of_closed_ones(
    dispatcher: Callable[..., Dispatcher],
) -> None:
    home = dispatcher()
    card = home.cards["openai/gpt-5.4-mini"]

    async def client() -> Any:
        await home.clients.ready(card)
        return home.clients.bound(ModelRequest(()), card)[0]

    with asyncio.Runner() as one:
        first = one.run(client())
        with asyncio.Runner() as other:
            second = other.run(client())
            assert second is not first
            assert other.run(client()) is second
        with asyncio.Runner() as third:
            third.run(client())
        assert one.run(client()) is first


async def test_a_dispatcher_that_is_closed_lets_go_of_its_clients_while_their_loop_runs_on(
    dispatcher: Callable[..., Dispatcher],
) -> None:
    home = dispatcher()
    client = weakref.ref((await home.clients.ready(home.cards["openai/gpt-5.4-mini"])).client)
    home.close()
    await asyncio.sleep(0)
    gc.collect()
    assert client() is None
