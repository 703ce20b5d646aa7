"""The data types of shared memory: the embedder protocol, an item's provenance, and the results of a recall."""

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
        """Return one vector per text, in order, each ``dimensions`` long."""
        ...

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question, ``dimensions`` long."""
        ...


class Reranker(Protocol):
    """Reads the question together with each passage: more accurate than comparing vectors, and more expensive."""

    def score(self, query: str, texts: list[str]) -> list[float]:
        """Return a score for how well each text answers the query, in the order of the texts; higher is better."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """What a recall ranks by in addition to meaning and words; by default, nothing.

    Weights are in standard deviations of the fused score: a weight of 1 counts about as much as a good word match.

    Attributes:
        recency: What an item written now gains; an item that is ``half_life`` old gains half as much.
        half_life: See ``recency``.
        importance: What an item gains if its value has an ``importance`` of 1; it is scaled for numbers between 0 and
            1.
        diversity: How much an item loses for being similar to one ranked above it, 0 to 1 (maximal marginal relevance:
            Carbonell & Goldstein, SIGIR 1998, with lambda as ``1 - diversity``).
        reranker: Reorders the best ``rerank`` items.
        rerank: How many items the reranker reads.
    """

    recency: float = 0.0
    half_life: timedelta = timedelta(days=30)
    importance: float = 0.0
    diversity: float = 0.0
    reranker: Reranker | None = None
    rerank: int = 20

    def __post_init__(self) -> None:
        """Check that the numbers are in range.

        Raises:
            ValueError: If a number is outside its range.
        """
        if not 0 <= self.diversity <= 1:
            raise ValueError(f"diversity is between 0 and 1, not {self.diversity}")
        if self.half_life <= timedelta(0) or self.rerank < 1:
            raise ValueError("half_life and rerank must be above zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Why an item was found: the components of its rank.

    Attributes:
        meaning: Cosine of its vector and the question's.
        words: Its BM25 score, as a share of the score of an item that has every word of the question.
        matched: Words of the question that occur in it, compared by their stems.
        own: The sum of meaning and words, in standard deviations above the mean of the pool.
        beside: What the items written right before and after it from the same source add.
        document: What the best item of the same document or conversation adds.
        author: What it gains if the question names its author.
        recency: What its age adds.
        importance: What its importance adds.
        reranked: The reranker's score; None if no reranker scored it.
        total: The sum that items were sorted by, before diversity and the reranker.
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
        author: Name of the agent that wrote it.
        run: Id of the run in which it was written; empty if none.
        trust: The lowest trust of anything in the writer's context at the time.
        lineage: Ids of the items it was made from.
        model: The model that wrote it.
        step: The step of the run in which it was written.
        tool: The tool that returned it.
        span: First and last line, or character, of the source; None for all of it.
        document: The file it is a passage of, as an absolute path, so that the file's next version supersedes it; empty
            for all other texts.
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
    document: str = ""

    @classmethod
    def unknown(cls) -> Provenance:
        """Return the provenance of a plain ``put``, which nobody vouches for."""
        return cls(source="", author="unknown", run="", trust=Trust.UNTRUSTED)

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Provenance:
        """Build one from the mapping that `dataclasses.asdict` and JSON produced."""
        trust, lineage, span = Trust(about["trust"]), tuple(about["lineage"]), about["span"]
        return cls(**{**about, "trust": trust, "lineage": lineage, "span": span and (int(span[0]), int(span[1]))})


@dataclass(frozen=True, slots=True)
class Note:
    """One text to remember.

    Attributes:
        text: The passage; only this is embedded.
        provenance: Where it came from.
        key: The key whose item it replaces; None gives every distinct text its own item.
        metadata: Additional JSON fields of the item's value, which `search` filters can use.
        subject: What the text is about. With ``attribute`` and without a key, the note supersedes the previous note on
            the same two, unless that one is trusted further.
        attribute: Which property of the subject it states, such as ``opening hours``.
    """

    text: str
    provenance: Provenance
    key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    subject: str = ""
    attribute: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an item.

    Attributes:
        value: The whole value.
        writers: Everyone who wrote it, oldest first.
        trust: How far it was trusted.
        written: When it was last written, in seconds since 1970.
        replaced: When another text replaced it; None for the current version.
    """

    value: dict[str, Any]
    writers: tuple[Provenance, ...]
    trust: Trust
    written: float
    replaced: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled(Evidence):
    """A remembered item as evidence for a prompt; its id is unique in the tenant, its trust is its writers' lowest.

    Attributes:
        score: Relevance in 0..1 (see `pointsman.memory.search.retrieval`); None if it was fetched by id.
        namespace: The namespace it is in.
        key: Its key in the namespace.
        value: The whole stored value.
        writers: Everyone who wrote exactly this text, oldest first.
        lineage: Ids of the items it was made from, across all writers.
        parts: Why it was found, if the recall was asked to explain.
        later: Ids of items found with it that make the same statement with another value and were written later.
        replaced: When a later version of its document came without it, in seconds since 1970; None for an item that is
            current. A recall finds only those.
    """

    score: float | None
    namespace: tuple[str, ...]
    key: str
    value: dict[str, Any]
    writers: tuple[Provenance, ...]
    lineage: tuple[str, ...]
    parts: Parts | None = None
    later: tuple[str, ...] = ()
    replaced: float | None = None
