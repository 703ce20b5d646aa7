"""Google's models over langchain-google-genai."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ...configs.words import FailureKind
from ..base import Backend, BackendError, Endpoint
from ..errors.translate import ErrorTable, translate
from ..http.clients import counting, required_key, tell_from
from ..http.hosts import NO_REDIRECTS, base_of, is_here
from ..http.meter import Meter
from ..names import same_name
from ..options import Choice, Said, Vocabulary, Wanted, unrenamed
from ..replies.bodies import bound_sessions
from ..schemas import for_gemini
from ..usage.gemini import CountingGemini

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["ERRORS", "FINISHES", "GoogleBackend", "settings_of"]

_URL = "https://generativelanguage.googleapis.com"
# Batches, cached contents and the names that end in "-latest" are documented for this version only, and the SDK has
# changed its own default between two major versions.
_VERSION = "v1beta"
_PER_DAY = "PerDay"
_DAILY_QUOTA = "pointsman.daily_quota"

# ai.google.dev/api/generate-content#FinishReason
FINISHES: Mapping[str, FailureKind | None] = MappingProxyType(
    {
        "STOP": None,
        "MAX_TOKENS": FailureKind.TRUNCATED,
        "CONTINUATION": FailureKind.TRUNCATED,
        "SAFETY": FailureKind.CONTENT_FILTER,
        "RECITATION": FailureKind.CONTENT_FILTER,
        "BLOCKLIST": FailureKind.CONTENT_FILTER,
        "PROHIBITED_CONTENT": FailureKind.CONTENT_FILTER,
        "SPII": FailureKind.CONTENT_FILTER,
        "IMAGE_SAFETY": FailureKind.CONTENT_FILTER,
        "IMAGE_PROHIBITED_CONTENT": FailureKind.CONTENT_FILTER,
        "IMAGE_RECITATION": FailureKind.CONTENT_FILTER,
        "ESCALATION": FailureKind.CONTENT_FILTER,
        "MODEL_ARMOR": FailureKind.CONTENT_FILTER,
        "LANGUAGE": FailureKind.REFUSAL,
        "MALFORMED_FUNCTION_CALL": FailureKind.INVALID_OUTPUT,
        "UNEXPECTED_TOOL_CALL": FailureKind.INVALID_OUTPUT,
        "TOO_MANY_TOOL_CALLS": FailureKind.INVALID_OUTPUT,
        # The account is restricted or closed for violating the terms of use.
        "PUP_LIMITED_DISABLED": FailureKind.AUTH,
        # Gemini cannot continue a turn written by another model; other providers can.
        "MISSING_THOUGHT_SIGNATURE": FailureKind.MALFORMED,
        "NO_IMAGE": FailureKind.EMPTY,
        "MALFORMED_RESPONSE": FailureKind.MALFORMED,
        "IMAGE_OTHER": FailureKind.MALFORMED,
        "OTHER": FailureKind.MALFORMED,
        "FINISH_REASON_UNSPECIFIED": FailureKind.MALFORMED,
    }
)


def _reasons(error: BaseException) -> Iterable[str]:
    """Yield the reasons and quotas in a google.rpc.Status, as specified by AIP-193."""
    body = getattr(error, "details", None)
    inner = body.get("error", body) if isinstance(body, Mapping) else {}
    details = inner.get("details") if isinstance(inner, Mapping) else None
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, Mapping):
            continue
        if isinstance(detail.get("reason"), str):
            yield detail["reason"]
        violations = detail.get("violations") or ()
        if any(_PER_DAY in str(violation.get("quotaId", "")) for violation in violations):
            yield _DAILY_QUOTA


ERRORS = ErrorTable(
    classes=MappingProxyType(
        {
            "google.genai.errors.APIError": None,
            "google.genai.errors.ClientError": None,
            "google.genai.errors.ServerError": None,
            "google.genai.errors.ContinuationInterruptedError": FailureKind.CONNECTION,
            "google.genai.errors.FunctionInvocationError": FailureKind.INVALID_OUTPUT,
            "google.genai.errors.UnknownApiResponseError": FailureKind.MALFORMED,
            "google.genai.errors.UnknownFunctionCallArgumentError": FailureKind.INVALID_OUTPUT,
            "google.genai.errors.UnsupportedFunctionError": FailureKind.BAD_REQUEST,
            "google.auth.exceptions.GoogleAuthError": FailureKind.AUTH,
            "google.auth.exceptions.TransportError": FailureKind.CONNECTION,
            "langchain_google_genai._common.GoogleGenerativeAIError": None,
        }
    ),
    # google.rpc.Code and google.api.ErrorReason; the other codes add nothing to their HTTP status.
    codes=MappingProxyType(
        {
            "API_KEY_INVALID": FailureKind.AUTH,
            "API_KEY_EXPIRED": FailureKind.AUTH,
            "BILLING_DISABLED": FailureKind.QUOTA,
            "DEADLINE_EXCEEDED": FailureKind.TIMEOUT,
            _DAILY_QUOTA: FailureKind.QUOTA,
        }
    ),
    readers=frozenset(
        {
            "google.genai._common._from_response",
            "langchain_google_genai.chat_models._parse_response_candidate",
            "langchain_google_genai.chat_models._response_to_result",
        }
    ),
    codes_of=_reasons,
)


# ai.google.dev/api/generate-content#GenerationConfig: five stop sequences.
VOCABULARY = Vocabulary(
    names=unrenamed(
        "stop", "temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed", "reasoning_effort",
        "response_format", max_tokens="max_output_tokens",
    ),
    own=frozenset(
        {"cached_content", "image_config", "include_thoughts", "labels", "response_json_schema", "response_mime_type",
         "response_modalities", "response_schema", "safety_settings", "thinking_budget", "thinking_config",
         "thinking_level", "tool_config"}
    ),
    stops=5,
)  # fmt: skip


class GoogleBackend(Backend):
    """Builds `ChatGoogleGenerativeAI` for the Gemini API; the endpoint's options are its keyword arguments.

    Headers are not passed on: Google reports no rate limits in them (ai.google.dev/gemini-api/docs/rate-limits), only
    the time to wait, in the body of an error. Its headroom is therefore set by the models' `rpm` and `tpm`.
    """

    finishes: ClassVar[Mapping[str, FailureKind | None]] = FINISHES

    output_limit: ClassVar[str | None] = "max_output_tokens"
    # ai.google.dev/api/generate-content, in the spellings of the API, its SDK and LangChain.
    meter: ClassVar[Meter] = Meter(
        limits=frozenset({"max_output_tokens", "max_tokens", "maxOutputTokens"}),
        answers=frozenset({"n", "candidate_count", "candidateCount"}),
        tiers=frozenset({"service_tier", "serviceTier"}),
        inside=frozenset(
            {"extra_body", "generation_config", "generationConfig", "http_options", "model_kwargs"}
        ),
        kept=frozenset({"cached_content", "cachedContent", "tools"}),
        thinking=frozenset({"thinking_budget"}),
    )  # fmt: skip
    vocabulary: ClassVar[Vocabulary | None] = VOCABULARY
    profiles: ClassVar[str] = "langchain_google_genai"

    def missing(self, model: str, wanted: Wanted) -> Mapping[str, str]:
        """Return the effort option for models that take a token budget instead."""
        if self.profile(model).get("reasoning_effort_levels") is None:
            return {"reasoning_effort": "left out: this model has no levels of effort"}
        return {}

    def bind(self, client: BaseChatModel, tools: Sequence[Mapping[str, Any]], said: Said) -> dict[str, Any]:
        """Bind tools by their full schemas; LangChain's own conversion loses unions, tuples and recursion."""
        from google.genai.types import FunctionDeclaration, Tool

        declared = [
            FunctionDeclaration(
                name=function["name"],
                description=function.get("description") or None,
                parameters_json_schema=for_gemini(function.get("parameters") or {"type": "object"}),
            )
            for function in (tool["function"] for tool in tools)
        ]
        choice = {} if said.choice is None else {"tool_choice": self.choice(said.choice)}
        return {"tools": [Tool(function_declarations=declared)], **choice}

    def choice(self, choice: Choice) -> Any:
        """Return a tool choice in a form where no tool's name can be mistaken for a mode."""
        return [choice.name] if choice.mode == "tool" else choice.mode

    def chat_model(self, endpoint: Endpoint) -> BaseChatModel:
        """Build a client that sends one request per call.

        Raises:
            ConfigError: There is no key.
        """
        from langchain_google_genai import ChatGoogleGenerativeAI

        # LangChain warns about every schema with closed objects, which Google does not need, and about every empty
        # answer, which is detected from the reply.
        for name in ("_function_utils", "chat_models"):
            logging.getLogger(f"langchain_google_genai.{name}").setLevel(logging.ERROR)
        settings = {
            **settings_of(endpoint),
            "base_url": base_of(endpoint.base_url or _URL, f"/{_VERSION}/models", f"/{_VERSION}", "/v1alpha", "/v1"),
            "api_version": _VERSION,
            "api_key": required_key(endpoint, "google"),
            "vertexai": False,
            **endpoint.options,
            "client_args": {
                **NO_REDIRECTS,
                "trust_env": not is_here(endpoint.base_url),
                **(endpoint.options.get("client_args") or {}),
            },
        }
        return built(ChatGoogleGenerativeAI, settings)

    def failure(self, error: BaseException) -> BackendError | None:
        """Translate an error of the client, using `ERRORS`."""
        return translate(error, ERRORS)

    def same_model(self, asked: str, answered: str) -> bool:
        """Return whether both names mean the same model; a preview counts as it, since Google's names mean either."""
        return same_name(asked, answered, previews=True)


def built(made: type, settings: dict[str, Any]) -> BaseChatModel:
    """Build a client that reads Google's usage, limits reply sizes, and records when it starts to send a request."""
    model: Any = counting(CountingGemini, made)(**settings)
    bound_sessions(model)
    tell_from(model, model.client._api_client, "async_request", "async_request_streamed")
    chat: BaseChatModel = model
    return chat


def settings_of(endpoint: Endpoint) -> dict[str, Any]:
    """Return the arguments shared by the Gemini API and Vertex AI."""
    # Google counts attempts, not retries, and treats 0 as its own default.
    return {"model": endpoint.model, "timeout": endpoint.timeout, "max_retries": 1}
