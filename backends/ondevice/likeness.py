"""Similarity of texts by their vectors, characters and words, and the mix of these that suits the examples best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .calibrate import fit_temperature, softmax
from .ridge import fit_ridge

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

__all__ = ["PENALTY", "Examples", "Mix", "choose_mix", "spread"]

PENALTY = 0.08
"""Penalty of the ridge regression. It and gamma were chosen on BANKING77; results barely change around them."""
_GAMMA = 1.5
# With fewer examples the usual mix is a better guess than a fitted one; more than the maximum would take too long.
_FEWEST, _MOST = 50, 2500


@dataclass(frozen=True, slots=True)
class Mix:
    """The weights of three similarities in a mix; they add up to 1."""

    vectors: float
    characters: float
    words: float

    def kernel(
        self, vectors: NDArray[np.floating], characters: NDArray[np.floating], words: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Return the Gaussian kernel of unit vectors from their inner products: exp(-gamma |a-b|^2 / 2)."""
        mixed = self.vectors * vectors + self.characters * characters + self.words * words
        kernel: NDArray[np.floating] = np.exp(_GAMMA * (mixed - 1))
        return kernel


_USUAL = Mix(0.8, 0.2, 0.0)
_MIXES = (
    _USUAL,
    Mix(0.9, 0.05, 0.05),
    Mix(0.7, 0.15, 0.15),
    Mix(0.6, 0.1, 0.3),
    Mix(0.6, 0.2, 0.2),
    Mix(0.5, 0.4, 0.1),
    Mix(0.4, 0.3, 0.3),
)


@dataclass(frozen=True, eq=False)
class Examples:
    """The distinct texts to learn from.

    Attributes:
        vectors: Unit vectors, one row per text.
        characters: Weights of the character n-grams, one row of unit length per text.
        words: Weights of the word n-grams, likewise.
        told: How often each text has each label.
    """

    vectors: NDArray[np.float32]
    characters: csr_array
    words: csr_array
    told: NDArray[np.float64]

    def kernel(self, mix: Mix, centres: Sequence[int]) -> Callable[[Sequence[int]], NDArray[np.float64]]:
        """Return a function that computes the kernel of the texts at some indices against the centres."""
        vectors = self.vectors[centres]
        characters, words = self.characters[centres].T.tocsr(), self.words[centres].T.tocsr()

        def kernel(block: Sequence[int]) -> NDArray[np.float64]:
            places = list(block)
            alike = mix.kernel(
                (self.vectors[places] @ vectors.T).astype(np.float64),
                (self.characters[places] @ characters).toarray(),
                (self.words[places] @ words).toarray(),
            )
            return alike.astype(np.float64, copy=False)

        return kernel

    def fit(self, mix: Mix, centres: Sequence[int]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Fit the labels; see `fit_ridge`."""
        counts = self.told.sum(axis=1)
        wanted = self.told / counts[:, None] - 1 / self.told.shape[1]
        return fit_ridge(self.kernel(mix, centres), centres, wanted, counts, PENALTY)

    def judged(self, without: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
        """Return leave-one-out scores with the right label of each, once per text and label.

        Copies count once, since the hundredth copy of a text is no evidence about another text.
        """
        judged, truth = np.nonzero(self.told)
        return without[judged].astype(np.float64), truth

    def part(self, places: Sequence[int]) -> Examples:
        """Return the texts at some indices, with only the labels that they have."""
        told = self.told[places]
        kept = told[:, told.any(axis=0)]
        return Examples(self.vectors[places], self.characters[places], self.words[places], kept)


def choose_mix(examples: Examples) -> Mix:
    """Choose the mix with the highest leave-one-out likelihood of the texts' labels.

    If there are many, all examples of some labels are tried rather than some examples of all labels, because how much
    words contribute depends on the number of examples per label.
    """
    if len(examples.told) < _FEWEST:
        return _USUAL
    tried = examples.part(_some(examples.told.argmax(axis=1)))
    places = range(len(tried.told))

    def likelihood(mix: Mix) -> float:
        _, without = tried.fit(mix, places)
        scores, truth = tried.judged(without)
        chances = softmax(scores / fit_temperature(scores, truth))[np.arange(len(truth)), truth]
        return float(np.log(np.maximum(chances, 1e-9)).mean())

    return max(_MIXES, key=likelihood)


def _some(labels: NDArray[np.int_]) -> list[int]:
    """Return the indices of texts to choose a mix on: those of every n-th label, at least two labels, up to `_MOST`."""
    numbers = np.unique(labels)
    step = max(1, min(-(-len(labels) // _MOST), len(numbers) // 2))
    places = np.flatnonzero(np.isin(labels, numbers[::step]))
    return [int(places[place]) for place in spread(labels[places], _MOST)]


def spread(numbers: Iterable[int], most: int) -> list[int]:
    """Choose at most `most` indices, spread over the labels as evenly as possible."""
    seen: Counter[int] = Counter()
    ranked = []
    for place, number in enumerate(numbers):
        ranked.append((seen[number], place))
        seen[number] += 1
    return sorted(place for _, place in sorted(ranked)[:most])
