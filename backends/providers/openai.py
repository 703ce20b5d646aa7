"""OpenAI's models over langchain-openai."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from ...configs.words import FailureKind
from ..base import Backend, BackendError, Endpoint
from ..errors.translate import ErrorTable, translate
from ..http.clients import counting, hang_up_with, http_client, required_key
from ..http.hosts import base_of, unused_client
from ..http.meter import CHAT, Meter
from ..names import is_deployment
from ..options import Choice, Vocabulary, Wanted, unrenamed
from ..replies.bounds import bound_client
from ..replies.completions import REFUSED
from ..replies.read import read_reply
from ..replies.reply import Reply
from ..replies.shapes import TidyCompletions
from ..usage.chat import CountingChat, carry_usage

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_openai.chat_models.base import BaseChatOpenAI
    from pydantic import SecretStr

__all__ = ["ERRORS", "FINISHES", "OpenAIBackend", "build"]

_URL = "https://api.openai.com/v1"
_ENDS = ("/chat/completions", "/completions", "/responses", "/models")

# platform.openai.com/docs/api-reference: `finish_reason` of Chat Completions; `status` and the reason for an incomplete
# reply of Responses; then the reasons of other servers, in lower case.
FINISHES: Mapping[str, FailureKind | None] = MappingProxyType(
    {
        "stop": None,
        "tool_calls": None,
        "function_call": None,
        "completed": None,
        "length": FailureKind.TRUNCATED,
        "max_output_tokens": FailureKind.TRUNCATED,
        "content_filter": FailureKind.CONTENT_FILTER,
        REFUSED: FailureKind.REFUSAL,
        **dict.fromkeys(("end", "end_turn", "eos", "eos_token", "stop_sequence", "tool_call", "tool_use")),
        **dict.fromkeys(("max_length", "max_tokens", "model_length", "token_limit"), FailureKind.TRUNCATED),
        **dict.fromkeys(
            ("blocklist", "content_filtered", "moderation", "prohibited_content", "recitation", "safety", "sensitive"),
            FailureKind.CONTENT_FILTER,
        ),
        **dict.fromkeys(
            ("abort", "aborted", "cancelled", "error", "failed", "in_progress", "incomplete", "queued"),
            FailureKind.MALFORMED,
        ),
        **dict.fromkeys(("insufficient_system_resource", "network_error"), FailureKind.OVERLOADED),
    }
)

_ANY_SERVER = frozenset({"extra_body", "extra_headers", "extra_query", "logit_bias", "metadata", "modalities"})

# platform.openai.com/docs/api-reference/chat/create: four stop sequences.
VOCABULARY = Vocabulary(
    names=unrenamed(
        "max_tokens", "stop", "temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "user",
        "reasoning_effort", "response_format", "service_tier", "logprobs", "top_logprobs",
    ),
    own=_ANY_SERVER
    | {"audio", "context_management", "include", "prediction", "previous_response_id", "prompt_cache_key",
       "prompt_cache_retention", "reasoning", "safety_identifier", "store", "text", "truncation", "verbosity",
       "web_search_options"},
    stops=4,
    strict=True,
    parallel=True,
)  # fmt: skip
# platform.openai.com/docs/guides/reasoning: options that reasoning models reject, the second list only while reasoning.
_NEVER_REASONING = ("stop", "presence_penalty", "frequency_penalty", "logit_bias")
_NOT_WHILE_REASONING = ("temperature", "top_p", "logprobs", "top_logprobs")
# platform.openai.com/docs/api-reference/responses/create; langchain-openai sends some models' requests there.
_NOT_IN_RESPONSES = ("stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "modalities",
                     "audio", "prediction", "web_search_options")  # fmt: skip
_RESPONSES_ONLY = re.compile(r"codex|^(?:o\d|gpt-[\d.]+)-pro\b")
_ASKS_RESPONSES = frozenset(
    {"context_management", "include", "previous_response_id", "reasoning", "text", "truncation"}
)

_BY_STATUS = (
    "APIStatusError", "AuthenticationError", "BadRequestError", "ConflictError", "InternalServerError",
    "NotFoundError", "OAuthError", "PermissionDeniedError", "RateLimitError", "UnprocessableEntityError",
)  # fmt: skip
_BY_NAME = {
    "APIConnectionError": FailureKind.CONNECTION,
    "APIError": None,
    "APIResponseValidationError": FailureKind.MALFORMED,
    "APITimeoutError": FailureKind.TIMEOUT,
    "ContentFilterFinishReasonError": FailureKind.CONTENT_FILTER,
    "InvalidWebhookSignatureError": FailureKind.MALFORMED,
    "LengthFinishReasonError": FailureKind.TRUNCATED,
    "OpenAIError": FailureKind.MALFORMED,
    "WebSocketConnectionClosedError": FailureKind.CONNECTION,
    "WebSocketQueueFullError": FailureKind.OVERLOADED,
}

ERRORS = ErrorTable(
    classes=MappingProxyType(
        {
            **{f"openai.{name}": None for name in _BY_STATUS},
            **{f"openai.{name}": kind for name, kind in _BY_NAME.items()},
            "openai._exceptions.SubjectTokenProviderError": FailureKind.AUTH,
            "langchain_openai.chat_models.base.OpenAIRefusalError": FailureKind.REFUSAL,
        }
    ),
    # platform.openai.com/docs/guides/error-codes, and the codes of other servers that use its format
    codes=MappingProxyType(
        {
            "Arrearage": FailureKind.QUOTA,
            "DataInspectionFailed": FailureKind.CONTENT_FILTER,
            "access_terminated": FailureKind.AUTH,
            "account_deactivated": FailureKind.AUTH,
            "billing_hard_limit_reached": FailureKind.QUOTA,
            "billing_not_active": FailureKind.QUOTA,
            "content_filter": FailureKind.CONTENT_FILTER,
            "content_policy_violation": FailureKind.CONTENT_FILTER,
            "context_length_exceeded": FailureKind.CONTEXT_LENGTH,
            "data_inspection_failed": FailureKind.CONTENT_FILTER,
            "exceed_context_size_error": FailureKind.CONTEXT_LENGTH,
            "exceeded_current_quota_error": FailureKind.QUOTA,
            "insufficient_quota": FailureKind.QUOTA,
            "invalid_api_key": FailureKind.AUTH,
            "invalid_prompt": FailureKind.CONTENT_FILTER,
            "json_validate_failed": FailureKind.INVALID_OUTPUT,
            "model_decommissioned": FailureKind.UNAVAILABLE,
            "model_max_prompt_tokens_exceeded": FailureKind.CONTEXT_LENGTH,
            "model_not_found": FailureKind.UNAVAILABLE,
            "organization_restricted": FailureKind.AUTH,
            "output_parse_failed": FailureKind.INVALID_OUTPUT,
            "rate_limit_exceeded": FailureKind.RATE_LIMIT,
            "server_error": FailureKind.OVERLOADED,
            "string_above_max_length": FailureKind.CONTEXT_LENGTH,
            "tool_use_failed": FailureKind.INVALID_OUTPUT,
            "unsupported_country_region_territory": FailureKind.UNAVAILABLE,
        }
    ),
    readers=frozenset(
        {
            "langchain_openai.chat_models.base._construct_lc_result_from_responses_api",
            "langchain_openai.chat_models.base._convert_chunk_to_generation_chunk",
            "langchain_openai.chat_models.base._convert_responses_chunk_to_generation_chunk",
            "langchain_openai.chat_models.base._create_chat_result",
        }
    ),
)


class OpenAIBackend(Backend):
    """Builds `ChatOpenAI`; the endpoint's options are its keyword arguments.

    It uses Chat Completions unless the options ask for Responses or the model is available only there.
    """

    finishes: ClassVar[Mapping[str, FailureKind | None]] = FINISHES
    # developers.openai.com/api/docs/guides/priority-processing: a project may enable it for every call by default.
    meter: ClassVar[Meter] = replace(CHAT, unasked=frozenset({"priority"}))
    vocabulary: ClassVar[Vocabulary | None] = VOCABULARY
    profiles: ClassVar[str] = "langchain_openai"

    def missing(self, model: str, wanted: Wanted) -> Mapping[str, str]:
        """Return the options that reasoning models, or the API used for the request, do not accept."""
        missing: dict[str, str] = {}
        asked = {**wanted.settings, **wanted.options}
        profile = self.profile(model)
        if profile.get("reasoning_output"):
            missing |= dict.fromkeys(_NEVER_REASONING, "left out: a model that reasons takes none")
        elif profile:
            missing["reasoning_effort"] = "left out: this model does not reason"
        sampled = profile.get("temperature", True) and asked.get("reasoning_effort") == "none"
        if profile.get("reasoning_output") and not sampled:
            missing |= dict.fromkeys(_NOT_WHILE_REASONING, "left out: it takes none while it reasons")
        if _speaks_responses(model, asked):
            missing |= dict.fromkeys(_NOT_IN_RESPONSES, "left out: the Responses API has no such option")
        return missing

    def choice(self, choice: Choice) -> Any:
        """Return a tool choice; a named tool is an object, so that its name cannot be mistaken for a mode."""
        if choice.mode == "tool":
            return {"type": "function", "function": {"name": choice.name}}
        return "required" if choice.mode == "any" else choice.mode

    # developers.openai.com/api/docs/models
    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({"gpt-4-turbo-preview": ("gpt-4-*-preview",)})

    def chat_model(self, endpoint: Endpoint) -> BaseChatModel:
        """Build a client that sends one request per call.

        Raises:
            ConfigError: There is no key.
        """
        from langchain_openai import ChatOpenAI

        url = base_of(endpoint.base_url or _URL, *_ENDS)
        # The vendor's URLs include a version, so add it if it was left out.
        url = url if urlsplit(url).path else f"{url}/v1"
        return build(ChatOpenAI, endpoint, url, required_key(endpoint, "openai"))

    def failure(self, error: BaseException) -> BackendError | None:
        """Translate an error of the client, using `ERRORS`."""
        return translate(error, ERRORS)

    def read(self, message: AIMessage) -> Reply:
        """Read a reply; servers of this format use their own finish reasons, so any is a normal end of an answer."""
        return read_reply(message, self.finishes, any_end=True)

    def same_model(self, asked: str, answered: str) -> bool:
        """Return whether both names mean the same model; the name of a deployment or an alias matches any model."""
        return super().same_model(asked, answered) or (bool(answered) and is_deployment(asked))


def _speaks_responses(model: str, asked: Mapping[str, Any]) -> bool:
    chosen = asked.get("use_responses_api")
    if isinstance(chosen, bool):
        return chosen
    return bool(_RESPONSES_ONLY.search(model)) or not _ASKS_RESPONSES.isdisjoint(asked)


def build(made: type[BaseChatOpenAI], endpoint: Endpoint, url: str, key: SecretStr, **defaults: Any) -> BaseChatModel:
    """Build a client for OpenAI's format.

    Args:
        made: The class to build.
        endpoint: Model, timeout and options.
        url: Base URL; always passed, since the class would otherwise read one from the environment.
        key: The key; always passed, for the same reason.
        defaults: Further arguments, which the endpoint's options override.
    """
    from openai import DefaultAioHttpClient

    settings: dict[str, Any] = {
        "model": endpoint.model,
        "base_url": base_of(url, *_ENDS),
        "api_key": key,
        "timeout": endpoint.timeout,
        # The reader of the stream limits its pauses; a second timer would cost as much as reading a chunk.
        "stream_chunk_timeout": None,
        "max_retries": 0,
        "stream_usage": True,
        "openai_proxy": None,
        # If this is not set, LangChain writes to the terminal whenever the environment has a proxy.
        "http_socket_options": (),
        **defaults,
        **endpoint.options,
    }
    own = settings["openai_proxy"] is None and "http_async_client" not in settings
    if own:
        # LangChain's own async client shares its connections between event loops; they break when the first ends.
        settings["http_async_client"] = http_client(DefaultAioHttpClient, endpoint)
        settings.setdefault("http_client", unused_client())
    model = counting(CountingChat, made)(**settings)
    if own:
        hang_up_with(model, settings["http_async_client"])
    model.async_client = TidyCompletions(model.root_async_client)
    bound_client(model.root_async_client)
    for client in (model.root_client, model.root_async_client):
        # The SDK would take both from the environment and send them to whichever host the URL names.
        client.organization = endpoint.options.get("organization", endpoint.options.get("openai_organization"))
        client.project = None
    carry_usage(model.root_async_client)
    built: BaseChatModel = model
    return built
