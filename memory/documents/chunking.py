"""Split knowledge into passages that can be cited: ``cards.md#lost-card``, lines 12 to 17."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...configs.errors import ConfigError, disk_errors
from ...configs.words import Trust
from ..base import Note, Provenance

__all__ = ["Chunk", "load_folder", "split_document", "split_pages"]

Pages = Callable[[Path], Sequence[str]]
"""Returns the text of each page of a PDF."""

_HEADING = re.compile(r"##[ \t]+(.+?)[ \t]*#*[ \t]*\Z")
_TITLE = re.compile(r"#[ \t]+\S")
_INTENTS = re.compile(r"intents:(.*)\Z", re.IGNORECASE)
_FENCE = re.compile(r"(`{3,}|~{3,})(.*)")
# A sentence ends at a punctuation mark, including any closing quotes or brackets, followed by white space. It also ends
# at a blank line, and at Chinese and Japanese marks, which need no space after them.
_SENTENCE_END = re.compile(r"[.!?…]+[\"'»”’)\]]*(?=\s)|\n[ \t]*(?=\n)|[。！？]+[」』”’）】]*")
_LINE_END = re.compile(r"\r\n?")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document.

    Attributes:
        text: The prose, without its heading and intents.
        source: File and heading, such as ``cards.md#lost-card``; only the file for text above the first heading.
        title: The heading as written; empty above the first one.
        intents: What the section says it is for.
        first_line: The line the text begins on, counted from 1, within its page if there is one.
        last_line: The line it ends on.
        page: The page it is on, counted from 1; None if the document has no pages.
    """

    text: str
    source: str
    title: str
    intents: tuple[str, ...]
    first_line: int
    last_line: int
    page: int | None = None

    @property
    def file(self) -> str:
        """Its file, as the source names it."""
        return self.source.rpartition("#")[0] if self.title or self.page is not None else self.source

    def note(self, *, author: str, run: str, trust: Trust, document: str = "") -> Note:
        """Return it as a note, with title, intents, lines and page as searchable metadata.

        Args:
            author: Who writes it.
            run: The run in which it is written.
            trust: How far it is trusted.
            document: Absolute path of its file, if its next version is to supersede it.
        """
        lines = (self.first_line, self.last_line)
        metadata: dict[str, Any] = {"title": self.title, "intents": list(self.intents), "lines": list(lines)}
        if self.page is not None:
            metadata["page"] = self.page
        provenance = Provenance(self.source, author, run, trust, span=lines, document=document)
        return Note(self.text, provenance, metadata=metadata)


def load_folder(path: Path, *, max_chars: int = 1200, pages: Pages | None = None) -> list[Chunk]:
    """Read every file of a knowledge folder, sorted by path; hidden files are skipped.

    Args:
        path: The folder; its sub-folders are read too.
        max_chars: Longest chunk, in characters.
        pages: Reads PDFs; without it, PDFs are treated like any other file.

    Raises:
        ConfigError: If the folder is missing or empty, or, with one line per file, if files are empty, not UTF-8 text,
            or links to outside the folder.
    """
    if not path.is_dir():
        raise ConfigError("is not a folder: name the folder that holds the knowledge", file=path)
    root = path.resolve()
    chunks: list[Chunk] = []
    mistakes: list[ConfigError] = []
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if not file.is_file() or any(part.startswith(".") for part in name.parts):
            continue
        try:
            if pages is not None and file.suffix.lower() == ".pdf":
                _inside(file, root)
                chunks += split_pages(pages(file), name.as_posix(), max_chars=max_chars)
            else:
                chunks += split_document(_read(file, root), name.as_posix(), max_chars=max_chars)
        except ConfigError as mistake:
            mistakes.append(mistake)
    if len(mistakes) == 1:
        raise mistakes[0]
    if mistakes:
        raise ConfigError("\n".join(map(str, mistakes)))
    if not chunks:
        raise ConfigError("holds no text: add Markdown or text files", file=path)
    return chunks


def _inside(file: Path, root: Path) -> None:
    if not file.resolve().is_relative_to(root):
        raise ConfigError("links to outside the knowledge folder: copy the file instead", file=file)


def _read(file: Path, root: Path) -> str:
    _inside(file, root)
    with disk_errors("cannot be read", file=file):
        data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"is not UTF-8 text (byte {error.start}): convert it, or move it out of the folder", file=file
        ) from error
    if "\x00" in text:
        raise ConfigError("is not text: move it out of the knowledge folder", file=file)
    if not text.strip():
        raise ConfigError("is empty: write it or delete it", file=file)
    return text


def split_document(text: str, source: str, *, max_chars: int = 1200) -> list[Chunk]:
    """Split a document at its ``## `` headings, and long sections at the ends of sentences, without overlap.

    A line ``intents: a, b`` directly below a heading becomes metadata. A ``# `` title line is dropped. Headings inside
    fenced code are ignored.

    Args:
        text: The document.
        source: Its name in citations.
        max_chars: Longest chunk, in characters; a longer sentence is split between words.
    """
    if max_chars < 1:
        raise ValueError("max_chars must be at least 1")
    chunks: list[Chunk] = []
    for title, slug, intents, first_line, body in _sections(_LINE_END.sub("\n", text)):
        cited = f"{source}#{slug}" if slug else source
        for start, end in _pieces(body, max_chars):
            line = first_line + body.count("\n", 0, start)
            last = first_line + body.count("\n", 0, end)
            chunks.append(Chunk(body[start:end], cited, title, intents, line, last))
    return chunks


def split_pages(pages: Sequence[str], source: str, *, max_chars: int = 1200) -> list[Chunk]:
    """Split a document page by page, at the ends of sentences: ``terms.pdf#page-3``.

    Args:
        pages: The text of each page; a page without text yields no chunk.
        source: The document's name in citations.
        max_chars: As for `split_document`.

    Raises:
        ConfigError: If no page has text.
    """
    chunks: list[Chunk] = []
    for number, text in enumerate(pages, 1):
        for start, end in _pieces(text, max_chars):
            first, last = (1 + text.count("\n", 0, place) for place in (start, end))
            chunks.append(Chunk(text[start:end], f"{source}#page-{number}", "", (), first, last, number))
    if not chunks:
        raise ConfigError("has no text on its pages, as scans have none: recognise their text first", file=source)
    return chunks


def _sections(text: str) -> Iterator[tuple[str, str, tuple[str, ...], int, str]]:
    """Yield title, slug, intents, first line and body of every section."""
    lines = text.split("\n")
    cuts = [0, *_headings(lines), len(lines)]
    taken: dict[str, int] = {}
    for number, (start, end) in enumerate(pairwise(cuts)):
        title, slug, first = "", "", start
        intents: tuple[str, ...] = ()
        if heading := _HEADING.match(lines[start]) if number else None:
            title, slug, first = heading[1], _slug(heading[1], taken), start + 1
            while first < end and not lines[first].strip():
                first += 1
            if listed := _INTENTS.match(lines[first].strip()) if first < end else None:
                intents = tuple(name for part in listed[1].split(",") if (name := part.strip()))
                first += 1
        elif start < end and _TITLE.match(lines[start]):
            first = start + 1
        yield title, slug, intents, first + 1, "\n".join(lines[first:end])


def _headings(lines: list[str]) -> Iterator[int]:
    fence = ""
    for number, line in enumerate(lines):
        mark = _FENCE.match(line.lstrip())
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and not mark[2].strip():
            fence = ""
        elif not fence and _HEADING.match(line):
            yield number


def _slug(title: str, taken: dict[str, int]) -> str:
    """Return the anchor of a heading as GitHub makes it: lower case, hyphens, a number if it was used before."""
    kept = "".join(c for c in unicodedata.normalize("NFC", title.lower()) if c.isalnum() or c in " -_")
    slug = named = kept.strip().replace(" ", "-") or "section"
    while named in taken:
        taken[slug] += 1
        named = f"{slug}-{taken[slug]}"
    taken[named] = 0
    return named


def _pieces(body: str, max_chars: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each piece: as many whole sentences as fit, without surrounding white space."""
    start = len(body) - len(body.lstrip())
    stop = len(body.rstrip())
    ends = [match.end() for match in _SENTENCE_END.finditer(body, start, stop)]
    while start < stop:
        limit = start + max_chars
        end = stop if stop <= limit else max((e for e in ends if start < e <= limit), default=0)
        if not end:
            gap = max((m.start() for m in re.finditer(r"\s", body[start : limit + 1])), default=0)
            end = start + gap if gap else limit
        yield start, start + len(body[start:end].rstrip())
        start = stop - len(body[end:stop].lstrip())
