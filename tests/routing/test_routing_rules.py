"""The routing rules: what each built-in one is for, and how conditions match."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pointsman.configs.errors import ConfigError
from pointsman.configs.schema import Settings
from pointsman.routing.decision import Decision
from pointsman.routing.features.features import Features
from pointsman.routing.policy.policy import Policy
from pointsman.routing.request import RoutingContext

Decide = Callable[..., Decision]

IMAGE = ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]},)

# Id of every built-in rule -> a request that triggers it, and one that does not.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "task.on-device": ({"kind": "transform", "task": "classify"}, {"kind": "decide", "task": "classify"}),
    "task.code": ({"kind": "gather", "task": "code"}, {"kind": "gather", "task": "chat"}),
    "task.vision": ({"kind": "gather", "messages": IMAGE}, {"kind": "gather"}),
    "complexity.extreme": ({"task": "0.9"}, {"task": "0.8"}),
    "complexity.high": ({"task": "0.7"}, {"task": "0.9"}),
    "complexity.middling": ({"task": "0.4"}, {"task": "0.3"}),
    "default.economy": ({"kind": "gather"}, {"kind": "transform", "task": "classify"}),
}


def applied(decision: Decision) -> set[str]:
    return {hit.id for hit in decision.rules}


def test_every_built_in_routing_rule_has_a_case_here(settings: Settings) -> None:
    assert set(CASES) == {rule.id for rule in settings.routing.rules}


def scored(features: Features) -> tuple[float, float] | None:
    """Complexity as the task is named, for tasks that are numbers."""
    return (float(features.task), 1.0) if features.task[:1].isdigit() else None


@pytest.mark.parametrize("rule", CASES)
def test_a_built_in_routing_rule_applies_where_it_should_and_not_elsewhere(
    route: Decide, settings: Settings, catalogue: Any, rule: str
) -> None:
    applies, spared = CASES[rule]
    by = Policy.compile(settings.routing, settings.risk, catalogue, scorer=scored)
    assert rule in applied(route(by=by, **applies))
    assert rule not in applied(route(by=by, **spared))


@pytest.mark.parametrize("task", ["0.4", "0.9"])
def test_by_default_nobody_judges_complexity(route: Decide, task: str) -> None:
    assert applied(route(task=task)) == {"default.economy"}


@pytest.mark.parametrize(
    ("when", "fitting", "other"),
    [
        ({"task": ["code", "terminal"]}, {"task": "terminal"}, {"task": "chat"}),
        ({"effect": "write"}, {"effects": ["read", "write"]}, {"effects": ["read"]}),
        ({"tag": 2026}, {"tags": ["x", "2026"]}, {"tags": ["x"]}),
        ({"modality": "image"}, {"messages": IMAGE}, {}),
        ({"reversible": False}, {"reversible": False}, {}),
        ({"structured": True}, {"structured": True}, {}),
        ({"tools": 0}, {}, {"tools": 1}),
        ({"tools": {"min": 2, "max": 3}}, {"tools": 3}, {"tools": 4}),
        ({"dependents": {"max": 1}}, {"dependents": 1}, {"dependents": 2}),
        ({"risk": "high"}, {"risk": "unknown"}, {"risk": "medium"}),
        ({"risk": "unknown"}, {"risk": "unknown"}, {"risk": "high"}),
        ({"language": "de"}, {"messages": ({"role": "user", "content": "Wie ist das Wetter?"},)}, {}),
        ({"latency": "batch", "user_class": "x"}, {"latency": "batch", "user_class": "x"}, {"latency": "batch"}),
        ({"messages": {"min": 1}, "tokens": {"min": 1}}, {"messages": IMAGE}, {}),
        ({}, {}, None),
    ],
)
def test_a_rule_applies_when_all_its_conditions_hold(
    route: Decide, over: Any, card: Any, when: Any, fitting: Any, other: Any
) -> None:
    rule = {"id": "mine", "reason": "because", "when": when, "prefer": "a/x"}
    by = over(card("a/x", "frontier"), rules=[rule])
    assert "mine" in applied(route(by=by, **fitting))
    if other is not None:
        assert "mine" not in applied(route(by=by, **other))


def test_a_condition_on_the_budget_holds_only_where_there_is_one(route: Decide, over: Any, card: Any) -> None:
    rule = {"id": "thrift", "reason": "little is left", "when": {"budget_left": {"max": 0.2}}, "tier": "economy"}
    by = over(card("a/x"), rules=[rule])
    assert "thrift" not in applied(route(by=by, kind="gather"))
    assert "thrift" not in applied(route(by=by, kind="gather", now=RoutingContext(budget_left=0.5)))
    assert "thrift" in applied(route(by=by, kind="gather", now=RoutingContext(budget_left=0.1)))


@pytest.mark.parametrize(
    ("when", "complaint"),
    [
        ({"colour": "red"}, "feature 'colour' is unknown"),
        ({"task": {"min": 1}}, "feature 'task' is no number"),
        ({"tokens": "many"}, "feature 'tokens' is a number"),
        ({"tools": True}, "feature 'tools' is a number"),
        ({"structured": "yes"}, "feature 'structured' is true or false"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_by_its_id(over: Any, when: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"^rule mine: {complaint}"):
        over(rules=[{"id": "mine", "reason": "because", "when": when, "tier": "economy"}])


def test_two_rules_or_models_of_one_name_are_refused(over: Any, card: Any) -> None:
    rule = {"id": "mine", "reason": "because", "tier": "economy"}
    with pytest.raises(ConfigError, match="routing rule 'mine' stands twice"):
        over(rules=[rule, rule])
    with pytest.raises(ConfigError, match="model 'a/x' stands twice"):
        over(card("a/x"), card("a/x"))


def test_the_first_rule_that_names_a_tier_wins_and_the_later_ones_did_not_apply(
    route: Decide, over: Any, card: Any
) -> None:
    rules = [
        {"id": "none", "reason": "names no tier", "prefer": "b/y"},
        {"id": "first", "reason": "names one", "tier": "standard"},
        {"id": "second", "reason": "names another", "tier": "advanced"},
        {"id": "third", "reason": "names another and a preference", "tier": "frontier", "prefer": "a/x"},
    ]
    by = over(card("a/x", "standard"), card("b/y", "standard"), rules=rules)
    decision = route(by=by, kind="gather")
    assert decision.tier == "standard"
    assert [hit.id for hit in decision.rules] == ["none", "first", "third"]
    assert decision.candidates == ("b/y", "a/x")
