"""The backends of servers that answer typed questions with probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from ...configs.errors import ConfigError
from ...configs.words import FailureKind
from ..base import Backend, BackendError, Endpoint
from ..errors.translate import translate
from ..http.clients import hang_up_with, http_client, required_key
from ..http.hosts import base_of
from ..options import Vocabulary
from ..providers.openai import ERRORS
from ..replies.bounds import bound_client
from ..usage.counting import believed

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from pydantic import SecretStr

    from ..replies.reply import Reply
    from .wires import Wire

__all__ = ["DecisionsBackend", "SystemOneBackend"]

_OPENAI = "https://api.openai.com/v1"
_NO_KEY = "no-key-needed"


class DecisionsBackend(Backend):
    """OpenAI's Decisions API, for providers that speak it."""

    finishes: ClassVar[Mapping[str, FailureKind | None]] = MappingProxyType(
        {"tool_calls": None, "declined": FailureKind.DECLINED}
    )
    output_limit: ClassVar[str | None] = None
    gives_probabilities: ClassVar[bool] = True
    # These formats have no fields for other call options; the model already knows the examples.
    vocabulary: ClassVar[Vocabulary | None] = Vocabulary(own=frozenset({"probabilities"}), strict=True)

    def chat_model(self, endpoint: Endpoint) -> BaseChatModel:
        """Build a client that sends one request per call.

        Raises:
            ConfigError: There is no key.
        """
        from .wires import DecisionsWire

        return _built(
            endpoint, endpoint.base_url or _OPENAI, required_key(endpoint, "openai_decisions"), DecisionsWire()
        )

    def failure(self, error: BaseException) -> BackendError | None:
        """Translate an error of the SDK's client."""
        return translate(error, ERRORS)

    def read(self, message: AIMessage) -> Reply:
        """Read a reply; no text is generated, so a usage without output tokens is accepted."""
        usage, doubt = believed(message)
        return replace(super().read(message), usage=usage, doubt=doubt)


class SystemOneBackend(DecisionsBackend):
    """Servers that implement System One, local or hosted."""

    def chat_model(self, endpoint: Endpoint) -> BaseChatModel:
        """Build a client that sends one request per call, with a placeholder key if none is configured.

        Raises:
            ConfigError: There is no base URL.
        """
        from pydantic import SecretStr

        from .wires import SystemOneWire

        if not endpoint.base_url:
            raise ConfigError(f"{endpoint.model}: a provider of backend 'systemone' needs a `base_url:`")
        return _built(endpoint, endpoint.base_url, endpoint.key or SecretStr(_NO_KEY), SystemOneWire())


def _built(endpoint: Endpoint, url: str, key: SecretStr, wire: Wire) -> BaseChatModel:
    from openai import AsyncOpenAI, DefaultAioHttpClient

    from .model import DecisionsChatModel

    if endpoint.options:
        raise ConfigError(f"{endpoint.model}: a decision model has no options, so not {', '.join(endpoint.options)}")
    connections = http_client(DefaultAioHttpClient, endpoint)
    client = AsyncOpenAI(
        base_url=base_of(url, wire.path),
        api_key=key.get_secret_value(),
        timeout=endpoint.timeout,
        max_retries=0,
        http_client=connections,
    )
    # The SDK would take both from the environment and send them to whichever host the URL names.
    client.organization = client.project = None
    bound_client(client)
    model = DecisionsChatModel(model=endpoint.model, wire=wire, client=client)
    hang_up_with(model, connections)
    return model
