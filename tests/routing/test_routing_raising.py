"""What raises a step above its declared tier: evidence, named, by one tier, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.configs.catalog import ModelCard
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Effect, FailureKind, Tier
from pointsman.routing.decide import decide
from pointsman.routing.decision import Decision
from pointsman.routing.evidence import Finding, is_evidence, of_failure, wilson
from pointsman.routing.experience import TaskStats
from pointsman.routing.explain import decision_dict, replay
from pointsman.routing.features.features import extract, from_dict
from pointsman.routing.features.progress import Repeated, repeated, stalled
from pointsman.routing.policy.policy import Policy
from pointsman.routing.request import RouteRequest, RoutingContext
from pydantic import ValidationError

Decide = Callable[..., Decision]
Message = dict[str, Any]


def asked(text: str = "Where is order 7?") -> Message:
    return {"role": "user", "content": text}


def call(arguments: Any, name: str = "look_up", key: str = "c1") -> Message:
    """An assistant's call; arguments that are a text stand as OpenAI writes them."""
    if isinstance(arguments, str):
        made = {"id": key, "type": "function", "function": {"name": name, "arguments": arguments}}
    else:
        made = {"id": key, "name": name, "args": arguments}
    return {"role": "assistant", "content": "", "tool_calls": [made]}


def told(text: str, key: str = "c1", **more: Any) -> Message:
    return {"role": "tool", "tool_call_id": key, "content": text, **more}


def evidence(decision: Decision) -> list[str]:
    return [hit.id for hit in decision.rules if is_evidence(hit.id)]


def loop(route: Decide, *messages: Message, **declared: Any) -> Decision:
    return route(messages=messages, effects=["read"], tier="economy", **declared)


# --- loops ---

SAME = (call('{"id": 7, "of": "a"}'), told("not found"), call({"of": "a", "id": 7}), told("not found"))
BOTH = {**SAME[0], "tool_calls": [*SAME[0]["tool_calls"], *call({"id": 8}, key="c2")["tool_calls"]]}
FAILING = (call({"id": 7}), told("Error: no such order"), call({"id": 8}), told("ValueError: 8"))


def test_the_same_call_that_tells_the_same_again_raises_the_step_by_one_tier(route: Decide) -> None:
    decision = loop(route, asked(), *SAME)
    assert decision.tier is Tier.STANDARD
    assert evidence(decision) == ["evidence.repeated-call"]
    (reason,) = [hit.reason for hit in decision.rules if is_evidence(hit.id)]
    assert reason == "look_up was called again with the same arguments and told the same: standard and not economy"


def test_errors_in_a_row_raise_the_step_by_one_tier(route: Decide) -> None:
    decision = loop(route, asked(), *FAILING)
    assert (decision.tier, evidence(decision)) == (Tier.STANDARD, ["evidence.errors-in-a-row"])


def test_several_findings_raise_no_further_than_one_and_are_all_named(route: Decide) -> None:
    again = (call({"id": 7}), told("Error: gone"))
    decision = loop(route, asked(), *again, *again, *again)
    assert decision.tier is Tier.STANDARD
    assert evidence(decision) == ["evidence.repeated-call", "evidence.errors-in-a-row"]


@pytest.mark.parametrize(
    "messages",
    [
        (asked(), call({"id": 7}), told("sent")),
        (asked(), call({"id": 7}), told("sent"), call({"id": 8}), told("sent")),
        # Polling, and turning a page: the same call told something else.
        (asked(), call({}), told("30 %"), call({}), told("60 %"), call({}), told("90 %")),
        # Asked again by the user.
        (asked(), call({"id": 7}), told("sent"), {"role": "assistant", "content": "Sent."}, asked(), *SAME[:2]),
        (asked(), *SAME, {"role": "assistant", "content": "Not there."}, asked("Thanks!")),
        # One error, and one after which it went on.
        (asked(), *FAILING[:2]),
        (asked(), *FAILING[:2], call({"id": 9}), told("sent"), *FAILING[2:]),
        # Words about errors are no errors.
        (asked(), call({"id": 1}), told("2 errors were fixed"), call({"id": 2}), told('{"error": null, "log": "x"}')),
        (asked(), call({"id": 1}), told("The log says: Error: disk full"), call({"id": 2}), told("Errors: 0")),
        (asked(), call({"id": 1}), told("Error handling in Go: chapter 1"), call({"id": 2}), told('{"error": 0.02}')),
        # New and old at once is progress.
        (asked(), *SAME[:2], BOTH, told("not found"), told("sent", "c2")),
    ],
)  # fmt: skip
def test_a_loop_that_goes_on_stays_where_it_is(route: Decide, messages: tuple[Message, ...]) -> None:
    decision = loop(route, *messages)
    assert (decision.tier, evidence(decision)) == (Tier.ECONOMY, [])


def test_a_rise_holds_for_the_turn_whose_evidence_demands_it(route: Decide) -> None:
    assert loop(route, asked(), *SAME).tier is Tier.STANDARD
    assert loop(route, asked(), *SAME, call({"id": 8}), told("sent")).tier is Tier.ECONOMY


@pytest.mark.parametrize(
    "failed",
    [
        told("no", status="error"),
        told("Error invoking tool 'look_up'"),
        told("Error: no such order"),
        told("exit code: 2"),
        told('{"error": {"code": 404}}'),
        told("Traceback (most recent call last):\n  ..."),
        told("requests.exceptions.ConnectionError: refused"),
        told('{"error": "no such order"}'),
        told('{"isError": true, "content": []}'),
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "no", "is_error": True}]},
    ],
)
def test_an_error_is_known_by_its_declaration_or_by_how_it_begins(failed: Message) -> None:
    found = stalled((asked(), call({"id": 1}), failed, call({"id": 2}), failed))
    assert [finding.id for finding in found] == ["evidence.errors-in-a-row"]


def test_calls_and_results_in_anthropics_blocks_are_understood() -> None:
    def turn(key: str) -> tuple[Message, Message]:
        block = {"type": "tool_use", "id": key, "name": "look_up", "input": {"id": 7}}
        result = {"type": "tool_result", "tool_use_id": key, "content": [{"type": "text", "text": "not found"}]}
        return {"role": "assistant", "content": [block]}, {"role": "user", "content": [result]}

    assert [finding.id for finding in stalled((asked(), *turn("a"), *turn("b")))] == ["evidence.repeated-call"]


def test_a_picture_that_is_another_is_something_new() -> None:
    def turn(picture: str) -> tuple[Message, Message]:
        parts = [{"type": "text", "text": "the screen"}, {"type": "image", "base64": picture}]
        return call({}), {"role": "tool", "tool_call_id": "c1", "content": parts}

    assert stalled((asked(), *turn("AAAA"), *turn("BBBB"))) == ()
    assert [finding.id for finding in stalled((asked(), *turn("AAAA"), *turn("AAAA")))] == ["evidence.repeated-call"]


def test_a_call_is_counted_as_often_as_it_told_the_same_since_there_was_news() -> None:
    first, other = (call({"id": 7, "to": "x"}), told("not found")), (call({"id": 8}), told("sent"))
    again = (call({"to": "x", "id": 7}), told("not found"))
    assert repeated((asked(), *first, *other)) is None
    found = repeated((asked(), *first, *again, *other, *again, *again))
    assert found == Repeated((("look_up", '{"id": 7, "to": "x"}'),), 3)
    assert repeated((asked(), *first, *other, *again, *other, *again)) == found


def test_results_without_an_id_answer_the_calls_in_their_order() -> None:
    bare = {"role": "tool", "content": "not found"}
    assert stalled((asked(), SAME[0], bare, SAME[2], bare))


TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT, lambda one: st.lists(one) | st.dictionaries(TEXT, one)
)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "tool_use", "tool_result"])},
    optional={"text": TEXT, "content": TEXT, "id": TEXT, "tool_use_id": TEXT, "input": JSON},
)
CALLS = st.lists(
    st.fixed_dictionaries({}, optional={"id": TEXT, "name": TEXT, "args": JSON, "function": JSON}), max_size=2
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant", "tool"]),
        "content": TEXT | st.none() | st.lists(PART, max_size=2),
    },
    optional={"tool_calls": CALLS, "tool_call_id": TEXT, "status": st.just("error")},
)


@pytest.mark.slow
@given(st.lists(MESSAGE, max_size=6))
def test_no_transcript_is_too_strange_to_be_read(messages: list[Message]) -> None:
    assert all(is_evidence(finding.id) for finding in stalled(messages))


# --- what a caller knows ---

DOUBT = Finding("evidence.doubted", "the verifier doubts it", Tier.ADVANCED)


def test_a_verifiers_doubt_is_a_demand_that_no_model_below_may_meet(route: Decide) -> None:
    decision = route(kind="gather", evidence=[DOUBT])
    assert decision.tier is Tier.ADVANCED
    assert evidence(decision) == ["evidence.doubted"]
    rejected = {one.model: one.reason for one in decision.rejected}
    assert rejected["anthropic/claude-haiku-4-5"] == "tier standard is below advanced, which evidence.doubted demands"


def test_a_demand_that_nobody_can_meet_leaves_nobody(route: Decide, over: Any, card: Any) -> None:
    decision = route(by=over(card("a/x")), kind="gather", evidence=[DOUBT])
    assert decision.model is None


def test_a_finding_that_names_no_tier_stays_where_nothing_above_qualifies(route: Decide, over: Any, card: Any) -> None:
    by = over(card("a/x"), rules=[{"id": "cheap", "reason": "always", "tier": "economy"}])
    decision = loop(route, asked(), *SAME, by=by)
    assert (decision.model, evidence(decision)) == ("a/x", [])
    assert "but no model above qualifies" in {hit.id: hit.reason for hit in decision.rules}["tier.highest"]


def test_a_rise_starts_from_the_tier_that_is_really_there(route: Decide, over: Any, card: Any) -> None:
    cards = card("a/s", "standard"), card("a/f", "frontier")
    decision = loop(route, asked(), *SAME, by=over(*cards))
    assert decision.tier is Tier.FRONTIER


def test_a_model_asked_for_gives_way_to_evidence_against_its_tier(route: Decide) -> None:
    mini, haiku = "openai/gpt-5.4-mini", "anthropic/claude-haiku-4-5"
    assert loop(route, asked(), model=mini).model == mini
    assert loop(route, asked(), *SAME, model=mini).tier is Tier.STANDARD
    assert loop(route, asked(), *SAME, model=haiku).tier is Tier.ADVANCED
    assert route(kind="gather", model=mini, evidence=[DOUBT]).tier is Tier.ADVANCED
    assert (
        route(kind="gather", model="anthropic/claude-opus-4-7", evidence=[DOUBT]).model == "anthropic/claude-opus-4-7"
    )


def test_evidence_is_recorded_and_replays(route: Decide, policy: Policy) -> None:
    for decision in (loop(route, asked(), *SAME), route(kind="gather", evidence=[DOUBT])):
        recorded = json.loads(json.dumps(decision_dict(decision)))
        assert replay(recorded["features"], policy) == decision


def test_evidence_can_be_given_in_a_json_request_and_must_be_named_as_such() -> None:
    given_one = '{"evidence": [{"id": "evidence.doubted", "reason": "no source", "at_least": "standard"}]}'
    assert RouteRequest.model_validate_json(given_one).evidence[0].at_least is Tier.STANDARD
    with pytest.raises(ValidationError, match=r"must begin with 'evidence\.'"):
        RouteRequest(evidence=[("doubted", "no source", None)])
    with pytest.raises(ConfigError, match="evidence"):
        from_dict({"evidence": [["doubted", "x", None]]})
    with pytest.raises(ConfigError, match="evidence"):
        from_dict({"evidence": 3})


# --- history ---


def past(usable: float, unusable: float, failed: float = 0.0) -> TaskStats:
    calls = usable + unusable + failed
    return TaskStats(calls, usable / calls, unusable=unusable)


@pytest.fixture
def ladder(card: Callable[..., ModelCard], over: Callable[..., Policy]) -> Policy:
    """Two models of one tier, and one above."""
    return over(card("a/x"), card("b/y"), card("c/z", "standard"), rules=[
        {"id": "cheap", "reason": "always", "tier": "economy"}
    ])  # fmt: skip


def by_history(route: Decide, ladder: Policy, **known: TaskStats) -> Decision:
    experience = {{"x": "a/x", "y": "b/y", "z": "c/z"}[name]: one for name, one in known.items()}
    return route(by=ladder, kind="gather", task="sort", now=RoutingContext(experience=experience))


def test_history_raises_a_step_where_every_model_of_its_tier_mostly_fails_at_it(route: Decide, ladder: Policy) -> None:
    decision = by_history(route, ladder, x=past(4, 26), y=past(0, 25))
    assert decision.tier is Tier.STANDARD
    (reason,) = [hit.reason for hit in decision.rules if hit.id == "evidence.history"]
    assert "a/x gave 4 usable of 30 sort replies (95 %: 5 to 30 %)" in reason
    assert "b/y gave 0 usable of 25 sort replies (95 %: 0 to 13 %)" in reason


@pytest.mark.parametrize(
    "known",
    [
        {"x": past(4, 26)},
        {"x": past(4, 26), "y": past(20, 5)},
        # Too few, or too near to a half to tell.
        {"x": past(0, 15), "y": past(0, 15)},
        {"x": past(10, 14), "y": past(0, 25)},
        # Failed for the provider's sake.
        {"x": past(5, 0, failed=95), "y": past(5, 0, failed=95)},
        {"x": past(0, 0, failed=100), "y": past(0, 0, failed=100)},
    ],
)
def test_history_raises_nothing_without_enough_replies_that_could_not_be_used(
    route: Decide, ladder: Policy, known: dict[str, TaskStats]
) -> None:
    decision = by_history(route, ladder, **known)
    assert (decision.tier, evidence(decision)) == (Tier.ECONOMY, [])


def test_history_never_raises_what_the_device_may_decline_by_itself(route: Decide, over: Any, card: Any) -> None:
    by = over(card("a/x", "ondevice"), card("c/z", "economy"))
    now = RoutingContext(experience={"a/x": past(0, 100)})
    assert route(by=by, kind="gather", now=now).model == "a/x"


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0.1, 1e6))
def test_an_interval_holds_its_share_and_narrows_with_the_count(share: float, count: float) -> None:
    low, high = wilson(share, count)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1
    closer = wilson(share, count * 4)
    assert closer[1] - closer[0] <= high - low


def test_the_interval_is_the_one_of_the_textbooks() -> None:
    # Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion", Statistical Science 16, 2001.
    assert [round(end, 4) for end in wilson(0.1, 10)] == [0.0179, 0.4042]


# --- which failures are evidence ---


def test_a_failure_is_evidence_where_the_reply_failed_and_not_the_provider() -> None:
    found = {kind: of_failure(kind) for kind in FailureKind}
    assert {kind.value for kind, name in found.items() if name} == {
        "content_filter", "declined", "empty", "invalid_output", "malformed", "refusal", "truncated",
    }  # fmt: skip
    assert all(is_evidence(name) for name in found.values() if name)


def test_what_failed_in_its_content_goes_up_and_what_failed_for_the_provider_goes_sideways(policy: Policy) -> None:
    on_failure = policy.routing.on_failure
    assert {kind for kind in FailureKind if on_failure[kind] == "stronger"} == {
        kind for kind in FailureKind if of_failure(kind) is not None
    }
    sideways = ("rate_limit", "overloaded", "timeout", "connection", "unavailable", "auth", "quota", "wrong_model")
    assert {on_failure[FailureKind(kind)] for kind in sideways} == {"next"}


def test_evidence_changes_nothing_about_the_floor(policy: Policy) -> None:
    risky = decide(from_dict({"kind": "act", "effects": ["destructive"]}), policy)
    again = decide(replace(risky.features, evidence=(Finding("evidence.x", "seen"),)), policy)
    assert (again.risk, again.floor, again.tier) == (risky.risk, risky.floor, Tier.FRONTIER)


@pytest.mark.parametrize(
    "text", ["ERROR 2026-01-01 disk full on node 3", "KeyError is raised when a key is missing", "fatal: the series"]
)
def test_a_result_that_is_declared_a_success_is_no_error_whatever_it_begins_with(text: str) -> None:
    def loop(**declared: Any) -> list[Message]:
        return [asked()] + [
            message
            for turn in range(3)
            for message in (call({"node": turn}, key=f"c{turn}"), told(f"{text} {turn}", key=f"c{turn}", **declared))
        ]

    assert stalled(loop(status="success")) == ()
    assert [finding.id for finding in stalled(loop(status="error"))] == ["evidence.errors-in-a-row"]


@pytest.mark.parametrize("kind", ["tool_use", "server_tool_use", "tool_call", "function_call"])
def test_a_call_that_stands_among_the_parts_of_a_message_counts(kind: str) -> None:
    part = {"type": kind, "id": "c1", "name": "drop_table", "input": {}, "arguments": "{}"}
    request = RouteRequest.model_validate(
        {"messages": [asked(), {"role": "assistant", "content": [part]}], "effects": ["read"], "called": {"x": "read"}}
    )
    assert extract(request).done is Effect.DESTRUCTIVE
