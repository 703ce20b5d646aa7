"""Every fault, seen through the official SDKs without retries: what a client without any cure gets."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types as google_types
from langchain_anthropic import ChatAnthropic
from langchain_core.exceptions import ContextOverflowError
from langchain_core.language_models import BaseChatModel
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI
from pointsman.simulator import Answer, Fault, Rule, Scenario, Simulator, ToolCall
from pointsman.simulator.request import count_tokens

_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
_TEXT = "One two three four five six seven eight nine ten."
_KEY = "not-a-real-key"
_PATIENT = 240.0
# Clients that are not asynchronous wait in the operating system: this time is really spent, by all three at once. What
# a live server sends must come within it.
_HASTY = 2.0


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture(scope="module")
def claude(sim: Simulator) -> Iterator[anthropic.Anthropic]:
    url = sim.url("anthropic")
    with anthropic.Anthropic(base_url=url, api_key=_KEY, max_retries=0, timeout=_PATIENT) as client:
        yield client


@pytest.fixture(scope="module")
def gpt(sim: Simulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=sim.url("openai"), api_key=_KEY, max_retries=0, timeout=_PATIENT) as client:
        yield client


@pytest.fixture(scope="module")
def gemini(sim: Simulator) -> Iterator[genai.Client]:
    client = genai.Client(
        api_key=_KEY,
        http_options=google_types.HttpOptions(
            base_url=sim.url("google"),
            timeout=int(_PATIENT * 1000),
            retry_options=google_types.HttpRetryOptions(attempts=1),
        ),
    )
    yield client
    client.close()


@pytest.fixture
def play(sim: Simulator) -> Callable[..., None]:
    def _play(fault: Fault | str | None, answer: Answer | None = None) -> None:
        sim.log.clear()
        told = Fault(fault) if isinstance(fault, str) else fault  # type: ignore[arg-type]  # one of the literals
        sim.scenario = Scenario(rules=(Rule(answer=answer or Answer(_TEXT), fault=told),))

    return _play


def _claude(client: anthropic.Anthropic, **more: Any) -> Any:
    messages: Any = [{"role": "user", "content": "Go."}]
    return client.messages.create(model="claude-test", max_tokens=100, messages=messages, **more)


def _claude_stream(client: anthropic.Anthropic) -> tuple[str, str | None]:
    text, stop = "", None
    for event in _claude(client, stream=True):
        if event.type == "content_block_delta":
            text += event.delta.text
        elif event.type == "message_delta":
            stop = event.delta.stop_reason
    return text, stop


def _gpt(client: openai.OpenAI, **more: Any) -> Any:
    messages: Any = [{"role": "user", "content": "Go."}]
    return client.chat.completions.create(model="gpt-test", messages=messages, **more)


def _gpt_stream(client: openai.OpenAI) -> tuple[str, str | None]:
    text, stop = "", None
    for chunk in _gpt(client, stream=True):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            stop = choice.finish_reason or stop
    return text, stop


def _gemini(client: genai.Client, **more: Any) -> google_types.GenerateContentResponse:
    return client.models.generate_content(model="gemini-test", contents="Go.", **more)


def _gemini_stream(client: genai.Client, **more: Any) -> tuple[str, str | None]:
    text, stop = "", None
    for chunk in client.models.generate_content_stream(model="gemini-test", contents="Go.", **more):
        text += chunk.text or ""
        reason = chunk.candidates[0].finish_reason if chunk.candidates else None
        stop = reason.value if reason else stop
    return text, stop


def _raised(*calls: Callable[[], Any]) -> list[BaseException | None]:
    """What each call raises, all at the same time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [done.exception() for done in [pool.submit(call) for call in calls]]


_SOON = google_types.GenerateContentConfig(http_options=google_types.HttpOptions(timeout=int(_HASTY * 1000)))


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        ("rate_limit", anthropic.RateLimitError, 429),
        ("server_error", anthropic.InternalServerError, 500),
        ("unavailable", anthropic.InternalServerError, 503),
        ("overloaded", anthropic.OverloadedError, 529),
        ("auth", anthropic.AuthenticationError, 401),
        ("permission", anthropic.PermissionDeniedError, 403),
        ("not_found", anthropic.NotFoundError, 404),
        ("bad_request", anthropic.BadRequestError, 400),
        ("context_overflow", anthropic.BadRequestError, 400),
    ],
)
def test_anthropic_errors_raise_the_sdks_own_exceptions(
    play: Callable[..., None], claude: anthropic.Anthropic, sim: Simulator, fault: str, kind: Any, status: int
) -> None:
    play(fault)
    with pytest.raises(kind) as caught:
        _claude(claude)
    assert caught.value.status_code == status
    assert caught.value.body["type"] == "error"
    assert (sim.log[-1].status, sim.log[-1].fault, sim.log[-1].cost_usd) == (status, fault, 0.0)


@pytest.mark.parametrize(
    ("fault", "kind", "status", "code"),
    [
        ("rate_limit", openai.RateLimitError, 429, "rate_limit_exceeded"),
        ("server_error", openai.InternalServerError, 500, None),
        ("unavailable", openai.InternalServerError, 503, None),
        ("overloaded", openai.InternalServerError, 503, None),
        ("auth", openai.AuthenticationError, 401, "invalid_api_key"),
        ("permission", openai.PermissionDeniedError, 403, "unsupported_country_region_territory"),
        ("not_found", openai.NotFoundError, 404, "model_not_found"),
        ("bad_request", openai.BadRequestError, 400, None),
        ("context_overflow", openai.BadRequestError, 400, "context_length_exceeded"),
        ("refusal", openai.BadRequestError, 400, "content_filter"),
    ],
)
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_openai_errors_raise_the_sdks_own_exceptions(
    play: Callable[..., None], gpt: openai.OpenAI, api: str, fault: str, kind: Any, status: int, code: str | None
) -> None:
    play(fault)
    with pytest.raises(kind) as caught:
        _gpt(gpt) if api == "chat" else gpt.responses.create(model="gpt-test", input="Go.")
    assert (caught.value.status_code, caught.value.code) == (status, code)


@pytest.mark.parametrize(
    ("fault", "kind", "code", "status"),
    [
        ("rate_limit", google_errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
        ("server_error", google_errors.ServerError, 500, "INTERNAL"),
        ("unavailable", google_errors.ServerError, 503, "UNAVAILABLE"),
        ("overloaded", google_errors.ServerError, 503, "UNAVAILABLE"),
        ("auth", google_errors.ClientError, 401, "UNAUTHENTICATED"),
        ("permission", google_errors.ClientError, 403, "PERMISSION_DENIED"),
        ("not_found", google_errors.ClientError, 404, "NOT_FOUND"),
        ("bad_request", google_errors.ClientError, 400, "INVALID_ARGUMENT"),
        ("context_overflow", google_errors.ClientError, 400, "INVALID_ARGUMENT"),
    ],
)
def test_google_errors_raise_the_sdks_own_exceptions(
    play: Callable[..., None], gemini: genai.Client, fault: str, kind: Any, code: int, status: str
) -> None:
    play(fault)
    with pytest.raises(kind) as caught:
        _gemini(gemini)
    assert (caught.value.code, caught.value.status) == (code, status)


def test_a_rate_limit_says_when_to_come_back(
    play: Callable[..., None], claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client
) -> None:
    play(Fault("rate_limit", retry_after=7))
    with pytest.raises(anthropic.RateLimitError) as limited:
        _claude(claude)
    assert limited.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.RateLimitError) as throttled:
        _gpt(gpt)
    assert throttled.value.response.headers["retry-after-ms"] == "7000"
    with pytest.raises(google_errors.ClientError) as exhausted:
        _gemini(gemini)
    assert exhausted.value.details["error"]["details"][0]["retryDelay"] == "7s"


def test_an_exhausted_quota_is_told_apart_from_a_rate_limit(play: Callable[..., None], gpt: openai.OpenAI) -> None:
    play(Fault("rate_limit", "insufficient_quota"))
    with pytest.raises(openai.RateLimitError) as caught:
        _gpt(gpt)
    assert caught.value.code == "insufficient_quota"
    assert "retry-after" not in caught.value.response.headers


def test_google_answers_a_bad_api_key_with_400(play: Callable[..., None], gemini: genai.Client) -> None:
    play(Fault("auth", "invalid_key"))
    with pytest.raises(google_errors.ClientError) as caught:
        _gemini(gemini)
    assert caught.value.code == 400
    assert caught.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"


def _models(sim: Simulator) -> dict[str, BaseChatModel]:
    common: dict[str, Any] = {"model": "some-model", "api_key": _KEY, "max_retries": 0}
    url = sim.url("openai")
    return {
        "anthropic": ChatAnthropic(base_url=sim.url("anthropic"), **common),
        "openai": ChatOpenAI(base_url=url, **common),
        "responses": ChatOpenAI(base_url=url, use_responses_api=True, **common),
        "vllm": ChatOpenAI(base_url=sim.url("vllm"), **common),
        "google": ChatGoogleGenerativeAI(base_url=sim.url("google"), **common),
    }


@pytest.mark.parametrize("name", ["anthropic", "openai", "google"])
def test_langchain_recognises_the_vendors_context_overflow(
    play: Callable[..., None], sim: Simulator, name: str
) -> None:
    play("context_overflow")
    with pytest.raises(ContextOverflowError):
        _models(sim)[name].invoke("Go.")


@pytest.mark.parametrize("name", ["responses", "vllm"])
def test_langchain_mistakes_some_context_overflows_for_bad_requests_but_the_code_tells(
    play: Callable[..., None], sim: Simulator, name: str
) -> None:
    play("context_overflow")
    with pytest.raises(openai.BadRequestError) as caught:
        _models(sim)[name].invoke("Go.")
    assert not isinstance(caught.value, ContextOverflowError)
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.slow
def test_a_hanging_server_holds_every_client_until_its_time_out(
    play: Callable[..., None], sim: Simulator, claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client
) -> None:
    play("hang")
    raised = _raised(
        lambda: _claude(claude, timeout=_HASTY),
        lambda: _gpt(gpt, timeout=_HASTY),
        lambda: _gemini(gemini, config=_SOON),
    )
    kinds = (anthropic.APITimeoutError, openai.APITimeoutError, httpx2.TimeoutException)
    assert all(isinstance(error, kind) for error, kind in zip(raised, kinds, strict=True)), raised
    assert [(served.status, served.fault) for served in sim.log] == [(None, "hang")] * 3


def test_stopping_the_simulator_releases_who_hangs() -> None:
    errors: list[Exception] = []

    def call(url: str) -> None:
        try:
            httpx.post(f"{url}/v1/messages", json={"model": "m", "max_tokens": 1, "messages": [
                {"role": "user", "content": "hi"}]}, timeout=30)  # fmt: skip
        except httpx.TransportError as error:
            errors.append(error)

    simulator = Simulator(Scenario(rules=(Rule(fault=Fault("hang")),)))
    with simulator as running:
        thread = threading.Thread(target=call, args=(running.url("anthropic"),))
        thread.start()
        arrived = threading.Event()
        while not running.log:
            arrived.wait(0.005)
    thread.join(timeout=240)
    assert not thread.is_alive()
    assert len(errors) == 1


def test_a_reset_connection_is_a_connection_error(
    play: Callable[..., None], claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client
) -> None:
    play("reset")
    with pytest.raises(anthropic.APIConnectionError) as caught:
        _claude(claude)
    assert isinstance(caught.value.__cause__, httpx2.ReadError)
    with pytest.raises(openai.APIConnectionError):
        _gpt(gpt)
    with pytest.raises(httpx2.ReadError):
        _gemini(gemini)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cut_stream", "stall"])
def test_a_broken_stream_delivers_its_first_chunks_and_then_fails(
    play: Callable[..., None], sim: Simulator, claude: anthropic.Anthropic, gpt: openai.OpenAI,
    gemini: genai.Client, kind: Any,
) -> None:  # fmt: skip
    play(Fault(kind, after_chunks=3))
    claude, gpt = claude.with_options(timeout=_HASTY), gpt.with_options(timeout=_HASTY)
    got: list[str] = []

    def read() -> None:
        for event in _claude(claude, stream=True):
            if event.type == "content_block_delta":
                got.append(event.delta.text)  # noqa: PERF401  # kept piece by piece: the last read fails

    raised = _raised(read, lambda: _gpt_stream(gpt), lambda: _gemini_stream(gemini, config=_SOON))
    kinds = (httpx2.TransportError, (httpx2.TransportError, openai.APIConnectionError), httpx2.TransportError)
    assert all(isinstance(error, kind) for error, kind in zip(raised, kinds, strict=True)), raised
    assert "".join(got) == "One two three "
    assert [served.output_tokens for served in sim.log] == [round(count_tokens(_TEXT) * 3 / 10)] * 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cut_stream", "stall"])
def test_an_answer_in_one_piece_breaks_too(
    play: Callable[..., None], claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client, kind: str
) -> None:
    play(kind)
    raised = _raised(
        lambda: _claude(claude, timeout=_HASTY),
        lambda: _gpt(gpt, timeout=_HASTY),
        lambda: _gemini(gemini, config=_SOON),
    )
    kinds = (anthropic.APIConnectionError, openai.APIConnectionError, httpx2.TransportError)
    assert all(isinstance(error, kind) for error, kind in zip(raised, kinds, strict=True)), raised


def test_a_tidy_cut_raises_nothing_and_only_the_missing_finish_reason_tells(
    play: Callable[..., None], claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client
) -> None:
    play("tidy_cut")
    half = ("One two three four five ", None)
    assert _claude_stream(claude) == half
    assert _gpt_stream(gpt) == half
    assert _gemini_stream(gemini) == half
    assert _claude(claude).stop_reason is None
    assert _gpt(gpt).choices[0].finish_reason is None
    candidate = (_gemini(gemini).candidates or [])[0]
    assert candidate.finish_reason is None


def test_a_tidily_cut_response_never_completes(play: Callable[..., None], gpt: openai.OpenAI) -> None:
    play("tidy_cut")
    events = [event.type for event in gpt.responses.create(model="gpt-test", input="Go.", stream=True)]
    assert events[-1] == "response.output_text.delta"


def test_broken_json_reaches_the_client_raw(
    play: Callable[..., None], claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client
) -> None:
    play("malformed_json")
    calls: list[Callable[[], Any]] = [
        lambda: _claude(claude), lambda: _claude_stream(claude), lambda: _gpt(gpt), lambda: _gpt_stream(gpt),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(json.JSONDecodeError):
            call()
    for google in (lambda: _gemini(gemini), lambda: _gemini_stream(gemini)):
        with pytest.raises((json.JSONDecodeError, google_errors.UnknownApiResponseError)):
            google()


def test_an_error_in_mid_stream_raises_after_some_text(
    play: Callable[..., None], claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client
) -> None:
    play("error_in_stream")
    with pytest.raises(anthropic.APIStatusError) as caught:
        _claude_stream(claude)
    body: Any = caught.value.body
    assert body["error"]["type"] == "overloaded_error"
    with pytest.raises(openai.APIError):
        _gpt_stream(gpt)
    with pytest.raises(google_errors.ServerError):
        _gemini_stream(gemini)
    with pytest.raises(anthropic.OverloadedError):
        _claude(claude)


def test_truncation_ends_with_half_the_text_and_says_so(
    play: Callable[..., None], claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client
) -> None:
    play("truncation")
    half = _TEXT[: len(_TEXT) // 2]
    assert _claude_stream(claude) == (half, "max_tokens")
    assert _gpt_stream(gpt) == (half, "length")
    assert _gemini_stream(gemini) == (half, "MAX_TOKENS")
    response = gpt.responses.create(model="gpt-test", input="Go.")
    assert (response.status, response.output_text) == ("incomplete", half)
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_each_vendor_refuses_in_its_own_manner(
    play: Callable[..., None], claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client
) -> None:
    play("refusal")
    message = _claude(claude)
    assert (message.stop_reason, message.content) == ("refusal", [])
    assert _claude_stream(claude) == ("", "refusal")
    blocked = _gemini(gemini)
    assert not blocked.candidates
    assert blocked.prompt_feedback is not None
    assert blocked.prompt_feedback.block_reason == "PROHIBITED_CONTENT"
    play(Fault("refusal", "finish"))
    assert _gpt(gpt).choices[0].finish_reason == "content_filter"
    assert _gemini_stream(gemini) == ("", "SAFETY")
    play(Fault("refusal", "field"))
    choice = _gpt(gpt).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("stop", None)
    assert "can't help" in choice.message.refusal
    item: Any = gpt.responses.create(model="gpt-test", input="Go.").output[0]
    assert item.content[0].type == "refusal"


def test_an_empty_answer_is_a_success_without_words(
    play: Callable[..., None], claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client
) -> None:
    play("empty")
    assert (_claude(claude).content, _claude(claude).stop_reason) == ([], "end_turn")
    assert _gpt(gpt).choices[0].message.content == ""
    assert not _gemini(gemini).text
    assert _claude_stream(claude) == ("", "end_turn")
    assert _gpt_stream(gpt) == ("", "stop")
    assert _gemini_stream(gemini) == ("", "STOP")
    assert gpt.responses.create(model="gpt-test", input="Go.").output_text == ""


def test_bad_tool_arguments_break_the_tools_schema(
    play: Callable[..., None], claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client
) -> None:
    play("bad_tool_arguments", Answer(tool_calls=(ToolCall("forecast", {"city": "Oslo", "days": 3}),)))
    block = _claude(claude, tools=[{"name": "forecast", "input_schema": _SCHEMA}]).content[0]
    assert (block.type, block.input) == ("tool_use", {"city": [7], "days": 3})
    tool = {"type": "function", "function": {"name": "forecast", "parameters": _SCHEMA}}
    call = _gpt(gpt, tools=[tool]).choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": [7], "days": 3}
    declared = google_types.FunctionDeclaration(name="forecast", parameters_json_schema=_SCHEMA)
    config = google_types.GenerateContentConfig(tools=[google_types.Tool(function_declarations=[declared])])
    calls = _gemini(gemini, config=config).function_calls or []
    assert [call.args for call in calls] == [{"city": [7], "days": 3}]


def test_bad_tool_arguments_can_be_no_json_at_all(play: Callable[..., None], gpt: openai.OpenAI) -> None:
    play(Fault("bad_tool_arguments", "broken_json"))
    tool = {"type": "function", "function": {"name": "forecast", "parameters": _SCHEMA}}
    call = _gpt(gpt, tools=[tool]).choices[0].message.tool_calls[0]
    with pytest.raises(json.JSONDecodeError):
        json.loads(call.function.arguments)


def test_a_model_that_did_not_run_shows_in_the_answer_and_the_log(
    play: Callable[..., None], sim: Simulator, claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client
) -> None:
    play(Fault("wrong_model", model="cheaper-model"))
    assert _claude(claude).model == _gpt(gpt).model == _gemini(gemini).model_version == "cheaper-model"
    assert [(served.model, served.answered) for served in sim.log] == [
        ("claude-test", "cheaper-model"), ("gpt-test", "cheaper-model"), ("gemini-test", "cheaper-model"),
    ]  # fmt: skip
