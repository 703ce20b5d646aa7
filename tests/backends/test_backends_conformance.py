"""One suite for every backend, run by the chat models that they build, against the loopback simulator."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.integration_tests import chat_models as suite
from langchain_tests.unit_tests import ChatModelUnitTests
from pointsman.backends import registry
from pointsman.backends.base import Backend, BackendError, Endpoint
from pointsman.backends.replies.reply import Reply
from pointsman.backends.scripted import ScriptedChatModel
from pointsman.configs.catalog import Usage
from pointsman.configs.words import FailureKind
from pointsman.simulator import Answer, Fault, Rule, Scenario, Simulator, ToolCall
from pointsman.simulator import Usage as Tokens
from pydantic import SecretStr

_KEY = "sk-quite-secret-0123456789"
_TEXT = "One two three four five six seven eight nine ten."
_HASTY = 1.0
_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f64540"
    "0000000049454e44ae426082"
)
_FILES = {"png": _PNG, "pdf": b"%PDF-1.4\n%%EOF\n", "wav": b"RIFF\x24\x00\x00\x00WAVEfmt "}

pytestmark = [
    # A chat model's connections belong to the event loop they were made in, so all tests here share one...
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:.*is marked with '@pytest.mark.asyncio' but:pytest.PytestWarning"),
    # ...and nobody closes them.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    # Advice the partner classes give about the suite's own requests.
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema:UserWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.filterwarnings("ignore:OpenAI may require a filename:UserWarning"),
    pytest.mark.filterwarnings("ignore:Cannot currently include response headers:UserWarning"),
    # google-genai subclasses aiohttp.ClientSession.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]


@dataclass(frozen=True)
class _Case:
    """A backend, the URL segment and model it is tried with, and options for its endpoint."""

    backend: str
    vendor: str
    model: str
    responses: bool = False

    def endpoint(self, sim: Simulator, **changes: Any) -> Endpoint:
        options = {"use_responses_api": True} if self.responses else {}
        settings = {"base_url": sim.url(self.vendor), "key": SecretStr(_KEY), "options": options, **changes}
        return Endpoint(model=self.model, **settings)


_CASES = {
    "anthropic": _Case("anthropic", "anthropic", "claude-haiku-4-5"),
    "openai": _Case("openai", "openai", "gpt-5.4-mini"),
    "openai-responses": _Case("openai", "openai", "gpt-5.4-mini", responses=True),
    "openai_compatible": _Case("openai_compatible", "vllm", "meta-llama/Llama-4-Scout-17B-16E-Instruct"),
    "google": _Case("google", "google", "gemini-3.5-flash"),
}


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(sim: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "langchain_google_genai")
    sim.scenario = Scenario()
    sim.log.clear()


@pytest.fixture(scope="module")
def built(sim: Simulator) -> Callable[..., BaseChatModel]:
    made: dict[tuple[str, float], BaseChatModel] = {}

    def build(name: str, timeout: float = 20.0) -> BaseChatModel:
        if (name, timeout) not in made:
            case = _CASES[name]
            made[name, timeout] = registry.get(case.backend).chat_model(case.endpoint(sim, timeout=timeout))
        return made[name, timeout]

    return build


@pytest.fixture
def play(sim: Simulator) -> Callable[..., None]:
    def play(fault: str | Fault | None, answer: Any = _TEXT) -> None:
        sim.scenario = Scenario(rules=(Rule(fault=fault, answer=answer),))

    return play


@pytest.fixture(params=list(_CASES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def backend(name: str) -> Backend:
    return registry.get(_CASES[name].backend)


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def _ask(model: Any, stream: bool, messages: Any = "Count to ten.") -> AIMessage:
    if not stream:
        return await model.ainvoke(messages)
    whole: Any = None
    async for chunk in model.astream(messages):
        whole = chunk if whole is None else whole + chunk
    return whole


async def _failure(backend: Backend, model: Any, stream: bool) -> BackendError:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each client raises its own
        await _ask(model, stream)
    failure = backend.failure(caught.value)
    assert failure is not None, f"unmapped: {caught.value!r}"
    assert _KEY not in str(failure)
    assert "\n" not in str(failure)
    return failure


async def test_a_plain_answer_is_read_whole(
    name: str, backend: Backend, stream: bool, built: Any, play: Any, sim: Simulator
) -> None:
    play(None)
    message = await _ask(built(name), stream)
    reply = backend.read(message)
    assert message.text == _TEXT
    assert reply.failure is None
    assert reply.finish is not None
    assert backend.same_model(_CASES[name].model, reply.model or "")
    [served] = sim.log
    assert reply.usage == Usage(served.input_tokens, served.output_tokens)


async def test_cached_tokens_are_counted_within_the_input(
    name: str, backend: Backend, stream: bool, built: Any, play: Any, sim: Simulator
) -> None:
    written = 300 if name == "anthropic" else None
    play(None, Answer(text="Hi.", usage=Tokens(input=2000, output=7, cached=1200, cache_creation=written)))
    reply = backend.read(await _ask(built(name), stream))
    [served] = sim.log
    assert (served.input_tokens, served.cached_tokens) == (2000, 1200)
    assert reply.usage == Usage(2000, 7, 1200, served.cache_creation_tokens)


async def test_a_tool_call_is_no_empty_answer(name: str, backend: Backend, stream: bool, built: Any, play: Any) -> None:
    @tool
    def forecast(city: str) -> str:
        """Forecast the weather."""
        return city

    play(None, Answer(tool_calls=(ToolCall("forecast", {"city": "Oslo"}),)))
    message = await _ask(built(name).bind_tools([forecast]), stream)
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("forecast", {"city": "Oslo"})]
    assert backend.read(message).failure is None


async def test_a_dated_name_is_the_same_model_and_a_substitute_is_not(
    name: str, backend: Backend, stream: bool, built: Any, play: Any
) -> None:
    asked = _CASES[name].model
    for answered, same in ((f"{asked}-20260423", True), (f"{asked}-pro", False)):
        play(Fault("wrong_model", model=answered))
        reply = backend.read(await _ask(built(name), stream))
        assert reply.model == answered
        assert backend.same_model(asked, answered) is same


_RAISED: list[tuple[Fault, FailureKind]] = [
    (Fault("rate_limit", retry_after=2.5), FailureKind.RATE_LIMIT),
    (Fault("server_error"), FailureKind.OVERLOADED),
    (Fault("unavailable"), FailureKind.OVERLOADED),
    (Fault("overloaded"), FailureKind.OVERLOADED),
    (Fault("error_in_stream"), FailureKind.OVERLOADED),
    (Fault("auth"), FailureKind.AUTH),
    (Fault("auth", "invalid_key"), FailureKind.AUTH),
    (Fault("permission"), FailureKind.UNAVAILABLE),
    (Fault("not_found"), FailureKind.UNAVAILABLE),
    (Fault("bad_request"), FailureKind.BAD_REQUEST),
    (Fault("context_overflow"), FailureKind.CONTEXT_LENGTH),
    (Fault("malformed_json"), FailureKind.MALFORMED),
    (Fault("reset"), FailureKind.CONNECTION),
    (Fault("cut_stream", after_chunks=3), FailureKind.CONNECTION),
]


@pytest.mark.parametrize(("fault", "kind"), _RAISED, ids=[f"{fault.kind}-{fault.variant}" for fault, _ in _RAISED])
async def test_a_fault_becomes_its_kind_after_exactly_one_request(
    name: str, backend: Backend, stream: bool, built: Any, play: Any, sim: Simulator, fault: Fault, kind: FailureKind
) -> None:
    play(fault)
    failure = await _failure(backend, built(name), stream)
    assert failure.kind is kind
    assert len(sim.log) == 1
    told = fault.kind not in ("malformed_json", "reset", "cut_stream", "error_in_stream")
    assert failure.status == (sim.log[0].status if told else failure.status)
    assert failure.retry_after == (2.5 if kind is FailureKind.RATE_LIMIT else None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hang", "stall"])
async def test_silence_is_a_time_out_after_exactly_one_request(
    name: str, backend: Backend, stream: bool, built: Any, play: Any, sim: Simulator, kind: Any
) -> None:
    play(kind)
    failure = await _failure(backend, built(name, _HASTY), stream)
    assert failure.kind is FailureKind.TIMEOUT
    assert len(sim.log) == 1


async def test_a_server_that_is_not_there_is_a_connection_failure(name: str, backend: Backend) -> None:
    with Simulator() as gone:
        endpoint = _CASES[name].endpoint(gone)
    failure = await _failure(backend, backend.chat_model(endpoint), stream=False)
    assert failure.kind is FailureKind.CONNECTION


@pytest.mark.parametrize("name", ["openai", "openai-responses", "openai_compatible"])
async def test_a_spent_quota_is_no_rate_limit(backend: Backend, name: str, stream: bool, built: Any, play: Any) -> None:
    play(Fault("rate_limit", "insufficient_quota"))
    assert (await _failure(backend, built(name), stream)).kind is FailureKind.QUOTA


async def test_a_key_that_the_error_repeats_is_blotted_out(name: str, backend: Backend, built: Any, play: Any) -> None:
    play(Fault("auth", message=f"Incorrect API key provided: {_KEY}.\nLook after {_KEY} better."))
    failure = await _failure(backend, built(name), stream=False)
    assert "[redacted]" in str(failure)


async def _read(backend: Backend, model: Any, stream: bool) -> Reply:
    return backend.read(await _ask(model, stream))


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("truncation", FailureKind.TRUNCATED),
        ("empty", FailureKind.EMPTY),
        ("tidy_cut", FailureKind.MALFORMED),
    ],
)
async def test_a_reply_that_came_back_unusable_says_so(
    name: str, backend: Backend, stream: bool, built: Any, play: Any, fault: str, kind: FailureKind
) -> None:
    play(fault)
    # Servers of many makes leave the reason out of whole answers, so it tells nothing there.
    tells = (name, fault, stream) != ("openai_compatible", "tidy_cut", False)
    assert (await _read(backend, built(name), stream)).failure is (kind if tells else None)


async def test_a_refusal_shows_in_each_vendors_own_manner(
    name: str, backend: Backend, stream: bool, built: Any, play: Any
) -> None:
    usual = {"anthropic": FailureKind.REFUSAL, "google": FailureKind.REFUSAL}
    play("refusal")
    if name in usual:
        assert (await _read(backend, built(name), stream)).failure is usual[name]
    else:
        assert (await _failure(backend, built(name), stream)).kind is FailureKind.CONTENT_FILTER
    play(Fault("refusal", "finish"))
    filtered = FailureKind.REFUSAL if name == "anthropic" else FailureKind.CONTENT_FILTER
    assert (await _read(backend, built(name), stream)).failure is filtered


async def test_openais_refusal_field_is_a_refusal_streamed_too(stream: bool, built: Any, play: Any) -> None:
    backend = registry.get("openai")
    play(Fault("refusal", "field"))
    assert (await _read(backend, built("openai-responses"), stream)).failure is FailureKind.REFUSAL
    assert (await _read(backend, built("openai"), stream)).failure is FailureKind.REFUSAL


@pytest.mark.parametrize("name", ["openai", "openai_compatible"])
async def test_arguments_that_are_no_json_are_invalid_output(
    name: str, backend: Backend, stream: bool, built: Any, play: Any
) -> None:
    @tool
    def forecast(city: str) -> str:
        """Forecast the weather."""
        return city

    play(Fault("bad_tool_arguments", "broken_json"), Answer(tool_calls=(ToolCall("forecast", {"city": "Oslo"}),)))
    model = built(name).bind_tools([forecast])
    assert (await _read(backend, model, stream)).failure is FailureKind.INVALID_OUTPUT


async def test_pictures_and_documents_reach_the_provider(name: str, built: Any, sim: Simulator) -> None:
    seen: list[Any] = []

    def look(request: Any) -> Answer:
        seen.append(request.messages[-1])
        return Answer(text="Seen.")

    sim.scenario = Scenario(rules=(Rule(answer=look),))
    blocks = [
        {"type": "text", "text": "What is this?"},
        {"type": "image", "base64": base64.b64encode(_PNG).decode(), "mime_type": "image/png"},
        {"type": "file", "base64": base64.b64encode(_FILES["pdf"]).decode(), "mime_type": "application/pdf",
         "filename": "paper.pdf"},
    ]  # fmt: skip
    await _ask(built(name), False, [HumanMessage(content=blocks)])
    assert [(message.text, message.images, message.documents) for message in seen] == [("What is this?", 1, 1)]


def test_langchains_own_client_dies_with_its_first_event_loop(sim: Simulator) -> None:
    def ask() -> str:
        model = ChatOpenAI(model="gpt-test", base_url=sim.url("openai"), api_key=SecretStr(_KEY), max_retries=0)
        with asyncio.Runner() as runner:
            return runner.run(model.ainvoke("Count to ten.")).text

    assert ask()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        ask()


def test_a_model_works_in_one_event_loop_after_another(name: str, sim: Simulator) -> None:
    # A pool of connections that outlives its loop fails at the second one, so each model has its own.
    backend = registry.get(_CASES[name].backend)
    for _ in range(2):
        model = backend.chat_model(_CASES[name].endpoint(sim))
        with asyncio.Runner() as runner:
            assert runner.run(_ask(model, False)).text
            assert runner.run(_ask(model, True)).text


@pytest.mark.parametrize(
    "body", [b"<html>Sign in to the network</html>", b"{}", b"[]", b"null"], ids=["html", "object", "list", "null"]
)
@pytest.mark.parametrize("kind", ["text/html", "application/json"])
async def test_a_success_that_is_no_reply_is_malformed(
    name: str, backend: Backend, body: bytes, kind: str, serve: Callable[..., str]
) -> None:
    url = serve(lambda _: (200, {"content-type": kind}, body))
    model = backend.chat_model(Endpoint(model=_CASES[name].model, base_url=url, key=SecretStr(_KEY)))
    try:
        reply: Reply | BackendError | None = backend.read(await _ask(model, False))
    except Exception as error:  # each client raises its own
        reply = backend.failure(error)
    kind = reply.kind if isinstance(reply, BackendError) else reply and reply.failure
    assert kind is FailureKind.MALFORMED


class _Suite:
    """LangChain's own suites take the model that the backend builds."""

    case: _Case
    sim: Simulator
    built: BaseChatModel

    @pytest.fixture(autouse=True)
    def _local(self, sim: Simulator, built: Callable[..., BaseChatModel], monkeypatch: pytest.MonkeyPatch) -> None:
        type(self).sim = sim
        type(self).built = built(next(name for name, case in _CASES.items() if case is self.case))

        def get(url: str, **_: Any) -> httpx.Response:
            return httpx.Response(200, content=_FILES[url.rpartition(".")[2]])

        # The suite downloads its pictures and documents; they come from this file instead.
        monkeypatch.setattr(suite, "httpx", SimpleNamespace(get=get))

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return type(self.built)

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": self.case.model, "base_url": self.sim.url(self.case.vendor), "api_key": _KEY}

    @pytest.fixture
    def model(self) -> BaseChatModel:
        return self.built


class _Unit(_Suite, ChatModelUnitTests):
    @pytest.mark.xfail(run=False, reason="what an instance of the partner class costs is not ours")
    def test_init_time(self) -> None: ...

    @pytest.mark.xfail(run=False, reason="how the partner class is serialised is not ours")
    def test_serdes(self) -> None: ...


class TestAnthropicUnit(_Unit):
    case = _CASES["anthropic"]

    @pytest.mark.xfail(run=False, reason="the partner class warns that it has no JSON mode")
    def test_with_structured_output(self) -> None: ...


class TestOpenAIUnit(_Unit):
    case = _CASES["openai"]


class TestOpenAICompatibleUnit(_Unit):
    case = _CASES["openai_compatible"]


class TestGoogleUnit(_Unit):
    case = _CASES["google"]


class TestScriptedUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ScriptedChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "scripted", "replies": ["Hello."]}

    @pytest.mark.xfail(run=False, reason="a thousand instances for a number nobody reads")
    def test_init_time(self) -> None: ...


class _Standard(_Suite, ChatModelIntegrationTests):
    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return False


class TestAnthropic(_Standard):
    case = _CASES["anthropic"]

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True


class TestOpenAI(_Standard):
    case = _CASES["openai"]


class TestOpenAICompatible(_Standard):
    case = _CASES["openai_compatible"]


class TestGoogle(_Standard):
    case = _CASES["google"]
