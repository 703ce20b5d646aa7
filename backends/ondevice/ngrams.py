"""N-grams of characters and words with TF-IDF weights; they catch spelling, names and phrases that vectors miss."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

__all__ = ["NgramIndex", "array_to_strings", "characters", "strings_to_array", "words"]

Count = Callable[[str], Counter[str]]

_SHORTEST, _LONGEST = 3, 5
# In scripts without spaces two characters are often a word; in Latin script they say little and cost the most time.
_SHORTEST_ELSEWHERE = 2
# An n-gram seen in only one text tells nothing about others and would double the table.
_RAREST = 2
_WORD = re.compile(r"\w+")


def characters(text: str) -> Counter[str]:
    """Count runs of 3 to 5 characters within words, and of 2 in words beyond ASCII."""
    runs: list[str] = []
    for word in unicodedata.normalize("NFKC", text).casefold().split():
        padded = f" {word} "
        shortest = _SHORTEST if word.isascii() else _SHORTEST_ELSEWHERE
        for size in range(shortest, _LONGEST + 1):
            runs += [padded[i : i + size] for i in range(len(padded) - size + 1)]
    return Counter(runs)


def words(text: str) -> Counter[str]:
    """Count words and pairs of adjacent words."""
    found = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return Counter([*found, *(f"{first} {second}" for first, second in pairwise(found))])


@dataclass(frozen=True, eq=False)
class NgramIndex:
    """Cosine similarity of a text to each indexed text, over n-grams.

    Weights are (1 + log count) * (log((1 + texts) / (1 + texts with it)) + 1), scaled to unit length. The postings of
    all n-grams are in two flat arrays; `starts` holds where each n-gram's begin, by its number in `grams`.
    """

    count: Count
    grams: Mapping[str, int]
    idf: NDArray[np.float64]
    starts: NDArray[np.int64]
    places: NDArray[np.int32]
    posting_weights: NDArray[np.float64]
    texts: int

    @classmethod
    def build(cls, count: Count, texts: Sequence[str], indexed: Sequence[int]) -> tuple[NgramIndex, csr_array]:
        """Compute n-gram weights over all texts and index some of the texts.

        Args:
            count: `characters` or `words`.
            texts: The texts in which n-grams are counted.
            indexed: Indices of the texts to index; `similarities` returns one value for each, in this order.

        Returns:
            The index, and the weights of every text's n-grams, of shape (texts, n-grams).
        """
        from scipy.sparse import csr_array

        # Count twice rather than store the counts: for 10,000 sentences they take 200 MB.
        found: Counter[str] = Counter()
        for text in texts:
            found.update(count(text).keys())
        kept = sorted(gram for gram, seen in found.items() if seen >= _RAREST)
        grams = {gram: number for number, gram in enumerate(kept)}
        idf = np.array([math.log((1 + len(texts)) / (1 + found[gram])) + 1 for gram in grams])
        columns, weights, ends = array("i"), array("d"), [0]
        for text in texts:
            for number, weight in _weigh(count(text), grams, idf):
                columns.append(number)
                weights.append(weight)
            ends.append(len(columns))
        # Copy, because an empty array("i") has no buffer to view.
        shape = (len(texts), len(grams))
        table = csr_array((np.array(weights), np.array(columns, dtype=np.int32), np.array(ends)), shape=shape)
        by_gram = table[list(indexed)].tocsc()
        starts, places = by_gram.indptr.astype(np.int64), by_gram.indices.astype(np.int32)
        return cls(count, grams, idf, starts, places, by_gram.data, len(indexed)), table

    def similarities(self, text: str) -> NDArray[np.float64]:
        """Return the cosine similarity of a text to each indexed text."""
        weighed = _weigh(self.count(text), self.grams, self.idf)
        if not weighed:
            return np.zeros(self.texts)
        numbers = np.array([number for number, _ in weighed])
        first, lengths = self.starts[numbers], self.starts[numbers + 1] - self.starts[numbers]
        # Positions of all postings of all n-grams of the text, as one flat index.
        flat = np.arange(lengths.sum()) + np.repeat(first - np.cumsum(lengths) + lengths, lengths)
        own = np.repeat(np.array([weight for _, weight in weighed]), lengths)
        places, products = self.places[flat], self.posting_weights[flat] * own
        return np.bincount(places, weights=products, minlength=self.texts).astype(np.float64, copy=False)

    def arrays(self) -> dict[str, Any]:
        """Return the arrays from which `from_arrays` rebuilds the index, with names prefixed by what is counted."""
        kept = {**vars(self), "grams": strings_to_array(list(self.grams)), "texts": np.array(self.texts)}
        return {f"{self.count.__name__}_{name}": kept[name] for name in _KEPT}

    @classmethod
    def from_arrays(cls, count: Count, stored: Mapping[str, Any]) -> NgramIndex:
        """Rebuild an index from the arrays of `arrays`."""
        kept = {name: stored[f"{count.__name__}_{name}"] for name in _KEPT}
        grams = {gram: number for number, gram in enumerate(array_to_strings(kept["grams"]))}
        return cls(**{**kept, "count": count, "grams": grams, "texts": int(kept["texts"])})


_KEPT = [field.name for field in fields(NgramIndex) if field.name != "count"]


def strings_to_array(strings: Sequence[str]) -> NDArray[np.uint8]:
    """Encode strings as JSON bytes, because an array of strings loses trailing NULs."""
    written = json.dumps(list(strings), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return np.frombuffer(written, dtype=np.uint8)


def array_to_strings(stored: NDArray[np.uint8]) -> list[str]:
    """Decode an array made by `strings_to_array`."""
    return [str(string) for string in json.loads(stored.tobytes().decode("utf-8", "surrogatepass"))]


def _weigh(count: Counter[str], numbers: Mapping[str, int], idf: NDArray[np.float64]) -> list[tuple[int, float]]:
    known = [(numbers[gram], seen) for gram, seen in count.items() if gram in numbers]
    raw = [(number, (1 + math.log(seen)) * float(idf[number])) for number, seen in known]
    length = math.sqrt(sum(weight * weight for _, weight in raw))
    return [(number, weight / length) for number, weight in raw] if length else []
