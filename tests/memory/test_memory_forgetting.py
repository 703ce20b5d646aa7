"""What was forgotten is in none of the memory's files: read as bytes, with the memory still open."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.store.base import BaseStore, PutOp
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Note, Provenance
from pointsman.memory.storage import forgotten
from pointsman.tools.memory import memory_tools

SECRET = "The merger with Contoso closes on Friday."
KEPT = "Lost cards are blocked at once."


def by(source: str = "", author: str = "", run: str = "") -> Provenance:
    return Provenance(source, author, run, Trust.TOOL)


def traces(folder: Path, *needles: bytes) -> list[str]:
    """The files that hold one of some bytes."""
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return [path.name for path, data in files.items() if any(needle in data for needle in needles)]


def filled(store: ChromaStore) -> str:
    store.remember(("kb",), KEPT, provenance=by("cards.md", "loader", "run-1"))
    secret = by("mail://contoso", "vision", "run-2")
    item_id = store.remember(("kb", "deals"), SECRET, provenance=secret, metadata={"who": "Zebulon"})
    # Written again and again, so that old copies lie about in the files.
    for n in range(20):
        store.remember(("kb", "deals"), SECRET, provenance=secret, metadata={"seen": n})
    return item_id


@pytest.mark.parametrize(
    "what",
    [
        {"source": "mail://contoso"},
        {"author": "vision"},
        {"run": "run-2"},
        {"namespace": ("kb", "deals")},
        {"ids": "the item"},
    ],
)
def test_what_was_forgotten_is_in_none_of_the_files(
    tmp_path: Path, in_chroma: Callable[[Path], list[str]], what: dict[str, Any]
) -> None:
    vector = HashingEmbedder().embed_query(SECRET)
    needles = (b"Contoso", b"contoso", b"Zebulon", _bytes_of(vector))
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        filled(store)
    assert set(traces(tmp_path, *needles)) >= {"memory.db", "chroma.sqlite3"}
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        item_id = filled(store)
        assert store.recall((), "merger with Contoso", limit=1)[0].id == item_id
        assert "memory.db-wal" in traces(tmp_path, *needles)
        assert store.forget(**({"ids": [item_id]} if "ids" in what else what)) == 1
        assert traces(tmp_path, *needles) == []
        assert [item.text for item in store.recall((), "merger with Contoso")] == [KEPT]
        assert store.search((), query=SECRET)[0].value["text"] == KEPT
    assert traces(tmp_path, *needles) == []
    assert in_chroma(tmp_path) == ["1:0"]


def _bytes_of(vector: list[float]) -> bytes:
    return np.array(vector, np.float32)[:12].tobytes()


def test_a_tenant_is_forgotten_whole_and_no_other_with_it(tmp_path: Path) -> None:
    with (
        ChromaStore(tmp_path, HashingEmbedder(), tenant="ours") as ours,
        ChromaStore(tmp_path, HashingEmbedder(), tenant="theirs") as theirs,
    ):
        ours.remember_all(("kb",), [Note(SECRET, by("a")), Note("another", by("b"))])
        theirs.remember(("kb",), KEPT, provenance=by("a"))
        assert ours.forget(tenant=True) == 2
        assert traces(tmp_path, b"Contoso") == []
        assert [item.text for item in theirs.recall((), "cards")] == [KEPT]
        assert theirs.forget(source="b") == 0


def test_the_arguments_narrow_and_hold_of_one_writer(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        store.remember(("kb",), KEPT, provenance=by("a", "ann", "run-1"))
        store.remember(("kb",), KEPT, provenance=by("b", "bob", "run-2"))
        assert store.forget(source="a", author="bob") == 0
        assert store.forget(ids=["none"]) == 0
        assert store.forget(author="bob", run="run-2") == 1
        with pytest.raises(ConfigError, match="name what to forget"):
            store.forget()
        with pytest.raises(ConfigError, match="a list of ids"):
            store.forget(ids="none")


AGAIN = [
    SECRET,
    "the MERGER with contoso\n closes on Friday",
    f"Found in the mail: {SECRET} Nothing else.",
    '<p>The merger&#32;with Contoso closes on "Friday"</p>',
    '{"said": "\\nThe merger with Contoso closes on Friday"}',
    json.dumps(json.dumps({"said": f'"{SECRET}" \u00e9'})),
    "<p>The merger with <b>Contoso</b> closes on Friday</p>",
    "The _merger_ with Contoso closes on Fri\u00add\u200bay",
    "\uff34he merger with Contoso closes on Friday",
]


@pytest.mark.parametrize("text", AGAIN)
def test_what_was_forgotten_is_not_kept_again_by_who_meets_it_in_a_run(tmp_path: Path, text: str) -> None:
    met = Provenance("mail", "reader", "run-9", Trust.TOOL, tool="fetch")
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        filled(store)
        store.forget(run="run-2")
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        other = "The merger with Contoso was called off."
        ids = store.remember_all(("kb", "deals"), [Note(other, met), Note(text, met), Note(KEPT, met)])
        assert [bool(store.item(i)) for i in ids] == [True, False, True]
        assert {item.text for item in store.recall((), "merger Contoso Friday cards")} == {other, KEPT}
        assert store.was_forgotten([text, other]) == [True, False]


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("Der Café-Schlüssel liegt unter dem Topf", normalize("NFD", "Der Café-Schlüssel liegt unter dem Topf")),
        ("箱の中に鍵がある", "彼は「箱の中に鍵がある」と言った。"),
    ],
)
def test_a_text_of_other_letters_is_known_again_however_it_is_written(text: str, again: str) -> None:
    with ChromaStore(None, HashingEmbedder()) as store:
        store.remember(("kb",), text, provenance=by("mail"))
        store.forget(source="mail")
        assert store.was_forgotten([again, "彼は箱の中だと言った。"]) == [True, False]


def test_a_few_letters_without_spaces_are_no_text_of_their_own_inside_another() -> None:
    with ChromaStore(None, HashingEmbedder()) as store:
        store.remember(("kb",), "注文完了", provenance=by("mail"))
        store.forget(source="mail")
        assert store.was_forgotten(["注文完了", "昨日の注文完了の知らせ"]) == [True, False]


def test_what_was_forgotten_before_words_were_told_apart_so_is_known_still() -> None:
    with ChromaStore(None, HashingEmbedder()) as store:
        with store._database.writing() as db, pytest.MonkeyPatch.context() as patch:
            patch.setattr(forgotten, "_words", lambda text: re.findall(r"\w+", text.casefold()))
            forgotten.note_down(db, "default", [{"text": "Der alte Schlüssel heißt my_key_2"}])
        assert store.was_forgotten(["der alte schlüssel heißt my_key_2"]) == [True]


COPIES = 3


def with_copies(store: ChromaStore) -> set[str]:
    """Have runs and others write of a text; return the ids of what is not the runs' or was there before."""
    told = f"The page says: {SECRET} So be quick."
    others = {
        store.remember(("runs", "0"), f"{told} I knew.", provenance=by(run="run-0")),
        store.remember(("kb",), KEPT, provenance=by("cards.md")),
        store.id_of(("runs", "9"), "2"),
    }
    filled(store)
    of_run = by("step:1", "clerk", "run-9")
    store.remember(("runs", "9"), told, provenance=of_run)
    store.put(("notes",), "plain", {"of": [{"a": told}]})
    for text in (f"{told} Now.", "Nothing of it."):
        store.remember(("runs", "9"), text, provenance=of_run, key="2")
    return others | {store.remember(("kb",), f"Mine: {SECRET}", provenance=Provenance("", "ann", "", Trust.USER))}


def test_what_runs_wrote_of_it_since_is_forgotten_with_it(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        others = with_copies(store)
        assert store.forget(source="mail://contoso") == 1 + COPIES
        assert {store.id_of(item.namespace, item.key) for item in store.search((), limit=99)} == others
        assert len(store.history(store.id_of(("runs", "9"), "2"))) == 1


def test_what_is_forgotten_in_a_namespace_stays_elsewhere(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        others = with_copies(store)
        assert store.forget(source="mail://contoso", namespace=("kb",)) == 1
        assert len(store.search((), limit=99)) == len(others) + COPIES - 1


def test_no_byte_is_left_where_only_runs_wrote_of_it(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        filled(store)
        store.remember(("runs", "9"), f"It says: {SECRET}", provenance=by(run="run-9"))
        store.put(("notes",), "plain", {"of": f"It says: {SECRET}"})
        store.forget(source="mail://contoso")
        assert traces(tmp_path, b"Contoso") == []


def test_sections_are_forgotten_and_recalled_with_their_document(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        texts = {"cards.md#fees": KEPT, "cards.md": "Cards are free.", "cards.md.old": "Cards cost a lot."}
        for source, text in texts.items():
            store.remember(("kb",), text, provenance=by(source))
        store.remember(("kb",), "The fee of cards was ten.", provenance=by("cards.md#fees"), key="k")
        store.remember(("kb",), "Said by somebody else.", provenance=by("mail"), key="k")
        found = store.recall(("kb",), "cards", sources=["cards.md"])
        assert {item.source for item in found} == {"cards.md#fees", "cards.md"}
        assert store.forget(source="cards.md") == 3
        assert {item.value["text"] for item in store.search(("kb",))} == {"Cards cost a lot.", "Said by somebody else."}
        assert len(store.history(store.id_of(("kb",), "k"))) == 1


def test_one_tenants_forgetting_is_not_anothers(tmp_path: Path) -> None:
    with (
        ChromaStore(tmp_path, HashingEmbedder(), tenant="ours") as ours,
        ChromaStore(tmp_path, HashingEmbedder(), tenant="theirs") as theirs,
    ):
        filled(ours)
        ours.forget(tenant=True)
        assert theirs.item(theirs.remember(("kb",), SECRET, provenance=by(run="run-9")))


def test_who_adds_a_text_outside_a_run_brings_it_back() -> None:
    with ChromaStore(None, HashingEmbedder()) as store:
        filled(store)
        store.forget(run="run-2")
        store.remember(("kb",), f"{SECRET} Tell everybody.", provenance=by("a person"))
        assert store.was_forgotten([SECRET]) == [False]
        assert store.item(store.remember(("kb", "deals"), SECRET, provenance=by(run="run-9")))


def test_a_text_of_few_words_is_forgotten_only_as_a_whole() -> None:
    with ChromaStore(None, HashingEmbedder()) as store:
        store.remember(("kb",), "Yes.", provenance=by(run="run-2"))
        store.forget(run="run-2")
        assert store.was_forgotten(["yes", "Yes, it does."]) == [True, False]


def test_a_memory_of_before_forgets_for_good_too(tmp_path: Path, of_before: Callable[[Path], None]) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        filled(store)
    of_before(tmp_path)
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        assert store.forget(run="run-2") == 1
        assert store.was_forgotten([SECRET]) == [True]


# Plain writes of LangGraph's, which know no provenance: whose they are is told by where they are made.

VALUES: list[dict[str, Any]] = [
    {"text": SECRET},
    {"content": {"content": f"Heard today: {SECRET}"}, "kind": "Memory"},
    {"facts": ["Lost cards.", SECRET], "n": 1},
]


def in_a_graph(store: BaseStore, value: dict[str, Any], how: str) -> None:
    """Have a node, or a tool in it, write a value."""

    @tool
    def save(fact: str) -> str:
        """Keep a fact."""
        store.put(("notes",), "from a tool", {**value, "fact": fact})
        return "saved"

    def node(state: dict[str, Any], store: BaseStore) -> dict[str, Any]:
        if how == "tool":
            save.invoke({"fact": "some fact"})
        else:
            store.put(("notes",), "from a node", value)
        store.put(("notes",), "another", {"text": KEPT})
        return state

    async def anode(state: dict[str, Any], store: BaseStore) -> dict[str, Any]:
        await asyncio.gather(
            store.aput(("notes",), "from a node", value), store.aput(("notes",), "another", {"text": KEPT})
        )
        return state

    graph = StateGraph(dict)
    graph.add_node("node", anode if how == "async" else node)
    graph.add_edge(START, "node")
    asyncio.run(graph.compile(store=store).ainvoke({"x": 1}))


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("how", ["node", "tool", "async"])
def test_a_plain_put_in_a_run_does_not_bring_back_what_was_forgotten(value: dict[str, Any], how: str) -> None:
    with ChromaStore(None, HashingEmbedder()) as store:
        filled(store)
        store.forget(run="run-2")
        in_a_graph(store, value, how)
        assert [item.key for item in store.search(("notes",))] == ["another"]
        assert store.was_forgotten([SECRET]) == [True]


@pytest.mark.parametrize("value", VALUES)
def test_a_plain_put_outside_a_run_is_its_writers_will(value: dict[str, Any]) -> None:
    with ChromaStore(None, HashingEmbedder()) as store:
        filled(store)
        store.forget(run="run-2")
        store.put(("notes",), "mine", value)
        found = store.get(("notes",), "mine")
        assert found is not None
        assert found.value == value
        assert store.was_forgotten([SECRET]) == [False]
        in_a_graph(store, value, "node")
        assert {item.key for item in store.search(("notes",))} == {"mine", "from a node", "another"}


@pytest.mark.parametrize("value", VALUES)
def test_what_a_plain_put_said_is_forgotten_by_each_of_its_texts(value: dict[str, Any]) -> None:
    with ChromaStore(None, HashingEmbedder()) as store:
        store.put(("notes",), "k", value)
        store.forget(namespace=("notes",))
        assert store.was_forgotten([f"They say: Heard today: {SECRET}", KEPT, "Memory", "Lost cards."]) == [
            True,
            *[False] * 3,
        ]
        quoted = store.remember(
            ("kb",), "A mail.", provenance=by(run="run-9"), metadata={"quote": f"Heard today: {SECRET}"}
        )
        assert store.item(quoted) is None


def test_what_is_left_out_takes_no_other_write_with_it() -> None:
    with ChromaStore(None, HashingEmbedder()) as store:
        filled(store)
        store.forget(run="run-2")

        async def both() -> None:
            # The first write is under way while the others are gathered.
            first = asyncio.create_task(store.aput(("notes",), "first", {"text": KEPT}))
            await asyncio.sleep(0)
            mine = asyncio.create_task(store.aput(("notes",), "k", {"text": KEPT}))
            await asyncio.sleep(0)
            graph = StateGraph(dict)

            async def node(state: dict[str, Any]) -> dict[str, Any]:
                await store.aput(("notes",), "k", {"text": SECRET})
                return state

            graph.add_node("node", node)
            graph.add_edge(START, "node")
            await asyncio.gather(first, mine, graph.compile().ainvoke({"x": 1}))

        asyncio.run(both())
        assert {item.key: item.value for item in store.search(("notes",))} == {
            "first": {"text": KEPT},
            "k": {"text": KEPT},
        }


def test_a_batch_of_the_user_and_of_a_run_keeps_the_users_write() -> None:
    from pointsman.memory.notes import CapturedPut

    with ChromaStore(None, HashingEmbedder()) as store:
        filled(store)
        store.forget(run="run-2")
        mine = PutOp(("notes",), "k", {"text": KEPT})
        store._writer.put([mine, CapturedPut(("notes",), "k", {"text": SECRET})])
        assert [item.value for item in store.search(("notes",))] == [{"text": KEPT}]


@pytest.mark.parametrize("how", ["node", "async"])
def test_a_run_that_asks_a_served_memory_brings_nothing_back_either(
    served: Callable[[Mapping[str, ChromaStore]], AbstractContextManager[str]], how: str
) -> None:
    with ChromaStore(None, HashingEmbedder()) as store, served({"t": store}) as url:
        filled(store)
        store.forget(run="run-2")
        with ChromaStore.open(url, token="t") as client:
            in_a_graph(client, {"text": SECRET}, how)
            assert [item.key for item in client.search(("notes",))] == ["another"]
            client.put(("notes",), "mine", {"text": SECRET})
            assert client.get(("notes",), "mine") is not None


def test_an_import_does_not_bring_back_what_a_plain_put_said(tmp_path: Path) -> None:
    with ChromaStore(tmp_path / "a", HashingEmbedder()) as store:
        store.put(("notes",), "k", VALUES[1])
        items = store.exported()
        store.forget(namespace=("notes",))
        store.remember(("kb",), KEPT, provenance=by())
        found = store.restore([{**items[0], "value": {**VALUES[1], "seen": 2}}], trusted=True)
        assert found["forgotten"] == 1


def test_a_tools_note_without_a_run_does_not_bring_back_what_was_forgotten(
    served: Callable[[Mapping[str, ChromaStore]], AbstractContextManager[str]],
) -> None:
    with ChromaStore(None, HashingEmbedder()) as store, served({"t": store}) as url:
        filled(store)
        store.forget(run="run-2")
        with ChromaStore.open(url, token="t") as client:
            for memory in (store, client):
                remember, *_ = memory_tools(memory, ("kb",), provenance=lambda: by("a page"))
                assert "a person had this forgotten" in str(remember.invoke({"text": SECRET}))
                assert "remembered as" in remember.invoke({"text": "Something else altogether."})
            assert store.was_forgotten([SECRET]) == [True]
            assert client.item(client.remember(("kb",), SECRET, provenance=by("a person")))
