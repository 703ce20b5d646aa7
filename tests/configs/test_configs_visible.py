"""Every character of what a person approves can be seen, and text in one script stays as it is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.visible import unseen, visible


@pytest.mark.parametrize(
    "text",
    ["plain\n\ttext", "größer", "naïve café", "日本語 中文abc", "привет мир", "Ελληνικά", "שָׁלוֹם", "Tiếng Việt", "10 µs",
     "“quoted” – dash…", "Документ.txt", "½ ™", "한국어", "👍"],
)  # fmt: skip
def test_what_can_be_read_stays_as_it_is(text: str) -> None:
    assert (visible(text), unseen(text)) == (text, ())


@pytest.mark.parametrize(
    "code",
    [0x00, 0x1B, 0x7F, 0x85, 0xA0, 0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x1680, 0x17B4, 0x180B, 0x180E, 0x2000, 0x2007,
     0x200B, 0x200C, 0x200D, 0x200E, 0x2028, 0x2029, 0x202A, 0x202E, 0x202F, 0x205F, 0x2060, 0x2062, 0x2066, 0x2069,
     0x2800, 0x3000, 0x3164, 0xD800, 0xE000, 0xFE0F, 0xFEFF, 0xFFA0, 0xFFF9, 0xFFFC, 0xFFFF, 0x1D159, 0x1D173, 0xE0001,
     0xE0041, 0xE007F, 0xE0100, 0xF0000, 0x2044, 0x2215, 0x2212, 0x2010, 0xFF0F, 0xFF52, 0x037E, 0x1D42B, 0x2236],
    ids=hex,
)  # fmt: skip
def test_what_is_not_seen_or_passes_for_something_else_is_written_as_its_code(code: int) -> None:
    written = f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
    assert visible(f"a{chr(code)}b") == f"a{written}b"
    (name,) = unseen(f"a{chr(code)}b")
    assert name.startswith(f"U+{code:04X}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("p\u0430ypal", "p\\u0430ypal"), ("\u0430\u0440\u0440\u04cf\u0435.com", "\\u0430\\u0440\\u0440\\u04cf\\u0435.com"),
     ("r\u043e\u043et", "r\\u043e\\u043et"), ("g\u03bf", "g\\u03bf"), ("m\u043e\u0441@mail", "m\\u043e\\u0441@mail")],
)  # fmt: skip
def test_letters_of_another_script_in_a_latin_word_are_marked(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_flood_of_combining_marks_is_counted_out() -> None:
    assert visible("z" + "\u0301" * 6) == "z" + "\u0301" * 3 + "\\u0301" * 3


@given(st.text())
def test_nothing_that_is_shown_is_a_control_format_or_blank_character(text: str) -> None:
    left = [c for c in visible(text) if c not in "\n\t " and unicodedata.category(c)[0] in "CZ"]
    assert left == []
