"""The words of shared memory: the embedder it is handed, where an item came from, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

from ..configs.evidence import Evidence
from ..configs.words import Trust

__all__ = ["Embedder", "Note", "Parts", "Provenance", "Ranking", "Recalled", "Reranker", "Version"]


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors; a LangChain ``Embeddings`` with the two attributes fits.

    Attributes:
        model_id: Names the model and version; vectors of two ids are never mixed in one collection.
        dimensions: Length of every vector.
    """

    model_id: str
    dimensions: int

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector a text, in order, each ``dimensions`` long."""
        ...

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question, ``dimensions`` long."""
        ...


class Reranker(Protocol):
    """Reads a question together with each passage, which tells more than comparing their vectors, and costs more."""

    def score(self, query: str, texts: list[str]) -> list[float]:
        """Return how well each text answers, higher is better, in their order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """What counts in a recall beside meaning and words; by default nothing does.

    Weights are in standard deviations of the fused score: 1 moves an item about as far as a good match of words.

    Attributes:
        recency: What an item written now gains; one that is ``half_life`` old gains half of it.
        half_life: See ``recency``.
        importance: What an item gains whose value has an ``importance`` of 1; a number between 0 and 1 is scaled.
        diversity: How much an item loses for being like one that stands before it, 0 to 1 (maximal marginal
            relevance: Carbonell & Goldstein, SIGIR 1998, with lambda as ``1 - diversity``).
        reranker: Orders the best ``rerank`` items anew.
        rerank: How many items the reranker reads.
    """

    recency: float = 0.0
    half_life: timedelta = timedelta(days=30)
    importance: float = 0.0
    diversity: float = 0.0
    reranker: Reranker | None = None
    rerank: int = 20

    def __post_init__(self) -> None:
        """Refuse what ranks nothing.

        Raises:
            ValueError: If a number is outside its range.
        """
        if not 0 <= self.diversity <= 1:
            raise ValueError(f"diversity is between 0 and 1, not {self.diversity}")
        if self.half_life <= timedelta(0) or self.rerank < 1:
            raise ValueError("half_life and rerank must be above zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Why an item was found: the parts of its place.

    Attributes:
        meaning: Cosine of its vector and the question's.
        words: Its BM25 score as a share of what an item with every word of the question would get.
        matched: Words of the question that stand in it, by their stems.
        own: What meaning and words add up to, in standard deviations above the mean of the pool.
        beside: What the items written right before and after it from the same source add.
        document: What the best item of the same document or conversation adds.
        author: What it gains where the question names who wrote it.
        recency: What its age adds.
        importance: What its importance adds.
        reranked: The reranker's score; None if none was asked about it.
        total: The sum by which it was ordered before diversity and the reranker.
    """

    meaning: float
    words: float
    matched: tuple[str, ...]
    own: float
    beside: float
    document: float
    author: float
    recency: float
    importance: float
    reranked: float | None
    total: float


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a remembered text came from, kept on every item.

    Attributes:
        source: The document, address or tool it was read from; empty if none.
        author: Name of the agent that wrote it down.
        run: Id of the run in which it was written; empty if none.
        trust: The lowest trust that was in view when it was written.
        lineage: Ids of the items it was made from.
        model: The model that wrote it.
        step: The step of the run in which it was written.
        tool: The tool whose result it is.
        span: First and last line, or character, of the source; None for all of it.
    """

    source: str
    author: str
    run: str
    trust: Trust
    lineage: tuple[str, ...] = ()
    model: str = ""
    step: str = ""
    tool: str = ""
    span: tuple[int, int] | None = None

    @classmethod
    def unknown(cls) -> Provenance:
        """Return what a plain ``put`` gets: nobody vouched for it."""
        return cls(source="", author="unknown", run="", trust=Trust.UNTRUSTED)

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Provenance:
        """Read one that `dataclasses.asdict` and JSON made plain values of."""
        trust, lineage, span = Trust(about["trust"]), tuple(about["lineage"]), about["span"]
        return cls(**{**about, "trust": trust, "lineage": lineage, "span": span and (int(span[0]), int(span[1]))})


@dataclass(frozen=True, slots=True)
class Note:
    """One text to remember.

    Attributes:
        text: The passage; it alone is embedded.
        provenance: Where it came from.
        key: The slot it replaces; None gives every distinct text a slot of its own.
        metadata: Further JSON fields of the item's value, open to `search` filters.
        subject: What it says something about. With ``attribute`` and without a key, it supersedes what was said of
            the two before, unless that is trusted further.
        attribute: What it says of its subject, such as ``opening hours``.
    """

    text: str
    provenance: Provenance
    key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    subject: str = ""
    attribute: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """What an item said for a time.

    Attributes:
        value: The whole value.
        writers: Everyone who wrote it, oldest first.
        trust: How far it was trusted.
        written: When it was last written, in seconds since 1970.
        replaced: When another text took its place; None for what it says now.
    """

    value: dict[str, Any]
    writers: tuple[Provenance, ...]
    trust: Trust
    written: float
    replaced: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled(Evidence):
    """A remembered item as evidence for a prompt: its id is unique in the tenant, its trust the lowest of its writers.

    Attributes:
        score: Relevance in 0..1 (see `pointsman.memory.retrieval`); None when it was fetched by id.
        namespace: The namespace it lies in.
        key: Its key there.
        value: The whole stored value.
        writers: Everyone who wrote this very text, oldest first.
        lineage: Ids of the items it was made from, over all writers.
        parts: Why it was found, where a recall was asked to explain.
        later: Ids of items found with it that say the same with another value, and were written later.
    """

    score: float | None
    namespace: tuple[str, ...]
    key: str
    value: dict[str, Any]
    writers: tuple[Provenance, ...]
    lineage: tuple[str, ...]
    parts: Parts | None = None
    later: tuple[str, ...] = ()
