"""The default embedder: WordLlama's token vectors, averaged; weights and tokenizer come inside its wheel."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from langchain_core.embeddings import Embeddings

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Embedder", "WordLlamaEmbeddings", "unit_rows"]


class Embedder(Protocol):
    """What the on-device algorithms ask of an embedder; LangChain's `Embeddings` plus a name for caches."""

    model_id: str
    dimensions: int

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed many texts, one vector a text."""

    def embed_query(self, text: str) -> list[float]:
        """Embed one text."""


class WordLlamaEmbeddings(Embeddings):
    """Embed text on the processor at some 20,000 texts a second, without a key and without a download.

    Vectors have unit length; a text with no tokens gets the zero vector. The same text gets the same vector
    whether it is embedded alone or among others. Weights load on first use, once for the process.

    Attributes:
        model_id: Name to record beside stored vectors, so that vectors of another model are told apart.
        dimensions: Length of a vector.
    """

    model_id: str = "wordllama-256"
    dimensions: int = 256

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed many texts, one vector a text."""
        rows: list[list[float]] = self.vectors(texts).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """Embed one text."""
        return self.embed_documents([text])[0]

    def embed_weighted(self, words: Sequence[str], weights: Sequence[float]) -> list[float]:
        """Embed a question of which some words tell more than others.

        Args:
            words: The words.
            weights: How much each counts.
        """
        table, tokenizer = _weights()
        encodings = tokenizer.encode_batch([_whole(word) for word in words], add_special_tokens=False)
        out = np.zeros((1, self.dimensions), dtype=np.float32)
        for encoding, weight in zip(encodings, weights, strict=True):
            out[0] += weight * table[encoding.ids].sum(axis=0)
        row: list[float] = unit_rows(out)[0].tolist()
        return row

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed many texts into one array of shape (len(texts), dimensions)."""
        table, tokenizer = _weights()
        out = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, encoding in enumerate(
            tokenizer.encode_batch([_whole(text) for text in texts], add_special_tokens=False)
        ):
            if encoding.ids:
                out[row] = table[encoding.ids].mean(axis=0)
        return unit_rows(out)

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a text in WordLlama's own tokenizer."""
        return len(_weights()[1].encode(_whole(text), add_special_tokens=False).ids)


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row to length 1 and leave zero rows zero."""
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return np.asarray(rows / np.where(norms > 0, norms, 1), dtype=np.float32)


def _whole(text: str) -> str:
    """Replace half a surrogate pair, as JSON may bring it, by a question mark: the tokenizer refuses it."""
    return text.encode("utf-8", "replace").decode("utf-8")


# Two threads that come first may both load them; a lock would stay held in a child forked meanwhile.
@cache
def _weights() -> tuple[NDArray[np.float32], Any]:
    """Return the token vectors and the tokenizer, loading them once for the process."""
    from pathlib import Path

    # Importing wordllama calls logging.basicConfig, which leaves a root logger alone that has a handler.
    root, shield = logging.getLogger(), logging.NullHandler()
    root.addHandler(shield)
    try:
        import wordllama
    finally:
        root.removeHandler(shield)
    # Without cache_dir it looks for the tokenizer outside its wheel and would fetch it.
    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    # Padding would make a vector depend on its neighbours in the batch.
    model.tokenizer.no_padding()
    return model.embedding, model.tokenizer
