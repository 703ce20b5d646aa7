"""One suite for LangGraph's store semantics, run on ChromaStore and, to show the suite is right, on InMemoryStore.

Each test is written with the blocking methods and runs a second time with each call made through its async form.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import (
    BaseStore,
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore
from pointsman.memory import ChromaStore, HashingEmbedder
from pointsman.memory.storage import table

DIMENSIONS = 64

# InMemoryStore makes an item anew when it is put again, keeps a vector that is no longer wanted, and lists namespaces
# that are empty; LangGraph's stores on a database do not, and ours does not.
like_a_database = pytest.mark.parametrize("bare", ["chroma in memory", "chroma folder"], indirect=True)


class Awaited(BaseStore):
    """A store of which every blocking method awaits the async one."""

    def __init__(self, store: BaseStore) -> None:
        self._store, self._runner = store, asyncio.Runner()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        return self._runner.run(self._store.abatch(ops))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        return await self._store.abatch(ops)

    def put(self, *args: Any, **options: Any) -> None:
        self._runner.run(self._store.aput(*args, **options))

    def get(self, *args: Any, **options: Any) -> Any:
        return self._runner.run(self._store.aget(*args, **options))

    def delete(self, *args: Any, **options: Any) -> None:
        self._runner.run(self._store.adelete(*args, **options))

    def search(self, *args: Any, **options: Any) -> Any:
        return self._runner.run(self._store.asearch(*args, **options))

    def list_namespaces(self, **options: Any) -> Any:
        return self._runner.run(self._store.alist_namespaces(**options))

    def close(self) -> None:
        self._runner.close()


@pytest.fixture(params=["blocking", "awaited"])
def store(request: pytest.FixtureRequest, bare: BaseStore) -> Iterator[BaseStore]:
    if request.param == "blocking":
        yield bare
        return
    awaited = Awaited(bare)
    yield awaited
    awaited.close()


@pytest.fixture(params=["langgraph", "chroma in memory", "chroma folder"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStore]:
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


@like_a_database
def test_putting_again_keeps_the_day_it_was_made_and_moves_the_day_of_change(store: BaseStore) -> None:
    store.put(("d",), "k", {"v": 1})
    first = store.get(("d",), "k")
    store.put(("d",), "k", {"v": 2})
    second = store.get(("d",), "k")
    assert first is not None
    assert second is not None
    assert second.created_at == first.created_at
    assert second.updated_at >= first.updated_at


def test_an_item_that_is_put_anew_is_found_by_its_new_value_alone(store: BaseStore) -> None:
    store.put(("u",), "moved", {"text": "zebras in the savannah"}, index=["text"])
    store.put(("u",), "other", {"text": "a loan for a house"}, index=["text"])
    store.put(("u",), "moved", {"text": "a bicycle with a basket"}, index=["text"])
    before, after = (store.search(("u",), query=q) for q in ("zebras in the savannah", "a bicycle with a basket"))
    assert len(before) == len(after) == 2
    assert after[0].key == "moved"
    assert after[0].score == pytest.approx(1.0, abs=1e-5)
    assert all(item.score < 0.9 for item in before)


@like_a_database
def test_an_item_that_is_put_anew_without_an_index_is_no_longer_found_by_meaning(store: BaseStore) -> None:
    store.put(("u",), "moved", {"text": "a bicycle with a basket"}, index=["text"])
    store.put(("u",), "other", {"text": "a loan for a house"}, index=["text"])
    store.put(("u",), "moved", {"text": "a bicycle with a basket"}, index=False)
    assert [(item.key, item.score is None) for item in store.search(("u",), query="bicycle")] == [
        ("other", False),
        ("moved", True),
    ]
    store.delete(("u",), "moved")
    assert keys(store.search(("u",), query="a bicycle with a basket")) == ["other"]


def test_index_names_fields_inside_others_and_one_that_is_missing_is_no_vector(store: BaseStore) -> None:
    value = {
        "title": "plain title",
        "info": {"age": "twenty years", "notes": [{"say": "a first remark"}, {"say": "the last remark"}]},
        "rest": "never embedded",
    }
    store.put(("i",), "k", value, index=["info.age", "info.notes[-1].say", "not there"])
    store.put(("i",), "none", value, index=["not there"])
    scores = {}
    for query in ("twenty years", "the last remark", "plain title", "never embedded"):
        found = store.search(("i",), query=query)
        assert keys(found) == ["k", "none"]
        assert found[1].score is None
        scores[query] = found[0].score
    assert scores["twenty years"] == pytest.approx(1.0, abs=1e-5)
    assert scores["the last remark"] == pytest.approx(1.0, abs=1e-5)
    assert scores["plain title"] < 0.9
    assert scores["never embedded"] < 0.9


def test_a_filter_applies_before_the_limit_with_a_question_and_without(store: BaseStore) -> None:
    for number in range(40):
        store.put(("p",), f"k{number:02}", {"text": f"number {number}", "even": number % 2 == 0})
    for query in (None, "number 7"):
        pages = [keys(store.search(("p",), query=query, filter={"even": True}, limit=8, offset=o)) for o in (0, 8, 16)]
        assert [len(page) for page in pages] == [8, 8, 4]
        assert sorted(key for page in pages for key in page) == [f"k{number:02}" for number in range(0, 40, 2)]


def test_a_filter_on_nothing_and_a_limit_beyond_all_find_everything(store: BaseStore) -> None:
    store.put(("e",), "k", {"text": "x"})
    assert keys(store.search(("e",), filter={}, limit=1000)) == ["k"]
    assert store.search(("e",), offset=5) == []
    assert store.search(("no such",), query="x", filter={"text": "x"}) == []


def test_conditions_that_are_no_json_are_compared_as_python_does(store: BaseStore) -> None:
    store.put(("odd",), "k", {"x": [1, 2], "y": {"a": 1}, "z": "red"})
    day = datetime(2026, 3, 1, tzinfo=UTC)
    asked: list[tuple[dict[str, Any], int]] = [
        ({"x": {"$eq": (1, 2)}}, 0),
        ({"x": {"$eq": [1, 2]}}, 1),
        ({"z": {"$eq": day}}, 0),
        ({"z": {"$ne": day}}, 1),
        ({"z": {"$ne": {"red"}}}, 1),
        ({"y": {"a": Decimal(1)}}, 1),
        ({"y": {"$eq": {"a": 1, 2: 3}}}, 0),
    ]
    for condition, count in asked:
        assert len(store.search(("odd",), filter=condition)) == count, condition


def test_values_of_other_kinds_do_not_match_and_do_not_fail(store: BaseStore) -> None:
    for key, value in {"true": True, "list": [1], "text": "1", "none": None, "object": {"a": 1}}.items():
        store.put(("k",), key, {"v": value})
    assert keys(store.search(("k",), filter={"v": "1"})) == ["text"]
    assert keys(store.search(("k",), filter={"v": {"a": 1}})) == ["object"]
    assert keys(store.search(("k",), filter={"v": None})) == ["none"]
    assert keys(store.search(("k",), filter={"v": [1]})) == ["list"]


@pytest.mark.parametrize("text", ["' OR '1'='1", '"; DROP TABLE items; --', "a.b", "*", "%", "_", "\\", "new\nline"])
def test_names_and_filters_are_data(store: BaseStore, text: str) -> None:
    store.put(("data", text.replace(".", "")), text, {text: text, "n": 1})
    store.put(("data", "other"), "other", {"n": 1})
    assert keys(store.search(("data",), filter={"n": 1}, limit=5)) == [text, "other"]
    assert keys(store.search(("data",), filter={"n": text})) == []
    assert keys(store.search(("data", text.replace(".", "")))) == [text]
    assert store.get(("data", "other"), text) is None


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"prefix": ("users", "*", "settings")}, [("users", "u1", "settings"), ("users", "u2", "settings")]),
        ({"suffix": ("*", "public")}, [("docs", "public"), ("users", "u1", "public")]),
        ({"prefix": ("users",), "suffix": ("settings",)}, [("users", "u1", "settings"), ("users", "u2", "settings")]),
        ({"prefix": ("users",), "max_depth": 2}, [("users", "u1"), ("users", "u2")]),
        ({"max_depth": 1}, [("docs",), ("users",)]),
        ({"max_depth": 1, "limit": 1, "offset": 1}, [("users",)]),
        ({"prefix": ("user",)}, []),
        ({"prefix": ("users", "u1", "public", "deeper")}, []),
        ({"offset": 9}, []),
    ],
)
def test_namespaces_are_chosen_cut_then_paged(
    store: BaseStore, asked: dict[str, Any], expected: list[tuple[str, ...]]
) -> None:
    for namespace in [("users", "u1", "settings"), ("users", "u1", "public"), ("users", "u2", "settings")]:
        store.put(namespace, "k", {})
    store.put(("docs", "public"), "k", {})
    assert store.list_namespaces(**asked) == expected


@like_a_database
def test_a_namespace_that_holds_nothing_any_more_is_not_listed(store: BaseStore) -> None:
    store.put(("gone",), "k", {})
    store.put(("kept",), "k", {})
    store.delete(("gone",), "k")
    assert store.list_namespaces() == [("kept",)]


def test_a_batch_answers_in_the_order_of_its_operations_and_deletes_last(store: BaseStore) -> None:
    for number in range(3):
        store.put(("o",), str(number), {"v": number})
    ops: list[Op] = [
        GetOp(("o",), "2"),
        SearchOp(("o",), filter={"v": 1}),
        GetOp(("o",), "0"),
        PutOp(("o",), "1", None),
        GetOp(("o",), "2"),
        ListNamespacesOp(limit=10, offset=0),
        PutOp(("o",), "1", {"v": 9}),
        PutOp(("o",), "1", None),
    ]
    results: Any = store.batch(ops)
    assert [r.value if hasattr(r, "value") else r for r in (results[0], results[2], results[4])] == [
        {"v": 2},
        {"v": 0},
        {"v": 2},
    ]
    assert keys(results[1]) == ["1"]
    assert results[3] is results[6] is results[7] is None
    assert results[5] == [("o",)]
    assert store.get(("o",), "1") is None
    assert store.batch([]) == []


def test_many_writes_of_one_key_in_a_batch_are_one_item(store: BaseStore) -> None:
    store.batch([PutOp(("m",), "k", {"text": f"version {n}"}) for n in range(50)])
    assert [item.value for item in store.search(("m",), limit=99)] == [{"text": "version 49"}]
    assert len(store.search(("m",), query="version 3", limit=99)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("there", ["chroma in memory", "chroma folder"])
def test_threads_that_read_write_and_delete_at_once_see_whole_items(there: str, tmp_path: Path) -> None:
    failures: list[BaseException] = []
    with ChromaStore(None if "in memory" in there else tmp_path / "memory", HashingEmbedder(DIMENSIONS)) as store:

        def work(number: int) -> None:
            try:
                for turn in range(25):
                    key = str(turn % 3)
                    store.put(("t",), key, {"text": f"{number} {turn}"})
                    assert all(item.value["text"] for item in store.search(("t",), query="1"))
                    store.list_namespaces()
                    store.delete(("t",), key)
                    store.get(("t",), key)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert store.search(("t",)) == []


def test_what_is_read_in_several_statements_is_of_one_moment(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store, ChromaStore(tmp_path, HashingEmbedder()) as other:
        store.put(("n",), "k", {"v": 1})
        with store._database.reading() as db:
            held = table.get(db, "default", [store.id_of(("n",), "k")])
            other.delete(("n",), "k")
            assert table.get(db, "default", held).keys() == held.keys()
        assert store.get(("n",), "k") is None


@pytest.mark.slow
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
