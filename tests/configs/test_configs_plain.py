"""Text without what a terminal would obey."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.plain import plain, plain_content


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\x1b[31mred\x1b[0mb", "aredb"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;aGk= and what follows stays", "52;c;aGk= and what follows stays"),
        ("\x1bP1$r0m\x1b\\x", "x"),
        ("\x9b2Jx\x9d0;t\x9cy", "xy"),
        ("\x1b(Bx\x1bcy\x1b", "xy"),
        ("nul\x00 bell\x07 back\x08 del\x7f", "nul bell back del"),
        ("safe\rEVIL\r\nnext\ttab\n", "safe\nEVIL\r\nnext\ttab\n"),
        ("größer 日本語 👩\u200d💻", "größer 日本語 👩\u200d💻"),
    ],
)
def test_sequences_and_control_characters_are_taken_out_and_all_else_stays(text: str, said: str) -> None:
    assert plain(text) == said


@given(st.text())
def test_nothing_that_is_obeyed_is_left_and_a_second_time_changes_nothing(text: str) -> None:
    said = plain(text)
    assert not [c for c in said if (ord(c) < 32 and c not in "\t\n\r") or 127 <= ord(c) < 160]
    assert plain(said) is said or "\r" in said
    assert plain(said) == said


def test_blocks_of_a_message_are_cleaned_where_they_hold_text() -> None:
    picture = {"type": "image", "base64": "aGk="}
    assert plain_content([{"type": "text", "text": "a\x00"}, picture, "b\x1b[1m"]) == [
        {"type": "text", "text": "a"}, picture, "b"
    ]  # fmt: skip
    clean = [{"type": "text", "text": "a"}]
    assert plain_content(clean) is clean
