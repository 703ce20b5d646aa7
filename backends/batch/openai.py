"""OpenAI's Batch API (developers.openai.com/api/docs/guides/batch): files of JSON lines for one of its chat APIs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ...configs.words import FailureKind
from ..base import BackendError
from ..providers.openai import ERRORS
from ..replies.completions import refusal_told
from ..replies.shapes import tidy
from ..usage.chat import carried, settled
from ..usage.forms import CHAT, RESPONSES
from .base import CLOCK_SKEW, BatchApi, BatchRequest, BatchState, answer_of, failure_told, json_lines, unreadable

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

__all__ = ["OpenAIBatches"]

_PAGE = 100
_LABEL = "pointsman"
_COMPLETIONS = "/v1/chat/completions"
_RESPONSES = "/v1/responses"
_WORKING = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
# Arguments for the SDK itself, which are not part of the request body.
_NOT_SENT = ("stream", "extra_headers", "extra_query", "timeout")


class OpenAIBatches(BatchApi):
    """Uploads the requests as a file and points the batch at it; the label is stored in the batch's metadata."""

    most_requests: ClassVar[int] = 50_000
    most_bytes: ClassVar[int] = 200_000_000

    async def submit(
        self, model: Any, label: str, requests: Sequence[BatchRequest], *, since: float | None = None
    ) -> str:
        """Submit a batch and return its id.

        Raises:
            BackendError: Some requests need one of the vendor's chat APIs and some the other.
        """
        client = model.root_async_client
        if since is not None:
            async for batch in client.batches.list(limit=_PAGE):
                # The newest come first.
                if batch.created_at < since - CLOCK_SKEW:
                    break
                if (batch.metadata or {}).get(_LABEL) == label:
                    return str(batch.id)
        lines, url = await asyncio.to_thread(_lines, model, requests)
        file = await client.files.create(file=(f"{label}.jsonl", lines), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint=url, completion_window="24h", metadata={_LABEL: label}
        )
        return str(batch.id)

    async def state(self, model: Any, batch: str) -> BatchState:
        """Return the progress of a batch."""
        told = await model.root_async_client.batches.retrieve(batch)
        counts = told.request_counts
        detail = told.status if counts is None else f"{told.status}, {counts.completed} of {counts.total} done"
        errors = (told.errors.data if told.errors else None) or ()
        if errors:
            detail += ": " + "; ".join(str(error.message) for error in errors[:3])
        return BatchState(told.status not in _WORKING, detail, whole=told.status == "completed")

    async def collect(self, model: Any, batch: str) -> AsyncIterator[tuple[str, AIMessage | BackendError]]:
        """Yield the results of a finished batch."""
        client = model.root_async_client
        told = await client.batches.retrieve(batch)
        for file in (told.output_file_id, told.error_file_id):
            if not file:
                continue
            async with client.files.with_streaming_response.content(file) as response:
                async for name, entry in json_lines(response.iter_lines()):
                    yield name, _outcome(model, told.endpoint, entry)


def _lines(model: Any, requests: Sequence[BatchRequest]) -> tuple[bytes, str]:
    """Return the file's contents, and the one API endpoint that all its requests are for."""
    lines, urls = [], set[str]()
    for request in requests:
        payload = model._get_request_payload(list(request.messages), **request.options)
        url = _RESPONSES if model._use_responses_api(payload) else _COMPLETIONS
        extra = payload.pop("extra_body", None) or {}
        body = {name: value for name, value in payload.items() if name not in _NOT_SENT}
        line = {"custom_id": request.id, "method": "POST", "url": url, "body": {**body, **extra}}
        lines.append(json.dumps(line, ensure_ascii=False).encode())
        urls.add(url)
    if len(urls) > 1:
        raise BackendError(FailureKind.UNAVAILABLE, f"one batch cannot be for {' and '.join(sorted(urls))}")
    return b"\n".join(lines) + b"\n", urls.pop()


def _outcome(model: Any, url: str, entry: Mapping[str, Any]) -> AIMessage | BackendError:
    form, response, error = RESPONSES if url == _RESPONSES else CHAT, entry.get("response"), entry.get("error")
    if response is None and isinstance(error, dict):
        # batch_expired and batch_cancelled: the request was never processed.
        return BackendError(FailureKind.TIMEOUT, str(error.get("message") or error.get("code") or "not answered"))
    body = response.get("body") if isinstance(response, dict) else None
    if not isinstance(response, dict) or not isinstance(body, dict):
        return unreadable("neither an answer nor an error", form)
    status = response.get("status_code")
    if type(status) is int and status >= 300:
        told = body.get("error")
        return failure_told(ERRORS, status, told if isinstance(told, dict) else {})
    read = partial(_read_response, model) if url == _RESPONSES else partial(_read_completion, model)
    return answer_of(ERRORS, read, body, form, body.get("usage"))


def _read_completion(model: Any, body: Mapping[str, Any]) -> Any:
    return model._create_chat_result(tidy(refusal_told(body)))


def _read_response(model: Any, body: Mapping[str, Any]) -> Any:
    from langchain_openai.chat_models.base import _construct_lc_result_from_responses_api
    from openai.types.responses import Response

    response = Response.construct(**carried(dict(body)))
    return settled(_construct_lc_result_from_responses_api(response, output_version=model.output_version))
