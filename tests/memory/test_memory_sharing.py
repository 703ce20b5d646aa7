"""Several threads, stores and processes on one folder, and a Chroma server."""

from __future__ import annotations

import socket
import subprocess
import sysconfig
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Note, Provenance
from pointsman.memory.chroma import _Session, _settings

FROM_TOOL = Provenance("s", "a", "r", Trust.TOOL)
METADATA = {"embedder": "x", "dimensions": 16}

WRITER = """
import sys
from pathlib import Path
from pointsman.memory import ChromaStore, HashingEmbedder
folder, name, how = sys.argv[1:]
with ChromaStore(Path(folder), HashingEmbedder()) as store:
    print("open", flush=True)
    sys.stdin.readline()
    if how == "hold":
        with store._engine.writing():
            print("holding", flush=True)
            sys.stdin.readline()
    for number in range(10):
        store.put(("n",), f"{name} {number}", {"text": f"{name} {number}"}, index=["text"])
    seen = store.search(("n",), query="parent", limit=1)
    print(seen[0].key if seen else "", flush=True)
"""


@contextmanager
def process(programs: Any, folder: Path, name: str, how: str = "write") -> Iterator[subprocess.Popen[str]]:
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with programs.start(["-c", WRITER, folder, name, how], **ends) as running:
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


def _vectors(rng: np.random.Generator, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return rng.standard_normal((count, 16)).astype(np.float32)


def test_plain_chroma_neither_shows_nor_keeps_all_vectors_of_two_writers(tmp_path: Path) -> None:
    """The fault that `Engine` cures; it happens between two openings as it does between two processes."""
    settings = _settings(tmp_path, None, 0)
    first, second = (_Session(settings, "plain", METADATA) for _ in range(2))
    rng, written = np.random.default_rng(0), {}
    for turn in range(3):
        for name, session in (("a", first), ("b", second)):
            vectors = _vectors(rng, 600)
            ids = [f"{name}{turn}.{n}" for n in range(600)]
            session.collection.upsert(ids=ids, embeddings=vectors)
            written.update(zip(ids, vectors, strict=True))
    reopened = _Session(settings, "plain", METADATA)
    lost = _missing(reopened.collection, written)
    assert reopened.collection.count() == 3600
    assert lost > 0


def _missing(chroma: Any, written: dict[str, Any]) -> int:
    some = list(written)[::9]
    got = chroma.query(query_embeddings=np.array([written[i] for i in some]), n_results=1, include=[])
    return sum(found != [wanted] for found, wanted in zip(got["ids"], some, strict=True))


def test_two_stores_that_write_in_turn_lose_no_vector(tmp_path: Path) -> None:
    class Given(HashingEmbedder):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return _vectors(np.random.default_rng(int(texts[0].split()[0])), len(texts)).tolist()

    with ChromaStore(tmp_path, Given(16)) as first, ChromaStore(tmp_path, Given(16)) as second:
        written: dict[str, Any] = {}
        for turn in range(3):
            for number, store in enumerate((first, second)):
                texts = [f"{2 * turn + number} {n}" for n in range(600)]
                ids = store.remember_all(("n",), [Note(text, FROM_TOOL) for text in texts])
                written.update(zip(ids, Given(16).embed_documents(texts), strict=True))
        for store in (first, second):
            with store._engine.searching() as chroma:
                assert _missing(chroma, written) == 0
    with ChromaStore(tmp_path, Given(16)) as reopened, reopened._engine.searching() as chroma:
        assert _missing(chroma, written) == 0
        assert chroma.count() == 3600


def test_threads_share_a_store_while_another_store_writes(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store, ChromaStore(tmp_path, HashingEmbedder()) as other:

        def work(worker: int) -> int:
            mine = other if worker == 0 else store
            for number in range(8):
                text = f"worker {worker} number {number}"
                mine.put(("n", str(worker)), text, {"text": text}, index=["text"])
                # What another store writes is seen as soon as the index is open anew, which others may be at just now.
                found = ""
                for _ in range(5_000):
                    found = store.search(("n", str(worker)), query=text, limit=1)[0].key
                    if found == text or worker != 0:
                        break
                    time.sleep(0.05)
                assert found == text
                mine.remember(("shared",), f"number {number}", provenance=Provenance("s", str(worker), "r", Trust.TOOL))
                store.recall(("shared",), text)
            return mine.forget(source="s", namespace=("none",))

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(work, range(6))) == [0] * 6
        assert len(store.search(("n",), limit=100)) == 48
        shared = store.recall(("shared",), "number", limit=100)
        assert len(shared) == 8
        assert all({w.author for w in found.writers} == set("012345") for found in shared)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_it_answers(port: int, server: subprocess.Popen[str]) -> None:
    """Wait for a server that says it listens a moment before it does; the bound is only for one that never will."""
    last = time.monotonic() + 120
    while server.poll() is None and time.monotonic() < last:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)


def test_a_server_serves_as_a_folder_does(tmp_path: Path) -> None:
    port = _free_port()
    with pytest.raises(ConfigError, match=f"127.0.0.1:{port} cannot be opened"):
        ChromaStore(None, HashingEmbedder(), host="127.0.0.1", port=port)
    program = Path(sysconfig.get_path("scripts")) / "chroma"
    command = [str(program), "run", "--path", str(tmp_path), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert server.stdout is not None
            assert any("listening on" in said for said in server.stdout)
            # It logs every request, and stands still when nobody reads that.
            threading.Thread(target=server.stdout.read, daemon=True).start()
            _until_it_answers(port, server)
            with (
                ChromaStore(None, HashingEmbedder(), host="127.0.0.1", port=port) as store,
                ChromaStore(None, HashingEmbedder(), host="127.0.0.1", port=port) as other,
            ):
                store.put(("n",), "k", {"text": "some words", "ü": [1, None]}, ttl=5)
                other.put(("n",), "k2", {"parts": ["alpha", "beta"]}, index=["parts[*]"])
                item_id = other.remember(("n",), "see ERR-4417", provenance=FROM_TOOL)
                assert store.get(("n",), "k").value == {"text": "some words", "ü": [1, None]}  # type: ignore[union-attr]
                assert store.search(("n",), query="beta", limit=1)[0].key == "k2"
                assert store.search(("n",), filter={"text": "some words"}, query="x")[0].key == "k"
                assert store.recall(("n",), "why ERR-4417")[0].id == item_id
                assert store.list_namespaces() == [("n",)]
                assert store.forget(source="s") == 1
                with pytest.raises(ConfigError, match="hashing-8"):
                    ChromaStore(None, HashingEmbedder(8), host="127.0.0.1", port=port)
        finally:
            server.kill()
