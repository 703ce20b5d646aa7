"""Find items in a result that make the same statement with another value: "opens at six" and "opens at seven".

No item is removed: two sentences that differ in a value need not mean that one replaced the other (two trains may leave
at two times). The later item is placed first, and the earlier one refers to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..items import Row
from .words import is_content

__all__ = ["later"]

_TOKEN = re.compile(r"\w+(?:[.,:/-]\w+)*|[^\w\s]")
_LONGEST = 300  # characters of a text that is compared; a longer text is not a single statement
_VALUE = 3  # the most words a value has
_FRAME = 3  # content words that two texts must share

_NAMED = frozenset(
    "zero one two three four five six seven eight nine ten eleven twelve noon midnight monday tuesday wednesday "  # noqa: SIM905
    "thursday friday saturday sunday january february march april may june july august september october november "
    "december yes no true false on off open closed enabled disabled".split()
)


def later(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Return all ids, later items first, each with the ids of the items that state a later value for the same thing.

    Args:
        rows: The items found, best first.
    """
    texts = {row.id: _TOKEN.findall(row.text.lower()) if len(row.text) <= _LONGEST else [] for row in rows}
    newer = {
        row.id: [
            other
            for other in rows
            if other.updated > row.updated
            and other.namespace == row.namespace
            and _differ(texts[row.id], texts[other.id])
        ]
        for row in rows
    }
    ordered: dict[str, tuple[str, ...]] = {}

    def take(row: Row) -> None:
        for other in newer[row.id]:
            take(other)
        ordered.setdefault(row.id, tuple(other.id for other in newer[row.id]))

    for row in rows:
        take(row)
    return ordered


def _differ(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two texts are the same except for a value at their ends."""
    if abs(len(one) - len(other)) >= _VALUE:
        return False
    while one and other and one[-1] == other[-1] and not one[-1].isalnum():
        one, other = one[:-1], other[:-1]
    shared = next((i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    if shared is None or sum(map(is_content, filter(str.isalnum, one[:shared]))) < _FRAME:
        return False
    return all(0 < len(end) <= _VALUE and all(map(_is_value, end)) for end in (one[shared:], other[shared:]))


def _is_value(token: str) -> bool:
    return token in _NAMED or any(letter.isdigit() for letter in token) or not token.isalnum()
