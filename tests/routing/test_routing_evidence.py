"""Evidence in a decision: how models did at the task, and who holds the conversation in a prompt cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.configs.catalogue import ModelCard, TokenPrices
from pointsman.configs.words import Tier
from pointsman.routing.decide import decide
from pointsman.routing.decision import Decision
from pointsman.routing.experience import Experience, likely
from pointsman.routing.features import Features
from pointsman.routing.policy import Policy
from pointsman.routing.request import Circumstances

Card = Callable[..., ModelCard]
Over = Callable[..., Policy]

LONG = Features(kind="gather", task="classify", tokens=10_000, max_output=100)
SHORT = Features(kind="gather", task="classify", tokens=100, max_output=100)


def seen(success: float = 1.0, calls: float = 140.0, seconds: float | None = 1.0, **more: float) -> Experience:
    return Experience(calls, success, seconds, **more)


def reasons(decision: Decision, rule: str) -> list[str]:
    return [hit.reason for hit in decision.rules if hit.id == rule]


def caching(card: ModelCard, read: float, write: float | None = None) -> ModelCard:
    """The card with USD per million tokens read from and written to a cache."""
    assert card.prices is not None
    million = Decimal(1_000_000)
    prices = replace(
        card.prices,
        cache_read=Decimal(str(read)) / million,
        cache_write=card.prices.input if write is None else Decimal(str(write)) / million,
    )
    return replace(card, prices=prices)


@pytest.fixture
def pair(card: Card, over: Over) -> Policy:
    """Two models of one tier, the first a little cheaper."""
    return over(card("a/x", price=(1.0, 1.0)), card("b/y", price=(1.3, 1.3)))


def test_the_cheaper_model_goes_behind_where_it_often_fails_at_this_task(pair: Policy) -> None:
    assert decide(SHORT, pair).candidates == ("a/x", "b/y")
    now = Circumstances(experience={"a/x": seen(0.61, seconds=2.13, cost=0.00041), "b/y": seen(0.99)})
    decision = decide(SHORT, pair, now)
    assert decision.candidates == ("b/y", "a/x")
    assert reasons(decision, "history") == [
        "a/x answered 61 % of 140 classify calls in 2.1 s at $0.000410 each, so b/y goes first"
    ]


def test_a_model_nobody_has_asked_is_taken_to_work(pair: Policy) -> None:
    assert decide(SHORT, pair, Circumstances(experience={"a/x": seen(0.61)})).model == "b/y"
    assert decide(SHORT, pair, Circumstances(experience={"a/x": seen(0.99)})).model == "a/x"
    assert decide(SHORT, pair, Circumstances(experience={"b/y": seen(0.61)})).model == "a/x"


def test_a_perfect_record_never_counts_for_less_than_none() -> None:
    assert all(likely(seen(1.0, calls)) > likely(None) for calls in (0.1, 1, 20, 1e9))
    assert likely(seen(0.0, 1e12)) > 0


def test_too_few_calls_say_nothing(pair: Policy) -> None:
    now = Circumstances(experience={"a/x": seen(0.0, calls=19.9)})
    assert decide(SHORT, pair, now) == decide(SHORT, pair)
    now = Circumstances(experience={"a/x": seen(0.0, calls=20.0)})
    assert decide(SHORT, pair, now).model == "b/y"


def test_history_can_be_switched_off(card: Card, over: Over) -> None:
    policy = over(card("a/x", price=(1, 1)), card("b/y", price=(2, 2)), history={"enabled": False})
    now = Circumstances(experience={"a/x": seen(0.01), "b/y": seen(1.0)})
    assert decide(SHORT, policy, now) == decide(SHORT, policy)


def test_history_changes_no_tier_whatever_it_says(card: Card, over: Over) -> None:
    policy = over(card("a/x"), card("b/y", "standard"), card("c/z", "frontier"))
    now = Circumstances(experience={"a/x": seen(0.0), "b/y": seen(0.0), "c/z": seen(1.0)})
    assert decide(SHORT, policy, now).candidates == ("a/x", "b/y", "c/z")


@pytest.mark.parametrize("strategy", ["cost", "latency", "quality", "balanced"])
def test_rules_approved_models_and_what_is_asked_for_override_history(card: Card, over: Over, strategy: str) -> None:
    cards = [card(name, scores={"reasoning": 0.6, "speed": 0.6}) for name in ("a/x", "b/y")]
    now = Circumstances(experience={"a/x": seen(0.05, seconds=60.0), "b/y": seen(1.0)})
    assert decide(SHORT, over(*cards, strategy=strategy), now).model == "b/y"

    rule = {"id": "mine", "reason": "x it is", "prefer": ["a/x"]}
    assert decide(SHORT, over(*cards, strategy=strategy, rules=[rule]), now).model == "a/x"
    assert decide(SHORT, over(*cards, strategy=strategy, approved=["a"]), now).candidates == ("a/x",)
    asked = replace(SHORT, model="a/x")
    decision = decide(asked, over(*cards, strategy=strategy), now)
    assert decision.model == "a/x"
    assert not reasons(decision, "history")


@settings(max_examples=60, deadline=None)
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

    decision = decide(SHORT, over(*cards), Circumstances(experience=experience))
    least = min(expected(order) for order in permutations(price))
    assert expected(decision.candidates) == pytest.approx(least)


def test_a_model_that_answers_at_length_costs_what_it_really_writes(card: Card, over: Over) -> None:
    wordy, terse = card("a/wordy", price=(1.0, 1.0)), card("b/terse", price=(1.0, 1.2))
    policy = over(wordy, terse)
    features = replace(SHORT, max_output=4000)
    assert decide(features, policy).model == "a/wordy"
    now = Circumstances(experience={"a/wordy": seen(output=3000.0), "b/terse": seen(output=200.0)})
    assert decide(features, policy, now).model == "b/terse"
    # That it was counted at all makes no model cheap: the other is taken to write as much.
    now = Circumstances(experience={"b/terse": seen(output=200.0)})
    assert decide(features, policy, now).model == "a/wordy"


def test_latency_goes_by_what_was_measured(card: Card, over: Over) -> None:
    quick, slow = card("a/quick", scores={"speed": 0.9}), card("b/slow", scores={"speed": 0.5})
    policy = over(quick, slow, strategy="latency")
    assert decide(SHORT, policy).model == "a/quick"
    now = Circumstances(experience={"a/quick": seen(seconds=9.0), "b/slow": seen(seconds=2.0)})
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
    order = decide(SHORT, policy, Circumstances(experience=measured)).candidates
    assert order == ("b/m", "unmeasured/m", "a/m", "c/m")


def test_a_model_on_this_machine_does_not_set_the_scale_for_the_others(card: Card, over: Over) -> None:
    here = card("here/m", scores={"speed": 1.0}, local=True)
    policy = over(here, card("a/x", scores={"speed": 0.8}), card("b/y", scores={"speed": 0.5}), strategy="latency")
    now = Circumstances(experience={"here/m": seen(seconds=0.001), "a/x": seen(seconds=1.0)})
    assert decide(SHORT, policy, now).candidates == ("here/m", "a/x", "b/y")


def test_a_model_that_only_ever_failed_is_not_quick_however_quickly_it_did(card: Card, over: Over) -> None:
    policy = over(card("a/x", scores={"speed": 0.9}), card("b/y", scores={"speed": 0.5}), strategy="latency")
    now = Circumstances(experience={"a/x": seen(0.0, seconds=None), "b/y": seen(seconds=4.0)})
    assert decide(SHORT, policy, now).model == "b/y"


def test_quality_counts_by_the_chance_of_an_answer(card: Card, over: Over) -> None:
    policy = over(
        card("a/best", scores={"reasoning": 0.9}), card("b/next", scores={"reasoning": 0.8}), strategy="quality"
    )
    assert decide(SHORT, policy).model == "a/best"
    assert decide(SHORT, policy, Circumstances(experience={"a/best": seen(0.6)})).model == "b/next"
    assert decide(SHORT, policy, Circumstances(experience={"a/best": seen(0.95)})).model == "a/best"


def test_an_unknown_price_stays_the_dearest_whatever_history_says(card: Card, over: Over) -> None:
    policy = over(card("a/x", price=None), card("b/y", price=(100, 100)))
    now = Circumstances(experience={"a/x": seen(1.0, output=1.0), "b/y": seen(0.05)}, warm={"a/x": 50}, last="a/x")
    assert decide(SHORT, policy, now).candidates == ("b/y", "a/x")


@pytest.fixture
def caches(card: Card, over: Over) -> Policy:
    """Two models of one tier with a discount of nine tenths; the second costs 1.5 times the first."""
    return over(caching(card("a/x", price=(1, 1)), 0.1), caching(card("b/y", price=(1.5, 1)), 0.15))


def test_a_warm_prefix_is_read_at_its_own_price(caches: Policy) -> None:
    assert decide(LONG, caches).model == "a/x"
    decision = decide(LONG, caches, Circumstances(warm={"b/y": 8_000}))
    assert decision.model == "b/y"
    # 8,000 at 0.15, 2,000 at 1.5 and 100 at 1, against 10,000 and 100 at 1 USD per million.
    assert reasons(decision, "cache.warm") == ["b/y holds 8,000 of 10,000 tokens warm: $0.0043 against $0.0101"]


def test_no_more_is_warm_than_the_prompt_is_long(caches: Policy) -> None:
    everything = decide(LONG, caches, Circumstances(warm={"b/y": 10**9}))
    assert "10,000 of 10,000" in reasons(everything, "cache.warm")[0]


def test_what_will_be_written_to_a_cache_is_priced_as_such(card: Card, over: Over) -> None:
    policy = over(caching(card("a/x", price=(1, 1)), 0.1, 1.25), card("b/y", price=(1.1, 1)))
    assert decide(LONG, policy).model == "a/x"
    assert decide(replace(LONG, tools=1), policy).model == "b/y"
    assert decide(replace(SHORT, tools=1), policy).model == "a/x"


def test_the_model_that_answered_last_stays_unless_a_switch_pays(card: Card, over: Over) -> None:
    def first(other: float, **routing: Any) -> Decision:
        cards = caching(card("a/x", price=(1, 1)), 0.1), card("b/y", price=(other, 1))
        now = Circumstances(warm={"a/x": 9_000}, last="a/x")
        return decide(replace(LONG, max_output=1), over(*cards, **routing), now)

    # It costs 9,000 at 0.1 and 1,000 at 1: 0.0019 USD; a tenth less is 0.00171.
    stays = first(0.18)
    assert stays.model == "a/x"
    assert reasons(stays, "cache.warm") == [
        "a/x holds 9,000 of 10,000 tokens warm: $0.0018 instead of $0.0019 does not pay for a switch to b/y"
    ]
    assert first(0.17).model == "b/y"
    assert first(0.18, switch_margin=0.0).model == "b/y"


def test_a_conversation_does_not_flap_between_models_of_nearly_one_price(card: Card, over: Over) -> None:
    policy = over(caching(card("a/x", price=(1, 1)), 0.95), caching(card("b/y", price=(1, 1)), 0.95))
    swaying = [{"a/x": seen(0.90 + 0.02 * (turn % 2)), "b/y": seen(0.91)} for turn in range(6)]
    alone = [decide(LONG, policy, Circumstances(experience=experience)).model for experience in swaying]
    assert alone == ["b/y", "a/x"] * 3

    models: list[str] = []
    for experience in swaying:
        warm = {models[-1]: 9_000} if models else {}
        decision = decide(
            LONG, policy, Circumstances(experience=experience, warm=warm, last=models[-1] if models else None)
        )
        models.append(str(decision.model))
    assert models == ["b/y"] * 6


def test_a_model_that_holds_nothing_warm_has_no_claim_to_stay(caches: Policy) -> None:
    assert decide(LONG, caches, Circumstances(last="b/y")) == decide(LONG, caches)
    assert decide(LONG, caches, Circumstances(last="b/y", warm={"a/x": 9_000})).model == "a/x"


def test_a_warm_model_of_a_higher_tier_stays_only_where_that_costs_no_more(card: Card, over: Over) -> None:
    cards = card("a/x", price=(1, 1)), card("c/z", price=(2, 1)), caching(card("b/y", "standard", price=(3, 1)), 0.3)
    policy = over(*cards)
    decision = decide(LONG, policy, Circumstances(warm={"b/y": 9_600}, last="b/y"))
    assert (decision.candidates, decision.tier) == (("b/y",), Tier.STANDARD)
    assert reasons(decision, "cache.tier") == ["b/y holds 9,600 of 10,000 tokens warm: $0.0042 against $0.0101"]
    assert [rejection.model for rejection in decision.rejected] == ["a/x", "c/z"]
    assert all("below the chosen tier standard" in rejection.reason for rejection in decision.rejected)

    assert decide(LONG, policy, Circumstances(warm={"b/y": 6_000}, last="b/y")).candidates[0] == "a/x"
    # To be warm is not enough: somebody else had the last word.
    assert decide(LONG, policy, Circumstances(warm={"b/y": 9_600}, last="a/x")).candidates[0] == "a/x"


def test_a_warm_model_below_the_floor_or_the_wanted_tier_does_not_stay(card: Card, over: Over) -> None:
    policy = over(caching(card("a/x"), 0.0), card("b/y", "standard"), card("c/z", "frontier"))
    now = Circumstances(warm={"a/x": 10_000, "b/y": 10_000}, last="a/x")
    assert decide(LONG, policy, now).model == "a/x"
    assert decide(replace(LONG, tier=Tier.STANDARD), policy, now).model == "b/y"
    assert decide(replace(LONG, effects=("destructive",), tools=1), policy, now).model == "c/z"  # type: ignore[arg-type]


@pytest.mark.parametrize("tier", ["economy", "standard"])
def test_rules_approved_models_and_what_is_asked_for_override_what_is_warm(card: Card, over: Over, tier: str) -> None:
    cards = card("a/x", price=(5, 5)), caching(card("b/y", tier, price=(5, 5)), 0.1)
    now = Circumstances(warm={"b/y": 10_000}, last="b/y")
    assert decide(LONG, over(*cards), now).model == "b/y"

    rule = {"id": "mine", "reason": "x it is", "prefer": ["a/x"]}
    assert decide(LONG, over(*cards, rules=[rule]), now).model == "a/x"
    assert decide(LONG, over(*cards, approved=["a"]), now).model == "a/x"
    assert decide(replace(LONG, model="a/x"), over(*cards), now).model == "a/x"
    assert decide(LONG, over(*cards), replace(now, unavailable={"b/y": "its breaker is open"})).model == "a/x"
    assert decide(LONG, over(*cards), replace(now, tried=frozenset({"b/y"}))).model == "a/x"


@pytest.mark.parametrize(
    ("strategy", "model"), [("cost", "b/y"), ("balanced", "b/y"), ("latency", "a/x"), ("quality", "a/x")]
)
def test_a_prompt_cache_counts_only_where_prices_do(card: Card, over: Over, strategy: str, model: str) -> None:
    cards = caching(card("a/x", price=(1, 1)), 0.1), caching(card("b/y", price=(1, 1)), 0.1)
    now = Circumstances(warm={"b/y": 10_000}, last="b/y")
    assert decide(LONG, over(*cards, strategy=strategy), now).model == model


def test_evidence_of_another_time_can_be_stood_in_for_by_what_it_led_to(card: Card, over: Over) -> None:
    cards = card("a/x", price=(1, 1)), card("b/y", price=(2, 2)), card("c/z", "standard")
    assert decide(SHORT, over(*cards), Circumstances(proven="b/y")).candidates == ("b/y", "a/x", "c/z")
    assert decide(SHORT, over(*cards), Circumstances(proven="c/z")).candidates == ("c/z",)
    assert decide(SHORT, over(*cards), Circumstances(proven="gone/away")) == decide(SHORT, over(*cards))
    rule = {"id": "mine", "reason": "x it is", "prefer": ["a/x"]}
    assert decide(SHORT, over(*cards, rules=[rule]), Circumstances(proven="b/y")).model == "a/x"
