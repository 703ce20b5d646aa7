"""What servers say of a cause that is not the request: every wording over a real SDK, with what it means."""

from __future__ import annotations

from typing import Any

import pytest
from pointsman.backends import registry
from pointsman.backends.base import BackendError, Endpoint
from pointsman.configs.words import FailureKind
from pydantic import SecretStr

_PATHS = {"openai": "/v1", "openai_compatible": "/v1"}


async def _refused(wire: Any, backend: str, status: int, body: Any, key: str = "not-a-real-key") -> BackendError:
    wire.answer = status, body
    port = registry.get(backend)
    model = port.chat_model(Endpoint("m", base_url=wire.url + _PATHS.get(backend, ""), key=SecretStr(key)))
    try:
        await model.ainvoke("Hi")
    except Exception as error:
        failure = port.failure(error)
        assert failure is not None
        return failure
    raise AssertionError("it was taken")


def _chat(message: str, code: Any = None, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


_OVERFLOWS = [
    "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens",
    "This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens",
    "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 509178 tokens.",
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "Invalid request: Your request exceeded model token limit: 262144 (requested: 300000)",
    "Prompt exceeds max length",
    "Range of input length should be [1, 129024]",
    "invalid params, context window exceeds limit (2013)",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 20000 `inputs` tokens",
    "Input validation error: `inputs` must have less than 1024 tokens. Given: 9000",
    "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with 4096",
    "The number of tokens to keep from the initial prompt is greater than the context length",
    "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it",
    "The input (263000 tokens) is longer than the model's context length (262144 tokens).",
    "Requested token count exceeds the model's maximum context length of 262144 tokens.",
    "Input length 131393 exceeds the maximum allowed input length of 131040 tokens.",
    "Prompt has 256468 tokens, but the configured context size is 256000 tokens",
    "prompt token count of 130000 exceeds the limit of 128000",
    "The total length of all messages is too long.",
    "Please reduce the length of the messages or completion.",
    "prompt too long; exceeded max context length by 4 tokens",
    "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
    "Prompt 超长",
    "Prompt is 11543 tokens but the model context window is 4096 tokens.",
    "total tokens exceeds the model's max of 4096",
    "max_tokens must be at least 1, got -4853. (parameter=max_tokens, value=-4853)",
    "Request body too large for gpt-4.1-mini model. Max size: 8000 tokens.",
    "You passed 5000 input tokens. However, the model's context length is only 4096 tokens",
    "上下文长度超出限制",
]
_CAUSES = [
    ("Billing hard limit has been reached", FailureKind.QUOTA),
    ("Access denied, please make sure your account is in good standing.", FailureKind.QUOTA),
    ("Insufficient Balance", FailureKind.QUOTA),
    ("You have run out of credits: insufficient credits", FailureKind.QUOTA),
    ("User location is not supported for the API use without a billing account linked.", FailureKind.QUOTA),
    ("Organization has been restricted. Please reach out to support.", FailureKind.AUTH),
    ("Budget has been exceeded! Current cost: 10.02, Max budget: 10.0", FailureKind.QUOTA),
    ("You're out of extra usage. Add more in the settings and keep going.", FailureKind.QUOTA),
    ("Your newly created team doesn't have any credits or licenses yet.", FailureKind.QUOTA),
    ("Key limit exceeded (total limit).", FailureKind.QUOTA),
    ("Invalid API key provided", FailureKind.AUTH),
    ("Your API key was reported as leaked. Please use another API key.", FailureKind.AUTH),
    ("OAuth token has expired. Please obtain a new token.", FailureKind.AUTH),
    ("Input new_sensitive (1026)", FailureKind.CONTENT_FILTER),
    ("Guardrail intervened", FailureKind.CONTENT_FILTER),
    ("Content Exists Risk", FailureKind.CONTENT_FILTER),
    ("<400> InternalError.Algo.DataInspectionFailed: Input text data may contain it.", FailureKind.CONTENT_FILTER),
    ("Input data may contain inappropriate content.", FailureKind.CONTENT_FILTER),
    ("The request was rejected because it was considered high risk", FailureKind.CONTENT_FILTER),
    ("系统检测到输入或生成内容可能包含不安全或敏感内容", FailureKind.CONTENT_FILTER),
    ("Your request was rejected as a result of our safety system.", FailureKind.CONTENT_FILTER),
    ("Your organization must be verified to stream this model.", FailureKind.UNAVAILABLE),
    ("Country, region, or territory not supported", FailureKind.UNAVAILABLE),
    ("registry.ollama.ai/library/llama3.2:latest does not support tools", FailureKind.UNAVAILABLE),
    ('"auto" tool choice requires --enable-auto-tool-choice to be set', FailureKind.UNAVAILABLE),
    ("The model `x` has been decommissioned and is no longer supported.", FailureKind.UNAVAILABLE),
    ("foo/bar is not a valid model ID", FailureKind.UNAVAILABLE),
    ("Model Not Exist", FailureKind.UNAVAILABLE),
    ("No endpoints available matching your guardrail restrictions and data policy", FailureKind.UNAVAILABLE),
    ("At most 0 image(s) may be provided in one prompt.", FailureKind.UNAVAILABLE),
    ("Function calling is not enabled for models/gemma", FailureKind.UNAVAILABLE),
    ("Unsupported parameter: 'temperature' is not supported with this model.", FailureKind.UNAVAILABLE),
    ("Failed to call a function. Please adjust your prompt.", FailureKind.INVALID_OUTPUT),
    ("The engine is currently overloaded, please try again later", FailureKind.OVERLOADED),
    ("Too many requests in a minute", FailureKind.RATE_LIMIT),
]


@pytest.mark.parametrize(
    ("said", "kind"), [*((said, FailureKind.CONTEXT_LENGTH) for said in _OVERFLOWS), *_CAUSES], ids=str
)
async def test_a_cause_told_in_words_is_known_whoever_tells_it(wire: Any, said: str, kind: FailureKind) -> None:
    bodies: dict[str, Any] = {
        "openai_compatible": _chat(said),
        "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": said}},
        "google": {"error": {"code": 400, "message": said, "status": "INVALID_ARGUMENT"}},
    }
    for backend, body in bodies.items():
        failure = await _refused(wire, backend, 400, body)
        assert (failure.kind, failure.status) == (kind, 400), backend


@pytest.mark.parametrize(
    "said",
    [
        "messages: Input should be a valid list",
        "Invalid type for 'messages'.",
        "Unknown parameter: 'colour'.",
        "max_tokens is too large: 200000. This model supports at most 16384 completion tokens",
        "Invalid 'temperature': decimal above maximum value.",
    ],
)
async def test_what_only_the_asker_can_mend_stays_a_bad_request(wire: Any, said: str) -> None:
    assert (await _refused(wire, "openai_compatible", 400, _chat(said))).kind is FailureKind.BAD_REQUEST


@pytest.mark.parametrize(
    "body",
    [
        {"error": "the prompt is too long: 9 > 4", "code": "Client specified an invalid argument"},
        {"object": "error", "message": "the prompt is too long: 9 > 4", "code": 3051},
        {"detail": "the prompt is too long: 9 > 4"},
        {"detail": [{"loc": ["body"], "msg": "the prompt is too long: 9 > 4", "type": "value_error"}]},
        {"errors": [{"code": 5006, "message": "the prompt is too long: 9 > 4"}]},
        {"code": 10, "msg": "the prompt is too long: 9 > 4"},
        {"error": {"message": '{"error": {"message": "the prompt is too long: 9 > 4"}}', "code": 400}},
        {"error": {"message": "Provider returned error", "code": 400,
                   "metadata": {"raw": '{"error": {"message": "the prompt is too long: 9 > 4"}}'}}},
        '"the prompt is too long: 9 > 4"',
        "the prompt is too long: 9 > 4",
    ],
    ids=range(10),
)  # fmt: skip
async def test_the_cause_is_found_wherever_a_body_tells_it(wire: Any, body: Any) -> None:
    failure = await _refused(wire, "openai_compatible", 400, body)
    assert failure.kind is FailureKind.CONTEXT_LENGTH
    assert "the prompt is too long: 9 > 4" in str(failure)
    assert "{" not in str(failure)


async def test_a_reply_of_status_200_that_tells_an_error_is_read_as_one(wire: Any) -> None:
    for body in (
        {"error": {"message": "the prompt is too long: 9 > 4"}},
        {"error": "the prompt is too long: 9 > 4"},
        {"base_resp": {"status_code": 2013, "status_msg": "the prompt is too long: 9 > 4"}, "choices": None},
        {"object": "error", "message": "the prompt is too long: 9 > 4", "code": 400},
        {"choices": [{"message": {"content": ""}, "error": {"message": "the prompt is too long: 9 > 4", "code": 400}}]},
    ):
        assert (await _refused(wire, "openai_compatible", 200, body)).kind is FailureKind.CONTEXT_LENGTH, body


async def test_an_account_without_money_is_one_with_the_status_of_a_rate_limit_too(wire: Any) -> None:
    failure = await _refused(wire, "openai_compatible", 429, _chat("余额不足或无可用资源包,请充值。", "1113"))
    assert failure.kind is FailureKind.QUOTA
    passing = "Rate limit reached: reduce the length of the messages, maximum context length 10"
    assert (await _refused(wire, "openai_compatible", 429, _chat(passing))).kind is FailureKind.RATE_LIMIT


async def test_a_page_and_control_characters_are_not_shown_as_they_are(wire: Any) -> None:
    page = "<!DOCTYPE html><html><head><title>Attention Required!</title></head><body>…</body></html>"
    failure = await _refused(wire, "openai_compatible", 403, page)
    assert (failure.kind, str(failure)) == (
        FailureKind.UNAVAILABLE, "a web page instead of an answer: Attention Required!"
    )  # fmt: skip
    failure = await _refused(wire, "openai_compatible", 400, _chat("no \x1b[31mred\x1b[0m \x00words\x1b]0;x\x07"))
    assert str(failure) == "no red words"


async def test_a_key_of_a_few_letters_does_not_blot_out_the_words(wire: Any) -> None:
    failure = await _refused(wire, "openai_compatible", 400, _chat("foo is odd"), key="o")
    assert str(failure) == "foo is odd"


async def test_a_page_in_place_of_json_leaves_the_status_its_meaning(wire: Any) -> None:
    page = "<html><head><title>502 Bad Gateway</title></head></html>"
    for backend in ("anthropic", "google", "openai_compatible"):
        failure = await _refused(wire, backend, 502, page)
        assert (failure.kind, failure.status) == (FailureKind.OVERLOADED, 502), backend
        assert str(failure) == "a web page instead of an answer: 502 Bad Gateway", backend


@pytest.mark.parametrize(
    ("backend", "body"),
    [
        ("anthropic", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        ("google", {"error": {"code": 503, "message": "The model is busy.", "status": "UNAVAILABLE"}}),
        ("openai_compatible", {"error": {"message": "The model is busy.", "code": 503}}),
        ("anthropic", {"error": "the engine is overloaded"}),
        ("google", {"error": "the engine is overloaded"}),
        ("openai", {"error": "the engine is overloaded"}),
        ("openai_compatible", {"error": "the engine is overloaded"}),
    ],
)
async def test_an_error_with_the_status_of_an_answer_keeps_its_kind(wire: Any, backend: str, body: Any) -> None:
    assert (await _refused(wire, backend, 200, body)).kind is FailureKind.OVERLOADED


async def test_a_client_writes_nothing_of_an_empty_answer_to_the_terminal(
    wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    wire.answer = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": "m"}
    port = registry.get("google")
    message = await port.chat_model(Endpoint("m", base_url=wire.url, key=SecretStr("x"))).ainvoke("Hi")
    assert port.read(message).failure is FailureKind.REFUSAL
    assert not caplog.records
