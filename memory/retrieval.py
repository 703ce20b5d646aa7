"""Fuse nearness of meaning with sameness of words, so that an exact code in a question is found.

Every score lies in 0..1 and never below the plain cosine: ``1 - (1 - cosine) * (1 - keywords)``, where a negative
cosine counts as 0. ``keywords`` is the BM25 score as a share of what a passage with every word of the question would
get; where the question names codes, holding them makes up `CODE_SHARE` of it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

__all__ = ["CODE_SHARE", "code_terms", "fuse", "keyword_scores"]

# Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), section 3.5: the usual values.
_K1 = 1.2
_B = 0.75

CODE_SHARE = 0.8
"""What the exact codes of a question are worth beside its other words: more than all but the nearest paraphrase."""

_MAX_CODES = 8
_WORD = re.compile(r"[^\W_]+(?:[-_./:@#][^\W_]+)*")
_JOINER = re.compile(r"[-_./:@#]")


def fuse(query: str, passages: Sequence[tuple[str, float]]) -> list[float]:
    """Score passages for a question by words and meaning together.

    Args:
        query: The question.
        passages: Text and cosine (-1..1) of each candidate.

    Returns:
        One score in 0..1 a passage, in order.
    """
    keywords = keyword_scores(query, [text for text, _ in passages])
    return [
        1 - (1 - min(max(cosine, 0.0), 1.0)) * (1 - keyword)
        for (_, cosine), keyword in zip(passages, keywords, strict=True)
    ]


def keyword_scores(query: str, texts: Sequence[str]) -> list[float]:
    """Score texts by the question's words, 0 for none of them and 1 for all.

    Word rarity is counted over ``texts`` alone, since Chroma keeps no statistics of words.
    """
    wanted = set(_terms(query))
    codes = {code.lower() for code in code_terms(query)}
    bags = [Counter(_terms(text)) for text in texts]
    if not wanted or not bags:
        return [0.0] * len(bags)
    mean_length = sum(bag.total() for bag in bags) / len(bags) or 1.0
    found = {term: sum(term in bag for bag in bags) for term in wanted}
    rarity = {term: math.log(1 + (len(bags) - n + 0.5) / (n + 0.5)) for term, n in found.items()}
    whole = sum(rarity.values())
    scores = []
    for bag in bags:
        damping = _K1 * (1 - _B + _B * bag.total() / mean_length)
        bm25 = sum(rarity[t] * bag[t] * (_K1 + 1) / (bag[t] + damping) for t in wanted if t in bag)
        share = min(bm25 / whole, 1.0)
        held = sum(code in bag for code in codes) / len(codes) if codes else 0.0
        scores.append(CODE_SHARE * held + (1 - CODE_SHARE) * share if codes else share)
    return scores


def code_terms(query: str) -> list[str]:
    """Pick a question's words that name something exactly: with a digit (``ERR-4417``) or in capitals (``SEPA``)."""
    words = (word for word in _WORD.findall(query) if len(word) >= 3)
    codes = (word for word in words if any(map(str.isdigit, word)) or word.isupper())
    return list(dict.fromkeys(codes))[:_MAX_CODES]


def _terms(text: str) -> Iterator[str]:
    for word in _WORD.findall(text.lower()):
        yield word
        parts = _JOINER.split(word)
        if len(parts) > 1:
            yield from parts
