"""What tokens cost: exact, dated, and unknown rather than zero."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from typing import Any

import genai_prices
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.configs.catalog import Usage
from pointsman.configs.schema import ModelEntry, Prices
from pointsman.configs.words import Tier
from pointsman.ledger.prices import MOST_TOKENS, PriceBook, dollars

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
PEAK = datetime(2026, 11, 21, 2, tzinfo=UTC)
TABLE = (
    "anthropic/claude-opus-4-7",
    "anthropic/claude-sonnet-4-6",
    "deepseek/deepseek-v4-flash",
    "google/gemini-3.1-pro-preview",
    "openai/gpt-5.5",
    "openai/gpt-5.5-pro",
    "vertex/gemini-3.1-pro-preview",
)


def entry(**fields: Any) -> ModelEntry:
    return ModelEntry(tier=Tier.STANDARD, **fields)


def book(**entries: ModelEntry) -> PriceBook:
    return PriceBook({f"own/{name}": made for name, made in entries.items()})


def override(input: float, output: float, **rest: float) -> ModelEntry:
    return entry(prices=Prices(input=input, output=output, as_of=date(2026, 11, 21), **rest))


FREE = override(0, 0)
BOOK = PriceBook(
    {
        **{name: entry() for name in TABLE},
        "own/free": FREE,
        "own/odd": override(0.1, 0.0000005),
        "own/cheap cache": override(3, 5, cache_read=0, cache_write=9),
    }
)


@st.composite
def usages(draw: st.DrawFn, most: int = 2_000_000) -> Usage:
    total = draw(st.integers(1, most))
    read = draw(st.integers(0, total))
    return Usage(total, draw(st.integers(0, most)), read, draw(st.integers(0, total - read)))


@settings(deadline=None)
@given(usages(), st.sampled_from(TABLE), st.sampled_from([NOON, PEAK, NOON - timedelta(days=400)]))
def test_a_price_from_the_table_is_the_one_genai_prices_computes(usage: Usage, model: str, at: datetime) -> None:
    provider, _, name = model.partition("/")
    theirs = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input,
            output_tokens=usage.output,
            cache_read_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write,
        ),
        name,
        provider_id=provider,
        genai_request_timestamp=at,
    )
    assert BOOK.price(model, usage, at) == int((theirs.total_price * 10**12).quantize(Decimal(1), ROUND_HALF_EVEN))


@settings(deadline=None)
@given(st.sampled_from(TABLE), usages(100_000), usages(100_000))
def test_a_price_is_linear_in_the_tokens_below_the_next_tier(model: str, one: Usage, two: Usage) -> None:
    both = Usage(
        *(getattr(one, kind) + getattr(two, kind) for kind in ("input", "output", "cache_read", "cache_write"))
    )
    prices = [BOOK.price(model, usage, NOON) for usage in (one, two, both)]
    assert all(price is not None and price > 0 for price in prices)
    assert prices[2] == prices[0] + prices[1]  # type: ignore[operator]  # none is None, by the line before


@settings(deadline=None)
@given(
    usages(MOST_TOKENS),
    st.floats(0, 1000, allow_nan=False),
    st.floats(0, 1000),
    st.none() | st.floats(0, 1000),
    st.none() | st.floats(0, 1000),
)
def test_an_override_is_charged_to_the_last_picodollar(
    usage: Usage, input: float, output: float, read: float | None, write: float | None
) -> None:
    own = book(
        m=entry(prices=Prices(input=input, output=output, cache_read=read, cache_write=write, as_of=date(2026, 11, 21)))
    )
    rate = {
        "input": input,
        "output": output,
        "read": input if read is None else read,
        "write": input if write is None else write,
    }
    pico = {kind: Fraction(Decimal(str(price))) * 10**6 for kind, price in rate.items()}
    plain = usage.input - usage.cache_read - usage.cache_write
    exact = (
        plain * pico["input"]
        + usage.output * pico["output"]
        + usage.cache_read * pico["read"]
        + usage.cache_write * pico["write"]
    )
    # Fraction rounds halves to even.
    assert own.price("own/m", usage, NOON) == round(exact)


@settings(deadline=None)
@given(usages(), st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from([*TABLE, "own/odd", "own/cheap cache"]))
def test_no_call_within_its_bounds_costs_more_than_the_worst_case(
    usage: Usage, more_input: int, more_output: int, model: str
) -> None:
    for at in (NOON, PEAK):
        worst = BOOK.worst_case(model, usage.input + more_input, usage.output + more_output, at)
        price = BOOK.price(model, usage, at)
        assert worst is not None
        assert price is not None
        assert price <= worst


def test_the_worst_case_knows_the_tier_the_hour_and_the_price_of_writing_a_cache() -> None:
    assert BOOK.worst_case("google/gemini-3.1-pro-preview", 300_000, 0, NOON) == 1_200_000_000_000
    assert BOOK.worst_case("deepseek/deepseek-v4-flash", 10**6, 0, PEAK) == 300_000_000_000
    assert BOOK.worst_case("anthropic/claude-opus-4-7", 10**6, 10**6, NOON) == 35_000_000_000_000
    assert BOOK.worst_case("own/odd", 0, 1, NOON) == 1
    assert BOOK.worst_case("own/free", 10**6, 10**6, NOON) == 0
    assert BOOK.worst_case("nowhere/at-all", 1, 1, NOON) is None


def test_halves_are_rounded_to_even_whatever_context_the_caller_set() -> None:
    assert BOOK.price("own/odd", Usage(0, 1), NOON) == 0
    assert BOOK.price("own/odd", Usage(0, 3), NOON) == 2
    with localcontext() as context:
        context.prec = 3
        assert BOOK.price("own/odd", Usage(123_457, 0), NOON) == 12_345_700_000


@pytest.mark.parametrize(
    "usage",
    [
        None,
        Usage(),
        Usage(-1, 5),
        Usage(5, -1),
        Usage(float("nan"), 5),  # type: ignore[arg-type]  # what a provider's JSON may hold
        Usage(5, 1.5),  # type: ignore[arg-type]  # likewise
        Usage(None, 5),  # type: ignore[arg-type]  # likewise
        Usage(True, 5),
        Usage(10, 5, cache_read=11),
        Usage(10, 5, cache_read=6, cache_write=5),
        Usage(10**15, 5),
    ],
)
def test_a_usage_that_is_missing_or_cannot_be_is_unknown_even_where_tokens_are_free(usage: Usage | None) -> None:
    for model in ("openai/gpt-5.5", "own/free"):
        assert BOOK.price(model, usage, NOON) is None


def test_an_unknown_price_is_none_and_an_explicit_zero_is_zero() -> None:
    usage = Usage(1000, 1000)
    unknown = PriceBook({"ollama/some-model": entry(), "openai/no-such-model": entry()})
    for model in ("ollama/some-model", "openai/no-such-model", "nowhere/at-all", "no-slash", ""):
        assert unknown.price(model, usage, NOON) is None
        assert unknown.token_prices(model, NOON) is None
    assert BOOK.price("own/free", usage, NOON) == 0
    assert BOOK.token_prices("own/free", NOON) is not None


def test_a_model_the_table_lists_without_prices_is_unknown() -> None:
    from genai_prices.data_snapshot import get_snapshot

    bare = next(
        f"{provider.id}/{model.id}"
        for provider in get_snapshot().providers
        for model in provider.models
        if not isinstance(model.prices, list) and not any(model.prices.__dict__.values())
    )
    assert PriceBook({bare: entry()}).price(bare, Usage(1000, 1000), NOON) is None


def test_the_hour_and_the_date_of_the_call_decide() -> None:
    usage = Usage(1_000_000, 0)
    model = "deepseek/deepseek-v4-flash"
    assert BOOK.price(model, usage, NOON) == 150_000_000_000
    assert BOOK.price(model, usage, PEAK) == 300_000_000_000
    assert BOOK.price(model, usage, datetime(2026, 8, 20, 12, tzinfo=UTC)) == 220_000_000_000
    assert BOOK.price(model, usage, PEAK.replace(tzinfo=None)) == 300_000_000_000


def test_a_large_call_pays_its_tiers_price_for_every_token() -> None:
    model = "google/gemini-3.1-pro-preview"
    assert BOOK.price(model, Usage(200_000, 0), NOON) == 400_000_000_000
    assert BOOK.price(model, Usage(200_001, 0), NOON) == 800_004_000_000


def test_the_table_is_asked_by_profile_then_name_then_id_and_a_date_falls_back() -> None:
    usage = Usage(1_000_000, 0)
    own = PriceBook(
        {
            "anthropic/big": entry(name="claude-opus-4-7"),
            "anthropic/deployed": entry(name="my-deployment", profile="claude-opus-4-7"),
            "anthropic/claude-opus-4-7-20991231": entry(),
            "anthropic/claude-opus-4-7@20991231": entry(),
            "openai/gpt-5.5-2026-04-01": entry(),
        }
    )
    assert {own.price(model, usage, NOON) for model in own._entries if model.startswith("anthropic")} == {5 * 10**12}
    assert own.price("openai/gpt-5.5-2026-04-01", Usage(1000, 0), NOON) == 5 * 10**9


def test_the_model_that_really_ran_is_charged_where_the_table_knows_it() -> None:
    usage = Usage(1_000_000, 0)
    asked = "anthropic/claude-opus-4-7"
    assert BOOK.price(asked, usage, NOON, answered_by="claude-haiku-4-5-20251001") == 10**12
    assert BOOK.price(asked, usage, NOON, answered_by="who-knows") == 5 * 10**12
    assert BOOK.price("own/free", usage, NOON, answered_by="claude-haiku-4-5-20251001") == 0


def test_token_prices_are_per_token_and_name_their_source() -> None:
    own = PriceBook({"anthropic/claude-opus-4-7": entry(), "own/m": override(2, 4, cache_read=0.5)})
    table = own.token_prices("anthropic/claude-opus-4-7", NOON)
    assert table is not None
    assert (table.input, table.output) == (Decimal("0.000005"), Decimal("0.000025"))
    assert (table.cache_read, table.cache_write) == (Decimal("0.0000005"), Decimal("0.00000625"))
    assert table.version == own.version == "genai-prices 0.2.3" or table.version.startswith("genai-prices ")
    mine = own.token_prices("own/m", NOON)
    assert mine is not None
    assert (mine.cache_read, mine.cache_write) == (Decimal("0.0000005"), Decimal("0.000002"))
    assert mine.version == "override 2026-11-21"


def test_a_price_once_known_is_found_in_a_few_dozen_calls() -> None:
    usage, called = Usage(1000, 100, 50, 20), Counter[str]()
    for model in TABLE:
        BOOK.price(model, usage, NOON)
        called.clear()
        sys.setprofile(lambda frame, event, what: called.update([event]))
        try:
            BOOK.price(model, usage, NOON)
        finally:
            sys.setprofile(None)
        # A first price takes 200 at least, and 30,000 where the table is loaded.
        assert called["call"] + called["c_call"] < 60, model


@pytest.mark.parametrize(
    ("pico", "text"),
    [
        (None, "unknown"),
        (0, "$0.0000"),
        (12_300_000_000, "$0.0123"),
        (1_234_567_000_000_000, "$1,234.57"),
        (1_500_000_000_000, "$1.5000"),
        (42_000_000, "$0.000042"),
        (1, "<$0.000001"),
        (-12_300_000_000, "-$0.0123"),
    ],
)
def test_money_is_written_so_that_a_person_sees_what_is_unknown(pico: int | None, text: str) -> None:
    assert dollars(pico) == text


@st.composite
def every_kind(draw: st.DrawFn) -> Usage:
    usage = draw(usages())
    sound = draw(st.integers(0, usage.input - usage.cache_read - usage.cache_write))
    heard = draw(st.integers(0, usage.cache_read))
    return replace(
        usage,
        cache_write_1h=draw(st.integers(0, usage.cache_write)),
        audio=sound + heard,
        cache_audio=heard,
        output_audio=draw(st.integers(0, usage.output)),
    )


@settings(deadline=None)
@given(
    every_kind(),
    st.sampled_from(["google/gemini-2.5-flash", "anthropic/claude-sonnet-4-6", "openai/gpt-5.5"]),
    st.sampled_from(["", "flex", "priority", "fast"]),
)
def test_lifetimes_sound_and_tiers_cost_what_genai_prices_computes(usage: Usage, model: str, tier: str) -> None:
    provider, _, name = model.partition("/")
    model_prices = genai_prices.data_snapshot.get_snapshot().find_provider_model(name, None, provider, None)[1]
    expected = model_prices.get_prices(NOON, {"service_tier": tier, "speed": tier}).calc_price(
        genai_prices.Usage(
            input_tokens=usage.input,
            output_tokens=usage.output,
            cache_read_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write,
            cache_write_1h_tokens=usage.cache_write_1h,
            input_audio_tokens=usage.audio,
            cache_audio_read_tokens=usage.cache_audio,
            output_audio_tokens=usage.output_audio,
        )
    )["total_price"]
    book = PriceBook({model: entry()})
    cost = book.price(model, replace(usage, service_tier=tier), NOON)
    assert cost == int(expected * 10**12)
    asked = PriceBook({model: entry()}).worst_case(model, usage.input, usage.output, NOON, service_tier=tier)
    # Nobody asked, but the provider gave this tier before.
    unasked = book.worst_case(model, usage.input, usage.output, NOON)
    assert cost is not None
    assert asked is not None
    assert unasked is not None
    assert unasked >= asked >= cost


def test_a_cache_kept_for_an_hour_costs_twice_the_input() -> None:
    hour = Usage(4818, 10, cache_write=4803, cache_write_1h=4803)
    assert BOOK.price("anthropic/claude-sonnet-4-6", hour, NOON) == 29_013_000_000
    assert BOOK.price("anthropic/claude-sonnet-4-6", replace(hour, cache_write_1h=0), NOON) == 18_206_250_000


def test_an_hour_without_a_price_of_its_own_is_unknown_where_writing_has_one() -> None:
    usage = Usage(100, 1, cache_write=50, cache_write_1h=50)
    own = book(
        five=override(1, 1, cache_write=1.25),
        hour=override(1, 1, cache_write=1.25, cache_write_1h=2),
        none=override(1, 1),
    )
    assert [own.price(f"own/{name}", usage, NOON) for name in ("five", "hour", "none")] == [
        None,
        151 * 10**6,
        101 * 10**6,
    ]


def test_searches_cost_by_the_thousand_and_are_unknown_without_a_price() -> None:
    usage = Usage(1000, 0, searches=3)
    assert BOOK.price("anthropic/claude-opus-4-7", usage, NOON) == 5 * 10**9 + 3 * 10**10
    own = book(told=override(1, 1, search=10), untold=override(1, 1))
    assert (own.price("own/told", usage, NOON), own.price("own/untold", usage, NOON)) == (31 * 10**9, None)


def test_a_tier_of_service_multiplies_the_users_own_prices_and_one_without_a_price_costs_the_usual() -> None:
    own = book(m=override(1, 1, service_tiers={"priority": 2.5, "flex": 0.5}))
    prices = [own.price("own/m", Usage(1000, 0, service_tier=tier), NOON) for tier in ("", "priority", "flex", "scale")]
    assert prices == [10**9, 2_500_000_000, 500_000_000, 10**9]
    assert own.worst_case("own/m", 1000, 0, NOON) == 2_500_000_000
    fresh = book(m=override(1, 1, service_tiers={"priority": 2.5, "flex": 0.5}))
    bounds = [fresh.worst_case("own/m", 1000, 0, NOON, service_tier=tier) for tier in ("", "priority", "flex")]
    assert bounds == [10**9, 2_500_000_000, 500_000_000]
    assert BOOK.price("anthropic/claude-opus-4-7", Usage(1000, 0, service_tier="priority"), NOON) == 5 * 10**9


def test_what_a_router_says_it_charged_counts_where_it_is_more_or_the_only_price() -> None:
    own = book(known=override(1, 1), unknown=entry())
    for charged, known in ((10**8, 10**9), (10**10, 10**10)):
        usage = Usage(1000, 0, charged=charged)
        assert own.price("own/known", usage, NOON) == known
        assert own.price("own/unknown", usage, NOON) == charged
    assert own.price("own/unknown", Usage(1000, 0), NOON) is None
    assert own.worst_case("own/unknown", 1000, 0, NOON) is None


@pytest.mark.parametrize("model", ["openai/gpt-6.1", "google/gemini-4", "deepseek/deepseek-v4.1", "anthropic/claude-9"])
def test_a_model_of_tomorrow_is_unknown_and_never_free(model: str) -> None:
    own = PriceBook({model: entry()})
    assert (own.price(model, Usage(1000, 10), NOON), own.worst_case(model, 1000, 10, NOON)) == (None, None)


def test_a_cost_that_no_ledger_holds_is_booked_as_the_most_that_one_counts() -> None:
    prices = Prices(input=1_000_000, output=1_000_000, as_of=date(2026, 1, 1))
    own = PriceBook({"own/m": ModelEntry(tier=Tier.ECONOMY, prices=prices)})
    assert own.price("own/m", Usage(MOST_TOKENS, MOST_TOKENS), NOON) == 2**62 - 1
