"""Answer a question with sentences quoted from evidence, and report if the evidence does not answer it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .calibrate import softmax
from .schema import spoken
from .sentences import Sentence, content_words, split_sentences, stem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...configs.evidence import Evidence
    from .embedder import Embedder

__all__ = ["Quote", "answer_features", "quote_answer"]

# Weights of `answer_features` and the constant: a conditional logit with a "none of these" option, fitted by
# `examples/support_desk/measure.py --fit` on questions with and without their own passage among the evidence.
WEIGHTS = (1.74, 2.72, 3.38, -2.54)
CONSTANT = -3.13
_LONGEST_QUOTE = 3


@dataclass(frozen=True, slots=True)
class Quote:
    """Consecutive sentences of one passage.

    Attributes:
        text: The sentences, verbatim: ``evidence.text[start:end]``.
        evidence: The passage quoted.
        start: Where the quote begins in the passage.
        end: Where the quote ends in it.
        confidence: Calibrated probability that this passage, among those given, answers the question.
        accepted: Whether the confidence reaches the threshold.
    """

    text: str
    evidence: Evidence
    start: int
    end: int
    confidence: float
    accepted: bool


def quote_answer(
    question: str, evidence: Sequence[Evidence], embedder: Embedder, *, threshold: float = 0.5
) -> Quote | None:
    """Quote the sentences that best answer a question.

    Args:
        question: The question, without the evidence.
        evidence: The passages that may be quoted.
        embedder: Source of the vectors.
        threshold: Minimum confidence to accept.

    Returns:
        The best quote, or None if there is no sentence to quote or the question has no content words.
    """
    passages = [(one, split_sentences(one.text)) for one in evidence]
    passages = [(one, sentences) for one, sentences in passages if sentences]
    if not passages or not content_words(question):
        return None
    texts, titles = [one.text for one, _ in passages], [_title(one) for one, _ in passages]
    features = answer_features(question, texts, titles, embedder)
    # The last option, with score zero, is that none of the passages answers.
    chances = softmax(np.append(features @ np.array(WEIGHTS) + CONSTANT, 0.0))[:-1]
    best = int(chances.argmax())
    passage, sentences = passages[best]
    first, last = _window(question, passage.text, _body(passage.text, sentences), embedder)
    confidence = float(chances[best])
    return Quote(
        passage.text[first.start : last.end],
        passage,
        first.start,
        last.end,
        confidence,
        confidence >= threshold,
    )


def answer_features(
    question: str, passages: Sequence[str], titles: Sequence[str], embedder: Embedder
) -> NDArray[np.float64]:
    """Measure how each passage fits a question.

    Args:
        question: The question.
        passages: Texts with at least one sentence each.
        titles: The title of each passage, empty if unknown.
        embedder: Source of the vectors.

    Returns:
        Shape (passages, 4): cosine of the nearest sentence or the title; cosine of the title, or of the first
        sentence if there is no title; mean over the question's words of the nearest word's cosine; 1 / (1 + number
        of the question's words).
    """
    asked = np.asarray(embedder.embed_query(question))
    wanted = sorted(content_words(question))
    wanted_vectors = np.asarray(embedder.embed_documents(wanted)).reshape(len(wanted), -1)
    rows = []
    for passage, title in zip(passages, titles, strict=True):
        units = [title] * bool(title) + [sentence.text for sentence in split_sentences(passage)]
        cosines = np.asarray(embedder.embed_documents(units)) @ asked
        found = sorted(content_words(f"{title} {passage}"))
        recall = 0.0
        if wanted and found:
            near = wanted_vectors @ np.asarray(embedder.embed_documents(found)).T
            # Stems have no good vectors, so whole words are compared, and words with equal stems count as equal.
            stems = np.array([stem(word) for word in found])
            same = np.array([stem(word) for word in wanted])[:, None] == stems[None, :]
            recall = float(np.where(same, 1.0, near).max(axis=1).clip(0).mean())
        rows.append([cosines.max(), cosines[0], recall, 1 / (1 + len(wanted))])
    return np.array(rows, dtype=np.float64).reshape(len(passages), 4)


def _title(evidence: Evidence) -> str:
    """Return a passage's title: its Markdown heading, or the fragment of its source after ``#``."""
    heading = re.match(r"\s*#{1,6} ([^\n]+)", evidence.text)
    return heading.group(1) if heading else spoken(evidence.source.partition("#")[2])


def _body(passage: str, sentences: list[Sentence]) -> list[Sentence]:
    """Drop a plain title line, which answers nothing, unless it is the only sentence."""
    titled = sentences[0].text[-1] not in ".!?…\"'”’)" and passage[sentences[0].end :].startswith("\n")
    return sentences[1:] if titled and len(sentences) > 1 else sentences


def _window(
    question: str, passage: str, sentences: Sequence[Sentence], embedder: Embedder
) -> tuple[Sentence, Sentence]:
    """Choose the run of sentences nearest to the question as a whole."""
    runs = [
        (first, sentences[last])
        for place, first in enumerate(sentences)
        for last in range(place, min(place + _LONGEST_QUOTE, len(sentences)))
    ]
    vectors = np.asarray(embedder.embed_documents([passage[a.start : b.end] for a, b in runs]))
    return runs[int((vectors @ np.asarray(embedder.embed_query(question))).argmax())]
