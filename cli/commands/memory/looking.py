"""``pointsman memory search``, ``list``, ``show``, ``why``, ``stats`` and ``eval``: read the memory, measure recall."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....configs.errors import ConfigError
from ... import options
from ...io.output import answer, as_json, progress, result, short
from ...io.table import table
from ...settings import opened
from .options import Item, Namespace, labels

if TYPE_CHECKING:
    from ....memory.base import Provenance, Recalled, Version

__all__ = ["evaluate", "list_", "search", "show", "stats", "why"]


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.")],
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Most items to show.")] = 5,
    when: Annotated[
        str | None, typer.Option("--when", metavar="TIME", help="Written then, such as 'last week' or 'in March'.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each item was found.")] = False,
    namespace: Namespace = "",
    json: options.AsJson = False,
) -> None:
    """Find the items that match a question, best first."""
    from ....memory.search.times import window_in

    if when is not None and window_in(when) is None:
        raise ConfigError(f"--when {when!r} names no time: write such as 'last week', 'in March' or '3 days ago'")
    with opened(reads=True) as runtime:
        found = runtime.store.recall(labels(namespace), query, limit=limit, when=when, explain=explain)
    if json:
        as_json([_recalled(item) for item in found])
        return
    if not found:
        progress("nothing was found")
    for item in found:
        result(f"{item.score or 0:.2f}  {item.source or '-'}  by {_author(item)}, trust {item.trust.value}")
        result(f"      {short(item.text, 400)}")
        if item.parts:
            told = {
                name: part for name, part in asdict(item.parts).items() if part and name not in ("matched", "total")
            }
            listed = ", ".join(f"{name} {part:.2f}" for name, part in told.items())
            result(f"      {listed}{'; words ' if item.parts.matched else ''}{', '.join(item.parts.matched)}")


def list_(
    namespace: Namespace = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Most items to list.")] = 50,
    json: options.AsJson = False,
) -> None:
    """List the namespaces, or the items of one."""
    path = labels(namespace)
    with opened(reads=True) as runtime:
        if not path:
            spaces = ["/".join(space) for space in runtime.store.list_namespaces(limit=1000)]
            answer(spaces, "\n".join(spaces) or "the memory is empty", json=json)
            return
        items = runtime.store.search(path, limit=limit)
    found = [{"namespace": "/".join(item.namespace), "key": item.key, "value": item.value} for item in items]
    rows = [("/".join(item.namespace), item.key[:24], short(_text(item.value), 100)) for item in items]
    answer(found, table(rows, ("namespace", "key", "text")) if rows else "nothing is stored there", json=json)


def show(item: Item, json: options.AsJson = False) -> None:
    """Show an item in full: its value, who wrote it and when, its trust, and its earlier values."""
    from langgraph.store.base import GetOp
    from langgraph.store.base import Item as StoredItem

    with opened(reads=True) as runtime:
        found = runtime.store.item(item)
        kept = found and runtime.store.batch([GetOp(found.namespace, found.key, refresh_ttl=False)])[0]
        versions = runtime.store.history(item)
    if found is None or not versions:
        raise ConfigError(_unknown(item))
    *versions, last = versions
    # A superseded item is not one of LangGraph's any more, and no longer says when it was created.
    created = kept.created_at if isinstance(kept, StoredItem) else None
    updated = datetime.fromtimestamp(last.written, UTC)
    about = {
        **_recalled(found),
        "key": found.key,
        "value": found.value,
        "created": created and created.isoformat(),
        "updated": updated.isoformat(),
        "writers": [_writer(writer) for writer in found.writers],
        "history": [_version(version) for version in versions],
    }
    if json:
        as_json(about)
        return
    result(f"{item}  in {about['namespace']} as {found.key}, trust {found.trust.value}")
    result(f"{f'written {created:%Y-%m-%d %H:%M}, last' if created else 'written'} {updated:%Y-%m-%d %H:%M} UTC")
    if last.replaced is not None:
        result(f"{_superseded(last.replaced)}: no search finds it any more")
    for writer in found.writers:
        said = {name: text for name, text in _writer(writer).items() if text and name not in ("author", "trust")}
        listed = ", ".join(f"{name} {short(text, 100)}" for name, text in said.items())
        result(f"  by {writer.author}, trust {writer.trust.value}{': ' if said else ''}{listed}")
    result(short(found.text, 4000))
    for version in reversed(versions):
        replaced = datetime.fromtimestamp(version.replaced or 0, UTC)
        by = ", ".join(dict.fromkeys(writer.author for writer in version.writers))
        result(f"until {replaced:%Y-%m-%d %H:%M} UTC, by {by}, trust {version.trust.value}:")
        result(f"  {short(str(version.value.get('text', version.value)), 400)}")


def stats(json: options.AsJson = False) -> None:
    """Show how many items the memory holds, their trust, the embedder it is searched with, and its size on disk."""
    with opened(reads=True) as runtime:
        held = runtime.store.stats()
    if json:
        as_json(held)
        return
    trusts = ", ".join(f"{count} {trust}" for trust, count in held["trust"].items() if count)
    result(f"{held['items']} items in {held['namespaces']} namespaces{f': {trusts}' if trusts else ''}")
    result(f"{held['vectors']} vectors of {held['embedder']}, {held['dimensions']} dimensions")
    if held["former_texts"]:
        result(f"{held['former_texts']} texts that items said before they were replaced")
    if held["waiting_for_chroma"]:
        result(f"{held['waiting_for_chroma']} not in Chroma's index yet; searches find them all the same")
    if held["forgotten"]:
        result(f"{held['forgotten']} texts were forgotten and are not kept again")
    sizes = held["bytes"]
    result(f"{sizes['database'] / 1e6:.1f} MB in the database, {sizes['chroma'] / 1e6:.1f} MB in Chroma's files")


def why(item: Item, json: options.AsJson = False) -> None:
    """Show what an item was made from, with the trust and the writer of each source."""
    with opened(reads=True) as runtime:
        steps = runtime.store.why(item)
    if steps[0][2] is None:
        raise ConfigError(_unknown(item))
    if json:
        as_json([{"steps": depth, "id": i, "item": found and _recalled(found)} for depth, i, found in steps])
        return
    for depth, item_id, found in steps:
        if found is None:
            result(f"{'  ' * depth}{item_id}  is not kept, or no longer")
        else:
            over = "" if found.replaced is None else f", {_superseded(found.replaced)}"
            result(
                f"{'  ' * depth}{item_id}  {found.source or '-'}  by {_author(found)}, trust {found.trust.value}{over}"
            )
            result(f"{'  ' * depth}  {short(found.text, 200)}")


def evaluate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Items and questions as JSONL, or conversations as JSON.")
    ],
    json: options.AsJson = False,
) -> None:
    """Measure how many of the answers to your own questions are found, against keywords alone and vectors alone.

    The JSONL has items ({"key", "text", "source"}) and questions ({"question", "answers": [keys], "category"}). The
    shared memory is neither read nor changed.
    """
    from ....dispatch.embedding import embedder_of
    from ....memory.evaluation import evaluate

    with opened(reads=True) as runtime:
        report = evaluate(file, embedder_of(runtime.settings, lambda: runtime.dispatcher))
    rows = [
        ("recall", "all", report),
        ("bm25 alone", "all", report["bm25"]),
        ("vectors alone", "all", report["vectors"]),
        ("without neighbours", "all", report["without_neighbours"]),
    ]
    rows += [("recall", name, of) for name, of in report["categories"].items()]
    shown = [(way, name, f"{of['recall@5']:.3f}", f"{of['recall@10']:.3f}") for way, name, of in rows]
    answer(report, table(shown, ("way", "category", "recall@5", "recall@10")), json=json)


def _superseded(at: float) -> str:
    return f"superseded {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def _author(item: Recalled) -> str:
    return ", ".join(dict.fromkeys(writer.author for writer in item.writers))


def _text(value: dict[str, Any]) -> str:
    return str(value.get("text", value))


def _recalled(item: Recalled) -> dict[str, Any]:
    return {
        "id": item.id,
        "score": item.score,
        "source": item.source,
        "trust": item.trust.value,
        "authors": [writer.author for writer in item.writers],
        "runs": [writer.run for writer in item.writers],
        "lineage": list(item.lineage),
        "namespace": "/".join(item.namespace),
        "text": item.text,
        "later": list(item.later),
        "replaced": item.replaced,
        **({"parts": asdict(item.parts)} if item.parts else {}),
    }


def _writer(writer: Provenance) -> dict[str, Any]:
    return {**asdict(writer), "trust": writer.trust.value}


def _version(version: Version) -> dict[str, Any]:
    return {**asdict(version), "trust": version.trust.value, "writers": [_writer(one) for one in version.writers]}


def _unknown(item: str) -> str:
    return f"the memory holds no item {item}: 'pointsman memory search QUERY --json' shows ids"
