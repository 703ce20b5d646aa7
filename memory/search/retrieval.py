"""Rank items for a question by words and meaning together.

Two pools are drawn, the best by BM25 and the nearest by cosine. Over both, each of the two scores is converted to
standard deviations from the pool's mean, and the two are added; using ranks alone would lose how far an item stands
out. If the embedder knows words of similar meaning, a similar word in an item counts for a word of the question, with
less weight. The items written directly before and after an item from the same source (neighbouring turns, or passages
of one section) add part of their own scores, because an answer is often one line away from the words of the question.
The best item of the document or conversation adds to the score too, because a passage seldom repeats the topic of the
whole. What each adds depends on whether the vectors are averages of word vectors. If a question names a person, items
written by that person gain, because what is asked about someone is spread over many of their items, few of which repeat
the words of the question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..base import Ranking
from .mirror import Mirror
from .postings import Held, idf
from .words import each_term, is_content, terms
from .words import words as words_of

__all__ = ["AVERAGED", "CONTEXTUAL", "Ranked", "Weights", "diverse", "ranked", "rarity"]

_POOL = 100
_FLOOR = -1.0  # lower bound in standard deviations: how far an item is below that carries no information
_NAMED = 1.5  # what an item gains if the question names its author
_STOP_WEIGHT = 1.0  # about the rarity of a word that is in every third item


class Weights(NamedTuple):
    """How much each part of a rank counts, chosen on LoCoMo's turns and on passages of documents.

    Attributes:
        cosine: The weight of the cosine, if the words have 1.
        beside: The shares that the scores of the items one and two places away add, for each `Kind` in its order.
        document: The share that the score of the best item of its document adds.
    """

    cosine: float
    beside: tuple[tuple[float, float], ...]
    document: float


AVERAGED = Weights(0.6, ((0.2, 0.1), (0.4, 0.3), (0.4, 0.3)), 0.5)
"""For averages of word vectors, which add little to near words, and do not tell a passage's topic by themselves."""

CONTEXTUAL = Weights(1.0, ((0.1, 0.05), (0.1, 0.05), (0.4, 0.3)), 0.75)
"""For the vectors of a model that reads a whole text; only the short turns of a conversation need their neighbours."""


class Ranked(NamedTuple):
    """Items for a question, best first.

    Attributes:
        slots: Their places in the arrays.
        scores: How well each item answers by itself, 0 to 1: ``1 - (1 - cosine) * (1 - words)``, where a negative
            cosine counts as 0, and ``words`` is the BM25 score as a share of the score of an item with every word.
        parts: The components of each item's rank, under the names of `pointsman.memory.Parts`.
    """

    slots: NDArray[np.int64]
    scores: NDArray[np.float32]
    parts: dict[str, NDArray[np.float32]]

    def at(self, places: NDArray[Any]) -> Ranked:
        """Return the items at some places, or those of a mask, in that order."""
        return Ranked(self.slots[places], self.scores[places], {n: part[places] for n, part in self.parts.items()})


def rarity(held: Held, question: str) -> Callable[[str], float]:
    """Return a function that returns the weight of a word of the question: how rare it is among the items."""
    listed = words_of(question)
    stems = each_term(listed)
    holding = dict(zip(listed, held.holding(stems), strict=True))

    def weigh(word: str) -> float:
        return idf(held.among, holding[word]) if is_content(word) else _STOP_WEIGHT

    return weigh


def ranked(
    mirror: Mirror,
    question: str,
    mask: NDArray[np.bool_],
    held: Held,
    limit: int,
    cosines_with: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    ranking: Ranking,
    near: Callable[[Sequence[str]], Sequence[Sequence[tuple[str, float]]]],
    weights: Weights,
) -> Ranked:
    """Rank the items of a mask, at least ``limit`` of them if there are that many.

    Args:
        mirror: The items.
        question: The question.
        mask: Which items may be found.
        held: Their words.
        limit: How many are wanted.
        cosines_with: Returns the cosine of each slot, given the slots that must be included.
        ranking: What else to rank by.
        near: Returns for each word the words of similar meaning, with their similarity.
        weights: How much each part counts.
    """
    words, wide, whole = held.scores(list(dict.fromkeys(terms(question))), _near(question, near))
    size = min(max(_POOL, limit), held.among)
    by_words = _best(wide, size)
    by_words = by_words[wide[by_words] > 0]
    cosines = cosines_with(by_words)
    by_cosine = _best(cosines, size)
    pool = np.union1d(by_words, by_cosine[mask[by_cosine]])
    if not len(pool):
        return Ranked(pool, np.empty(0, np.float32), {})
    reach = len(weights.beside[0])
    beside = mirror.beside(pool, reach, mask)
    slots = np.union1d(pool, beside[beside >= 0])
    if len(slots) > len(pool):
        beside = mirror.beside(slots, reach, mask)

    def stands_out(slots: NDArray[np.int64]) -> NDArray[np.float32]:
        return _deviations(wide, pool, slots) + weights.cosine * _deviations(cosines, pool, slots)

    shares = np.repeat(np.array(weights.beside)[mirror.kinds(slots)], 2, axis=1)
    own = stands_out(slots)
    parts = {
        "own": own,
        "beside": np.asarray((shares * np.where(beside >= 0, stands_out(beside), 0)).sum(axis=1), np.float32),
        "document": weights.document * _best_of_each(mirror.documents(slots), own),
    }
    parts["author"] = np.asarray(_NAMED * mirror.by_named(question, slots), np.float32)
    parts |= _optional(mirror, slots, ranking)
    total = np.sum(list(parts.values()), axis=0)
    share = np.minimum(words[slots] / whole, 1) if whole else np.zeros(len(slots), np.float32)
    parts |= {"total": total, "meaning": cosines[slots], "words": share}
    scores = 1 - (1 - np.clip(cosines[slots], 0, 1)) * (1 - share)
    return Ranked(slots, scores, parts).at(np.argsort(-total, kind="stable"))


def diverse(found: Ranked, vectors: NDArray[np.float32], limit: int, diversity: float) -> Ranked:
    """Choose items one by one, weighing each item's rank against its similarity to those already chosen.

    Args:
        found: The items.
        vectors: Their unit vectors.
        limit: How many to choose.
        diversity: See `pointsman.memory.Ranking`.
    """
    total = found.parts["total"]
    worth = (1 - diversity) * (total - total.min()) / (float(np.ptp(total)) or 1.0)
    likeness = np.zeros(len(worth), np.float32)
    chosen: list[int] = []
    for _ in range(min(limit, len(worth))):
        gain = worth - diversity * likeness
        gain[chosen] = -np.inf
        best = int(np.argmax(gain))
        chosen.append(best)
        np.maximum(likeness, vectors @ vectors[best], out=likeness)
    return found.at(np.array(chosen, np.int64))


def _optional(mirror: Mirror, slots: NDArray[np.int64], ranking: Ranking) -> dict[str, NDArray[np.float32]]:
    """Return the parts of a rank that count only if a caller wants them."""
    parts = {}
    if ranking.recency:
        halves = mirror.ages(slots) / ranking.half_life.total_seconds()
        parts["recency"] = np.asarray(ranking.recency * 0.5**halves, np.float32)
    if ranking.importance:
        importance = np.clip(mirror.numbers_in("importance", slots), 0, 1)
        parts["importance"] = np.asarray(ranking.importance * importance, np.float32)
    return parts


def _near(
    question: str, near: Callable[[Sequence[str]], Sequence[Sequence[tuple[str, float]]]]
) -> dict[int, list[tuple[int, float]]]:
    """Return the similar words of each word of a question, all as stems."""
    content = [word for word in reversed(words_of(question)) if is_content(word)]
    asked = dict(zip(each_term(content), content, strict=True))
    listed = [[each for each in some if is_content(each[0])] for some in near(list(asked.values()))]
    others = dict.fromkeys(word for some in listed for word, _ in some)
    stems = dict(zip(others, each_term(list(others)), strict=True))
    found: dict[int, list[tuple[int, float]]] = {}
    for stem, some in zip(asked, listed, strict=True):
        # Reversed, so that the nearest form of a word, which comes first, overwrites the others.
        shares = {stems[word]: share for word, share in reversed(some)}
        found[stem] = [(other, share) for other, share in shares.items() if other != stem]
    return found


def _best_of_each(groups: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return for each item the highest score in its group."""
    _, places = np.unique(groups, return_inverse=True)
    best = np.full(len(scores), -np.inf, np.float32)
    np.maximum.at(best, places, scores)
    return best[places]


def _best(scores: NDArray[np.float32], size: int) -> NDArray[np.int64]:
    if size >= len(scores):
        return np.arange(len(scores))
    return np.argpartition(-scores, size)[:size]


def _deviations(scores: NDArray[np.float32], pool: NDArray[np.int64], slots: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return how many standard deviations scores are above the mean of a pool, at least `_FLOOR`."""
    among = scores[pool]
    spread = float(among.std())
    if spread < 1e-9:
        return np.zeros(slots.shape, np.float32)
    return np.asarray(np.maximum((scores[slots] - among.mean()) / spread, _FLOOR), np.float32)
