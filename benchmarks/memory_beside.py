"""The shared memory against LangGraph's stores and langchain-chroma: same run, items, vectors and questions.

    python benchmarks/memory_beside.py [--items 1000 10000 100000] [--queries N]

Each contender uses WordLlama's vectors and runs in a process of its own. Items are written in batches of 1,000 and
read one by one: nearest to a question, nearest among the few that a filter leaves, and by key. Unlike the others,
``ChromaStore.recall`` scores words as well as meaning. Milliseconds are wall time. langchain-chroma is not a
dependency: install it into an environment of its own (``pip install langchain-chroma``), else it is left out.
AsyncSqliteStore needs a Python whose sqlite3 can load extensions.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from items import BATCH, TEAM, op, resident_mb, size_mb, texts_of
from langgraph.store.base import BaseStore, PutOp
from pointsman.backends.ondevice import WordLlamaEmbeddings
from stage import count, parser, table


@dataclass(frozen=True, slots=True)
class Contender:
    """A measured store: how it writes a batch and answers."""

    write: Callable[[list[PutOp]], Awaitable[Any]]
    ask: Callable[[str], Awaitable[Any]]
    ask_few: Callable[[str], Awaitable[Any]]
    get: Callable[[int], Awaitable[Any]]


def _of(store: BaseStore) -> Contender:
    return Contender(
        write=store.abatch,
        ask=lambda question: store.asearch(TEAM, query=question, limit=5),
        ask_few=lambda question: store.asearch(TEAM, query=question, filter={"rare": True}, limit=5),
        get=lambda number: store.aget((*TEAM, str(number % 10)), str(number)),
    )


@asynccontextmanager
async def _pointsman(folder: Path) -> AsyncIterator[Contender]:
    from pointsman.memory import ChromaStore

    with ChromaStore(folder / "memory", WordLlamaEmbeddings(), fields=["text"]) as store:
        yield Contender(
            write=store.abatch,
            ask=lambda question: store.arecall(TEAM, question),
            ask_few=lambda question: store.arecall(TEAM, question, filter={"rare": True}),
            get=_of(store).get,
        )


@asynccontextmanager
async def _in_memory(folder: Path) -> AsyncIterator[Contender]:
    from langgraph.store.memory import InMemoryStore

    yield _of(InMemoryStore(index={"dims": 256, "embed": WordLlamaEmbeddings(), "fields": ["text"]}))


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[Contender]:
    from langgraph.store.sqlite import AsyncSqliteStore

    index: Any = {"dims": 256, "embed": WordLlamaEmbeddings(), "fields": ["text"]}
    async with AsyncSqliteStore.from_conn_string(str(folder / "store.db"), index=index) as store:
        await store.setup()
        yield _of(store)


@asynccontextmanager
async def _langchain_chroma(folder: Path) -> AsyncIterator[Contender]:
    from langchain_chroma import Chroma

    made = Chroma("items", WordLlamaEmbeddings(), persist_directory=str(folder))

    async def write(ops: list[PutOp]) -> None:
        values = [op.value or {} for op in ops]
        await asyncio.to_thread(made.add_texts, [v["text"] for v in values], values, [op.key for op in ops])

    yield Contender(
        write=write,
        ask=lambda question: asyncio.to_thread(made.similarity_search_with_score, question, 5),
        ask_few=lambda question: asyncio.to_thread(made.similarity_search_with_score, question, 5, {"rare": True}),
        get=lambda number: asyncio.to_thread(made.get, [str(number)]),
    )


CONTENDERS = {
    "ChromaStore": _pointsman,
    "InMemoryStore": _in_memory,
    "AsyncSqliteStore": _sqlite,
    "langchain-chroma": _langchain_chroma,
}


async def _median(call: Callable[[int], Awaitable[Any]], times: int) -> float:
    await call(0)
    taken = []
    for number in range(1, times + 1):
        began = time.perf_counter()
        await call(number)
        taken.append((time.perf_counter() - began) * 1e3)
    return float(np.median(taken))


async def _measured(name: str, items: int, queries: int) -> dict[str, float]:
    rng = random.Random(1)
    texts = texts_of(items, rng)
    asked = [" ".join(rng.sample(rng.choice(texts).split(), 8)) for _ in range(queries + 1)]
    with tempfile.TemporaryDirectory() as folder:
        before = resident_mb()
        async with CONTENDERS[name](Path(folder)) as one:
            began = time.perf_counter()
            for start in range(0, items, BATCH):
                await one.write([op(number, texts[number]) for number in range(start, min(start + BATCH, items))])
            seconds = time.perf_counter() - began
            return {
                "puts": items / seconds,
                "ask": await _median(lambda n: one.ask(asked[n]), queries),
                "few": await _median(lambda n: one.ask_few(asked[n]), queries),
                "get": await _median(one.get, queries),
                "mb": resident_mb() - before,
                "disk": size_mb(Path(folder)),
            }


def main() -> None:
    """Run every contender at every size."""
    arguments = parser(__doc__)
    arguments.add_argument("--items", type=count, nargs="+", default=[1000, 10_000, 100_000], help="items of a memory")
    arguments.add_argument("--queries", type=count, default=50, help="questions of each kind (default 50)")
    arguments.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.only:
        print(json.dumps(asyncio.run(_measured(given.only, given.items[0], given.queries))))
        return
    rows = []
    for items in given.items:
        for name in CONTENDERS:
            if name == "langchain-chroma" and importlib.util.find_spec("langchain_chroma") is None:
                continue
            command = [sys.executable, __file__, "--only", name, "--items", str(items), "--queries", str(given.queries)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                rows.append((f"{items:,}", name, done.stderr.strip().splitlines()[-1][:60], *[""] * 5))
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            numbers = [f"{found[key]:.2f}" for key in ("ask", "few", "get")]
            rows.append(
                (f"{items:,}", name, f"{found['puts']:,.0f}", *numbers, f"{found['mb']:.0f}", f"{found['disk']:.0f}")
            )
    print(table(("items", "store", "puts/s", "question ms", "few ms", "get ms", "MB", "MB on disk"), rows))


if __name__ == "__main__":
    main()
