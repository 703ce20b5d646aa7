"""Classes of users with bounds of their own, money kept for riskier steps to come, and rules about the moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pointsman.configs.schema import RoutingPolicy, Settings
from pointsman.configs.words import Effect, Risk, Tier
from pointsman.routing.decide import decide
from pointsman.routing.decision import Decision
from pointsman.routing.features.features import extract
from pointsman.routing.policy.lint import lint
from pointsman.routing.policy.policy import Policy
from pointsman.routing.request import BudgetReserve, RouteRequest, RoutingContext

LONG = ({"role": "user", "content": "a word and another " * 4_000},)


def hits(decision: Decision) -> dict[str, str]:
    return {hit.id: hit.reason for hit in decision.rules}


@pytest.fixture
def policy_with(settings: Settings, card: Callable[..., Any]) -> Callable[..., Policy]:
    """A policy over three tiers whose prices are ten times apart."""
    cards = [
        card("a/small", "economy", price=(0.1, 0.4), scores={"reasoning": 0.4}),
        card("b/small", "economy", price=(0.2, 0.8), scores={"reasoning": 0.5}),
        card("a/middle", "standard", price=(1, 4), scores={"reasoning": 0.7}),
        card("a/large", "frontier", price=(10, 40), scores={"reasoning": 0.9}),
    ]

    def make(**routing: Any) -> Policy:
        rules = routing.pop("rules", [{"id": "all", "reason": "test", "tier": "standard"}])
        made = RoutingPolicy(rules=rules, on_failure=settings.routing.on_failure, **routing)
        return Policy.compile(made, settings.risk, cards)

    return make


def _decide(policy: Policy, moment: RoutingContext | None = None, **declared: Any) -> Decision:
    request = RouteRequest(**{"kind": "transform", "messages": LONG, **declared})
    return decide(extract(request), policy, moment or RoutingContext())


class TestCeiling:
    def test_a_rule_above_the_ceiling_is_brought_down_to_it(self, policy_with: Any) -> None:
        capped = _decide(policy_with(), max_tier=Tier.ECONOMY)
        assert (capped.tier, capped.candidates) == (Tier.ECONOMY, ("a/small", "b/small"))
        assert hits(capped)["agent.max_tier"] == "max_tier economy was asked for, so not standard"

    def test_a_rule_at_or_below_the_ceiling_stands(self, policy_with: Any) -> None:
        for ceiling in (Tier.STANDARD, Tier.ADVANCED):
            made = _decide(policy_with(), max_tier=ceiling)
            assert (made.tier, made.candidates) == (Tier.STANDARD, ("a/middle",))
            assert "agent.max_tier" not in hits(made)


class TestClassesOfUsers:
    def test_a_class_may_use_only_its_tiers(self, policy_with: Any) -> None:
        policy = policy_with(classes={"guest": {"tiers": ["economy"]}})
        assert _decide(policy).model == "a/middle"
        guest = _decide(policy, user_class="guest", tier="economy")
        assert guest.candidates == ()
        assert "user class guest may not use tier standard" in {r.reason for r in guest.rejected}

    def test_a_class_has_a_least_quality(self, policy_with: Any) -> None:
        policy = policy_with(rules=[], classes={"gold": {"require": {"reasoning": 0.45}}})
        assert _decide(policy).model == "a/small"
        assert _decide(policy, user_class="gold").model == "b/small"

    def test_what_a_class_does_not_name_it_shares_with_everybody(self, policy_with: Any) -> None:
        policy = policy_with(limits={"attempts": 2, "deadline": 9}, classes={"guest": {"deadline": 3}})
        limits = policy.limits_of("guest")
        assert (limits.attempts, limits.deadline) == (2, 3)
        assert policy.limits_of("somebody").deadline == 9

    def test_lint_tells_of_a_class_that_may_not_run_a_risk(self, policy_with: Any) -> None:
        policy = policy_with(classes={"guest": {"tiers": ["economy"]}})
        (said,) = [str(problem) for problem in lint(policy) if problem.subject == "class guest"]
        assert said == "class guest: may use no model of tier standard or above, which risk medium demands"


class TestMoneyKeptForLater:
    def test_with_money_enough_nothing_changes(self, policy_with: Any) -> None:
        policy = policy_with()
        rich = RoutingContext(funds=BudgetReserve(left=5.0, kept=1.0, steps=2))
        assert _decide(policy, rich) == _decide(policy)

    def test_a_step_of_low_risk_goes_cheaper_so_that_the_high_one_stays_funded(self, policy_with: Any) -> None:
        decision = _decide(policy_with(), RoutingContext(funds=BudgetReserve(left=0.110, kept=0.1, steps=1)))
        assert (decision.tier, decision.model) == (Tier.ECONOMY, "a/small")
        assert hits(decision)["budget.kept"] == (
            "$0.1000 of the $0.1100 left is kept for 1 step(s) of high risk to come, so economy and not standard"
        )
        (why,) = [r.reason for r in decision.rejected if r.model == "a/middle"]
        assert why.startswith("may cost $0.02")

    def test_the_dearer_of_a_tier_is_left_out_where_the_other_can_be_afforded(self, policy_with: Any) -> None:
        # Of the two models of the tier one would cost a fifth of a cent, the other twice that.
        some = RoutingContext(funds=BudgetReserve(left=0.103, kept=0.1, steps=1))
        rules = [{"id": "all", "reason": "test", "tier": "economy"}]
        decision = _decide(policy_with(rules=rules), some)
        assert (decision.tier, decision.model) == (Tier.ECONOMY, "a/small")
        assert "b/small" not in decision.candidates
        assert hits(decision)["budget.kept"] == "$0.1000 of the $0.1030 left is kept for 1 step(s) of high risk to come"
        # That the tiers above it cannot be afforded is nothing that it would have run on.
        enough = _decide(policy_with(rules=rules), RoutingContext(funds=BudgetReserve(left=0.11, kept=0.1, steps=1)))
        assert enough.candidates[:2] == ("a/small", "b/small")
        assert "budget.kept" not in hits(enough)

    def test_it_never_goes_below_the_floor_or_the_tier_asked_for(self, policy_with: Any) -> None:
        poor = RoutingContext(funds=BudgetReserve(left=0.110, kept=0.1, steps=1))
        assert _decide(policy_with(), poor, kind="decide").model == "a/middle"
        assert _decide(policy_with(), poor, tier="standard").model == "a/middle"

    def test_a_step_of_high_risk_is_not_held_back(self, policy_with: Any) -> None:
        poor = RoutingContext(funds=BudgetReserve(left=0.1, kept=0.1, steps=1))
        decision = _decide(policy_with(), poor, kind="act", effects=(Effect.DESTRUCTIVE,), reversible=False)
        assert decision.risk.handled_as >= Risk.HIGH
        assert decision.model == "a/large"

    def test_where_nothing_can_be_afforded_the_cheapest_runs(self, policy_with: Any) -> None:
        broke = RoutingContext(funds=BudgetReserve(left=0.0, kept=0.1, steps=1))
        assert _decide(policy_with(), broke).candidates == ("a/small",)


class TestRulesAboutTheMoment:
    def test_a_rule_may_ask_what_is_down(self, policy_with: Any) -> None:
        rules = [
            {"id": "spare", "reason": "b is the spare", "when": {"down": "a"}, "tier": "frontier"},
            {"id": "all", "reason": "test", "tier": "standard"},
        ]
        policy = policy_with(rules=rules)
        assert _decide(policy).tier is Tier.STANDARD
        assert _decide(policy, RoutingContext(down=frozenset({"a"}))).tier is Tier.FRONTIER

    def test_a_rule_may_ask_how_long_the_step_may_take(self, policy_with: Any) -> None:
        rules = [{"id": "quick", "reason": "no time to think", "when": {"deadline": {"max": 5}}, "tier": "economy"}]
        policy = policy_with(rules=[*rules, {"id": "all", "reason": "test", "tier": "standard"}])
        assert _decide(policy, deadline=3).tier is Tier.ECONOMY
        assert _decide(policy).tier is Tier.STANDARD


class TestUrgency:
    @pytest.fixture
    def policy(self, settings: Settings, card: Callable[..., Any]) -> Callable[[str], Policy]:
        """Three models of a tier: one cheap, one quick, one good."""
        cards = [
            card("a/cheap", price=(0.1, 0.4), scores={"speed": 0.3, "reasoning": 0.4}),
            card("b/quick", price=(1, 4), scores={"speed": 0.9, "reasoning": 0.4}),
            card("c/good", price=(1, 4), scores={"speed": 0.3, "reasoning": 0.8}),
        ]

        def make(strategy: Any) -> Policy:
            made = RoutingPolicy(strategy=strategy, on_failure=settings.routing.on_failure)
            return Policy.compile(made, settings.risk, cards)

        return make

    @pytest.mark.parametrize(
        ("strategy", "latency", "first"),
        [
            ("cost", "interactive", "a/cheap"),
            ("cost", "critical", "b/quick"),
            ("quality", "critical", "b/quick"),
            ("latency", "interactive", "b/quick"),
            ("latency", "batch", "a/cheap"),
            ("balanced", "batch", "a/cheap"),
            ("quality", "batch", "c/good"),
        ],
    )
    def test_who_waits_badly_gets_the_quickest_and_who_can_wait_the_cheapest(
        self, policy: Any, strategy: str, latency: str, first: str
    ) -> None:
        assert _decide(policy(strategy), latency=latency).model == first
