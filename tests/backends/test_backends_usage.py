"""The one door for the numbers of providers, and what a stream has used so far."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk
from pointsman.backends.usage import StreamUsage, believed
from pointsman.backends.usage.counting import Running
from pointsman.backends.usage.forms import CHAT, FORMS, GEMINI, MESSAGES, RESPONSES, Form
from pointsman.configs.catalog import Usage
from pointsman.configs.schema import ModelEntry, Prices
from pointsman.configs.words import Tier
from pointsman.ledger.prices import PriceBook

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
BOOK = PriceBook(
    {
        "own/m": ModelEntry(
            tier=Tier.STANDARD,
            prices=Prices(
                input=10,
                output=100,
                cache_read=1,
                cache_write=12.5,
                cache_write_1h=20,
                search=10,
                as_of=date(2026, 11, 21),
            ),
        )
    }
)


def told(form: Form, *usages: Any) -> AIMessage:
    running, whole = Running(), AIMessageChunk("")
    for usage in usages:
        chunk = AIMessageChunk("")
        running.told(chunk, form, usage)
        whole = whole + chunk
    return whole


def put(usage: dict[str, Any], path: str, value: Any) -> None:
    """Write a number where a form reads it."""
    *folders, name = path.split(".")
    for folder in folders:
        inner = usage.setdefault(folder, {})
        usage = inner if isinstance(inner, dict) else {}
    name, _, kind = name.partition("[")
    if not kind:
        usage[name] = value
    else:
        entries = usage.setdefault(name, [])
        entries.append({"modality": kind[:-1], "tokenCount": value})


COUNTS = st.integers(0, 100_000)
SMALL = st.none() | st.integers(0, 2_000)
ANYTHING = (
    COUNTS
    | st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=5)
    | st.lists(COUNTS, max_size=2)
    | st.dictionaries(st.text(max_size=3), COUNTS, max_size=2)
)


@st.composite
def raw_usages(draw: st.DrawFn) -> tuple[Form, dict[str, Any]]:
    form = draw(st.sampled_from(FORMS))
    usage: dict[str, Any] = {}
    # Some that may be true: parts that fit into their whole, each under one name; and some of anything anywhere.
    wholes = st.just(None) | st.integers(10_000, 90_000)
    sane = draw(st.booleans())
    for meaning, names in form.names.items():
        whole = meaning in ("input", "output", "total")
        for path in names[:1] if sane else names:
            if (sane and meaning in form.required) or draw(st.booleans()):
                likely = (st.integers(10_000, 90_000) if meaning in form.required else wholes) if whole else SMALL
                put(usage, path, draw(likely if sane else ANYTHING))
    return form, usage


def _believable(form: Form, usage: dict[str, Any], meaning: str) -> int:
    """The number a reader would take as it stands, 0 where it is none."""
    value: Any = usage
    for part in form.names[meaning][0].split("."):
        value = value.get(part) if isinstance(value, dict) else None
    whole = type(value) is int or (type(value) is float and value.is_integer())
    return int(value) if whole and value >= 0 else 0


@pytest.mark.slow
@settings(deadline=None, max_examples=500)
@given(raw_usages())
def test_whatever_a_provider_tells_is_booked_exactly_or_is_unknown_and_never_for_less(
    case: tuple[Form, dict[str, Any]],
) -> None:
    form, raw = case
    usage, doubt = believed(told(form, raw))
    assert (usage is None) is bool(doubt)
    cost = BOOK.price("own/m", usage, NOON)
    if usage is None:
        assert cost is None
        return
    assert cost is not None
    hour, read = usage.cache_write_1h, usage.cache_read
    fresh = usage.input - read - usage.cache_write
    exact = (
        10 * fresh
        + 1 * read
        + 12.5 * (usage.cache_write - hour)
        + 20 * hour
        + 100 * usage.output
        + 10_000 * usage.searches
    )
    assert cost == max(round(exact * 10**6), usage.charged)
    beside = sum(_believable(form, raw, part) for part in form.beside.get("input", ()))
    assert usage.input >= _believable(form, raw, "input") + (beside if form is GEMINI else 0)
    assert usage.output >= _believable(form, raw, "output")
    assert usage.output >= (
        _believable(form, raw, "reasoning") if "reasoning" in form.names and form is not MESSAGES else 0
    )
    if "total" in form.names:
        assert usage.input + usage.output >= _believable(form, raw, "total")
    assert usage.input > 0


@settings(deadline=None)
@given(st.lists(st.tuples(COUNTS, COUNTS, COUNTS), min_size=1, max_size=8), st.sampled_from([CHAT, RESPONSES, GEMINI]))
def test_the_chunks_of_a_stream_add_up_to_its_last_account(totals: list[tuple[int, int, int]], form: Form) -> None:
    raws = []
    for plain_input, output, read in totals:
        raw: dict[str, Any] = {}
        for meaning, value in (("input", plain_input + read), ("output", output), ("cache_read", read)):
            put(raw, form.names[meaning][0], value)
        raws.append(raw)
    assert believed(told(form, *raws)) == believed(told(form, raws[-1]))


@given(st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=6))
def test_a_stream_that_tells_in_pieces_keeps_what_later_pieces_leave_out(totals: list[tuple[int, int]]) -> None:
    start = {"input_tokens": 7, "cache_read_input_tokens": totals[0][0], "output_tokens": 1}
    whole = told(MESSAGES, start, *({"output_tokens": output, "cache_read_input_tokens": None} for _, output in totals))
    usage = believed(whole)[0]
    assert usage == Usage(7 + totals[0][0], totals[-1][1], totals[0][0])


@pytest.mark.parametrize(
    ("usage", "doubt"),
    [
        ({"prompt_tokens": -5, "completion_tokens": 1}, "usage not believable: input -5"),
        (
            {"prompt_tokens": "many", "completion_tokens": 1},
            "usage not believable: prompt_tokens is not a whole number",
        ),
        ({"prompt_tokens": 0, "completion_tokens": 1}, "usage not believable: input 0"),
        ({"prompt_tokens": 2 * 10**8, "completion_tokens": 1}, "usage not believable: input 200000000"),
        ({"prompt_tokens": 10**400, "completion_tokens": 1}, "usage not believable: input is far too large"),
        ("n/a", "usage not believable: it is not an object"),
        ({}, "usage not told"),
        (None, "usage not told"),
        (
            {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 6}},
            "usage not believable: cache_read 6 and cache_write 0 of input 5",
        ),
    ],
    ids=str,
)
def test_the_door_says_why_it_does_not_believe(usage: Any, doubt: str) -> None:
    assert believed(told(CHAT, usage)) == (None, doubt)


def test_the_door_looks_at_whoever_counted() -> None:
    message = AIMessage("Hi.")
    message.usage_metadata = {"input_tokens": True, "output_tokens": 3, "total_tokens": 4}
    assert believed(message) == (None, "usage not believable: input is not a whole number")


def test_what_langchain_aws_counts_of_converse_is_read_by_lifetime() -> None:
    # inputTokens 10, cacheReadInputTokens 50, cacheWriteInputTokens 30, cacheDetails of 20 for five minutes, 10 for an
    # hour (docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html), as its reader gives them.
    details: Any = {
        "cache_read": 50,
        "cache_creation": 0,
        "ephemeral_5m_input_tokens": 20,
        "ephemeral_1h_input_tokens": 10,
    }
    message = AIMessage("Hi.")
    message.usage_metadata = {
        "input_tokens": 90,
        "output_tokens": 3,
        "total_tokens": 93,
        "input_token_details": details,
    }
    assert believed(message)[0] == Usage(90, 3, 50, 30, cache_write_1h=10)


def test_no_form_reads_one_name_as_two_things() -> None:
    for form in FORMS:
        names = [name for names in form.names.values() for name in names]
        assert len(names) == len(set(names)), form.name
        assert form.sources
        assert set(form.required) <= set(form.names)


# ---- streams that are abandoned


def _seen(*chunks: AIMessageChunk) -> StreamUsage:
    seen = StreamUsage()
    for chunk in chunks:
        seen.add(chunk)
    return seen


def _telling(form: Form, *usages: Any) -> list[AIMessageChunk]:
    running = Running()
    chunks = []
    for usage in usages:
        chunks.append(AIMessageChunk("word " * 3))
        running.told(chunks[-1], form, usage)
    return chunks


def test_a_stream_that_told_nothing_has_what_was_seen() -> None:
    seen = _seen(*[AIMessageChunk("word ") for _ in range(100)])
    assert (seen.told, seen.so_far) == (None, None)
    assert seen.seen_output >= 100


def test_a_stream_that_told_its_input_has_that_and_no_less_output_than_was_seen() -> None:
    seen = _seen(*_telling(MESSAGES, {"input_tokens": 5000, "output_tokens": 1}), AIMessageChunk("word " * 300))
    assert seen.told == Usage(5000, 1)
    assert seen.so_far is not None
    assert seen.so_far.input == 5000
    assert seen.so_far.output == seen.seen_output >= 300


def test_running_totals_are_told_as_far_as_they_have_come() -> None:
    totals = [{"prompt_tokens": 1000, "completion_tokens": 40 * n, "total_tokens": 1000 + 40 * n} for n in (1, 2, 3)]
    assert _seen(*_telling(CHAT, *totals)).so_far == Usage(1000, 120)


def test_one_number_that_cannot_be_spoils_what_was_told_before() -> None:
    good, bad = {"prompt_tokens": 1000, "completion_tokens": 1}, {"prompt_tokens": -1, "completion_tokens": 2}
    for usages in ((good, bad), (bad, good)):
        assert _seen(*_telling(CHAT, *usages)).told is None


def test_thinking_and_the_arguments_of_calls_are_seen_too() -> None:
    call: Any = {"name": "send", "args": json.dumps({"text": "x" * 600}), "id": "1", "index": 0}
    chunks = (
        AIMessageChunk([{"type": "thinking", "thinking": "x" * 300}]),
        AIMessageChunk("", tool_call_chunks=[call]),
        AIMessageChunk("", additional_kwargs={"reasoning_content": "x" * 300}),
        AIMessageChunk("ф" * 150),
    )
    assert [_seen(chunk).seen_output for chunk in chunks] == [100, 204, 100, 100]
