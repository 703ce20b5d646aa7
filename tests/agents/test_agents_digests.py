"""A digest names one call: no other call, however alike it looks, has it."""

from __future__ import annotations

import datetime
import decimal
import enum
import itertools
import threading
import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.agents.approval.digests import digest, digests
from pydantic import BaseModel


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Model(BaseModel):
    x: int


@dataclass
class Data:
    x: int


class Same:
    """Whatever it holds, its text is the same."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __str__(self) -> str:
        return "same"

    __repr__ = __str__


NOON = datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.UTC)

ALIKE: list[Any] = [
    1, "1", True, 1.0, b"1", bytearray(b"1"), decimal.Decimal(1), decimal.Decimal("1.0"), [1], (1,), {1},
    frozenset({1}), 0.0, -0.0, 0, False, "", b"", None, "None", "null", [], (), {}, [None], {"": None}, {1: 2},
    {"1": 2}, {"1": "2"}, float("nan"), "nan", float("inf"), "a", "A", "á", "a\u0301", "\ud800", ["ab"], ["a", "b"],
    [["a"], "b"], ["a", ["b"]], NOON, str(NOON), NOON.isoformat(), NOON.date(), NOON.replace(tzinfo=None),
    NOON.replace(fold=1), Colour.RED, Colour.BLUE, Model(x=1), Model(x=2), Data(1), Data(2), Same(1), Same(2), "same",
    uuid.UUID(int=1), PurePosixPath("a"), deque([1]), deque([2]), OrderedDict(a=1), {"a": 1}, {"a": True},
    {"a": 1, "b": None}, str, bytes,
]  # fmt: skip


def test_no_two_values_that_look_alike_share_a_digest_and_each_has_one() -> None:
    named = [digest("tool", {"x": value}) for value in ALIKE]
    assert named == [digest("tool", {"x": value}) for value in ALIKE]
    twins = [(a, b) for (a, x), (b, y) in itertools.combinations(zip(ALIKE, named, strict=True), 2) if x == y]
    assert twins == []
    assert {len(one) for one in named} == {64}


def test_a_missing_argument_is_not_null_and_not_another_missing_one() -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("t", {}), ("t", {"a": None}), ("t", {"b": None}), ("t", {"a": None, "b": None}), ("t", {"a": {}}), ("u", {}),
        ("t{}", {}), ("", {"t": {}}),
    ]  # fmt: skip
    assert len({digest(*call) for call in calls}) == len(calls)


def test_the_order_of_names_and_of_a_set_does_not_count() -> None:
    assert digest("t", {"a": 1, "b": {3, 1, 2}}) == digest("t", {"b": {2, 3, 1}, "a": 1})


def test_what_nothing_tells_of_equals_nothing_not_even_itself() -> None:
    circle: list[Any] = []
    circle.append(circle)
    for value in (threading.Lock().acquire, circle, (n for n in ()), lambda: 1):
        assert digest("t", {"x": value}) != digest("t", {"x": value})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
_ARGUMENTS = st.dictionaries(st.text(max_size=4), _JSON, max_size=4)


def _typed(value: Any) -> Any:
    """The value with the type of each part, so that equal means the same."""
    if isinstance(value, dict):
        return ("dict", sorted((key, _typed(item)) for key, item in value.items()).__repr__())
    if isinstance(value, list):
        return ("list", [_typed(item) for item in value])
    return (type(value).__name__, repr(value))


@given(_ARGUMENTS, _ARGUMENTS)
def test_two_calls_share_a_digest_only_where_they_are_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (digest("t", one) == digest("t", other)) == (_typed(one) == _typed(other))


@given(_ARGUMENTS.filter(bool), st.data(), _JSON)
def test_every_argument_counts(arguments: dict[str, Any], data: st.DataObject, value: Any) -> None:
    name = data.draw(st.sampled_from(sorted(arguments)))
    fewer = {key: item for key, item in arguments.items() if key != name}
    assert digest("t", fewer) != digest("t", arguments)
    changed = {**arguments, name: value}
    assert (digest("t", changed) == digest("t", arguments)) == (_typed(changed) == _typed(arguments))


@pytest.mark.parametrize("arguments", [{"to": "ann"}, {"when": datetime.date(2020, 1, 1)}], ids=str)
def test_an_act_is_known_by_the_name_that_version_0_1_gave_it_too(arguments: dict[str, Any]) -> None:
    import hashlib
    import json

    text = json.dumps(["send", arguments], sort_keys=True, ensure_ascii=False, default=str)
    earlier = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert digests("send", arguments) == (digest("send", arguments), earlier)
