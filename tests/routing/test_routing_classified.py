"""Complexity as a model judged it: what its word counts, what it cannot do, and when nobody need be asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pointsman.configs.catalog import ModelCard
from pointsman.configs.errors import ConfigError
from pointsman.configs.schema import RoutingPolicy, Settings
from pointsman.configs.words import Effect, Risk, StepKind, Tier
from pointsman.routing.decide import decide
from pointsman.routing.explain import replay
from pointsman.routing.features.features import Features, extract, features_dict, from_dict
from pointsman.routing.policy.dependence import depends_on_complexity
from pointsman.routing.policy.policy import Policy
from pointsman.routing.request import RouteRequest, RoutingContext
from pointsman.routing.scorers.complexity import claimed, classified

SHARE = st.floats(0, 1)
FEATURES = st.builds(
    Features,
    kind=st.sampled_from(StepKind),
    task=st.sampled_from(["chat", "code", "classify"]),
    effects=st.sampled_from([(), (Effect.READ,), (Effect.WRITE,), (Effect.DESTRUCTIVE,)]),
    risk=st.sampled_from([None, *Risk]),
    tier=st.sampled_from([None, *Tier]),
    tools=st.integers(0, 2),
    tool_results=st.integers(0, 5),
    tests_failed=st.integers(0, 5),
    tokens=st.integers(0, 50_000),
    code_share=SHARE,
    tags=st.sampled_from([(), ("vip",)]),
)
STEP = Features(kind="gather", tool_results=4, tokens=4000)


@pytest.fixture(scope="session")
def judging(settings: Settings, catalogue: tuple[ModelCard, ...]) -> Policy:
    """The built-in policy with a model as judge."""
    return Policy.compile(settings.routing, settings.risk, catalogue, scorer=classified)


def test_without_a_judgement_the_rules_decide_alone(judging: Policy, policy: Policy) -> None:
    assert classified(STEP) is None
    assert decide(STEP, judging).tier == decide(STEP, policy).tier
    assert depends_on_complexity(STEP, judging)
    assert not depends_on_complexity(STEP, policy)


def test_the_further_apart_looks_and_worst_case_lie_the_less_a_word_counts() -> None:
    sure, less, unsure = (claimed("simple", hardest)[1] for hardest in ("simple", "middling", "hard"))
    assert sure > less > 0.5 > unsure
    assert claimed("hard", "simple")[1] == claimed("trivial", "extreme")[1] == unsure


@settings(deadline=None)
@given(FEATURES, SHARE, SHARE)
def test_no_judgement_moves_a_step_below_its_floor(
    judging: Policy, features: Features, complexity: float, confidence: float
) -> None:
    plain = decide(features, judging)
    swayed = decide(replace(features, judged=(complexity, confidence)), judging)
    assert (swayed.risk, swayed.floor) == (plain.risk, plain.floor)
    assert swayed.tier.rank >= swayed.floor.rank


def test_a_text_that_talks_its_judge_down_gains_nothing_on_what_is_declared(judging: Policy, policy: Policy) -> None:
    for declared in ({"tier": Tier.ADVANCED}, {"kind": "decide"}, {"risk": Risk.HIGH}):
        features = replace(STEP, **declared)
        fooled = decide(replace(features, judged=claimed("trivial", "trivial")), judging)
        assert fooled.tier >= decide(features, policy).tier


@given(FEATURES, st.tuples(SHARE, SHARE), st.tuples(SHARE, SHARE))
def test_where_nothing_depends_on_complexity_no_judgement_changes_the_decision(
    settings: Settings, catalogue: tuple[ModelCard, ...], features: Features, one: Any, other: Any
) -> None:
    rules = [
        {"id": "vip", "reason": "-", "when": {"tag": "vip"}, "tier": "advanced"},
        {"id": "code", "reason": "-", "when": {"task": "code", "complexity": {"min": 0.5}}, "require": {"coding": 0.8}},
        {"id": "hard", "reason": "-", "when": {"complexity": {"min": 0.5}}, "tier": "standard"},
    ]
    routing = RoutingPolicy(rules=rules, on_failure=settings.routing.on_failure)

    scorers = [lambda _: one, lambda _: other]
    policies = [Policy.compile(routing, settings.risk, catalogue, scorer=scorer) for scorer in scorers]
    assume(not depends_on_complexity(features, policies[0]))
    first, second = (decide(features, policy) for policy in policies)
    assert (first.tier, first.candidates, first.rejected) == (second.tier, second.candidates, second.rejected)
    assert first.rules == second.rules


def test_nobody_need_be_asked_at_the_highest_floor_or_where_a_rule_has_named_the_tier(
    over: Callable[..., Policy], card: Callable[..., ModelCard]
) -> None:
    by_complexity = {"id": "hard", "reason": "-", "when": {"complexity": {"min": 0.5}}, "tier": "advanced"}
    short = {"id": "short", "reason": "-", "when": {"budget_left": {"max": 0.1}}, "tier": "economy"}
    fixed = {"id": "fixed", "reason": "-", "tier": "economy"}
    plain, risky = Features(kind="gather"), Features(kind="gather", risk=Risk.HIGH)

    def depends(features: Features, *rules: Any, **now: Any) -> bool:
        return depends_on_complexity(features, over(card("a/x"), rules=rules), RoutingContext(**now))

    assert depends(plain, by_complexity)
    assert depends(plain, by_complexity, fixed)
    assert not depends(plain, fixed, by_complexity)
    assert not depends(plain, fixed)
    assert not depends(risky, by_complexity)
    assert depends(plain, short, by_complexity, budget_left=0.5)
    assert not depends(plain, short, by_complexity, budget_left=0.05)


def test_a_recorded_judgement_replays_without_the_model(judging: Policy) -> None:
    features = replace(extract(RouteRequest(id="r1", messages=({"role": "user", "content": "Hi"},))), judged=(0.7, 0.7))
    decision = decide(features, judging)
    recorded = json.loads(json.dumps(features_dict(features)))
    assert from_dict(recorded) == features
    assert replay(recorded, judging) == decision
    assert decision.complexity == 0.7
    assert decision.tier is Tier.ADVANCED


@pytest.mark.parametrize("judged", [[0.5], [0.5, 1.5], ["a", "b"], 0.5, [0.1, 0.2, 0.3]])
def test_a_recorded_judgement_that_is_none_is_refused(judged: Any) -> None:
    with pytest.raises(ConfigError, match="judged"):
        from_dict({"judged": judged})
