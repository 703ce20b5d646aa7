"""How models did at tasks: what counts, how it fades, and what it changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.catalog import Usage
from pointsman.configs.words import FailureKind, StepKind, Tier
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.evidence.task_stats import TaskHistory
from pointsman.dispatch.model import RoutedChatModel
from pointsman.ledger.experience import newest_calls
from pointsman.ledger.rows import CallRow
from pointsman.routing.decide import decide
from pointsman.routing.decision import Decision
from pointsman.routing.experience import TaskStats
from pointsman.routing.request import RouteRequest, RoutingContext
from pointsman.simulator import Fault, Match, Rule, Scenario, Simulator

DAY = 86_400.0
NOW = 1_800_000_000.0


def call(model: str = "a/x", *, at: float = NOW, **fields: Any) -> CallRow:
    return CallRow("c", "d", "", "", "", 1, model, "economy", "low", at, **fields)


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def history(clock: Clock) -> TaskHistory:
    return TaskHistory(DAY, clock=clock)


def test_success_time_cost_and_length_are_means_over_the_calls_of_a_task(history: TaskHistory) -> None:
    history.observe("chat", call(latency=1.0, cost=2 * 10**9, usage=Usage(10, 100)))
    history.observe("chat", call(latency=2.0, cost=4 * 10**9, usage=Usage(10, 300)))
    history.observe("chat", call(latency=6.0, failure="timeout", usage=Usage(10, 9_000)))
    history.observe("code", call(latency=99.0))
    history.observe("chat", call("b/y"))

    seen = history.of("chat")
    assert set(seen) == {"a/x", "b/y"}
    assert (seen["a/x"].calls, seen["a/x"].seconds) == (3.0, 3.0)
    assert seen["a/x"].success == pytest.approx(2 / 3)
    assert seen["a/x"].cost == pytest.approx(0.003)
    assert seen["a/x"].output == 200.0
    # What nobody knows is not nothing.
    assert (seen["b/y"].cost, seen["b/y"].output) == (None, None)
    assert history.of("never asked") == {}


def test_to_fail_quickly_makes_no_model_quick(history: TaskHistory) -> None:
    history.observe("chat", call(latency=4.0))
    for _ in range(9):
        history.observe("chat", call(latency=0.1, failure="rate_limit"))
        history.observe("chat", call("b/y", latency=0.1, failure="rate_limit"))
    seen = history.of("chat")
    assert (seen["a/x"].seconds, seen["b/y"].seconds) == (4.0, None)


# The caller's doing, and the account's: what another model or the same one on another day would not do better.
EXCUSED = {"bad_request", "context_length", "auth", "quota", "unavailable", "unknown", "cancelled", "lost"}


@pytest.mark.parametrize("kind", FailureKind)
def test_a_failure_counts_where_it_is_the_models_or_the_providers_doing(
    history: TaskHistory, kind: FailureKind
) -> None:
    history.observe("chat", call(failure=kind.value))
    seen = history.of("chat")
    if kind.value in EXCUSED:
        assert seen == {}
    else:
        assert (seen["a/x"].calls, seen["a/x"].success) == (1.0, 0.0)


def test_an_answer_that_was_kept_from_before_tells_nothing(history: TaskHistory) -> None:
    history.observe("chat", call(finish="cached"))
    assert history.of("chat") == {}


def test_a_call_counts_half_after_each_half_life(history: TaskHistory, clock: Clock) -> None:
    for _ in range(40):
        history.observe("chat", call(failure="timeout"))
    clock.now = NOW + DAY
    for _ in range(20):
        history.observe("chat", call(at=clock.now))
    seen = history.of("chat")["a/x"]
    assert seen.calls == pytest.approx(40.0)
    assert seen.success == pytest.approx(0.5)
    clock.now = NOW + 3 * DAY
    assert history.of("chat")["a/x"].calls == pytest.approx(10.0)
    assert history.of("chat")["a/x"].success == pytest.approx(0.5)


def test_a_model_that_failed_comes_back_when_that_is_long_ago(history: TaskHistory, clock: Clock) -> None:
    for _ in range(200):
        history.observe("chat", call(failure="timeout"))
    assert history.of("chat")["a/x"].calls > 20
    clock.now = NOW + 4 * DAY
    assert history.of("chat")["a/x"].calls < 20
    # Numbers that have faded beyond what a float can hold are no trouble.
    clock.now = NOW + 5000 * DAY
    assert history.of("chat")["a/x"].calls == 0.0
    history.observe("chat", call(at=clock.now))
    clock.now += 2
    assert history.of("chat")["a/x"].success == 1.0


# When it began, whether it was answered, and how long it took: in milliseconds, as no clock tells less.
Milliseconds = st.integers(0, 100_000).map(lambda count: count / 1000)
Outcomes = st.lists(st.tuples(st.floats(0, 20 * DAY), st.booleans(), Milliseconds), min_size=1, max_size=30)


@given(Outcomes, st.randoms(use_true_random=False))
def test_in_whatever_order_calls_end_the_weighted_mean_is_the_same(
    outcomes: list[tuple[float, bool, float]], random: Any
) -> None:
    clock = Clock()
    clock.now = NOW + 21 * DAY
    weights = [0.5 ** ((clock.now - NOW - age) / DAY) for age, _, _ in outcomes]
    rows = [call(at=NOW + age, failure=None if good else "timeout", latency=seconds) for age, good, seconds in outcomes]
    random.shuffle(rows)
    history = TaskHistory(DAY, clock=clock)
    history.load(("chat", row) for row in rows)

    seen = history.of("chat")["a/x"]
    assert seen.calls == pytest.approx(sum(weights))
    good = sum(weight for weight, (_, one, _) in zip(weights, outcomes, strict=True) if one)
    assert seen.success == pytest.approx(good / sum(weights))
    spent = sum(weight * seconds for weight, (_, _, seconds) in zip(weights, outcomes, strict=True))
    answering = sum(weight * seconds for weight, (_, one, seconds) in zip(weights, outcomes, strict=True) if one)
    # To fail quickly makes no model quick.
    assert seen.seconds == (pytest.approx(max(spent / sum(weights), answering / good)) if good else None)


def test_what_is_read_is_at_most_seven_calls_old(history: TaskHistory) -> None:
    history.observe("chat", call())
    first = history.of("chat")
    for _ in range(7):
        history.observe("chat", call())
    assert history.of("chat") is first
    history.observe("chat", call())
    assert history.of("chat")["a/x"].calls == 9.0


def test_what_is_read_is_at_most_a_second_old_even_when_the_clock_is_set_back(
    history: TaskHistory, clock: Clock
) -> None:
    history.observe("chat", call())
    first = history.of("chat")
    history.observe("chat", call())
    clock.now = NOW + 0.5
    assert history.of("chat") is first
    clock.now = NOW + 1.0
    assert history.of("chat")["a/x"].calls == pytest.approx(2.0, rel=1e-4)
    clock.now = NOW - 3600.0
    history.observe("chat", call())
    assert history.of("chat")["a/x"].calls == pytest.approx(3.0, rel=1e-4)


def test_neither_tasks_nor_models_grow_without_end(history: TaskHistory) -> None:
    for number in range(2_000):
        history.observe(f"task {number}", call())
    assert history.of("task 0") == {}
    assert "a/x" in history.of("task 1999")
    for number in range(2_000):
        history.observe("chat", call(f"a/{number}", at=NOW + number))
    assert len(history.of("chat")) <= 128
    assert "a/1999" in history.of("chat")


def test_threads_lose_no_call(history: TaskHistory, clock: Clock) -> None:
    def work() -> None:
        for number in range(2_000):
            history.observe("chat", call(failure=None if number % 2 else "timeout"))
            history.of("chat")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.now = NOW + 1.0
    seen = history.of("chat")["a/x"]
    assert (round(seen.calls), round(seen.success, 3)) == (8_000, 0.5)


@pytest.mark.slow
def test_what_the_ledger_tells_of_real_calls_puts_the_model_that_failed_behind(
    dispatcher: Callable[..., Dispatcher], simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=(Rule(match=Match(vendor="anthropic"), fault=Fault("refusal")),))
    # However slow this machine is, no provider is; and what is seen on the way changes nothing yet.
    calm = dispatcher(routing__health={"slack": 3_000}, routing__history={"enabled": False})
    home = dispatcher()
    model = RoutedChatModel(kind=StepKind.GATHER, tier=Tier.STANDARD, dispatcher=calm)
    for _ in range(30):
        model.invoke("Say hello to Ada")

    history = TaskHistory(DAY)
    history.load(newest_calls(calm.ledger, 2_000))
    seen = history.of("chat")
    assert seen["anthropic/claude-haiku-4-5"].success == 0.0
    assert seen["anthropic/claude-haiku-4-5"].calls == pytest.approx(30, abs=0.1)

    def decided(experience: Mapping[str, TaskStats]) -> Decision:
        features = home.policy.features(RouteRequest(kind=StepKind.GATHER, tier=Tier.STANDARD))
        return decide(
            features, home.policy, RoutingContext(unavailable=home.availability.reasons(), experience=experience)
        )

    assert decided({}).model == "anthropic/claude-haiku-4-5"
    assert decided(seen).model == "google/gemini-3.5-flash"
    assert "answered 0 % of 30 chat calls" in next(hit.reason for hit in decided(seen).rules if hit.id == "history")
