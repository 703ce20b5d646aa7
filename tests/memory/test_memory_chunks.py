from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Trust
from pointsman.memory import Chunk, load_folder, split_document
from pointsman.memory.documents.chunking import split_pages

DOCUMENT = """# Cards

What to know about cards.

## Lost card
intents: lost_card, stolen_card

Block it at once.
Then order a new one.

```
## not a heading
```

## Lost card ##

Again.
## Kosten & Gebühren: was?

INTENTS: fees
Ten euros.
"""


def test_sections_are_cited_by_file_heading_and_line() -> None:
    preface, lost, again, fees = split_document(DOCUMENT, "cards.md")
    assert preface == Chunk("What to know about cards.", "cards.md", "", (), 3, 3)
    assert (lost.source, lost.title, lost.intents) == ("cards.md#lost-card", "Lost card", ("lost_card", "stolen_card"))
    assert lost.text.startswith("Block it at once.\nThen")
    assert lost.text.endswith("## not a heading\n```")
    assert (lost.first_line, lost.last_line) == (8, 13)
    assert (again.source, again.text) == ("cards.md#lost-card-1", "Again.")
    assert (fees.source, fees.intents, fees.text) == ("cards.md#kosten--gebühren-was", ("fees",), "Ten euros.")
    lines = DOCUMENT.split("\n")
    for chunk in (preface, lost, again, fees):
        assert "\n".join(lines[chunk.first_line - 1 : chunk.last_line]) == chunk.text


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_lines_may_end_as_other_systems_end_them(end: str) -> None:
    assert split_document(DOCUMENT.replace("\n", end), "cards.md") == split_document(DOCUMENT, "cards.md")


def test_code_is_fenced_until_a_fence_as_long_and_headings_in_it_are_none() -> None:
    text = "## A\n````md\n```\n## in code\n``` \n## in code too\n````\n## B\n~~~\n~~~ sh\n## in code\n~~~~\n## C\nEnd."
    assert [chunk.source for chunk in split_document(text, "a.md")] == ["a.md#a", "a.md#b", "a.md#c"]


def test_no_two_sections_have_one_anchor() -> None:
    text = "".join(f"## {title}\n\n{place}\n\n" for place, title in enumerate(["Same", "Same", "Same-1", "Same"]))
    anchors = [chunk.source.partition("#")[2] for chunk in split_document(text, "a.md")]
    assert anchors == ["same", "same-1", "same-1-1", "same-2"]


def test_sentences_without_spaces_between_them_are_cut_apart() -> None:
    text = "店は六時に開く。「閉店は？」八時だ！"
    assert [c.text for c in split_document(text, "a.md", max_chars=9)] == [
        "店は六時に開く。",
        "「閉店は？」",
        "八時だ！",
    ]


def test_long_sections_are_cut_at_sentence_ends() -> None:
    text = '## A\nFirst one. Second (really!) Third "is it?" Fourth\n\nFifth'
    assert [c.text for c in split_document(text, "a.md", max_chars=27)] == [
        "First one. Second (really!)",
        'Third "is it?" Fourth',
        "Fifth",
    ]
    assert [c.text for c in split_document("one two three four", "a.txt", max_chars=9)] == ["one two", "three", "four"]
    assert [c.text for c in split_document("abcdefgh", "a.txt", max_chars=3)] == ["abc", "def", "gh"]


@given(text=st.text("ab. \n!\t\u3000", max_size=80), size=st.integers(1, 20))
def test_pieces_fit_overlap_nowhere_and_lose_nothing(text: str, size: int) -> None:
    chunks = split_document(text, "a.txt", max_chars=size)
    assert all(0 < len(chunk.text) <= size and chunk.text == chunk.text.strip() for chunk in chunks)
    assert "".join("".join(chunk.text.split()) for chunk in chunks) == "".join(text.split())
    lines = text.split("\n")
    assert all(c.text in "\n".join(lines[c.first_line - 1 : c.last_line]) for c in chunks)


def test_a_folder_is_read_in_order_with_its_subfolders(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("hidden")
    (tmp_path / "b" / "x.md").write_bytes(b"\xef\xbb\xbf## One\r\nAlpha.\r\n")
    (tmp_path / "a.txt").write_text("Beta.")
    assert [(c.source, c.text) for c in load_folder(tmp_path)] == [("a.txt", "Beta."), ("b/x.md#one", "Alpha.")]


def test_a_chunk_becomes_a_note_with_its_citation() -> None:
    note = split_document(DOCUMENT, "cards.md")[1].note(author="loader", run="r1", trust=Trust.TOOL)
    assert (note.provenance.source, note.provenance.trust) == ("cards.md#lost-card", Trust.TOOL)
    assert note.metadata == {"title": "Lost card", "intents": ["lost_card", "stolen_card"], "lines": [8, 13]}


def test_every_file_that_is_no_text_is_named_in_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("fine")
    (tmp_path / "latin.md").write_bytes("Gebühr".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.md: is not UTF-8 text \(byte 3\)"):
        load_folder(tmp_path)
    (tmp_path / "empty.md").write_text(" \n")
    (tmp_path / "photo.png").write_bytes(b"PNG\x00\x00")
    outside = tmp_path.with_name(tmp_path.name + "-secret")
    outside.write_text("secret")
    (tmp_path / "link.md").symlink_to(outside)
    with pytest.raises(ConfigError) as mistakes:
        load_folder(tmp_path)
    empty, latin, link, photo = str(mistakes.value).split("\n")
    assert "empty.md: is empty" in empty
    assert "photo.png: is not text" in photo
    assert "link.md: links to outside" in link
    assert "latin.md" in latin


def test_a_folder_without_text_or_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no text"):
        load_folder(tmp_path)
    with pytest.raises(ConfigError, match="is not a folder"):
        load_folder(tmp_path / "none")
    with pytest.raises(ValueError, match="max_chars"):
        split_document("x", "x", max_chars=0)


def test_pages_are_cut_apart_and_cited_by_their_numbers() -> None:
    pages = ["Cards are lost.\nThey are blocked at once.", "", "The office opens at nine. It closes at five."]
    first, *rest = split_pages(pages, "terms.pdf", max_chars=42)
    assert (first.source, first.page, first.first_line, first.last_line) == ("terms.pdf#page-1", 1, 1, 2)
    assert [(chunk.text, chunk.page) for chunk in rest] == [
        ("The office opens at nine.", 3),
        ("It closes at five.", 3),
    ]
    note = rest[0].note(author="a", run="", trust=Trust.UNTRUSTED)
    assert (note.provenance.source, note.metadata["page"]) == ("terms.pdf#page-3", 3)
    with pytest.raises(ConfigError, match=r"terms\.pdf: has no text on its pages"):
        split_pages(["", " "], "terms.pdf")


def test_a_folder_may_hold_documents_with_pages(tmp_path: Path) -> None:
    (tmp_path / "b.PDF").write_bytes(b"x")
    (tmp_path / "a.md").write_text("Cards are lost.")
    chunks = load_folder(tmp_path, pages=lambda file: [f"The first page of {file.name}."])
    assert [(chunk.source, chunk.page) for chunk in chunks] == [("a.md", None), ("b.PDF#page-1", 1)]
    (tmp_path / "c.pdf").symlink_to(__file__)
    with pytest.raises(ConfigError, match="links to outside"):
        load_folder(tmp_path, pages=lambda _: ["text"])
