"""One suite for LangGraph's store semantics, run on ChromaStore and, to show the suite is right, on InMemoryStore."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import (
    BaseStore,
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore
from pointsman.memory import ChromaStore, HashingEmbedder
from pointsman.memory.storage import table

DIMENSIONS = 64


@pytest.fixture(params=["langgraph", "chroma in memory", "chroma folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStore]:
    embedder = HashingEmbedder(DIMENSIONS)
    if request.param == "langgraph":
        yield InMemoryStore(index={"dims": DIMENSIONS, "embed": embedder.embed_documents})
        return
    with ChromaStore(None if "in memory" in request.param else tmp_path / "memory", embedder) as chroma:
        yield chroma


def keys(found: list[Any]) -> list[str]:
    return [item.key for item in found]


def test_a_value_comes_back_as_it_was_put(store: BaseStore) -> None:
    value = {"a": {"b": [1, 2.5, None, True, "ü €  \u2028 \"'"]}, "": "empty key", "big": 2**70}
    store.put(("docs",), "k", value)
    item = store.get(("docs",), "k")
    assert item is not None
    assert (item.value, item.key, item.namespace) == (value, "k", ("docs",))
    assert item.created_at <= item.updated_at
    assert item.created_at.tzinfo is not None


def test_what_is_not_there_is_none(store: BaseStore) -> None:
    assert store.get(("docs",), "nothing") is None
    assert store.search(("docs",)) == []
    assert store.search(("docs",), query="anything") == []


def test_putting_a_key_again_replaces_the_whole_value(store: BaseStore) -> None:
    store.put(("docs",), "k", {"old": 1, "text": "alpha"})
    store.put(("docs",), "k", {"new": 2, "text": "beta"})
    assert [item.value for item in store.search(("docs",))] == [{"new": 2, "text": "beta"}]
    assert len(store.search(("docs",), query="alpha")) == 1


def test_deleting_and_putting_none_remove_an_item(store: BaseStore) -> None:
    store.put(("docs",), "a", {"x": 1})
    store.put(("docs",), "b", {"x": 2})
    store.delete(("docs",), "a")
    store.delete(("docs",), "never there")
    store.batch([PutOp(("docs",), "b", None)])
    assert store.get(("docs",), "a") is None
    assert store.search(("docs",), query="x") == []


def test_the_same_key_in_two_namespaces_is_two_items(store: BaseStore) -> None:
    store.put(("a", "bc"), "k", {"v": 1})
    store.put(("ab", "c"), "k", {"v": 2})
    store.put(("a",), "k", {"v": 3})
    assert [store.get(n, "k").value["v"] for n in [("a", "bc"), ("ab", "c"), ("a",)]] == [1, 2, 3]  # type: ignore[union-attr]


def test_search_covers_a_namespace_and_all_below_it_and_nothing_beside_it(store: BaseStore) -> None:
    for namespace in [("a",), ("a", "b"), ("a", "b", "c"), ("ab",), ("A",), ("b", "a"), ("a*",), ('a"',)]:
        store.put(namespace, "/".join(namespace), {"text": "same"})
    for query in (None, "same"):
        assert set(keys(store.search(("a",), query=query))) == {"a", "a/b", "a/b/c"}
        assert set(keys(store.search(("a", "b"), query=query))) == {"a/b", "a/b/c"}
        assert len(store.search((), query=query)) == 8


def test_limit_and_offset_page_through_everything_once(store: BaseStore) -> None:
    for number in range(7):
        store.put(("n",), f"k{number}", {"text": f"number {number}"})
    for query in (None, "number"):
        pages = [keys(store.search(("n",), query=query, limit=3, offset=offset)) for offset in (0, 3, 6, 9)]
        assert [len(page) for page in pages] == [3, 3, 1, 0]
        assert sorted(k for page in pages for k in page) == [f"k{n}" for n in range(7)]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"kind": "x"}, {"one", "three"}),
        ({"kind": "x", "n": 3}, {"three"}),
        ({"n": {"$gt": 1}}, {"two", "three"}),
        ({"n": {"$gte": 1, "$lt": 3}}, {"one", "two"}),
        ({"n": {"$lte": 1}}, {"one"}),
        ({"kind": {"$ne": "x"}}, {"two"}),
        ({"kind": {"$eq": "y"}}, {"two"}),
        ({"nested": {"deep": 1}}, {"one"}),
        ({"nested": {"deep": {"$gt": 1}}}, {"two", "three"}),
        ({"tags": ["a", "b"]}, {"one"}),
        ({"missing": None}, {"one", "two", "three"}),
        ({"missing": {"$ne": 1}}, {"one", "two", "three"}),
        ({"kind": "no such"}, set()),
    ],
)
def test_filters_choose_by_value(store: BaseStore, condition: dict[str, Any], expected: set[str]) -> None:
    store.put(("f",), "one", {"kind": "x", "n": 1, "nested": {"deep": 1}, "tags": ["a", "b"]})
    store.put(("f",), "two", {"kind": "y", "n": 2, "nested": {"deep": 2}, "tags": ["b", "a"]})
    store.put(("f",), "three", {"kind": "x", "n": 3, "nested": {"deep": 3}, "tags": []})
    assert set(keys(store.search(("f",), filter=condition))) == expected
    assert set(keys(store.search(("f",), filter=condition, query="kind x"))) == expected


def test_an_undocumented_operator_is_refused(store: BaseStore) -> None:
    store.put(("f",), "k", {"n": 1})
    with pytest.raises(ValueError, match="Unsupported operator"):
        store.search(("f",), filter={"n": {"$in": [1]}})


def test_a_query_ranks_by_cosine(store: BaseStore) -> None:
    store.put(("q",), "card", {"text": "my card was stolen"}, index=["text"])
    store.put(("q",), "loan", {"text": "what does a loan cost"}, index=["text"])
    found = store.search(("q",), query="my card was stolen")
    assert keys(found) == ["card", "loan"]
    assert found[0].score == pytest.approx(1.0, abs=1e-5)
    assert found[1].score is not None
    assert found[1].score < 0.9


def test_an_item_with_index_false_is_kept_but_has_no_score(store: BaseStore) -> None:
    store.put(("q",), "plain", {"text": "quite the same words"}, index=False)
    store.put(("q",), "found", {"text": "other"})
    found = store.search(("q",), query="quite the same words")
    assert keys(found) == ["found", "plain"]
    assert found[1].score is None
    assert store.get(("q",), "plain") is not None
    assert keys(store.search(("q",), query="quite the same words", limit=1)) == ["found"]


def test_every_indexed_field_is_a_vector_and_the_nearest_counts(store: BaseStore) -> None:
    parts = ["the weather in Oslo", "interest on savings", "a stolen bicycle"]
    store.put(("q",), "k", {"title": "mixed", "parts": parts}, index=["title", "parts[*]"])
    store.put(("q",), "other", {"title": "nothing alike"}, index=["title"])
    for part in parts:
        found = store.search(("q",), query=part)
        assert keys(found)[0] == "k"
        assert found[0].score == pytest.approx(1.0, abs=1e-5)
        assert len(found) == 2


def test_namespaces_are_listed_sorted_and_cut_to_a_depth(store: BaseStore) -> None:
    for namespace in [("a", "b", "c"), ("a", "b", "d", "e"), ("a", "b", "d", "i"), ("a", "b", "f"), ("a", "c", "f")]:
        store.put(namespace, "k", {})
        store.put(namespace, "k2", {})
    assert store.list_namespaces(prefix=("a", "b"), max_depth=3) == [("a", "b", "c"), ("a", "b", "d"), ("a", "b", "f")]
    assert store.list_namespaces(suffix=("f",)) == [("a", "b", "f"), ("a", "c", "f")]
    assert store.list_namespaces(prefix=("a", "*", "f")) == [("a", "b", "f"), ("a", "c", "f")]
    assert store.list_namespaces(suffix=("d", "*")) == [("a", "b", "d", "e"), ("a", "b", "d", "i")]
    assert store.list_namespaces(prefix=("a", "b"), suffix=("f",)) == [("a", "b", "f")]
    assert store.list_namespaces(limit=2, offset=1) == [("a", "b", "d", "e"), ("a", "b", "d", "i")]
    assert len(store.list_namespaces()) == 5


def test_a_batch_reads_before_it_writes_and_the_last_write_of_a_key_wins(store: BaseStore) -> None:
    store.put(("b",), "k", {"v": 0})
    results = store.batch(
        [
            PutOp(("b",), "k", {"v": 1}),
            GetOp(("b",), "k"),
            PutOp(("b",), "k", {"v": 2}),
            SearchOp(("b",)),
            ListNamespacesOp((MatchCondition("prefix", ("b",)),)),
            GetOp(("b",), "none"),
        ]
    )
    assert results[0] is None
    assert results[1].value == {"v": 0}  # type: ignore[union-attr]
    assert [item.value for item in results[3]] == [{"v": 0}]  # type: ignore[union-attr]
    assert results[4:] == [[("b",)], None]
    assert store.get(("b",), "k").value == {"v": 2}  # type: ignore[union-attr]


@pytest.mark.parametrize("namespace", [(), ("a.b",), ("",), ("langgraph",), ("nul\x00",)])
def test_a_bad_namespace_is_refused(store: BaseStore, namespace: tuple[str, ...]) -> None:
    with pytest.raises(InvalidNamespaceError):
        store.put(namespace, "k", {})


async def test_the_async_forms_do_the_same(store: BaseStore) -> None:
    await store.aput(("a",), "k", {"text": "words"})
    item = await store.aget(("a",), "k")
    assert item is not None
    assert item.value == {"text": "words"}
    assert keys(await store.asearch(("a",), query="words")) == ["k"]
    assert await store.alist_namespaces() == [("a",)]
    await store.adelete(("a",), "k")
    assert await store.aget(("a",), "k") is None


async def test_writes_that_many_tasks_await_are_few_batches_and_one_bad_write_fails_alone(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store:

        async def write(number: int) -> None:
            value: dict[Any, Any] = {7: "no JSON"} if number == 50 else {"n": number}
            await store.aput(("n",), str(number % 90), value)

        async with asyncio.timeout(120):
            ended = await asyncio.gather(*map(write, range(100)), return_exceptions=True)
        assert [number for number, end in enumerate(ended) if end is not None] == [50]
        assert isinstance(ended[50], TypeError)
        kept = {item.key: item.value["n"] for item in store.search(("n",), limit=200)}
        assert kept == {str(n % 90): n for n in range(100) if n != 50}
        with store._database.reading() as db:
            before = table.version(db)
        await asyncio.gather(*(store.aput(("m",), str(n), {"n": n}) for n in range(1000)))
        with store._database.reading() as db:
            assert table.version(db) - before <= 3


async def test_a_write_whose_task_is_cancelled_does_not_take_the_others_along() -> None:
    with ChromaStore(None, HashingEmbedder()) as store:
        tasks = [asyncio.create_task(store.aput(("n",), str(n), {"n": n})) for n in range(20)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [end for end in ended if end is not None and not isinstance(end, asyncio.CancelledError)] == []
        assert {item.key for item in store.search(("n",), limit=50)} >= {str(n) for n in range(1, 20)}


def test_fields_inside_others_are_filtered_by_dotted_names() -> None:
    with ChromaStore(None, HashingEmbedder()) as store:
        store.put(("d",), "a", {"user": {"access-level": "staff"}})
        store.put(("d",), "b", {"user.access-level": "staff", "user": 1})
        store.put(("d",), "c", {"user": {"access-level": "guest"}})
        assert keys(store.search(("d",), filter={"user.access-level": "staff"})) == ["a", "b"]


def test_the_default_embedder_is_one_line(tmp_path: Path) -> None:
    with ChromaStore.open(tmp_path / "memory") as store:
        store.put(("q",), "card", {"text": "my card was stolen"}, index=["text"])
        assert store.search(("q",), query="a theft of cards")[0].key == "card"
