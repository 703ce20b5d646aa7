"""Breakers: when they open, that one probe passes at a time, and that they recover."""

from __future__ import annotations

import gc
import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import FailureKind
from pointsman.dispatch.health import _VERDICTS, Health, HealthKey, HealthLimits, Permit

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
    assert set(_VERDICTS) == set(FailureKind)


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    health = _health(HealthLimits(consecutive=3))
    _fail(health, 2)
    _permit(health).record(0.1)
    _fail(health, 2)
    assert isinstance(health.allow(KEY), Permit)
    _fail(health, 1)
    refusal = health.allow(KEY)
    assert refusal == "circuit open for 5.0 s more: 3 failures in a row"


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


def test_a_quick_failure_does_not_make_a_slow_provider_look_fast() -> None:
    health = _health(HealthLimits(sla=2.0, consecutive=99, rate=1.0))
    for _ in range(20):
        _permit(health).record(0.001, FailureKind.CONNECTION)
        _permit(health).record(9.0)
        if isinstance(health.allow(KEY), str):
            return
    pytest.fail("never opened")


@pytest.mark.parametrize("kind", [kind for kind, verdict in _VERDICTS.items() if verdict in ("well", "neutral")])
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


def test_after_a_window_of_good_health_the_cool_down_starts_small_again() -> None:
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
    clock.now += 61
    _fail(health, 1)
    assert health.states()[0].retry_in == 5


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


def test_another_process_learns_what_is_open_and_for_how_long() -> None:
    clock = Clock()
    health = _health(HealthLimits(consecutive=1), clock)
    _fail(health, 1)
    _permit(health, OTHER).record(0.1)
    rows = json.loads(json.dumps(health.dump()))
    assert [row["region"] for row in rows] == [""]
    clock.now += 2
    heir = _health(HealthLimits(consecutive=1), clock)
    assert heir.restore(rows) == 1
    assert heir.allow(KEY) == "circuit open for 3.0 s more: 1 failures in a row"
    clock.now += 3
    _fail(heir, 1)
    assert heir.states()[0].retry_in == 10


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"provider": "a", "model": "b", "region": "", "until": "soon", "reason": "x", "trips": 1},
        {"provider": "a", "model": "b", "region": "", "until": math.nan, "reason": "x", "trips": 1},
        {"provider": "a", "model": "b", "region": "", "until": 0, "reason": "x", "trips": 1},
        {"provider": "a", "model": "b", "region": "", "until": math.inf, "reason": "", "trips": 1},
    ],
)
def test_a_kept_row_that_says_nothing_is_left_out(row: dict[str, object]) -> None:
    assert _health().restore([row]) == 0


def test_what_this_process_saw_itself_stands_against_a_kept_row() -> None:
    clock = Clock()
    sick, well = _health(HealthLimits(consecutive=1), clock), _health(clock=clock)
    _fail(sick, 1)
    _permit(well).record(0.1)
    assert well.restore(sick.dump()) == 0
    assert isinstance(well.allow(KEY), Permit)


@pytest.mark.parametrize(
    "limits", [{"window": 0}, {"rate": 0}, {"calls": 0}, {"cool_down": math.nan}, {"sla": -1}, {"consecutive": 0}]
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        HealthLimits(**limits)  # type: ignore[arg-type]


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


Calls.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCalls = Calls.TestCase
