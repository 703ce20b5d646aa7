"""How hard a step looks, from the shape of its conversation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.configs.words import StepKind
from pointsman.routing.complexity import heuristic
from pointsman.routing.features import Features, extract
from pointsman.routing.request import RouteRequest

PROGRAM = "def total(items):\n    return sum(item.price * item.count for item in items if item._paid == True)\n" * 9
PROSE = "The committee met on Tuesday and agreed that the report should be sent to every member before Friday. " * 9

FEATURES = st.builds(
    Features,
    kind=st.sampled_from([*StepKind, "undeclared"]),
    tools=st.integers(0, 3),
    tool_results=st.integers(0, 50),
    tool_errors=st.integers(0, 50),
    tests_failed=st.integers(0, 50),
    last_failed=st.booleans(),
    tokens=st.integers(0, 2_000_000),
    code_share=st.floats(0, 1),
    thought=st.integers(0, 9),
    chores=st.integers(0, 9),
)


def score(*messages: dict[str, Any], **declared: Any) -> float:
    return heuristic(extract(RouteRequest(messages=messages, **declared)))[0]


def said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


@settings(deadline=None)
@given(FEATURES)
def test_score_and_confidence_lie_between_nothing_and_one(features: Features) -> None:
    complexity, confidence = heuristic(features)
    assert 0 <= complexity <= 1
    assert 0 <= confidence <= 1


@settings(deadline=None)
@given(FEATURES, st.sampled_from(["tool_errors", "tests_failed", "thought", "tool_results"]))
def test_more_trouble_thought_or_work_never_looks_easier(features: Features, name: str) -> None:
    more = replace(features, **{name: getattr(features, name) + 1})
    assert heuristic(more)[0] >= heuristic(features)[0]


@pytest.mark.parametrize("kind", ["gather", "transform"])
def test_gathering_and_transforming_a_modest_text_without_tools_stays_economy(kind: str) -> None:
    hard = f"Analyse this design, debug the race and explain why:\n{PROGRAM}", f"Traceback\nError: no\n{PROGRAM}"
    messages = said("user", hard[0]), said("tool", hard[1]), said("tool", hard[1]), said("tool", hard[1])
    assert score(*messages, kind=kind) < 0.35 < score(*messages, kind="decide")


def test_gathering_without_tools_in_a_long_conversation_is_judged_like_any_other() -> None:
    messages = said("user", PROGRAM * 40), *[said("tool", f"{PROGRAM}\nError: no")] * 3
    assert score(*messages, kind="gather") == score(*messages, kind="decide") > 0.35


def test_a_long_transcript_to_be_summarised_is_not_hard() -> None:
    assert score(said("user", f"Summarise this meeting:\n{PROSE * 60}"), kind="decide") < 0.15


def test_work_under_way_in_code_is_harder_than_the_request_for_it_and_trouble_harder_still() -> None:
    request = said("user", f"{PROSE}\n{PROGRAM}")
    seen, failed = said("tool", PROGRAM), said("tool", f"{PROGRAM}\nTraceback (most recent call last):\nKeyError: 1")
    asked, working, stuck = score(request), score(request, seen, seen), score(request, seen, failed)
    assert asked < 0.35 < working < stuck


def test_nothing_said_is_nothing_hard() -> None:
    assert heuristic(Features()) == (0.0, 0.91)
