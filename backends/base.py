"""The port of a backend: build a chat model, translate its errors, say what its models can do."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ..configs.catalogue import Usage
from ..configs.errors import PointsmanError
from ..configs.words import FailureKind
from .meter import Meter

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from pydantic import SecretStr

__all__ = ["REACH", "Backend", "BackendError", "Endpoint", "Reach", "Reply"]

# What may follow a model's name without making it another model: a date, a build of three or four digits, "latest".
# One or two digits make a version: claude-opus-4 is not claude-opus-4-1.
_DATED = re.compile(r"(?:[-@:](?:\d{4}-\d\d-\d\d|\d\d-(?:\d\d|\d{4})|\d{8}|\d{6}|\d{3,4}|latest|default))?")


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


@dataclass(frozen=True, slots=True)
class Reply:
    """What a message says of its own making.

    Attributes:
        failure: None for a usable answer.
        usage: None where it is not told, or not believable: whoever pays then charges what was set aside.
        doubt: Why there is no usage, for the ledger; empty where there is one.
    """

    model: str | None
    finish: str | None
    failure: FailureKind | None
    usage: Usage | None
    doubt: str = ""


class Backend(ABC):
    """One family of providers; stateless, built without any I/O.

    Attributes:
        finishes: Vendor's finish reason -> the failure it means, or None for a normal end. A reason that is not in
            the table, or is absent, counts as ``malformed``.
        prompt_cache: Keyword arguments of a call that have the vendor keep the prompt for the next call; empty where it
            does so by itself.
        output_limit: Keyword argument of a call that limits its output tokens; None where there is none.
        meter: Where its call options say what a call may cost.
    """

    finishes: ClassVar[Mapping[str, FailureKind | None]]
    output_limit: ClassVar[str | None] = "max_tokens"
    prompt_cache: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    meter: ClassVar[Meter] = Meter()

    @abstractmethod
    def chat_model(self, endpoint: Endpoint) -> BaseChatModel:
        """Build a client with the SDK's own retries off."""

    @abstractmethod
    def failure(self, error: BaseException) -> BackendError | None:
        """Translate what the client raised; None when it is not the provider's trouble but ours."""

    @abstractmethod
    def profile(self, model: str) -> Mapping[str, Any]:
        """The LangChain model profile of ``model`` (keys as `langchain_core` has them); empty when unknown."""

    def read(self, message: AIMessage) -> Reply:
        """Read model, finish reason, failure and usage off a complete reply."""
        from .replies import read_reply

        return read_reply(message, self.finishes)

    def same_model(self, asked: str, answered: str) -> bool:
        """Whether ``answered`` is ``asked``, be it by a dated name of the same model; a variant is another model."""
        asked, answered = (name.rsplit("/", 1)[-1].lower() for name in (asked, answered))
        stem = asked.removesuffix("-latest").removesuffix(":latest")
        return answered == asked or (answered.startswith(stem) and _DATED.fullmatch(answered[len(stem) :]) is not None)
