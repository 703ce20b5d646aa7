"""What is found wrong with a policy before it decides anything."""

from __future__ import annotations

from typing import Any

import pytest
from pointsman.configs.catalog import ModelCard
from pointsman.configs.schema import Settings, StepRiskPolicy
from pointsman.routing.decision import Because, RejectionCode
from pointsman.routing.policy.lint import lint
from pointsman.routing.policy.policy import Policy
from pointsman.routing.request import RoutingContext


def rule(name: str, tier: str | None = "economy", **more: Any) -> dict[str, Any]:
    return {"id": name, "reason": "because", "tier": tier, **more}


@pytest.fixture
def said(over: Any, card: Any) -> Any:
    """The problems of rules over two providers with a model in every tier that matters."""

    def make(*rules: Any, **routing: Any) -> list[str]:
        cards = [card(f"{provider}/{tier}", tier) for provider in "ab" for tier in ("economy", "frontier")]
        return [str(problem) for problem in lint(over(*cards, rules=rules, **routing))]

    return make


def test_the_built_in_policy_has_no_problem(policy: Policy) -> None:
    assert lint(policy) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"task": "code"}),
        ({"task": ["code", "chat"]}, {"task": "code", "kind": "act"}),
        ({"effect": ["write", "external"]}, {"effect": "write"}),
        ({"tokens": {"min": 100}}, {"tokens": {"min": 200, "max": 300}}),
        ({"tools": {"max": 3}}, {"tools": [1, 2]}),
        ({"tools": [0, 1]}, {"tools": {"min": 0, "max": 0}}),
        ({"risk": "high"}, {"risk": "unknown"}),
    ],
)
def test_a_rule_behind_one_that_always_takes_its_tier_is_unreachable(said: Any, first: Any, second: Any) -> None:
    assert said(rule("one", when=first), rule("two", when=second)) == [
        "rule two: it can never apply: rule one names a tier first; move it above that rule"
    ]
    assert said(rule("two", when=second), rule("one", when=first)) == []


def test_a_rule_behind_a_narrower_one_or_one_without_a_tier_is_reachable(said: Any) -> None:
    narrow = rule("one", when={"task": "code", "tokens": {"min": 5}})
    assert said(narrow, rule("two", when={"task": "code"}), rule("three", when={"tokens": {"min": 1}})) == []
    assert said(rule("one", tier=None, prefer="a/economy"), rule("two")) == []


def test_of_a_rule_that_comes_too_late_only_the_tier_is_lost(said: Any) -> None:
    assert said(rule("one"), rule("two", prefer="a/economy")) == [
        "rule two: its tier can never apply: rule one names a tier first; move it above that rule"
    ]


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ({"tokens": {"min": 5, "max": 4}}, "tokens cannot be at least 5 and at most 4"),
        ({"complexity": {"min": 60}}, "complexity lies between 0 and 1"),
        ({"tools": {"max": -1}}, "tools is never negative"),
        ({"kind": []}, "kind lists no value"),
        ({"latency": "soon"}, "latency is one of batch, interactive, critical"),
        ({"risk": "low", "effect": "destructive"}, "risk rule reach.destroys makes it high"),
        ({"risk": ["low", "medium"], "sensitivity": "secret"}, "risk rule data.secret makes it high"),
    ],
)
def test_a_rule_whose_conditions_exclude_each_other_is_unreachable(said: Any, when: Any, why: str) -> None:
    assert said(rule("mine", when=when)) == [f"rule mine: can never apply: {why}"]


def test_a_rule_that_says_nothing_is_named(said: Any) -> None:
    assert said(rule("mine", tier=None)) == ["rule mine: says nothing; give it a tier, prefer, avoid or require"]


def test_names_that_nothing_bears_are_found_in_every_list(said: Any) -> None:
    mine = rule("mine", prefer=["a/economy", "a/gone"], avoid=["b", "c"], require={"coding": 0.8})
    assert said(mine, approved=["a", "b/economy", "b/frontier", "d/x"]) == [
        "rule mine: prefers a/gone, which is no model of the catalogue",
        "rule mine: avoids c, which is no model or provider of the catalogue",
        "rule mine: requires coding 0.80, and the best model has 0.00",
        "approved: d/x is no model or provider of the catalogue",
    ]


def test_a_tier_that_limits_close_is_named(said: Any) -> None:
    problems = said(rule("mine", tier="frontier"), limits={"tiers": ["economy"]})
    assert problems == [
        "rule mine: goes to tier frontier, and limits allow nothing so high",
        "tier standard: no model of this tier or above can be used, and risk medium demands one",
    ]


def test_a_tier_that_one_outage_would_empty_is_named_once_from_where_it_begins(over: Any, card: Any) -> None:
    cards = card("a/e"), card("b/e"), card("a/s", "standard"), card("a/f", "frontier")
    (problem,) = lint(over(*cards))
    assert str(problem).startswith("tier standard: every model of this tier or above comes from a;")
    assert lint(over(*cards, card("b/f", "frontier"))) == []


def test_a_model_that_serves_only_some_tasks_is_no_alternative(over: Any, card: Any) -> None:
    cards = card("a/f", "frontier"), card("b/f", "frontier", tasks=frozenset({"classify"}))
    assert [problem.subject for problem in lint(over(*cards))] == ["tier ondevice"]


def test_models_that_serve_some_tasks_are_said_to_do_so_and_do_not_count_as_none(over: Any, card: Any) -> None:
    special = [card("a/e", "economy", tasks=frozenset({"b", "a"})), card("a/s", "standard", tasks=frozenset({"a"}))]
    assert [str(problem) for problem in lint(over(*special))] == [
        "tier ondevice: only a/e, a/s of this tier or above can be used, and for some tasks: a, b",
        "tier advanced: no model of this tier or above can be used, and risk unknown demands one",
    ]


def test_what_is_unavailable_now_is_no_alternative(policy: Policy) -> None:
    others = {
        card.provider: Because(RejectionCode.NO_KEY, "no key")
        for card in policy.catalogue
        if card.provider != "anthropic"
    }
    (problem,) = lint(policy, RoutingContext(unavailable=others))
    assert "comes from anthropic" in problem.what


def test_an_empty_catalogue_is_said_to_be_useless(over: Any) -> None:
    (problem,) = lint(over())
    assert str(problem) == "tier ondevice: no model of this tier or above can be used, and risk low demands one"


def test_a_risk_rule_that_can_never_apply_is_named(settings: Settings, catalogue: tuple[ModelCard, ...]) -> None:
    mine = {"id": "mine", "reason": "because", "when": {"dependents": {"max": -1}}, "risk": "high"}
    risk = StepRiskPolicy(rules=[mine], floors={}, call=settings.risk.call)
    problems = lint(Policy.compile(settings.routing, risk, catalogue))
    assert [str(problem) for problem in problems] == ["risk rule mine: can never apply: dependents is never negative"]
