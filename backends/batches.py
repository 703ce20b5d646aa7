"""The port of a provider's batch API: many requests handed in at once, answered within a day at a lower price."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from .base import BackendError
from .failures import ErrorTable, translate

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatResult

__all__ = ["CLOCK_SKEW", "BatchApi", "BatchRequest", "BatchState", "answer_of", "failure_told"]

CLOCK_SKEW = 600.0
"""Seconds by which a provider's clock may lag behind ours, when a batch is looked for by the time it was sent."""


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One request of a batch.

    Attributes:
        id: Comes back with its answer; begins with the batch's label, at most 64 letters, digits, ``-`` and ``_``.
        messages: The conversation in a form the model takes.
        options: Keyword arguments, as a call of the chat model takes them.
    """

    id: str
    messages: Sequence[Any]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BatchState:
    """How far a batch is.

    Attributes:
        over: Nothing more will be answered: what there is can be collected.
        detail: What the provider says of it, in a few words.
    """

    over: bool
    detail: str


class BatchApi(ABC):
    """One provider's batch API; stateless.

    Each method is given the chat model that the backend built for live calls: address, key, connections, the builder
    of request bodies and the reader of replies are all its own, so a request says the same either way. What the
    vendor's client raises is translated by the backend's `Backend.failure`, as for a live call.

    Attributes:
        most_requests: Requests one batch may have.
        most_bytes: What they may measure together.
    """

    most_requests: ClassVar[int]
    most_bytes: ClassVar[int]

    @abstractmethod
    async def submit(
        self, model: Any, label: str, requests: Sequence[BatchRequest], *, since: float | None = None
    ) -> str:
        """Hand a batch in, and give the provider's id of it.

        Args:
            model: The chat model all of the requests are for.
            label: Ours, unique among all batches.
            requests: At least one.
            since: The batch may have been handed in already, at this time (seconds since the epoch) or later: it is
                looked for first, and not handed in twice.

        Raises:
            BackendError: It cannot be told yet whether it was handed in.
        """

    @abstractmethod
    async def state(self, model: Any, batch: str) -> BatchState:
        """Ask how far a batch is.

        Args:
            model: The chat model it was handed in for.
            batch: The provider's id of it.
        """

    @abstractmethod
    def collect(self, model: Any, batch: str) -> AsyncIterator[tuple[str, AIMessage | BackendError]]:
        """Give the answers of a batch that is over, in any order: the request's id, and its reply or what failed.

        Requests that were never answered may be left out.

        Args:
            model: The chat model it was handed in for.
            batch: The provider's id of it.
        """


class _RequestFailed(Exception):
    """Carries one request's failure to the table of errors, with the attributes that a client's exception would have.

    Args:
        status: The HTTP status a live call would have got.
        body: The vendor's error object.
    """

    def __init__(self, status: int | None, body: Mapping[str, Any]) -> None:
        super().__init__(str(body.get("message") or "the request failed"))
        self.status_code = status
        self.body = body
        self.details = body


_OWN = f"{_RequestFailed.__module__}.{_RequestFailed.__qualname__}"


def failure_told(table: ErrorTable, status: int | None, body: Mapping[str, Any]) -> BackendError:
    """Translate a failure that stands in a batch's results by the same table as one that a client raises.

    Args:
        table: The backend's table.
        status: The HTTP status a live call would have got, where it is known.
        body: The vendor's error object, with its message and codes.
    """
    own = replace(table, classes={**table.classes, _OWN: None})
    failure = translate(_RequestFailed(status, body), own)
    if failure is None:
        raise TypeError(f"{_OWN} is not in the table")
    return failure


def answer_of(table: ErrorTable, read: Callable[[Any], ChatResult], reply: Any) -> AIMessage | BackendError:
    """Read one reply, with what the vendor said beside it, as LangChain's own layer puts it there.

    Args:
        table: The backend's table.
        read: The chat model's reader of replies.
        reply: What it reads.

    Returns:
        The message, or the failure that it cannot be read.
    """
    try:
        result = read(reply)
    except Exception as error:
        failure = translate(error, table)
        if failure is None:
            raise
        return failure
    generation = result.generations[0]
    message: Any = generation.message
    beside = {**(result.llm_output or {}), **(generation.generation_info or {})}
    message.response_metadata = {**beside, **message.response_metadata}
    answer: AIMessage = message
    return answer
