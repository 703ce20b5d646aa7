"""The default embedder: WordLlama's token vectors, averaged; its wheel contains the weights and the tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from langchain_core.embeddings import Embeddings

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Embedder", "WordLlamaEmbeddings", "unit_rows"]

_NEAR = 10  # maximum number of near words per word
_LIKE = 0.3  # minimum cosine of near words: "sound" and "noise" have 0.56, "forbid" and "allow" 0.39
_SHORT = 64  # leading dimensions, which roughly show what is near, at a quarter of the cost
_ROUGHLY = 64
_AT_ONCE = 64  # words compared in one product, of 2.7 MB; a text of megabytes has more words than that
_CACHED = 5_000


class Embedder(Protocol):
    """The embedder interface of the on-device algorithms: LangChain's `Embeddings` plus a name for caches."""

    model_id: str
    dimensions: int

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed many texts, one vector a text."""

    def embed_query(self, text: str) -> list[float]:
        """Embed one text."""


class WordLlamaEmbeddings(Embeddings):
    """Embed text on the CPU at about 20,000 texts a second, without a key and without a download.

    Vectors have unit length; a text with no tokens gets the zero vector. The same text gets the same vector
    whether it is embedded alone or in a batch. Weights load on first use, once per process.

    Attributes:
        model_id: Name to store with vectors, to distinguish them from another model's.
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
        """Embed a question whose words have different weights.

        Args:
            words: The words.
            weights: The weight of each word.
        """
        out = np.zeros((1, self.dimensions), dtype=np.float32)
        for word, weight in zip(words, weights, strict=True):
            out[0] += weight * _vector(word)
        row: list[float] = unit_rows(out)[0].tolist()
        return row

    def near(self, words: Sequence[str]) -> list[tuple[tuple[str, float], ...]]:
        """Find words of similar meaning, for a word search in texts that may use other words.

        Args:
            words: The words.

        Returns:
            For each word, the nearest words of the vocabulary, nearest first, with a similarity above 0 and at most 1.
        """
        found = {word: listed for word in words if (listed := _met.get(word)) is not None}
        fresh = list(dict.fromkeys(word for word in words if word not in found))
        for start in range(0, len(fresh), _AT_ONCE):
            some = fresh[start : start + _AT_ONCE]
            found.update(zip(some, _nearest(some), strict=True))
        if len(_met) + len(fresh) > _CACHED:
            _met.clear()
        _met.update((word, found[word]) for word in fresh[:_CACHED])
        return [found[word] for word in words]

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed many texts into one array of shape (len(texts), dimensions)."""
        table, tokenizer = _weights()
        out = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, encoding in enumerate(
            tokenizer.encode_batch([_whole(text) for text in texts], add_special_tokens=False)
        ):
            if encoding.ids:
                # The same as `mean`, without its per-array overhead.
                out[row] = np.add.reduce(table.take(encoding.ids, axis=0), axis=0) / np.float32(len(encoding.ids))
        return unit_rows(out)

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a text in WordLlama's own tokenizer."""
        return len(_weights()[1].encode(_whole(text), add_special_tokens=False).ids)


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row to length 1 and leave zero rows zero."""
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return np.asarray(rows / np.where(norms > 0, norms, 1), dtype=np.float32)


def _whole(text: str) -> str:
    """Replace a lone surrogate, which JSON may contain, by a question mark, since the tokenizer rejects it."""
    return text.encode("utf-8", "replace").decode("utf-8")


# Two first callers may both load the weights; a lock would stay held in a child forked meanwhile.
@cache
def _weights() -> tuple[NDArray[np.float32], Any]:
    """Return the token vectors and the tokenizer, loading them once per process."""
    from pathlib import Path

    # Importing wordllama calls logging.basicConfig, which does nothing if the root logger has a handler.
    root, shield = logging.getLogger(), logging.NullHandler()
    root.addHandler(shield)
    try:
        import wordllama
    finally:
        root.removeHandler(shield)
    # Without cache_dir it looks for the tokenizer outside its wheel and would download it.
    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    # Padding would make a vector depend on its neighbours in the batch.
    model.tokenizer.no_padding()
    return model.embedding, model.tokenizer


@cache
def _vocabulary() -> tuple[list[str], NDArray[np.float32], NDArray[np.float32]]:
    """Return the single-token words, their unit vectors, and the vectors' leading dimensions, one column per word."""
    table, tokenizer = _weights()
    tokens: dict[str, int] = {}
    for token, number in sorted(tokenizer.get_vocab().items(), key=lambda each: each[1]):
        word = token[1:]
        # The mark begins a word; shorter ones are mostly parts of words in other languages.
        if token[0] == "\u2581" and len(word) > 2 and word.isascii() and word.isalpha():
            tokens.setdefault(word.lower(), number)
    vectors = unit_rows(table[list(tokens.values())])
    return list(tokens), vectors, np.ascontiguousarray(vectors[:, :_SHORT].T)


_met: dict[str, tuple[tuple[str, float], ...]] = {}  # near words of words already looked up; a fork copies it whole


# Questions repeat words; encoding a single word avoids the thread overhead of a batch.
@lru_cache(maxsize=_CACHED)
def _vector(word: str) -> NDArray[np.float32]:
    """Return the sum of the vectors of a word's tokens."""
    table, tokenizer = _weights()
    return np.asarray(table[tokenizer.encode(_whole(word), add_special_tokens=False).ids].sum(axis=0), np.float32)


def _nearest(words: Sequence[str]) -> list[tuple[tuple[str, float], ...]]:
    """Return the near words of each word, comparing all words with the vocabulary in one product."""
    listed, vectors, short = _vocabulary()
    wanted = unit_rows(np.stack([_vector(word) for word in words]))
    roughly = wanted[:, :_SHORT] @ short
    found = []
    for word, vector, some in zip(words, wanted, np.argpartition(-roughly, _ROUGHLY)[:, :_ROUGHLY], strict=True):
        likeness = (vectors[some] @ vector - _LIKE) / (1 - _LIKE)
        some, likeness = some[likeness > 0], likeness[likeness > 0]
        best = [place for place in np.argsort(-likeness).tolist() if listed[some[place]] != word]
        found.append(tuple((listed[some[place]], min(float(likeness[place]), 1.0)) for place in best[:_NEAR]))
    return found
