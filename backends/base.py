"""The port of a backend: build a chat model, translate its errors, say what its models can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ..configs.errors import PointsmanError
from ..configs.words import FailureKind
from .http.meter import Meter
from .names import same_name, stands_for
from .options import Choice, Said, Vocabulary, Wanted
from .profiles import profile
from .replies.read import read_reply
from .replies.reply import Reply
from .schemas import strict

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from pydantic import SecretStr

__all__ = ["REACH", "Backend", "BackendError", "Endpoint", "Reach"]

_EFFORTS = "reasoning_effort_levels"


class BackendError(PointsmanError):
    """A call to a provider failed.

    Args:
        kind: The kind of failure, which tells dispatch how to react.
        message: One line, free of secrets.
        status: HTTP status, if there was one.
        retry_after: Seconds the provider asked to wait, if it did.
        sent: Whether the request may have reached the provider, and so may be billed; False if no connection was made.
    """

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after
        self.sent = sent


@dataclass(slots=True)
class Reach:
    """How far the request of the current context has got.

    Attributes:
        connected: Whether the request has a connection to the provider; None if the client does not report it.
    """

    connected: bool | None = None


REACH: Final[ContextVar[Reach | None]] = ContextVar("pointsman_reach", default=None)
"""Where an HTTP client records how far its request has got."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to reach one model.

    Attributes:
        timeout: Seconds one request may take.
        cache: Folder in which a backend may store computed results; None disables storage.
        on_headers: Called with the headers of every response, error responses included, before the body is read; it
            must neither block nor raise. A backend never calls it if its vendor reports no limits in headers or its
            client has no hook for them.
    """

    model: str
    base_url: str | None = None
    key: SecretStr | None = None
    region: str | None = None
    timeout: float = 120.0
    options: Mapping[str, Any] = field(default_factory=dict)
    cache: Path | None = None
    on_headers: Callable[[Mapping[str, str]], None] | None = None


class Backend(ABC):
    """One family of providers; stateless, built without any I/O.

    Attributes:
        finishes: Vendor's finish reason -> the failure it means, or None for a normal end. A missing or unlisted reason
            counts as ``malformed``.
        prompt_cache: Keyword arguments of a call that make the vendor cache the prompt for the next call; empty if it
            does so by itself.
        aliases: Name -> patterns of the names it resolves to, according to the vendor; in lower case, without the part
            before a slash.
        output_limit: Keyword argument of a call that limits its output tokens; None if there is none.
        gives_probabilities: Whether replies have ``fields`` in their metadata, with the probability of each label.
        vocabulary: The call options its client accepts; None if all options are passed on unchanged.
        meter: Which call options affect the cost of a call.
        profiles: The partner package that ships the profiles of its models; empty if none does.
    """

    finishes: ClassVar[Mapping[str, FailureKind | None]]
    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})
    output_limit: ClassVar[str | None] = "max_tokens"
    gives_probabilities: ClassVar[bool] = False
    prompt_cache: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    vocabulary: ClassVar[Vocabulary | None] = None
    meter: ClassVar[Meter] = Meter()
    profiles: ClassVar[str] = ""

    @abstractmethod
    def chat_model(self, endpoint: Endpoint) -> BaseChatModel:
        """Build a client with the SDK's own retries off."""

    @abstractmethod
    def failure(self, error: BaseException) -> BackendError | None:
        """Translate an exception of the client; return None if the fault is ours rather than the provider's."""

    def profile(self, model: str) -> Mapping[str, Any]:
        """Return the LangChain profile of ``model`` (keys as in `langchain_core`); empty if the model is unknown."""
        return profile(self.profiles, model) if self.profiles else {}

    def said(self, model: str, wanted: Wanted) -> Said:
        """Translate the options of a call into those of a model's client, noting which had to be left out.

        Args:
            model: The vendor's name for the model.
            wanted: What the call asks for.
        """
        if self.vocabulary is None:
            return Said(dict(wanted.options), wanted.choice if wanted.tools else None, wanted.parallel, wanted.strict)
        return self.vocabulary.translate(wanted, self.missing(model, wanted), self.profile(model).get(_EFFORTS))

    def missing(self, model: str, wanted: Wanted) -> Mapping[str, str]:
        """Return option -> reason, for options this model rejects although the vendor's other models accept them."""
        return {}

    def bind(self, client: BaseChatModel, tools: Sequence[Mapping[str, Any]], said: Said) -> dict[str, Any]:
        """Return the keyword arguments that pass a call's tools to the model.

        Args:
            client: The model's client.
            tools: In OpenAI's format, with names that every vendor accepts.
            said: How the model is to call them.
        """
        how: dict[str, Any] = {}
        if said.choice is not None:
            how["tool_choice"] = self.choice(said.choice)
        if said.parallel is not None:
            how["parallel_tool_calls"] = said.parallel
        if said.strict:
            how["strict"] = True
            tools = [_strictly(tool) for tool in tools]
        binding: Any = client.bind_tools([dict(tool) for tool in tools], **how)
        return dict(binding.kwargs)

    def choice(self, choice: Choice) -> Any:
        """Return a tool choice in the form the client accepts."""
        return choice.name or choice.mode

    def read(self, message: AIMessage) -> Reply:
        """Read the model, finish reason, failure and usage from a complete reply."""
        return read_reply(message, self.finishes)

    def same_model(self, asked: str, answered: str) -> bool:
        """Return whether both names mean the same model, aliases included; a variant counts as another model."""
        return same_name(asked, answered) or stands_for(asked, answered, self.aliases)


def _strictly(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool["function"]
    held = strict(function.get("parameters") or {"type": "object", "properties": {}})
    return {**tool, "function": {**function, "parameters": held, "strict": True}}
