"""Anthropic's models over langchain-anthropic."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ..configs.words import FailureKind
from .base import Backend, BackendError, Endpoint
from .clients import counting, hang_up_with, http_client, required_key
from .failures import ErrorTable, translate
from .meter import Meter
from .profiles import profile
from .usage.messages import CountingMessages
from .usage.wire import keep_exact

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["ERRORS", "FINISHES", "AnthropicBackend"]

_URL = "https://api.anthropic.com"

# platform.claude.com/docs/en/api/handling-stop-reasons
FINISHES: Mapping[str, FailureKind | None] = MappingProxyType(
    {
        "end_turn": None,
        "stop_sequence": None,
        "tool_use": None,
        "max_tokens": FailureKind.TRUNCATED,
        "model_context_window_exceeded": FailureKind.TRUNCATED,
        "refusal": FailureKind.REFUSAL,
        # The turn is not over: a server's tool wants another request, which is not sent.
        "pause_turn": FailureKind.MALFORMED,
        "compaction": FailureKind.MALFORMED,
    }
)

_BY_STATUS = (
    "APIStatusError", "AuthenticationError", "BadRequestError", "ClientClosedRequestError", "ConflictError",
    "ContentTooLargeError", "GatewayTimeoutError", "HTTPNotImplementedError", "InternalServerError", "NotFoundError",
    "OverloadedError", "PaymentRequiredError", "PermissionDeniedError", "PreconditionFailedError", "RateLimitError",
    "RequestBodyTooLargeAfterDecodingError", "RequestHeaderFieldsTooLargeError", "RequestTimeoutError",
    "ServiceUnavailableError", "UnprocessableEntityError",
)  # fmt: skip
_BY_NAME = {
    "APIConnectionError": FailureKind.CONNECTION,
    "APIError": FailureKind.OVERLOADED,
    "APIResponseValidationError": FailureKind.MALFORMED,
    "APITimeoutError": FailureKind.TIMEOUT,
    "APIWebhookValidationError": FailureKind.MALFORMED,
    "AnthropicError": FailureKind.MALFORMED,
    "CMEKContextUnavailableError": FailureKind.UNAVAILABLE,
    "CMEKKeyDisabledError": FailureKind.UNAVAILABLE,
    "CMEKKeyNetworkBlockedError": FailureKind.UNAVAILABLE,
    "CMEKKeyUnreachableError": FailureKind.UNAVAILABLE,
    "ClaudeCodeKeyCreatorNotMemberError": FailureKind.AUTH,
    "ClaudeCodeVersionTooOldError": FailureKind.AUTH,
    "ContractSpendLimitReachedError": FailureKind.QUOTA,
    "CredentialsError": FailureKind.AUTH,
    "EnforcedSpendLimitReachedError": FailureKind.QUOTA,
    "IdentityTokenFileError": FailureKind.AUTH,
    "LinkedOrganizationBillingUnavailableError": FailureKind.QUOTA,
    "LinkedOrganizationSpendLimitReachedError": FailureKind.QUOTA,
    "OrganizationOnHoldError": FailureKind.AUTH,
    "OrganizationTypeNotSupportedError": FailureKind.UNAVAILABLE,
    "ParentOrganizationRequiredError": FailureKind.UNAVAILABLE,
    "RampLimitExceededError": FailureKind.RATE_LIMIT,
    "RequestBodyEncodingInvalidError": FailureKind.BAD_REQUEST,
    "RequestBodyEncodingUnsupportedError": FailureKind.BAD_REQUEST,
    "RetryableError": FailureKind.OVERLOADED,
    "SandboxEgressRestrictedError": FailureKind.UNAVAILABLE,
    "WorkspaceHumanReviewDisabledError": FailureKind.UNAVAILABLE,
}

ERRORS = ErrorTable(
    classes=MappingProxyType(
        {
            **{f"anthropic.{name}": None for name in _BY_STATUS},
            **{f"anthropic.{name}": kind for name, kind in _BY_NAME.items()},
            "anthropic.lib.credentials._workload.WorkloadIdentityError": FailureKind.AUTH,
        }
    ),
    # platform.claude.com/docs/en/api/errors; an error told in a stream has status 200, so its type must do.
    codes=MappingProxyType(
        {
            "authentication_error": FailureKind.AUTH,
            "billing_error": FailureKind.QUOTA,
            "not_found_error": FailureKind.UNAVAILABLE,
            "overloaded_error": FailureKind.OVERLOADED,
            "permission_error": FailureKind.UNAVAILABLE,
            "request_too_large": FailureKind.CONTEXT_LENGTH,
            "timeout_error": FailureKind.TIMEOUT,
        }
    ),
    phrases=MappingProxyType(
        {
            "prompt is too long": FailureKind.CONTEXT_LENGTH,
            "exceed context limit": FailureKind.CONTEXT_LENGTH,
            "credit balance is too low": FailureKind.QUOTA,
            "blocked by content filtering": FailureKind.CONTENT_FILTER,
        }
    ),
    readers=frozenset(
        {
            "langchain_anthropic.chat_models._format_output",
            "langchain_anthropic.chat_models._make_message_chunk_from_anthropic_event",
        }
    ),
)


class AnthropicBackend(Backend):
    """Builds `ChatAnthropic`; the endpoint's options are its keyword arguments."""

    finishes: ClassVar[Mapping[str, FailureKind | None]] = FINISHES
    # platform.claude.com/docs/en/build-with-claude/prompt-caching: kept for five minutes from the last use.
    prompt_cache: ClassVar[Mapping[str, Any]] = MappingProxyType({"cache_control": {"type": "ephemeral"}})
    # platform.claude.com/docs/en/api/messages; tools that run at the vendor read what is in no request.
    meter: ClassVar[Meter] = Meter(
        limits=frozenset({"max_tokens", "max_tokens_to_sample"}),
        tiers=frozenset({"service_tier", "speed"}),
        inside=frozenset({"extra_body", "model_kwargs"}),
        kept=frozenset({"container", "mcp_servers", "tools"}),
    )

    def chat_model(self, endpoint: Endpoint) -> BaseChatModel:
        """Build a client that sends one request a call.

        Raises:
            ConfigError: There is no key.
        """
        from anthropic import AsyncAnthropic, DefaultAioHttpClient
        from langchain_anthropic import ChatAnthropic

        # What is left out would be looked for in the environment.
        settings: dict[str, Any] = {
            "model": endpoint.model,
            "base_url": endpoint.base_url or _URL,
            "api_key": required_key(endpoint, "anthropic"),
            "timeout": endpoint.timeout,
            "max_retries": 0,
            "stream_usage": True,
            "anthropic_proxy": None,
        }
        model = counting(CountingMessages, ChatAnthropic)(**{**settings, **endpoint.options})
        if model.anthropic_proxy is None:
            # LangChain's own async client shares its connections between event loops, and they die with the first.
            client = http_client(DefaultAioHttpClient, endpoint)
            model.__dict__["_async_client"] = AsyncAnthropic(**{**model._client_params, "http_client": client})
            keep_exact(model._async_client)
            hang_up_with(model, client)
        built: BaseChatModel = model
        return built

    def failure(self, error: BaseException) -> BackendError | None:
        """Translate an error of the client by `ERRORS`."""
        return translate(error, ERRORS)

    def profile(self, model: str) -> Mapping[str, Any]:
        """Look the model up among langchain-anthropic's profiles."""
        return profile("langchain_anthropic", model)
