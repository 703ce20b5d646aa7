"""`Vectors`: an embedder whose answers are checked before anything is kept under them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..configs.errors import ConfigError
from .base import Embedder

__all__ = ["Vectors"]


class Vectors:
    """The vectors of an embedder, each of its dimensions and finite.

    Args:
        embedder: Makes them.

    Raises:
        ConfigError: From each method: the embedder gave what is no such vector, or not one a text.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.dimensions = embedder.dimensions

    def of(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of texts, in their order; a text that stands twice is embedded once."""
        distinct = list(dict.fromkeys(texts))
        vectors = self._embedder.embed_documents(distinct) if distinct else []
        if len(vectors) != len(distinct):
            raise self._misfit(f"gave {len(vectors)} vectors for {len(distinct)} texts")
        by_text = dict(zip(distinct, map(self._checked, vectors), strict=True))
        return [by_text[text] for text in texts]

    def of_query(self, query: str) -> list[float]:
        """The vector of a question."""
        return self._checked(self._embedder.embed_query(query))

    def _checked(self, vector: Sequence[float]) -> list[float]:
        listed = [float(x) for x in vector]
        if len(listed) != self.dimensions:
            raise self._misfit(f"gave a vector of {len(listed)} dimensions, not {self.dimensions}")
        if not all(map(math.isfinite, listed)):
            raise self._misfit("gave a vector with an infinite or undefined number")
        return listed

    def _misfit(self, what: str) -> ConfigError:
        return ConfigError(f"embedder {self._embedder.model_id!r} {what}: mend or replace it")
