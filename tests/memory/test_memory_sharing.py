"""Several threads, stores and processes on one folder."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import chromadb
import pytest
from chromadb.config import Settings
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Note, Provenance

FROM_TOOL = Provenance("s", "a", "r", Trust.TOOL)

WRITER = """
import sys
from pathlib import Path
from pointsman.memory import ChromaStore, HashingEmbedder
folder, name, how = sys.argv[1:]
with ChromaStore(Path(folder), HashingEmbedder()) as store:
    print("open", flush=True)
    sys.stdin.readline()
    if how == "hold":
        with store._database.writing():
            print("holding", flush=True)
            sys.stdin.readline()
    for number in range(10):
        store.put(("n",), f"{name} {number}", {"text": f"{name} {number}"}, index=["text"])
    seen = store.search(("n",), query="parent", limit=1)
    print(seen[0].key if seen else "", flush=True)
"""

FORGETTER = """
import sys
from pathlib import Path
from pointsman.memory import ChromaStore, HashingEmbedder
folder, name = sys.argv[1:]
with ChromaStore(Path(folder), HashingEmbedder()) as store:
    store.recall(("n",), "secret")
    print("open", flush=True)
    sys.stdin.readline()
    print(*(store.forget(source=source) for source in (name, "both", f"{name} too")), flush=True)
    print(*sorted(item.text for item in store.recall(("n",), "secret word", limit=100)), sep="; ", flush=True)
"""


@contextmanager
def process(programs: Any, folder: Path, name: str, how: str = "write") -> Iterator[subprocess.Popen[str]]:
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with programs.start(["-c", WRITER, folder, name, how], **ends) as running:
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def forgetter(programs: Any, folder: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with programs.start(["-c", FORGETTER, folder, name], **ends) as running:
        try:
            yield running
        finally:
            running.kill()


def line(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


def tell(running: subprocess.Popen[str]) -> None:
    assert running.stdin is not None
    running.stdin.write("\n")
    running.stdin.flush()


def test_processes_on_one_folder_see_each_others_vectors(programs: Any, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    with (
        ChromaStore(folder, HashingEmbedder()) as store,
        process(programs, folder, "one") as one,
        process(programs, folder, "two") as two,
    ):
        assert (line(one), line(two)) == ("open", "open")
        store.put(("n",), "parent", {"text": "parent"}, index=["text"])
        assert len(store.search(("n",), query="parent")) == 1
        tell(one)
        tell(two)
        assert (line(one), line(two)) == ("parent", "parent")
        for key in [f"{name} {number}" for name in ("one", "two") for number in range(10)]:
            assert store.search(("n",), query=key, limit=1)[0].key == key


def test_a_process_killed_while_it_writes_locks_nobody_out(programs: Any, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    with ChromaStore(folder, HashingEmbedder()) as store, process(programs, folder, "dead", "hold") as held:
        assert line(held) == "open"
        tell(held)
        assert line(held) == "holding"
        held.kill()
        held.wait()
        store.put(("n",), "k", {"text": "words"})
        assert len(store.search(("n",), query="words")) == 1


@pytest.mark.slow
def test_two_processes_that_write_in_turn_lose_no_vector_in_chroma(programs: Any, tmp_path: Path) -> None:
    """In plain Chroma whichever process saves its index last drops a quarter of the other's vectors."""
    with process(programs, tmp_path, "one") as one, process(programs, tmp_path, "two") as two:
        assert (line(one), line(two)) == ("open", "open")
        tell(one)
        tell(two)
        one.wait()
        two.wait()
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        keys = [item.key for item in store.search(("n",), limit=100)]
    assert sorted(keys) == sorted(f"{name} {number}" for name in ("one", "two") for number in range(10))
    client = chromadb.PersistentClient(tmp_path / "chroma", Settings(anonymized_telemetry=False))
    (collection,) = (client.get_collection(c.name, embedding_function=None) for c in client.list_collections())
    every: Any = collection.get(include=["embeddings"])
    nearest = collection.query(query_embeddings=every["embeddings"], n_results=1, include=["distances"])
    assert len(every["ids"]) == 20
    assert all(distance == pytest.approx(0, abs=1e-5) for (distance,) in nearest["distances"] or [])
    client.close()


@pytest.mark.slow
def test_threads_share_a_store_while_another_store_writes(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store, ChromaStore(tmp_path, HashingEmbedder()) as other:

        def work(worker: int) -> int:
            mine = other if worker == 0 else store
            for number in range(8):
                text = f"worker {worker} number {number}"
                mine.put(("n", str(worker)), text, {"text": text}, index=["text"])
                assert store.search(("n", str(worker)), query=text, limit=1)[0].key == text
                mine.remember(("shared",), f"number {number}", provenance=Provenance("s", str(worker), "r", Trust.TOOL))
                store.recall(("shared",), text)
            return mine.forget(source="s", namespace=("none",))

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(work, range(6))) == [0] * 6
        assert len(store.search(("n",), limit=100)) == 48
        shared = store.recall(("shared",), "number", limit=100)
        assert len(shared) == 8
        assert all({w.author for w in found.writers} == set("012345") for found in shared)


@pytest.mark.slow
def test_a_hundred_tenants_of_a_folder_cost_no_more_files_and_threads_than_one(tmp_path: Path) -> None:
    def open_now() -> int:
        return sum(str(tmp_path) in os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink())

    stores = [ChromaStore(tmp_path, HashingEmbedder(), tenant="0")]
    stores[0].put(("n",), "k", {"tenant": 0})
    stores[0].search(("n",), query="tenant")
    one, threads = open_now(), threading.active_count()
    for number in range(1, 100):
        stores.append(ChromaStore(tmp_path, HashingEmbedder(), tenant=str(number)))
        stores[-1].put(("n",), "k", {"tenant": number})
        assert [item.value["tenant"] for item in stores[-1].search((), query="tenant")] == [number]
    assert (open_now(), threading.active_count()) == (one, threads)
    for store in stores:
        store.close()
    assert open_now() == 0


@pytest.mark.slow
def test_two_processes_that_forget_at_once_lose_nothing_else_and_leave_nothing(programs: Any, tmp_path: Path) -> None:
    sources = ("one", "two", "one too", "two too", "both", "kept")
    said = {source: [f"secret word {source.replace(' ', '')}{n}" for n in range(15)] for source in sources}
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        for source, texts in said.items():
            store.remember_all(("n",), [Note(text, Provenance(source, "a", "r", Trust.TOOL)) for text in texts])
    with forgetter(programs, tmp_path, "one") as one, forgetter(programs, tmp_path, "two") as two:
        assert (line(one), line(two)) == ("open", "open")
        tell(one)
        tell(two)
        counts = [[int(count) for count in line(running).split()] for running in (one, two)]
        left = [line(running) for running in (one, two)]
        assert (one.wait(), two.wait()) == (0, 0)
    assert [(own, too) for own, _, too in counts] == [(15, 15), (15, 15)]
    assert sum(both for _, both, _ in counts) == 15
    gone = [text for source in sources[:-1] for text in said[source]]
    for name, seen in zip(("one", "two"), left, strict=True):
        assert not any(text in seen for source in (name, "both", f"{name} too") for text in said[source])
        assert all(text in seen for text in said["kept"])
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        assert sorted(item.text for item in store.recall(("n",), "secret word", limit=100)) == sorted(said["kept"])
        assert store.was_forgotten(gone + said["kept"]) == [True] * len(gone) + [False] * 15
    files = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert not [(file.name, text) for file, data in files.items() for text in gone if text.encode() in data]


def test_a_store_that_is_open_refuses_a_memory_that_a_newer_version_has_upgraded_since(tmp_path: Path) -> None:
    refused = pytest.raises(ConfigError, match="was written by a newer version of pointsman: upgrade")
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        store.put(("n",), "a", {"text": "a lost card"})
        with closing(sqlite3.connect(tmp_path / "memory.db")) as other:
            other.execute("PRAGMA user_version = 99")
        with refused:
            store.search(("n",), query="card")
        with refused:
            store.put(("n",), "b", {"text": "a stolen card"})
    with refused:
        ChromaStore(tmp_path, HashingEmbedder())


def test_a_writer_of_no_document_is_kept_as_earlier_versions_read_it(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        store.put(("n",), "a", {"text": "a lost card"})
    with closing(sqlite3.connect(tmp_path / "memory.db")) as read:
        (further,) = read.execute("SELECT further FROM writers").fetchone()
    assert json.loads(further) == ["", "", "", None]
