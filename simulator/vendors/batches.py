"""The vendors' batch APIs: requests are submitted together, and answered by the same engine after a few polls.

Shapes from platform.claude.com/docs/en/api/messages/batches, developers.openai.com/api/reference (batches, files) and
ai.google.dev/api/batch-api.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import HTTP
from typing import Any, ClassVar
from urllib.parse import unquote

from ..base import BadRequest, Reply, Wire, decode, encode
from ..engine import Engine
from ..faults import told_by_status
from ..request import Endpoint, Json, Request
from ..scenario import Fault
from .anthropic import AnthropicWire
from .google import GoogleWire
from .openai import OpenAIWire
from .responses import ResponsesWire

_DAY = 86_400
# Requests with these faults expire in a batch, just as a live call with them is never answered.
_UNANSWERED = frozenset(["hang", "stall"])


@dataclass(slots=True)
class Entry:
    """One request in a batch; `outcome` is what the vendor's results say about it."""

    id: str
    body: Json
    outcome: Json = field(default_factory=dict)
    word: str = "processing"


@dataclass(slots=True)
class Batch:
    """One batch; `facts` are the vendor-specific fields of the batch object."""

    id: str
    vendor: str
    form: Form
    created: float
    entries: list[Entry]
    facts: Json
    polls: int = 0
    over: bool = False


class Form(ABC):
    """One vendor's batch format; `wire` reads and answers its requests, and writes the errors of its calls."""

    prefix: ClassVar[str]
    wire: ClassVar[Wire]

    @abstractmethod
    def read(self, body: bytes, files: Mapping[str, bytes], model: str) -> tuple[list[Entry], Json]:
        """Read a submission; return its requests and the batch's facts."""

    def lane(self, batch: Batch) -> tuple[Wire, Endpoint, str]:
        """Return the format and service that answer its requests, and the model for requests that name none."""
        return self.wire, "chat", ""

    @abstractmethod
    def succeeded(self, body: Json) -> Json:
        """Write an answer into the results."""

    @abstractmethod
    def errored(self, status: int, body: Json) -> Json:
        """Write an error into the results."""

    @abstractmethod
    def unanswered(self) -> Json:
        """Write that a request expired."""

    def files(self, batch: Batch) -> Mapping[str, bytes]:
        """Write the result files, each under the name of the fact that will refer to it."""
        return {}

    @abstractmethod
    def shown(self, batch: Batch, base: str) -> Json:
        """Write a batch; `base` is scheme and host."""

    @abstractmethod
    def listed(self, batches: Sequence[Json]) -> Json:
        """Write a page of batches."""


@dataclass(frozen=True, slots=True)
class BatchRoute:
    """One call of a batch API.

    Args:
        vendor: First segment of the URL path.
        form: The vendor's batch format.
        action: The requested action.
        name: The batch or file it is about, or the model.
    """

    vendor: str
    form: Form
    action: str
    name: str = ""


Tell = Callable[[Request, Reply | None, Fault | None, int | None], None]
"""Called for every request answered in a batch: request, reply, fault, and the status a live call would have got."""


class BatchDesk:
    """Stores the batches and files of every vendor, independently of the scenario.

    Args:
        tell: Writes the log.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._batches: dict[str, Batch] = {}
        self._files: dict[str, bytes] = {}
        self._number = 0

    def answer(self, route: BatchRoute, engine: Engine, key: str | None, base: str, kind: str, body: bytes) -> bytes:
        """Perform one call, and return the body of the response.

        Args:
            route: The call.
            engine: Answers the requests of a batch.
            key: The API key, which the scenario's gates check.
            base: Scheme and host, for URLs in the response.
            kind: The content type of the request.
            body: The body of the request.

        Raises:
            BadRequest: The request is invalid; the text is the API's message.
            KeyError: There is no such batch or file.
        """
        form = route.form
        match route.action:
            case "create":
                entries, facts = form.read(body, self._files, route.name)
                self._number += 1
                batch = Batch(f"{form.prefix}{self._number:024d}", route.vendor, form, time.time(), entries, facts)
                self._batches[batch.id] = batch
                return encode(form.shown(batch, base))
            case "get":
                return encode(form.shown(self._polled(self._batches[route.name], engine, key), base))
            case "list":
                own = [batch for batch in reversed(self._batches.values()) if batch.vendor == route.vendor]
                return encode(form.listed([form.shown(batch, base) for batch in own]))
            case "results":
                if not self._batches[route.name].over:
                    raise BadRequest("results are not available until the batch has ended")
                return _json_lines(
                    {"custom_id": entry.id, "result": entry.outcome} for entry in self._batches[route.name].entries
                )
            case "upload":
                parts = _multipart(kind, body)
                if parts.get("purpose") != b"batch" or "file" not in parts:
                    raise BadRequest("'purpose' must be 'batch', and 'file' is required")
                return encode(_file_object(self._kept(parts["file"]), parts["file"]))
            case _:
                return self._files[route.name]

    def _kept(self, content: bytes) -> str:
        name = f"file-{len(self._files) + 1:024d}"
        self._files[name] = content
        return name

    def _polled(self, batch: Batch, engine: Engine, key: str | None) -> Batch:
        """Count a poll and return the batch; after enough polls and enough time, answer its requests and end it."""
        pace = engine.scenario.batches
        batch.polls += 1
        if not batch.over and batch.polls > pace.polls and time.time() - batch.created >= pace.seconds:
            for entry in batch.entries:
                self._work(batch, entry, engine, key)
            batch.over = True
            batch.facts.update({name: self._kept(content) for name, content in batch.form.files(batch).items()})
        return batch

    def _work(self, batch: Batch, entry: Entry, engine: Engine, key: str | None) -> None:
        """Answer one request as if it were a live call."""
        self._number += 1
        wire, endpoint, model = batch.form.lane(batch)
        try:
            request = wire.parse(batch.vendor, endpoint, model, entry.body, stream=False)
        except BadRequest as error:
            request = Request(batch.vendor, endpoint, model)
            self._refuse(batch, entry, wire, request, Fault("bad_request", message=str(error)))
            return
        verdict = engine.judge(request, key)
        fault = verdict.fault
        if fault is not None and fault.kind in _UNANSWERED:
            entry.word, entry.outcome = "expired", batch.form.unanswered()
            self._tell(request, None, fault, None)
            return
        if fault is not None and told_by_status(fault, wire.manner):
            self._refuse(batch, entry, wire, request, fault)
            return
        reply = engine.reply(request, verdict, self._number, wire.manner)
        entry.word, entry.outcome = "succeeded", batch.form.succeeded(wire.body(reply))
        self._tell(request, reply, fault, 200)

    def _refuse(self, batch: Batch, entry: Entry, wire: Wire, request: Request, fault: Fault) -> None:
        told = wire.failure(fault, request, self._number)
        entry.word, entry.outcome = "errored", batch.form.errored(told.status, told.body)
        self._tell(request, None, fault, told.status)


class _Anthropic(Form):
    wire = AnthropicWire()
    prefix = "msgbatch_"

    def read(self, body: bytes, files: Mapping[str, bytes], model: str) -> tuple[list[Entry], Json]:
        raw = decode(body).get("requests")
        if not isinstance(raw, list) or not raw:
            raise BadRequest("requests: Field required")
        entries = [Entry(str(one["custom_id"]), one["params"]) for one in raw]
        if len({entry.id for entry in entries}) < len(entries):
            raise BadRequest("requests: custom_ids must be unique within a batch")
        return entries, {}

    def succeeded(self, body: Json) -> Json:
        return {"type": "succeeded", "message": body}

    def errored(self, status: int, body: Json) -> Json:
        return {"type": "errored", "error": body}

    def unanswered(self) -> Json:
        return {"type": "expired"}

    def shown(self, batch: Batch, base: str) -> Json:
        words = [entry.word if batch.over else "processing" for entry in batch.entries]
        url = f"{base}/{batch.vendor}/v1/messages/batches/{batch.id}/results"
        kinds = ("processing", "succeeded", "errored", "canceled", "expired")
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if batch.over else "in_progress",
            "request_counts": {word: words.count(word) for word in kinds},
            "created_at": _moment(batch.created),
            "expires_at": _moment(batch.created + _DAY),
            "ended_at": _moment(time.time()) if batch.over else None,
            "results_url": url if batch.over else None,
        }

    def listed(self, batches: Sequence[Json]) -> Json:
        return {"data": batches, "has_more": False, "first_id": None, "last_id": None}


class _OpenAI(Form):
    wire = OpenAIWire()
    prefix = "batch_"
    lanes: ClassVar[Mapping[str, tuple[Wire, Endpoint, str]]] = {
        "/v1/chat/completions": (wire, "chat", ""),
        "/v1/responses": (ResponsesWire(), "responses", ""),
    }

    def read(self, body: bytes, files: Mapping[str, bytes], model: str) -> tuple[list[Entry], Json]:
        told = decode(body)
        url = told.get("endpoint")
        if url not in self.lanes:
            raise BadRequest(f"Invalid value: '{url}'.")
        lines = [decode(line) for line in files[told["input_file_id"]].splitlines() if line.strip()]
        if any(line["url"] != url for line in lines):
            raise BadRequest(f"The URL of every request must be that of the batch, {url}.")
        facts = {"endpoint": url, "input_file_id": told["input_file_id"], "metadata": told.get("metadata")}
        return [Entry(line["custom_id"], line["body"]) for line in lines], facts

    def lane(self, batch: Batch) -> tuple[Wire, Endpoint, str]:
        return self.lanes[batch.facts["endpoint"]]

    def succeeded(self, body: Json) -> Json:
        return {"response": {"status_code": 200, "request_id": "req", "body": body}, "error": None}

    def errored(self, status: int, body: Json) -> Json:
        return {"response": {"status_code": status, "request_id": "req", "body": body}, "error": None}

    def unanswered(self) -> Json:
        said = "This request could not be executed before the completion window expired."
        return {"response": None, "error": {"code": "batch_expired", "message": said}}

    def files(self, batch: Batch) -> Mapping[str, bytes]:
        kept = {"output_file_id": ("succeeded",), "error_file_id": ("errored", "expired")}
        # Not in the order of the requests, because the real API does not guarantee the order.
        lines = {
            name: [
                {"id": f"batch_req_{entry.id}", "custom_id": entry.id, **entry.outcome}
                for entry in reversed(batch.entries)
                if entry.word in words
            ]
            for name, words in kept.items()
        }
        return {name: _json_lines(found) for name, found in lines.items() if found}

    def shown(self, batch: Batch, base: str) -> Json:
        words = [entry.word for entry in batch.entries]
        failed = len(words) - words.count("succeeded") if batch.over else 0
        return {
            "id": batch.id,
            "object": "batch",
            "completion_window": "24h",
            "status": "completed" if batch.over else "in_progress",
            "created_at": int(batch.created),
            "request_counts": {"total": len(words), "completed": words.count("succeeded"), "failed": failed},
            **batch.facts,
        }

    def listed(self, batches: Sequence[Json]) -> Json:
        return {"object": "list", "data": batches, "has_more": False, "first_id": None, "last_id": None}


# google/rpc/code.proto
_RPC = {400: 3, 401: 16, 403: 7, 404: 5, 429: 8, 500: 13, 503: 14}


class _Google(Form):
    wire = GoogleWire()
    prefix = "batches/"

    def read(self, body: bytes, files: Mapping[str, bytes], model: str) -> tuple[list[Entry], Json]:
        told = decode(body)["batch"]
        raw = told["inputConfig"]["requests"]["requests"]
        entries = [Entry(one["metadata"]["key"], one["request"]) for one in raw]
        return entries, {"displayName": told.get("displayName"), "model": f"models/{model}"}

    def lane(self, batch: Batch) -> tuple[Wire, Endpoint, str]:
        return self.wire, "chat", str(batch.facts["model"]).removeprefix("models/")

    def succeeded(self, body: Json) -> Json:
        return {"response": body}

    def errored(self, status: int, body: Json) -> Json:
        return {"error": {"code": _RPC[status], "message": body["error"]["message"]}}

    def unanswered(self) -> Json:
        return {"error": {"code": 4, "message": "The request was not processed in time."}}

    def shown(self, batch: Batch, base: str) -> Json:
        told: Json = {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "name": batch.id,
            "state": "BATCH_STATE_SUCCEEDED" if batch.over else "BATCH_STATE_RUNNING",
            "createTime": _moment(batch.created),
            **batch.facts,
        }
        if not batch.over:
            return {"name": batch.id, "metadata": told}
        answers = [{**entry.outcome, "metadata": {"key": entry.id}} for entry in batch.entries]
        told["output"] = {"inlinedResponses": {"inlinedResponses": answers}}
        return {"name": batch.id, "metadata": told, "done": True}

    def listed(self, batches: Sequence[Json]) -> Json:
        return {"operations": batches}


_ANTHROPIC: Form = _Anthropic()
_OPENAI: Form = _OpenAI()
_GOOGLE: Form = _Google()


def is_gemini(vendor: str, version: str) -> bool:
    """Whether a path that could be another vendor's is Gemini's: only Gemini has betas, but it has a ``v1`` too.

    Args:
        vendor: First segment of the path.
        version: Second segment.
    """
    return version.startswith("v1beta") or (vendor == "google" and version == "v1")


def batch_route(method: str, vendor: str, version: str, rest: str) -> BatchRoute | None:
    """Return the batch call that a path refers to, or None.

    Args:
        method: The HTTP method.
        vendor: First segment of the path.
        version: Second segment.
        rest: The rest of the path.
    """
    place, _, name = rest.partition("/")
    if is_gemini(vendor, version):
        model, _, action = rest.rpartition(":")
        if method == "POST" and action == "batchGenerateContent":
            return BatchRoute(vendor, _GOOGLE, "create", unquote(model).removeprefix("models/"))
        if method == "GET" and place == "batches":
            return BatchRoute(vendor, _GOOGLE, "get" if name else "list", rest)
        return None
    form = _OPENAI
    if rest.startswith("messages/batches"):
        form, place = _ANTHROPIC, "batches"
        name = rest.removeprefix("messages/batches").strip("/")
    actions = {
        ("POST", "batches", False): "create",
        ("GET", "batches", False): "list",
        ("GET", "batches", True): "get",
        ("POST", "files", False): "upload",
        ("GET", "files", True): "content",
    }
    found = actions.get((method, place, bool(name)))
    if name.endswith("/results"):
        found, name = "results", name.removesuffix("/results")
    return None if found is None else BatchRoute(vendor, form, found, name.removesuffix("/content"))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _json_lines(values: Iterable[Json]) -> bytes:
    return b"".join(encode(value) + b"\n" for value in values)


def _file_object(name: str, content: bytes) -> Json:
    return {
        "id": name,
        "object": "file",
        "bytes": len(content),
        "created_at": int(time.time()),
        "filename": "batch.jsonl",
        "purpose": "batch",
        "status": "processed",
    }


def _multipart(kind: str, body: bytes) -> dict[str, bytes]:
    """Return the parts of a form (RFC 7578), which has the format of an e-mail."""
    message: Any = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body, policy=HTTP)
    return {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
        for part in message.iter_parts()
    }
