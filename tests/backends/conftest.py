"""A server that answers what a test says, byte for byte in a provider's format."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


class Wire:
    """Answers every request with ``answer``: an object for a whole reply, a list of events for a stream.

    A pair is a status and a body, which may be a text.
    """

    def __init__(self, serve: Callable[..., str]) -> None:
        self.answer: Any = {}
        self.requests: list[Any] = []
        self.url = serve(self._reply)

    def _reply(self, request: Any) -> tuple[int, dict[str, str], bytes]:
        self.requests.append(request.json())
        status, answer = self.answer if isinstance(self.answer, tuple) else (200, self.answer)
        stream = isinstance(answer, list)
        body = "".join(map(_event, answer)) if stream else answer
        body = body if isinstance(body, str) else json.dumps(body)
        # What answers is what was asked.
        body = body.replace('"model": "m"', f'"model": "{self.requests[-1].get("model")}"')
        return status, {"content-type": "text/event-stream" if stream else "application/json"}, body.encode()


def _event(event: Any) -> str:
    if isinstance(event, str):
        return f"data: {event}\n\n"
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n"


@pytest.fixture(scope="module")
def wire(serve: Callable[..., str]) -> Wire:
    return Wire(serve)
