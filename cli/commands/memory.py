"""``pointsman memory``: look into the shared memory, add to it, and make it forget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import options
from ..io.output import as_json, progress, result, short
from ..io.table import table
from ..signals import end_cleanly

if TYPE_CHECKING:
    from ...memory.base import Note, Recalled

__all__ = ["register"]

_Namespace = Annotated[
    str, typer.Option("--namespace", metavar="A/B", help="Namespace to look in, its labels parted by '/'.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(rich_markup_mode=None)
    group.command("search")(search)
    group.command("list")(list_)
    group.command("add")(add)
    group.command("why")(why)
    group.command("forget")(forget)
    group.command("eval")(evaluate)
    app.add_typer(
        group, name="memory", help="Search, list, add to, explain, delete from and measure the shared memory."
    )


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.")],
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Most items to show.")] = 5,
    namespace: _Namespace = "",
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Find what the memory holds on a question, best first."""
    from ..settings import opened

    with opened(config, reads=True) as runtime:
        found = runtime.store.recall(_path(namespace), query, limit=limit)
    if json:
        as_json([_recalled(item) for item in found])
        return
    if not found:
        progress("nothing was found")
    for item in found:
        result(f"{item.score or 0:.2f}  {item.source or '-'}  by {_author(item)}, trust {item.trust.value}")
        result(f"      {short(item.text, 400)}")


def list_(
    namespace: _Namespace = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Most items to list.")] = 50,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """List the namespaces, or the items of one."""
    from ..settings import opened

    path = _path(namespace)
    with opened(config, reads=True) as runtime:
        if not path:
            spaces = ["/".join(space) for space in runtime.store.list_namespaces(limit=1000)]
            if json:
                as_json(spaces)
            else:
                result("\n".join(spaces) or "the memory is empty")
            return
        items = runtime.store.search(path, limit=limit)
    if json:
        as_json([{"namespace": "/".join(item.namespace), "key": item.key, "value": item.value} for item in items])
        return
    rows = [("/".join(item.namespace), item.key[:24], short(_text(item.value), 100)) for item in items]
    result(table(rows, ("namespace", "key", "text")) if rows else "nothing is stored there")


def add(
    path: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="Markdown or text to remember, in passages.")],
    namespace: _Namespace = "knowledge",
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Read a document, or a folder of them, into the memory."""
    from ...configs.errors import ConfigError
    from ..settings import opened

    notes = _notes(path)
    end_cleanly()
    with opened(config) as runtime:
        if not _path(namespace):
            raise ConfigError("--namespace must not be empty")
        runtime.store.remember_all(_path(namespace), notes)
    sources = sorted({note.provenance.source for note in notes})
    if json:
        as_json({"passages": len(notes), "sources": sources, "namespace": namespace})
    else:
        result(f"{len(notes)} passages from {len({s.partition('#')[0] for s in sources})} files are in {namespace}")


def why(
    item: Annotated[str, typer.Argument(metavar="ID", help="The item, as 'memory search --json' names it.")],
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Show what an item was made from, how far each of it is trusted, and who wrote it."""
    from ...configs.errors import ConfigError
    from ..settings import opened

    with opened(config, reads=True) as runtime:
        steps = runtime.store.why(item)
    if steps[0][2] is None:
        raise ConfigError(f"the memory holds no item {item}: 'pointsman memory search QUERY --json' shows ids")
    if json:
        as_json([{"steps": depth, "id": i, "item": found and _recalled(found)} for depth, i, found in steps])
        return
    for depth, item_id, found in steps:
        if found is None:
            result(f"{'  ' * depth}{item_id}  is not kept, or no longer")
        else:
            result(f"{'  ' * depth}{item_id}  {found.source or '-'}  by {_author(found)}, trust {found.trust.value}")
            result(f"{'  ' * depth}  {short(found.text, 200)}")


def evaluate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Items and questions as JSONL, or conversations as JSON.")
    ],
    json: options.AsJson = False,
) -> None:
    """Measure how much of what answers your own questions is found, beside keywords and vectors alone.

    JSONL has items ({"key", "text", "source"}) and questions ({"question", "answers": [keys], "category"}). The shared
    memory is neither read nor changed.
    """
    from ...backends.ondevice import WordLlamaEmbeddings
    from ...memory.evaluation import evaluate

    report = evaluate(file, WordLlamaEmbeddings())
    if json:
        as_json(report)
        return
    rows = [
        ("recall", "all", report),
        ("bm25 alone", "all", report["bm25"]),
        ("vectors alone", "all", report["vectors"]),
    ]
    rows += [("recall", name, of) for name, of in report["categories"].items()]
    shown = [(way, name, f"{of['recall@5']:.3f}", f"{of['recall@10']:.3f}") for way, name, of in rows]
    result(table(shown, ("way", "category", "recall@5", "recall@10")))


def forget(
    item: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="Forget this item; may be repeated.")
    ] = None,
    author: Annotated[
        str | None, typer.Option("--author", metavar="AUTHOR", help="Forget what this agent wrote.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", metavar="SOURCE", help="Forget what came from this source.")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Forget what this run wrote.")] = None,
    namespace: _Namespace = "",
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Delete by id, source, author, run or namespace, from all the memory's files; given together, they narrow."""
    from ..settings import opened

    end_cleanly()
    with opened(config) as runtime:
        count = runtime.store.forget(
            ids=item or (), source=source, author=author, run=run, namespace=_path(namespace) or None
        )
    if json:
        as_json({"forgotten": count})
    else:
        result(f"{count} items were forgotten")


def _path(namespace: str) -> tuple[str, ...]:
    return tuple(part for part in namespace.split("/") if part)


def _notes(path: Path) -> list[Note]:
    from ...configs.errors import ConfigError
    from ...configs.words import Trust
    from ...memory.chunking import load_folder, split_document
    from ..io.inputs import MAX_INPUT, read_input

    if path.is_dir():
        chunks = load_folder(path)
    elif path.exists():
        chunks = split_document(read_input(f"@{path}", limit=20 * MAX_INPUT), path.name)
    else:
        raise ConfigError("there is no such file or folder", file=path)
    # Documents were written elsewhere: what stands in them is material, never an instruction.
    return [chunk.note(author="a person", run="", trust=Trust.UNTRUSTED) for chunk in chunks]


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
    }
