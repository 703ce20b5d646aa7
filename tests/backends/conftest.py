"""A loopback server that answers what a test says, byte for byte in a provider's format."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class Wire:
    """Answers every request with ``answer``: an object for a whole reply, a list of events for a stream.

    A pair is a status and a body, which may be a text.
    """

    def __init__(self) -> None:
        self.answer: Any = {}
        self.requests: list[Any] = []
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                wire.requests.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                status, answer = wire.answer if isinstance(wire.answer, tuple) else (200, wire.answer)
                stream = isinstance(answer, list)
                body = "".join(map(_event, answer)) if stream else answer
                body = body if isinstance(body, str) else json.dumps(body)
                # What answers is what was asked.
                model = wire.requests[-1].get("model")
                data = body.replace('"model": "m"', f'"model": "{model}"').encode()
                self.send_response(status)
                self.send_header("content-type", "text/event-stream" if stream else "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _event(event: Any) -> str:
    if isinstance(event, str):
        return f"data: {event}\n\n"
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n"


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()
