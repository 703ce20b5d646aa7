"""LangChain's own integration suite, run by its partner classes against the simulator.

Not applicable and left at the suite's default of skipping: `test_stream_time` (replays cassettes of the real
service) and, per class, inputs the real service or the partner class does not take (see the properties).
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.integration_tests import chat_models as suite
from pointsman.simulator import Simulator

_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f64540"
    "0000000049454e44ae426082"
)
_FILES = {"png": _PNG, "pdf": b"%PDF-1.4\n%%EOF\n", "wav": b"RIFF\x24\x00\x00\x00WAVEfmt "}
_LONG = "You are a careful assistant who reads every word before answering. " * 120

_KEY = "not-a-real-key"

pytestmark = [
    # The partner classes cache their HTTP clients across models, so all tests must share one event loop...
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:.*is marked with '@pytest.mark.asyncio' but:pytest.PytestWarning"),
    # ...and nobody closes those clients.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    # Advice the partner classes give about the suite's own requests.
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema:UserWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.filterwarnings("ignore:OpenAI may require a filename:UserWarning"),
    # google-genai subclasses aiohttp.ClientSession.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture(autouse=True)
def _local(sim: Simulator, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    request.instance.sim = sim

    def get(url: str, **_: Any) -> httpx.Response:
        return httpx.Response(200, content=_FILES[url.rpartition(".")[2]])

    # The suite downloads its pictures and documents; they come from this file instead.
    monkeypatch.setattr(suite, "httpx", SimpleNamespace(get=get))
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "pointsman")


def _answer(model: Runnable[Any, Any], messages: Any, stream: bool) -> AIMessage:
    if not stream:
        message = model.invoke(messages)
        assert isinstance(message, AIMessage)
        return message
    full: AIMessageChunk | None = None
    for chunk in model.stream(messages):
        full = chunk if full is None else full + chunk
    assert full is not None
    return full


class _Standard(ChatModelIntegrationTests):
    sim: Simulator

    @property
    def model_override_value(self) -> str:
        return "another-model"

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True


class TestAnthropic(_Standard):
    @property
    def chat_model_class(self) -> type[ChatAnthropic]:
        return ChatAnthropic

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "claude-test", "base_url": self.sim.url("anthropic"), "api_key": _KEY}

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supported_usage_metadata_details(self) -> dict[Any, Any]:
        return {
            "invoke": ["cache_read_input", "cache_creation_input"],
            "stream": ["cache_read_input", "cache_creation_input"],
        }

    def _cached(self, times: int, stream: bool) -> AIMessage:
        model = ChatAnthropic(**self.chat_model_params)
        text = [{"type": "text", "text": f"{_LONG} {times} {stream}", "cache_control": {"type": "ephemeral"}}]
        answers = [_answer(model, [("system", text), ("user", "hi")], stream) for _ in range(times)]
        return answers[-1]

    def invoke_with_cache_creation_input(self, *, stream: bool = False) -> AIMessage:
        message = self._cached(1, stream)
        assert message.usage_metadata is not None
        return message

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        message = self._cached(2, stream)
        assert message.usage_metadata is not None
        assert message.usage_metadata["input_token_details"]["cache_read"] > 1000
        return message


class TestOpenAI(_Standard):
    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "gpt-test", "base_url": self.sim.url("openai"), "api_key": _KEY, "stream_usage": True}

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supported_usage_metadata_details(self) -> dict[Any, Any]:
        return {"invoke": ["reasoning_output", "cache_read_input"], "stream": ["reasoning_output", "cache_read_input"]}

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        return _answer(ChatOpenAI(**self.chat_model_params), "hi", stream)

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        model = ChatOpenAI(**self.chat_model_params)
        message = [_answer(model, [("system", _LONG), ("user", "hi")], stream) for _ in range(2)][-1]
        assert message.usage_metadata is not None
        assert message.usage_metadata["input_token_details"]["cache_read"] >= 1024
        return message


class TestOpenAIResponses(TestOpenAI):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**super().chat_model_params, "use_responses_api": True}


class TestGoogle(_Standard):
    @property
    def chat_model_class(self) -> type[ChatGoogleGenerativeAI]:
        return ChatGoogleGenerativeAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "gemini-test", "base_url": self.sim.url("google"), "api_key": _KEY}

    @property
    def supports_model_override(self) -> bool:
        # The partner class passes `model` on into the generation config, which forbids it.
        return False

    @property
    def supports_audio_inputs(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @property
    def supported_usage_metadata_details(self) -> dict[Any, Any]:
        return {"invoke": ["cache_read_input"], "stream": ["cache_read_input"]}

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        model = ChatGoogleGenerativeAI(**self.chat_model_params)
        message = [_answer(model, [("system", _LONG), ("user", "hi")], stream) for _ in range(2)][-1]
        assert message.usage_metadata is not None
        assert message.usage_metadata["input_token_details"]["cache_read"] >= 1024
        return message
