from __future__ import annotations

import asyncio
import random
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chromadb
import pytest
from chromadb.config import Settings
from chromadb.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2
from hypothesis import given
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import Item, PutOp
from pointsman.configs.errors import ConfigError
from pointsman.memory import ChromaStore, Embedder, HashingEmbedder
from pointsman.memory.items import row_id
from pointsman.memory.storage import chroma
from pointsman.memory.storage.chroma import settings as chroma_settings
from typing_extensions import TypedDict

InChroma = Callable[[Path], list[str]]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def shared() -> Iterator[ChromaStore]:
    with ChromaStore(None, HashingEmbedder()) as store:
        yield store


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ChromaStore, ChromaStore]]:
    folder = tmp_path_factory.mktemp("tenants") / "memory"
    with (
        ChromaStore(folder, HashingEmbedder(), tenant="ours") as ours,
        ChromaStore(folder, HashingEmbedder(), tenant="theirs") as theirs,
    ):
        for store, owner in ((ours, "ours"), (theirs, "theirs")):
            for namespace in [("team",), ("team", "a"), ("team", "b"), ("teams",)]:
                store.put(namespace, "k", {"owner": owner, "text": "secret", "n": 1})
        yield ours, theirs


# Anything at all, and what a caller would try who knows how rows lie in Chroma.
TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FORGED = st.recursive(
    st.sampled_from(["ours", "theirs", "k", '["team", "b"]', '["teams"]', "", 1, None]) | JSON,
    lambda inner: st.dictionaries(
        st.sampled_from(
            ["$ne", "$eq", "$gt", "$lte", "$or", "$and", "$in", "$contains", "in_1", "in_2", "about", "owner", "n"]
        ),
        inner | st.lists(inner, max_size=2),
        max_size=2,
    ),
    max_leaves=6,
)


@given(value=st.dictionaries(TEXT, JSON, max_size=4), key=TEXT)
def test_every_json_value_comes_back_the_same_under_every_key(
    shared: ChromaStore, value: dict[str, Any], key: str
) -> None:
    shared.put(("round", "trip"), key, value)
    item = shared.get(("round", "trip"), key)
    assert item is not None
    assert (item.value, item.key) == (value, key)


@given(filters=st.dictionaries(st.sampled_from(["owner", "n", "in_1", "about", "$or", "of"]), FORGED, max_size=2))
def test_no_filter_reaches_another_tenant_or_namespace(
    tenants: tuple[ChromaStore, ChromaStore], filters: dict[str, Any]
) -> None:
    ours, _ = tenants
    for query in (None, "secret"):
        try:
            found = ours.search(("team", "a"), filter=filters, query=query, limit=50)
        except ValueError as refusal:
            assert "Unsupported operator" in str(refusal)  # noqa: PT017 - either refused, or confined as below
            continue
        assert all(item.namespace == ("team", "a") and item.value["owner"] == "ours" for item in found)


def test_an_operator_that_opens_chroma_to_another_tenant_opens_nothing_here(
    tenants: tuple[ChromaStore, ChromaStore],
) -> None:
    client = chromadb.EphemeralClient(Settings(anonymized_telemetry=False))
    shared = client.create_collection("shared", embedding_function=None)
    rows: Any = [{"tenant": "ours"}, {"tenant": "theirs"}]
    shared.add(ids=["1", "2"], embeddings=[[1.0], [1.0]], documents=["a", "b"], metadatas=rows)
    from_caller: Any = {"$ne": "ours"}
    assert shared.get(where={"tenant": from_caller})["ids"] == ["2"]  # the fault, in plain Chroma
    client.close()
    ours, _ = tenants
    assert ours.search((), filter={"owner": {"$ne": "ours"}}) == []


@given(
    st.lists(
        st.tuples(st.text('ab",[]', max_size=3), st.lists(st.text('ab",[]', max_size=3), max_size=3), TEXT),
        min_size=2,
        max_size=6,
        unique_by=repr,
    )
)
def test_ids_of_tenants_namespaces_and_keys_never_meet(places: list[tuple[str, list[str], str]]) -> None:
    assert len({row_id(*place) for place in places}) == len(places)


def test_a_key_that_two_tenants_share_is_two_items(tenants: tuple[ChromaStore, ChromaStore]) -> None:
    ours, theirs = tenants
    ours.put(("own",), "same", {"v": 1})
    theirs.put(("own",), "same", {"v": 2})
    ours.delete(("team", "b"), "k")
    assert ours.get(("own",), "same").value == {"v": 1}  # type: ignore[union-attr]
    assert theirs.get(("own",), "same").value == {"v": 2}  # type: ignore[union-attr]
    assert theirs.get(("team", "b"), "k") is not None


def test_a_value_whose_keys_json_would_change_is_refused(shared: ChromaStore) -> None:
    with pytest.raises(TypeError, match="keys must be strings"):
        shared.put(("x",), "k", {"deep": [{1: "one"}]})
    with pytest.raises(TypeError):
        shared.put(("x",), "k", {"object": object()})


def test_putting_again_keeps_one_row_and_the_day_it_was_made(tmp_path: Path, in_chroma: InChroma) -> None:
    clock = Clock()
    with ChromaStore(tmp_path / "m", HashingEmbedder(), clock=clock) as store:
        store.put(("n",), "k", {"parts": ["a", "b", "c"]}, index=["parts[*]"])
        clock.now += 60
        store.put(("n",), "k", {"parts": ["only"]}, index=["parts[*]"])
        item = store.get(("n",), "k")
        assert len(store.search(())) == 1
    assert in_chroma(tmp_path / "m") == ["1:0"]
    assert item is not None
    assert (item.created_at.timestamp(), item.updated_at.timestamp()) == (1_000_000, 1_000_060)


def test_what_is_kept_in_a_folder_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    with ChromaStore(tmp_path / "m", HashingEmbedder()) as store:
        store.put(("n",), "k", {"text": "stays"})
    with ChromaStore(tmp_path / "m", HashingEmbedder()) as again:
        assert [item.key for item in again.search(("n",), query="stays")] == ["k"]
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o700


def test_two_stores_in_memory_share_nothing() -> None:
    with ChromaStore(None, HashingEmbedder()) as one, ChromaStore(None, HashingEmbedder()) as two:
        one.put(("n",), "k", {})
        assert two.get(("n",), "k") is None
        assert two.list_namespaces() == []


@pytest.mark.slow
def test_more_rows_than_chroma_takes_at_once_are_written_in_slices(tmp_path: Path, in_chroma: InChroma) -> None:
    client = chromadb.EphemeralClient(Settings(anonymized_telemetry=False))
    many: Any = [[1.0] * 4] * 5500
    with pytest.raises(chromadb.errors.ChromaError):  # the fault, in plain Chroma
        client.create_collection("many", embedding_function=None).upsert([str(n) for n in range(5500)], many)
    client.close()
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        store.put(("n",), "large", {"parts": [f"part {n}" for n in range(5500)]}, index=["parts[*]"])
        assert store.search(("n",), query="part 5499")[0].score == pytest.approx(1)
    assert len(in_chroma(tmp_path)) == 5500
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        store.delete(("n",), "large")
        assert store.search(("n",), query="part 5499") == []
    assert in_chroma(tmp_path) == []


def test_what_has_no_vector_or_only_zeros_is_an_item_all_the_same_but_not_in_chroma(
    tmp_path: Path, in_chroma: InChroma
) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        store.put(("n",), "plain", {"text": "words"}, index=False)
        store.put(("n",), "marks", {"text": "..."}, index=["text"])
        store.put(("n",), "words", {"text": "words"}, index=["text"])
        assert [item.key for item in store.search(("n",), query="words")] == ["words", "marks", "plain"]
    assert in_chroma(tmp_path) == ["3:0"]


# Time to live


def test_an_item_expires_when_its_minutes_are_over(tmp_path: Path) -> None:
    clock = Clock()
    with ChromaStore(tmp_path / "m", HashingEmbedder(), clock=clock) as store:
        store.put(("n",), "brief", {"text": "words"}, ttl=10)
        store.put(("n",), "stays", {"text": "words"})
        clock.now += 601
        assert store.get(("n",), "brief") is None
        assert [item.key for item in store.search(("n",))] == ["stays"]
        assert [item.key for item in store.search(("n",), query="words")] == ["stays"]
        assert store.sweep_ttl() == 1
        assert store.sweep_ttl() == 0


def test_reading_starts_the_minutes_anew_unless_told_not_to() -> None:
    clock = Clock()
    with ChromaStore(None, HashingEmbedder(), clock=clock) as store:
        store.put(("n",), "k", {"text": "words"}, ttl=10)
        for _ in range(3):
            clock.now += 400
            assert store.get(("n",), "k") is not None
        clock.now += 400
        assert store.search(("n",), query="words") != []
        clock.now += 400
        assert store.get(("n",), "k", refresh_ttl=False) is not None
        clock.now += 300
        assert store.get(("n",), "k") is None


def test_a_store_can_be_told_when_items_expire_and_that_reading_does_not_count() -> None:
    clock = Clock()
    ttl: Any = {"default_ttl": 10, "refresh_on_read": False}
    with ChromaStore(None, HashingEmbedder(), ttl=ttl, clock=clock) as store:
        store.put(("n",), "k", {})
        store.put(("n",), "for ever", {}, ttl=None)
        clock.now += 400
        assert store.get(("n",), "k") is not None
        clock.now += 400
        assert store.get(("n",), "k") is None
        assert store.list_namespaces() == [("n",)]
        store.put(("n",), "for ever", {}, ttl=1)
        store.put(("n",), "for ever", {}, ttl=None)
        clock.now += 1000
        assert store.get(("n",), "for ever") is not None


def test_writes_sweep_what_has_expired(tmp_path: Path, in_chroma: InChroma) -> None:
    clock = Clock()
    with ChromaStore(tmp_path, HashingEmbedder(), clock=clock) as store:
        store.put(("n",), "k", {"parts": ["a", "b"]}, index=["parts[*]"], ttl=1)
        clock.now += 1000
        store.put(("n",), "other", {"text": "words"})
        assert store.sweep_ttl() == 0
    assert in_chroma(tmp_path) == ["2:0"]


# What Chroma must not do


def test_chromas_own_embedder_which_downloads_a_model_is_never_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def download(*_: object) -> None:
        raise AssertionError("would download")

    monkeypatch.setattr(ONNXMiniLM_L6_V2, "__call__", download)
    monkeypatch.setattr(ONNXMiniLM_L6_V2, "_download_model_if_not_exists", download)
    client = chromadb.PersistentClient(tmp_path / "plain", Settings(anonymized_telemetry=False))
    with pytest.raises(AssertionError, match="would download"):  # the fault, in plain Chroma
        client.create_collection("plain").add(ids=["1"], documents=["text"])
    client.close()
    for _ in range(2):  # made, then opened again
        with ChromaStore(tmp_path / "m", HashingEmbedder()) as store:
            store.put(("n",), "k", {"text": "words"}, ttl=1)
            store.get(("n",), "k")
            store.search(("n",), query="words")
            store.recall(("n",), "ERR-1 words")
            store.delete(("n",), "k")


def test_neither_the_environment_nor_a_dotenv_file_moves_the_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        "CHROMA_API_IMPL=chromadb.api.fastapi.FastAPI\nCHROMA_SERVER_HOST=attacker.example\nANONYMIZED_TELEMETRY=true\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERSIST_DIRECTORY", str(tmp_path / "elsewhere"))
    fault = Settings()
    assert fault.chroma_server_host == "attacker.example"  # the fault, in plain Chroma
    chroma._settings_of_ours.cache_clear()
    with ChromaStore(tmp_path / "m", HashingEmbedder()) as store:
        store.put(("n",), "k", {})
    assert chroma_settings(tmp_path / "m").anonymized_telemetry is False
    assert (tmp_path / "m" / "chroma" / "chroma.sqlite3").exists()
    assert not (tmp_path / "elsewhere").exists()


# The embedder


def test_the_hashing_double_is_an_embedder_and_always_gives_the_same_unit_vectors() -> None:
    embedder = HashingEmbedder(32)
    assert isinstance(embedder, Embedder)
    assert embedder.embed_query("Card lost") == HashingEmbedder(32).embed_documents(["Card lost"])[0]
    assert sum(x * x for x in embedder.embed_query("Card lost")) == pytest.approx(1)


def test_a_folder_opens_only_with_the_embedder_it_was_filled_with(tmp_path: Path) -> None:
    ChromaStore(tmp_path / "m", HashingEmbedder(64)).close()
    with pytest.raises(ConfigError, match=r"'hashing-64' with 64 dimensions, not 'hashing-32' with 32: use") as refusal:
        ChromaStore(tmp_path / "m", HashingEmbedder(32))
    assert "\n" not in str(refusal.value)
    renamed = HashingEmbedder(64)
    renamed.model_id = "another-64"
    with pytest.raises(ConfigError, match="another-64"):
        ChromaStore(tmp_path / "m", renamed)
    ChromaStore(tmp_path / "m", HashingEmbedder(32), tenant="new").close()


@pytest.mark.parametrize(
    ("vectors", "complaint"),
    [([[1.0, 2.0]], "2 dimensions"), ([[float("nan")] * 64], "undefined"), ([], "0 vectors for 1 texts")],
)
def test_an_embedder_that_breaks_its_word_is_named(vectors: list[list[float]], complaint: str) -> None:
    class Broken(HashingEmbedder):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return vectors

    with ChromaStore(None, Broken()) as store:
        with pytest.raises(ConfigError, match=complaint):
            store.put(("n",), "k", {"text": "x"})
        assert store.get(("n",), "k") is None


# Opening


def test_a_folder_that_is_not_a_memory_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    (tmp_path / "home" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        ChromaStore(tmp_path / "home", HashingEmbedder())
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o755
    with pytest.raises(ConfigError, match="give another path"):
        ChromaStore(tmp_path / "home" / "thesis.txt", HashingEmbedder())


def test_a_damaged_database_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "memory.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError, match="is damaged: restore it from a copy"):
        ChromaStore(tmp_path / "m", HashingEmbedder())


def test_in_a_large_memory_chroma_finds_the_nearest_and_what_it_does_not_know_yet_is_found_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.memory.search.finder._EXACT", 10)
    monkeypatch.setattr("pointsman.memory.search.finder._NEAREST", 5)
    # Chroma's index misses texts that differ in one word of two in some runs of ten; of these it found all in 200 runs.
    chosen = random.Random(1)
    texts = [" ".join(f"w{chosen.randrange(400)}" for _ in range(8)) for _ in range(300)]
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        store.batch([PutOp(("n",), str(n), {"text": text}) for n, text in enumerate(texts)])
        assert store._folder.index is not None
        store._folder.index.feed()
        store.delete(("n",), "7")
        store.put(("n",), "new", {"text": "whales at night"})
        monkeypatch.setattr(store._mirror, "cosines", looked := Looked(store._mirror.cosines))
        for n in (3, 150, 299):
            assert store.search(("n",), query=f'{{"text": "{texts[n]}"}}', limit=1)[0].key == str(n)
            assert store.recall(("n",), texts[n], limit=1)[0].key == str(n)
        assert store.recall(("n",), "whales", limit=1)[0].key == "new"
        assert "7" not in [item.key for item in store.search((), query=texts[7], limit=5)]
        assert max(looked.counts) < 150
        monkeypatch.undo()
        assert store.search((), query=texts[0], filter={"text": texts[0]})[0].key == "0"


class Looked:
    """Counts how many items a search looked at."""

    def __init__(self, cosines: Any) -> None:
        self._cosines = cosines
        self.counts: list[int] = []

    def __call__(self, vector: Any, mask: Any, slots: Any = None) -> Any:
        self.counts.append(mask.sum() if slots is None else len(slots))
        return self._cosines(vector, mask, slots)


def test_damaged_files_of_chroma_are_made_anew_from_the_database(tmp_path: Path, in_chroma: InChroma) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        store.put(("n",), "k", {"text": "words"})
    (tmp_path / "chroma" / "chroma.sqlite3").write_bytes(b"not a database" * 100)
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        store.put(("n",), "k2", {"text": "other"})
        assert store.search(("n",), query="words")[0].key == "k"
    assert in_chroma(tmp_path) == ["1:0", "2:0"]


# In use


class State(TypedDict):
    answer: str


async def test_a_langgraph_graph_takes_it_as_its_store(tmp_path: Path) -> None:
    with ChromaStore(tmp_path / "m", HashingEmbedder()) as store:

        async def write(state: State, runtime: Runtime[None]) -> dict[str, str]:
            assert runtime.store is not None
            await runtime.store.aput(("facts",), "card", {"text": "a lost card is blocked at once"})
            return {}

        async def read(state: State, runtime: Runtime[None]) -> dict[str, str]:
            assert runtime.store is not None
            found = await runtime.store.asearch(("facts",), query="lost card")
            return {"answer": found[0].value["text"]}

        graph = StateGraph(State)
        graph.add_node("write", write)
        graph.add_node("read", read)
        graph.add_edge(START, "write")
        graph.add_edge("write", "read")
        graph.add_edge("read", END)
        assert await graph.compile(store=store).ainvoke({"answer": ""}) == {"answer": "a lost card is blocked at once"}
        assert isinstance(store.get(("facts",), "card"), Item)


async def test_the_event_loop_runs_on_while_the_store_works() -> None:
    loop_ran = threading.Event()

    class Slow(HashingEmbedder):
        def embed_query(self, text: str) -> list[float]:
            assert loop_ran.wait(240), "the event loop stood still"
            return super().embed_query(text)

    with ChromaStore(None, Slow()) as store:
        waiting = asyncio.create_task(store.asearch(("n",), query="words"))
        also_waiting = asyncio.create_task(store.arecall(("n",), "words"))
        await asyncio.sleep(0)
        loop_ran.set()
        assert await waiting == []
        assert await also_waiting == []


def test_a_range_knows_the_values_that_came_after_it_was_first_asked_for() -> None:
    with ChromaStore(None, HashingEmbedder()) as store:
        for number in range(4):
            store.put(("n",), str(number), {"text": "a note", "n": number})
            found = store.search(("n",), filter={"n": {"$gt": 0}})
            assert {item.key for item in found} == {str(n) for n in range(1, number + 1)}
