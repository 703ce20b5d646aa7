"""Breakers: when they open, that one probe passes at a time, and that they recover."""

from __future__ import annotations

import gc
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pointsman.configs.catalog import Usage
from pointsman.configs.schema import HealthLimits
from pointsman.configs.words import FailureKind
from pointsman.dispatch.failures import FAILURES
from pointsman.dispatch.guards.health import Health, HealthKey, Permit
from pydantic import ValidationError

KEY = HealthKey("openai", "gpt-5.5")
OTHER = HealthKey("openai", "gpt-5.5", "eu")


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def _health(
    limits: HealthLimits | None = None, clock: Clock | None = None, jitter: float = 0.0, **kwargs: object
) -> Health:
    clock = clock or Clock()
    return Health(limits, clock=clock, wall=lambda: clock.now + 1e9, jitter=lambda: jitter, **kwargs)  # type: ignore[arg-type]


def _permit(health: Health, key: HealthKey = KEY) -> Permit:
    permit = health.allow(key)
    assert isinstance(permit, Permit), permit
    return permit


def _fail(health: Health, times: int, kind: FailureKind = FailureKind.OVERLOADED, key: HealthKey = KEY) -> None:
    for _ in range(times):
        _permit(health, key).record(0.1, kind)


def test_every_kind_of_failure_has_its_meaning_for_health() -> None:
    assert set(FAILURES) == set(FailureKind)


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    health = _health(HealthLimits(consecutive=3))
    _fail(health, 2)
    _permit(health).record(0.1)
    _fail(health, 2)
    assert isinstance(health.allow(KEY), Permit)
    _fail(health, 1)
    refusal = health.allow(KEY)
    assert refusal == "circuit open for 5.0 s more: 3 failures in a row"


@pytest.mark.parametrize(("calls", "slowest"), [(1, 1), (19, 19), (20, 19), (21, 20), (40, 38)])
def test_the_95th_percentile_is_the_latency_that_19_of_20_calls_do_not_pass(calls: int, slowest: int) -> None:
    health = _health(HealthLimits(sla=1000))
    for latency in range(calls, 0, -1):
        _permit(health).record(float(latency))
    assert health.states()[0].p95 == slowest


def test_what_is_usual_is_learned_from_all_of_the_first_answers_alike() -> None:
    health = _health(HealthLimits(calls=10, consecutive=3, slack=0.001))
    _answered(health, 0.01)
    _answered(health, 20.0, times=9)
    assert health.states()[0].state == "closed"
    _answered(health, 20.0, times=3)
    assert health.states()[0].state == "closed"


def test_one_region_does_not_close_another() -> None:
    health = _health(HealthLimits(consecutive=1))
    _fail(health, 1)
    assert isinstance(health.allow(KEY), str)
    assert isinstance(health.allow(OTHER), Permit)


def test_a_share_of_failures_opens_it_once_there_are_enough_calls() -> None:
    health = _health(HealthLimits(consecutive=99, rate=0.5, calls=10))
    for _ in range(4):
        _fail(health, 1)
        _permit(health).record(0.1)
    assert isinstance(health.allow(KEY), Permit)
    _permit(health).record(0.1)
    _fail(health, 1)
    assert health.allow(KEY) == "circuit open for 5.0 s more: 5 of 10 calls failed"


def test_calls_older_than_the_window_are_forgotten() -> None:
    clock = Clock()
    health = _health(HealthLimits(consecutive=99, calls=10, window=60), clock)
    _fail(health, 9)
    clock.now += 60
    _fail(health, 1)
    (state,) = health.states()
    assert (state.state, state.calls, state.errors) == ("closed", 1, 1)


def test_a_slow_provider_is_opened_by_its_95th_percentile_and_not_by_one_slow_call() -> None:
    health = _health(HealthLimits(sla=2.0))
    for _ in range(19):
        _permit(health).record(0.5)
    _permit(health).record(9.0)
    (state,) = health.states()
    assert (state.state, state.p95) == ("closed", 0.5)
    _permit(health).record(9.0)
    assert health.allow(KEY) == "circuit open for 5.0 s more: p95 latency over 2 s"


def test_a_model_has_an_sla_of_its_own() -> None:
    health = _health(HealthLimits(sla=2.0), slas={"openai/gpt-5.5": 30.0})
    for _ in range(40):
        _permit(health).record(9.0)
    assert isinstance(health.allow(KEY), Permit)


def _answered(health: Health, seconds: float, output: int = 40, prompt: int = 200, times: int = 1) -> None:
    for _ in range(times):
        _permit(health).record(seconds, usage=Usage(prompt, output))


def test_one_that_takes_twenty_seconds_for_what_took_one_is_left_alone_without_an_sla() -> None:
    health = _health()
    _answered(health, 1.0, times=12)
    _answered(health, 20.0, times=4)
    assert isinstance(health.allow(KEY), Permit)
    _answered(health, 20.0)
    assert health.allow(KEY) == "circuit open for 5.0 s more: 5 answers in a row took over what is usual for it"


def test_five_slow_answers_in_a_row_are_too_many_for_one_caller_after_the_other() -> None:
    clock = Clock()
    health = _health(HealthLimits(sla=15.0), clock)
    for _ in range(5):
        assert isinstance(health.allow(KEY), Permit)
        clock.now += 20
        _answered(health, 20.0)
    assert health.allow(KEY) == "circuit open for 5.0 s more: 5 answers in a row took over 15 s"


@pytest.mark.parametrize("stream", [False, True])
def test_an_honest_long_answer_is_not_slow(stream: bool) -> None:
    health = _health()
    _answered(health, 1.5, output=60, times=30)
    # 44 tokens a second; a stream of one that thinks first begins late.
    _answered(health, 60.0 if stream else 90.0, output=4000, times=30)
    assert isinstance(health.allow(KEY), Permit)


def test_an_honest_long_prompt_is_not_slow() -> None:
    health = _health()
    _answered(health, 0.6, times=30)
    _answered(health, 18.0, prompt=150_000, times=30)
    assert isinstance(health.allow(KEY), Permit)


def test_a_model_that_was_never_quick_is_not_slow() -> None:
    health = _health()
    _answered(health, 120.0, output=300, times=60)
    assert isinstance(health.allow(KEY), Permit)


def test_a_few_seconds_more_are_not_slow_however_quick_it_was() -> None:
    health = _health()
    _answered(health, 0.05, times=30)
    _answered(health, 9.0, times=30)
    assert isinstance(health.allow(KEY), Permit)


def test_an_answer_of_unknown_length_is_not_judged() -> None:
    health = _health()
    _answered(health, 1.0, times=30)
    for _ in range(30):
        _permit(health).record(60.0)
    assert isinstance(health.allow(KEY), Permit)


def test_what_lasts_becomes_usual() -> None:
    clock = Clock()
    health = _health(clock=clock)
    _answered(health, 1.0, times=30)
    _answered(health, 20.0, times=5)
    for _ in range(20):
        (state,) = health.states()
        if state.state == "closed":
            break
        clock.now += state.retry_in
        _answered(health, 20.0)
    assert state.state == "closed"


def test_a_slow_probe_opens_it_again_and_a_quick_one_closes_it() -> None:
    clock = Clock()
    health = _health(clock=clock)
    _answered(health, 1.0, times=30)
    _answered(health, 20.0, times=5)
    clock.now += 5
    _answered(health, 20.0)
    assert isinstance(health.allow(KEY), str)
    clock.now += 10
    _answered(health, 1.0)
    assert health.states()[0].state == "closed"


def test_one_that_is_merely_slow_is_asked_where_there_is_nobody_else() -> None:
    health = _health(HealthLimits(consecutive=1, sla=2.0))
    assert not health.merely_slow(KEY)
    _answered(health, 3.0)
    assert health.merely_slow(KEY)
    assert isinstance(health.allow(KEY), str)
    permit = health.allow(KEY, last=True)
    assert isinstance(permit, Permit)
    permit.record(0.1)
    (state,) = health.states()
    assert (state.state, state.calls) == ("open", 0), "a call past the breaker is no probe and counts for nothing"


def test_one_that_fails_is_not_asked_even_where_there_is_nobody_else() -> None:
    health = _health(HealthLimits(consecutive=1))
    _fail(health, 1)
    assert not health.merely_slow(KEY)
    assert isinstance(health.allow(KEY, last=True), str)


def test_nonsense_from_a_provider_does_not_break_the_reckoning() -> None:
    health = _health()
    for usage in (Usage(-5, -5), Usage(10**400, 1), Usage(0, 0, cache_read=7), Usage(float("nan"), float("inf"))):  # type: ignore[arg-type]
        for seconds in (0.0, 1e9):
            _permit(health).record(seconds, usage=usage)


def test_half_of_all_answers_slow_are_too_many_without_an_sla_and_a_tenth_is_not() -> None:
    health = _health()
    _answered(health, 1.0, times=20)
    for _ in range(40):
        _answered(health, 20.0)
        _answered(health, 1.0, times=9)
    assert isinstance(health.allow(KEY), Permit)
    clock = Clock()
    health = _health(clock=clock)
    _answered(health, 1.0, times=20)
    clock.now += 60
    for _ in range(5):
        _answered(health, 1.0)
        _answered(health, 20.0)
    assert health.allow(KEY) == "circuit open for 5.0 s more: 5 of 10 answers took over what is usual for it"


def test_an_operator_may_send_the_probe_before_its_time() -> None:
    health = _health(HealthLimits(consecutive=1))
    _fail(health, 1, FailureKind.AUTH)
    assert isinstance(health.allow(KEY), str)
    health.try_now(KEY)
    _permit(health).record(0.1)
    assert health.states()[0].state == "closed"


def test_a_quick_failure_does_not_make_a_slow_provider_look_fast() -> None:
    health = _health(HealthLimits(sla=2.0, consecutive=99, rate=1.0))
    for _ in range(20):
        _permit(health).record(0.001, FailureKind.CONNECTION)
        _permit(health).record(9.0)
        if isinstance(health.allow(KEY), str):
            return
    pytest.fail("never opened")


@pytest.mark.parametrize("kind", [kind for kind, told in FAILURES.items() if told.health in ("well", "neutral")])
def test_what_the_asker_or_the_model_did_is_not_held_against_the_provider(kind: FailureKind) -> None:
    health = _health(HealthLimits(consecutive=1, calls=1, rate=0.01))
    _fail(health, 50, kind)
    assert isinstance(health.allow(KEY), Permit)


@pytest.mark.parametrize("kind", [FailureKind.AUTH, FailureKind.QUOTA, FailureKind.UNAVAILABLE])
def test_a_refused_key_an_empty_account_or_a_missing_model_opens_it_at_once_and_for_long(kind: FailureKind) -> None:
    health = _health(HealthLimits(cool_down_cap=300))
    _fail(health, 1, kind)
    assert health.allow(KEY) == f"circuit open for 300.0 s more: {kind}"


def test_a_rate_limit_that_says_when_is_honoured_to_the_second() -> None:
    clock = Clock()
    health = _health(clock=clock)
    _permit(health).record(0.1, FailureKind.RATE_LIMIT, retry_after=17)
    clock.now += 16.9
    assert isinstance(health.allow(KEY), str)
    clock.now += 0.2
    _permit(health).record(0.1)
    assert health.states()[0].state == "closed"


def test_a_rate_limit_holds_calls_back_for_what_is_left_of_it() -> None:
    clock = Clock()
    health = _health(clock=clock)
    _permit(health).record(0.1, FailureKind.RATE_LIMIT, retry_after=17)
    held = []
    for now in (1000, 1005, 1017, 1030):
        clock.now = now
        held.append(health.held(KEY))
    assert held == [17, 12, 0, 0]
    assert health.held(OTHER) == 0


@pytest.mark.parametrize("wait", [math.nan, -1.0, 0.0, None])
def test_a_senseless_retry_after_counts_as_a_plain_failure(wait: float | None) -> None:
    health = _health(HealthLimits(consecutive=2))
    _permit(health).record(0.1, FailureKind.RATE_LIMIT, retry_after=wait)
    assert health.states()[0].state == "closed"
    _permit(health).record(0.1, FailureKind.RATE_LIMIT, retry_after=wait)
    assert health.states()[0].state == "open"


def test_an_endless_retry_after_is_believed_for_a_day_at_most() -> None:
    health = _health()
    _permit(health).record(0.1, FailureKind.RATE_LIMIT, retry_after=math.inf)
    assert health.states()[0].retry_in == 86_400


def test_the_cool_down_doubles_up_to_its_cap_with_jitter_on_top() -> None:
    clock = Clock()
    health = _health(HealthLimits(consecutive=1, cool_down=5, cool_down_cap=30, jitter=0.2), clock, jitter=0.5)
    waits = []
    for _ in range(5):
        _fail(health, 1)
        waits.append(round(health.states()[0].retry_in, 6))
        clock.now += waits[-1]
    assert waits == [5.5, 11.0, 22.0, 33.0, 33.0]


@pytest.mark.parametrize(("healthy", "cool_down"), [(60, 80), (60.5, 5)])
def test_after_more_than_a_window_of_good_health_the_cool_down_starts_small_again(
    healthy: float, cool_down: float
) -> None:
    clock = Clock()
    health = _health(HealthLimits(consecutive=1, window=60), clock)
    for _ in range(3):
        _fail(health, 1)
        clock.now += health.states()[0].retry_in
    _permit(health).record(0.1)
    _fail(health, 1)
    assert health.states()[0].retry_in == 40
    clock.now += 40
    _permit(health).record(0.1)
    clock.now += healthy
    _fail(health, 1)
    assert health.states()[0].retry_in == cool_down


def test_one_probe_passes_when_two_hundred_threads_ask_at_once() -> None:
    clock = Clock()
    health = _health(HealthLimits(consecutive=1), clock)
    _fail(health, 1)
    clock.now += 5
    barrier = threading.Barrier(50)

    def ask() -> list[Permit | str]:
        barrier.wait()
        return [health.allow(KEY) for _ in range(4)]

    with ThreadPoolExecutor(50) as pool:
        answers = [answer for some in pool.map(lambda _: ask(), range(50)) for answer in some]
    probes = [answer for answer in answers if isinstance(answer, Permit)]
    assert len(answers) == 200
    assert len(probes) == 1
    assert health.allow(KEY) == "one probe is under way: 1 failures in a row"


def test_a_cancelled_probe_gives_its_place_back() -> None:
    clock = Clock()
    health = _health(HealthLimits(consecutive=1), clock)
    _fail(health, 1)
    clock.now += 5
    with pytest.raises(TimeoutError), _permit(health):
        raise TimeoutError
    assert isinstance(health.allow(KEY), Permit)


@pytest.mark.slow
def test_a_lost_probe_gives_its_place_back() -> None:
    clock = Clock()
    health = _health(HealthLimits(consecutive=1), clock)
    _fail(health, 1)
    clock.now += 5
    probe = _permit(health)
    assert isinstance(health.allow(KEY), str)
    del probe
    gc.collect()
    assert isinstance(health.allow(KEY), Permit)


def test_a_probe_that_tells_nothing_lets_the_next_one_try() -> None:
    clock = Clock()
    health = _health(HealthLimits(consecutive=1), clock)
    _fail(health, 1)
    clock.now += 5
    _permit(health).record(0.1, FailureKind.BAD_REQUEST)
    assert health.states()[0].state == "half_open"
    _permit(health).record(0.1)
    assert health.states()[0].state == "closed"


def test_a_probe_over_the_sla_opens_it_again() -> None:
    clock = Clock()
    health = _health(HealthLimits(consecutive=1, sla=2.0), clock)
    _fail(health, 1)
    clock.now += 5
    _permit(health).record(7.0)
    assert health.allow(KEY) == "circuit open for 10.0 s more: the probe took 7.00 s, over 2 s"


def test_late_results_of_calls_made_before_the_outage_change_nothing() -> None:
    clock = Clock()
    health = _health(HealthLimits(consecutive=2), clock)
    late = [_permit(health) for _ in range(10)]
    _fail(health, 2)
    late.pop().record(0.1)
    assert health.states()[0].state == "open"
    clock.now += 5
    _permit(health).record(0.1)
    for permit in late:
        permit.record(60.0, FailureKind.TIMEOUT)
    assert health.states()[0].state == "closed"


def test_a_late_rate_limit_lengthens_an_open_state_only() -> None:
    clock = Clock()
    health = _health(HealthLimits(consecutive=1), clock)
    late = [_permit(health) for _ in range(2)]
    _fail(health, 1)
    late.pop().record(0.1, FailureKind.RATE_LIMIT, retry_after=40)
    assert health.states()[0].retry_in == 40
    clock.now += 40
    _permit(health).record(0.1)
    late.pop().record(0.1, FailureKind.RATE_LIMIT, retry_after=40)
    assert health.states()[0].state == "closed"


def test_a_late_rate_limit_never_shortens_an_open_state() -> None:
    health = _health(HealthLimits(consecutive=1, cool_down=30))
    late = _permit(health)
    _fail(health, 1)
    late.record(0.1, FailureKind.RATE_LIMIT, retry_after=1)
    assert health.states()[0].retry_in == 30


def test_a_late_success_is_not_taken_for_the_probe() -> None:
    clock = Clock()
    health = _health(HealthLimits(consecutive=1), clock)
    late = _permit(health)
    _fail(health, 1)
    clock.now += 5
    probe = _permit(health)
    late.record(0.1)
    assert health.states()[0].state == "half_open"
    assert isinstance(health.allow(KEY), str)
    probe.record(0.1, FailureKind.OVERLOADED)
    assert health.states()[0].state == "open"


def test_only_the_first_word_about_a_call_counts() -> None:
    health = _health(HealthLimits(consecutive=1))
    permit = _permit(health)
    permit.record(0.1)
    permit.record(0.1, FailureKind.OVERLOADED)
    permit.cancel()
    assert health.states()[0].state == "closed"


def test_memory_stays_bounded_whatever_the_load() -> None:
    health = _health(HealthLimits(samples=100, consecutive=10**9, rate=1.0))
    for number in range(1000):
        _permit(health).record(0.1, FailureKind.OVERLOADED if number % 2 else None)
    (state,) = health.states()
    assert (state.calls, state.errors) == (100, 50)


@pytest.mark.parametrize(
    "limits",
    [
        {"window": 0},
        {"rate": 0},
        {"calls": 0},
        {"cool_down": math.nan},
        {"sla": -1},
        {"consecutive": 0},
        {"cool_down": 500},
        {"calls": 600},
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        HealthLimits(**limits)


class Calls(RuleBasedStateMachine):
    """Any order of asking, answering, giving up, losing and waiting, over two keys."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.health = _health(
            HealthLimits(consecutive=3, calls=4, window=20, sla=2.0, cool_down=5, cool_down_cap=40), self.clock
        )
        self.flying: list[Permit] = []

    @rule(key=st.sampled_from([KEY, OTHER]))
    def ask(self, key: HealthKey) -> None:
        before = {state.key: state for state in self.health.states()}.get(key)
        permit = self.health.allow(key)
        if before is not None and before.retry_in > 0:
            assert isinstance(permit, str), "open let a call through"
        if before is not None and before.state == "closed":
            assert isinstance(permit, Permit), "closed refused a call"
        if isinstance(permit, Permit):
            self.flying.append(permit)

    @precondition(lambda self: self.flying)
    @rule(
        data=st.data(),
        kind=st.none() | st.sampled_from(FailureKind),
        latency=st.floats(0, 10),
        retry_after=st.none() | st.floats(0, 60),
    )
    def answer(self, data: st.DataObject, kind: FailureKind | None, latency: float, retry_after: float | None) -> None:
        permit = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        permit.record(latency, kind, retry_after=retry_after)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), lost=st.booleans())
    def give_up(self, data: st.DataObject, lost: bool) -> None:
        permit = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        if not lost:
            permit.cancel()

    @rule(seconds=st.floats(0, 50))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def never_two_probes(self) -> None:
        for key, breaker in self.health._breakers.items():
            if breaker.reason:
                current = [p for p in self.flying if p.key == key and p.generation == breaker.generation]
                assert len(current) <= 1

    @invariant()
    def counts_agree(self) -> None:
        for breaker in self.health._breakers.values():
            samples = breaker.window._samples
            assert breaker.window.errors == sum(not sample.well for sample in samples)
            assert breaker.window.timed == sum(sample.latency is not None for sample in samples)
            assert breaker.window.slow == sum(sample.latency is not None and sample.slow for sample in samples)

    def teardown(self) -> None:
        self.flying.clear()
        self.clock.now += 100_000
        for key in (KEY, OTHER):
            _permit(self.health, key).record(0.1)
        assert {state.state for state in self.health.states()} == {"closed"}


Calls.TestCase.settings = settings(stateful_step_count=40)
TestCalls = Calls.TestCase
