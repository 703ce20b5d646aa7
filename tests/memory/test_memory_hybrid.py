from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pointsman.memory.retrieval import CODE_SHARE, code_terms, fuse, keyword_scores

PASSAGES = st.lists(st.tuples(st.text(max_size=30), st.floats(-1, 1)), max_size=6)


@given(query=st.text(max_size=30), passages=PASSAGES)
def test_every_score_lies_between_the_cosine_and_one(query: str, passages: list[tuple[str, float]]) -> None:
    scores = fuse(query, passages)
    assert len(scores) == len(passages)
    assert all(max(cosine, 0) - 1e-9 <= score <= 1 for score, (_, cosine) in zip(scores, passages, strict=True))


def test_without_a_common_word_the_score_is_the_cosine() -> None:
    assert fuse("lost card", [("ocean tides", 0.25), ("moon", -0.5)]) == [0.25, 0.0]


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    texts = ["the card is here", "the loan is here", "the iban is here", "nothing"]
    scores = keyword_scores("the iban", texts)
    assert scores[2] > scores[0] == scores[1] > scores[3] == 0


def test_codes_are_words_with_digits_or_in_capitals() -> None:
    assert code_terms("Why does ERR-4417 or v2.3.1 block my SEPA transfer, e-mail and/or card 42?") == [
        "ERR-4417",
        "v2.3.1",
        "SEPA",
    ]


def test_a_passage_with_the_code_beats_all_but_the_nearest_paraphrase() -> None:
    scores = fuse("explain ERR-4417 please", [("see (err-4417).", 0.0), ("explain please", 0.6), ("ERR-44171", 0.1)])
    assert scores[0] >= CODE_SHARE
    assert scores[0] > max(scores[1:])
