"""What a server offers is readable and callable by every provider, or refused with a reason."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.words import Effect
from pointsman.tools.mcp.offered import Listing, listing_of, visible


def _listed(**tool: Any) -> Listing:
    return listing_of("s", [{"name": "t", "inputSchema": {"type": "object"}, **tool}])


@given(st.lists(st.text(max_size=90), unique=True, max_size=6))
def test_names_fit_every_provider_and_stay_apart(names: list[str]) -> None:
    listing = listing_of("my-files", [{"name": name, "inputSchema": {}} for name in names])
    assert len(listing.tools) == len(names)
    assert all(re.fullmatch(r"mcp__my-files__[A-Za-z0-9_-]*", name) and len(name) <= 64 for name in listing.tools)
    assert sorted(tool.own for tool in listing.tools.values()) == sorted(names)


def test_a_plain_name_stays_as_it_is() -> None:
    assert list(_listed(name="read_file").tools) == ["mcp__s__read_file"]


def test_two_tools_of_one_name_are_both_refused() -> None:
    listing = listing_of("s", [{"name": "t"}, {"name": "u"}, {"name": "t"}])
    assert list(listing.tools) == ["mcp__s__u"]
    assert listing.refused == {"mcp__s__t": "the server lists two tools of this name"}


@pytest.mark.parametrize(
    "hidden", ["\u202e", "\u200b", "\x1b[2J", "\x00", "\U000e0041", "\ue000", "\u2028", "\ufeff", "\x9b", "\r"]
)
def test_what_is_not_seen_is_written_out_or_refused(hidden: str) -> None:
    code = f"<U+{ord(hidden[0]):04X}>"
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": f"an {hidden} argument"}}}
    (tool,) = _listed(description=f"Read{hidden} it", inputSchema=schema).tools.values()
    assert tool.description.startswith(f"Read{code}")
    assert code in tool.schema["properties"]["a"]["description"]
    assert hidden not in f"{tool.description}{tool.schema}"
    for part in ({"properties": {f"a{hidden}": {}}}, {"enum": [f"a{hidden}"]}):
        (reason,) = _listed(inputSchema=part).refused.values()
        assert "with characters that are not seen" in reason


@given(st.text())
def test_nothing_stays_unseen_and_plain_text_stays_as_it_is(text: str) -> None:
    assert visible(visible(text)) == visible(text)
    assert visible(text).encode().decode() == visible(text)
    if text.isascii() and text.isprintable():
        assert visible(text) is text


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "http://169.254.169.254/schema"}, "point to another document"),
        ({"properties": {"a": {"items": [{"$dynamicRef": "file:///etc/passwd"}]}}}, "point to another document"),
        ({"description": "x" * 200_000}, "longer than 100,000 characters"),
    ],
)
def test_a_schema_that_would_be_fetched_or_is_without_measure_is_refused(schema: Any, said: str) -> None:
    for part in ("inputSchema", "outputSchema"):
        (reason,) = _listed(**{part: schema}).refused.values()
        assert said in reason


def test_a_schema_nested_without_end_is_refused() -> None:
    schema: Any = {}
    for _ in range(200):
        schema = {"items": schema}
    (reason,) = _listed(inputSchema=schema).refused.values()
    assert "nested more than 40 levels deep" in reason


def test_references_within_the_schema_stay() -> None:
    schema = {"$defs": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/a"}}}
    (tool,) = _listed(inputSchema=schema).tools.values()
    assert tool.schema == schema


@given(st.sampled_from([None, *Effect]), st.fixed_dictionaries({}, optional={
    "destructiveHint": st.booleans(), "readOnlyHint": st.booleans(), "idempotentHint": st.booleans(),
}))  # fmt: skip
def test_no_hint_lowers_an_effect(declared: Effect | None, hints: dict[str, bool]) -> None:
    (tool,) = _listed(annotations=hints).tools.values()
    effect = tool.effect(declared)
    assert effect >= (declared or Effect.DESTRUCTIVE)
    if hints.get("destructiveHint"):
        assert effect is Effect.DESTRUCTIVE
    if hints.get("readOnlyHint") is False:
        assert effect >= Effect.WRITE
