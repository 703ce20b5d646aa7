"""Anthropic's models over langchain-anthropic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ...configs.words import FailureKind
from ..base import Backend, BackendError, Endpoint
from ..errors.translate import ErrorTable, translate
from ..http.clients import counting, hang_up_with, http_client, required_key
from ..http.hosts import base_of
from ..http.meter import Meter
from ..options import SAMPLING, Choice, Said, Vocabulary, Wanted, unforced, unrenamed
from ..replies.bounds import bound_client
from ..usage.messages import CountingMessages, keep_exact

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
        # The turn is not over: a server tool needs another request, which we do not send.
        "pause_turn": FailureKind.MALFORMED,
        "compaction": FailureKind.MALFORMED,
    }
)

# platform.claude.com/docs/en/api/messages; ``user`` goes into ``metadata``; LangChain combines ``parallel_tool_calls``
# and ``tool_choice`` into one object.
VOCABULARY = Vocabulary(
    names=unrenamed(
        "max_tokens", "stop", "temperature", "top_p", "top_k", "user", "reasoning_effort", "response_format",
        "service_tier",
    ),
    own=frozenset(
        {"betas", "cache_control", "container", "context_management", "extra_headers", "inference_geo", "mcp_servers",
         "metadata", "output_config", "thinking"}
    ),
    # No limit is documented.
    stops=8191,
    blank_stops=False,
    hottest=1.0,
    json_object=False,
    strict=True,
    parallel=True,
)  # fmt: skip

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
    # platform.claude.com/docs/en/api/errors; an error within a stream has status 200, so its type must decide.
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
    # platform.claude.com/docs/en/build-with-claude/prompt-caching: cached for five minutes from the last use.
    prompt_cache: ClassVar[Mapping[str, Any]] = MappingProxyType({"cache_control": {"type": "ephemeral"}})
    # platform.claude.com/docs/en/api/messages; tools that run at the vendor read content that is in no request.
    meter: ClassVar[Meter] = Meter(
        limits=frozenset({"max_tokens", "max_tokens_to_sample"}),
        tiers=frozenset({"service_tier", "speed"}),
        inside=frozenset({"extra_body", "model_kwargs"}),
        kept=frozenset({"container", "mcp_servers", "tools"}),
        thinking=frozenset({"thinking"}),
    )

    vocabulary: ClassVar[Vocabulary | None] = VOCABULARY
    profiles: ClassVar[str] = "langchain_anthropic"

    def missing(self, model: str, wanted: Wanted) -> Mapping[str, str]:
        """Return the options that exclude each other, and those that the newest models no longer accept."""
        profile, options, missing = self.profile(model), wanted.options, {}
        asked = {name for name, value in {**wanted.settings, **options}.items() if value is not None}
        if profile and not profile.get("reasoning_effort_levels"):
            missing["reasoning_effort"] = "left out: this model has no levels of effort"
        if profile.get("temperature") is False:
            missing |= dict.fromkeys(SAMPLING, "left out: this model takes no sampling parameters")
        elif _thinks(wanted):
            missing |= dict.fromkeys(SAMPLING, "left out: it takes none while it thinks")
        elif {"temperature", "top_p"} <= asked:
            # Options of the call take precedence over configured ones.
            less = "temperature" if "top_p" in options and "temperature" not in options else "top_p"
            missing[less] = "left out: it takes temperature or top_p, not both"
        return missing

    def said(self, model: str, wanted: Wanted) -> Said:
        """Translate a call's options, drop configured ones that conflict, and do not force tools while thinking.

        platform.claude.com/docs/en/build-with-claude/extended-thinking: with thinking, ``tool_choice`` may be ``auto``
        or ``none``, and ``budget_tokens`` must be less than ``max_tokens``.
        """
        said = super().said(model, wanted)
        missing = self.missing(model, wanted)
        if beside := {name: missing[name] for name in SAMPLING if name in missing and name in wanted.settings}:
            # The client omits options that are None.
            said = replace(said, options={**said.options, **dict.fromkeys(beside)}, notes={**said.notes, **beside})
        if "user" in said.options:
            rest = {name: value for name, value in said.options.items() if name != "user"}
            user = {"user_id": said.options["user"]}
            said = replace(said, options={**rest, "metadata": {**rest.get("metadata", {}), **user}})
        thinking = _thinks(wanted)
        never_forced = self.profile(model).get("tool_choice") is False
        if said.choice is not None and said.choice.forced and (thinking or never_forced):
            said = unforced(said, wanted)
        budget = thinking.get("budget_tokens") or 0
        if wanted.max_output is not None and budget >= wanted.max_output:
            said = replace(said, unfit=f"max_tokens {wanted.max_output} leave no room beside its {budget} for thinking")
        return said

    def choice(self, choice: Choice) -> Any:
        """Return a tool choice as an object, so that no tool's name can be mistaken for a mode."""
        return {"type": "tool", "name": choice.name} if choice.mode == "tool" else {"type": choice.mode}

    def chat_model(self, endpoint: Endpoint) -> BaseChatModel:
        """Build a client that sends one request per call.

        Raises:
            ConfigError: There is no key.
        """
        from anthropic import AsyncAnthropic, DefaultAioHttpClient
        from langchain_anthropic import ChatAnthropic

        # The client would read omitted settings from the environment.
        settings: dict[str, Any] = {
            "model": endpoint.model,
            "base_url": base_of(endpoint.base_url or _URL, "/v1/messages", "/v1"),
            "api_key": required_key(endpoint, "anthropic"),
            "timeout": endpoint.timeout,
            "max_retries": 0,
            "stream_usage": True,
            "anthropic_proxy": None,
        }
        model = counting(CountingMessages, ChatAnthropic)(**{**settings, **endpoint.options})
        if model.anthropic_proxy is None:
            # LangChain's own async client shares its connections between event loops; they break when the first ends.
            client = http_client(DefaultAioHttpClient, endpoint)
            model.__dict__["_async_client"] = AsyncAnthropic(**{**model._client_params, "http_client": client})
            keep_exact(model._async_client)
            hang_up_with(model, client)
        bound_client(model._async_client)
        built: BaseChatModel = model
        return built

    def failure(self, error: BaseException) -> BackendError | None:
        """Translate an error of the client, using `ERRORS`."""
        return translate(error, ERRORS)


def _thinks(wanted: Wanted) -> Mapping[str, Any]:
    """Return the thinking settings; empty if the model is not told to think."""
    thinking = wanted.options.get("thinking") or wanted.settings.get("thinking") or {}
    return thinking if thinking.get("type") in ("adaptive", "enabled") else {}
