"""Every provider's way of counting: a row a number, from the wire through the SDK and LangChain to the books.

The sources stand with the forms in `pointsman.backends.usage.forms`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.catalog import Usage
from pointsman.configs.loading.loader import load
from pointsman.dispatch.context import RunContext
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.guards.budget import scopes_of
from pointsman.dispatch.model import RoutedChatModel

# USD a million tokens, so that a token is so many millionths of a dollar, and every kind tells itself apart.
PRICES = (
    "{input: 10, output: 100, cache_read: 1, cache_write: 12.5, cache_write_1h: 20, input_audio: 30, "
    "output_audio: 200, search: 10, service_tiers: {priority: 2, flex: 0.5, fast: 6}, as_of: 2026-01-01}"
)
MODELS = {
    "anthropic": "anthropic/claude-sonnet-4-6",
    "openai": "openai/gpt-5.5",
    "responses": "openai/gpt-5.5",
    "google": "google/gemini-3.5-flash",
    "deepseek": "deepseek/deepseek-v4-flash",
    "openrouter": "openrouter/some/model",
    "vllm": "vllm/llama-4-scout",
    "ollama": "ollama/llama3.2",
}
KEYS = ("ANTHROPIC", "OPENAI", "GOOGLE", "DEEPSEEK", "OPENROUTER")
Asking = Callable[..., tuple[Usage | None, int | None, Any]]


@pytest.fixture(scope="module")
def ask(wire: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """Ask a provider's model for what the wire says; gives what was booked, and LangChain's own count."""
    homes: dict[str, Dispatcher] = {}

    def home_of(provider: str) -> Dispatcher:
        if provider not in homes:
            folder = tmp_path_factory.mktemp(provider)
            (folder / "models.yaml").write_text(_models(provider, wire.url), encoding="utf-8")
            environ = {f"{name}_API_KEY": "not-a-real-key" for name in KEYS}
            flags = {"routing.approved": f"[{MODELS[provider]}]"}
            homes[provider] = Dispatcher(load(folder, environ=environ, flags=flags, user=folder / "nobody"))
        return homes[provider]

    def asked(provider: str, answer: Any) -> tuple[Usage | None, int | None, Any]:
        wire.answer, home = answer, home_of(provider)
        before = len(home.ledger.calls())
        chat = RoutedChatModel(kind="transform", dispatcher=home)
        message: Any = None
        if isinstance(answer, list):
            for chunk in chat.stream("hi"):
                message = chunk if message is None else message + chunk
        else:
            message = chat.invoke("hi")
        [row] = home.ledger.calls()[before:]
        return row.usage, row.cost, message.usage_metadata

    yield asked
    for home in homes.values():
        home.ledger.close()


def _models(provider: str, url: str) -> str:
    model = MODELS[provider]
    served = model.partition("/")[0]
    base = url if served in ("anthropic", "google") else f"{url}/v1"
    options = "options: {use_responses_api: true}, " if provider == "responses" else ""
    entry = f"{{tier: frontier, {options}prices: {PRICES}}}"
    return f'providers: {{{served}: {{base_url: "{base}"}}}}\nmodels: {{{model}: {entry}}}\n'


# ---- one reply in each format


def anthropic(**usage: Any) -> dict[str, Any]:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6", "stop_reason": "end_turn",
        "stop_sequence": None, "content": [{"type": "text", "text": "ok"}], "usage": usage,
    }  # fmt: skip


def chat(usage: Any = None, *, choice: Any = None, **top: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "ok"}
    choices = [{"index": 0, "message": message, "finish_reason": "stop", **(choice or {})}]
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": usage,
        **top,
    }


def responses(usage: Any, **top: Any) -> dict[str, Any]:
    text = {"type": "output_text", "text": "ok", "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5.5", "status": "completed",
        "output": [item], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {},
        "usage": usage, **top,
    }  # fmt: skip


def gemini(text: str = "ok", finish: str | None = "STOP", **usage: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    ended = {"finishReason": finish} if finish else {}
    return {"candidates": [{**candidate, **ended}], "usageMetadata": usage, "modelVersion": "gemini-3.5-flash"}


# ---- streams


def messages(start: dict[str, Any], *deltas: dict[str, Any]) -> list[Any]:
    begun = {**anthropic(**start), "content": [], "stop_reason": None}
    last = len(deltas) - 1
    return [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok"}},
        {"type": "content_block_stop", "index": 0},
        *(
            {"type": "message_delta", "delta": {"stop_reason": "end_turn" if n == last else None}, "usage": usage}
            for n, usage in enumerate(deltas)
        ),
        {"type": "message_stop"},
    ]


def piece(text: str | None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish, **fields.pop("choice", {})}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return {**chunk, **fields}


def count(into: int, out: int, **details: Any) -> dict[str, Any]:
    return {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out, **details}


DONE = "[DONE]"
NO_CHOICE = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
_WRITES = {"cache_creation_input_tokens": 900, "cache_read_input_tokens": 50}

# Provider, what it says, and what that is: a usage and its cost in millionths of a dollar.
ROWS: dict[str, tuple[str, Any, Usage, float]] = {
    "anthropic: the input leaves the cache out": (
        "anthropic", anthropic(input_tokens=15, output_tokens=10, **_WRITES), Usage(965, 10, 50, 900),
        150 + 50 + 11250 + 1000,
    ),
    "anthropic: a cache for five minutes": (
        "anthropic",
        anthropic(input_tokens=15, output_tokens=10, **_WRITES,
                  cache_creation={"ephemeral_5m_input_tokens": 900, "ephemeral_1h_input_tokens": 0}),
        Usage(965, 10, 50, 900), 150 + 50 + 11250 + 1000,
    ),
    "anthropic: a cache for an hour": (
        "anthropic",
        anthropic(input_tokens=15, output_tokens=10, **_WRITES,
                  cache_creation={"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 600}),
        Usage(965, 10, 50, 900, cache_write_1h=600), 150 + 50 + 300 * 12.5 + 600 * 20 + 1000,
    ),
    "anthropic: lifetimes alone": (
        "anthropic",
        anthropic(input_tokens=15, output_tokens=10,
                  cache_creation={"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 600}),
        Usage(915, 10, 0, 900, cache_write_1h=600), 150 + 300 * 12.5 + 600 * 20 + 1000,
    ),
    "anthropic: thinking is within the output": (
        "anthropic", anthropic(input_tokens=10, output_tokens=500, output_tokens_details={"thinking_tokens": 450}),
        Usage(10, 500), 100 + 50000,
    ),
    "anthropic: web searches": (
        "anthropic", anthropic(input_tokens=10, output_tokens=1, server_tool_use={"web_search_requests": 3}),
        Usage(10, 1, searches=3), 100 + 100 + 30000,
    ),
    "anthropic: fast mode": (
        "anthropic", anthropic(input_tokens=10, output_tokens=1, speed="fast"),
        Usage(10, 1, service_tier="fast"), 200 * 6,
    ),
    "anthropic: the priority tier": (
        "anthropic", anthropic(input_tokens=10, output_tokens=1, service_tier="priority"),
        Usage(10, 1, service_tier="priority"), 200 * 2,
    ),
    "anthropic: a stream tells the input first and the output last": (
        "anthropic", messages({"input_tokens": 15, "output_tokens": 1, **_WRITES}, {"output_tokens": 10}),
        Usage(965, 10, 50, 900), 150 + 50 + 11250 + 1000,
    ),
    "anthropic: a stream's counts are running totals": (
        "anthropic",
        messages({"input_tokens": 15, "output_tokens": 1}, {"output_tokens": 4},
                 {"output_tokens": 10, "input_tokens": 40, "server_tool_use": {"web_search_requests": 1}}),
        Usage(40, 10, searches=1), 400 + 1000 + 10000,
    ),
    "anthropic: a stream's lifetimes": (
        "anthropic",
        messages({"input_tokens": 15, "output_tokens": 1, "cache_creation_input_tokens": 900,
                  "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 900},
                  "service_tier": "standard"},
                 {"output_tokens": 10, "input_tokens": 15, "cache_creation_input_tokens": 900}),
        Usage(915, 10, 0, 900, cache_write_1h=900), 150 + 18000 + 1000,
    ),
    "openai: cached tokens are within the prompt": (
        "openai", chat(count(1000, 10, prompt_tokens_details={"cached_tokens": 800})), Usage(1000, 10, 800),
        2000 + 800 + 1000,
    ),
    "openai: tokens written to the cache": (
        "openai", chat(count(1000, 10, prompt_tokens_details={"cached_tokens": 100, "cache_write_tokens": 200})),
        Usage(1000, 10, 100, 200), 7000 + 100 + 2500 + 1000,
    ),
    "openai: reasoning is within the completion": (
        "openai", chat(count(1000, 500, completion_tokens_details={"reasoning_tokens": 450})), Usage(1000, 500),
        10000 + 50000,
    ),
    "openai: predictions are within the completion": (
        "openai",
        chat(count(10, 50, completion_tokens_details={"accepted_prediction_tokens": 9,
                                                      "rejected_prediction_tokens": 40})),
        Usage(10, 50), 100 + 5000,
    ),
    "openai: sound": (
        "openai",
        chat(count(100, 50, prompt_tokens_details={"audio_tokens": 90},
                   completion_tokens_details={"audio_tokens": 40})),
        Usage(100, 50, audio=90, output_audio=40), 100 + 2700 + 1000 + 8000,
    ),
    "openai: the flex tier": (
        "openai", chat(count(10, 1), service_tier="flex"), Usage(10, 1, service_tier="flex"), 100,
    ),
    "openai: the priority tier": (
        "openai", chat(count(10, 1, prompt_tokens_details={"cached_tokens": 5}), service_tier="priority"),
        Usage(10, 1, 5, service_tier="priority"), (50 + 5 + 100) * 2,
    ),
    "openai: the default tier": ("openai", chat(count(10, 1), service_tier="default"), Usage(10, 1), 200),
    "openai: a stream's tier": (
        "openai",
        [piece("ok"), piece(None, "stop", service_tier="priority"), {**NO_CHOICE, "usage": count(10, 1)}, DONE],
        Usage(10, 1, service_tier="priority"), 400,
    ),
    "openai: a stream's usage comes last, in a chunk of its own": (
        "openai",
        [piece("ok", usage=None), piece(None, "stop", usage=None), {**NO_CHOICE, "usage": count(1000, 10)}, DONE],
        Usage(1000, 10), 10000 + 1000,
    ),
    "responses: cached and reasoning tokens are within": (
        "responses",
        responses({"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500,
                   "input_tokens_details": {"cached_tokens": 800, "cache_write_tokens": 100},
                   "output_tokens_details": {"reasoning_tokens": 450}}),
        Usage(1000, 500, 800, 100), 1000 + 800 + 1250 + 50000,
    ),
    "responses: the tier": (
        "responses",
        responses({"input_tokens": 10, "output_tokens": 1, "total_tokens": 11,
                   "input_tokens_details": {"cached_tokens": 0},
                   "output_tokens_details": {"reasoning_tokens": 0}}, service_tier="flex"),
        Usage(10, 1, service_tier="flex"), 100,
    ),
    "google: thoughts are beside the candidates": (
        "google", gemini(promptTokenCount=1000, candidatesTokenCount=50, thoughtsTokenCount=450, totalTokenCount=1500),
        Usage(1000, 500), 10000 + 50000,
    ),
    "google: thoughts that only the total tells": (
        "google", gemini(promptTokenCount=1000, candidatesTokenCount=50, totalTokenCount=1500), Usage(1000, 500),
        10000 + 50000,
    ),
    "google: what its tools read is beside the prompt": (
        "google",
        gemini(promptTokenCount=1000, toolUsePromptTokenCount=9000, candidatesTokenCount=50, totalTokenCount=10050),
        Usage(10000, 50), 100000 + 5000,
    ),
    "google: cached content is within the prompt": (
        "google",
        gemini(promptTokenCount=1000, cachedContentTokenCount=800, candidatesTokenCount=50, totalTokenCount=1050),
        Usage(1000, 50, 800), 2000 + 800 + 5000,
    ),
    "google: sound by modality": (
        "google",
        gemini(promptTokenCount=100, candidatesTokenCount=5, totalTokenCount=105,
               promptTokensDetails=[{"modality": "TEXT", "tokenCount": 10}, {"modality": "AUDIO", "tokenCount": 90}]),
        Usage(100, 5, audio=90), 100 + 2700 + 500,
    ),
    "google: cached sound": (
        "google",
        gemini(promptTokenCount=100, candidatesTokenCount=5, cachedContentTokenCount=60, totalTokenCount=105,
               promptTokensDetails=[{"modality": "AUDIO", "tokenCount": 100}],
               cacheTokensDetails=[{"modality": "AUDIO", "tokenCount": 60}]),
        Usage(100, 5, 60, audio=100, cache_audio=60), 1200 + 60 + 500,
    ),
    "google: a stream's counts are running totals": (
        "google",
        [gemini("o", None, promptTokenCount=1000, candidatesTokenCount=1, thoughtsTokenCount=300, totalTokenCount=1301),
         gemini("k", promptTokenCount=1000, candidatesTokenCount=50, thoughtsTokenCount=450, totalTokenCount=1500)],
        Usage(1000, 500), 10000 + 50000,
    ),
    "google: a stream may correct itself downwards": (
        "google",
        [gemini("o", None, promptTokenCount=1000, candidatesTokenCount=90, cachedContentTokenCount=500),
         gemini("k", promptTokenCount=900, candidatesTokenCount=50, cachedContentTokenCount=100)],
        Usage(900, 50, 100), 8000 + 100 + 5000,
    ),
    "deepseek: hits and misses": (
        "deepseek", chat(count(100000, 10, prompt_cache_hit_tokens=99000, prompt_cache_miss_tokens=1000)),
        Usage(100000, 10, 99000), 10000 + 99000 + 1000,
    ),
    "deepseek: the same under both names": (
        "deepseek",
        chat(count(100, 10, prompt_cache_hit_tokens=60, prompt_cache_miss_tokens=40,
                   prompt_tokens_details={"cached_tokens": 60})),
        Usage(100, 10, 60), 400 + 60 + 1000,
    ),
    "compatible: running totals in every chunk": (
        "vllm",
        [piece("a", usage=count(1000, 1)), *(piece("b", usage=count(1000, n)) for n in range(2, 11)),
         piece(None, "stop", usage=count(1000, 10)), DONE],
        Usage(1000, 10), 10000 + 1000,
    ),
    "compatible: zeros before the truth": (
        "vllm", [piece("a", usage=count(0, 0)), piece("b", "stop", usage=count(1000, 2)), DONE], Usage(1000, 2),
        10000 + 200,
    ),
    "compatible: with the last chunk that has a choice": (
        "vllm", [piece("ok"), piece(None, "stop", usage=count(1000, 2)), DONE], Usage(1000, 2), 10200,
    ),
    "compatible: beside a delta of null": (
        "vllm", [piece("ok", "stop"), piece(None, choice={"delta": None}, usage=count(1000, 2)), DONE],
        Usage(1000, 2), 10200,
    ),
    "compatible: usage inside the choices": (
        "vllm", [piece("ok"), piece(None, "stop", choice={"usage": count(1000, 2)}), DONE], Usage(1000, 2), 10200,
    ),
    "compatible: usage inside the choice of a whole reply": (
        "vllm", chat(choice={"usage": count(1000, 2)}), Usage(1000, 2), 10200,
    ),
    "compatible: usage inside x_groq": (
        "vllm", [piece("ok"), piece(None, "stop", x_groq={"id": "r", "usage": count(1000, 2)}), DONE],
        Usage(1000, 2), 10200,
    ),
    "compatible: cached tokens at the top": (
        "vllm", chat(count(1000, 2, cached_tokens=900)), Usage(1000, 2, 900), 1000 + 900 + 200,
    ),
    "compatible: a proxy's names of the cache": (
        "vllm", chat(count(1000, 2, cache_read_input_tokens=600, cache_creation_input_tokens=100,
                           prompt_tokens_details={"cached_tokens": 0})),
        Usage(1000, 2, 600, 100), 3000 + 600 + 1250 + 200,
    ),
    "compatible: reasoning beside the completion": (
        "vllm",
        chat({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 410,
              "completion_tokens_details": {"reasoning_tokens": 300}}),
        Usage(100, 310), 1000 + 31000,
    ),
    "compatible: reasoning beside the completion, without a total": (
        "vllm",
        chat({"prompt_tokens": 100, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 300}}),
        Usage(100, 310), 1000 + 31000,
    ),
    "compatible: whole numbers written as floats": (
        "vllm", chat({"prompt_tokens": 100.0, "completion_tokens": 10.0, "total_tokens": 110.0}), Usage(100, 10), 2000,
    ),
    "openrouter: what it charged, where that is more": (
        "openrouter", chat(count(100, 10, cost=0.5)), Usage(100, 10, charged=5 * 10**11), 500_000,
    ),
    "openrouter: what it charged, where that is less": (
        "openrouter", chat(count(100, 10, cost=0.0001)), Usage(100, 10, charged=10**8), 2000,
    ),
    "openrouter: what the upstream charged for one's own key": (
        "openrouter", chat(count(100, 10, cost=0.1, is_byok=True, cost_details={"upstream_inference_cost": 0.4})),
        Usage(100, 10, charged=5 * 10**11), 500_000,
    ),
    "ollama: as OpenAI": ("ollama", chat(count(26, 298)), Usage(26, 298), 260 + 29800),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_what_a_provider_counts_is_booked(row: str, ask: Asking) -> None:
    provider, answer, usage, cost = ROWS[row]
    booked, paid, told = ask(provider, answer)
    assert booked == usage
    assert paid == round(cost * 10**6)
    # Whoever reads LangChain's own count reads the same.
    assert (told["input_tokens"], told["output_tokens"]) == (usage.input, usage.output)
    assert told["input_token_details"].get("cache_read", 0) == usage.cache_read


def response_events(usage: Any) -> list[Any]:
    whole = responses(usage)
    return [
        {"type": "response.created", "sequence_number": 0, "response": {**whole, "usage": None, "output": []}},
        {"type": "response.output_text.delta", "sequence_number": 1, "item_id": "msg_1", "output_index": 0,
         "content_index": 0, "delta": "ok", "logprobs": []},
        {"type": "response.completed", "sequence_number": 2, "response": whole},
    ]  # fmt: skip


def test_a_response_that_is_streamed_is_counted_as_a_whole_one(ask: Asking) -> None:
    usage = {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500}
    usage |= {"input_tokens_details": {"cached_tokens": 800}, "output_tokens_details": {"reasoning_tokens": 9}}
    assert ask("responses", response_events(usage))[:2] == (Usage(1000, 500, 800), ((2000 + 800 + 50000) * 10**6))


# What no provider can have counted; each in place of the number of input tokens, then of output tokens.
_NEVER = {
    "negative": -5, "not a number": float("nan"), "infinite": float("inf"), "true": True, "text": "many",
    "a number as text": "5", "half": 0.5, "huge": 10**30, "large": 5 * 10**9, "a list": [5], "an object": {"n": 5},
}  # fmt: skip
_ABSENT = {"zero": 0, "absent": None}


def _odd(provider: str, into: Any, out: Any, stream: bool) -> Any:
    names = {"openai": ("prompt_tokens", "completion_tokens"), "google": ("promptTokenCount", "candidatesTokenCount")}
    usage = dict(zip(names.get(provider, ("input_tokens", "output_tokens")), (into, out), strict=True))
    if provider == "anthropic":
        return messages({**usage, "output_tokens": 1}, usage) if stream else anthropic(**usage)
    if provider == "google":
        return [gemini("o", None), gemini("k", **usage)] if stream else gemini(**usage)
    if provider == "responses":
        return response_events(usage) if stream else responses(usage)
    return [piece("ok"), piece(None, "stop"), {**NO_CHOICE, "usage": usage}, DONE] if stream else chat(usage)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("provider", ["anthropic", "openai", "responses", "google"])
@pytest.mark.parametrize("value", [*_NEVER, *_ABSENT])
def test_a_usage_that_cannot_be_is_unknown_and_the_answer_still_good(
    value: str, provider: str, stream: bool, ask: Asking
) -> None:
    odd = _NEVER[value] if value in _NEVER else _ABSENT[value]
    for into, out in ((odd, 10), (1000, odd)):
        if provider == "anthropic" and stream and odd is None:
            # A delta may leave out what the start told.
            continue
        assert ask(provider, _odd(provider, into, out, stream))[:2] == (None, None)


@pytest.mark.parametrize("usage", [None, {}, [], "n/a", 7, {"total_tokens": 9}], ids=str)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_no_usage_is_unknown(usage: Any, stream: bool, ask: Asking) -> None:
    answer = [piece("ok"), piece(None, "stop"), {**NO_CHOICE, "usage": usage}, DONE] if stream else chat(usage)
    assert ask("vllm", answer)[:2] == (None, None)


@pytest.mark.parametrize(
    "usage",
    [
        count(10, 5, prompt_tokens_details={"cached_tokens": 11}),
        count(10, 5, prompt_tokens_details={"cached_tokens": -1}),
        count(10, 5, prompt_tokens_details={"cached_tokens": "9"}),
        count(10, 5, prompt_tokens_details="some"),
        count(10, 5, prompt_tokens_details={"cached_tokens": 5}, prompt_cache_hit_tokens=9),
        count(10, 5, prompt_cache_hit_tokens=5, prompt_cache_miss_tokens=1000),
        count(10, 5, completion_tokens_details={"audio_tokens": 6}),
        count(10, 5, cost=-1),
        count(10, 5, cost="free"),
        count(10, 5, cost=float("inf")),
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": float("nan")},
    ],
    ids=str,
)
def test_one_number_that_cannot_be_spoils_the_account(usage: Any, ask: Asking) -> None:
    assert ask("vllm", chat(usage))[:2] == (None, None)
    stream = [piece("a", usage=count(10, 1)), piece("b", "stop", usage=usage), DONE]
    assert ask("vllm", stream)[:2] == (None, None)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_usage_that_cannot_be_is_charged_as_reserved_and_the_row_says_why(
    stream: bool, wire: Any, tmp_path: Path
) -> None:
    (tmp_path / "models.yaml").write_text(_models("openai", wire.url), encoding="utf-8")
    flags = {"routing.approved": f"[{MODELS['openai']}]", "routing.budgets": {"day": 5}}
    home = Dispatcher(load(tmp_path, environ={"OPENAI_API_KEY": "not-a-real-key"}, flags=flags, user=tmp_path / "none"))
    wire.answer = _odd("openai", -5, 10, stream)
    chat = RoutedChatModel(kind="transform", dispatcher=home, max_output=100)
    text = "".join(chunk.text for chunk in chat.stream("hi")) if stream else chat.invoke("hi").text
    [row] = home.ledger.calls()
    home.ledger.flush()
    [scope] = scopes_of(RunContext(id=row.run), home.policy.routing.budgets)
    spent, reserved = home.budgets.totals(scope)
    home.ledger.close()
    assert text == "ok"
    assert (row.usage, row.failure) == (None, None)
    assert row.detail == "usage not believable: input -5; charged as reserved"
    # At least 100 tokens of output at ten thousandths of a cent.
    assert row.cost == spent > 100 * 100 * 10**6
    assert reserved == 0
