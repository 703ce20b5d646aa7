"""The error tables: every exception a client can raise is in them, and each is read as it should be."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import aiohttp
import anthropic
import google.genai.errors
import httpx
import httpx2
import langchain_anthropic.chat_models
import langchain_core.exceptions
import langchain_google_genai.chat_models
import langchain_openai.chat_models.base
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.backends import registry
from pointsman.backends.base import BackendError
from pointsman.backends.errors.translate import SHARED, STATUS, ErrorTable, one_line, translate
from pointsman.backends.providers.anthropic import ERRORS as ANTHROPIC
from pointsman.backends.providers.bedrock import ERRORS as BEDROCK
from pointsman.backends.providers.google import ERRORS as GOOGLE
from pointsman.backends.providers.openai import ERRORS as OPENAI
from pointsman.configs.words import FailureKind

_ASKED = httpx2.Request("POST", "https://example.invalid/v1/messages")

# Raised while a client is set up, or about calls that no backend makes.
_NOT_OURS = {
    "openai._AmbiguousModuleClientUsageError",
    "aiohttp.client_exceptions.WSMessageTypeError",
    "aiohttp.streams.EofStream",
    "aiohttp._websocket.models.WebSocketError",
}


def _exceptions(module: ModuleType, prefix: str) -> Iterator[type[BaseException]]:
    # What an SDK names in small letters is no class, but may be imported only when it is looked at.
    for attribute in filter(lambda name: name.lstrip("_")[:1].isupper(), dir(module)):
        member = getattr(module, attribute)
        if inspect.isclass(member) and issubclass(member, Exception) and not issubclass(member, Warning):
            name = f"{member.__module__}.{member.__qualname__}"
            if name.startswith(prefix) and name not in _NOT_OURS:
                yield member


def _named(modules: list[tuple[ModuleType, str, ErrorTable]]) -> list[Any]:
    found = [
        pytest.param(member, table, id=f"{member.__module__}.{member.__qualname__}")
        for module, prefix, table in modules
        for member in _exceptions(module, prefix)
    ]
    assert len(found) > 5
    return found


@pytest.mark.parametrize(
    ("member", "table"),
    _named(
        [
            (anthropic, "anthropic", ANTHROPIC),
            (openai, "openai", OPENAI),
            (google.genai.errors, "google.genai", GOOGLE),
            (httpx, "httpx", ErrorTable({})),
            (httpx2, "httpx2", ErrorTable({})),
        ]
    ),
)
def test_every_exception_an_sdk_exports_is_in_its_table_by_its_own_name(
    member: type[Exception], table: ErrorTable
) -> None:
    assert table.entry(member) == f"{member.__module__}.{member.__qualname__}"


@pytest.mark.parametrize(
    ("member", "table"),
    _named(
        [
            (langchain_anthropic.chat_models, "langchain_anthropic", ANTHROPIC),
            (langchain_openai.chat_models.base, "langchain_openai", OPENAI),
            (langchain_google_genai.chat_models, "langchain_google_genai", GOOGLE),
            (aiohttp, "aiohttp", GOOGLE),
        ]
    ),
)
def test_every_exception_langchain_or_aiohttp_makes_is_in_the_table_by_itself_or_a_base(
    member: type[Exception], table: ErrorTable
) -> None:
    assert table.entry(member) is not None


def test_every_member_of_langchains_model_error_family_has_an_entry() -> None:
    family = [
        member
        for member in _exceptions(langchain_core.exceptions, "langchain_core")
        if issubclass(member, langchain_core.exceptions.ModelError)
    ]
    assert len(family) > 8
    assert {f"langchain_core.exceptions.{member.__name__}" for member in family} <= set(SHARED)


@pytest.mark.parametrize("table", [ANTHROPIC, OPENAI, GOOGLE], ids=["anthropic", "openai", "google"])
def test_every_name_in_a_table_is_an_exception_that_exists(table: ErrorTable) -> None:
    import importlib

    for name in (*table.classes, *SHARED):
        module, _, attribute = name.rpartition(".")
        found = getattr(importlib.import_module(module), attribute, None)
        # SSEError is httpx2's alone.
        assert found is not None or name == "httpx.SSEError", name


@pytest.mark.parametrize("table", [ANTHROPIC, OPENAI, GOOGLE], ids=["anthropic", "openai", "google"])
def test_every_function_that_reads_replies_exists(table: ErrorTable) -> None:
    import importlib

    for name in table.readers:
        module, _, function = name.rpartition(".")
        source = inspect.getsource(importlib.import_module(module))
        assert f"def {function}(" in source, name


def _response(status: int, body: Any, headers: dict[str, str] | None = None) -> httpx2.Response:
    return httpx2.Response(status, json=body, headers=headers, request=_ASKED)


def _openai(status: int, error: dict[str, Any], headers: dict[str, str] | None = None) -> openai.APIStatusError:
    client = openai.OpenAI(api_key="none", base_url="https://example.invalid/v1")
    return client._make_status_error_from_response(_response(status, {"error": error}, headers))


def _kind(name: str, error: BaseException) -> FailureKind | None:
    failure = registry.get(name).failure(error)
    return None if failure is None else failure.kind


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, {"code": "insufficient_quota", "message": "Pay."}, FailureKind.QUOTA),
        (429, {"code": "rate_limit_exceeded", "message": "Slow down."}, FailureKind.RATE_LIMIT),
        (402, {"message": "Insufficient Balance"}, FailureKind.QUOTA),
        (400, {"code": "context_length_exceeded", "message": "Too long."}, FailureKind.CONTEXT_LENGTH),
        (400, {"message": "Your input exceeds the context window of this model."}, FailureKind.CONTEXT_LENGTH),
        (400, {"code": 400, "type": "BadRequestError", "message": "This model's maximum context length is 8192."},
         FailureKind.CONTEXT_LENGTH),
        (400, {"code": "content_filter", "message": "No."}, FailureKind.CONTENT_FILTER),
        (400, {"code": None, "message": "Invalid type for 'messages'."}, FailureKind.BAD_REQUEST),
        (404, {"code": "model_not_found", "message": "No such model."}, FailureKind.UNAVAILABLE),
        (403, {"code": "unsupported_country_region_territory", "message": "Not there."}, FailureKind.UNAVAILABLE),
        (413, {"message": "Request too large."}, FailureKind.CONTEXT_LENGTH),
        (408, {"message": "Took too long."}, FailureKind.TIMEOUT),
        (504, {"message": "Took too long."}, FailureKind.TIMEOUT),
        (500, {"message": "Oh."}, FailureKind.OVERLOADED),
        (529, {"message": "Busy."}, FailureKind.OVERLOADED),
        (418, {"message": "Tea."}, FailureKind.BAD_REQUEST),
    ],
)  # fmt: skip
def test_status_code_and_words_refine_an_error_of_openais_format(
    status: int, error: dict[str, Any], kind: FailureKind
) -> None:
    assert _kind("openai_compatible", _openai(status, error)) is kind
    assert _kind("openai", _openai(status, error)) is kind


def test_an_error_in_a_stream_is_read_off_its_code() -> None:
    def told(body: dict[str, Any]) -> FailureKind | None:
        return _kind("openai_compatible", openai.APIError("in mid-stream", _ASKED, body=body))

    assert told({"code": 429, "message": "Slow."}) is FailureKind.RATE_LIMIT
    assert told({"code": "insufficient_quota"}) is FailureKind.QUOTA
    assert told({"message": "Something."}) is FailureKind.OVERLOADED


def test_a_named_anthropic_error_says_more_than_its_status() -> None:
    hold = anthropic.OrganizationOnHoldError("held", response=_response(400, {}), body={})
    limit = anthropic.EnforcedSpendLimitReachedError("spent", response=_response(429, {}), body={})
    assert _kind("anthropic", hold) is FailureKind.AUTH
    assert _kind("anthropic", limit) is FailureKind.QUOTA


def test_the_sdks_error_inside_langchains_is_the_one_that_counts() -> None:
    limit = anthropic.EnforcedSpendLimitReachedError("spent", response=_response(429, {}), body={})
    wrapped = langchain_anthropic.chat_models.AnthropicRateLimitError("spent", response=_response(429, {}), body={})
    assert _kind("anthropic", wrapped) is FailureKind.RATE_LIMIT
    wrapped.__cause__ = limit
    assert _kind("anthropic", wrapped) is FailureKind.QUOTA


def _google(code: int, **error: Any) -> google.genai.errors.APIError:
    kind = google.genai.errors.ClientError if code < 500 else google.genai.errors.ServerError
    return kind(code, {"error": {"code": code, "message": "No.", **error}})


def test_google_tells_a_days_quota_from_a_minutes() -> None:
    def limited(quota: str) -> BackendError:
        details = [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "13.5s"},
        ]
        failure = registry.get("google").failure(_google(429, status="RESOURCE_EXHAUSTED", details=details))
        assert failure is not None
        return failure

    minute = limited("GenerateRequestsPerMinutePerProjectPerModel")
    assert (minute.kind, minute.retry_after) == (FailureKind.RATE_LIMIT, 13.5)
    assert limited("GenerateRequestsPerDayPerProjectPerModel-FreeTier").kind is FailureKind.QUOTA


def test_google_tells_a_bad_key_by_its_reason() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    assert _kind("google", _google(400, status="INVALID_ARGUMENT", details=details)) is FailureKind.AUTH
    assert _kind("google", _google(400, status="INVALID_ARGUMENT")) is FailureKind.BAD_REQUEST


class _ClientError(Exception):
    """Shaped and named as botocore's, which is an extra."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {"retry-after": "3"}},
        }


_ClientError.__module__, _ClientError.__qualname__ = "botocore.exceptions", "ClientError"


@pytest.mark.parametrize(
    ("code", "status", "message", "kind"),
    [
        ("ThrottlingException", 429, "Slow.", FailureKind.RATE_LIMIT),
        ("ServiceQuotaExceededException", 400, "Full.", FailureKind.QUOTA),
        ("ValidationException", 400, "Input is too long for requested model.", FailureKind.CONTEXT_LENGTH),
        ("ValidationException", 400, "No.", FailureKind.BAD_REQUEST),
        ("UnrecognizedClientException", 403, "Who?", FailureKind.AUTH),
        ("AccessDeniedException", 403, "No.", FailureKind.UNAVAILABLE),
        ("InternalServerException", 500, "Oh.", FailureKind.OVERLOADED),
    ],
)
def test_bedrocks_codes_are_read_off_the_response(code: str, status: int, message: str, kind: FailureKind) -> None:
    failure = translate(_ClientError(code, status, message), BEDROCK)
    assert failure is not None
    assert (failure.kind, failure.status, failure.retry_after, str(failure)) == (kind, status, 3.0, message)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_the_wait_is_read_off_the_headers(headers: dict[str, str], seconds: float | None) -> None:
    failure = registry.get("openai").failure(_openai(429, {"message": "Slow."}, headers))
    assert failure is not None
    assert failure.retry_after == seconds


@pytest.mark.parametrize("name", list(registry.BACKENDS))
@pytest.mark.parametrize("error", [TypeError("ours"), KeyError("ours"), ValueError("ours"), KeyboardInterrupt()])
def test_our_own_mistakes_are_not_the_providers(name: str, error: BaseException) -> None:
    assert registry.get(name).failure(error) is None


@pytest.mark.parametrize("name", ["anthropic", "openai", "openai_compatible", "google", "vertex", "bedrock"])
def test_raw_transport_errors_and_broken_json_are_translated_everywhere(name: str) -> None:
    broken = json.JSONDecodeError("Expecting value", "<private>", 0)
    for library in (httpx, httpx2):
        assert _kind(name, library.ReadTimeout("slow")) is FailureKind.TIMEOUT
        assert _kind(name, library.ConnectError("refused")) is FailureKind.CONNECTION
    assert _kind(name, aiohttp.ServerDisconnectedError()) is FailureKind.CONNECTION
    assert _kind(name, aiohttp.SocketTimeoutError()) is FailureKind.TIMEOUT
    assert _kind(name, TimeoutError()) is FailureKind.TIMEOUT
    assert _kind(name, ConnectionResetError()) is FailureKind.CONNECTION
    assert _kind(name, broken) is FailureKind.MALFORMED
    assert "<private>" not in str(registry.get(name).failure(broken))


def test_a_reply_that_cannot_be_read_is_not_repeated_in_the_message() -> None:
    error = google.genai.errors.UnknownApiResponseError("Failed to parse. Raw response: {the patient is")
    failure = registry.get("google").failure(error)
    assert failure is not None
    assert (failure.kind, str(failure)) == (FailureKind.MALFORMED, "Failed to parse.")


def test_a_status_table_speaks_of_errors_only() -> None:
    assert all(400 <= status < 600 for status in STATUS)


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-abcDEF123456.",
        "header Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.abc",
        "https://example.invalid/v1?key=AIzaSyA-1234567890abcdefg&alt=sse",
        "AIzaSyA-1234567890abcdefg was refused",
        "{'x-api-key': 'abcdef'}",
        "token 0123456789abcdef0123456789abcdef is spent",
    ],
)
def test_what_looks_like_a_key_is_blotted_out(text: str) -> None:
    clean = one_line(text)
    assert "[redacted]" in clean
    for part in ("abcDEF123456", "eyJhbGci", "1234567890abcdefg", "abcdef'", "0123456789abcdef"):
        assert part not in clean


@pytest.mark.parametrize(
    "text",
    [
        "API key not valid. Please pass a valid API key.",
        "The model `claude-haiku-4-5-20251001` does not exist.",
        "prompt is too long: 200001 tokens > 200000 maximum",
        "meta-llama/Llama-4-Scout-17B-16E-Instruct is loading",
    ],
)
def test_plain_words_are_left_alone(text: str) -> None:
    assert one_line(text) == text


@given(st.text(), st.text(alphabet="abcdefghijklmnop0123456789-_", min_size=8, max_size=60), st.text())
def test_a_known_secret_never_survives(before: str, secret: str, after: str) -> None:
    clean = one_line(before + secret + after, secrets=[secret])
    assert secret not in clean
    assert len(clean) <= 300
    assert "\n" not in clean


def _unknown(name: str, *bases: type[Exception]) -> type[Exception]:
    """A class as a newer release of a client could bring it."""
    module, _, last = name.rpartition(".")
    return type(last, bases or (Exception,), {"__module__": module})


@pytest.mark.parametrize(
    ("backend", "name", "kind"),
    [
        ("anthropic", "anthropic.NewError", FailureKind.MALFORMED),
        ("anthropic", "anthropic.lib.streaming.NewError", FailureKind.MALFORMED),
        ("anthropic", "langchain_anthropic.chat_models.NewError", FailureKind.MALFORMED),
        ("openai", "openai.NewError", FailureKind.MALFORMED),
        ("openai_compatible", "langchain_openai.chat_models.base.NewError", FailureKind.MALFORMED),
        ("google", "google.genai.errors.NewError", FailureKind.MALFORMED),
        ("google", "google.auth.exceptions.NewError", FailureKind.MALFORMED),
        ("vertex", "langchain_google_genai.chat_models.NewError", FailureKind.MALFORMED),
        ("bedrock", "botocore.exceptions.NewError", FailureKind.MALFORMED),
        *((backend, f"{client}.NewError", FailureKind.CONNECTION)
          for backend in ("anthropic", "openai", "google")
          for client in ("aiohttp.client_exceptions", "h11._util", "httpcore._exceptions", "httpcore2", "httpx2",
                         "requests.exceptions", "ssl")),
    ],
)  # fmt: skip
def test_a_class_that_no_table_knows_is_the_providers_trouble_if_it_is_its_clients(
    backend: str, name: str, kind: FailureKind
) -> None:
    assert _kind(backend, _unknown(name)("new")) is kind
    assert _kind(backend, _unknown(name, ValueError)("new")) is kind
    assert _kind(backend, _unknown("pointsman_user.Own", _unknown(name))("new")) is kind


@pytest.mark.parametrize("backend", ["anthropic", "openai", "google"])
@pytest.mark.parametrize("name", ["google.protobuf.NewError", "langchain_core.tracers.NewError", "somewhere.NewError"])
def test_a_class_of_nobodys_client_is_not_the_providers_trouble(backend: str, name: str) -> None:
    assert _kind(backend, _unknown(name)("new")) is None


def test_an_unknown_class_is_read_off_its_status_its_code_and_its_cause() -> None:
    def new(status: int, **error: Any) -> Exception:
        made = _unknown("openai.NewError")("new")
        made.status_code, made.body = status, error  # type: ignore[attr-defined]
        return made

    assert _kind("openai", new(429)) is FailureKind.RATE_LIMIT
    assert _kind("openai", new(503)) is FailureKind.OVERLOADED
    assert _kind("openai", new(429, code="insufficient_quota")) is FailureKind.QUOTA
    assert _kind("openai", new(400, message="maximum context length is 8192")) is FailureKind.CONTEXT_LENGTH
    late = _unknown("openai.NewError")("new")
    late.__cause__ = httpx2.ReadTimeout("slow")
    assert _kind("openai", late) is FailureKind.TIMEOUT


def test_a_rejection_under_a_new_name_is_not_taken_for_a_request_that_nobody_can_answer() -> None:
    new = _unknown("anthropic.NewlyNamedError", anthropic.BadRequestError)
    raised: Any = new("no", response=_response(400, {}), body={})  # type: ignore[call-arg]
    assert _kind("anthropic", raised) is FailureKind.UNAVAILABLE
    plain = anthropic.BadRequestError("no", response=_response(400, {}), body={})
    assert _kind("anthropic", plain) is FailureKind.BAD_REQUEST
    wrapped = langchain_anthropic.chat_models.AnthropicInvalidRequestError("no", response=_response(400, {}), body={})
    assert _kind("anthropic", wrapped) is FailureKind.BAD_REQUEST
    wrapped.__cause__ = raised
    assert _kind("anthropic", wrapped) is FailureKind.UNAVAILABLE


@pytest.mark.parametrize("name", ["anthropic", "openai", "google"])
def test_a_body_that_is_no_text_is_a_malformed_reply(name: str) -> None:
    assert _kind(name, UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")) is FailureKind.MALFORMED
