"""The port of a provider's batch API: many requests handed in at once, answered within a day at a lower price."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ..base import BackendError
from ..errors.translate import ErrorTable, one_line, translate
from ..usage.counting import Running
from ..usage.forms import Form

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatResult

__all__ = [
    "CLOCK_SKEW",
    "BatchApi",
    "BatchRequest",
    "BatchState",
    "answer_of",
    "failure_told",
    "json_lines",
    "unreadable",
]

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
        whole: It says that all requests were worked on, so that it may bill one without an answer too.
    """

    over: bool
    detail: str
    whole: bool = False


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

        Requests that were never answered may be left out, and lines that cannot be read are. A reply that cannot be
        read is a message without words.

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


def answer_of(
    table: ErrorTable, read: Callable[[Any], ChatResult], reply: Any, form: Form, usage: Any
) -> AIMessage | BackendError:
    """Read one reply, with what the vendor said beside it, as LangChain's own layer puts it there.

    Args:
        table: The backend's table.
        read: The chat model's reader of replies.
        reply: What it reads.
        form: In which the vendor tells usage.
        usage: What it told, as it stands in the reply's JSON.

    Returns:
        The message; one without words, which counts as malformed, where it cannot be read, since it has been written
        and billed; or the failure that the vendor put in its place.
    """
    try:
        result = read(reply)
        generation = result.generations[0]
    except Exception as error:  # noqa: BLE001 - whatever a reply holds, it is paid for
        failure = translate(error, table)
        if failure is not None and failure.status is not None:
            return failure
        return unreadable(one_line(str(failure or error)) or type(error).__name__, form, usage)
    message: Any = generation.message
    beside = {**(result.llm_output or {}), **(generation.generation_info or {})}
    message.response_metadata = {**beside, **message.response_metadata}
    answer: AIMessage = message
    return answer


def unreadable(reason: str, form: Form, usage: Any = None) -> AIMessage:
    """Give what stands for a reply that cannot be read; it has no finish reason, so it counts as malformed.

    Args:
        reason: What is wrong with it.
        form: In which the vendor tells usage.
        usage: What it told, where that can be found.
    """
    from langchain_core.messages import AIMessage

    message = AIMessage("", response_metadata={"reason": f"unreadable: {reason}"})
    Running().told(message, form, usage)
    return message


async def json_lines(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    """Read a file of results: the id of each request, and its line.

    A line that is not an object, or tells the outcome of no request, is passed over: it must not keep the others from
    being read, and its request is then one that was never answered.

    Args:
        lines: Of JSON.
    """
    async for line in lines:
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and isinstance(entry.get("custom_id"), str):
                yield entry["custom_id"], entry
