"""OpenAI's models over langchain-openai."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ..configs.words import FailureKind
from .base import Backend, BackendError, Endpoint
from .clients import counting, hang_up_with, http_client, required_key
from .completions import REFUSED, Completions
from .failures import ErrorTable, translate
from .meter import CHAT, Meter
from .profiles import profile
from .usage.chat import CountingChat, CountingResponses
from .usage.wire import keep_exact

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_openai.chat_models.base import BaseChatOpenAI
    from pydantic import SecretStr

__all__ = ["ERRORS", "FINISHES", "OpenAIBackend", "build"]

_URL = "https://api.openai.com/v1"

# platform.openai.com/docs/api-reference: `finish_reason` of Chat Completions; `status` and the reason why it is
# incomplete of Responses.
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
    }
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
    # platform.openai.com/docs/guides/error-codes
    codes=MappingProxyType(
        {
            "access_terminated": FailureKind.AUTH,
            "account_deactivated": FailureKind.AUTH,
            "billing_hard_limit_reached": FailureKind.QUOTA,
            "billing_not_active": FailureKind.QUOTA,
            "content_filter": FailureKind.CONTENT_FILTER,
            "content_policy_violation": FailureKind.CONTENT_FILTER,
            "context_length_exceeded": FailureKind.CONTEXT_LENGTH,
            "insufficient_quota": FailureKind.QUOTA,
            "invalid_api_key": FailureKind.AUTH,
            "model_not_found": FailureKind.UNAVAILABLE,
            "rate_limit_exceeded": FailureKind.RATE_LIMIT,
            "server_error": FailureKind.OVERLOADED,
            "string_above_max_length": FailureKind.CONTEXT_LENGTH,
        }
    ),
    # What OpenAI and the servers that speak its format say without a code.
    phrases=MappingProxyType(
        {
            "exceeds the context window": FailureKind.CONTEXT_LENGTH,
            "maximum context length": FailureKind.CONTEXT_LENGTH,
            "exceeds the available context size": FailureKind.CONTEXT_LENGTH,
            "content management policy": FailureKind.CONTENT_FILTER,
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

    Chat Completions is spoken unless the options, or a model that exists nowhere else, ask for Responses.
    """

    finishes: ClassVar[Mapping[str, FailureKind | None]] = FINISHES
    # developers.openai.com/api/docs/guides/priority-processing: a project may have it for every call by default.
    meter: ClassVar[Meter] = replace(CHAT, unasked=frozenset({"priority"}))

    def chat_model(self, endpoint: Endpoint) -> BaseChatModel:
        """Build a client that sends one request a call.

        Raises:
            ConfigError: There is no key.
        """
        from langchain_openai import ChatOpenAI

        return build(ChatOpenAI, endpoint, endpoint.base_url or _URL, required_key(endpoint, "openai"))

    def failure(self, error: BaseException) -> BackendError | None:
        """Translate an error of the client by `ERRORS`."""
        return translate(error, ERRORS)

    def profile(self, model: str) -> Mapping[str, Any]:
        """Look the model up among langchain-openai's profiles."""
        return profile("langchain_openai", model)


def build(made: type[BaseChatOpenAI], endpoint: Endpoint, url: str, key: SecretStr, **defaults: Any) -> BaseChatModel:
    """Build a client of OpenAI's format.

    Args:
        made: The class to build.
        endpoint: Model, time-out and options.
        url: Base URL, given always, since the class would take one from the environment.
        key: The key, given always for the same reason.
        defaults: Further arguments, which the endpoint's options override.
    """
    from openai import DefaultAioHttpClient

    settings: dict[str, Any] = {
        "model": endpoint.model,
        "base_url": url,
        "api_key": key,
        "timeout": endpoint.timeout,
        # Whoever reads the stream bounds its silences; a second timer would cost as much as reading a chunk.
        "stream_chunk_timeout": None,
        "max_retries": 0,
        "stream_usage": True,
        "openai_proxy": None,
        **defaults,
        **endpoint.options,
    }
    own = settings["openai_proxy"] is None and "http_async_client" not in settings
    if own:
        # LangChain's own async client shares its connections between event loops, and they die with the first.
        settings["http_async_client"] = http_client(DefaultAioHttpClient, endpoint)
    model = counting(CountingChat, made)(**settings)
    if own:
        hang_up_with(model, settings["http_async_client"])
        model.async_client = Completions(model.root_async_client)
    for client in (model.root_client, model.root_async_client):
        # Both would come from the environment, and go to whoever the URL belongs to.
        client.organization = endpoint.options.get("organization", endpoint.options.get("openai_organization"))
        client.project = None
    keep_exact(model.root_async_client)
    model.root_async_client.__dict__["responses"] = CountingResponses(model.root_async_client)
    built: BaseChatModel = model
    return built
