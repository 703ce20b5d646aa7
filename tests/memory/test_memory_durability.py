"""What was acknowledged is there after the process was killed, and the words, the vectors and Chroma agree."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langgraph.store.base import PutOp
from pointsman.memory import ChromaStore, HashingEmbedder

WRITER = """
import sys
from pathlib import Path
from langgraph.store.base import PutOp
from pointsman.memory import ChromaStore, HashingEmbedder
store = ChromaStore(Path(sys.argv[1]), HashingEmbedder())
turn = sys.argv[2]
batch = 0
while True:
    keys = [f"{turn} {batch} {n}" for n in range(150)]
    store.batch([PutOp(("n",), key, {"text": f"note {key}"}) for key in keys])
    store.batch([PutOp(("n",), key, None) for key in keys[:50]])
    print(batch, flush=True)
    batch += 1
"""


@pytest.mark.slow
def test_what_was_acknowledged_before_a_kill_is_there_and_found(
    programs: Any, tmp_path: Path, in_chroma: Callable[[Path], list[str]]
) -> None:
    acknowledged: dict[str, int] = {}
    for turn in range(6):
        with programs.start(["-c", WRITER, tmp_path, str(turn)], stdout=subprocess.PIPE, text=True) as writer:
            last = -1
            for _ in range(turn + 1):
                last = int(writer.stdout.readline())
            writer.kill()
        acknowledged[str(turn)] = last
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        kept = {item.key for item in store.search(("n",), limit=100_000)}
        for turn, last in acknowledged.items():
            for batch in range(last + 1):
                assert {f"{turn} {batch} {n}" for n in range(50, 150)} <= kept
                assert f"{turn} {batch} 0" not in kept
        # A batch is kept as a whole or not at all, and each item is found by its words and by its vector.
        for key in sorted(kept)[:: max(1, len(kept) // 40)]:
            assert store.search(("n",), query=f"note {key}", limit=1)[0].score is not None
            assert key in [item.key for item in store.recall(("n",), f"note {key}", limit=20)]
        assert len(kept) % 50 == 0
        index = store._folder.index
        assert index is not None
        index.feed()
        assert index.waiting("default") == []
        with store._database.reading() as db:
            expected = {f"{seq}:0" for (seq,) in db.execute("SELECT seq FROM items")}
    assert set(in_chroma(tmp_path)) == expected


@pytest.mark.slow
def test_an_index_that_opens_but_cannot_be_added_to_is_made_anew(
    tmp_path: Path, in_chroma: Callable[[Path], list[str]]
) -> None:
    """As a process leaves it that was killed while Chroma wrote."""
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        store.batch([PutOp(("n",), str(n), {"text": f"note {n}"}) for n in range(1100)])
        assert store._folder.index is not None
        store._folder.index.feed()
    (header,) = (tmp_path / "chroma").rglob("header.bin")
    for file in header.parent.iterdir():
        file.write_bytes(file.read_bytes()[:10])
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        store.put(("n",), "later", {"text": "one more"})
        store._folder.index.feed()  # type: ignore[union-attr]
        assert store._folder.index.waiting("default") == []  # type: ignore[union-attr]
    assert len(in_chroma(tmp_path)) == 1101


KILLED = """
import os, signal, sys
from pathlib import Path
from chromadb.api.models.Collection import Collection
from langgraph.store.base import PutOp
from pointsman.memory import ChromaStore, HashingEmbedder
upsert = Collection.upsert
def killed(*args, **kwargs):
    upsert(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
Collection.upsert = killed
store = ChromaStore(Path(sys.argv[1]), HashingEmbedder())
store.batch([PutOp(("n",), str(n), {"text": f"note {n}"}) for n in range(900)])
store._folder.index.feed()
"""


@pytest.mark.slow
def test_an_index_in_which_a_process_was_killed_while_it_wrote_is_made_anew_unread(
    programs: Any, tmp_path: Path, in_chroma: Callable[[Path], list[str]]
) -> None:
    with programs.start(["-c", KILLED, tmp_path]) as killed:
        assert killed.wait() != 0
    (tmp_path / "chroma" / "of before").touch()
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        assert store._folder.index is not None
        # It is the vectors that are read back by native code, which a torn file can end.
        assert store._folder.index.nearest("default", np.ones(256, np.float32), 5) is None
        store._folder.index.feed()
        assert store._folder.index.waiting("default") == []
    assert not (tmp_path / "chroma" / "of before").exists()
    assert len(in_chroma(tmp_path)) == 900


def test_chroma_is_fed_once_nobody_has_used_the_memory_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    did: list[str] = []
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        index = store._folder.index
        assert index is not None

        uses: list[Callable[[], object]] = [
            lambda: store.put(("n",), "k", {"text": "a note"}),
            lambda: store.recall(("n",), "note"),
            lambda: store.search(("n",), query="note"),
        ]

        def a_moment(seconds: float) -> bool:
            did.append("waited")
            for use in uses[:1]:
                uses.remove(use)
                use()
            return False

        monkeypatch.setattr(index._stopping, "wait", a_moment)
        monkeypatch.setattr(index, "feed", lambda most=None: did.append("fed"))
        index._feed_when_quiet()
        assert did == ["waited"] * 4 + ["fed"]
        monkeypatch.setattr("pointsman.memory.storage.chroma._MOST_WAITING", 1)
        store.put(("n",), "k", {"text": "too much waits"})
        index._feed_when_quiet()
        assert did[5:] == ["fed"]
