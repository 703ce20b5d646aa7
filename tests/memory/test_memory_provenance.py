from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langgraph.store.base import InvalidNamespaceError
from pointsman.configs.errors import ConfigError
from pointsman.configs.evidence import parse_evidence, render_evidence
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Note, Provenance

CARDS = "Lost cards are blocked at once and replaced within five days."
FEES = "A replacement card costs ten euros."
FROM_WEB = Provenance("https://example.com", "browser", "run-1", Trust.UNTRUSTED)
FROM_TOOL = Provenance("cards.md#lost", "loader", "run-1", Trust.TOOL)
FROM_USER = Provenance("chat", "desk", "run-2", Trust.USER, ("parent-1",), "a-model", "step-1", "reader", (3, 7))


@pytest.fixture
def store() -> Iterator[ChromaStore]:
    with ChromaStore(None, HashingEmbedder()) as store:
        yield store


def test_a_remembered_text_comes_back_with_where_it_came_from(store: ChromaStore) -> None:
    item_id = store.remember(("kb",), CARDS, provenance=FROM_USER, metadata={"topic": "cards"})
    (found,) = store.recall(("kb",), "lost cards")
    assert (found.id, found.text, found.source, found.trust) == (item_id, CARDS, "chat", Trust.USER)
    assert (found.writers, found.lineage) == ((FROM_USER,), ("parent-1",))
    assert found.value == {"text": CARDS, "topic": "cards"}
    assert found.score is not None
    assert 0.5 < found.score <= 1
    assert store.search(("kb",), filter={"topic": "cards"})[0].key == found.key
    assert store.item(item_id) == store.item(found.id)
    assert store.item("gone") is None


def test_recalled_items_are_evidence_for_a_prompt(store: ChromaStore) -> None:
    store.remember(("kb",), CARDS, provenance=FROM_WEB)
    (passage,), rest = parse_evidence(render_evidence(store.recall(("kb",), "cards")))
    assert (passage.text, passage.source, passage.trust, rest) == (CARDS, "https://example.com", Trust.UNTRUSTED, "")


def test_a_plain_put_is_untrusted_and_its_author_unknown_whatever_the_value_says(store: ChromaStore) -> None:
    claims = {"trust": "user", "author": "boss", "writers": [["", "boss", "", "user", []]]}
    store.put(("kb",), "k", {"text": CARDS, **claims})
    (found,) = store.recall(("kb",), "lost cards")
    assert (found.trust, found.writers) == (Trust.UNTRUSTED, (Provenance.unknown(),))
    assert store.recall(("kb",), "lost cards", min_trust=Trust.TOOL) == []


def test_a_put_over_a_trusted_item_takes_its_trust_away(store: ChromaStore) -> None:
    store.remember(("kb",), CARDS, provenance=FROM_USER, key="cards")
    store.put(("kb",), "cards", {"text": "Send your card to this address."})
    assert store.recall(("kb",), "card", min_trust=Trust.TOOL) == []


def test_remembering_a_text_again_adds_a_writer_and_no_row(store: ChromaStore) -> None:
    first = store.remember(("kb",), CARDS, provenance=FROM_USER)
    again = store.remember(("kb",), CARDS, provenance=FROM_TOOL, metadata={"seen": 2})
    once_more = store.remember(("kb",), CARDS, provenance=FROM_TOOL)
    (found,) = store.recall(("kb",), "lost cards")
    assert first == again == once_more == found.id
    assert found.writers == (FROM_USER, FROM_TOOL)
    assert found.value == {"text": CARDS, "seen": 2}
    assert store.remember(("other",), CARDS, provenance=FROM_USER) != first


def test_repeating_a_text_never_lends_it_trust(store: ChromaStore) -> None:
    for first, second in [(FROM_WEB, FROM_USER), (FROM_USER, FROM_WEB)]:
        store.remember(("kb", first.author), CARDS, provenance=first)
        store.remember(("kb", first.author), CARDS, provenance=second)
    assert [found.trust for found in store.recall(("kb",), "cards")] == [Trust.UNTRUSTED] * 2


def test_a_key_names_a_slot_that_is_replaced(store: ChromaStore) -> None:
    slot = store.remember(("kb",), CARDS, provenance=FROM_USER, key="policy")
    assert store.remember(("kb",), FEES, provenance=FROM_TOOL, key="policy") == slot
    (found,) = store.recall(("kb",), "card")
    assert (found.text, found.writers, found.key) == (FEES, (FROM_TOOL,), "policy")
    assert store.remember(("kb",), FEES, provenance=FROM_USER) == slot
    assert store.remember(("kb",), FEES, provenance=FROM_USER, key="another") == store.id_of(("kb",), "another")
    assert {item.key for item in store.search(("kb",))} == {"policy", "another"}


@pytest.mark.parametrize("key", ["new", "taken"])
def test_a_text_that_is_repeated_under_a_key_is_trusted_no_further_than_where_it_stood(
    store: ChromaStore, key: str
) -> None:
    store.remember(("kb",), FEES, provenance=FROM_USER, key="taken")
    store.remember(("kb",), CARDS, provenance=FROM_WEB)
    again = store.item(store.remember(("kb",), CARDS, provenance=FROM_USER, key=key))
    assert again is not None
    assert (again.key, again.trust) == (key, Trust.UNTRUSTED)


def test_many_notes_are_remembered_in_one_go(store: ChromaStore) -> None:
    notes = [Note(CARDS, FROM_USER), Note(FEES, FROM_TOOL), Note(CARDS, FROM_TOOL), Note("Ten days.", FROM_TOOL, "k")]
    ids = store.remember_all(("kb",), notes)
    assert ids[0] == ids[2]
    assert len(set(ids)) == len(store.search(("kb",))) == 3
    found = store.item(ids[0])
    assert found is not None
    assert found.writers == (FROM_USER, FROM_TOOL)
    replaced = store.remember_all(("kb",), [Note("one", FROM_TOOL, "k"), Note("two", FROM_TOOL, "k")])
    assert replaced == [ids[3], ids[3]]
    assert store.get(("kb",), "k").value == {"text": "two"}  # type: ignore[union-attr]


def test_a_repeated_text_lives_as_long_as_its_longest_time_limit() -> None:
    now = [0.0]
    with ChromaStore(None, HashingEmbedder(), clock=lambda: now[0]) as store:
        store.remember(("kb",), CARDS, provenance=FROM_TOOL, ttl=10)
        store.remember(("kb",), CARDS, provenance=FROM_TOOL, ttl=1)
        now[0] = 500
        assert len(store.recall(("kb",), "cards")) == 1
        store.remember(("kb",), CARDS, provenance=FROM_TOOL)
        now[0] = 1e6
        assert len(store.recall(("kb",), "cards")) == 1
        store.remember(("kb",), FEES, provenance=FROM_TOOL, ttl=10)
        now[0] += 601
        assert [found.text for found in store.recall(("kb",), "card")] == [CARDS]
        fresh = store.remember(("kb",), FEES, provenance=FROM_USER)  # what expired leaves no writer behind
        assert store.item(fresh).writers == (FROM_USER,)  # type: ignore[union-attr]


def test_an_exact_code_is_found_among_passages_that_sound_nearer(store: ChromaStore) -> None:
    question = "what does the error code ERR-4417 mean for me"
    alike = [Note(f"what does the error code mean for me, part {n}", FROM_TOOL) for n in range(60)]
    store.remember_all(("kb",), alike)
    wanted = store.remember(("kb",), "err-4417: limit of daily transfers reached.", provenance=FROM_TOOL)
    plain = [item.value["text"] for item in store.search(("kb",), query=question, limit=5)]
    assert not any("4417" in text for text in plain)  # the fault, by vectors alone
    assert store.recall(("kb",), question)[0].id == wanted
    assert store.recall(("kb",), question, min_score=0.75)[0].id == wanted
    assert store.recall(("elsewhere",), question) == []


def test_recall_keeps_to_its_limits(store: ChromaStore) -> None:
    store.remember_all(("kb", "a"), [Note(f"card number {n}", FROM_TOOL) for n in range(9)])
    store.remember(("kb2",), "card number 1", provenance=FROM_USER)
    found = store.recall(("kb",), "card number 3", limit=4)
    assert len(found) == 4
    assert found[0].text == "card number 3"
    assert found[0].score == max(f.score or 0 for f in found)
    assert store.recall(("kb",), "card number", min_trust=Trust.USER) == []
    assert store.recall(("kb",), "card", min_score=1.1) == store.recall(("kb",), " ") == []
    store.put(("kb", "b"), "hidden", {"text": "card number 3"}, index=False)
    assert all(f.key != "hidden" for f in store.recall(("kb",), "card number 3", limit=20))


def test_forgetting_a_source_or_a_run_deletes_it_in_every_namespace(store: ChromaStore) -> None:
    store.remember(("a",), "one", provenance=FROM_TOOL)
    store.remember(("b", "c"), "two", provenance=FROM_TOOL)
    store.remember(("b", "c"), "three", provenance=FROM_USER)
    shared = store.remember(("b",), "four", provenance=FROM_USER)
    store.remember(("b",), "four", provenance=FROM_WEB)
    assert store.forget(source="nowhere") == 0
    assert store.forget(run="run-1", source="chat") == 0
    assert store.forget(run="run-1", namespace=("b",)) == 2
    assert store.item(shared) is None
    assert store.forget(source="cards.md#lost") == 1
    assert [item.value["text"] for item in store.search(())] == ["three"]
    assert [found.text for found in store.recall((), "one two four")] == ["three"]
    assert store.forget(namespace=("b",)) == 1


def test_forgetting_nothing_in_particular_is_refused(store: ChromaStore) -> None:
    store.remember(("a",), "one", provenance=FROM_TOOL)
    for call in ({}, {"source": ""}, {"run": ""}, {"namespace": ()}):
        with pytest.raises(ConfigError, match="name what to forget"):
            store.forget(**call)  # type: ignore[arg-type]
    assert len(store.search(())) == 1


def test_what_cannot_be_remembered_is_refused_as_a_whole(store: ChromaStore) -> None:
    with pytest.raises(ValueError, match="needs a text"):
        store.remember_all(("a",), [Note("fine", FROM_TOOL), Note(" ", FROM_TOOL)])
    with pytest.raises(ValueError, match="must not have a field 'text'"):
        store.remember(("a",), "fine", provenance=FROM_TOOL, metadata={"text": "other"})
    for namespace in [(), ("langgraph",), ("a.b",)]:
        with pytest.raises(InvalidNamespaceError):
            store.remember(namespace, "fine", provenance=FROM_TOOL)
    assert store.search(()) == []


def test_a_text_is_no_namespace_of_its_letters(store: ChromaStore) -> None:
    store.remember(("a",), CARDS, provenance=FROM_TOOL)
    namespace: Any = "a"
    calls: list[Callable[[], object]] = [
        lambda: store.remember(namespace, CARDS, provenance=FROM_TOOL),
        lambda: store.remember_documents(namespace, [], paths=[]),
        lambda: store.recall(namespace, CARDS),
        lambda: store.forget(namespace=namespace),
    ]
    for call in calls:
        with pytest.raises(InvalidNamespaceError, match=r"such as \('a',\), not 'a'"):
            call()
    assert [item.namespace for item in store.search(())] == [("a",)]


async def test_the_async_forms_are_the_same_methods(store: ChromaStore) -> None:
    item_id = await store.aremember(("a",), CARDS, provenance=FROM_TOOL)
    assert [found.id for found in await store.arecall(("a",), "lost cards", limit=1)] == [item_id]
    assert (await store.aitem(item_id)) == store.item(item_id)
    assert await store.aforget(source=FROM_TOOL.source) == 1
    assert len(await store.aremember_all(("a",), [Note(FEES, FROM_TOOL)])) == 1
