"""Memory keeps itself tidy: near duplicates are one item, newer facts supersede older, caps hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.store.base import PutOp
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Note, Provenance

TEAM = ("team",)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def store() -> Iterator[ChromaStore]:
    with ChromaStore(None, HashingEmbedder(), clock=Clock()) as store:
        yield store


def by(author: str, trust: Trust = Trust.TOOL, **more: str) -> Provenance:
    return Provenance(more.get("source", ""), author, more.get("run", ""), trust)


def all_texts(store: ChromaStore) -> list[str]:
    return [item.value["text"] for item in store.search(TEAM, limit=100)]


@pytest.mark.parametrize(
    "again",
    [
        "The depot opens at six",
        "  the depot   opens\nat six. ",
        "Depot opens at six!",
        "The depot opens, at six.",
    ],
)
def test_a_text_that_differs_in_form_alone_is_not_added_again(store: ChromaStore, again: str) -> None:
    first = store.remember(TEAM, "The depot opens at six.", provenance=by("scout"))
    assert store.remember(TEAM, again, provenance=by("clerk", Trust.UNTRUSTED)) == first
    (item,) = store.recall(TEAM, "depot", limit=9)
    assert item.text == "The depot opens at six."
    assert [writer.author for writer in item.writers] == ["scout", "clerk"]
    assert item.trust is Trust.UNTRUSTED


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The depot opens at six", "The depot opens at seven"),
        ("The depot opens at six", "The depot never opens at six"),
        ("Ann outranks Bob", "Bob outranks Ann"),
        ("The depot opens at six", "Does the depot open at six?"),
        ("The code is aB3x", "The code is AB3x"),
        ("Ask the US office", "Ask the us office"),
        ("It weighs 10² kilos", "It weighs 102 kilos"),
        ("The limit is 1.5", "The limit is 15"),
        ("Written in C", "Written in C++"),
        ("It is -5 outside", "It is 5 outside"),
        ("Take vitamin A daily", "Take vitamin daily"),
        ("The depot opened at six", "The depot opens at six"),
    ],
)
def test_texts_that_may_say_different_things_are_two_items(store: ChromaStore, one: str, other: str) -> None:
    assert store.remember(TEAM, one, provenance=by("a")) != store.remember(TEAM, other, provenance=by("a"))
    assert all_texts(store) == [one, other]


@given(st.lists(st.text(max_size=12).filter(str.strip), max_size=12))
def test_adding_everything_twice_deletes_nothing_and_adds_nothing(texts: list[str]) -> None:
    with ChromaStore(None, HashingEmbedder()) as store:
        notes = [Note(text, by("a")) for text in texts]
        ids = store.remember_all(TEAM, notes)
        kept = all_texts(store)
        assert store.remember_all(TEAM, notes) == ids
        assert all_texts(store) == kept
        assert all(store.item(i) for i in ids)


def fact(text: str, author: str, trust: Trust = Trust.TOOL, subject: str = "depot", **more: str) -> Note:
    return Note(text, by(author, trust, **more), subject=subject, attribute="opening hours")


def test_a_newer_fact_supersedes_the_older_and_its_history_is_kept(store: ChromaStore) -> None:
    texts = ["The depot opens at six", "The depot opens at seven", "The depot is closed"]
    ids = {store.remember_all(TEAM, [fact(text, f"agent {n}")])[0] for n, text in enumerate(texts)}
    assert len(ids) == 1
    (item,) = store.recall(TEAM, "when does the depot open")
    assert item.text == "The depot is closed"
    assert (item.value["subject"], item.value["attribute"]) == ("depot", "opening hours")
    versions = store.history(item.id)
    assert [version.value["text"] for version in versions] == texts
    assert [version.writers[0].author for version in versions] == ["agent 0", "agent 1", "agent 2"]
    ends = [version.replaced for version in versions]
    assert ends[-1] is None
    assert all(v.replaced is None or v.written < v.replaced for v in versions)
    assert store.recall(TEAM, "opens at six")[0].text == "The depot is closed"


def test_names_of_a_fact_are_compared_without_case_and_others_stay_apart(store: ChromaStore) -> None:
    notes = [
        fact("one", "a"),
        fact("two", "a", subject=" Depot "),
        fact("three", "a", subject="the other depot"),
        Note("four", by("a"), subject="depot"),
    ]
    ids = store.remember_all(TEAM, notes)
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert sorted(all_texts(store)) == ["four", "three", "two"]
    assert [version.value["text"] for version in store.history(ids[0])] == ["one", "two"]


@pytest.mark.parametrize("together", [True, False])
def test_a_less_trusted_fact_does_not_supersede_but_stands_beside(store: ChromaStore, together: bool) -> None:
    page = store.remember(TEAM, "a page of the web", provenance=by("browser", Trust.UNTRUSTED))
    derived = Note(
        "The depot opens at four",
        Provenance("", "clerk", "", Trust.USER, lineage=(page,)),
        subject="depot",
        attribute="opening hours",
    )
    notes = [
        fact("The depot opens at six", "a person", Trust.USER),
        fact("The depot opens at three", "browser", Trust.UNTRUSTED),
        derived,
    ]
    for some in [notes] if together else [[note] for note in notes]:
        store.remember_all(TEAM, some)
    assert set(all_texts(store)) == {"a page of the web", *(note.text for note in notes)}
    trusted = store.recall(TEAM, "depot opens", min_trust=Trust.USER)
    assert [item.text for item in trusted] == ["The depot opens at six"]
    assert [version.value["text"] for version in store.history(trusted[0].id)] == ["The depot opens at six"]


def test_a_key_that_is_replaced_has_a_history_and_a_plain_put_has_none(store: ChromaStore) -> None:
    for text in ("first", "second", "second"):
        item = store.remember(TEAM, text, provenance=by("a"), key="slot")
    assert [version.value["text"] for version in store.history(item)] == ["first", "second"]
    store.put(TEAM, "plain", {"text": "first"})
    store.put(TEAM, "plain", {"text": "second"})
    assert [version.value["text"] for version in store.history(store.id_of(TEAM, "plain"))] == ["second"]
    assert store.history("no such item") == []


def test_what_says_the_same_under_two_keys_is_replaced_one_at_a_time(store: ChromaStore) -> None:
    for key in ("north", "south"):
        store.remember(TEAM, "It opens at six", provenance=by("a"), key=key)
    store.remember(TEAM, "It opens at seven", provenance=by("a"), key="north")
    assert {item.key: item.value["text"] for item in store.search(TEAM)} == {
        "north": "It opens at seven",
        "south": "It opens at six",
    }


def test_a_fact_that_was_said_before_without_its_names_is_superseded_all_the_same(store: ChromaStore) -> None:
    store.remember(TEAM, "The depot opens at six", provenance=by("a"))
    ids = {store.remember_all(TEAM, [fact(f"The depot opens at {hour}", "b")])[0] for hour in ("six", "seven")}
    assert len(ids) == 1
    assert [version.value["text"].split()[-1] for version in store.history(ids.pop())] == ["six", "seven"]


def test_a_fact_that_repeats_untrusted_text_does_not_supersede_a_trusted_one(store: ChromaStore) -> None:
    store.remember(TEAM, "The depot opens at three", provenance=by("browser", Trust.UNTRUSTED))
    kept = store.remember_all(TEAM, [fact("The depot opens at six", "a person", Trust.USER)])
    store.remember_all(TEAM, [fact("The depot opens at three", "clerk", Trust.USER)])
    item = store.item(kept[0])
    assert item is not None
    assert (item.text, item.trust) == ("The depot opens at six", Trust.USER)


def test_history_is_bounded_and_goes_with_its_item(store: ChromaStore) -> None:
    for number in range(120):
        (item,) = store.remember_all(TEAM, [fact(f"number {number}", "a")])
    assert [version.value["text"] for version in store.history(item)] == [f"number {n}" for n in range(19, 120)]
    store.forget(ids=[item])
    store.remember_all(TEAM, [fact("anew", "a")])
    assert [version.value["text"] for version in store.history(item)] == ["anew"]


def test_forgetting_reaches_what_was_superseded(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        (item,) = store.remember_all(TEAM, [fact("zanzibar was said", "a", source="leak")])
        store.remember_all(TEAM, [fact("nothing was said", "b")])
        assert store.forget(source="leak", namespace=("elsewhere",)) == 0
        assert len(store.history(item)) == 2
        assert store.forget(source="leak") == 1
        assert store.was_forgotten(["Zanzibar was said!", "nothing was said"]) == [True, False]
        assert [version.value["text"] for version in store.history(item)] == ["nothing was said"]
    for file in (file for file in tmp_path.rglob("*") if file.is_file()):
        assert b"zanzibar" not in file.read_bytes()


def test_a_file_without_a_history_gets_one_when_it_is_opened(tmp_path: Path, of_before: Callable[[Path], None]) -> None:
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        store.remember_all(TEAM, [fact("old", "a")])
        plain = store.remember(TEAM, "The depot opens at six.", provenance=by("a"))
    of_before(tmp_path)
    with ChromaStore(tmp_path, HashingEmbedder()) as store:
        assert store.remember(TEAM, "the depot opens at six", provenance=by("b")) == plain
        (item,) = store.remember_all(TEAM, [fact("new", "a")])
        assert [version.value["text"] for version in store.history(item)] == ["old", "new"]


def test_of_two_that_differ_in_a_value_the_later_comes_first_and_is_named(store: ChromaStore) -> None:
    old, new, other = store.remember_all(TEAM, [Note("The north depot opens at six.", by("a"))]) + [
        store.remember(TEAM, text, provenance=by("b"))
        for text in ("The north depot opens at 7:30.", "The north depot opens to visitors")
    ]
    found = store.recall(TEAM, "The north depot opens at six")
    assert [item.id for item in found][:2] == [new, old]
    assert {item.id: item.later for item in found} == {new: (), old: (new,), other: ()}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Room 12 has a projector and a screen", "Room 14 has a projector and a screen"),
        ("It opens at six", "It opens at seven"),
        ("The north depot opens at the bridge", "The north depot opens at the river"),
    ],
)
def test_what_need_not_be_the_same_statement_is_not_taken_for_it(store: ChromaStore, one: str, other: str) -> None:
    for text in (one, other):
        store.remember(TEAM, text, provenance=by("a"))
    assert [item.later for item in store.recall(TEAM, one)] == [(), ()]


def test_a_cap_lets_the_least_trusted_and_oldest_go_but_not_what_was_written_last() -> None:
    with ChromaStore(None, HashingEmbedder(), clock=Clock(), most=3) as store:
        for text, trust in [("plan", Trust.USER), ("flood 1", Trust.UNTRUSTED), ("result", Trust.TOOL)]:
            store.remember(TEAM, text, provenance=by("a", trust))
        store.batch([PutOp(TEAM, f"k{n}", {"text": f"flood {n}"}) for n in (2, 3)])
        assert sorted(all_texts(store)) == ["flood 3", "plan", "result"]
        store.batch([PutOp(TEAM, f"k{n}", {"text": f"wave {n}"}) for n in range(5)])
        assert sorted(all_texts(store)) == ["plan", "result", "wave 4"]
        store.remember_all(TEAM, [Note(f"vow {n}", by("a", Trust.USER)) for n in range(3)])
        for n in range(3):
            store.put(TEAM, f"last {n}", {"text": f"last {n}"})
        assert sorted(all_texts(store)) == ["last 2", "vow 1", "vow 2"]
    with pytest.raises(ConfigError, match="at least one"):
        ChromaStore(None, HashingEmbedder(), most=0)
