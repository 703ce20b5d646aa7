"""One suite for every batch API, over the vendors' own SDKs, against the loopback simulator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from pointsman.backends import registry
from pointsman.backends.base import Backend, BackendError, Endpoint
from pointsman.backends.batch.base import BatchApi, BatchRequest
from pointsman.configs.catalog import Usage
from pointsman.configs.words import FailureKind
from pointsman.simulator import Answer, BatchPace, Fault, Match, Rule, Scenario, Simulator, ToolCall
from pointsman.simulator import Usage as Tokens
from pydantic import SecretStr

_KEY = "sk-quite-secret-0123456789"
_LABEL = "0123456789abcdef0123456789abcdef"
_FORECAST = {
    "type": "function",
    "function": {
        "name": "forecast",
        "description": "Forecast the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]


@dataclass(frozen=True)
class _Case:
    backend: str
    model: str
    options: dict[str, Any] = field(default_factory=dict)


_CASES = {
    "anthropic": _Case("anthropic", "claude-haiku-4-5"),
    "openai": _Case("openai", "gpt-5.4-mini"),
    "openai-responses": _Case("openai", "gpt-5.4-mini", {"use_responses_api": True}),
    "google": _Case("google", "gemini-3.5-flash"),
}


@pytest.fixture(params=list(_CASES))
def case(request: pytest.FixtureRequest) -> _Case:
    return _CASES[request.param]


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture
def backend(case: _Case) -> Backend:
    return registry.get(case.backend)


@pytest.fixture
def api(case: _Case) -> BatchApi:
    api = registry.batches(case.backend)
    assert api is not None
    return api


@pytest.fixture
def build(case: _Case, backend: Backend, sim: Simulator) -> Callable[..., Any]:
    def build(**changes: Any) -> Any:
        key = SecretStr(changes.pop("key", _KEY))
        url = sim.url(case.backend)
        return backend.chat_model(
            Endpoint(model=case.model, base_url=url, key=key, options=case.options, timeout=240.0, **changes)
        )

    return build


def _asked(*texts: str, **options: Any) -> list[BatchRequest]:
    return [
        BatchRequest(f"{_LABEL}-{place}", [SystemMessage("Be brief."), HumanMessage(text)], options)
        for place, text in enumerate(texts)
    ]


async def _ended(api: BatchApi, model: Any, batch: str) -> dict[str, AIMessage | BackendError]:
    """Poll until it is over, at most a few times, and collect."""
    for _ in range(5):
        if (await api.state(model, batch)).over:
            return {name: outcome async for name, outcome in api.collect(model, batch)}
    raise AssertionError("the batch does not end")


async def test_a_batch_is_submitted_polled_and_collected(
    api: BatchApi, backend: Backend, case: _Case, build: Any, sim: Simulator
) -> None:
    sim.scenario = Scenario(
        rules=[Rule(match=Match(contains="one"), answer="first"), Rule(match=Match(contains="two"), answer="second")],
        batches=BatchPace(polls=2),
    )
    model = build()
    batch = await api.submit(model, _LABEL, _asked("one", "two"))
    states = [await api.state(model, batch) for _ in range(3)]
    assert [state.over for state in states] == [False, False, True]
    answers = {name: outcome async for name, outcome in api.collect(model, batch)}
    assert {name: answer.text for name, answer in answers.items() if isinstance(answer, AIMessage)} == {
        f"{_LABEL}-0": "first",
        f"{_LABEL}-1": "second",
    }
    for answer in answers.values():
        assert isinstance(answer, AIMessage)
        reply = backend.read(answer)
        assert reply.failure is None
        assert backend.same_model(case.model, reply.model or "")


async def test_a_request_in_a_batch_says_what_a_live_call_says(
    api: BatchApi, backend: Backend, build: Any, sim: Simulator
) -> None:
    seen: list[Any] = []

    def look(request: Any) -> Answer:
        seen.append(request)
        return Answer(
            tool_calls=(ToolCall("forecast", {"city": "Oslo"}, id="call_1"),), usage=Tokens(input=7, output=3)
        )

    sim.scenario = Scenario(rules=[Rule(answer=look)], batches=BatchPace(polls=0))
    model = build()
    bound = model.bind_tools([_FORECAST], tool_choice="forecast")
    options = {**bound.kwargs, backend.output_limit or "": 77, "stop": ["END"]}
    live = await model.ainvoke([SystemMessage("Be brief."), HumanMessage("Oslo?")], **options)
    answers = await _ended(api, model, await api.submit(model, _LABEL, _asked("Oslo?", **options)))
    [answer] = answers.values()
    assert isinstance(answer, AIMessage)
    assert answer.tool_calls == live.tool_calls
    assert backend.read(answer) == backend.read(live)
    assert backend.read(answer).usage == Usage(7, 3)
    alike = ("messages", "tools", "tool_choice", "tool_name", "max_tokens", "stop", "schema", "stream", "model")
    first, second = ({name: getattr(request, name) for name in alike} for request in seen)
    assert first == second
    assert first["max_tokens"] == 77


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("bad_request"), FailureKind.BAD_REQUEST),
        (Fault("context_overflow"), FailureKind.CONTEXT_LENGTH),
        (Fault("overloaded"), FailureKind.OVERLOADED),
        (Fault("server_error"), FailureKind.OVERLOADED),
        (Fault("rate_limit"), FailureKind.RATE_LIMIT),
        (Fault("not_found"), FailureKind.UNAVAILABLE),
        (Fault("hang"), FailureKind.TIMEOUT),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
async def test_one_request_fails_by_the_table_of_live_calls_and_the_others_do_not(
    api: BatchApi, build: Any, sim: Simulator, fault: Fault, kind: FailureKind
) -> None:
    sim.scenario = Scenario(rules=[Rule(match=Match(contains="bad"), fault=fault)])
    model = build()
    answers = await _ended(api, model, await api.submit(model, _LABEL, _asked("good", "bad", "fine")))
    failed = answers.pop(f"{_LABEL}-1")
    assert isinstance(failed, BackendError)
    assert failed.kind is kind
    assert "\n" not in str(failed)
    assert [type(answer) for answer in answers.values()] == [AIMessage, AIMessage]


async def test_an_unusable_reply_reads_as_in_a_live_call(
    api: BatchApi, backend: Backend, build: Any, sim: Simulator
) -> None:
    sim.scenario = Scenario(rules=[Rule(match=Match(contains="long"), answer="one two three", fault="truncation")])
    model = build()
    [answer] = (await _ended(api, model, await api.submit(model, _LABEL, _asked("long")))).values()
    assert isinstance(answer, AIMessage)
    assert backend.read(answer).failure is FailureKind.TRUNCATED


async def test_what_the_client_raises_is_translated_by_the_backend(
    api: BatchApi, backend: Backend, build: Any, sim: Simulator
) -> None:
    for fault, kind in (("overloaded", FailureKind.OVERLOADED), ("auth", FailureKind.AUTH)):
        sim.scenario = Scenario(rules=[Rule(match=Match(endpoint="batches"), fault=fault)])
        sim.log.clear()
        with pytest.raises(Exception) as caught:  # noqa: PT011  # each client raises its own
            await api.submit(build(), _LABEL, _asked("hello"))
        failure = backend.failure(caught.value)
        assert failure is not None
        assert failure.kind is kind
        assert _KEY not in str(failure)
        assert len(sim.log) == 1


async def test_a_batch_nobody_knows_is_told_with_its_status(api: BatchApi, backend: Backend, build: Any) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each client raises its own
        await api.state(build(), "batches/none")
    failure = backend.failure(caught.value)
    assert failure is not None
    assert failure.status == 404


def _create_breaks_off(case: _Case) -> Scenario:
    """The provider takes the batch in, and its answer gets lost on the way."""
    after = 1 if case.backend == "openai" else 0
    return Scenario(rules=[Rule(match=Match(endpoint="batches", after=after), fault="cut_stream")])


async def test_a_batch_whose_receipt_was_lost_is_found_and_not_handed_in_twice(
    api: BatchApi, backend: Backend, case: _Case, build: Any, sim: Simulator
) -> None:
    before = time.time()
    sim.scenario = _create_breaks_off(case)
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each client raises its own
        await api.submit(build(), _LABEL, _asked("hello", "world"))
    failure = backend.failure(caught.value)
    assert failure is not None
    assert failure.kind is FailureKind.CONNECTION

    sim.scenario = Scenario(batches=BatchPace(polls=0))
    model = build()
    sim.log.clear()
    other = await api.submit(model, "f" * 32, [BatchRequest("f" * 32 + "-0", [HumanMessage("another")], {})])
    assert (await api.state(model, other)).over
    if case.backend == "anthropic":
        # No label is kept with a batch there, so only its answers tell which one it is.
        with pytest.raises(BackendError) as undecided:
            await api.submit(model, _LABEL, _asked("hello", "world"), since=before)
        assert undecided.value.kind is FailureKind.TIMEOUT
        assert (await api.state(model, str(undecided.value).split()[0])).over
    found = await api.submit(model, _LABEL, _asked("hello", "world"), since=before)
    answers = await _ended(api, model, found)
    assert set(answers) == {f"{_LABEL}-0", f"{_LABEL}-1"}
    assert sum(served.batch for served in sim.log) == 3


async def test_a_batch_that_never_arrived_is_handed_in_when_looked_for(
    api: BatchApi, build: Any, sim: Simulator
) -> None:
    model = build()
    batch = await api.submit(model, _LABEL, _asked("hello"), since=time.time())
    assert set(await _ended(api, model, batch)) == {f"{_LABEL}-0"}


async def test_the_provider_bills_half(api: BatchApi, case: _Case, build: Any, sim: Simulator) -> None:
    sim.scenario = Scenario(rules=[Rule(answer=Answer(text="hi", usage=Tokens(input=1000, output=1000)))])
    model = build()
    await model.ainvoke("hello")
    await _ended(api, model, await api.submit(model, _LABEL, _asked("hello")))
    live, batched = (served for served in sim.log if served.endpoint != "batches")
    assert (live.batch, batched.batch) == (False, True)
    assert live.cost_usd
    assert batched.cost_usd == pytest.approx(live.cost_usd / 2)


@pytest.mark.parametrize("name", sorted(set(registry.BACKENDS) - set(registry.BATCHES)))
def test_a_backend_without_a_batch_api_has_none(name: str) -> None:
    assert registry.batches(name) is None
