"""Several processes on one memory: kill writers, read during writes, write through a server; count what is lost.

    python benchmarks/memory_shared.py [--kills N] [--seconds N]

Killed writers: each writes batches of 300 items, deletes 100 of them and records what was acknowledged, until it is
killed with SIGKILL at a random moment. Afterwards every acknowledged batch must be as it was left, an unacknowledged
batch must be complete or absent, and rows, words, vectors and Chroma's index must agree.

Readers: each writer records the last number it wrote, once acknowledged. A reader reads that number first, then asks
the memory by key, by meaning and by words; the answers must not be older.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from langgraph.store.base import PutOp
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, Provenance
from pointsman.memory.search.words import terms
from pointsman.memory.serving.server import serve
from stage import options, table

TOKEN = "of the benchmark"
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["memory_shared", "pointsman.backends.ondevice.embedder", "chromadb.api.rust"])
_NAMES = "amber brook cedar delta ember fjord grove haven inlet jetty knoll ledge marsh north orbit piers"


def _text(name: str, number: int) -> str:
    drawn = random.Random(f"{name} {number}").choices(_NAMES.split(), k=8)
    return f"{name} item{number} {' '.join(drawn)}"


def _killed_writer(path: str, turn: int, told: Any) -> None:
    with ChromaStore.open(path) as store:
        for batch in range(1_000_000):
            keys = [f"{turn} {batch} {n}" for n in range(300)]
            store.batch([PutOp(("n",), key, {"text": _text("x", hash(key) % 10_000)}) for key in keys])
            told.send((batch, "written"))
            store.batch([PutOp(("n",), key, None) for key in keys[:100]])
            told.send((batch, "deleted"))


def kills(count: int) -> None:
    """Kill writers, then check the memory."""
    rng = random.Random(7)
    lost = torn = half = batches = 0
    with tempfile.TemporaryDirectory() as folder:
        acknowledged: dict[tuple[int, int], str] = {}
        for turn in range(count):
            mine, theirs = _context.Pipe(duplex=False)
            writer = _context.Process(target=_killed_writer, args=(folder, turn, theirs))
            writer.start()
            theirs.close()
            first = mine.recv()
            time.sleep(rng.uniform(0, 2))
            writer.kill()
            writer.join()
            assert writer.exitcode == -signal.SIGKILL, writer.exitcode
            said = [first]
            with suppress(EOFError):
                while True:
                    said.append(mine.recv())
            acknowledged |= {(turn, batch): what for batch, what in said}
        with ChromaStore.open(folder) as store:
            held: dict[tuple[int, int], set[int]] = {}
            items = store.search(("n",), limit=10_000_000)
            for item in items:
                turn, batch, n = map(int, item.key.split())
                held.setdefault((turn, batch), set()).add(n)
            whole, rest = set(range(300)), set(range(100, 300))
            for place in held.keys() | acknowledged.keys():
                there, what = held.get(place, set()), acknowledged.get(place)
                batches += 1
                # A write that was not acknowledged may have happened.
                fine = {None: (set(), whole, rest), "written": (whole, rest), "deleted": (rest,)}[what]
                lost += what is not None and not there >= rest
                torn += there not in fine
            found = [item.score for item in store.search(("n",), query="amber brook", limit=10_000_000)]
            half += sum(score is None for score in found) + (len(found) != len(items))
            with store._mirror.current() as mirror:
                mask = mirror.mask((), indexed=True)
                half += int(mask.sum()) != len(items)
                half += int(np.count_nonzero(mirror.postings.under(mask).scores(terms("amber"))[0])) != sum(
                    "amber" in item.value["text"] for item in items
                )
            index = store._folder.index
            assert index is not None
            index.feed()
            with store._database.reading() as db:
                numbers = {f"{seq}:0" for (seq,) in db.execute("SELECT seq FROM items")}
        half += _in_chroma(Path(folder)) != numbers
    row = (str(count), str(batches), str(len(items)), str(lost), str(torn), str(half))
    print(table(("killed", "batches", "items", "acknowledged but lost", "torn", "disagreements"), [row]), flush=True)


def _in_chroma(folder: Path) -> set[str]:
    import chromadb
    from chromadb.config import Settings

    client = chromadb.PersistentClient(folder / "chroma", Settings(anonymized_telemetry=False))
    (collection,) = (client.get_collection(one.name, embedding_function=None) for one in client.list_collections())
    return set(collection.get(include=[])["ids"])


def _write(where: str, name: int, last: Any, ready: Any, stop: Any, sums: Any) -> None:
    with ChromaStore.open(where, token=TOKEN) as store:
        store.search((), query="the weights are loaded at first use")
        ready.wait()
        number = 0
        while not stop.is_set():
            number += 1
            ops = [PutOp(("n", str(name)), f"{number} {i}", {"text": _text(f"w{name}", number)}) for i in range(19)]
            store.batch([*ops, PutOp(("last",), str(name), {"number": number, "text": f"w{name} latest"})])
            by = Provenance("s", f"w{name}", "r", Trust.TOOL)
            store.remember(("notes",), _text(f"w{name}", number), provenance=by)
            last[name] = number
        sums.put(("writes", number, 0, 0.0))


def _read(where: str, name: int, writers: int, last: Any, ready: Any, stop: Any, sums: Any) -> None:
    reads = stale = 0
    longest = 0.0
    with ChromaStore.open(where, token=TOKEN) as store:
        store.search((), query="the weights are loaded at first use")
        ready.wait()
        while not stop.is_set():
            writer = (name + reads) % writers
            known = last[writer]
            began = time.perf_counter()
            item = store.get(("last",), str(writer))
            found = store.search(("last",), query=f"w{writer} latest", filter={"number": {"$gte": known}}, limit=9)
            noted = store.recall(("notes",), _text(f"w{writer}", known), limit=5) if known else []
            longest = max(longest, time.perf_counter() - began)
            reads += 1
            stale += bool(known) and (item is None or item.value["number"] < known)
            stale += bool(known) and str(writer) not in {one.key for one in found}
            stale += bool(known) and _text(f"w{writer}", known) not in {one.text for one in noted}
        sums.put(("reads", reads, stale, longest))


def _together(where: str, path: str, writers: int, readers: int, seconds: float) -> tuple[str, ...]:
    last, stop, sums = _context.Array("q", writers), _context.Event(), _context.Queue()
    ready = _context.Barrier(writers + readers + 1)
    made = [_context.Process(target=_write, args=(where, n, last, ready, stop, sums)) for n in range(writers)]
    made += [_context.Process(target=_read, args=(where, n, writers, last, ready, stop, sums)) for n in range(readers)]
    for process in made:
        process.start()
    ready.wait()
    time.sleep(seconds)
    stop.set()
    told = [sums.get(timeout=600) for _ in made]
    for process in made:
        process.join()
    writes = [count for what, count, *_ in told if what == "writes"]
    reads = [one for one in told if one[0] == "reads"]
    with ChromaStore.open(path) as store:
        kept = len(store.search(("n",), limit=10_000_000))
        expected = 19 * sum(last[:])
        authors = sum(len(item.writers) for item in _notes(store))
    lost = expected - kept + sum(writes) - authors
    return (
        *(str(writers), str(readers), f"{sum(writes) * 21 / seconds:,.0f}"),
        f"{sum(count for _, count, *_ in reads) * 3 / seconds:,.0f}",
        *(str(lost), str(sum(stale for _, _, stale, _ in reads))),
        f"{max((longest for *_, longest in reads), default=0):.2f}",
    )


def _notes(store: ChromaStore) -> list[Any]:
    return [
        item
        for one in store.search(("notes",), limit=10_000_000)
        if (item := store.item(store.id_of(("notes",), one.key)))
    ]


def _served(path: str, ready: Any, stop: Any) -> None:
    async def run() -> None:
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        threading.Thread(target=lambda: (stop.wait(), loop.call_soon_threadsafe(over.set)), daemon=True).start()
        await serve({TOKEN: store}, "127.0.0.1", 0, ready=ready.put, stop=over)

    with ChromaStore.open(path) as store:
        asyncio.run(run())


def shared(seconds: float) -> None:
    """Let processes read and write at the same time, on the folder and through a server."""
    rows = []
    for writers, readers in ((1, 4), (4, 4)):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(("one folder", *_together(folder, folder, writers, readers, seconds)))
    for writers, readers in ((1, 4), (4, 4), (8, 0)):
        with tempfile.TemporaryDirectory() as folder:
            ready, stop = _context.Queue(), _context.Event()
            server = _context.Process(target=_served, args=(folder, ready, stop))
            server.start()
            url = ready.get(timeout=600)
            row = _together(url, folder, writers, readers, seconds)
            stop.set()
            server.join()
            rows.append(("a server", *row))
    head = ("over", "writers", "readers", "items/s", "reads/s", "lost", "stale", "longest read s")
    print(table(head, rows))


if __name__ == "__main__":
    given = options(__doc__, kills=(50, "writers that are killed"), seconds=(15.0, "of reading and writing together"))
    kills(given.kills)
    shared(given.seconds)
