"""Gemini's Batch API (ai.google.dev/gemini-api/docs/batch-api), with the requests inside the batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ..base import BackendError
from ..providers.google import ERRORS
from ..usage.counting import plain
from ..usage.forms import GEMINI
from ..usage.gemini import read_gemini
from .base import BatchApi, BatchRequest, BatchState, answer_of, failure_told, unreadable

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

__all__ = ["GoogleBatches"]

_PAGE = 100
_KEY = "key"
_OVER = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"})

# google/rpc/code.proto names the HTTP status of each code; 1: cancelled by the client, 4: deadline exceeded.
_STATUS: Mapping[int, int] = MappingProxyType(
    {1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500,
     14: 503, 15: 500, 16: 401}
)  # fmt: skip


class GoogleBatches(BatchApi):
    """Puts the requests into the batch; the label is its display name."""

    # The documentation sets no maximum number. Uploaded files may be larger but must be in the API's own format.
    most_requests: ClassVar[int] = 50_000
    most_bytes: ClassVar[int] = 20_000_000

    async def submit(
        self, model: Any, label: str, requests: Sequence[BatchRequest], *, since: float | None = None
    ) -> str:
        """Submit a batch and return its name."""
        batches = model.async_client.batches
        if since is not None:
            # The API promises no order. There are few batches, since they are kept for a few days only.
            async for job in await batches.list(config={"page_size": _PAGE}):
                if job.display_name == label:
                    return str(job.name)
        entries = await asyncio.to_thread(_entries, model, requests)
        job = await batches.create(model=model.model, src=entries, config={"display_name": label})
        return str(job.name)

    async def state(self, model: Any, batch: str) -> BatchState:
        """Return the progress of a batch."""
        job = await model.async_client.batches.get(name=batch)
        word = _word(job)
        said = f": {job.error.message}" if job.error and job.error.message else ""
        return BatchState(word in _OVER, word.lower() + said, whole=word.endswith("SUCCEEDED"))

    async def collect(self, model: Any, batch: str) -> AsyncIterator[tuple[str, AIMessage | BackendError]]:
        """Yield the results of a finished batch."""
        job = await model.async_client.batches.get(name=batch)
        for entry in (job.dest.inlined_responses if job.dest else None) or ():
            yield (entry.metadata or {}).get(_KEY, ""), _outcome(entry)


def _word(job: Any) -> str:
    return str(job.state.name if job.state else "unspecified").removeprefix("JOB_STATE_")


def _entries(model: Any, requests: Sequence[BatchRequest]) -> list[Any]:
    from google.genai.types import InlinedRequest

    entries = []
    for request in requests:
        body = model._prepare_request(
            list(request.messages), **{"cached_content": model.cached_content, **request.options}
        )
        # These are timeouts and retries of a single HTTP request, and a batched request has none of its own.
        config = body["config"].model_copy(update={"http_options": None})
        entries.append(InlinedRequest(contents=body["contents"], config=config, metadata={_KEY: request.id}))
    return entries


def _outcome(entry: Any) -> AIMessage | BackendError:
    from langchain_google_genai.chat_models import _response_to_result

    if entry.response is not None:
        # Read the usage first, since the reader removes it.
        usage = plain(entry.response.usage_metadata)
        return answer_of(ERRORS, partial(read_gemini, _response_to_result), entry.response, GEMINI, usage)
    error = entry.error
    if error is None:
        return unreadable("neither an answer nor an error", GEMINI)
    status = _STATUS.get(error.code, error.code)
    return failure_told(ERRORS, status, {"message": error.message or "the request failed"})
