"""A request goes to its provider's host and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import DefaultAsyncHttpxClient
from pointsman import RoutedChatModel
from pointsman.backends import registry
from pointsman.backends.base import Endpoint
from pointsman.backends.http.hosts import base_of, is_here
from pointsman.configs import ConfigError, load
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.errors import AllFailed
from pointsman.simulator import Simulator
from pydantic import SecretStr

MODELS = {
    "anthropic": "anthropic/claude-haiku-4-5",
    "openai": "openai/gpt-5.4-mini",
    "google": "google/gemini-3.5-flash",
    "deepseek": "deepseek/deepseek-v4-flash",
}


Moved = Callable[[int, str], tuple[str, list[str]]]


@pytest.fixture
def moved(serve: Callable[..., str]) -> Moved:
    """A host that answers every request by naming another address; gives its address, and what it is asked for."""

    def start(status: int, to: str) -> tuple[str, list[str]]:
        asked: list[str] = []

        def reply(request: Any) -> tuple[int, dict[str, str], bytes]:
            asked.append(request.path)
            return status, {"location": to + request.path}, b""

        return serve(reply), asked

    return start


@contextmanager
def home(folder: Path, vendor: str, url: str) -> Iterator[RoutedChatModel]:
    environ = {f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL": url, f"{vendor.upper()}_API_KEY": "not-a-real-key"}
    settings = load(folder, environ=environ, flags={"routing.approved": [vendor], "routing.limits.attempts": 1})
    with closing(Dispatcher(settings)) as dispatcher:
        yield RoutedChatModel(kind="transform", prefer=MODELS[vendor], dispatcher=dispatcher)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("vendor", MODELS)
def test_a_redirect_to_another_host_is_refused_and_gets_neither_key_nor_prompt(
    vendor: str, status: int, tmp_path: Path, simulator: Simulator, moved: Moved
) -> None:
    path = "/v1" if vendor in ("openai", "deepseek") else ""
    there = simulator.url(vendor).replace("127.0.0.1", "localhost").removesuffix(path)
    url, asked = moved(status, there)
    with home(tmp_path, vendor, url + path) as model:
        with pytest.raises(AllFailed, match="unavailable"):
            model.invoke("the prompt")
        assert len(asked) == 1
    assert len(simulator.log) == 0


@pytest.mark.parametrize(
    ("vendor", "option"),
    [
        ("openai", "openai_proxy"),
        ("openai_compatible", "openai_proxy"),
        ("anthropic", "anthropic_proxy"),
        ("openai", "http_async_client"),
    ],
)
async def test_a_redirect_to_another_host_is_refused_over_a_proxy_or_client_of_the_users_own(
    vendor: str, option: str, simulator: Simulator, moved: Moved
) -> None:
    there = simulator.url("openai").replace("127.0.0.1", "localhost").removesuffix("/v1")
    url, asked = moved(307, there)
    theirs = url if option.endswith("_proxy") else DefaultAsyncHttpxClient()
    # What is asked of a proxy goes to it whatever the host, which so needs not be there.
    base = "http://models.invalid/v1" if option.endswith("_proxy") else f"{url}/v1"
    endpoint = Endpoint(
        model="some-model", base_url=base, key=SecretStr("not-a-real-key"), options={option: theirs}, timeout=240
    )
    model = registry.get(vendor).chat_model(endpoint)
    with pytest.raises(Exception, match="307"):
        await model.ainvoke("the prompt")
    assert len(asked) == 1
    assert len(simulator.log) == 0


@pytest.mark.parametrize("vendor", ["anthropic", "openai", "deepseek"])
def test_a_redirect_on_the_same_host_is_followed(
    vendor: str, tmp_path: Path, simulator: Simulator, moved: Moved
) -> None:
    path = "/v1" if vendor in ("openai", "deepseek") else ""
    there = simulator.url(vendor).removesuffix(path)
    url, asked = moved(307, there)
    with home(tmp_path, vendor, url + path) as model:
        assert "good morning" in str(model.invoke("good morning").content)
        assert len(asked) == 1


@pytest.mark.parametrize(("status", "requests"), [(301, 1), (302, 1), (303, 1), (307, 2), (308, 2)])
@pytest.mark.parametrize("vendor", ["anthropic", "openai", "deepseek"])
def test_a_redirect_to_itself_ends_and_is_one_call_of_no_cost(
    vendor: str, status: int, requests: int, tmp_path: Path, moved: Moved
) -> None:
    path = "/v1" if vendor in ("openai", "deepseek") else ""
    url, asked = moved(status, "")
    with home(tmp_path, vendor, url + path) as model:
        with pytest.raises(AllFailed, match="unavailable"):
            model.invoke("the prompt")
        assert len(asked) == requests
        rows = model.dispatcher.ledger.calls()
        assert [(row.failure, row.cost or 0) for row in rows] == [("unavailable", 0)], rows


@pytest.mark.parametrize(
    "proxies",
    [{"ALL_PROXY": "socks5://127.0.0.1:9"}, {"all_proxy": "socks://127.0.0.1:9"}, {"HTTP_PROXY": "http://127.0.0.1:9"}],
    ids=str,
)
@pytest.mark.parametrize("vendor", ["anthropic", "openai", "deepseek"])
def test_no_proxy_of_the_environment_stands_before_a_server_on_this_machine(
    vendor: str,
    proxies: dict[str, str],
    tmp_path: Path,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    with home(tmp_path, vendor, simulator.url(vendor)) as model:
        assert "good morning" in str(model.invoke("good morning").content)
    assert "proxy" not in caplog.text


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:11434/v1", True), ("http://localhost/v1", True), ("http://[::1]:8000", True),
        ("http://127.9.9.9", True), ("http://api.localhost", True), ("https://localhost.example/v1", False),
        ("https://127.0.0.1.example", False), ("https://api.example/127.0.0.1", False), ("", False), (None, False),
    ],
)  # fmt: skip
def test_which_addresses_are_on_this_machine(url: str | None, here: bool) -> None:
    assert is_here(url) is here


PASTED = [
    ("anthropic", ["", "/", "//", "/v1", "/v1/", "/v1/messages"]),
    ("google", ["", "/", "/v1beta", "/v1beta/", "/v1", "/v1beta/models/", "/v1alpha"]),
    ("openai", ["/v1", "/v1/", "/v1//", "/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/models/"]),
    ("deepseek", ["/v1", "/v1/", "/v1//", "/v1/chat/completions"]),
]


@pytest.mark.parametrize(("vendor", "path"), [(vendor, path) for vendor, paths in PASTED for path in paths])
def test_an_address_works_as_people_paste_it(vendor: str, path: str, tmp_path: Path, simulator: Simulator) -> None:
    with home(tmp_path, vendor, simulator.url(vendor).removesuffix("/v1") + path) as model:
        assert "good morning" in str(model.invoke("good morning").content)
    assert len(simulator.log) == 1


@pytest.mark.parametrize("url", ["https://api.example", "https://api.example/"])
def test_a_version_that_was_left_out_is_meant_at_openai(url: str) -> None:
    model: Any = registry.get("openai").chat_model(Endpoint("gpt-5.5", url, SecretStr("not-a-real-key")))
    assert model.openai_api_base == "https://api.example/v1"


def test_a_path_of_a_proxy_stays() -> None:
    assert base_of("https://a.example/proxy/v1/", "/v1/messages", "/v1") == "https://a.example/proxy"
    assert base_of("https://a.example/v1beta", "/v1") == "https://a.example/v1beta"


@pytest.mark.parametrize("spoilt", ["sk-a\nbc", "sk-abc\u2026", "sk abc", "sk-\tabc", "sk-\x00abc"])
@pytest.mark.parametrize("vendor", MODELS)
def test_a_key_with_a_letter_that_no_key_has_is_not_sent_and_is_told(
    vendor: str, spoilt: str, tmp_path: Path, simulator: Simulator
) -> None:
    name = f"{vendor.upper()}_API_KEY"
    environ = {name: spoilt, f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL": simulator.url(vendor)}
    settings = load(tmp_path, environ=environ, flags={"routing.approved": [vendor]})
    said = f"{name} holds a blank, a line break or a letter"
    with closing(Dispatcher(settings)) as dispatcher, pytest.raises(ConfigError, match=said) as caught:
        RoutedChatModel(kind="transform", dispatcher=dispatcher).invoke("hello")
    assert spoilt not in str(caught.value)
    assert len(simulator.log) == 0
