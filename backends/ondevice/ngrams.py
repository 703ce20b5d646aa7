"""Character n-grams with TF-IDF weights: what sentence vectors miss, spelling and rare names."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NgramIndex"]

_SHORTEST, _LONGEST = 3, 5
# An n-gram seen in one text tells nothing about another and would double the table.
_RAREST = 2


def _count(text: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for word in unicodedata.normalize("NFKC", text).casefold().split():
        padded = f" {word} "
        for size in range(_SHORTEST, _LONGEST + 1):
            counts.update(padded[i : i + size] for i in range(len(padded) - size + 1))
    return counts


class NgramIndex:
    """Cosine similarity of a text to each indexed text, over n-grams of 3 to 5 characters within words.

    Weights are (1 + log count) * (log((1 + texts) / (1 + texts with it)) + 1), scaled to unit length. Postings
    of all n-grams lie in two flat arrays; `starts` says where each n-gram's begin.
    """

    def __init__(
        self,
        grams: NDArray[np.str_],
        idf: NDArray[np.float64],
        starts: NDArray[np.int64],
        places: NDArray[np.int64],
        weights: NDArray[np.float64],
        texts: int,
    ) -> None:
        self._grams, self._idf, self._starts, self._places, self._weights = grams, idf, starts, places, weights
        self._texts = texts
        self._numbers = {str(gram): number for number, gram in enumerate(grams)}

    @classmethod
    def build(cls, texts: Sequence[str]) -> NgramIndex:
        """Index texts; a similarity is later given for each, in their order."""
        counts = [_count(text) for text in texts]
        found = Counter(gram for count in counts for gram in count)
        grams = sorted(gram for gram, seen in found.items() if seen >= _RAREST)
        numbers = {gram: number for number, gram in enumerate(grams)}
        idf = np.array([math.log((1 + len(texts)) / (1 + found[gram])) + 1 for gram in grams])
        postings: list[tuple[int, int, float]] = []
        for place, count in enumerate(counts):
            weighed = _weigh(count, numbers, idf)
            postings.extend((number, place, weight) for number, weight in weighed)
        postings.sort()
        table = np.array(postings, dtype=np.float64).reshape(-1, 3)
        starts = np.searchsorted(table[:, 0], np.arange(len(grams) + 1)).astype(np.int64)
        # The dtype is given because an empty list would become floats.
        return cls(
            np.array(grams, dtype=f"<U{_LONGEST}"),
            idf,
            starts,
            table[:, 1].astype(np.int64),
            table[:, 2].copy(),
            len(texts),
        )

    def similarities(self, text: str) -> NDArray[np.float64]:
        """Return the cosine similarity of a text to each indexed text."""
        weighed = _weigh(_count(text), self._numbers, self._idf)
        if not weighed:
            return np.zeros(self._texts)
        numbers = np.array([number for number, _ in weighed])
        first, lengths = self._starts[numbers], self._starts[numbers + 1] - self._starts[numbers]
        # Positions of all postings of all n-grams of the text, as one flat index.
        flat = np.arange(lengths.sum()) + np.repeat(first - np.cumsum(lengths) + lengths, lengths)
        own = np.repeat(np.array([weight for _, weight in weighed]), lengths)
        places, products = self._places[flat], self._weights[flat] * own
        return np.bincount(places, weights=products, minlength=self._texts).astype(np.float64, copy=False)

    def gram(self) -> NDArray[np.float64]:
        """Return the similarity of each indexed text to each, of shape (texts, texts)."""
        from scipy.sparse import csc_array

        matrix = csc_array((self._weights, self._places, self._starts), shape=(self._texts, len(self._grams)))
        square: NDArray[np.float64] = (matrix @ matrix.T).toarray()
        return square

    def arrays(self) -> dict[str, Any]:
        """Return what `from_arrays` rebuilds the index from."""
        return {
            "grams": self._grams,
            "idf": self._idf,
            "starts": self._starts,
            "places": self._places,
            "posting_weights": self._weights,
            "texts": np.array(self._texts),
        }

    @classmethod
    def from_arrays(cls, stored: Mapping[str, Any]) -> NgramIndex:
        """Rebuild an index from the arrays of `arrays`."""
        return cls(
            stored["grams"],
            stored["idf"],
            stored["starts"],
            stored["places"],
            stored["posting_weights"],
            int(stored["texts"]),
        )


def _weigh(count: Counter[str], numbers: Mapping[str, int], idf: NDArray[np.float64]) -> list[tuple[int, float]]:
    known = [(numbers[gram], seen) for gram, seen in count.items() if gram in numbers]
    raw = [(number, (1 + math.log(seen)) * float(idf[number])) for number, seen in known]
    length = math.sqrt(sum(weight * weight for _, weight in raw))
    return [(number, weight / length) for number, weight in raw] if length else []
