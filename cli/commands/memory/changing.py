"""``pointsman memory add``, ``forget`` and ``reindex``."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ....configs.errors import ConfigError
from ... import options
from ...io.output import answer, as_json, progress, result
from ...settings import opened
from ...signals import end_cleanly
from .options import Namespace, labels

if TYPE_CHECKING:
    from ....memory.base import Note

__all__ = ["add", "forget", "reindex"]


def add(
    path: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="Markdown, text or PDF to keep, in passages.")],
    namespace: Namespace = "knowledge",
    json: options.AsJson = False,
) -> None:
    """Read a document, or a folder of them, into the memory; again after an edit.

    Passages that are no longer in a file, and those of files that are no longer in the folder, are superseded: searches
    no longer find them, 'memory show' and 'why' still do. A file is known by its path: after renaming a single one, use
    'memory forget --source'.
    """
    notes = _notes(path)
    end_cleanly()
    with opened() as runtime:
        if not labels(namespace):
            raise ConfigError("--namespace must not be empty")
        former = runtime.store.remember_documents(labels(namespace), notes, paths=[_place(path)])
    if not notes and not former:
        raise ConfigError("has no text to keep but headings", file=path)
    sources = sorted({note.provenance.source for note in notes})
    files = len({note.provenance.document for note in notes})
    told = f"; {former} that they no longer have are superseded" if former else ""
    answer(
        {"passages": len(notes), "sources": sources, "namespace": namespace, "superseded": former},
        f"{len(notes)} passages from {files} files are in {namespace}{told}",
        json=json,
    )


def forget(
    item: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="Forget this item; may be repeated.")
    ] = None,
    author: Annotated[
        str | None, typer.Option("--author", metavar="AUTHOR", help="Forget what this agent wrote.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="SOURCE", help="Forget what came from this source, or a section of it."),
    ] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Forget what this run wrote.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Forget everything.")] = False,
    namespace: Namespace = "",
    json: options.AsJson = False,
) -> None:
    """Delete items by id, source, author, run or namespace; several of these narrow the selection.

    The text is removed from all the memory's files, earlier versions of items included, with what runs derived from
    it, and from cached answers. Runs and conversations that hold the forgotten text are deleted whole, except runs
    under way or waiting. No run can write it to the memory again; 'memory add' can.
    """
    from ....graphs.forgetting import forget

    end_cleanly()
    with opened() as runtime:
        gone = asyncio.run(
            forget(
                runtime,
                ids=item or (),
                source=source,
                author=author,
                run=run,
                namespace=labels(namespace) or None,
                tenant=everything,
            )
        )
    if json:
        about = asdict(gone)
        as_json({"forgotten": about.pop("items"), **about})
        return
    result(f"{gone.items} items were forgotten")
    if gone.runs:
        progress(f"nothing is kept any more of {len(gone.runs)} runs that had been told: {', '.join(gone.runs)}")
    if gone.threads:
        progress(f"{len(gone.threads)} conversations that had been told were deleted")
    if gone.rows:
        progress(f"{gone.rows} calls and handoffs in the ledger no longer quote it")
    if gone.waiting or gone.busy:
        held = ", ".join([*gone.waiting, *gone.busy])
        progress(f"still held by what is under way or waits: {held}; forget again when that is over")


def reindex(json: options.AsJson = False) -> None:
    """Embed the whole memory again with the embedder in use, after it was filled with another one.

    Texts, writers, trust, history and what was forgotten stay as they are. Either all items are embedded anew or none.
    """
    from ....dispatch.embedding import embedder_of
    from ....dispatch.state.ownership import claim
    from ....memory.store import ChromaStore

    end_cleanly()
    with opened() as runtime:
        settings = runtime.settings
        if settings.memory is not None:
            raise ConfigError(
                f"the memory in use is served at {settings.memory}: embed it anew where its folder is, or unset "
                "POINTSMAN_MEMORY for the project's own"
            )
        claim(settings)
        embedder = embedder_of(settings, lambda: runtime.dispatcher)
        count = ChromaStore.reindex(settings.state / "memory", embedder)
    answer(
        {"items": count, "embedder": embedder.model_id, "dimensions": embedder.dimensions},
        f"{count} items are found by {embedder.model_id} now",
        json=json,
    )


def _notes(path: Path) -> list[Note]:
    from ....configs.words import Trust
    from ....memory.documents.chunking import load_folder, split_document, split_pages

    if path.is_dir():
        chunks = load_folder(path, pages=_pages)
        if not chunks:
            # Perhaps of a disk that is not there: nothing is superseded.
            raise ConfigError("has no text to keep but headings", file=path)
    elif path.suffix.lower() == ".pdf" and path.exists():
        chunks = split_pages(_pages(path), path.name)
    elif path.exists():
        chunks = split_document(_text(path), path.name)
    else:
        raise ConfigError("there is no such file or folder", file=path)
    # Documents were written elsewhere: their content is data, never an instruction.
    files = {chunk.file: _place(path / chunk.file if path.is_dir() else path) for chunk in chunks}
    return [
        chunk.note(author="a person", run="", trust=Trust.UNTRUSTED, document=files[chunk.file]) for chunk in chunks
    ]


def _text(path: Path) -> str:
    """Return the text of a file; one that was emptied has none."""
    from ...io.inputs import MAX_INPUT, read_input

    return read_input(f"@{path}", limit=20 * MAX_INPUT) if path.stat().st_size else ""


def _place(path: Path) -> str:
    """Return the path by which a document is known, however it is named."""
    return str(path.resolve())


def _pages(file: Path) -> tuple[str, ...]:
    """Return the text of a PDF's pages."""
    from ....tools.base import ToolFailed
    from ....tools.documents.reading import MOST_BYTES, read_text

    try:
        with file.open("rb") as opened:
            pages = read_text(file.name, opened.read(MOST_BYTES + 1))
    except (OSError, ToolFailed) as error:
        raise ConfigError(f"cannot be read: {error}", file=file) from error
    if blank := [number for number, text in enumerate(pages, 1) if not text]:
        progress(f"{file}: {len(blank)} of {len(pages)} pages have no text, as scans have none, and were left out")
    return pages
