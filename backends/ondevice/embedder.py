"""The default embedder: WordLlama's token vectors, averaged; weights and tokenizer come inside its wheel."""

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

_NEAR = 10  # words that are near a word, at most
_LIKE = 0.3  # the cosine from which on a word is near another: "sound" and "noise" have 0.56, "forbid" "allow" 0.39
_SHORT = 64  # the first dimensions tell roughly what is near, at a quarter of the cost
_ROUGHLY = 64
_AT_ONCE = 64  # words compared in one product, of 2.7 MB; a text of megabytes has more
_CACHED = 5_000


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
        out = np.zeros((1, self.dimensions), dtype=np.float32)
        for word, weight in zip(words, weights, strict=True):
            out[0] += weight * _vector(word)
        row: list[float] = unit_rows(out)[0].tolist()
        return row

    def near(self, words: Sequence[str]) -> list[tuple[tuple[str, float], ...]]:
        """Find words of like meaning, for a search by words that other people may have put otherwise.

        Args:
            words: The words.

        Returns:
            For each word some of the vocabulary, nearest first, each with how near it is, above 0 and at most 1.
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
                # What `mean` does, without what it asks of each array it is given.
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


@cache
def _vocabulary() -> tuple[list[str], NDArray[np.float32], NDArray[np.float32]]:
    """Return the words that are one token each, their unit vectors, and the beginnings of these, a word a column."""
    table, tokenizer = _weights()
    tokens: dict[str, int] = {}
    for token, number in sorted(tokenizer.get_vocab().items(), key=lambda each: each[1]):
        word = token[1:]
        # The mark begins a word; shorter ones are mostly parts of words in other languages.
        if token[0] == "\u2581" and len(word) > 2 and word.isascii() and word.isalpha():
            tokens.setdefault(word.lower(), number)
    vectors = unit_rows(table[list(tokens.values())])
    return list(tokens), vectors, np.ascontiguousarray(vectors[:, :_SHORT].T)


_met: dict[str, tuple[tuple[str, float], ...]] = {}  # what is near words that were asked for; a fork copies it whole


# Questions repeat words; one alone is encoded without the threads that a batch costs.
@lru_cache(maxsize=_CACHED)
def _vector(word: str) -> NDArray[np.float32]:
    """Return the sum of the vectors of a word's tokens."""
    table, tokenizer = _weights()
    return np.asarray(table[tokenizer.encode(_whole(word), add_special_tokens=False).ids].sum(axis=0), np.float32)


def _nearest(words: Sequence[str]) -> list[tuple[tuple[str, float], ...]]:
    """Return the words that are near each of some, comparing all of these with the vocabulary in one product."""
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
