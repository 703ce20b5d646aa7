"""The port of a provider's batch API: many requests submitted at once, answered within a day at a lower price."""

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
"""Seconds by which a provider's clock may lag behind ours, when a batch is searched for by submission time."""


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One request of a batch.

    Attributes:
        id: Returned with the answer; begins with the batch's label, at most 64 letters, digits, ``-`` and ``_``.
        messages: The conversation in a form the model accepts.
        options: Keyword arguments of a call to the chat model.
    """

    id: str
    messages: Sequence[Any]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BatchState:
    """The progress of a batch.

    Attributes:
        over: Whether the batch has finished: no more answers will come, and those it has can be collected.
        detail: The provider's description of its state, in a few words.
        whole: Whether the provider says all requests were processed, so it may bill even one without an answer.
    """

    over: bool
    detail: str
    whole: bool = False


class BatchApi(ABC):
    """One provider's batch API; stateless.

    Each method is given the chat model that the backend built for live calls and uses its address, key, connections,
    request builder and reply reader, so a batched request is the same as a live one. Exceptions of the vendor's client
    are translated by the backend's `Backend.failure`, as for a live call.

    Attributes:
        most_requests: Maximum number of requests in one batch.
        most_bytes: Maximum total size of a batch.
    """

    most_requests: ClassVar[int]
    most_bytes: ClassVar[int]

    @abstractmethod
    async def submit(
        self, model: Any, label: str, requests: Sequence[BatchRequest], *, since: float | None = None
    ) -> str:
        """Submit a batch and return the provider's id for it.

        Args:
            model: The chat model all of the requests are for.
            label: Our own name for the batch, unique among all batches.
            requests: At least one.
            since: Set if the batch may have been submitted already, at this time (seconds since the epoch) or later; it
                is then searched for first and not submitted twice.

        Raises:
            BackendError: It is not known yet whether the batch was submitted.
        """

    @abstractmethod
    async def state(self, model: Any, batch: str) -> BatchState:
        """Return the progress of a batch.

        Args:
            model: The chat model it was submitted for.
            batch: The provider's id for it.
        """

    @abstractmethod
    def collect(self, model: Any, batch: str) -> AsyncIterator[tuple[str, AIMessage | BackendError]]:
        """Yield the results of a finished batch, in any order: the request's id, and its reply or failure.

        Requests that were never answered may be left out, and unreadable lines always are. An unreadable reply becomes
        a message without text.

        Args:
            model: The chat model it was submitted for.
            batch: The provider's id for it.
        """


class _RequestFailed(Exception):
    """Carries one request's failure to the error table, with the attributes that a client's exception would have.

    Args:
        status: The HTTP status a live call would have received.
        body: The vendor's error object.
    """

    def __init__(self, status: int | None, body: Mapping[str, Any]) -> None:
        super().__init__(str(body.get("message") or "the request failed"))
        self.status_code = status
        self.body = body
        self.details = body


_OWN = f"{_RequestFailed.__module__}.{_RequestFailed.__qualname__}"


def failure_told(table: ErrorTable, status: int | None, body: Mapping[str, Any]) -> BackendError:
    """Translate a failure found in a batch's results, using the same table as for a client's exception.

    Args:
        table: The backend's table.
        status: The HTTP status a live call would have received, if known.
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
    """Read one reply, and add the vendor's metadata to the message as LangChain's own layer does.

    Args:
        table: The backend's table.
        read: The chat model's reader of replies.
        reply: The reply to read.
        form: The format in which the vendor reports usage.
        usage: The reported usage, as in the reply's JSON.

    Returns:
        The message; for an unreadable reply, which has been generated and billed all the same, a message without text,
        which counts as malformed; or the failure that the vendor reported instead of a reply.
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
    """Return a substitute for an unreadable reply; it has no finish reason, so it counts as malformed.

    Args:
        reason: What is wrong with it.
        form: The format in which the vendor reports usage.
        usage: The reported usage, if it can be found.
    """
    from langchain_core.messages import AIMessage

    message = AIMessage("", response_metadata={"reason": f"unreadable: {reason}"})
    Running().told(message, form, usage)
    return message


async def json_lines(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    """Read a file of results, yielding the id of each request and its parsed line.

    A line that is not a JSON object or has no request id is skipped, so that the others can still be read; its request
    then counts as never answered.

    Args:
        lines: The lines of a JSON Lines file.
    """
    async for line in lines:
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and isinstance(entry.get("custom_id"), str):
                yield entry["custom_id"], entry
