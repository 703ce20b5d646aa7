"""Results of batches as no provider should write them: each ask is answered, each row paid, nothing blocks the rest."""

from __future__ import annotations

import copy
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from pointsman.configs.words import StepKind
from pointsman.dispatch.batch.batches import Batches
from pointsman.dispatch.context import RunContext
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.guards.budget import scopes_of
from pointsman.dispatch.request import ModelRequest
from pointsman.routing.request import RouteRequest
from pointsman.simulator import Simulator

Make = Callable[..., Dispatcher]
Lines = list[Any]
_MODELS = {"anthropic": "anthropic/claude-haiku-4-5", "openai": "openai/gpt-5.4-mini"}
_KEPT = ("content-type", "x-api-key", "authorization", "anthropic-version")


class Tampering:
    """A proxy before the simulator that changes the lines of a file of results."""

    def __init__(self, serve: Callable[..., str], simulator: Simulator) -> None:
        self.change: Callable[[Lines], Lines] = list
        self._to = simulator.base_url
        self.url = serve(self._pass_on)

    def _pass_on(self, asked: Any) -> tuple[int, dict[str, str], bytes]:
        headers = {name: asked.headers[name] for name in _KEPT if asked.headers.get(name)}
        request = urllib.request.Request(self._to + asked.path, asked.body or None, headers, method=asked.method)
        try:
            with urllib.request.urlopen(request) as reply:
                status, kind, body = reply.status, reply.headers["content-type"], reply.read()
        except urllib.error.HTTPError as error:
            status, kind, body = error.code, error.headers["content-type"], error.read()
        if asked.method == "GET" and asked.path.rpartition("/")[2].partition("?")[0] in ("results", "content"):
            changed = self.change([json.loads(line) for line in body.splitlines() if line.strip()])
            body = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in changed)
        return status, {"content-type": kind}, body.replace(self._to.encode(), self.url.encode())


@pytest.fixture
def tampering(serve: Callable[..., str], simulator: Simulator) -> Tampering:
    """A proxy that changes what a batch brought."""
    return Tampering(serve, simulator)


def _with(line: Any, value: Any, *path: str) -> Any:
    """A line with another value at a place, whichever vendor's it is."""
    changed = inner = copy.deepcopy(line)
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return changed


def _answer(line: Any) -> tuple[str, ...]:
    return ("result", "message") if "result" in line else ("response", "body")


def _usage(value: Any) -> Callable[[Lines], Lines]:
    return lambda lines: [_with(line, value, *_answer(line), "usage") for line in lines]


def _first(change: Callable[[Any], Any]) -> Callable[[Lines], Lines]:
    return lambda lines: [change(lines[0]), *lines[1:]]


def _wordless(line: Any) -> Any:
    if "result" in line:
        return _with(line, None, "result", "message", "content")
    return _with(line, None, "response", "body", "choices")


# What is done to three results -> how many of them are asked again live, and how many of their rows are charged as
# reserved, since what they cost is not known.
CASES: dict[str, tuple[Callable[[Lines], Lines], int, int]] = {
    "as they are": (list, 0, 0),
    "twice": (lambda lines: lines + lines, 0, 0),
    "negative usage": (
        _usage({"input_tokens": -5, "output_tokens": 9, "prompt_tokens": -5, "completion_tokens": 9}),
        0,
        3,
    ),
    "usage that is no number": (_usage({"input_tokens": float("nan"), "prompt_tokens": float("nan")}), 0, 3),
    "no usage": (_usage(None), 0, 3),
    "a line that is no JSON": (lambda lines: [b'{"broken\n', *lines], 0, 0),
    "a line that is null": (lambda lines: [None, *lines], 0, 0),
    "an empty line": (lambda lines: [b"\n", *lines], 0, 0),
    "a key that only looks like a number": (
        lambda lines: [{**lines[0], "custom_id": lines[0]["custom_id"][:-1] + "²"}, *lines],
        0,
        0,
    ),
    "a line without a key": (_first(lambda line: {k: v for k, v in line.items() if k != "custom_id"}), 1, 1),
    "a key that is no text": (_first(lambda line: {**line, "custom_id": 7}), 1, 1),
    "no result": (_first(lambda line: _with(line, None, "result" if "result" in line else "response")), 1, 1),
    "a result that is a text": (
        _first(lambda line: _with(line, "?", "result" if "result" in line else "response")),
        1,
        1,
    ),
    "no lines": (lambda lines: [], 3, 3),
    "a line too few": (lambda lines: lines[1:], 1, 1),
    "an answer without its content": (_first(_wordless), 1, 0),
}


@pytest.mark.parametrize("vendor", _MODELS)
@pytest.mark.parametrize("case", CASES)
async def test_whatever_a_batch_brings_each_ask_is_answered_and_each_row_says_what_was_charged(
    dispatcher: Make, simulator: Simulator, tampering: Tampering, case: str, vendor: str
) -> None:
    change, again, reserved = CASES[case]
    tampering.change = change
    base = simulator.url(vendor).replace(simulator.base_url, tampering.url)
    home = dispatcher(routing__budgets={"day": 5.0}, **{f"providers__{vendor}__base_url": base})
    waiting = Batches(home)
    asks = [
        ModelRequest([HumanMessage(f"ask {number}")], RouteRequest(kind=StepKind.TRANSFORM, model=_MODELS[vendor]))
        for number in range(3)
    ]
    try:
        answers = await waiting.collect(await waiting.submit(asks), pause=0.01)
    finally:
        waiting.close()
    home.ledger.flush()
    rows = list(home.ledger.calls())
    assert [answer.error for answer in answers] == [None] * 3
    assert len(rows) == 3 + again
    assert sum("charged as reserved" in row.detail for row in rows) == reserved
    assert all(row.cost is not None for row in rows)
    [today] = scopes_of(RunContext("any"), home.policy.routing.budgets)
    assert home.budgets.totals(today) == (sum(row.cost or 0 for row in rows), 0)
