"""`Vectors`: an embedder whose vectors are checked before they are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..configs.errors import ConfigError
from .base import Embedder
from .search.words import words

__all__ = ["Matrix", "Vectors", "mismatch"]

Matrix = NDArray[np.float32]
Vector = NDArray[np.float32]


class Vectors:
    """The vectors of an embedder, checked to be finite and of its dimensions, and scaled to length 1.

    Args:
        embedder: Makes them.

    Raises:
        ConfigError: The embedder lacks an attribute of `Embedder`. From each method: it returns an invalid vector, or
            not one vector per text.
    """

    def __init__(self, embedder: Embedder) -> None:
        # By `dir`, since reading `dimensions` may ask the model.
        if missing := [name for name in ("model_id", "dimensions") if name not in dir(embedder)]:
            raise ConfigError(
                f"{type(embedder).__name__} cannot be an embedder, as it has no {' and no '.join(missing)}: give it "
                "model_id, a name of its model and version, and dimensions, the length of its vectors"
            )
        self._embedder = embedder
        self.model_id = embedder.model_id

    @property
    def dimensions(self) -> int:
        """Length of a vector; some embedders have to ask their model for it."""
        return self._embedder.dimensions

    def suppose(self, found: tuple[str, int]) -> None:
        """Tell the embedder its dimensions if the stored vectors are its own, so that it need not ask its model.

        Args:
            found: Name and dimensions of the embedder that made what is there.
        """
        suppose = getattr(self._embedder, "suppose", None)
        if suppose is not None and found[0] == self.model_id:
            suppose(found[1])

    def of(self, texts: Sequence[str]) -> Matrix:
        """Return the vectors of texts, one per row, in order; a text that occurs twice is embedded once."""
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        vectors = self._embedder.embed_documents(list(places)) if places else []
        if len(vectors) != len(places):
            raise self._misfit(f"gave {len(vectors)} vectors for {len(places)} texts")
        return self._checked(vectors)[[places[text] for text in texts]]

    def of_query(self, query: str) -> Vector:
        """Return the vector of a question."""
        vector: Vector = self._checked([self._embedder.embed_query(query)])[0]
        return vector

    def of_question(self, query: str, weigh: Callable[[str], float]) -> Vector:
        """Return the vector of a question; if the embedder averages words, each word counts by its weight.

        Args:
            query: The question.
            weigh: Returns the weight of a word.
        """
        weighted = getattr(self._embedder, "embed_weighted", None)
        listed = words(query)
        if weighted is None or not listed:
            return self.of_query(query)
        vector: Vector = self._checked([weighted(listed, [weigh(word) for word in listed])])[0]
        return vector

    @property
    def average_words(self) -> bool:
        """Whether they are averages of word vectors: the embedder can weigh the words of a question."""
        return hasattr(self._embedder, "embed_weighted")

    def near(self, listed: Sequence[str]) -> Sequence[Sequence[tuple[str, float]]]:
        """Return for each word the words of similar meaning, with their similarity, 0 to 1; none if it knows none."""
        near = getattr(self._embedder, "near", None)
        return near(listed) if near is not None else [()] * len(listed)

    def clear(self) -> None:
        """Make the embedder drop its cache of texts, if it has one."""
        clear = getattr(self._embedder, "clear", None)
        if clear is not None:
            clear()

    def check(self, where: Path | None, found: tuple[str, int]) -> None:
        """Reject vectors of another embedder; another process may have re-embedded the memory in the meantime.

        Args:
            where: The memory's file.
            found: Name and dimensions of the embedder that made what is there.
        """
        if found != (self.model_id, self.dimensions):
            raise mismatch(str(where), found, (self.model_id, self.dimensions))

    def _checked(self, vectors: Sequence[Sequence[float]]) -> Matrix:
        dimensions = self.dimensions
        for vector in vectors:
            if len(vector) != dimensions:
                raise self._misfit(f"gave a vector of {len(vector)} dimensions, not {dimensions}")
        rows = np.array(vectors, np.float64).reshape(-1, dimensions)
        if not np.isfinite(rows).all():
            raise self._misfit("gave a vector with an infinite or undefined number")
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        # A text without words has the zero vector, whose cosine with every vector is 0.
        return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)

    def _misfit(self, what: str) -> ConfigError:
        return ConfigError(f"embedder {self._embedder.model_id!r} {what}: mend or replace it")


def mismatch(where: str, found: tuple[Any, Any], wanted: tuple[Any, Any]) -> ConfigError:
    """Return the error for a memory that was filled by another embedder.

    Args:
        where: The memory.
        found: Name and dimensions of the embedder it was filled with.
        wanted: Those of the one it is opened with.
    """
    return ConfigError(
        f"{where} holds vectors of embedder {found[0]!r} with {found[1]} dimensions, not {wanted[0]!r} with "
        f"{wanted[1]}: use that embedder, or embed all of it anew by 'pointsman memory reindex'"
    )
