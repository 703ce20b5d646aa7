"""Which items hold a word, and how well items answer the words of a question (BM25)."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

__all__ = ["Postings", "idf"]

# Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), section 3.5. Short items, as
# memories are, want less weight on length and on repetition than the usual 1.2 and 0.75 (measured on LoCoMo's turns).
_K1 = 0.6
_B = 0.4

Slots = NDArray[np.int64]
Mask = NDArray[np.bool_]

_NONE = np.empty(0, np.int64)


def idf(among: int, holding: int) -> float:
    """Return how much a word tells that so many of so many items hold (ibid., section 3.1, never below zero)."""
    return math.log(1 + (among - holding + 0.5) / (holding + 0.5))


class Postings:
    """The places of every word: a sorted array as it was loaded, and what came since, word by word.

    A place is an item's slot times 256 plus how often the word stands there.
    """

    def __init__(self) -> None:
        self._words = np.empty(0, np.uint32)
        self._places = np.empty(0, np.int64)
        self._since: dict[int, array[int]] = {}
        self._lengths = np.zeros(1024, np.int32)

    def load(self, slots: NDArray[np.int64], counts: NDArray[np.uint32]) -> None:
        """Take the words of many items at once, in place of all there are.

        Args:
            slots: The slot of each row of ``counts``.
            counts: A word and how often it stands there, one a row.
        """
        order = np.argsort(counts[:, 0], kind="stable")
        self._words = np.ascontiguousarray(counts[order, 0])
        self._places = (slots << 8 | counts[:, 1])[order]
        self._since = {}
        lengths = np.bincount(slots, counts[:, 1])
        self._room(len(lengths))
        self._lengths[:] = 0
        self._lengths[: len(lengths)] = lengths

    def add(self, slot: int, counts: NDArray[np.uint32]) -> None:
        """Take the words of one more item."""
        self._room(slot + 1)
        self._lengths[slot] = counts[:, 1].sum()
        for word, count in counts.tolist():
            self._since.setdefault(word, array("q")).append(slot << 8 | count)

    def places(self, word: int, mask: Mask) -> tuple[Slots, Slots]:
        """Return the slots within a mask that hold a word, and how often each does."""
        return self._held(word, mask, *self._ranges([word])[0])

    def _ranges(self, words: Sequence[int]) -> list[tuple[int, int]]:
        """Return where the places of each word begin and end among those that were loaded."""
        codes = np.array(words, np.uint32)
        low, high = (np.searchsorted(self._words, codes, side).tolist() for side in ("left", "right"))
        return list(zip(low, high, strict=True))

    def _held(self, word: int, mask: Mask, low: int, high: int) -> tuple[Slots, Slots]:
        found = self._places[low:high]
        if word in self._since:
            found = np.concatenate([found, np.frombuffer(self._since[word], np.int64)])
        slots = found >> 8
        kept = mask[slots]
        return slots[kept], (found & 255)[kept]

    def scores(
        self,
        words: Sequence[int],
        mask: Mask,
        among: int,
        near: Mapping[int, Sequence[tuple[int, float]]] = MappingProxyType({}),
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """Score every slot for the words of a question.

        Args:
            words: The question's words, each once.
            mask: Which slots count; the rarity of a word is taken among them.
            among: How many that are.
            near: Words that stand for a word of the question where they stand alone, with how far each does, 0 to 1.

        Returns:
            A score a slot, 0 without a common word; the same where near words count; and the score of a short item
            that has every word once.
        """
        scores, wide = np.zeros(len(mask), np.float32), np.zeros(len(mask), np.float32)
        lengths = self._lengths[: len(mask)]
        mean = float(np.dot(lengths, mask)) / among if among else 1.0

        def gains(slots: Slots, often: Slots) -> NDArray[np.float64]:
            damping = _K1 * (1 - _B + _B * lengths[slots] / (mean or 1.0))
            gained: NDArray[np.float64] = often * (_K1 + 1) / (often + damping)
            return gained

        every = list(dict.fromkeys([*words, *(other for word in words for other, _ in near.get(word, ()))]))
        ranges = {
            word: (low, high)
            for word, (low, high) in zip(every, self._ranges(every), strict=True)
            if low < high or word in self._since
        }
        whole = 0.0
        for word in words:
            slots, often = self._held(word, mask, *ranges.get(word, (0, 0)))
            rarity = idf(among, len(slots))
            whole += rarity
            best = np.zeros(len(mask), np.float32)
            if len(slots):
                best[slots] = rarity * gains(slots, often)
                scores += best
            for other, share in near.get(word, ()):
                slots, often = self._held(other, mask, *ranges[other]) if other in ranges else (_NONE, _NONE)
                if len(slots):
                    # A rarer word that stands for one tells no more than the one itself.
                    tells = share * min(rarity, idf(among, len(slots)))
                    best[slots] = np.maximum(best[slots], tells * gains(slots, often))
            wide += best
        return scores, wide, whole

    def _room(self, count: int) -> None:
        if count > len(self._lengths):
            grown = np.zeros(max(count, 2 * len(self._lengths)), np.int32)
            grown[: len(self._lengths)] = self._lengths
            self._lengths = grown
