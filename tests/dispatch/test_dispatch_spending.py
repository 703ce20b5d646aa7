"""What is set aside for a call covers what is really sent, whoever says so and in whichever option."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from pointsman.agents.runs import run_scope
from pointsman.agents.runtime import Runtime
from pointsman.backends import registry
from pointsman.configs.errors import ConfigError
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.errors import AllFailed
from pointsman.dispatch.guards.budget import DEFAULT_OUTPUT, bounded, input_bound
from pointsman.dispatch.model import RoutedChatModel
from pointsman.dispatch.request import ModelRequest
from pointsman.ledger.budgets.budgets import BudgetExceeded
from pointsman.simulator import Simulator

Make = Callable[..., Dispatcher]
OPENAI, ANTHROPIC, GOOGLE = "openai/gpt-5.4-mini", "anthropic/claude-haiku-4-5", "google/gemini-3.5-flash"
CAP = 0.05
"""USD: enough for a plain call of each of them, tiers that are given unasked included."""


def _ask(home: Dispatcher, prefer: str, message: Any = "hello", cap: float = CAP, **options: Any) -> int:
    """Ask under a cap, and give the picodollars spent."""
    runtime = Runtime(home.settings)
    runtime.__dict__["dispatcher"] = home
    with run_scope(runtime, "test", max_cost=cap) as books:
        model = RoutedChatModel(kind="transform", tier="economy", prefer=prefer, dispatcher=home)
        (model.bind(**options) if options else model).invoke(message)
        return home.budgets.totals(f"run:{books.id}")[0]


BOUND: dict[str, tuple[str, dict[str, Any]]] = {
    "limit": (OPENAI, {"max_tokens": 100_000}),
    "limit by its newer name": (OPENAI, {"max_completion_tokens": 100_000}),
    "limit as a text": (OPENAI, {"max_tokens": "100000"}),
    "limit in the body": (OPENAI, {"extra_body": {"max_completion_tokens": 100_000}}),
    "several answers in the body": (OPENAI, {"extra_body": {"n": 8}}),
    "priority in the body": (OPENAI, {"extra_body": {"service_tier": "priority"}, "max_tokens": 8192}),
    "priority": (OPENAI, {"service_tier": "priority", "max_tokens": 8192}),
    "an earlier conversation": (OPENAI, {"previous_response_id": "resp_1"}),
    "a large schema": (OPENAI, {"response_format": {"type": "json_schema", "description": "x" * 200_000}}),
    "Anthropic's limit": (ANTHROPIC, {"max_tokens": 60_000}),
    "Google's limit": (GOOGLE, {"max_output_tokens": 60_000}),
    "Google's limit as a text": (GOOGLE, {"max_output_tokens": "60000"}),
    "a conversation that Google keeps": (GOOGLE, {"cached_content": "cachedContents/1"}),
}


@pytest.mark.parametrize("case", BOUND)
def test_a_call_whose_options_may_cost_more_than_the_cap_is_refused(
    dispatcher: Make, simulator: Simulator, case: str
) -> None:
    prefer, options = BOUND[case]
    with pytest.raises(BudgetExceeded):
        _ask(dispatcher(), prefer, **options)
    assert len(simulator.log) == 0


SETTLED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "answers": ({}, {"n": 8}),
    "answers in the body": ({}, {"extra_body": {"n": 8}}),
    "limit": ({}, {"max_tokens": 100_000}),
    "limit in the body": ({}, {"extra_body": {"max_completion_tokens": 100_000}}),
    "no limit in the body": ({}, {"extra_body": {"max_completion_tokens": "as you like"}}),
    "tier of the provider": ({"service_tier": "priority"}, {"max_tokens": 8192}),
}


@pytest.mark.parametrize("case", SETTLED)
def test_what_is_configured_for_a_model_counts_as_what_a_call_binds(
    dispatcher: Make, simulator: Simulator, case: str
) -> None:
    provider, model = SETTLED[case]
    home = dispatcher(models={OPENAI: {"options": model}}, providers={"openai": {"options": provider}})
    with pytest.raises(BudgetExceeded):
        _ask(home, OPENAI)
    assert len(simulator.log) == 0


@pytest.mark.parametrize(
    ("prefer", "block"),
    [
        (OPENAI, {"type": "file", "file": {"file_id": "file-123"}}),
        (ANTHROPIC, {"type": "file", "url": "https://example.com/a.pdf", "mime_type": "application/pdf"}),
        (ANTHROPIC, {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}),
        (ANTHROPIC, {"type": "document", "source": {"type": "file", "file_id": "file_123"}}),
    ],
)
def test_a_file_that_the_provider_fetches_counts_as_all_that_the_model_takes(
    dispatcher: Make, simulator: Simulator, prefer: str, block: dict[str, Any]
) -> None:
    message = [HumanMessage([{"type": "text", "text": "read"}, block])]
    with pytest.raises(BudgetExceeded):
        _ask(dispatcher(), prefer, message)
    assert len(simulator.log) == 0


class Greedy:
    """Speaks Chat Completions, keeps the bodies, and uses all the output that it may."""

    def __init__(self, serve: Callable[..., str]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.url = serve(self._reply) + "/v1"

    def _reply(self, request: Any) -> tuple[int, dict[str, str], bytes]:
        self.bodies.append(request.json())
        return 200, {"content-type": "application/json"}, json.dumps(_used(self.bodies[-1])).encode()


def _used(body: dict[str, Any]) -> dict[str, Any]:
    output = (body.get("max_completion_tokens") or 128_000) * body.get("n", 1)
    message = {"role": "assistant", "content": "hi"}
    return {
        "id": "c", "object": "chat.completion", "created": 1, "model": body["model"],
        "service_tier": body.get("service_tier", "default"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": output, "total_tokens": 20 + output},
    }  # fmt: skip


@pytest.fixture
def greedy(serve: Callable[..., str]) -> Greedy:
    """A provider that uses all it may."""
    return Greedy(serve)


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({}, 4096),
        ({"max_tokens": None}, 4096),
        ({"max_completion_tokens": 100}, 100),
        ({"extra_body": {"max_completion_tokens": None, "seed": 7}}, 4096),
        ({"extra_body": {"max_completion_tokens": 10}}, 10),
        ({"extra_body": {"n": 3}, "max_tokens": 500}, 500),
        ({"service_tier": "priority", "max_tokens": 500}, 500),
    ],
)
def test_a_provider_that_uses_all_it_may_stays_under_the_cap(
    dispatcher: Make, greedy: Greedy, options: dict[str, Any], limit: int
) -> None:
    home = dispatcher(providers__openai__base_url=greedy.url)
    assert 0 < _ask(home, OPENAI, **options) <= CAP * 10**12
    [body] = greedy.bodies
    assert body["max_completion_tokens"] == limit
    assert "max_tokens" not in body
    assert body.get("seed") == options.get("extra_body", {}).get("seed")


def test_a_tier_that_a_provider_may_give_unasked_is_reckoned_with_until_it_has_answered(
    dispatcher: Make, simulator: Simulator
) -> None:
    home = dispatcher()
    # Of 4,096 tokens: $0.0189 as usual, $0.0378 by priority.
    with pytest.raises(BudgetExceeded):
        _ask(home, OPENAI, cap=0.02)
    assert len(simulator.log) == 0
    assert _ask(home, OPENAI, cap=0.04) > 0
    assert _ask(home, OPENAI, cap=0.02) > 0


@pytest.mark.parametrize("most", [0, -5])
def test_an_output_of_less_than_a_token_is_refused_in_words(dispatcher: Make, simulator: Simulator, most: int) -> None:
    with pytest.raises(ConfigError, match="max_output is"):
        RoutedChatModel(kind="transform", max_output=most, dispatcher=dispatcher()).invoke("hello")
    assert len(simulator.log) == 0


def test_every_backend_that_limits_its_output_reads_that_limit_off_its_options() -> None:
    for name in registry.BACKENDS:
        backend = registry.get(name)
        if backend.output_limit is not None and name != "scripted":
            asked = backend.meter.read({backend.output_limit: 7})
            assert asked.limits == {backend.output_limit: 7}, name


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("prefer", "message", "options"),
    [
        (GOOGLE, "hello", {"thinking_budget": "plenty"}),
    ],
)
def test_what_goes_wrong_before_a_request_is_sent_costs_nothing(
    dispatcher: Make, simulator: Simulator, prefer: str, message: str, options: dict[str, Any], *, stream: bool
) -> None:
    home = dispatcher(routing__limits={"attempts": 1})
    runtime = Runtime(home.settings)
    runtime.__dict__["dispatcher"] = home
    model = RoutedChatModel(kind="transform", tier="economy", prefer=prefer, dispatcher=home)
    bound = model.bind(**options) if options else model
    with run_scope(runtime, "test", max_cost=1.0) as books:
        with pytest.raises(AllFailed):
            list(bound.stream(message)) if stream else bound.invoke(message)
        totals = home.budgets.totals(f"run:{books.id}")
    [row] = home.ledger.calls()
    assert (row.model, row.cost, totals, len(simulator.log)) == (prefer, 0, (0, 0), 0)


def test_an_option_that_stays_with_the_client_asks_for_no_money(dispatcher: Make, tmp_path: Path) -> None:
    card = {"tier": "economy", "prices": {"input": 5, "output": 25, "as_of": "2026-01-01"}}
    script = card | {"options": {"replies": ["word " * 10_000]}}
    made = {"providers": {"s": {"backend": "scripted", "local": True}}, "models": {"s/one": script}}
    (tmp_path / "models.yaml").write_text(json.dumps(made), encoding="utf-8")
    assert _ask(dispatcher(), "s/one", cap=0.3) > 0


@pytest.mark.parametrize("configured", [False, True])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        (ANTHROPIC, {"thinking": {"type": "enabled", "budget_tokens": 9000}}),
        (GOOGLE, {"thinking_budget": 9000}),
    ],
)
def test_a_limit_that_nobody_set_leaves_room_beside_what_the_model_may_think(
    dispatcher: Make, name: str, options: dict[str, Any], *, configured: bool
) -> None:
    home = dispatcher(**({f"models.{name}.options": options} if configured else {}))
    card = home.cards[name]
    backend, settled = home.clients.backend(card), home.clients.asked(card)
    asked = {} if configured else options
    bound = bounded(home.prices, card, ModelRequest(()), [], asked, backend=backend, settled=settled)
    assert bound.options[backend.output_limit or ""] == 9000 + DEFAULT_OUTPUT


_LONG = "x" * 5000
_CALL = {"name": "look", "args": {"q": _LONG}, "id": "1"}


@pytest.mark.parametrize(
    "said",
    [
        {"content": _LONG},
        {"content": [_LONG]},
        {"content": [{"type": "text", "text": _LONG}]},
        {"content": [{"type": "text", "text": "", "cache_control": _LONG}]},
        {"content": [{"type": "image", "base64": "AA", "mime_type": "image/png"}] * 5},
        {"tool_calls": [_CALL]},
        {"invalid_tool_calls": [{**_CALL, "args": _LONG, "error": None}]},
        {"additional_kwargs": {"reasoning_content": _LONG}},
    ],
)
def test_whatever_a_message_carries_is_within_the_bound_of_its_input(said: dict[str, Any]) -> None:
    empty, full = AIMessage(""), AIMessage(**{"content": "", **said})
    assert input_bound([full, empty], ()) - input_bound([empty, empty], ()) >= 5000


@pytest.mark.parametrize(
    ("block", "fetched"),
    [
        ({"type": "container_upload", "file_id": "f"}, True),
        ({"type": "audio", "url": "https://example.org/a.mp3"}, True),
        ({"type": "audio", "base64": "AA", "mime_type": "audio/mp3"}, False),
        ({"type": "bash_result", "content": "ls"}, False),
        ({"type": "tool_result", "content": "ls"}, False),
    ],
)
def test_what_the_provider_fetches_may_fill_the_window_and_what_is_sent_is_counted(
    block: dict[str, Any], fetched: bool
) -> None:
    assert (input_bound([AIMessage([block])], (), window=50_000) == 50_000) is fetched


def test_what_a_message_says_is_counted_beside_what_it_calls_and_carries() -> None:
    parts: list[dict[str, Any]] = [
        {"content": _LONG},
        {"tool_calls": [_CALL]},
        {"additional_kwargs": {"reasoning_content": _LONG}},
    ]
    empty = input_bound([AIMessage("")], ())
    alone = [input_bound([AIMessage(**{"content": "", **part})], ()) - empty for part in parts]
    together = AIMessage(**{name: value for part in parts for name, value in part.items()})
    assert input_bound([together], ()) - empty == sum(alone)
