"""What a step is for where it does not say, and what a transcript tells of what its tools have done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pointsman.configs.words import Effect, Risk, StepKind, Tier
from pointsman.routing.decision import Decision
from pointsman.routing.features.features import extract, features_dict, from_dict
from pointsman.routing.request import RouteRequest

Decide = Callable[..., Decision]


def transcript(*names: str) -> tuple[dict[str, Any], ...]:
    """A conversation in which these tools were called one after the other."""
    said: list[dict[str, Any]] = [{"role": "user", "content": "Tidy up."}]
    for name in names:
        call = {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}}
        said.append({"role": "assistant", "content": "", "tool_calls": [call]})
        said.append({"role": "tool", "tool_call_id": name, "content": f"{name} is done"})
    return tuple(said)


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ({}, "transform"),
        ({"tier": "advanced"}, "transform"),
        ({"tier": "frontier"}, "decide"),
        ({"structured": True}, "transform"),
        ({"effects": ["read"]}, "gather"),
        ({"effects": ["read"], "tier": "frontier"}, "gather"),
        ({"effects": ["read", "read"], "tools": 5}, "gather"),
        ({"effects": ["read", "write"]}, "act"),
        ({"effects": ["external"]}, "act"),
        ({"effects": ["external", "read"], "only_reads": True}, "gather"),
        ({"effects": ["external", "write"], "only_reads": True}, "act"),
        ({"effects": ["destructive"], "only_reads": True}, "act"),
        ({"tools": 1}, "act"),
        ({"tools": 1, "only_reads": True}, "act"),
        ({"tools": 1, "kind": "gather"}, "gather"),
    ],
)
def test_the_kind_follows_from_the_reach_where_it_is_not_declared(declared: dict[str, Any], kind: str) -> None:
    features = extract(RouteRequest(**declared))
    assert features.kind == kind
    assert from_dict(features_dict(features)) == features
    # Older records name no kind for such a step; it is told when they are read again.
    older = features_dict(features) | ({} if "kind" in declared else {"kind": "undeclared"})
    assert from_dict(older) == features


@pytest.mark.parametrize("kind", [None, *StepKind])
def test_a_tool_without_a_declared_effect_counts_as_destructive_whatever_the_kind(route: Decide, kind: Any) -> None:
    decision = route(kind=kind, tools=1)
    assert (decision.risk, decision.tier) == (Risk.HIGH, Tier.FRONTIER)


@pytest.mark.parametrize("declared", [{"kind": "transform"}, {"kind": "gather"}, {"effects": []}, {"tools": 0}])
def test_a_transcript_whose_tools_nobody_declared_is_not_of_low_risk(route: Decide, declared: dict[str, Any]) -> None:
    decision = route(messages=transcript("look_up", "drop_table"), **declared)
    assert decision.risk is Risk.MEDIUM
    assert "transcript.destroyed" in {hit.id for hit in decision.rules}


def test_a_bare_transcript_that_declares_nothing_has_the_tools_it_shows(route: Decide) -> None:
    decision = route(messages=transcript("look_up"))
    assert (decision.features.kind, decision.features.tools, decision.risk) == ("act", 1, Risk.HIGH)
    assert route(messages=transcript("look_up"), called={"look_up": "read"}).risk is Risk.LOW


def test_calls_known_by_name_count_as_what_they_are_declared(route: Decide) -> None:
    known = {"look_up": "read", "drop_table": "destructive"}
    assert route(messages=transcript("look_up"), called=known).risk is Risk.LOW
    assert route(messages=transcript("look_up", "drop_table"), called=known).risk is Risk.MEDIUM
    # What is bound now cannot take back what was done.
    assert route(messages=transcript("drop_table"), called=known, effects=["read"]).risk is Risk.MEDIUM


def test_calls_in_a_transcript_are_taken_for_those_of_the_tools_that_are_declared(route: Decide) -> None:
    decision = route(messages=transcript("look_up", "look_up"), effects=["read"], tier="economy")
    assert (decision.risk, decision.features.done) == (Risk.LOW, None)


def test_calls_in_blocks_of_content_count_like_any_other(route: Decide) -> None:
    call = {"type": "tool_use", "id": "1", "name": "drop_table", "input": {}}
    messages = ({"role": "user", "content": "Go."}, {"role": "assistant", "content": [call]})
    assert route(messages=messages).features.done is Effect.DESTRUCTIVE


def test_older_records_are_read_without_the_features_that_nobody_uses_any_more() -> None:
    features = extract(RouteRequest())
    older = {name: value for name, value in features_dict(features).items() if name not in ("only_reads", "evidence")}
    assert from_dict({**older, "thought": 3, "chores": 0}) == features
