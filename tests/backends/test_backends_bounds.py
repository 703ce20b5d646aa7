"""A reply is bounded in size and in time, however it comes."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman.backends.base import BackendError
from pointsman.backends.replies import bounds
from pointsman.configs.loading.loader import load
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.ensemble.ensemble import Ensemble, EnsembleFailed
from pointsman.dispatch.model import RoutedChatModel

_LONG = 1_000_000.0
_WORD = {"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}
_END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}}  # fmt: skip


class Drip:
    """Answers every request with ``pieces``, one after the other, until they end or the client hangs up."""

    def __init__(self, serve: Callable[..., str]) -> None:
        self.pieces: Callable[[], Iterable[bytes]] = list
        self.headers: dict[str, str] = {}
        self.sent = 0
        self.requests = 0
        self.going = threading.Event()
        self.url = serve(self._reply)

    def _reply(self, request: Any) -> tuple[int, dict[str, str], Iterable[bytes]]:
        self.requests += 1
        kind = "text/event-stream" if request.json().get("stream") else "application/json"
        return 200, {"content-type": kind, **self.headers}, self._counted()

    def _counted(self) -> Iterator[bytes]:
        for piece in self.pieces():
            yield piece
            self.sent += len(piece)


@pytest.fixture
def drip(serve: Callable[..., str]) -> Iterator[Drip]:
    made = Drip(serve)
    yield made
    made.going.set()


@pytest.fixture
def model(drip: Drip, tmp_path: Path) -> Iterator[Callable[..., RoutedChatModel]]:
    made: list[Dispatcher] = []

    def make(provider: str = "vllm", **flags: Any) -> RoutedChatModel:
        entry = "{tier: frontier, context: 9000, prices: {input: 1, output: 1, as_of: 2026-01-01}}"
        base = drip.url + ("/v1" if provider == "vllm" else "")
        (tmp_path / "models.yaml").write_text(
            f"providers: {{{provider}: {{enabled: true, base_url: '{base}'}}}}\n"
            f"models: {{{provider}/local-1: {entry}, {provider}/local-2: {entry}}}\n",
            encoding="utf-8",
        )
        names = f"[{provider}/local-1, {provider}/local-2]"
        given = {"routing.approved": names, "routing.limits.attempts": 1, **flags}
        keys = dict.fromkeys(("ANTHROPIC_API_KEY", "GOOGLE_API_KEY"), "not-a-real-key")
        made.append(Dispatcher(load(tmp_path, environ=keys, flags=given, user=tmp_path / "nobody")))
        return RoutedChatModel(kind="transform", dispatcher=made[-1])

    yield make
    for one in made:
        one.ledger.close()


def _endless(piece: bytes) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        while True:
            yield piece

    return pieces


def _event(data: Any) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(bounds, "MOST_BYTES", 1_000_000)
    monkeypatch.setattr(bounds, "MOST_STREAMED", 1_000_000)
    return 1_000_000


@pytest.mark.parametrize("piece", [b" " * 10_000, b"\n" * 10_000], ids=["spaces", "lines"])
@pytest.mark.parametrize("how", ["plain", "hedged", "ensemble"])
def test_a_body_without_end_is_broken_off(drip: Drip, model: Any, small: int, piece: bytes, how: str) -> None:
    drip.pieces = _endless(piece)
    chat = model()
    asked: Any = Ensemble([chat, chat], quorum=1)
    if how != "ensemble":
        asked = chat.model_copy(update={"latency": "critical" if how == "hedged" else "interactive"})
    with pytest.raises(BackendError, match="longer than") as caught:
        asked.invoke("Hi")
    assert caught.value.kind == "malformed" or isinstance(caught.value, EnsembleFailed)
    # What the system keeps on its way is on top.
    assert drip.sent < drip.requests * (small + 20_000_000)
    assert {row.failure for row in chat.dispatcher.ledger.calls()} == {"malformed"}


@pytest.mark.parametrize("provider", ["anthropic", "google"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_every_vendors_body_without_end_is_broken_off(
    drip: Drip, model: Any, small: int, provider: str, stream: bool
) -> None:
    drip.pieces = _endless(b"data: " + b"x" * 10_000)
    chat = model(provider)
    with pytest.raises(BackendError, match="longer than") as caught:
        list(chat.stream("Hi")) if stream else chat.invoke("Hi")
    assert caught.value.kind == "malformed"
    assert drip.sent < drip.requests * (small + 20_000_000)


@pytest.mark.slow
def test_a_body_that_grows_when_it_is_unpacked_is_broken_off(drip: Drip, model: Any, small: int) -> None:
    packed = gzip.compress(b" " * 50_000_000)
    drip.headers, drip.pieces = {"content-encoding": "gzip"}, lambda: [packed]
    with pytest.raises(BackendError, match="longer than"):
        model().invoke("Hi")
    assert len(packed) < small


def test_an_event_without_end_is_broken_off(drip: Drip, model: Any, small: int) -> None:
    drip.pieces = _endless(b"data: " + b"x" * 10_000)
    with pytest.raises(BackendError, match="longer than"):
        list(model().stream("Hi"))


@pytest.mark.parametrize(
    "delta",
    [{"content": "word "}, {"content": ""}, {"reasoning_content": "hm"},
     {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "x"}}]}],
    ids=["words", "nothing", "thoughts", "arguments"],
)  # fmt: skip
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_reply_without_end_is_over_at_the_deadline(
    drip: Drip, model: Any, leap: Any, delta: Any, stream: bool
) -> None:
    piece = _event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}) if stream else b" "
    drip.pieces = _endless(piece)
    limits = {f"routing.limits.{name}": _LONG for name in ("deadline", "call", "first_token", "stall")}
    chat = model(**limits)
    with leap.when(lambda: drip.sent > 20 * len(piece), _LONG + 1), pytest.raises(BackendError) as caught:
        list(chat.stream("Hi")) if stream else chat.invoke("Hi")
    assert caught.value.kind == "timeout"


async def test_bytes_that_make_no_chunk_are_a_sign_of_life(drip: Drip, model: Any, leap: Any) -> None:
    beats = 0

    def pieces() -> Iterator[bytes]:
        nonlocal beats
        while beats < 6:
            yield b": at work\n\n"
            # It has been written when the next is asked for.
            beats += 1
            drip.going.wait()
            drip.going.clear()
        yield _event({**_WORD, "model": "local-1"})
        yield _event(_END)

    drip.pieces = pieces
    chat = model(**{"routing.limits.first_token": 1000.0, "routing.limits.deadline": _LONG, "routing.approved":
                    "[vllm/local-1]"})  # fmt: skip
    answer = asyncio.ensure_future(chat.ainvoke("Hi", stream=True))
    seen = 0
    while not answer.done():
        await asyncio.sleep(0.01)
        if beats > seen:
            # This loop reads what is there within a few turns; then most of the patience passes.
            for _ in range(20):
                await asyncio.sleep(0.001)
            seen = beats
            leap.forward(600)
            drip.going.set()
    assert (await answer).text == "word "
    assert seen == 6


def test_a_reply_that_calls_thousands_of_tools_is_refused_soon(drip: Drip, model: Any) -> None:
    calls = [{"index": n, "id": f"c{n}", "function": {"name": "f", "arguments": "{}"}} for n in range(3000)]
    drip.pieces = lambda: [_event({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}) for call in calls]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    with pytest.raises(BackendError, match="more than 256 tools") as caught:
        list(model().bind(tools=[tool], effects=["read"]).stream("Hi"))
    assert caught.value.kind == "invalid_output"
