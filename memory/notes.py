"""Prepare what is written (a text with its provenance, or a plain value) for storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from langchain_core.runnables.config import var_child_runnable_config
from langgraph.store.base import InvalidNamespaceError, Op, PutOp, SearchOp, get_text_at_path, validate_op_namespace

from ..configs.redact import redact, redacted
from ..configs.words import Trust
from .base import Note, Provenance
from .items import Row, check_value, noted, rewritten
from .search.words import strings_in

__all__ = [
    "CapturedPut",
    "check_namespace",
    "check_prefix",
    "check_provenance",
    "cleaned",
    "in_run",
    "least_trusts",
    "marked",
    "merged",
    "texts_of",
    "without_secrets",
    "words_of",
]


class CapturedPut(PutOp):
    """A write made inside a run, such as a tool's: it must not bring forgotten text back."""

    __slots__ = ()


def in_run() -> bool:
    """Whether the code is running inside a graph, a tool or a chain."""
    return var_child_runnable_config.get() is not None


def marked(ops: Iterable[Op]) -> list[Op]:
    """Return the operations, with the writes marked as `CapturedPut` if they are made inside a run."""
    if not in_run():
        return list(ops)
    return [CapturedPut(*op) if isinstance(op, PutOp) and op.value is not None else op for op in ops]


def check_prefix(namespace: tuple[str, ...]) -> None:
    """Apply the namespace rules of LangGraph's `search`, and refuse a text, whose letters it would take for labels."""
    if isinstance(namespace, str):
        raise InvalidNamespaceError(f"a namespace is a tuple of labels, such as ({namespace!r},), not {namespace!r}")
    validate_op_namespace(SearchOp(namespace))


def check_namespace(namespace: tuple[str, ...]) -> None:
    """Apply the namespace rules of LangGraph's `put` to `remember`."""
    check_prefix(namespace)
    if not namespace or namespace[0] == "langgraph":
        raise InvalidNamespaceError(f"Namespace must not be empty nor begin with 'langgraph'. Got: {namespace}")


def cleaned(notes: Sequence[Note]) -> list[Note]:
    """Check notes, and return them without secrets.

    Raises:
        ValueError: If a note is blank, its metadata has a field ``text``, or its trust is not a `Trust`.
        TypeError: If metadata is not JSON, or another field of a note has the wrong type.
    """
    for note in notes:
        _check_texts(note, ("text", "subject", "attribute", *(("key",) if note.key is not None else ())))
        check_provenance(note.provenance)
        if not note.text.strip() or "text" in note.metadata:
            raise ValueError("a note needs a text, and metadata must not have a field 'text'")
        check_value(note.metadata, f"metadata of {note.text[:40]!r}")
    return [_clean(note) for note in notes]


def check_provenance(provenance: Provenance) -> None:
    """Reject a provenance that could be stored but not read back, which would break every lookup that meets it.

    Raises:
        ValueError: If its trust is not a `Trust`.
        TypeError: If another field has the wrong type.
    """
    _check_texts(provenance, ("source", "author", "run", "model", "step", "tool", "document"))
    Trust(provenance.trust)
    lineage, span = provenance.lineage, provenance.span
    if not isinstance(lineage, tuple | list) or not all(isinstance(parent, str) for parent in lineage):
        raise TypeError(f"a lineage is a tuple of ids, not {lineage!r}")
    if span is not None and [type(end) for end in span] != [int, int]:
        raise TypeError(f"a span is two whole numbers, not {span!r}")


def _check_texts(about: Note | Provenance, names: Iterable[str]) -> None:
    for name in names:
        text = getattr(about, name)
        if not isinstance(text, str):
            raise TypeError(f"the {name} of a {type(about).__name__.lower()} is a text, not {text!r}")


def _clean(note: Note) -> Note:
    by = note.provenance
    provenance = replace(by, source=redact(by.source), document=redact(by.document))
    about = {name: text for name in ("subject", "attribute") if (text := getattr(note, name))}
    metadata = redacted({**note.metadata, **about})
    return replace(note, text=redact(note.text), metadata=metadata, provenance=provenance)


def without_secrets(op: PutOp) -> PutOp:
    """Return a write with the secrets removed from its value.

    Raises:
        TypeError: If the value is not JSON.
    """
    if op.value is None:
        return op
    check_value(op.value, f"{op.namespace} {op.key!r}")
    return op._replace(value=redacted(op.value))


def texts_of(op: PutOp, fields: Sequence[str]) -> list[str]:
    """Return the texts to embed for an item: the parts of its value that ``index`` names, else ``fields``."""
    if op.value is None or op.index is False:
        return []
    return [text for path in op.index or fields for text in get_text_at_path(op.value, path)]


def words_of(op: PutOp, texts: Sequence[str], fields: Sequence[str]) -> str:
    """Return the text whose words are indexed for an item; empty if it is not indexed."""
    if texts and list(op.index or fields) == ["$"]:
        return "\n".join(strings_in(op.value))
    return "\n".join(texts)


def merged(
    namespace: tuple[str, ...],
    notes: Iterable[tuple[Note, str, str]],
    held: Iterable[Row],
    ttl: float | None,
    now: float,
) -> list[Row]:
    """Return the row that each note is stored in: its own, or the row that already holds the same text.

    A note with a key is always stored under it, because others, including lineages, refer to it by that key and it is
    replaced separately. It is trusted no further than the same text elsewhere in the namespace.

    Args:
        namespace: Where they are stored.
        notes: Each with the digest of its text and the id it would have.
        held: The stored items that have one of these digests or ids.
        ttl: As for `ChromaStore.remember_all`.
        now: Seconds since 1970.
    """
    by_id = {row.id: row for row in held if row.live(now)}
    by_twin = {row.twin: row for row in by_id.values() if row.twin}
    trusts = least_trusts(by_id.values())
    kept: list[Row] = []
    for note, twin, slot in notes:
        there, same = by_id.get(slot), by_twin.get(twin)
        if there and there.twin == twin:
            row = rewritten(there, note, ttl, now)
        elif same and note.key is None and not there:
            row = rewritten(same, note, ttl, now)
        else:
            row = noted(slot, namespace, twin, note, ttl, now)
            if there:
                row.created = there.created
                if by_twin.get(there.twin) is there:
                    del by_twin[there.twin]
        row.trust = trusts[twin] = min(row.trust, note.provenance.trust, trusts.get(twin, row.trust))
        by_id[row.id] = by_twin[twin] = row
        kept.append(row)
    return kept


def least_trusts(rows: Iterable[Row]) -> dict[str, Trust]:
    """Return the lowest trust of each remembered text, keyed by its digest."""
    trusts: dict[str, Trust] = {}
    for row in rows:
        if row.twin:
            trusts[row.twin] = min(row.trust, trusts.get(row.twin, row.trust))
    return trusts
