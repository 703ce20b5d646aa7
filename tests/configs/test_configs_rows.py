"""CSV files as spreadsheets save them."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.errors import ConfigError
from pointsman.configs.rows import read_rows

CAFE = [("Do you deliver to cafés?", "delivery"), ("two, or three; it depends", "other")]


def read(path: Path) -> list[tuple[str, str]]:
    return [(row.fields["text"], row.fields["label"]) for row in read_rows(path, ["text", "label"])]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_same_table_is_read_however_a_spreadsheet_saved_it(
    tmp_path: Path, separator: str, encoding: str, newline: str
) -> None:
    file = tmp_path / "rows.csv"
    lines = [("text", "label"), *((f'"{text}"', label) for text, label in CAFE)]
    file.write_bytes(newline.join(separator.join(line) for line in lines).encode(encoding))

    assert read(file) == CAFE


def test_a_file_in_an_old_encoding_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(b"text,label\ncaf\xe9,place\n")

    with caplog.at_level(logging.WARNING):
        assert read(file) == [("café", "place")]
    assert "is not UTF-8, so it was read as Windows-1252" in caplog.text


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"sep=;\r\ntext;label\r\na, b;c\r\n", [("a, b", "c")]),
        (b"Text;LABEL\na;b\n", [("a", "b")]),
        (b'"text";"label"\n"a";"b"\n;\n\n', [("a", "b")]),
        (b"label,other;thing,text\nb,c,a\n", [("a", "b")]),
        (b"\n\ntext,label\na,b\n,\n", [("a", "b")]),
    ],
)
def test_what_spreadsheets_add_is_no_row(tmp_path: Path, data: bytes, rows: list[tuple[str, str]]) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(data)

    assert read(file) == rows


@pytest.mark.parametrize(
    ("data", "line", "said"),
    [
        (b"", None, "is empty"),
        (b"GIF89a\x00\x01", None, "is binary"),
        (b"\x81\x8d\xff", None, "is not UTF-8 text"),
        (b"text\na\n", 1, "has no column 'label'"),
        (b"text;label\na;b;c\n", 2, "has 3 fields where the header names 2: put text with semicolons in quotes"),
        (b'sep=,\ntext,label\na,b\n"open,c\n', 4, "is not a CSV"),
        (b"text,label\n", None, "holds no rows"),
        (b"text,label,Text\na,b,c\n", 1, "has two columns named 'text'"),
        (b"text,label,id,id\na,b,c,d\n", 1, "has two columns named 'id'"),
        (b'{"text": "a", "label": "b"}\n', None, "is JSON, not a CSV"),
    ],
)
def test_what_is_no_such_table_is_refused_with_its_line(
    tmp_path: Path, data: bytes, line: int | None, said: str
) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(data)

    with pytest.raises(ConfigError, match=said) as refused:
        read(file)
    assert refused.value.line == line


@given(st.binary(max_size=80))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_bytes(b"text,label\n" + data)
    with suppress(ConfigError):
        assert all(text is not None and label is not None for text, label in read(file))
