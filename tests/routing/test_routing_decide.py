"""Which models may run a step, in which order, and why the others may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pointsman.configs.words import Risk, Tier
from pointsman.routing.decision import Because, Decision, RejectionCode
from pointsman.routing.policy.policy import Policy
from pointsman.routing.request import RoutingContext

Decide = Callable[..., Decision]
IMAGE = ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]},)
LONG = ({"role": "user", "content": "a word and another " * 10_000},)


def hits(decision: Decision) -> dict[str, str]:
    return {hit.id: hit.reason for hit in decision.rules}


def why_not(decision: Decision, model: str) -> str:
    return {rejection.model: rejection.reason for rejection in decision.rejected}[model]


class TestBuiltIn:
    def test_a_destructive_decision_goes_to_the_frontier(self, route: Decide) -> None:
        decision = route(kind="decide", effects=["destructive"])
        assert (decision.risk, decision.tier) == (Risk.HIGH, Tier.FRONTIER)
        assert decision.model == "anthropic/claude-opus-4-7"

    def test_a_transform_without_tools_is_cheap(self, route: Decide) -> None:
        assert route(kind="transform").tier <= Tier.ECONOMY

    def test_sorting_a_message_stays_on_the_device(self, route: Decide) -> None:
        assert route(task="classify", kind="transform").tier == Tier.ONDEVICE

    def test_plain_chat_can_break_nothing_so_it_is_cheap(self, route: Decide) -> None:
        decision = route(messages=({"role": "user", "content": "Hello!"},))
        assert (decision.risk, decision.floor, decision.tier) == (Risk.LOW, Tier.ONDEVICE, Tier.ECONOMY)

    def test_gathering_with_tools_that_only_read_is_cheap(self, route: Decide) -> None:
        assert route(kind="gather", effects=["read"], tools=4).tier == Tier.ECONOMY

    def test_every_choice_has_a_fallback_at_another_provider(self, route: Decide, policy: Policy) -> None:
        provider = {entry.id: entry.provider for entry in policy.cards}
        for declared in ({"kind": "gather"}, {"kind": "decide"}, {"kind": "act", "effects": ["destructive"]}, {}):
            first, second, *_ = route(**declared).candidates
            assert provider[first] != provider[second]


class TestReasons:
    @pytest.mark.parametrize(
        ("limits", "declared", "reason"),
        [
            ({"tier": "economy"}, {"kind": "decide"}, "tier economy is below the floor standard"),
            ({"context": 32_000}, {"messages": LONG}, "context 32000 < "),
            ({"max_output": 100}, {}, "output 100 < 1024 tokens needed"),
            ({"tier": "frontier"}, {"messages": IMAGE}, "cannot read images"),
            ({"tier": "frontier", "inputs": {"text", "audio"}}, {"messages": IMAGE}, "cannot read images"),
            ({"tools": False}, {"effects": ["read"]}, "cannot call tools"),
            ({"structured": False}, {"structured": True}, "cannot be held to a schema"),
            ({"tasks": frozenset({"extract", "classify"})}, {}, "serves only classify, extract"),
        ],
    )
    def test_a_model_that_cannot_or_may_not_says_why(
        self, route: Decide, over: Any, card: Any, limits: Any, declared: Any, reason: str
    ) -> None:
        tier = limits.pop("tier", "standard")
        decision = route(
            by=over(card("a/x", tier, **limits), card("b/y", "frontier", inputs={"text", "image"})), **declared
        )
        assert why_not(decision, "a/x").startswith(reason)
        assert decision.candidates == ("b/y",)

    def test_the_output_allowance_counts_towards_the_context(self, route: Decide, over: Any, card: Any) -> None:
        by = over(card("a/x", "frontier", context=5_000))
        assert route(by=by, max_output=4_900).model == "a/x"
        assert why_not(route(by=by, max_output=5_001), "a/x") == "context 5000 < 5001 tokens needed"

    def test_a_score_that_a_rule_requires_is_compared_or_missed(self, route: Decide, over: Any, card: Any) -> None:
        rules = [
            {"id": "some", "reason": "some", "require": {"coding": 0.5}},
            {"id": "more", "reason": "more", "require": {"coding": 0.8}},
        ]
        by = over(
            card("a/weak", "standard", scores={"coding": 0.45}),
            card("a/unknown", "standard"),
            card("a/strong", "standard", scores={"coding": 0.8}),
            rules=rules,
        )
        decision = route(by=by)
        assert decision.candidates == ("a/strong",)
        assert why_not(decision, "a/weak") == "coding 0.45 < 0.80"
        assert why_not(decision, "a/unknown") == "coding unknown, 0.80 needed"

    def test_only_approved_models_and_providers_run(self, route: Decide, over: Any, card: Any) -> None:
        by = over(card("a/x", "standard"), card("a/y", "standard"), card("b/z", "standard"), approved=["a/x", "b"])
        decision = route(by=by)
        assert set(decision.candidates) == {"a/x", "b/z"}
        assert why_not(decision, "a/y") == "not approved"

    def test_limits_close_tiers_even_to_a_step_that_needs_them(self, route: Decide, over: Any, card: Any) -> None:
        by = over(card("a/x", "frontier"), limits={"tiers": ["economy", "standard"]})
        decision = route(by=by, kind="decide", effects=["destructive"], user_class="trial")
        assert decision.candidates == ()
        assert decision.model is None
        assert why_not(decision, "a/x") == "user class trial may not use tier frontier"

    def test_a_rule_can_avoid_a_model_or_a_provider(self, route: Decide, over: Any, card: Any) -> None:
        rule = {"id": "eu", "reason": "stays in Europe", "avoid": ["a", "b/y"]}
        by = over(card("a/x", "standard"), card("b/y", "standard"), card("b/z", "standard"), rules=[rule])
        decision = route(by=by)
        assert decision.candidates == ("b/z",)
        assert why_not(decision, "a/x") == why_not(decision, "b/y") == "avoided by rule eu"

    def test_what_is_unavailable_keeps_the_reason_it_was_given(self, route: Decide, over: Any, card: Any) -> None:
        by = over(card("a/x", "standard"), card("b/y", "standard"), card("b/z", "standard"))
        now = RoutingContext(
            unavailable={
                "a": Because(RejectionCode.UNREACHABLE, "no key: set A_KEY"),
                "b/y": Because(RejectionCode.UNREACHABLE, "breaker open"),
            },
            tried=frozenset({"b/z"}),
        )
        decision = route(by=by, now=now)
        assert [rejection.reason for rejection in decision.rejected] == [
            "no key: set A_KEY", "breaker open", "already tried",
        ]  # fmt: skip

    def test_nobody_is_told_to_get_a_key_for_what_may_not_run(self, route: Decide, over: Any, card: Any) -> None:
        now = RoutingContext(unavailable={"a": Because(RejectionCode.UNREACHABLE, "no key: set A_KEY")})
        assert why_not(route(by=over(card("a/x")), now=now, kind="decide"), "a/x").startswith("tier economy is below")

    def test_an_unknown_price_rules_out_only_under_a_budget(self, route: Decide, over: Any, card: Any) -> None:
        by = over(card("a/x", "standard", price=None))
        assert route(by=by).model == "a/x"
        decision = route(by=by, now=RoutingContext(needs_price=True))
        assert why_not(decision, "a/x") == "price unknown, and a budget has to be kept"


class TestTier:
    LADDER = ("a/ondevice", "a/economy", "a/standard", "a/advanced", "a/frontier")

    @pytest.fixture
    def ladder(self, over: Any, card: Any) -> Callable[..., Policy]:
        return lambda **more: over(*(card(name, name[2:]) for name in self.LADDER), **more)

    def test_the_cheapest_tier_at_the_floor_is_chosen_when_no_rule_names_one(self, route: Decide, ladder: Any) -> None:
        assert route(by=ladder(), kind="gather").tier == Tier.ONDEVICE
        assert route(by=ladder(), kind="decide").tier == Tier.STANDARD

    def test_the_floor_raises_what_a_rule_names_and_says_so(self, route: Decide, ladder: Any) -> None:
        by = ladder(rules=[{"id": "cheap", "reason": "always", "tier": "economy"}])
        decision = route(by=by, kind="decide")
        assert decision.tier == Tier.STANDARD
        assert hits(decision)["risk.floor"] == "risk medium raises economy to standard"

    def test_a_tier_asked_for_above_the_rules_replaces_theirs(self, route: Decide, ladder: Any) -> None:
        by = ladder(rules=[{"id": "cheap", "reason": "always", "tier": "economy"}])
        decision = route(by=by, kind="gather", tier="advanced")
        assert decision.tier == Tier.ADVANCED
        assert hits(decision)["agent.tier"] == "tier advanced was asked for"

    def test_a_tier_asked_for_below_the_floor_is_raised_and_told_why(self, route: Decide, ladder: Any) -> None:
        decision = route(by=ladder(), kind="decide", effects=["destructive"], tier="economy")
        assert decision.tier == Tier.FRONTIER
        assert hits(decision)["agent.tier"] == "tier economy was asked for, but risk high demands frontier"

    def test_a_tier_asked_for_below_the_rules_does_not_lower_theirs(self, route: Decide, ladder: Any) -> None:
        by = ladder(rules=[{"id": "dear", "reason": "always", "tier": "advanced"}])
        assert route(by=by, kind="gather", tier="economy").tier == Tier.ADVANCED

    def test_low_confidence_goes_one_tier_up(self, route: Decide, ladder: Any) -> None:
        rules = [
            {"id": "hard", "reason": "hard", "when": {"complexity": {"min": 0.6}}, "tier": "advanced"},
            {"id": "rest", "reason": "rest", "tier": "economy"},
        ]
        sure = ladder(rules=rules, scorer=lambda features: (0.1, 0.9))
        unsure = ladder(rules=rules, scorer=lambda features: (0.1, 0.4))
        unsure_and_hard = ladder(rules=rules, scorer=lambda features: (0.7, 0.4))
        assert route(by=sure, kind="gather").tier == Tier.ECONOMY
        assert route(by=unsure, kind="gather").tier == Tier.STANDARD
        assert hits(route(by=unsure, kind="gather"))["confidence.low"] == "confidence 0.40 in economy: one tier up"
        assert route(by=unsure_and_hard, kind="gather").tier == Tier.FRONTIER

    def test_what_the_caller_raised_already_is_not_raised_again_for_low_confidence(
        self, route: Decide, ladder: Any
    ) -> None:
        rules = [
            {"id": "hard", "reason": "hard", "when": {"complexity": {"min": 0.6}}, "tier": "advanced"},
            {"id": "rest", "reason": "rest", "tier": "economy"},
        ]
        by = ladder(rules=rules, scorer=lambda features: (0.1, 0.4))
        assert route(by=by, kind="gather", tier="economy").tier == Tier.STANDARD
        assert route(by=by, kind="gather", tier="standard").tier == Tier.STANDARD

    def test_low_confidence_in_a_tier_above_the_highest_asked_for_is_told_and_stays_within_it(
        self, route: Decide, ladder: Any
    ) -> None:
        rules = [{"id": "hard", "reason": "hard", "when": {"complexity": {"min": 0.6}}, "tier": "advanced"}]
        by = ladder(rules=rules, scorer=lambda features: (0.7, 0.4))
        decision = route(by=by, kind="gather", max_tier="standard")
        assert decision.tier == Tier.STANDARD
        assert hits(decision)["confidence.low"] == "confidence 0.40 in advanced: one tier up"

    @pytest.mark.parametrize("condition", [{"min": 0.0}, {"max": 1.0}])
    def test_a_complexity_that_nobody_judged_satisfies_no_condition(
        self, route: Decide, ladder: Any, condition: dict[str, float]
    ) -> None:
        rules = [
            {"id": "any", "reason": "any", "when": {"complexity": condition}, "tier": "frontier"},
            {"id": "rest", "reason": "rest", "tier": "economy"},
        ]
        for scorer in (None, lambda features: None):
            decision = route(by=ladder(rules=rules, scorer=scorer), kind="gather")
            assert (decision.tier, decision.complexity, decision.confidence) == (Tier.ECONOMY, 0.0, 1.0)

    def test_low_confidence_in_a_tier_that_the_floor_raises_anyway_is_not_mentioned(
        self, route: Decide, ladder: Any
    ) -> None:
        rules = [
            {"id": "hard", "reason": "hard", "when": {"complexity": {"min": 0.6}}, "tier": "advanced"},
            {"id": "rest", "reason": "rest", "tier": "economy"},
        ]
        decision = route(by=ladder(rules=rules, scorer=lambda features: (0.1, 0.4)), kind="decide")
        assert decision.tier == Tier.STANDARD
        assert "confidence.low" not in hits(decision)

    def test_low_confidence_changes_nothing_where_complexity_had_no_say(self, route: Decide, ladder: Any) -> None:
        rules = [
            {"id": "declared", "reason": "as declared", "when": {"task": "chat"}, "tier": "economy"},
            {"id": "hard", "reason": "hard", "when": {"complexity": {"min": 0.6}}, "tier": "advanced"},
        ]
        by = ladder(rules=rules, scorer=lambda features: (0.1, 0.1))
        assert route(by=by, kind="gather").tier == Tier.ECONOMY

    def test_low_confidence_leaves_the_device_to_decline_by_itself_where_it_serves(
        self, route: Decide, over: Any, card: Any
    ) -> None:
        rules = [
            {"id": "hard", "reason": "hard", "when": {"complexity": {"min": 0.6}}, "tier": "advanced"},
            {"id": "small", "reason": "small", "tier": "ondevice"},
        ]
        cards = card("a/small", "ondevice", tasks=frozenset({"classify"})), card("a/economy"), card("a/s", "standard")
        by = over(*cards, rules=rules, scorer=lambda features: (0.1, 0.1))
        assert route(by=by, kind="gather", task="classify").tier == Tier.ONDEVICE
        assert "confidence.low" in hits(route(by=by, kind="gather", task="chat"))

    def test_an_empty_tier_sends_upwards_never_down(self, route: Decide, over: Any, card: Any) -> None:
        by = over(card("a/economy"), card("a/advanced", "advanced"), card("a/frontier", "frontier"))
        decision = route(by=by, kind="decide")
        assert decision.tier == Tier.ADVANCED
        assert decision.candidates == ("a/advanced", "a/frontier")
        assert hits(decision)["tier.empty"] == "no model of tier standard qualifies, so advanced is next"

    def test_nothing_left_is_said_with_every_reason(self, route: Decide, over: Any, card: Any) -> None:
        decision = route(
            by=over(card("a/economy"), card("b/standard", "standard")), kind="act", effects=["destructive"]
        )
        assert decision.candidates == ()
        assert decision.tier == Tier.FRONTIER
        assert len(decision.rejected) == 2


class TestAskedModel:
    @pytest.fixture
    def by(self, over: Any, card: Any) -> Policy:
        cards = card("a/e", price=(1, 1)), card("b/e", price=(2, 2)), card("a/s", "standard"), card("a/f", "frontier")
        return over(*cards, rules=[{"id": "cheap", "reason": "always", "tier": "economy"}])

    def test_it_comes_first_in_its_tier_though_dearer(self, route: Decide, by: Policy) -> None:
        decision = route(by=by, kind="gather", model="b/e")
        assert decision.candidates == ("b/e", "a/e", "a/s", "a/f")
        assert hits(decision)["agent.asks"] == "b/e was asked for"

    def test_one_of_a_higher_tier_raises_the_tier(self, route: Decide, by: Policy) -> None:
        decision = route(by=by, kind="gather", model="a/f")
        assert (decision.tier, decision.candidates) == (Tier.FRONTIER, ("a/f",))

    def test_one_of_a_lower_tier_than_the_rules_runs_first_and_falls_back_to_theirs(
        self, route: Decide, over: Any, card: Any
    ) -> None:
        rule = {"id": "dear", "reason": "always", "tier": "advanced"}
        by = over(card("a/e"), card("b/e"), card("b/a", "advanced"), rules=[rule])
        decision = route(by=by, kind="gather", model="a/e")
        assert (decision.tier, decision.candidates) == (Tier.ECONOMY, ("a/e", "b/a"))
        assert why_not(decision, "b/e") == "tier economy is below the chosen tier advanced"

    def test_one_below_the_floor_does_not_run(self, route: Decide, by: Policy) -> None:
        decision = route(by=by, kind="act", effects=["destructive"], model="a/e")
        assert decision.candidates == ("a/f",)
        assert hits(decision)["agent.asks"] == "a/e was asked for, but: tier economy is below the floor frontier"

    def test_one_below_the_tier_asked_for_at_once_does_not_count(self, route: Decide, by: Policy) -> None:
        decision = route(by=by, kind="gather", model="a/e", tier="standard")
        assert decision.candidates == ("a/s", "a/f")
        assert hits(decision)["agent.asks"] == "a/e was asked for, but so was tier standard"

    def test_one_above_the_tier_asked_for_at_once_runs(self, route: Decide, by: Policy) -> None:
        decision = route(by=by, kind="gather", model="a/f", tier="standard")
        assert decision.candidates == ("a/f",)
        assert hits(decision)["agent.asks"] == "a/f was asked for"

    def test_one_nobody_knows_is_said_to_be_unknown(self, route: Decide, by: Policy) -> None:
        assert hits(route(by=by, model="z/z"))["agent.asks"] == "z/z was asked for, but: not in the catalogue"

    def test_one_that_cannot_be_used_now_raises_nothing(self, route: Decide, by: Policy) -> None:
        now = RoutingContext(unavailable={"a/f": Because(RejectionCode.UNREACHABLE, "breaker open")})
        assert route(by=by, kind="gather", model="a/f", now=now).tier == Tier.ECONOMY


class TestOrder:
    def test_cost_weighs_the_input_as_estimated_and_the_whole_output(self, route: Decide, over: Any, card: Any) -> None:
        by = over(card("a/dear-output", price=(1, 100)), card("b/dear-input", price=(10, 1)))
        assert route(by=by, kind="gather", max_output=4_000).model == "b/dear-input"
        assert route(by=by, kind="gather", max_output=1, messages=LONG).model == "a/dear-output"

    def test_an_unknown_price_is_the_last_and_never_counts_as_nothing(
        self, route: Decide, over: Any, card: Any
    ) -> None:
        cards = card("a/unknown", price=None), card("b/dear", price=(900, 900)), card("c/free", price=(0, 0))
        for strategy in ("cost", "balanced"):
            for messages in ((), LONG):
                decision = route(by=over(*cards, strategy=strategy), kind="gather", messages=messages)
                assert decision.candidates == ("c/free", "b/dear", "a/unknown")

    def test_equals_stand_in_the_order_of_the_catalogue(self, route: Decide, over: Any, card: Any) -> None:
        names = "b/1", "a/1", "c/1"
        for strategy in ("cost", "latency", "quality", "balanced"):
            by = over(*map(card, names), strategy=strategy)
            assert route(by=by, kind="gather").candidates == names

    def test_latency_takes_the_quickest_and_quality_the_best(self, route: Decide, over: Any, card: Any) -> None:
        cards = (
            card("a/quick", scores={"speed": 0.9, "reasoning": 0.2}),
            card("b/wise", scores={"speed": 0.1, "reasoning": 0.9}),
        )
        assert route(by=over(*cards, strategy="latency"), kind="gather").model == "a/quick"
        assert route(by=over(*cards, strategy="quality"), kind="gather").model == "b/wise"

    def test_quality_means_the_scores_that_matter_to_the_step(self, route: Decide, over: Any, card: Any) -> None:
        both = frozenset({"text", "image"})
        cards = (
            card("a/thinker", scores={"reasoning": 0.8, "coding": 0.2, "vision": 0.1}, inputs=both),
            card("b/coder", scores={"reasoning": 0.6, "coding": 0.9, "vision": 0.1}, inputs=both),
            card("c/seer", scores={"reasoning": 0.6, "coding": 0.1, "vision": 0.9}, inputs=both),
        )
        by = over(*cards, strategy="quality")
        assert route(by=by, kind="gather").model == "a/thinker"
        assert route(by=by, kind="gather", task="code").model == "b/coder"
        assert route(by=by, kind="gather", messages=IMAGE).model == "c/seer"

    def test_balanced_takes_the_one_that_is_good_at_all_three(self, route: Decide, over: Any, card: Any) -> None:
        cards = (
            card("a/cheap", price=(1, 1), scores={"speed": 0.2, "reasoning": 0.2}),
            card("b/middle", price=(1.5, 1.5), scores={"speed": 0.8, "reasoning": 0.8}),
            card("c/wise", price=(9, 9), scores={"speed": 0.3, "reasoning": 0.9}),
        )
        assert route(by=over(*cards, strategy="balanced"), kind="gather").model == "b/middle"

    def test_the_second_candidate_is_from_another_provider(self, route: Decide, over: Any, card: Any) -> None:
        cards = (
            card("a/1", price=(1, 1)), card("a/2", price=(2, 2)), card("a/3", price=(3, 3)), card("b/1", price=(9, 9)),
        )  # fmt: skip
        assert route(by=over(*cards), kind="gather").candidates == ("a/1", "b/1", "a/2", "a/3")

    def test_across_tiers_neighbours_differ_too_where_they_can(self, route: Decide, over: Any, card: Any) -> None:
        cards = card("a/e"), card("a/s", "standard", price=(1, 1)), card("b/s", "standard", price=(9, 9))
        assert route(by=over(*cards), kind="gather").candidates == ("a/e", "b/s", "a/s")

    def test_what_rules_prefer_comes_first_in_its_tier_but_raises_none(
        self, route: Decide, over: Any, card: Any
    ) -> None:
        rule = {"id": "liked", "reason": "we like it", "prefer": ["b/f", "b/e"]}
        cards = card("a/e"), card("b/e", price=(9, 9)), card("a/f", "frontier"), card("b/f", "frontier", price=(9, 9))
        assert route(by=over(*cards, rules=[rule]), kind="gather").candidates == ("b/e", "a/e", "b/f", "a/f")


def test_nothing_is_judged_where_the_risk_alone_demands_the_highest_tier(over: Any, card: Any, route: Decide) -> None:
    judged: list[str] = []

    def scorer(features: Any) -> tuple[float, float]:
        judged.append(features.kind)
        return 0.0, 1.0

    by = over(card("a/e"), card("a/f", "frontier"), scorer=scorer)
    assert route(by=by, kind="act", effects=["destructive"]).model == "a/f"
    assert judged == []
    assert route(by=by, kind="gather").model == "a/e"
    assert judged == ["gather"]
