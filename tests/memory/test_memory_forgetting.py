"""What was forgotten is in none of the memory's files: read as bytes, with the memory still open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Note, Provenance

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


AGAIN = [
    SECRET,
    "the MERGER with contoso\n closes on Friday",
    f"Found in the mail: {SECRET} Nothing else.",
    '<p>The merger&#32;with Contoso closes on "Friday"</p>',
    '{"said": "\\nThe merger with Contoso closes on Friday"}',
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
