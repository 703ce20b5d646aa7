"""What orders the models of a tier: how they did at the task, and who carries the conversation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.catalog import ModelCard, TokenPrices
from pointsman.configs.words import Tier
from pointsman.routing.decide import decide
from pointsman.routing.decision import Because, Decision, RejectionCode
from pointsman.routing.evidence import Finding
from pointsman.routing.experience import TaskStats, likely
from pointsman.routing.features.features import Features
from pointsman.routing.policy.policy import Policy
from pointsman.routing.request import RoutingContext

Card = Callable[..., ModelCard]
Over = Callable[..., Policy]

LONG = Features(kind="gather", task="classify", tokens=10_000, max_output=100)
SHORT = Features(kind="gather", task="classify", tokens=100, max_output=100)


def seen(success: float = 1.0, calls: float = 140.0, seconds: float | None = 1.0, **more: float) -> TaskStats:
    return TaskStats(calls, success, seconds, **more)


def reasons(decision: Decision, rule: str) -> list[str]:
    return [hit.reason for hit in decision.rules if hit.id == rule]


def caching(card: ModelCard, write: float) -> ModelCard:
    """The card with USD per million tokens written to a cache."""
    assert card.prices is not None
    return replace(card, prices=replace(card.prices, cache_write=Decimal(str(write)) / Decimal(1_000_000)))


@pytest.fixture
def pair(card: Card, over: Over) -> Policy:
    """Two models of one tier, the first a little cheaper."""
    return over(card("a/x", price=(1.0, 1.0)), card("b/y", price=(1.3, 1.3)))


def test_the_cheaper_model_goes_behind_where_it_often_fails_at_this_task(pair: Policy) -> None:
    assert decide(SHORT, pair).candidates == ("a/x", "b/y")
    now = RoutingContext(experience={"a/x": seen(0.61, seconds=2.13, cost=0.00041), "b/y": seen(0.99)})
    decision = decide(SHORT, pair, now)
    assert decision.candidates == ("b/y", "a/x")
    assert reasons(decision, "history") == [
        "a/x answered 61 % of 140 classify calls (95 %: 53 to 69 %) in 2.1 s at $0.000410 each, so b/y goes first"
    ]


def test_a_model_nobody_has_asked_is_taken_to_work(pair: Policy) -> None:
    assert decide(SHORT, pair, RoutingContext(experience={"a/x": seen(0.61)})).model == "b/y"
    assert decide(SHORT, pair, RoutingContext(experience={"a/x": seen(0.99)})).model == "a/x"
    assert decide(SHORT, pair, RoutingContext(experience={"b/y": seen(0.61)})).model == "a/x"


def test_a_perfect_record_never_counts_for_less_than_none() -> None:
    assert all(likely(seen(1.0, calls)) > likely(None) for calls in (0.1, 1, 20, 1e9))
    assert likely(seen(0.0, 1e12)) > 0


def test_too_few_calls_say_nothing(pair: Policy) -> None:
    now = RoutingContext(experience={"a/x": seen(0.0, calls=19.9)})
    assert decide(SHORT, pair, now) == decide(SHORT, pair)
    now = RoutingContext(experience={"a/x": seen(0.0, calls=20.0)})
    assert decide(SHORT, pair, now).model == "b/y"


def test_history_can_be_switched_off(card: Card, over: Over) -> None:
    policy = over(card("a/x", price=(1, 1)), card("b/y", price=(2, 2)), history={"enabled": False})
    now = RoutingContext(experience={"a/x": seen(0.01), "b/y": seen(1.0)})
    assert decide(SHORT, policy, now) == decide(SHORT, policy)


def test_failures_for_the_providers_sake_change_no_tier(card: Card, over: Over) -> None:
    policy = over(card("a/x"), card("b/y", "standard"), card("c/z", "frontier"))
    now = RoutingContext(experience={"a/x": seen(0.0), "b/y": seen(0.0), "c/z": seen(1.0)})
    assert decide(SHORT, policy, now).candidates == ("a/x", "b/y", "c/z")


@pytest.mark.parametrize("strategy", ["cost", "latency", "quality", "balanced"])
def test_rules_approved_models_and_what_is_asked_for_override_history(card: Card, over: Over, strategy: str) -> None:
    cards = [card(name, scores={"reasoning": 0.6, "speed": 0.6}) for name in ("a/x", "b/y")]
    now = RoutingContext(experience={"a/x": seen(0.05, seconds=60.0), "b/y": seen(1.0)})
    assert decide(SHORT, over(*cards, strategy=strategy), now).model == "b/y"

    rule = {"id": "mine", "reason": "x it is", "prefer": ["a/x"]}
    assert decide(SHORT, over(*cards, strategy=strategy, rules=[rule]), now).model == "a/x"
    assert decide(SHORT, over(*cards, strategy=strategy, approved=["a"]), now).candidates == ("a/x",)
    asked = replace(SHORT, model="a/x")
    decision = decide(asked, over(*cards, strategy=strategy), now)
    assert decision.model == "a/x"
    assert not reasons(decision, "history")


@given(
    st.lists(
        st.tuples(st.integers(1, 1000), st.integers(0, 100), st.sampled_from([20.0, 50.0, 1e6])),
        min_size=2,
        max_size=4,
    )
)
def test_no_other_order_costs_less_until_one_answers(over: Over, models: list[tuple[int, int, float]]) -> None:
    price = {f"p{place}/m": dollars for place, (dollars, _, _) in enumerate(models)}
    cards = []
    for name, dollars in price.items():
        each = Decimal(dollars)
        prices = TokenPrices(each, each, each, each, "1")
        cards.append(ModelCard(name, name[:2], "m", Tier.ECONOMY, prices=prices))
    experience = {f"p{place}/m": seen(good / 100, calls) for place, (_, good, calls) in enumerate(models)}

    def expected(order: tuple[str, ...]) -> float:
        reached, total = 1.0, 0.0
        for name in order:
            total += reached * price[name]
            reached *= 1 - likely(experience[name])
        return total

    decision = decide(SHORT, over(*cards), RoutingContext(experience=experience))
    least = min(expected(order) for order in permutations(price))
    assert expected(decision.candidates) == pytest.approx(least)


def test_a_model_that_answers_at_length_costs_what_it_really_writes(card: Card, over: Over) -> None:
    wordy, terse = card("a/wordy", price=(1.0, 1.0)), card("b/terse", price=(1.0, 1.2))
    policy = over(wordy, terse)
    features = replace(SHORT, max_output=4000)
    assert decide(features, policy).model == "a/wordy"
    now = RoutingContext(experience={"a/wordy": seen(output=3000.0), "b/terse": seen(output=200.0)})
    assert decide(features, policy, now).model == "b/terse"
    # That it was counted at all makes no model cheap: the other is taken to write as much.
    now = RoutingContext(experience={"b/terse": seen(output=200.0)})
    assert decide(features, policy, now).model == "a/wordy"


def test_latency_goes_by_what_was_measured(card: Card, over: Over) -> None:
    quick, slow = card("a/quick", scores={"speed": 0.9}), card("b/slow", scores={"speed": 0.5})
    policy = over(quick, slow, strategy="latency")
    assert decide(SHORT, policy).model == "a/quick"
    now = RoutingContext(experience={"a/quick": seen(seconds=9.0), "b/slow": seen(seconds=2.0)})
    decision = decide(SHORT, policy, now)
    assert decision.model == "b/slow"
    assert "in 9.0 s" in reasons(decision, "history")[0]


def test_measured_and_unmeasured_models_stand_on_one_scale_of_speed(card: Card, over: Over) -> None:
    # The middle model, at speed 0.5, takes 2 s: one second stands for the whole scale.
    cards = [
        card(f"{name}/m", scores={"speed": speed})
        for name, speed in (("a", 0.5), ("b", 0.8), ("c", 0.9), ("unmeasured", 0.6))
    ]
    policy = over(*cards, strategy="latency")
    assert decide(SHORT, policy).candidates == ("c/m", "b/m", "unmeasured/m", "a/m")
    measured = {"a/m": seen(seconds=2.0), "b/m": seen(seconds=1.25), "c/m": seen(seconds=10.0)}
    order = decide(SHORT, policy, RoutingContext(experience=measured)).candidates
    assert order == ("b/m", "unmeasured/m", "a/m", "c/m")


def test_a_model_on_this_machine_does_not_set_the_scale_for_the_others(card: Card, over: Over) -> None:
    here = card("here/m", scores={"speed": 1.0}, local=True)
    policy = over(here, card("a/x", scores={"speed": 0.8}), card("b/y", scores={"speed": 0.5}), strategy="latency")
    now = RoutingContext(experience={"here/m": seen(seconds=0.001), "a/x": seen(seconds=1.0)})
    assert decide(SHORT, policy, now).candidates == ("here/m", "a/x", "b/y")


def test_a_model_that_only_ever_failed_is_not_quick_however_quickly_it_did(card: Card, over: Over) -> None:
    policy = over(card("a/x", scores={"speed": 0.9}), card("b/y", scores={"speed": 0.5}), strategy="latency")
    now = RoutingContext(experience={"a/x": seen(0.0, seconds=None), "b/y": seen(seconds=4.0)})
    assert decide(SHORT, policy, now).model == "b/y"


def test_quality_counts_by_the_chance_of_an_answer(card: Card, over: Over) -> None:
    policy = over(
        card("a/best", scores={"reasoning": 0.9}), card("b/next", scores={"reasoning": 0.8}), strategy="quality"
    )
    assert decide(SHORT, policy).model == "a/best"
    assert decide(SHORT, policy, RoutingContext(experience={"a/best": seen(0.6)})).model == "b/next"
    assert decide(SHORT, policy, RoutingContext(experience={"a/best": seen(0.95)})).model == "a/best"


def test_an_unknown_price_stays_the_dearest_whatever_history_says(card: Card, over: Over) -> None:
    policy = over(card("a/x", price=None), card("b/y", price=(100, 100)))
    now = RoutingContext(experience={"a/x": seen(1.0, output=1.0), "b/y": seen(0.05)})
    assert decide(SHORT, policy, now).candidates == ("b/y", "a/x")


def test_what_will_be_written_to_a_cache_is_priced_as_such(card: Card, over: Over) -> None:
    policy = over(caching(card("a/x", price=(1, 1)), 1.25), card("b/y", price=(1.1, 1)))
    assert decide(LONG, policy).model == "a/x"
    assert decide(replace(LONG, tools=1), policy).model == "b/y"
    assert decide(replace(SHORT, tools=1), policy).model == "a/x"


@pytest.mark.parametrize("strategy", ["cost", "latency", "quality", "balanced"])
def test_the_model_that_carries_a_conversation_stays_whatever_the_others_cost(
    card: Card, over: Over, strategy: str
) -> None:
    better = {"price": (1, 1), "scores": {"speed": 0.9, "reasoning": 0.9}}
    policy = over(card("a/x", **better), card("b/y", price=(5, 5)), strategy=strategy)
    assert decide(LONG, policy).model == "a/x"
    decision = decide(LONG, policy, RoutingContext(carried=frozenset({"b/y"})))
    assert decision.candidates == ("b/y", "a/x")
    assert reasons(decision, "conversation.stays") == [
        "b/y carries this conversation: a switch to a/x would cost what it holds warm"
    ]
    same = decide(LONG, policy, RoutingContext(carried=frozenset({"a/x"})))
    assert (same.candidates, same.rules) == (("a/x", "b/y"), decide(LONG, policy).rules)


def test_a_conversation_does_not_flap_as_history_sways(card: Card, over: Over) -> None:
    policy = over(card("a/x", price=(1, 1)), card("b/y", price=(1, 1)))
    swaying = [{"a/x": seen(0.90 + 0.02 * (turn % 2)), "b/y": seen(0.91)} for turn in range(6)]
    alone = [decide(LONG, policy, RoutingContext(experience=experience)).model for experience in swaying]
    assert alone == ["b/y", "a/x"] * 3

    models: list[str] = []
    for experience in swaying:
        carried = frozenset(models[-1:])
        models.append(str(decide(LONG, policy, RoutingContext(experience=experience, carried=carried)).model))
    assert models == ["b/y"] * 6


def test_a_conversation_moves_with_its_tier_and_comes_back_to_its_own_model(card: Card, over: Over) -> None:
    policy = over(card("a/x"), card("b/y", price=(9, 9)), card("c/z", "standard"), card("d/z", "standard"))
    carried = RoutingContext(carried=frozenset({"b/y", "d/z"}))
    assert decide(LONG, policy, carried).model == "b/y"
    assert decide(replace(LONG, evidence=(Finding("evidence.x", "seen"),)), policy, carried).model == "d/z"
    assert decide(replace(LONG, tier=Tier.STANDARD), policy, carried).model == "d/z"
    assert decide(replace(LONG, kind="act"), policy, carried).model == "d/z"


def test_rules_approved_models_and_what_is_asked_for_override_who_carries_the_conversation(
    card: Card, over: Over
) -> None:
    cards = card("a/x", price=(5, 5)), card("b/y", price=(9, 9))
    now = RoutingContext(carried=frozenset({"b/y"}))
    assert decide(LONG, over(*cards), now).model == "b/y"

    rule = {"id": "mine", "reason": "x it is", "prefer": ["a/x"]}
    assert decide(LONG, over(*cards, rules=[rule]), now).model == "a/x"
    assert decide(LONG, over(*cards, approved=["a"]), now).model == "a/x"
    assert decide(replace(LONG, model="a/x"), over(*cards), now).model == "a/x"
    assert (
        decide(
            LONG,
            over(*cards),
            replace(now, unavailable={"b/y": Because(RejectionCode.UNREACHABLE, "its breaker is open")}),
        ).model
        == "a/x"
    )
    assert decide(LONG, over(*cards), replace(now, tried=frozenset({"b/y"}))).model == "a/x"


def test_evidence_of_another_time_can_be_stood_in_for_by_what_it_led_to(card: Card, over: Over) -> None:
    cards = card("a/x", price=(1, 1)), card("b/y", price=(2, 2)), card("c/z", "standard")
    assert decide(SHORT, over(*cards), RoutingContext(proven="b/y")).candidates == ("b/y", "a/x", "c/z")
    assert decide(SHORT, over(*cards), RoutingContext(proven="c/z")).model == "a/x"
    assert decide(SHORT, over(*cards), RoutingContext(proven="gone/away")) == decide(SHORT, over(*cards))
    rule = {"id": "mine", "reason": "x it is", "prefer": ["a/x"]}
    assert decide(SHORT, over(*cards, rules=[rule]), RoutingContext(proven="b/y")).model == "a/x"
