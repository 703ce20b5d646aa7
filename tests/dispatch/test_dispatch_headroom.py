"""Rate-limit headroom: what headers say, and that callers spread before a limit is hit."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.errors import ConfigError
from pointsman.dispatch.guards.rate_limit import (
    Rate,
    RateLimiter,
    RateLimitKey,
    RateLimitReading,
    Reservation,
    Wait,
    read_limits,
)
from pointsman.simulator import RateLimit, Scenario, Simulator

NOW = 1_795_000_000.0
A = RateLimitKey("openai", "a")
B = RateLimitKey("anthropic", "b")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _openai(limit: int, remaining: int, reset: str, kind: str = "requests") -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{kind}": str(limit),
        f"x-ratelimit-remaining-{kind}": str(remaining),
        f"x-ratelimit-reset-{kind}": reset,
    }


def _granted(answer: Reservation | Wait) -> Reservation:
    assert isinstance(answer, Reservation), answer
    return answer


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("2m59.56s", 179.56),
        ("1d", 86400),
        ("12", 12),
        ("3m", 180),
    ],
)
def test_durations_are_read_as_openai_writes_them(text: str, seconds: float) -> None:
    found = read_limits(_openai(60, 59, text), NOW)["requests"]
    assert found.limit == 60
    assert found.remaining == 59
    assert found.resets_at == pytest.approx(NOW + seconds, rel=0, abs=1e-3)


def test_anthropics_four_limits_are_read_with_their_moments() -> None:
    headers = {}
    for kind, remaining in (("requests", 49), ("tokens", 900), ("input-tokens", 600), ("output-tokens", 300)):
        headers |= {
            f"Anthropic-RateLimit-{kind}-Limit": "1000",
            f"Anthropic-RateLimit-{kind}-Remaining": str(remaining),
            f"Anthropic-RateLimit-{kind}-Reset": _rfc3339(30),
        }
    found = read_limits(headers, NOW)
    assert {kind: headroom.remaining for kind, headroom in found.items()} == {
        "requests": 49,
        "tokens": 900,
        "input_tokens": 600,
        "output_tokens": 300,
    }
    assert found["tokens"] == RateLimitReading(1000.0, 900.0, NOW + 30)


def test_a_moment_that_is_over_is_now() -> None:
    headers = {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": _rfc3339(-30)}
    assert read_limits(headers, NOW)["tokens"].resets_at == NOW


def test_moments_are_taken_by_the_providers_clock_where_it_tells_it() -> None:
    fast = NOW + 3600
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "10",
        "anthropic-ratelimit-requests-reset": _rfc3339(3600 + 30),
        "date": format_datetime(datetime.fromtimestamp(fast, UTC), usegmt=True),
    }
    assert read_limits(headers, NOW)["requests"].resets_at == NOW + 30


@given(
    st.dictionaries(
        st.sampled_from([*_openai(1, 1, "1s"), "date", "anthropic-ratelimit-requests-reset",
                         "anthropic-ratelimit-requests-remaining"]),
        st.text(max_size=12) | st.from_regex(r"-?\d{1,20}(\.\d+)?(ms|s|m|h)?", fullmatch=True),
    )
)  # fmt: skip
def test_no_header_can_break_the_reading(headers: dict[str, str]) -> None:
    for found in read_limits(headers, NOW).values():
        assert found.remaining >= 0
        assert found.resets_at is None or NOW <= found.resets_at < math.inf
    rooms = RateLimiter(clock=Clock())
    call = _granted(rooms.reserve(A, 1))
    rooms.observe(A, headers, call)
    call.settle(1)


def test_without_any_limit_everything_fits() -> None:
    rooms = RateLimiter(clock=Clock())
    _granted(rooms.reserve(A, 10**9)).settle(10**9)


def test_a_configured_limit_says_when_a_call_will_fit() -> None:
    clock = Clock()
    rooms = RateLimiter({A: Rate(tpm=6000)}, clock=clock)
    _granted(rooms.reserve(A, 5000, 500))
    wait = rooms.reserve(A, 900, 100)
    assert wait == Wait("no headroom: 500 of 6000 tokens left, fits in 5.0 s", 5.0)
    clock.now += 5
    _granted(rooms.reserve(A, 900, 100))


def test_a_call_larger_than_the_limit_never_fits() -> None:
    wait = RateLimiter({A: Rate(tpm=6000)}, clock=Clock()).reserve(A, 7000)
    assert wait == Wait("needs 7000 tokens of a limit of 6000 a minute", math.inf)


def test_what_was_reserved_too_much_comes_back_and_a_call_never_sent_costs_nothing() -> None:
    rooms = RateLimiter({A: Rate(rpm=10, tpm=1000)}, clock=Clock())
    _granted(rooms.reserve(A, 500, 400)).settle(450, 50)
    assert rooms.left(A) == {"requests": 9, "tokens": 500}
    with _granted(rooms.reserve(A, 500)):
        assert rooms.left(A) == {"requests": 8, "tokens": 0}
    assert rooms.left(A) == {"requests": 9, "tokens": 500}


def test_a_call_that_was_sent_and_told_nothing_counts_as_reserved() -> None:
    rooms = RateLimiter({A: Rate(rpm=10, tpm=1000)}, clock=Clock())
    with _granted(rooms.reserve(A, 500, 400)) as reservation:
        reservation.keep()
    assert rooms.left(A) == {"requests": 9, "tokens": 100}


def test_a_reservation_is_settled_once() -> None:
    rooms = RateLimiter({A: Rate(rpm=10)}, clock=Clock())
    reservation = _granted(rooms.reserve(A, 1))
    reservation.settle(1)
    reservation.release()
    assert rooms.left(A)["requests"] == 9


def test_an_answer_that_used_more_than_was_reserved_is_owed() -> None:
    clock = Clock()
    rooms = RateLimiter({A: Rate(tpm=600)}, clock=clock)
    _granted(rooms.reserve(A, 500)).settle(500, 400)
    assert rooms.left(A)["tokens"] == -300
    clock.now += 31
    _granted(rooms.reserve(A, 5))


def test_two_hundred_parallel_callers_spread_before_a_limit_is_hit() -> None:
    rooms = RateLimiter({A: Rate(rpm=120), B: Rate(rpm=60)}, clock=Clock())
    barrier = threading.Barrier(50)

    def ask(_: int) -> list[RateLimitKey | None]:
        barrier.wait()
        return [
            next((key for key in (A, B) if isinstance(rooms.reserve(key, 10), Reservation)), None) for _ in range(4)
        ]

    with ThreadPoolExecutor(50) as pool:
        chosen = [key for some in pool.map(ask, range(50)) for key in some]
    assert (chosen.count(A), chosen.count(B), chosen.count(None)) == (120, 60, 20)


def test_a_header_takes_calls_under_way_into_account() -> None:
    rooms = RateLimiter(clock=Clock())
    first, *flying = [_granted(rooms.reserve(A, 10)) for _ in range(40)]
    first.settle(10)
    rooms.observe(A, _openai(60, 59, "1s"))
    assert rooms.left(A)["requests"] == 59 - 39
    granted = [rooms.reserve(A, 10) for _ in range(200)]
    assert sum(isinstance(answer, Reservation) for answer in granted) == 20
    for reservation in flying:
        reservation.settle(10)
    assert rooms.left(A)["requests"] == 0


def test_the_call_whose_headers_they_are_is_counted_once() -> None:
    rooms = RateLimiter(clock=Clock())
    call, *flying = [_granted(rooms.reserve(A, 10)) for _ in range(40)]
    rooms.observe(A, _openai(60, 59, "1s"), call)
    assert rooms.left(A)["requests"] == 59 - 39
    for reservation in (call, *flying):
        reservation.settle(10)
    assert rooms.left(A)["requests"] == 59 - 39


def test_what_the_provider_told_is_not_raised_by_settling_the_call_it_has_counted() -> None:
    rooms = RateLimiter(clock=Clock())
    rooms.observe(A, _openai(10_000, 10_000, "1s", "tokens"))
    call = _granted(rooms.reserve(A, 100, 4_000))
    # Others have used the same key meanwhile.
    rooms.observe(A, _openai(10_000, 3_000, "42s", "tokens"), call)
    assert rooms.left(A)["tokens"] == 3_000
    call.settle(100, 50)
    assert rooms.left(A)["tokens"] == 3_000


def test_an_estimate_that_the_provider_did_not_count_comes_back_when_the_call_is_settled() -> None:
    rooms = RateLimiter(clock=Clock())
    rooms.observe(A, _openai(10_000, 10_000, "1s", "tokens"))
    call = _granted(rooms.reserve(A, 100, 4_000))
    rooms.observe(A, _openai(10_000, 9_850, "1s", "tokens"), call)
    assert rooms.left(A)["tokens"] == 5_900
    call.settle(100, 50)
    assert rooms.left(A)["tokens"] == 9_850


@given(
    level=st.integers(0, 1000), told=st.integers(0, 1000), need=st.integers(0, 500), used=st.integers(0, 500),
    other=st.none() | st.integers(0, 300), first=st.booleans(),
)  # fmt: skip
def test_headers_that_come_before_the_call_is_settled_lead_where_those_after_it_do(
    level: int, told: int, need: int, used: int, other: int | None, first: bool
) -> None:
    left = []
    for late in (False, True):
        rooms = RateLimiter(clock=Clock())
        if not first:
            rooms.observe(A, _openai(1000, level, "1s", "tokens"))
        beside = None if other is None else rooms.reserve(A, other)
        call = rooms.reserve(A, need)
        if isinstance(call, Wait):
            return
        if late:
            call.settle(used)
            rooms.observe(A, _openai(1000, told, "1s", "tokens"))
        else:
            rooms.observe(A, _openai(1000, told, "1s", "tokens"), call)
            call.settle(used)
        if isinstance(beside, Reservation):
            beside.settle(other or 0)
        left.append(rooms.left(A)["tokens"])
    assert left[0] == left[1]


def test_a_task_is_heard_with_its_own_reservation() -> None:
    rooms = RateLimiter(clock=Clock())
    _granted(rooms.reserve(A, 10))
    _granted(rooms.reserve(A, 10))
    rooms.hear(A, _openai(60, 59, "1s"))
    assert rooms.left(A)["requests"] == 58
    assert rooms.left(B) == {}
    _granted(rooms.reserve(B, 10))
    rooms.hear(A, _openai(60, 59, "1s"))
    assert rooms.left(A)["requests"] == 58


def test_answers_that_overtake_each_other_do_not_bring_headroom_back() -> None:
    rooms = RateLimiter(clock=Clock())
    rooms.observe(A, _openai(60, 3, "57s"))
    rooms.observe(A, _openai(60, 40, "20s"))
    assert rooms.left(A)["requests"] == 3


def test_a_steady_rate_below_the_limit_is_never_refused() -> None:
    clock = Clock()
    rooms = RateLimiter(clock=clock)
    for _ in range(6_000):
        share = _granted(rooms.reserve(A, 10, 10))
        share.settle(10, 10)
        rooms.observe(A, _openai(4_000, 3_999, "15ms"))
        clock.now += 1 / 60
    assert rooms.left(A)["requests"] > 3_900


def test_others_use_of_the_same_key_is_seen() -> None:
    rooms = RateLimiter(clock=Clock())
    rooms.observe(A, _openai(60, 50, "10s"))
    rooms.observe(A, _openai(60, 1, "59s"))
    assert rooms.left(A)["requests"] == 1


def test_a_limit_is_whole_again_when_the_provider_said() -> None:
    clock = Clock()
    rooms = RateLimiter(clock=clock)
    rooms.observe(B, {"anthropic-ratelimit-input-tokens-limit": "1000",
                      "anthropic-ratelimit-input-tokens-remaining": "0",
                      "anthropic-ratelimit-input-tokens-reset": _rfc3339(20)})  # fmt: skip
    wait = rooms.reserve(B, 500, 10**6)
    assert isinstance(wait, Wait)
    assert wait.seconds == pytest.approx(10)
    clock.now += 20
    assert rooms.left(B) == {"input_tokens": 1000}


@pytest.mark.parametrize(
    ("remaining", "reset", "needed", "seconds"),
    [
        # Ninety come back in ten minutes; of what is whole within a minute a hundred come back in one.
        (10, "10m", 20, 10 * 600 / 90),
        (99, "30s", 100, 60 / 100),
        # No limit takes more than a day, whatever is said.
        (0, "9d", 100, 86_400),
        # Nothing is said: a limit is one a minute.
        (10, "", 20, 10 * 60 / 100),
    ],
)
def test_what_is_gone_comes_back_as_quickly_as_the_provider_says(
    remaining: int, reset: str, needed: int, seconds: float
) -> None:
    rooms = RateLimiter(clock=Clock())
    rooms.observe(A, _openai(100, remaining, reset, "tokens"))
    wait = rooms.reserve(A, needed)
    assert isinstance(wait, Wait)
    assert wait.seconds == pytest.approx(seconds, rel=1e-6)


def test_what_is_taken_of_a_limit_told_as_full_comes_back_within_a_minute() -> None:
    rooms = RateLimiter(clock=Clock())
    rooms.observe(A, _openai(100, 100, "10m", "tokens"))
    _granted(rooms.reserve(A, 100))
    wait = rooms.reserve(A, 50)
    assert isinstance(wait, Wait)
    assert wait.seconds == pytest.approx(30)


def test_the_configured_limit_holds_beside_the_providers_own() -> None:
    rooms = RateLimiter({A: Rate(rpm=5)}, clock=Clock())
    rooms.observe(A, _openai(1000, 999, "1s"))
    granted = [rooms.reserve(A, 1) for _ in range(10)]
    assert sum(isinstance(answer, Reservation) for answer in granted) == 5


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    clock = Clock()
    rooms = RateLimiter({A: Rate(rpm=60)}, clock=clock)
    _granted(rooms.reserve(A, 1))
    clock.now -= 3600
    assert rooms.left(A)["requests"] == 59
    clock.now += 1
    assert rooms.left(A)["requests"] == 60


@pytest.mark.parametrize("rate", [{"rpm": 0}, {"tpm": -1}, {"rpm": math.nan}, {"tpm": math.inf}])
def test_a_senseless_rate_is_refused(rate: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Rate(**rate)


@given(
    rpm=st.integers(1, 50),
    tpm=st.integers(100, 5000),
    calls=st.lists(
        st.tuples(
            st.integers(0, 300), st.integers(0, 300), st.floats(0, 10), st.sampled_from(["skip", "hold", "free"])
        ),
        max_size=60,
    ),
)
def test_never_more_passes_than_the_buckets_held_and_refilled(
    rpm: int, tpm: int, calls: list[tuple[int, int, float, str]]
) -> None:
    clock = Clock()
    rooms = RateLimiter({A: Rate(rpm=rpm, tpm=tpm)}, clock=clock)
    requests = tokens = 0
    for needed_in, needed_out, pause, fate in calls:
        clock.now += pause
        reservation = rooms.reserve(A, needed_in, needed_out)
        if isinstance(reservation, Wait):
            assert reservation.seconds > 0
            continue
        if fate == "free":
            reservation.release()
            continue
        if fate == "skip":
            reservation.settle(needed_in, needed_out // 2)
            needed_out //= 2
        requests, tokens = requests + 1, tokens + needed_in + needed_out
        passed = clock.now - NOW
        assert requests <= rpm + rpm * passed / 60 + 1e-3
        assert tokens <= tpm + tpm * passed / 60 + 1e-3
        assert all(left >= -1e-3 for left in rooms.left(A).values())


async def test_the_headers_of_the_real_sdks_are_read() -> None:
    from anthropic import AsyncAnthropic
    from langchain_openai import ChatOpenAI

    limits = {"openai": RateLimit(requests_per_minute=60), "anthropic": RateLimit(requests_per_minute=60)}
    with Simulator(Scenario(rate_limits=limits)) as simulator:
        model = ChatOpenAI(
            model="gpt-5.4-mini", base_url=simulator.url("openai"), api_key="not-a-real-key",
            include_response_headers=True, max_retries=0,
        )  # fmt: skip
        answer = await model.ainvoke("hello")
        rooms = RateLimiter()
        assert rooms.observe(A, answer.response_metadata["headers"])["requests"].limit == 60
        async with AsyncAnthropic(base_url=simulator.url("anthropic"), api_key="not-a-real-key") as client:
            raw = await client.messages.with_raw_response.create(
                model="claude-haiku-4-5", max_tokens=10, messages=[{"role": "user", "content": "hello"}]
            )
        assert rooms.observe(B, dict(raw.headers))["requests"].remaining == 59
        assert rooms.left(B)["requests"] == pytest.approx(59, abs=1)
