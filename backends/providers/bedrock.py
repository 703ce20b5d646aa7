"""Models on Amazon Bedrock over langchain-aws, an optional extra."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ...configs.words import FailureKind
from ..base import Backend, BackendError, Endpoint
from ..errors.translate import ErrorTable, translate
from ..http.clients import missing_extra
from ..http.meter import Meter
from ..options import SAMPLING, Choice, Vocabulary, Wanted, unrenamed
from ..profiles import profile
from ..replies.reply import Reply

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage

__all__ = ["ERRORS", "FINISHES", "BedrockBackend"]

# docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html: `stopReason`.
FINISHES: Mapping[str, FailureKind | None] = MappingProxyType(
    {
        "end_turn": None,
        "stop_sequence": None,
        "tool_use": None,
        "max_tokens": FailureKind.TRUNCATED,
        "model_context_window_exceeded": FailureKind.TRUNCATED,
        "content_filtered": FailureKind.CONTENT_FILTER,
        "guardrail_intervened": FailureKind.CONTENT_FILTER,
        "refusal": FailureKind.REFUSAL,
        "malformed_model_output": FailureKind.MALFORMED,
        "malformed_tool_use": FailureKind.INVALID_OUTPUT,
    }
)

ERRORS = ErrorTable(
    classes=MappingProxyType(
        {
            "botocore.exceptions.BotoCoreError": FailureKind.CONNECTION,
            "botocore.exceptions.ClientError": None,
            "botocore.exceptions.ConnectTimeoutError": FailureKind.TIMEOUT,
            "botocore.exceptions.EventStreamError": None,
            "botocore.exceptions.NoCredentialsError": FailureKind.AUTH,
            "botocore.exceptions.PartialCredentialsError": FailureKind.AUTH,
            "botocore.exceptions.ParamValidationError": FailureKind.BAD_REQUEST,
            "botocore.exceptions.ReadTimeoutError": FailureKind.TIMEOUT,
            "botocore.exceptions.ResponseParserError": FailureKind.MALFORMED,
            "botocore.parsers.ResponseParserError": FailureKind.MALFORMED,
            "botocore.exceptions.TokenRetrievalError": FailureKind.AUTH,
        }
    ),
    # The errors of Converse and ConverseStream; in a stream their names begin with a lower-case letter.
    codes=MappingProxyType(
        {
            "AccessDeniedException": FailureKind.UNAVAILABLE,
            "ExpiredTokenException": FailureKind.AUTH,
            "InternalServerException": FailureKind.OVERLOADED,
            "internalServerException": FailureKind.OVERLOADED,
            "ModelErrorException": FailureKind.OVERLOADED,
            "ModelNotReadyException": FailureKind.OVERLOADED,
            "ModelStreamErrorException": FailureKind.OVERLOADED,
            "modelStreamErrorException": FailureKind.OVERLOADED,
            "ModelTimeoutException": FailureKind.TIMEOUT,
            "ResourceNotFoundException": FailureKind.UNAVAILABLE,
            "ServiceQuotaExceededException": FailureKind.QUOTA,
            "ServiceUnavailableException": FailureKind.OVERLOADED,
            "serviceUnavailableException": FailureKind.OVERLOADED,
            "ThrottlingException": FailureKind.RATE_LIMIT,
            "throttlingException": FailureKind.RATE_LIMIT,
            "UnrecognizedClientException": FailureKind.AUTH,
        }
    ),
    readers=frozenset(
        {
            "langchain_aws.chat_models.bedrock_converse._parse_response",
            "langchain_aws.chat_models.bedrock_converse._parse_stream_event",
        }
    ),
)

_GEOGRAPHY = re.compile(r"^(?:global|us|us-gov|eu|apac|au|jp|ca|sa)\.(?=[a-z0-9]+\.)")
_REVISION = re.compile(r"-v\d+(?::\d+)?$")


# docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InferenceConfiguration.html
VOCABULARY = Vocabulary(
    names=unrenamed("max_tokens", "stop", "temperature", "top_p"),
    own=frozenset({"additional_model_request_fields", "guardrail_config", "performance_config", "request_metadata"}),
    stops=2500,
    blank_stops=False,
    hottest=1.0,
    forbids=False,
)


class BedrockBackend(Backend):
    """Builds `ChatBedrockConverse`; the endpoint's options are its keyword arguments.

    The endpoint's key is a Bedrock API key; without one, the AWS SDK's default credential chain is used.
    """

    finishes: ClassVar[Mapping[str, FailureKind | None]] = FINISHES
    # docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html, as the client and the API spell it.
    meter: ClassVar[Meter] = Meter(
        limits=frozenset({"max_tokens", "maxTokens", "max_tokens_to_sample"}),
        answers=frozenset({"n"}),
        tiers=frozenset({"service_tier", "serviceTier", "speed"}),
        inside=frozenset({"additionalModelRequestFields", "additional_model_request_fields", "inferenceConfig"}),
    )
    vocabulary: ClassVar[Vocabulary | None] = VOCABULARY

    def missing(self, model: str, wanted: Wanted) -> Mapping[str, str]:
        """Return the sampling options that exclude each other or that the newest models no longer accept."""
        if self.profile(model).get("temperature") is False:
            return dict.fromkeys(SAMPLING, "left out: this model takes no sampling parameters")
        if "temperature" in wanted.options and "top_p" in wanted.options:
            return {"top_p": "left out: it takes temperature or top_p, not both"}
        return {}

    def choice(self, choice: Choice) -> Any:
        """Return a tool choice as an object, so that no tool's name can be mistaken for a mode."""
        return {"tool": {"name": choice.name}} if choice.mode == "tool" else {choice.mode: {}}

    def chat_model(self, endpoint: Endpoint) -> BaseChatModel:
        """Build a client that sends one request per call.

        Raises:
            ConfigError: The extra is not installed.
        """
        try:
            # An extra, so it may be absent when types are checked.
            from botocore.config import Config  # type: ignore[import-not-found, unused-ignore]
            from langchain_aws import ChatBedrockConverse  # type: ignore[import-not-found, unused-ignore]
        except ImportError as error:
            raise missing_extra("bedrock") from error

        settings: dict[str, Any] = {
            "model": endpoint.model,
            "region_name": endpoint.region,
            "api_key": endpoint.key,
            "config": Config(
                connect_timeout=endpoint.timeout,
                read_timeout=endpoint.timeout,
                # The first request counts as an attempt here.
                retries={"total_max_attempts": 1, "mode": "standard"},
            ),
        }
        if endpoint.base_url:
            settings["base_url"] = endpoint.base_url
        model: BaseChatModel = ChatBedrockConverse(**{**settings, **endpoint.options})
        return model

    def read(self, message: AIMessage) -> Reply:
        """Read a reply without its model: Bedrock does not report it, and LangChain fills in the requested one."""
        return replace(super().read(message), model=None)

    def failure(self, error: BaseException) -> BackendError | None:
        """Translate an error of the client, using `ERRORS`."""
        return translate(error, ERRORS)

    def profile(self, model: str) -> Mapping[str, Any]:
        """Look up the model in langchain-aws's profiles, otherwise in those of its maker."""
        name = _GEOGRAPHY.sub("", model)
        found = profile("langchain_aws", model) or profile("langchain_aws", name)
        maker, _, rest = name.partition(".")
        if not found and maker == "anthropic":
            found = profile("langchain_anthropic", _REVISION.sub("", rest))
        return found
