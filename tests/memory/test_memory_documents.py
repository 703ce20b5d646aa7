"""Documents that are stored again after they changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Note, Provenance
from pointsman.memory.documents.chunking import split_document, split_pages
from pointsman.memory.storage.database import FILE

KB = ("knowledge",)
RULES = "/kb/rules.md"
AGENT = Provenance("rules.md#hours", "reader", "run-1", Trust.UNTRUSTED)


class Counting(HashingEmbedder):
    """Keeps the texts that it embeds."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked += texts
        return super().embed_documents(texts)


@pytest.fixture
def embedder() -> Counting:
    return Counting()


@pytest.fixture
def store(tmp_path: Path, embedder: Counting) -> Iterator[ChromaStore]:
    with ChromaStore(tmp_path / "memory", embedder) as opened:
        yield opened


def passages(text: str, file: str = RULES, trust: Trust = Trust.UNTRUSTED, most: int = 1200) -> list[Note]:
    chunks = split_document(text, Path(file).name, max_chars=most)
    return [chunk.note(author="a person", run="", trust=trust, document=file) for chunk in chunks]


def add(store: ChromaStore, text: str, file: str = RULES, trust: Trust = Trust.UNTRUSTED) -> int:
    return store.remember_documents(KB, passages(text, file, trust), paths=[file])


def texts(store: ChromaStore, question: str = "depot canteen office") -> set[str]:
    return {item.text for item in store.recall(KB, question, limit=50)}


def held(store: ChromaStore) -> dict[str, str]:
    """Every item that searches can find: text -> id."""
    return {item.text: item.id for item in store.recall(KB, "depot", limit=1000)}


SENTENCES = st.sampled_from([f"The {place} {what}." for place in ("depot", "canteen") for what in "abcde"])
SECTIONS = st.lists(
    st.tuples(st.sampled_from(["hours", "fees", "lost cards"]), st.lists(SENTENCES, min_size=1, max_size=5)),
    min_size=1,
    max_size=3,
)


def found_in(store: ChromaStore) -> dict[str, tuple[Any, ...]]:
    return {
        item.text: (
            *(item.source, item.value, item.trust, item.writers, pytest.approx(item.score, abs=1e-5)),
            pytest.approx(item.parts and item.parts.total, abs=1e-4),
        )
        for item in store.recall(KB, "When does the depot open, and the canteen?", limit=1000, explain=True)
    }


@pytest.mark.slow
@given(versions=st.lists(SECTIONS, min_size=2, max_size=4))
def test_a_recall_finds_what_it_would_find_if_only_the_last_version_had_been_stored(
    versions: list[list[tuple[str, list[str]]]],
) -> None:
    documents = ["\n".join(f"## {title}\n{' '.join(lines)}" for title, lines in version) for version in versions]
    with ChromaStore(None, HashingEmbedder()) as edited, ChromaStore(None, HashingEmbedder()) as fresh:
        for text in documents:
            edited.remember_documents(KB, passages(text, most=30), paths=[RULES])
            found_in(edited)  # so that the arrays are kept up to date, not loaded at the end
        fresh.remember_documents(KB, passages(documents[-1], most=30), paths=[RULES])
        assert found_in(edited) == found_in(fresh)


def test_a_passage_that_is_gone_is_found_by_no_search_and_still_looked_up(store: ChromaStore) -> None:
    assert add(store, "## hours\nThe depot opens at six.\n## food\nThe canteen serves soup.") == 0
    old = held(store)["The depot opens at six."]
    note = store.remember(("team",), "Come early.", provenance=Provenance("", "desk", "r", Trust.USER, (old,)))
    assert add(store, "## hours\nThe depot opens at seven.\n## food\nThe canteen serves soup.") == 1

    assert texts(store) == {"The depot opens at seven.", "The canteen serves soup."}
    assert {item.value["text"] for item in store.search(KB, query="depot", limit=50)} == texts(store)
    assert {item.value["text"] for item in store.search(KB, limit=50)} == texts(store)
    former = store.item(old)
    assert former is not None
    assert (former.text, former.replaced is not None) == ("The depot opens at six.", True)
    [version] = store.history(old)
    assert (version.value["text"], version.replaced) == ("The depot opens at six.", former.replaced)
    assert [(depth, item and item.text) for depth, _, item in store.why(note)] == [
        (0, "Come early."),
        (1, "The depot opens at six."),
    ]
    counted = store.stats()
    assert (counted["items"], counted["former_texts"], counted["vectors"]) == (3, 1, 3)


def test_what_was_made_from_a_superseded_passage_gains_no_trust(store: ChromaStore) -> None:
    add(store, "The depot opens at six.")
    by_desk = Provenance("", "desk", "r", Trust.USER, (held(store)["The depot opens at six."],))
    note = store.remember(("team",), "Come early.", provenance=by_desk)
    add(store, "The depot opens at seven.")
    assert store.remember(("team",), "Come early.", provenance=by_desk) == note
    found = store.item(note)
    assert found is not None
    assert found.trust is Trust.UNTRUSTED


def test_an_unchanged_passage_keeps_its_item_and_is_not_embedded_again(store: ChromaStore, embedder: Counting) -> None:
    add(store, "## hours\nThe depot opens at six.\n## food\nThe canteen serves soup.")
    before = held(store)
    embedder.asked.clear()
    assert add(store, "## hours\nThe depot opens at six.\n## food\nThe canteen serves soup.") == 0
    assert (embedder.asked, held(store)) == ([], before)
    # Lines are added above one passage, and its heading is renamed.
    add(store, "## news\nThe office is new.\n## opening\nThe depot opens at six.\n## food\nThe canteen serves soup.")
    assert embedder.asked == ["The office is new."]
    assert held(store).items() > before.items()
    found = store.item(before["The depot opens at six."])
    assert found is not None
    assert [(writer.source, writer.span) for writer in found.writers] == [("rules.md#opening", (4, 4))]
    assert (found.value["title"], found.value["lines"]) == ("opening", [4, 4])


def test_a_passage_that_comes_back_is_found_again(store: ChromaStore) -> None:
    for text in ("The depot opens at six.", "The depot opens at seven.", "The depot opens at six."):
        add(store, text)
    assert texts(store) == {"The depot opens at six."}
    assert store.stats()["former_texts"] == 1


def test_what_others_wrote_is_left_alone(store: ChromaStore) -> None:
    add(store, "## hours\nThe depot opens at six. Ask at the office.")
    by_agent = store.remember(KB, "The depot opens early.", provenance=AGENT)
    same = store.remember(KB, "The depot opens at six. Ask at the office.", provenance=AGENT)
    add(store, "## hours\nThe depot opens at seven.")
    assert texts(store) == {
        "The depot opens early.",
        "The depot opens at six. Ask at the office.",
        "The depot opens at seven.",
    }
    found = [store.item(by_agent), store.item(same)]
    assert [item and item.writers for item in found] == [(AGENT,), (AGENT,)]


def test_a_file_of_another_folder_a_namespace_and_a_tenant_are_other_documents(tmp_path: Path) -> None:
    with (
        ChromaStore(tmp_path / "memory", HashingEmbedder()) as store,
        ChromaStore(tmp_path / "memory", HashingEmbedder(), tenant="other") as other,
    ):
        add(other, "The depot opens at six.")
        store.remember_documents(("team",), passages("The depot opens at six."), paths=[RULES])
        for file in (RULES, "/kb/old/rules.md", "/kb/rules.md.bak", "/kb2/rules.md"):
            add(store, f"The depot opens at six. The canteen of {file} serves soup.", file)
        add(store, "The depot opens at six.", "/kb/old/rules.md")
        add(store, "The depot opens at seven.", "/kb/rules.md")
        assert {text.partition(" of ")[2].partition(" serves")[0] for text in texts(store)} == {
            "",
            "/kb/rules.md.bak",
            "/kb2/rules.md",
        }
        assert texts(store) >= {"The depot opens at six.", "The depot opens at seven."}
        assert texts(other) == {"The depot opens at six."}
        assert [item.text for item in store.recall(("team",), "depot")] == ["The depot opens at six."]


def test_the_same_passage_of_two_files_stays_until_it_is_in_neither(store: ChromaStore) -> None:
    add(store, "The depot opens at six.", "/a/rules.md")
    add(store, "The depot opens at six.", "/b/rules.md")
    assert add(store, "The depot is closed.", "/a/rules.md") == 0
    assert "The depot opens at six." in texts(store)
    assert add(store, "The depot is closed.", "/b/rules.md") == 1
    assert texts(store) == {"The depot is closed."}


def test_a_passage_that_is_trusted_further_stays(store: ChromaStore) -> None:
    add(store, "The depot opens at six.", trust=Trust.USER)
    assert add(store, "The depot opens at seven.", trust=Trust.UNTRUSTED) == 0
    assert texts(store) == {"The depot opens at six.", "The depot opens at seven."}
    assert add(store, "The depot opens at eight.", trust=Trust.USER) == 2
    assert texts(store) == {"The depot opens at eight."}


def test_a_folder_that_is_stored_again_supersedes_files_that_are_gone_or_renamed(
    store: ChromaStore, embedder: Counting
) -> None:
    rules, menu = passages("The depot opens at six.", "/kb/rules.md"), passages("Soup.", "/kb/menu.md")
    other = passages("The canteen is closed.", "/kb2/menu.md")
    store.remember_documents(KB, [*rules, *menu], paths=["/kb"])
    store.remember_documents(KB, other, paths=["/kb2"])
    embedder.asked.clear()
    renamed = passages("The depot opens at six.", "/kb/hours.md")
    assert store.remember_documents(KB, renamed, paths=["/kb/"]) == 1
    found = {item.text: [writer.document for writer in item.writers] for item in store.recall(KB, "depot")}
    assert found == {"The depot opens at six.": ["/kb/hours.md"], "The canteen is closed.": ["/kb2/menu.md"]}
    assert embedder.asked == []


def test_a_broken_off_change_leaves_the_earlier_version_and_can_be_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    with ChromaStore(folder, HashingEmbedder()) as store:
        add(store, "The depot opens at six.")
        for broken in ("BEFORE UPDATE ON items WHEN NEW.expires < 0", "BEFORE INSERT ON items"):
            with closing(sqlite3.connect(folder / FILE)) as db:
                db.execute(f"CREATE TRIGGER broken {broken} BEGIN SELECT RAISE(ABORT, 'no'); END")
            with pytest.raises(ConfigError):
                add(store, "The depot opens at seven.")
            assert texts(store) == {"The depot opens at six."}
            with closing(sqlite3.connect(folder / FILE)) as db:
                db.execute("DROP TRIGGER broken")
        assert add(store, "The depot opens at seven.") == 1
        assert texts(store) == {"The depot opens at seven."}


def test_what_was_superseded_is_forgotten_without_a_trace(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    with ChromaStore(folder, HashingEmbedder()) as store:
        add(store, "The merger with Contoso closes on Friday.")
        add(store, "The merger was called off.")
        assert store.forget(source="rules.md") == 2
        assert store.stats()["former_texts"] == 0
    assert all(b"Contoso" not in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_a_full_memory_drops_superseded_passages_first(tmp_path: Path) -> None:
    with ChromaStore(tmp_path / "memory", HashingEmbedder(), most=3) as store:
        store.remember(KB, "The office is old.", provenance=Provenance("", "a", "", Trust.UNTRUSTED))
        for hour in ("six", "seven", "eight"):
            add(store, f"The depot opens at {hour}.", trust=Trust.USER)
        assert texts(store) == {"The office is old.", "The depot opens at eight."}
        assert store.stats()["former_texts"] == 1


def moved(source: ChromaStore, target: ChromaStore, *, trusted: bool) -> dict[str, int]:
    return target.restore(source.exported(), embedder=HashingEmbedder().model_id, trusted=trusted)


def test_what_was_superseded_goes_along_with_an_export(tmp_path: Path) -> None:
    with (
        ChromaStore(tmp_path / "a", HashingEmbedder()) as here,
        ChromaStore(tmp_path / "b", HashingEmbedder()) as there,
        ChromaStore(tmp_path / "c", HashingEmbedder()) as foreign,
    ):
        add(here, "The depot opens at six.")
        before = here.exported()
        old = held(here)["The depot opens at six."]
        moved(here, there, trusted=True)
        add(here, "The depot opens at seven.")
        assert moved(here, there, trusted=True)["replaced"] == 1
        assert (texts(there), there.history(old)) == ({"The depot opens at seven."}, here.history(old))
        assert moved(here, there, trusted=True)["unchanged"] == 2
        # An older export does not bring it back.
        assert there.restore(before, embedder=HashingEmbedder().model_id, trusted=True)["newer"] == 1
        assert add(there, "The depot opens at eight.") == 1
        # Somebody else's export supersedes nothing.
        add(foreign, "The depot opens at six.")
        moved(here, foreign, trusted=False)
        assert "The depot opens at six." in texts(foreign)


def test_a_superseded_passage_is_embedded_anew_with_none(tmp_path: Path) -> None:
    with ChromaStore(tmp_path / "memory", HashingEmbedder()) as store:
        add(store, "The depot opens at six.")
        old = held(store)["The depot opens at six."]
        add(store, "The depot opens at seven.")
    other = HashingEmbedder(dimensions=32)
    assert ChromaStore.reindex(tmp_path / "memory", other) == 1
    with ChromaStore(tmp_path / "memory", other) as store:
        assert texts(store) == {"The depot opens at seven."}
        assert store.item(old) is not None
        assert len(store.exported()) == 2


def test_chroma_lets_go_of_a_superseded_passage(tmp_path: Path, in_chroma: Any) -> None:
    folder = tmp_path / "memory"
    for text in ("The depot opens at six.", "The depot opens at seven."):
        with ChromaStore(folder, HashingEmbedder()) as store:
            add(store, text)
        assert len(in_chroma(folder)) == 1


def test_a_client_of_a_server_stores_documents_likewise(tmp_path: Path, served: Any) -> None:
    with (
        ChromaStore(tmp_path / "memory", HashingEmbedder()) as store,
        served({"token": store}) as url,
        ChromaStore.open(url, token="token") as client,
    ):
        assert add(client, "The depot opens at six.") == 0
        old = held(client)["The depot opens at six."]
        assert add(client, "The depot opens at seven.") == 1
        assert texts(client) == {"The depot opens at seven."}
        found, [version] = client.item(old), client.history(old)
        assert found is not None
        assert (found.replaced, version.replaced) == (version.replaced, found.replaced)


def test_pages_of_a_pdf_are_superseded_one_by_one(store: ChromaStore) -> None:
    def pages(listed: Sequence[str]) -> list[Note]:
        chunks = split_pages(listed, "terms#1.pdf")
        assert {chunk.file for chunk in chunks} == {"terms#1.pdf"}
        return [c.note(author="a", run="", trust=Trust.UNTRUSTED, document="/kb/terms#1.pdf") for c in chunks]

    store.remember_documents(KB, pages(["The depot opens at six.", "Soup."]), paths=["/kb/terms#1.pdf"])
    assert store.remember_documents(KB, pages(["News.", "The depot opens at six."]), paths=["/kb/terms#1.pdf"]) == 1
    found = {item.text: (item.source, item.value["page"]) for item in store.recall(KB, "depot")}
    assert found == {"News.": ("terms#1.pdf#page-1", 1), "The depot opens at six.": ("terms#1.pdf#page-2", 2)}
