"""The HTTP server: it routes requests, plays faults and latency, and writes the log."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, unquote

from aiohttp import web

from ..configs.errors import ConfigError
from .base import BadRequest, Counts, Reply, Wire, decode, encode
from .engine import Engine, Verdict
from .faults import IN_TRANSIT, broken_line, split, told_by_status
from .log import Log, Served
from .request import Endpoint, Request
from .scenario import Fault, Scenario
from .vendors.anthropic import AnthropicWire
from .vendors.batches import BatchDesk, BatchRoute, batch_route, is_gemini
from .vendors.decisions import DecisionsWire
from .vendors.google import GoogleWire
from .vendors.openai import OpenAIWire
from .vendors.responses import ResponsesWire

_MAX_BODY = 64 * 1024 * 1024
_ANTHROPIC, _OPENAI, _DECISIONS, _GOOGLE = AnthropicWire(), OpenAIWire(), DecisionsWire(), GoogleWire()
_POSTS: dict[str, tuple[Wire, Endpoint]] = {
    "messages": (_ANTHROPIC, "chat"),
    "messages/count_tokens": (_ANTHROPIC, "count_tokens"),
    "chat/completions": (_OPENAI, "chat"),
    "decisions": (_DECISIONS, "chat"),
    "embeddings": (_OPENAI, "embeddings"),
    "responses": (ResponsesWire(), "responses"),
    "systemone": (_DECISIONS, "chat"),
}
_METHODS: dict[str, Endpoint] = {
    "generateContent": "chat",
    "streamGenerateContent": "chat",
    "countTokens": "count_tokens",
    "embedContent": "embeddings",
    "batchEmbedContents": "embeddings",
}
# SO_LINGER on with zero seconds: closing then sends RST instead of FIN (socket(7)).
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class _Route:
    vendor: str
    wire: Wire
    endpoint: Endpoint
    model: str = ""
    stream: bool = False
    batch: BatchRoute | None = None


@dataclass(slots=True)
class _Call:
    http: web.BaseRequest
    route: _Route
    number: int
    arrived: float
    began: float
    request: Request
    recorded: bool = False
    fault: Fault | None = None
    headers: dict[str, str] = field(default_factory=dict)


class Server:
    """The request handler; `web.Server(server.handle)` serves it.

    Args:
        scenario: What to play.
        log: Where records go.
    """

    def __init__(self, scenario: Scenario, log: Log) -> None:
        self.engine = Engine(scenario)
        self.log = log
        self.stopping = asyncio.Event()
        self._number = 0
        self._desk = BatchDesk(self._record_in_batch)

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request."""
        path, _, query = http.raw_path.partition("?")
        if path.startswith("/_pointsman/"):
            return await self._control(http, path.removeprefix("/_pointsman/"))
        route = _route(http.method, path)
        if route is None:
            return _json({"error": {"message": f"no such endpoint: {http.method} {path}"}}, 404)
        self._number += 1
        request = Request(route.vendor, route.endpoint, route.model, stream=route.stream)
        call = _Call(http, route, self._number, time.perf_counter(), time.time(), request)
        try:
            return await self._serve(call, _key(http, query))
        except (asyncio.CancelledError, ConnectionError):
            if not call.recorded:
                self._record(call, None)
            raise
        except Exception:  # a rule's own function may raise anything; aiohttp logs it and answers 500
            if not call.recorded:
                self._record(call, 500)
            raise

    async def _serve(self, call: _Call, key: str | None) -> web.StreamResponse:
        wire, route, engine = call.route.wire, call.route, self.engine
        try:
            if route.endpoint not in ("models", "batches"):
                body = decode(await call.http.read())
                if not isinstance(body, dict):
                    raise BadRequest("the body must be a JSON object")
                call.request = wire.parse(route.vendor, route.endpoint, route.model, body, stream=route.stream)
        except BadRequest as error:
            return self._fail(call, Fault("bad_request", message=str(error)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # A body of the wrong shape raises one of these wherever the parser first accesses it.
            text = f"We could not parse the JSON body of your request ({type(error).__name__})."
            return self._fail(call, Fault("bad_request", message=text))
        wait = engine.take(route.vendor)
        call.headers = wire.headers(call.number, engine.headroom(route.vendor))
        if wait:
            call.fault = Fault("rate_limit", retry_after=wait)
            return self._fail(call, call.fault)
        verdict = engine.judge(call.request, key)
        call.fault = verdict.fault
        if verdict.wait:
            await asyncio.sleep(verdict.wait)
        if verdict.fault is not None:
            broken = await self._break(call, verdict.fault)
            if broken is not None:
                return broken
        if route.endpoint == "models":
            return self._whole(call, encode(wire.models(engine.scenario.models)), None)
        if route.batch is not None:
            return await self._batch(call, route.batch, key)
        try:
            reply = engine.reply(call.request, verdict, call.number, wire.manner)
        except BadRequest as error:
            return self._fail(call, Fault("server_error", message=str(error)))
        if call.request.stream:
            return await self._stream(call, reply, verdict)
        return await self._plain(call, encode(wire.body(reply)), reply)

    async def _batch(self, call: _Call, route: BatchRoute, key: str | None) -> web.StreamResponse:
        base, sent = f"{call.http.scheme}://{call.http.host}", await call.http.read()
        try:
            body = self._desk.answer(route, self.engine, key, base, call.http.headers.get("Content-Type", ""), sent)
        except (BadRequest, ValueError, TypeError) as error:
            return self._fail(call, Fault("bad_request", message=str(error)))
        except KeyError:
            return self._fail(call, Fault("not_found", message=f"there is no {route.name!r}"))
        return await self._plain(call, body, None)

    async def _break(self, call: _Call, fault: Fault) -> web.StreamResponse | None:
        """Play a fault that replaces the answer; return None if the fault still leaves an answer."""
        kind = fault.kind
        if kind == "error_in_stream" and not call.request.stream:
            return self._fail(call, _overload(fault))
        if told_by_status(fault, call.route.wire.manner):
            return self._fail(call, fault)
        if kind == "hang":
            self._record(call, None)
            await self.stopping.wait()
        elif kind == "reset":
            self._record(call, None)
            sock: socket.socket | None = call.http.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        else:
            return None
        _abort(call.http)
        return web.Response()

    def _fail(self, call: _Call, fault: Fault) -> web.Response:
        refused = call.route.wire.failure(fault, call.request, call.number)
        headers = call.headers or call.route.wire.headers(call.number, self.engine.headroom(call.route.vendor))
        self._record(call, refused.status)
        return _json(refused.body, refused.status, {**headers, **refused.headers})

    def _whole(self, call: _Call, body: bytes, reply: Reply | None) -> web.Response:
        self._record(call, 200, reply)
        return web.Response(body=body, headers={"Content-Type": "application/json", **call.headers})

    async def _plain(self, call: _Call, body: bytes, reply: Reply | None) -> web.StreamResponse:
        fault = call.fault
        if fault is None or fault.kind not in IN_TRANSIT or fault.kind == "tidy_cut":
            return self._whole(call, body, reply)
        if fault.kind == "malformed_json":
            return self._whole(call, body[: len(body) // 2], reply)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **call.headers}
        response = web.StreamResponse(headers=headers)
        await response.prepare(call.http)
        await response.write(body[: len(body) // 2])
        self._record(call, 200, reply)
        await self._leave(call, fault)
        return response

    async def _stream(self, call: _Call, reply: Reply, verdict: Verdict) -> web.StreamResponse:
        stream = call.route.wire.stream(reply)
        fault, gap = call.fault, verdict.gap
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", **call.headers}
        response = web.StreamResponse(headers=headers)
        await response.prepare(call.http)
        if fault is not None and fault.kind in IN_TRANSIT:
            before, after, share = split(stream, fault)
            await response.write(before)
            if fault.kind == "malformed_json":
                self._record(call, 200, reply)
                await response.write(broken_line(stream) + after)
                return response
            self._record(call, 200, reply, share)
            if fault.kind == "error_in_stream":
                event = call.route.wire.failure_event(_overload(fault), call.request, call.number)
                await response.write(event)
            elif fault.kind != "tidy_cut":
                await self._leave(call, fault)
            return response
        if gap:
            await response.write(b"".join(stream.head))
            for number, chunk in enumerate(stream.chunks):
                try:
                    if number:
                        await asyncio.sleep(gap)
                    await response.write(chunk)
                except (asyncio.CancelledError, ConnectionError):
                    # The client disconnected; what was sent so far is billed.
                    self._record(call, 200, reply, number / len(stream.chunks))
                    raise
            self._record(call, 200, reply)
            await response.write(b"".join(stream.tail))
        else:
            self._record(call, 200, reply)
            await response.write(b"".join([*stream.head, *stream.chunks, *stream.tail]))
        return response

    async def _leave(self, call: _Call, fault: Fault) -> None:
        """Stop midway: send nothing more, or close the connection after what was written."""
        if fault.kind == "stall":
            await self.stopping.wait()
            _abort(call.http)
        elif call.http.transport is not None:
            call.http.transport.close()

    def _record(self, call: _Call, status: int | None, reply: Reply | None = None, share: float = 1.0) -> None:
        # Written before the last byte is sent, so that a client that has the answer also finds the record.
        call.recorded = True
        served = _served(call.request, reply, call.fault, status)
        self.log.add(
            replace(
                served,
                time=call.began,
                output_tokens=round(served.output_tokens * share),
                latency_ms=(time.perf_counter() - call.arrived) * 1000,
            )
        )

    def _record_in_batch(self, request: Request, reply: Reply | None, fault: Fault | None, status: int | None) -> None:
        self.log.add(replace(_served(request, reply, fault, status), stream=False, batch=True))

    async def _control(self, http: web.BaseRequest, name: str) -> web.StreamResponse:
        match http.method, name:
            case "GET", "health":
                return _json({"status": "ok", "served": self._number})
            case "GET", "log":
                return _json([record.as_dict() for record in self.log])
            case "DELETE", "log":
                self.log.clear()
                return web.Response(status=204)
            case "PUT", "scenario":
                try:
                    scenario = Scenario.parse((await http.read()).decode("utf-8"))
                except (ConfigError, UnicodeDecodeError) as error:
                    return _json({"error": str(error)}, 400)
                self.engine = Engine(scenario)
                return _json({"rules": len(scenario.rules)})
            case _:
                return _json({"error": f"no such control endpoint: {http.method} {name}"}, 404)


class Listener:
    """A server on a socket.

    Args:
        scenario: What to play.
        log: Where records go.
        host: Address to bind; loopback by default.
        port: Port to bind, 0 for a free one.
    """

    def __init__(self, scenario: Scenario, log: Log, host: str = "127.0.0.1", port: int = 0) -> None:
        self.server = Server(scenario, log)
        self._host, self._port = host, port
        self._runner: web.ServerRunner | None = None

    async def start(self) -> str:
        """Bind and serve; return the base URL.

        Raises:
            ConfigError: The address cannot be bound.
        """
        server = web.Server(
            self.server.handle,
            request_factory=_request_factory,
            handler_cancellation=True,
            access_log=None,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self.stop()
            reason = error.strerror or "unusable address"
            raise ConfigError(f"cannot listen on {self._host}:{self._port}: {reason}; choose another port") from None
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self) -> None:
        """Release hanging requests, then close every connection."""
        self.server.stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()


def _request_factory(message, payload, protocol, writer, task):  # type: ignore[no-untyped-def]  # aiohttp's own types
    return web.BaseRequest(
        message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=_MAX_BODY
    )


def _route(method: str, path: str) -> _Route | None:
    parts = path.split("/", 3)
    if len(parts) < 4 or not parts[1]:
        return None
    _, vendor, version, rest = parts
    if version == "v1" and method == "POST" and rest in _POSTS:
        return _Route(vendor, *_POSTS[rest])
    if method == "GET" and rest == "models":
        google = is_gemini(vendor, version)
        return _Route(vendor, _GOOGLE if google else _ANTHROPIC if vendor == "anthropic" else _OPENAI, "models")
    batch = batch_route(method, vendor, version, rest)
    if batch is not None:
        return _Route(vendor, batch.form.wire, "batches", batch=batch)
    name, _, action = rest.rpartition(":")
    if method == "POST" and version in ("v1", "v1beta", "v1beta1") and action in _METHODS:
        model = unquote(name).removeprefix("models/")
        return _Route(vendor, _GOOGLE, _METHODS[action], model, action == "streamGenerateContent")
    return None


def _key(http: web.BaseRequest, query: str) -> str | None:
    headers = http.headers
    if bearer := headers.get("Authorization"):
        return bearer.removeprefix("Bearer ").strip()
    for name in ("x-api-key", "x-goog-api-key", "api-key"):
        if name in headers:
            return headers[name]
    return parse_qs(query).get("key", [None])[0] if "key=" in query else None


def _overload(fault: Fault) -> Fault:
    """Return the fault that an error in a stream reports: an overload."""
    return replace(fault, kind="overloaded")


def _served(request: Request, reply: Reply | None, fault: Fault | None, status: int | None) -> Served:
    """Return the record of a request that was just answered."""
    counts = reply.counts if reply and request.endpoint != "count_tokens" else Counts(0)
    return Served(
        time=time.time(),
        vendor=request.vendor,
        endpoint=request.endpoint,
        model=request.model,
        answered=reply.model if reply else None,
        status=status,
        fault=fault.kind if fault else None,
        stream=request.stream,
        input_tokens=counts.input,
        output_tokens=counts.output,
        cached_tokens=counts.cached,
        cache_creation_tokens=counts.cache_creation,
        latency_ms=0.0,
    )


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=encode(value), status=status, headers={"Content-Type": "application/json", **(headers or {})}
    )


def _abort(http: web.BaseRequest) -> None:
    if http.transport is not None:
        http.transport.abort()
