from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Note, Provenance
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
    found: list[float] = postings.scores(list(dict.fromkeys(terms(query))), mask, len(texts))[0].tolist()
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


def test_a_code_counts_as_a_whole_beside_its_parts() -> None:
    found = scores("ERR-4417", ["see (err-4417).", "ERR-44171", "err 4417"])
    assert found[0] == max(found)


def test_what_stands_beside_a_good_answer_comes_before_what_stands_alone() -> None:
    lines = ["How was the trip to Oslo?", "We saw whales there.", "Do you like tea?", "I prefer coffee."]
    with ChromaStore(None, HashingEmbedder()) as store:
        talk = Provenance("talk", "ann", "", Trust.USER)
        store.remember_all(("kb",), [Note(line, talk) for line in lines])
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
