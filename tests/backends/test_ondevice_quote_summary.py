"""Quoted answers and summaries: every sentence is the text's own, and evidence that does not answer is refused."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.backends.ondevice.classify import read_examples
from pointsman.backends.ondevice.embedder import WordLlamaEmbeddings
from pointsman.backends.ondevice.quote import Quote, quote_answer
from pointsman.backends.ondevice.sentences import split_sentences
from pointsman.backends.ondevice.summarise import summarise
from pointsman.configs.evidence import Evidence

DESK = Path(__file__).parents[2] / "examples" / "support_desk"
EMBEDDER = WordLlamaEmbeddings()
UNANSWERABLE = [
    "Do you offer mortgages?",
    "Who won the football match yesterday?",
    "What is the capital of France?",
    "How do I invest in shares?",
    "What is your chief executive called?",
    "Is there parking at the branch?",
    "Do you sell travel insurance?",
    "How do I cook rice?",
    "Can I get a loan for a car?",
    "Which film should I watch tonight?",
]


def sections() -> dict[str, Evidence]:
    """Each section of the example's knowledge base under each of its intents."""
    found = {}
    for file in sorted((DESK / "knowledge").glob("*.md")):
        for part in re.split(r"^## ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            title, intents, body = part.split("\n", 2)
            assert intents.startswith("intents: "), f"{file.name}: {title}"
            slug = re.sub(r"\W+", "-", title.lower())
            for intent in intents.removeprefix("intents: ").split(", "):
                found[intent] = Evidence(slug, f"{file.name}#{slug}", body.strip())
    return found


SECTIONS = sections()


def test_the_knowledge_base_covers_every_intent_in_a_few_plain_sentences() -> None:
    intents = {label for _, label in read_examples(DESK / "intents.csv")}
    assert set(SECTIONS) == intents
    for section in SECTIONS.values():
        assert 2 <= len(split_sentences(section.text)) <= 5, section.source


def quotes(own: bool) -> list[Quote]:
    """Ask two messages an intent, of their own section or of one three themes away."""
    names = sorted(SECTIONS)
    asked: dict[str, int] = {}
    found = []
    for text, label in read_examples(DESK / "messages.csv"):
        asked[label] = asked.get(label, 0) + 1
        if asked[label] <= 2:
            section = SECTIONS[label if own else names[(names.index(label) + 25) % len(names)]]
            quote = quote_answer(text, [section], EMBEDDER)
            assert quote is not None
            found.append(quote)
    return found


@pytest.mark.slow
def test_a_section_answers_its_own_questions_and_seldom_others() -> None:
    own = np.array([quote.accepted for quote in quotes(own=True)])
    other = np.array([quote.accepted for quote in quotes(own=False)])
    assert own.mean() >= 0.5
    assert other.mean() <= 0.08


@pytest.mark.parametrize("question", UNANSWERABLE)
def test_what_no_section_answers_is_refused_with_the_best_guess_named(question: str) -> None:
    quote = quote_answer(question, list(SECTIONS.values()), EMBEDDER)
    assert quote is not None
    assert not quote.accepted
    assert quote.text in quote.evidence.text


@pytest.mark.parametrize(
    ("question", "intent"),
    [
        ("How do I activate my new card?", "activate_my_card"),
        ("Do you support Apple Pay?", "apple_pay_or_google_pay"),
        ("I lost my phone", "lost_or_stolen_phone"),
        ("How can I close my account?", "terminate_account"),
    ],
)
def test_the_right_section_among_many_is_quoted_to_the_letter(question: str, intent: str) -> None:
    others = [SECTIONS[name] for name in ("age_limit", "exchange_rate", "pending_top_up", "receiving_money")]
    quote = quote_answer(question, [*others, SECTIONS[intent]], EMBEDDER)
    assert quote is not None
    assert quote.accepted
    assert quote.evidence == SECTIONS[intent]
    assert quote.evidence.text[quote.start : quote.end] == quote.text
    assert quote == quote_answer(question, [*others, SECTIONS[intent]], EMBEDDER)


def test_a_question_without_words_or_evidence_without_sentences_gives_no_quote() -> None:
    assert quote_answer("?", [SECTIONS["age_limit"]], EMBEDDER) is None
    assert quote_answer("How old?", [], EMBEDDER) is None
    assert quote_answer("How old?", [Evidence("a", "a", "  \n")], EMBEDDER) is None


PIECES = st.lists(
    st.sampled_from(
        [
            "The fee is 1.50 euros.",
            "Ask Dr. Lee!",
            "Why?",
            "- a list item",
            "# Title\n",
            "no end",
            "\n\n",
            "e.g. this one.",
            "…",
            "Ü",
        ]
    ),
    max_size=12,
).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(st.one_of(PIECES, st.text(max_size=120)), st.integers(1, 4))
def test_sentences_and_summaries_are_the_texts_own_words_in_order(text: str, most: int) -> None:
    found = split_sentences(text)
    assert all(text[sentence.start : sentence.end] == sentence.text for sentence in found)
    assert all(a.end <= b.start for a, b in pairwise(found))
    summary = summarise(text, EMBEDDER, sentences=most)
    assert len(summary.sentences) == min(most, len(found))
    assert [sentence for sentence in found if sentence in summary.sentences] == list(summary.sentences)
    assert 0 <= summary.coverage <= 1


@given(PIECES, st.sampled_from(["What is the fee?", "who is Lee", "?", ""]))
def test_a_quote_always_stands_in_its_evidence(text: str, question: str) -> None:
    quote = quote_answer(question, [Evidence("1", "a#fees", text), Evidence("2", "b", text)], EMBEDDER)
    if quote is not None:
        assert quote.text
        assert quote.evidence.text[quote.start : quote.end] == quote.text
        assert 0 <= quote.confidence <= 1


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Mr. Smith paid 3.50 on 4 pm. He left.", ["Mr. Smith paid 3.50 on 4 pm.", "He left."]),
        ("See e.g. the list. It is long!", ["See e.g. the list.", "It is long!"]),
        ("J. Doe wrote this. Why? No idea.", ["J. Doe wrote this.", "Why?", "No idea."]),
        ("# Title\nFirst\nline goes on. Second.", ["First\nline goes on.", "Second."]),
        ("Items:\n- one\n- two", ["Items:", "- one", "- two"]),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, sentences: list[str]) -> None:
    assert [sentence.text for sentence in split_sentences(text)] == sentences


def test_a_summary_leaves_out_greetings_and_repetition() -> None:
    text = (
        "Hello there. I ordered a physical card three weeks ago and it has not arrived. My card, ordered three weeks "
        "ago, still has not arrived. I also noticed a fee of two pounds that nobody explained. Kind regards."
    )
    chosen = [sentence.text for sentence in summarise(text, EMBEDDER, sentences=2).sentences]
    assert len(chosen) == 2
    assert any("fee of two pounds" in sentence for sentence in chosen)
    assert any("has not arrived" in sentence for sentence in chosen)
