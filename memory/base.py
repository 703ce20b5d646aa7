"""The words of shared memory: the embedder it is handed, where an item came from, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from ..configs.evidence import Evidence
from ..configs.words import Trust

__all__ = ["Embedder", "Note", "Provenance", "Recalled"]


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


@dataclass(frozen=True, slots=True)
class Note:
    """One text to remember.

    Attributes:
        text: The passage; it alone is embedded.
        provenance: Where it came from.
        key: The slot it replaces; None gives every distinct text a slot of its own.
        metadata: Further JSON fields of the item's value, open to `search` filters.
    """

    text: str
    provenance: Provenance
    key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


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
    """

    score: float | None
    namespace: tuple[str, ...]
    key: str
    value: dict[str, Any]
    writers: tuple[Provenance, ...]
    lineage: tuple[str, ...]
