"""Summarise by choosing sentences, so that a summary says nothing that the text does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .sentences import Sentence, split_sentences

if TYPE_CHECKING:
    from .embedder import Embedder

__all__ = ["Summary", "summarise"]

# Weight of novelty against the chosen sentences in a sentence's score (Carbonell and Goldstein 1998, lambda = 0.5).
_NOVELTY = 0.5
# News and mail put the important points first: the first sentence gains this much, the n-th 1/n of it.
_LEAD = 0.15
# Shorter sentences ("Hi Anna.", "Best regards.") and short lines without end punctuation (titles) carry no content.
_FEWEST_WORDS, _FEWEST_UNENDED = 4, 9


@dataclass(frozen=True, slots=True)
class Summary:
    """Sentences of a text, verbatim and in its order.

    Attributes:
        sentences: The chosen sentences, with their positions in the text.
        coverage: Mean similarity of each sentence of the text to the nearest chosen one, 0 to 1.
    """

    sentences: tuple[Sentence, ...]
    coverage: float

    @property
    def text(self) -> str:
        """Return the sentences, joined by spaces."""
        return " ".join(sentence.text for sentence in self.sentences)


def summarise(text: str, embedder: Embedder, *, sentences: int = 3) -> Summary:
    """Choose the sentences that best represent a text.

    Sentences are ranked by degree centrality (Erkan and Radev 2004, section 3.1, without a cut-off) and position, and
    chosen one by one by maximal marginal relevance.

    Args:
        text: What to summarise.
        embedder: Source of the sentence vectors.
        sentences: Maximum number to choose, at least 1.
    """
    if sentences < 1:
        raise ValueError("a summary has at least one sentence")
    found = split_sentences(text)
    if len(found) <= sentences:
        return Summary(tuple(found), 1.0 if found else 0.0)
    vectors = np.asarray(embedder.embed_documents([sentence.text for sentence in found]), dtype=np.float64)
    centrality = vectors @ vectors.mean(axis=0)
    rank = centrality / (centrality.max() or 1) + _LEAD / np.arange(1, len(found) + 1)
    rank[[not _stands_alone(sentence.text) for sentence in found]] -= 1
    chosen: list[int] = []
    nearest = np.full(len(found), -1.0)
    for _ in range(sentences):
        novelty = 1 - np.maximum(nearest, 0)
        score = (1 - _NOVELTY) * rank + _NOVELTY * novelty
        score[chosen] = -np.inf
        chosen.append(int(score.argmax()))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    coverage = float(np.clip(nearest, 0, 1).mean())
    return Summary(tuple(found[place] for place in sorted(chosen)), coverage)


def _stands_alone(sentence: str) -> bool:
    ended = sentence.rstrip("\"'”’)]")[-1:] in (".", "!", "?", "…")
    return len(sentence.split()) >= (_FEWEST_WORDS if ended else _FEWEST_UNENDED)
