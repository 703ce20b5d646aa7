"""Which items contain a word, and how well items match the words of a question (BM25)."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

__all__ = ["Held", "Postings", "idf"]

# Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), section 3.5. Memories are
# short, so they need less weight on repetition and length than the usual 1.2 and 0.75 (measured on LoCoMo's turns).
_K1 = 0.6
_B = 0.4

Slots = NDArray[np.int64]
Mask = NDArray[np.bool_]


def idf(among: int, holding: int) -> float:
    """Return the inverse document frequency of a word in ``holding`` of ``among`` items (ibid., section 3.1; >= 0)."""
    return math.log(1 + (among - holding + 0.5) / (holding + 0.5))


class Postings:
    """The places of every word: a sorted array from loading, plus a list per word for items added since.

    A place is an item's slot times 256 plus the number of times the word occurs in the item.
    """

    def __init__(self) -> None:
        self._words = np.empty(0, np.uint32)
        self._places = np.empty(0, np.int64)
        self._since: dict[int, array[int]] = {}
        self._lengths = np.zeros(1024, np.int32)

    def load(self, slots: NDArray[np.int64], counts: NDArray[np.uint32]) -> None:
        """Load the words of many items at once, replacing all present ones.

        Args:
            slots: The slot of each row of ``counts``.
            counts: One word and its number of occurrences per row.
        """
        # A word and its row packed into one number: sorting numbers is several times as fast as sorting rows by a key.
        order = np.sort(counts[:, 0].astype(np.uint64) << np.uint64(32) | np.arange(len(counts), dtype=np.uint64))
        self._words = (order >> np.uint64(32)).astype(np.uint32)
        self._places = (slots << 8 | counts[:, 1])[order.astype(np.uint32)]
        self._since = {}
        lengths = np.bincount(slots, counts[:, 1])
        self._room(len(lengths))
        self._lengths[:] = 0
        self._lengths[: len(lengths)] = lengths

    def add(self, slot: int, counts: NDArray[np.uint32]) -> None:
        """Add the words of one more item."""
        self._room(slot + 1)
        self._lengths[slot] = counts[:, 1].sum()
        for word, count in counts.tolist():
            self._since.setdefault(word, array("q")).append(slot << 8 | count)

    def under(self, mask: Mask) -> Held:
        """Return the words of the items of a mask, which must not change while the result is in use."""
        return Held(self, mask)

    def places(self, words: Sequence[int]) -> list[NDArray[np.int64]]:
        """Return the places of each word."""
        codes = np.array(words, np.uint32)
        low, high = (np.searchsorted(self._words, codes, side).tolist() for side in ("left", "right"))
        found = [self._places[start:end] for start, end in zip(low, high, strict=True)]
        for number, word in enumerate(words):
            if word in self._since:
                found[number] = np.concatenate([found[number], np.frombuffer(self._since[word], np.int64)])
        return found

    def lengths(self, count: int) -> NDArray[np.int32]:
        """Return the number of words of each of the first ``count`` slots."""
        return self._lengths[:count]

    def _room(self, count: int) -> None:
        if count > len(self._lengths):
            grown = np.zeros(max(count, 2 * len(self._lengths)), np.int32)
            grown[: len(self._lengths)] = self._lengths
            self._lengths = grown


class Held:
    """The words of the items of a mask, each looked up once.

    Attributes:
        among: The number of these items.

    Args:
        postings: All places.
        mask: Which slots count.
    """

    def __init__(self, postings: Postings, mask: Mask) -> None:
        self._postings, self._mask = postings, mask
        self.among = int(np.count_nonzero(mask))
        self._found: dict[int, tuple[Slots, Slots]] = {}

    def holding(self, words: Sequence[int]) -> list[int]:
        """Return how many items contain each word."""
        return [len(slots) for slots, _ in self._of(words)]

    def scores(
        self, words: Sequence[int], near: Mapping[int, Sequence[tuple[int, float]]] = MappingProxyType({})
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """Score every slot for the words of a question; a word's rarity is computed among the items of the mask.

        Args:
            words: The question's words, each once.
            near: Similar words that can substitute for a word of the question, with the similarity of each, 0 to 1.

        Returns:
            One score per slot, 0 if no word matches; the same scores with near words counted; and the score of a short
            item that has every word once.
        """
        mask, among = self._mask, self.among
        scores, wide, best = (np.zeros(len(mask), np.float32) for _ in range(3))
        lengths = self._postings.lengths(len(mask))
        mean = float(np.dot(lengths, mask)) / among if among else 1.0

        def gains(slots: Slots, often: Slots) -> NDArray[np.float64]:
            damping = _K1 * (1 - _B + _B * lengths[slots] / (mean or 1.0))
            gained: NDArray[np.float64] = often * (_K1 + 1) / (often + damping)
            return gained

        # Looking all words up together costs little more than looking up one.
        self._of([*words, *(other for word in words for other, _ in near.get(word, ()))])
        whole = 0.0
        for word in words:
            slots, often = self._found[word]
            rarity = idf(among, len(slots))
            whole += rarity
            touched = [slots]
            if len(slots):
                best[slots] = rarity * gains(slots, often)
                scores[slots] += best[slots]
            for other, share in near.get(word, ()):
                slots, often = self._found[other]
                if len(slots):
                    # A rarer substitute counts no more than the word it stands for.
                    tells = share * min(rarity, idf(among, len(slots)))
                    best[slots] = np.maximum(best[slots], tells * gains(slots, often))
                    touched.append(slots)
            for slots in touched:
                # A slot that two of them share is added the first time and is zero the second time.
                wide[slots] += best[slots]
                best[slots] = 0
        return scores, wide, whole

    def _of(self, words: Sequence[int]) -> list[tuple[Slots, Slots]]:
        fresh = [word for word in dict.fromkeys(words) if word not in self._found]
        for word, places in zip(fresh, self._postings.places(fresh), strict=True):
            slots = places >> 8
            kept = self._mask[slots]
            often = places & 255
            self._found[word] = (slots, often) if kept.all() else (slots[kept], often[kept])
        return [self._found[word] for word in words]
