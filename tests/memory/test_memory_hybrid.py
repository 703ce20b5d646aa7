from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Note, Provenance
from pointsman.memory.search import words as words_module
from pointsman.memory.search.postings import Postings
from pointsman.memory.search.words import counted, term, terms

BY_ANN = Provenance("", "ann", "", Trust.USER)


def scores(query: str, texts: list[str], loaded: int = 0) -> list[float]:
    """BM25 of texts, of which some were loaded at once and the rest added one by one."""
    postings = Postings()
    counts = [counted(text) for text in texts]
    if loaded:
        slots = np.repeat(np.arange(loaded), [len(c) for c in counts[:loaded]])
        postings.load(slots, np.concatenate(counts[:loaded]))
    for slot, count in enumerate(counts[loaded:], loaded):
        postings.add(slot, count)
    mask = np.ones(len(texts), np.bool_)
    found: list[float] = postings.under(mask).scores(list(dict.fromkeys(terms(query))))[0].tolist()
    return found


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    found = scores("card iban", ["the card is here", "a card and here", "iban is here", "nothing"])
    assert found[2] > found[0] == found[1] > found[3] == 0


@given(
    st.lists(st.lists(st.sampled_from(["red", "green", "blue", "card", "lost"]), max_size=6), min_size=1, max_size=8)
)
def test_words_that_were_loaded_count_as_those_that_came_since(bags: list[list[str]]) -> None:
    texts = [" ".join(bag) for bag in bags]
    assert scores("lost card", texts, loaded=len(texts)) == pytest.approx(scores("lost card", texts))


def test_forms_of_a_word_are_one_and_words_without_content_none() -> None:
    assert term("painted") == term("painting") == term("paints")
    assert terms("what did she have with the") == []


@given(st.text())
def test_every_text_has_its_words_counted(text: str) -> None:
    assert counted(text)[:, 1].min(initial=1) >= 1


def test_more_new_words_than_are_stemmed_at_once_have_the_stems_each_has_alone() -> None:
    letters = "abcdefghij"
    listed = [f"w{letters[n // 100 % 10]}{letters[n // 10 % 10]}{letters[n % 10]}ings" for n in range(1000)]
    together, apart = words_module._Stems().terms(listed), words_module._Stems()
    places = (0, 499, 500, 999)
    assert [together[place] for place in places] == [apart.terms([listed[place]])[0] for place in places]
    assert together[999] == apart.terms([listed[999].removesuffix("s")])[0]
    assert len(set(together)) == 1000


def test_a_code_counts_as_a_whole_beside_its_parts() -> None:
    found = scores("ERR-4417", ["see (err-4417).", "ERR-44171", "err 4417"])
    assert found[0] == max(found)


def test_what_stands_beside_a_good_answer_comes_before_what_stands_alone() -> None:
    lines = ["How was the trip to Oslo?", "We saw whales there.", "Do you like tea?", "I prefer coffee."]
    with ChromaStore(None, HashingEmbedder()) as store:
        talk = [Provenance("talk", author, "", Trust.USER) for author in ("bob", "ann", "bob", "ann")]
        store.remember_all(("kb",), [Note(line, by) for line, by in zip(lines, talk, strict=True)])
        store.remember_all(
            ("kb",), [Note(f"Note {n} on taxes.", Provenance(f"n{n}", "ann", "", Trust.USER)) for n in range(20)]
        )
        found = [item.text for item in store.recall(("kb",), "trip to Oslo", limit=2)]
    assert found == lines[:2]


def test_words_outside_the_text_are_found_too() -> None:
    with ChromaStore(None, HashingEmbedder()) as store:
        store.remember_all(("kb",), [Note(f"note {n}", BY_ANN, metadata={"date": "1 June, 2023"}) for n in range(9)])
        wanted = store.remember(("kb",), "we met", provenance=BY_ANN, metadata={"date": "7 May, 2023"})
        assert store.recall(("kb",), "what happened in May?")[0].id == wanted


class Knowing(HashingEmbedder):
    """One that knows which words mean much the same."""

    def near(self, words: Sequence[str]) -> list[list[tuple[str, float]]]:
        return [[("vehicle", 0.6), ("cars", 0.9)] if word == "car" else [] for word in words]


class Averaging(HashingEmbedder):
    """One whose vectors are averages of word vectors."""

    def embed_weighted(self, words: Sequence[str], weights: Sequence[float]) -> list[float]:
        return self.embed_query(" ".join(words))


def test_a_word_that_means_much_the_same_stands_for_one_of_the_question_but_for_less() -> None:
    others = [f"note {number} on taxes" for number in range(9)]
    with ChromaStore(None, Knowing()) as store:
        store.remember_all(
            ("kb",), [Note(text, BY_ANN) for text in ["a vehicle is parked", "a car is parked", *others]]
        )
        first, second, third = store.recall(("kb",), "where is my car?", limit=3, explain=True)
    assert (first.text, second.text) == ("a car is parked", "a vehicle is parked")
    assert first.parts is not None
    assert second.parts is not None
    assert third.parts is not None
    assert first.parts.own > second.parts.own > third.parts.own
    # What it is worth by itself is still told by the words of the question alone.
    assert (second.parts.words, second.parts.matched) == (0, ())


def test_an_average_of_word_vectors_counts_less_than_a_vector_of_the_whole_text() -> None:
    owns = []
    for embedder in (Averaging, HashingEmbedder):
        with ChromaStore(None, embedder()) as store:
            store.remember_all(("kb",), [Note(text, BY_ANN) for text in ("signalman", "tea", "coffee", "taxes")])
            (found, *_) = store.recall(("kb",), "signalbox", explain=True)
        assert found.parts is not None
        assert (found.text, found.parts.words) == ("signalman", 0)
        owns.append(found.parts.own)
    assert owns[0] == pytest.approx(0.6 * owns[1])


def test_near_words_count_each_for_the_best_that_stands_there_and_never_twice() -> None:
    postings = Postings()
    texts = ["car", "vehicle", "car vehicle", "lorry vehicle", "tea"]
    for slot, text in enumerate(texts):
        postings.add(slot, counted(text))
    near = [(term("vehicle"), 0.5), (term("lorry"), 0.4)]
    mask = np.ones(len(texts), np.bool_)

    def wide(*stand: tuple[int, float]) -> list[float]:
        scores, found, _ = postings.under(mask).scores([term("car")], {term("car"): stand})
        assert scores.tolist() == alone
        return found.tolist()

    alone = postings.under(mask).scores([term("car")])[0].tolist()
    assert wide() == alone
    both, first, second = wide(*near), wide(near[0]), wide(near[1])
    assert both == [max(each) for each in zip(first, second, strict=True)]
    assert (both[0], both[2], both[4]) == (alone[0], alone[2], 0)
    assert 0 < both[1] < alone[0]
    assert 0 < first[3] < second[3] < alone[0]


@pytest.mark.parametrize(
    ("embedder", "source", "authors", "share"),
    [
        (Averaging, "talk", ("ann", "bob"), 0.4),
        (Averaging, "cards.md#lost", ("ann", "bob"), 0.4),
        (Averaging, "cards.md#lost", ("ann", "ann"), 0.4),
        (Averaging, "cards.md", ("ann", "ann"), 0.2),
        (HashingEmbedder, "talk", ("ann", "bob"), 0.4),
        (HashingEmbedder, "cards.md#lost", ("ann", "bob"), 0.4),
        (HashingEmbedder, "cards.md#lost", ("ann", "ann"), 0.1),
        (HashingEmbedder, "cards.md", ("ann", "ann"), 0.1),
    ],
)
def test_what_stands_beside_counts_less_in_a_document_and_least_if_a_vector_tells_the_topic(
    embedder: type[HashingEmbedder], source: str, authors: tuple[str, str], share: float
) -> None:
    lines = ["How was the trip to Oslo?", "We saw whales there."]
    with ChromaStore(None, embedder()) as store:
        for line, author in zip(lines, authors, strict=True):
            store.remember(("kb",), line, provenance=Provenance(source, author, "", Trust.USER))
        store.remember_all(("kb",), [Note(f"Note {n} on taxes.", BY_ANN) for n in range(20)])
        found = {item.text: item.parts for item in store.recall(("kb",), "trip to Oslo", limit=30, explain=True)}
    oslo, whales = (found[line] for line in lines)
    assert oslo is not None
    assert whales is not None
    assert whales.beside == pytest.approx(share * oslo.own)


@pytest.mark.parametrize(("embedder", "share"), [(Averaging, 0.5), (HashingEmbedder, 0.75)])
def test_a_passage_gains_from_the_best_of_its_document_wherever_that_stands(
    embedder: type[HashingEmbedder], share: float
) -> None:
    def passage(text: str, source: str) -> Note:
        return Note(text, Provenance(source, "ann", "", Trust.USER))

    plain = [passage(f"It costs nothing, case {n}.", f"{n}.md#costs") for n in range(20)]
    notes = [
        passage("A lost card is blocked at once.", "cards.md#lost"),
        passage("It costs nothing.", "cards.md#costs"),
    ]
    with ChromaStore(None, embedder()) as store:
        store.remember_all(("kb",), [*plain, *notes, passage("It costs nothing, I think.", "")])
        found = store.recall(("kb",), "what does it cost to have a lost card blocked?", limit=30, explain=True)
    parts = {item.text: item.parts for item in found}
    lost, costs, unsourced = (parts[t] for t in (notes[0].text, notes[1].text, "It costs nothing, I think."))
    assert lost is not None
    assert costs is not None
    assert unsourced is not None
    assert costs.document == lost.document == pytest.approx(share * lost.own)
    assert unsourced.document == pytest.approx(share * unsourced.own)
    assert [item.text for item in found[:2]] == [notes[0].text, notes[1].text]


@pytest.mark.slow
def test_the_new_words_of_a_question_and_those_near_them_are_stemmed_in_two_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = words_module._Stems()
    goes: list[set[str]] = []
    stemmed = met._stemmed
    monkeypatch.setattr(met, "_stemmed", lambda fresh: goes.append(set(fresh)) or stemmed(fresh))
    with ChromaStore.open(tmp_path / "memory") as store:
        store.put(("n",), "k", {"text": "The noise of trams."})
        monkeypatch.setattr(words_module, "_stems", met)
        (found,) = store.recall(("n",), "which sounds do tramways and forests make")
    assert found.key == "k"
    assert [len(words) for words in goes] == [7, len(goes[-1])]
    assert len(goes[-1]) > 10
