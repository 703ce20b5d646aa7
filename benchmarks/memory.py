"""The cost of the shared memory: writing, recalling, filtering, opening.

    python benchmarks/memory.py [--items N] [--queries N]

Items of twenty words, drawn from 30,000 words with the frequencies of a language (Zipf), are in ten namespaces; each
has a field value that every second item shares and one that one in 10,000 has. Every recall asks a new question of
eight words of one item, and is measured in full: embedding the question, words, vectors, filters, reading the items.
The questions of the first row consist of words mostly new to the process; the other rows ask the same questions again.
Milliseconds are CPU time of the calling thread (numpy is limited to one thread), so that other programs on the machine
have little influence; ``wall`` is shown beside them. With OPENBLAS_NUM_THREADS set empty, numpy uses its default
number of threads, and only ``wall`` is meaningful. Chroma is fed by a separate thread while the memory is idle, up to
50,000 items late.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from items import BATCH, TEAM, op, resident_mb, size_mb, texts_of
from pointsman.memory import ChromaStore
from stage import options, table


def _timed(call: Callable[[int], Any], times: int) -> list[str]:
    call(0)
    cpu, wall = [], []
    for number in range(1, times + 1):
        began, began_wall = time.thread_time(), time.perf_counter()
        call(number)
        cpu.append((time.thread_time() - began) * 1e3)
        wall.append((time.perf_counter() - began_wall) * 1e3)
    return [f"{np.percentile(measured, share):.2f}" for measured in (cpu, wall) for share in (50, 95)]


def _calls(store: ChromaStore, texts: list[str], rng: random.Random) -> dict[str, Callable[[int], Any]]:
    asked = [" ".join(rng.sample(rng.choice(texts).split(), 8)) for _ in range(200)]

    def question(number: int) -> str:
        return asked[number % len(asked)]

    def write_and_recall(number: int) -> None:
        store.put((*TEAM, "1"), f"new {number}", {"text": question(number)})
        store.recall(TEAM, question(number))

    return {
        "recall, words never asked": lambda n: store.recall(TEAM, question(n)),
        "recall": lambda n: store.recall(TEAM, question(n)),
        "recall, one namespace": lambda n: store.recall((*TEAM, str(n % 10)), question(n)),
        "recall, common filter": lambda n: store.recall(TEAM, question(n), filter={"kind": "common"}),
        "recall, rare filter": lambda n: store.recall(TEAM, question(n), filter={"rare": True}),
        "recall, another range each": lambda n: store.recall(TEAM, question(n), filter={"n": {"$gt": n}}),
        "search by meaning": lambda n: store.search(TEAM, query=question(n)),
        "search by rare filter": lambda n: store.search(TEAM, filter={"rare": True}),
        "get": lambda n: store.get((*TEAM, str(n % 10)), str(n)),
        "list_namespaces": lambda n: store.list_namespaces(),
        "put and recall": write_and_recall,
    }


def main() -> None:
    given = options(__doc__, items=(10_000, "items in the memory"), queries=(100, "calls of each kind"))
    rng = random.Random(1)
    texts = texts_of(given.items, rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory"
        with ChromaStore.open(path) as store:
            store.put(("warm",), "k", {"text": "the weights are loaded at first use"})
            began, began_wall = time.thread_time(), time.perf_counter()
            for start in range(0, given.items, BATCH):
                store.batch([op(number, texts[number]) for number in range(start, min(start + BATCH, given.items))])
            cpu, wall = time.thread_time() - began, time.perf_counter() - began_wall
            print(f"{given.items / cpu:,.0f} puts a second of processor time, {given.items / wall:,.0f} wall\n")
            calls = _calls(store, texts, rng)
            rows = [(name, *_timed(call, given.queries)) for name, call in calls.items()]
            print(table(("", "p50 ms", "p95 ms", "wall p50", "wall p95"), rows))
            began_wall = time.perf_counter()
            store._folder.index.feed()  # type: ignore[union-attr]
            print(f"\nfed {time.perf_counter() - began_wall:.0f} s later; resident {resident_mb():,.0f} MB")
        began, began_wall = time.thread_time(), time.perf_counter()
        with ChromaStore.open(path) as store:
            store.recall(TEAM, texts[0])
            cpu, wall = time.thread_time() - began, time.perf_counter() - began_wall
            print(f"opened and recalled in {cpu:.2f} s of processor time, {wall:.2f} wall")
        print(f"{size_mb(path):,.0f} MB on disk, {size_mb(path / 'chroma'):,.0f} of them Chroma's")


if __name__ == "__main__":
    main()
