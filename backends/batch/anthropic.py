"""Anthropic's Message Batches (platform.claude.com/docs/en/build-with-claude/batch-processing)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ...configs.words import FailureKind
from ..base import BackendError
from ..providers.anthropic import ERRORS
from ..usage.forms import MESSAGES
from .base import CLOCK_SKEW, BatchApi, BatchRequest, BatchState, answer_of, failure_told, json_lines, unreadable

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

__all__ = ["AnthropicBatches"]

_PAGE = 100
_BETA = "anthropic-beta"

# platform.claude.com/docs/en/api/errors: the HTTP status of each error type in a live call.
_STATUS = MappingProxyType(
    {
        "invalid_request_error": 400,
        "authentication_error": 401,
        "billing_error": 402,
        "permission_error": 403,
        "not_found_error": 404,
        "request_too_large": 413,
        "rate_limit_error": 429,
        "api_error": 500,
        "timeout_error": 504,
        "overloaded_error": 529,
    }
)


class AnthropicBatches(BatchApi):
    """Sends the requests inside the batch. A batch has no label, so an earlier one is recognized by its results."""

    most_requests: ClassVar[int] = 100_000
    most_bytes: ClassVar[int] = 256_000_000

    async def submit(
        self, model: Any, label: str, requests: Sequence[BatchRequest], *, since: float | None = None
    ) -> str:
        """Submit a batch and return its id."""
        if since is not None:
            found = await self._find(model, requests, since)
            if found is not None:
                return found
        entries, betas = await asyncio.to_thread(_entries, model, requests)
        headers = {_BETA: ",".join(betas)} if betas else None
        batch = await model._async_client.messages.batches.create(requests=entries, extra_headers=headers)
        return str(batch.id)

    async def state(self, model: Any, batch: str) -> BatchState:
        """Return the progress of a batch."""
        told = await model._async_client.messages.batches.retrieve(batch)
        counts = told.request_counts
        done = counts.succeeded + counts.errored + counts.expired + counts.canceled
        detail = f"{told.processing_status}, {done} of {done + counts.processing} done"
        whole = not (counts.expired or counts.canceled or counts.processing)
        return BatchState(told.processing_status == "ended", detail, whole=whole)

    async def collect(self, model: Any, batch: str) -> AsyncIterator[tuple[str, AIMessage | BackendError]]:
        """Yield the results of a batch that has ended."""
        # The SDK's own reader stops at the first line that is not a result.
        batches = model._async_client.messages.batches.with_streaming_response
        async with batches.results(batch) as response:
            async for name, entry in json_lines(response.iter_lines()):
                yield name, _outcome(model, entry.get("result"))

    async def _find(self, model: Any, requests: Sequence[BatchRequest], since: float) -> str | None:
        ids = {request.id for request in requests}
        working: str | None = None
        async for batch in model._async_client.messages.batches.list(limit=_PAGE):
            # The newest come first.
            if batch.created_at.timestamp() < since - CLOCK_SKEW:
                break
            counts = batch.request_counts
            if sum((counts.processing, counts.succeeded, counts.errored, counts.expired, counts.canceled)) != len(ids):
                continue
            if batch.processing_status != "ended":
                working = batch.id
            elif await self._first_answered(model, batch.id) in ids:
                return str(batch.id)
        if working is not None:
            said = f"{working} may be the batch in question, which shows only when it has ended"
            raise BackendError(FailureKind.TIMEOUT, said)
        return None

    async def _first_answered(self, model: Any, batch: str) -> str | None:
        results = await model._async_client.messages.batches.results(batch)
        try:
            async for entry in results:
                return str(entry.custom_id)
        finally:
            await results.close()
        return None


def _entries(model: Any, requests: Sequence[BatchRequest]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the requests in the API's format, and the beta features that any of them needs."""
    entries, betas = [], set[str]()
    for request in requests:
        body = model._get_request_payload(list(request.messages), **request.options)
        betas.update(body.pop("betas", None) or ())
        body.pop("stream", None)
        entries.append({"custom_id": request.id, "params": body})
    return entries, sorted(betas)


def _outcome(model: Any, result: Any) -> AIMessage | BackendError:
    told = _object(result)
    kind = told.get("type")
    if kind == "succeeded":
        message = _object(told.get("message"))
        return answer_of(ERRORS, partial(_read, model), message, MESSAGES, message.get("usage"))
    if kind == "errored":
        error = _object(_object(told.get("error")).get("error"))
        return failure_told(ERRORS, _STATUS.get(str(error.get("type"))), error)
    if kind in ("canceled", "expired"):
        return BackendError(FailureKind.TIMEOUT, f"the request {kind} before it was worked on")
    return unreadable(f"a result of type {str(kind)[:40]!r}", MESSAGES)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read(model: Any, message: dict[str, Any]) -> Any:
    from anthropic.types import Message

    return model._format_output(Message.construct(**message))
