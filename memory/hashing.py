"""An offline stand-in for an embedder: no model, no download, the same vectors on every machine."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from hashlib import blake2b

import numpy as np

__all__ = ["HashingEmbedder"]


class HashingEmbedder:
    """Embed texts by hashing their words and letter trigrams, for tests that need vectors but no meaning.

    Texts that share words lie close together; synonyms do not. Signed feature hashing after Weinberger et al.,
    "Feature Hashing for Large Scale Multitask Learning", ICML 2009.

    Args:
        dimensions: Length of the vectors.
    """

    def __init__(self, dimensions: int = 64) -> None:
        self.dimensions = dimensions
        self.model_id = f"hashing-{dimensions}"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one unit vector per text; a text without words gets the zero vector."""
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Return the unit vector of one text."""
        weights: defaultdict[str, float] = defaultdict(float)
        for word, count in Counter(re.findall(r"\w+", text.lower())).items():
            weights[word] += count
            padded = f"<{word}>"
            for start in range(len(padded) - 2):
                weights[padded[start : start + 3]] += 0.25 * count
        vector = np.zeros(self.dimensions)
        for feature, weight in weights.items():
            self._add(vector, feature, weight)
        length = float(np.linalg.norm(vector))
        return [float(x) for x in (vector / length if length else vector)]

    def _add(self, vector: np.ndarray[tuple[int, ...], np.dtype[np.float64]], feature: str, weight: float) -> None:
        digest = int.from_bytes(blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
        vector[digest % self.dimensions] += weight if digest >> 63 else -weight
