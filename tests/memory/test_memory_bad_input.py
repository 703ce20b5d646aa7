"""What nobody should give a memory: each is answered in one clear line or taken as it is, and nothing is lost by it."""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import FakeEmbeddings
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Provenance

BY = Provenance("s", "a", "r", Trust.TOOL)
ODD = Provenance("s\ud800", "a\ud801", "r\ud802", Trust.TOOL)
PRELUDE = """
import os, resource, sys
from pathlib import Path
from pointsman.memory import ChromaStore, HashingEmbedder
folder = Path(sys.argv[1])
def said(error):
    print(type(error).__name__, " ".join(str(error).splitlines()), flush=True)
"""
FULL = """
store = ChromaStore(folder, HashingEmbedder())
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
kept = 0
try:
    for number in range(1000):
        store.put(("n",), str(number), {"text": f"note {number} " + "x" * 20_000})
        kept += 1
except Exception as error:
    said(error)
print(kept, store.get(("n",), str(kept - 1)) is not None, flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.put(("n",), "later", {"text": "there is room again"})
"""
DENIED = """
for path in [folder.parent, *folder.parent.parents]:
    if path != Path("/"):
        try: os.chmod(path, path.stat().st_mode | 0o055)
        except PermissionError: pass
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    ChromaStore(folder, HashingEmbedder())
except Exception as error:
    said(error)
"""


NOT_THAT: list[dict[str, Any]] = [
    {"author": None},
    {"author": 5},
    {"run": None},
    {"model": {}},
    {"trust": "god"},
    {"lineage": (5,)},
    {"span": (1.5, None)},
]
"""What a type checker would have refused in a provenance."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChromaStore]:
    with ChromaStore(tmp_path / "m", HashingEmbedder()) as store:
        yield store


@pytest.mark.slow
def test_five_megabytes_are_an_item_like_any_other(store: ChromaStore) -> None:
    for text in ("w" * 5_000_000, "word " * 1_000_000 + "needle"):
        store.put(("n",), "big", {"text": text})
        assert store.get(("n",), "big").value == {"text": text}  # type: ignore[union-attr]
        assert [item.key for item in store.recall(("n",), text[-10:])] in (["big"], [])
    assert store.recall(("n",), "needle")[0].key == "big"


@pytest.mark.parametrize("value", [{}, {"text": ""}, {"text": " \n"}, {"text": "\x00"}, {"n": math.inf}])
def test_a_value_without_words_is_an_item(store: ChromaStore, value: dict[str, Any]) -> None:
    store.put(("n",), "k", value)
    assert store.get(("n",), "k").value == value  # type: ignore[union-attr]
    assert store.recall(("n",), "") == store.recall(("n",), " \n") == []
    assert [item.key for item in store.search(("n",), query="\x00")] == ["k"]


def test_nan_in_a_value_is_kept_and_equals_nothing(store: ChromaStore) -> None:
    store.put(("n",), "k", {"text": "nan", "x": math.nan})
    assert math.isnan(store.get(("n",), "k").value["x"])  # type: ignore[union-attr]
    for condition in ({"x": math.nan}, {"x": {"$gt": 0}}, {"x": {"$lte": math.nan}}):
        assert store.search(("n",), filter=condition) == []


def test_nan_as_a_time_to_live_is_refused_and_nothing_is_kept(store: ChromaStore) -> None:
    with pytest.raises(ValueError, match="not NaN"):
        store.put(("n",), "k", {"text": "x"}, ttl=math.nan)
    with pytest.raises(ValueError, match="not NaN"):
        store.remember(("n",), "x", provenance=BY, ttl=math.nan)
    assert store.search(()) == []


@pytest.mark.parametrize("part", NOT_THAT, ids=str)
def test_a_provenance_that_nobody_could_read_is_refused_and_searches_go_on(
    store: ChromaStore, part: dict[str, Any]
) -> None:
    kept = store.remember(("n",), "the depot opens", provenance=BY)
    (told,) = store.exported()
    with pytest.raises((TypeError, ValueError)):
        store.remember(("n",), "another text", provenance=replace(BY, **part))
    with pytest.raises(ConfigError, match="is no item of a memory"):
        store.restore([{**told, "writers": [{**told["writers"][0], **part}]}], trusted=True)
    assert [item.id for item in store.recall((), "depot")] == [kept]


@pytest.mark.parametrize("seconds", [math.inf, -math.inf, math.nan, 1e300, -1e15])
@pytest.mark.parametrize("name", ["created", "updated", "written", "replaced"])
def test_a_time_that_no_calendar_has_is_no_item_of_an_import(store: ChromaStore, name: str, seconds: float) -> None:
    for text in ("the depot opens at six", "the depot opens at seven"):
        store.remember(("n",), text, provenance=BY, key="k")
    (told,) = store.exported()
    (told["history"][0] if name in ("written", "replaced") else told)[name] = seconds
    store.delete(("n",), "k")
    with pytest.raises(ConfigError, match="is no item of a memory"):
        store.restore([told])
    assert store.search(("n",)) == []


@pytest.mark.parametrize("text", [5, None, " "])
def test_a_note_without_a_text_is_no_item_of_an_import(store: ChromaStore, text: Any) -> None:
    store.remember(("n",), "the depot opens at six", provenance=BY)
    (told,) = store.exported()
    with pytest.raises(ConfigError, match="is no item of a memory"):
        store.restore([{**told, "value": {"text": text}}])


def test_lone_surrogates_come_back_in_every_place(store: ChromaStore) -> None:
    store.put(("n\ud800",), "k\udfff", {"t\udc00": "a \ud800 b"})
    item_id = store.remember(("n\ud800",), "odd \ud800 one two three", provenance=ODD)
    assert store.get(("n\ud800",), "k\udfff").value == {"t\udc00": "a \ud800 b"}  # type: ignore[union-attr]
    (found,) = store.recall(("n\ud800",), "odd \ud800 one", sources=["s\ud800"], authors=["a\ud801"])
    assert (found.id, found.writers) == (item_id, (ODD,))
    assert store.list_namespaces() == [("n\ud800",)]
    assert store.forget(source="s\ud800", author="a\ud801", run="r\ud802") == 1
    assert store.was_forgotten(["odd \ud800 one two three"]) == [True]


def test_a_value_nested_without_end_is_refused_in_one_line(store: ChromaStore) -> None:
    value: dict[str, Any] = {}
    for _ in range(100_000):
        value = {"a": value}
    for write in (
        lambda: store.put(("n",), "k", value),
        lambda: store.put(("n",), "k", {"a": [[value]]}),
        lambda: store.remember(("n",), "x", provenance=BY, metadata=value),
    ):
        with pytest.raises(ValueError, match="nested deeper than") as raised:
            write()
        assert "\n" not in str(raised.value)
    assert store.search(()) == []


def test_a_lineage_of_which_the_middle_is_forgotten_is_told_around_it(store: ChromaStore) -> None:
    last = store.remember(("n",), "fact 0", provenance=BY)
    for number in range(1, 51):
        last = store.remember(("n",), f"fact {number}", provenance=Provenance("s", "a", "r", Trust.USER, (last,)))
    before = store.why(last)
    assert store.forget(ids=[before[20][1]]) == 1
    steps = store.why(last)
    assert [item is None for _, _, item in steps] == [False] * 20 + [True]
    assert store.item(last).trust is Trust.TOOL  # type: ignore[union-attr]


def test_a_clock_that_goes_back_loses_nothing_and_expiry_goes_on() -> None:
    now = [4_000_000_000.0]
    with ChromaStore(None, HashingEmbedder(), clock=lambda: now[0]) as store:
        store.put(("n",), "future", {"text": "written with a wrong clock"})
        now[0] = 1_000_000_000.0
        store.put(("n",), "short", {"text": "lives a minute"}, ttl=1)
        assert {item.key for item in store.search(("n",), query="written minute")} == {"future", "short"}
        now[0] += 600
        store.put(("n",), "k", {"text": "x"})
        with store._database.reading() as db:
            assert db.execute("SELECT count(*) FROM items").fetchone() == (2,)
        assert store.get(("n",), "future") is not None


@pytest.mark.slow
def test_pages_overwritten_in_the_middle_of_the_file_are_told_in_one_line(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        for number in range(300):
            store.put(("n",), str(number), {"text": f"note {number}"})
    file = tmp_path / "memory.db"
    size = file.stat().st_size
    with file.open("r+b") as out:
        out.seek(4096 * 2)
        out.write(os.urandom(size - 4096 * 3))
    said = r"memory\.db cannot be used: the file is damaged: restore it"
    with pytest.raises(ConfigError, match=said) as raised, ChromaStore(tmp_path, HashingEmbedder()) as store:
        store.search(("n",), limit=1000)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_full_disk_is_told_in_one_line_and_what_was_acknowledged_stays(programs: Any, tmp_path: Path) -> None:
    with programs.start(["-c", PRELUDE + FULL, tmp_path], stdout=subprocess.PIPE, text=True) as running:
        told, counted = running.stdout.readline(), running.stdout.readline()
        assert running.wait() == 0
    assert told.startswith("ConfigError memory ")
    assert "memory.db cannot be used: the disk " in told
    assert "make room" in told or "free space" in told
    kept, there = counted.split()
    assert (int(kept) > 3, there) == (True, "True")
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        assert {item.key for item in store.search(("n",), limit=2000)} == {*map(str, range(int(kept))), "later"}
        assert store.recall(("n",), "note 2", limit=1)[0].key == "2"


def test_a_folder_that_may_not_be_written_is_told_in_one_line(programs: Any, tmp_path: Path) -> None:
    with ChromaStore(tmp_path / "m", HashingEmbedder()) as store:
        store.put(("n",), "k", {"text": "x"})
    with programs.start(["-c", PRELUDE + DENIED, tmp_path / "m"], stdout=subprocess.PIPE, text=True) as running:
        told = running.stdout.readline()
        running.wait()
    assert told.startswith("ConfigError memory folder ")
    assert "give another path, or set POINTSMAN_STATE" in told


def test_what_lacks_an_attribute_of_an_embedder_is_refused_with_what_to_give_it(tmp_path: Path) -> None:
    for given, missing in ((FakeEmbeddings(size=3), "no model_id and no dimensions"), (None, "NoneType cannot be")):
        with pytest.raises(ConfigError, match=missing):
            ChromaStore(tmp_path, given)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
