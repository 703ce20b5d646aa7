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
    """A provider did not give what was asked.

    Args:
        kind: What went wrong, in the words dispatch acts on.
        message: One line, free of secrets.
        status: HTTP status, where there was one.
        retry_after: Seconds the provider asked to wait, where it did.
        sent: The request may have reached the provider, which may then bill it; False where no connection was made.
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
    """How far the request of the running code has come.

    Attributes:
        connected: Whether it has a connection to the provider to be sent over; None where its client does not tell.
    """

    connected: bool | None = None


REACH: Final[ContextVar[Reach | None]] = ContextVar("pointsman_reach", default=None)
"""Where an HTTP client says how far its request has come."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to reach one model.

    Attributes:
        timeout: Seconds one request may take.
        cache: Folder in which a backend may keep what it worked out; None for nowhere.
        on_headers: Called with the headers of every response, a refusal's too, before its body is read; it must neither
            wait nor raise. A backend whose vendor tells no limits in them, or whose client lets nobody listen, never
            calls it.
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
        finishes: Vendor's finish reason -> the failure it means, or None for a normal end. A reason that is not in
            the table, or is absent, counts as ``malformed``.
        prompt_cache: Keyword arguments of a call that have the vendor keep the prompt for the next call; empty where it
            does so by itself.
        aliases: Name -> patterns of the names it leads to, as the vendor says; in lower case, without what stands
            before a slash.
        output_limit: Keyword argument of a call that limits its output tokens; None where there is none.
        gives_probabilities: Its replies have ``fields`` in their metadata, with the probability of each label.
        vocabulary: The call options its client takes; None where all are passed on as they are.
        meter: Where its call options say what a call may cost.
        profiles: The partner package that ships the profiles of its models; empty where none does.
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
        """Translate what the client raised; None when it is not the provider's trouble but ours."""

    def profile(self, model: str) -> Mapping[str, Any]:
        """The LangChain model profile of ``model`` (keys as `langchain_core` has them); empty when unknown."""
        return profile(self.profiles, model) if self.profiles else {}

    def said(self, model: str, wanted: Wanted) -> Said:
        """Say what a call asks for in the words of a model's client, and what had to be left out.

        Args:
            model: The vendor's name for the model.
            wanted: What the call asks for.
        """
        if self.vocabulary is None:
            return Said(dict(wanted.options), wanted.choice if wanted.tools else None, wanted.parallel, wanted.strict)
        return self.vocabulary.translate(wanted, self.missing(model, wanted), self.profile(model).get(_EFFORTS))

    def missing(self, model: str, wanted: Wanted) -> Mapping[str, str]:
        """Option -> why this very model does not take it, where its vendor's others do."""
        return {}

    def bind(self, client: BaseChatModel, tools: Sequence[Mapping[str, Any]], said: Said) -> dict[str, Any]:
        """Give the keyword arguments of a call that show its tools to the model.

        Args:
            client: The model's.
            tools: In OpenAI's format, their names such as every vendor takes.
            said: How they are to be called.
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
        """Spell a choice of tools as the client takes it."""
        return choice.name or choice.mode

    def read(self, message: AIMessage) -> Reply:
        """Read model, finish reason, failure and usage off a complete reply."""
        return read_reply(message, self.finishes)

    def same_model(self, asked: str, answered: str) -> bool:
        """Whether ``answered`` is ``asked``, be it by another name of the same model; a variant is another model."""
        return same_name(asked, answered) or stands_for(asked, answered, self.aliases)


def _strictly(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool["function"]
    held = strict(function.get("parameters") or {"type": "object", "properties": {}})
    return {**tool, "function": {**function, "parameters": held, "strict": True}}
