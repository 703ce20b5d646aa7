"""The registry, the models' names and profiles, and what a client is built from."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from pointsman import backends
from pointsman.backends import profiles, registry
from pointsman.backends.base import Backend, Endpoint
from pointsman.configs.errors import ConfigError
from pydantic import SecretStr

pytestmark = [
    # The clients are built and thrown away.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]

_KEY = SecretStr("sk-quite-secret-0123456789")


def _build(name: str, model: str = "a-model", **fields: Any) -> Any:
    return registry.get(name).chat_model(Endpoint(model=model, **{"key": _KEY, **fields}))


@pytest.mark.parametrize("name", list(registry.BACKENDS))
def test_every_backend_in_the_registry_is_one(name: str) -> None:
    backend = registry.get(name)
    assert isinstance(backend, Backend)
    assert registry.get(name) is backend
    assert None in backend.finishes.values()
    assert backend.profile("a-model-that-is-not") == {}


def test_an_unknown_backend_is_told_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'anthropic'"):
        registry.get("antropic")
    with pytest.raises(ConfigError, match="there are anthropic, bedrock"):
        registry.get("zzz")


def test_what_the_package_exports_is_sorted_and_there() -> None:
    assert backends.__all__ == sorted(backends.__all__)
    assert all(getattr(backends, name) is not None for name in backends.__all__)
    assert set(backends.__all__) <= set(dir(backends))
    with pytest.raises(AttributeError, match="nothing"):
        backends.nothing  # noqa: B018


def test_importing_the_vendors_modules_and_reading_profiles_loads_no_sdk() -> None:
    heavy = {"anthropic", "openai", "google.genai", "httpx", "httpx2", "aiohttp", "botocore", "langchain_core",
             "langchain_anthropic", "langchain_openai", "langchain_google_genai"}  # fmt: skip
    code = (
        "import sys\n"
        "from pointsman.backends import registry\n"
        "from pointsman.backends.errors import translate\n"
        "from pointsman.backends.replies import read\n"
        "for name in set(registry.BACKENDS) - {'scripted'}:\n"
        "    registry.get(name)\n"
        "assert registry.get('anthropic').profile('claude-haiku-4-5')\n"
        "assert registry.get('openai').failure(ValueError('ours')) is None\n"
        f"loaded = {heavy!r} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["anthropic", "openai", "google"])
@pytest.mark.parametrize("key", [None, SecretStr(""), SecretStr("  ")])
def test_without_a_key_the_error_says_what_to_do(
    name: str, key: SecretStr | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(variable, "sk-from-the-environment")
    with pytest.raises(ConfigError, match="needs a key") as caught:
        _build(name, key=key)
    assert "sk-" not in str(caught.value)


def test_a_compatible_server_needs_an_address_but_no_key() -> None:
    with pytest.raises(ConfigError, match="base_url"):
        _build("openai_compatible", base_url=None)
    model = _build("openai_compatible", base_url="http://127.0.0.1:1/v1", key=None)
    assert str(model.root_async_client.base_url) == "http://127.0.0.1:1/v1/"


def test_the_environment_changes_neither_address_nor_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_BASE", "OPENAI_BASE_URL", "ANTHROPIC_API_URL", "ANTHROPIC_BASE_URL",
                     "GOOGLE_GEMINI_BASE_URL", "LANGSMITH_GATEWAY", "OPENAI_PROXY", "ANTHROPIC_PROXY"):  # fmt: skip
        monkeypatch.setenv(variable, "http://127.0.0.1:9/elsewhere")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-environment")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-of-the-environment")
    gpt = _build("openai", "gpt-5.5")
    assert gpt.root_async_client.base_url.host == gpt.root_client.base_url.host == "api.openai.com"
    other = _build("openai_compatible", base_url="http://127.0.0.1:1/v1")
    for client in (gpt.root_async_client, other.root_async_client, other.root_client):
        assert (client.organization, client.project) == (None, None)
    claude = _build("anthropic", "claude-haiku-4-5")
    assert claude._async_client.base_url.host == claude._client.base_url.host == "api.anthropic.com"
    gemini = _build("google", "gemini-3.5-flash")
    assert gemini.client._api_client._http_options.base_url == "https://generativelanguage.googleapis.com"


@pytest.mark.parametrize("name", ["anthropic", "openai", "openai_compatible", "google"])
def test_options_and_time_out_reach_the_client_and_the_key_stays_hidden(name: str) -> None:
    model = _build(name, timeout=7.0, base_url="http://127.0.0.1:1", options={"temperature": 0.25})
    assert model.temperature == 0.25
    timeout = next(getattr(model, field) for field in ("timeout", "request_timeout", "default_request_timeout")
                   if hasattr(model, field))  # fmt: skip
    assert timeout == 7.0
    assert _KEY.get_secret_value() not in repr(model)


@pytest.mark.parametrize("set_to", [None, "v1", "v1alpha"])
def test_the_version_of_googles_api_is_neither_the_sdks_nor_the_environments_choice(
    set_to: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth.credentials import AnonymousCredentials

    if set_to is not None:
        monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", set_to)
    gemini = _build("google", "gemini-3.5-flash")
    assert gemini.client._api_client._http_options.api_version == "v1beta"
    asked = _build("google", "gemini-3.5-flash", options={"api_version": "v1"})
    assert asked.client._api_client._http_options.api_version == "v1"
    vertex = _build("vertex", key=SecretStr("my-project"), options={"credentials": AnonymousCredentials()})
    assert vertex.client._api_client._http_options.api_version == "v1beta1"


def test_vertex_takes_the_project_from_the_key_and_the_region_from_the_provider() -> None:
    from google.auth.credentials import AnonymousCredentials

    options = {"credentials": AnonymousCredentials()}
    for region, host in (
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
        (None, "aiplatform.googleapis.com"),
    ):
        model = _build("vertex", "gemini-3.1-pro-preview", key=SecretStr("my-project"), region=region, options=options)
        client = model.client._api_client
        assert (client.vertexai, client.project, client.location) == (True, "my-project", region or "global")
        assert client._http_options.base_url == f"https://{host}/"
        assert client.api_key is None
    with pytest.raises(ConfigError, match="Google Cloud project"):
        _build("vertex", key=None)


def test_without_its_extra_bedrock_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_aws", None)
    with pytest.raises(ConfigError, match=r"pip install 'pointsman\[bedrock\]'"):
        _build("bedrock", "global.anthropic.claude-opus-4-7", region="us-east-1")


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("claude-haiku-4-5", "claude-haiku-4-5"),
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
        ("claude-opus-4", "claude-opus-4-20250514"),
        ("claude-haiku-4-5", "claude-haiku-4-5@20251001"),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022"),
        ("gpt-5.5", "gpt-5.5-2026-04-23"),
        ("gpt-4", "gpt-4-0613"),
        ("GPT-5.5", "gpt-5.5"),
        ("models/gemini-3.5-flash", "gemini-3.5-flash"),
        ("gemini-2.0-flash", "gemini-2.0-flash-001"),
        ("gemini-2.5-pro-preview", "gemini-2.5-pro-preview-05-06"),
        ("gemini-2.5-flash-preview", "models/gemini-2.5-flash-preview-09-2025"),
        ("deepseek/deepseek-chat-v3", "deepseek/deepseek-chat-v3-0324"),
        ("llama3.2", "llama3.2:latest"),
        ("llama3.2:latest", "llama3.2"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "Llama-4-Scout-17B-16E-Instruct"),
    ],
)
def test_a_dated_name_is_the_same_model(asked: str, answered: str) -> None:
    assert registry.get("openai_compatible").same_model(asked, answered)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("claude-opus-4", "claude-opus-4-1"),
        ("claude-sonnet-4", "claude-sonnet-4-5-20250929"),
        ("claude-haiku-4-5", "claude-opus-4-5"),
        ("gpt-5.5", "gpt-5.5-mini"),
        ("gpt-5.5", "gpt-5.5-pro"),
        ("gpt-5.5", "gpt-5.5-mini-2026-04-23"),
        ("gpt-5.5-pro", "gpt-5.5"),
        ("gpt-5", "gpt-5.5"),
        ("gpt-5.5-2026-04-23", "gpt-5.5-2026-08-01"),
        ("llama3.2", "llama3.2:3b"),
        ("gemini-3.5-flash", "gemini-3.5-flash-lite"),
        ("gpt-5.5", ""),
    ],
)
def test_a_variant_is_another_model(asked: str, answered: str) -> None:
    assert not registry.get("google").same_model(asked, answered)
    assert not registry.get("openai").same_model(asked, answered)


def test_googles_preview_of_a_model_is_that_model() -> None:
    google = registry.get("google")
    assert google.same_model("gemini-3.1-pro", "models/gemini-3.1-pro-preview")
    assert google.same_model("gemini-2.5-flash", "gemini-2.5-flash-preview-09-2025")
    assert not google.same_model("gemini-2.5-flash", "gemini-2.5-flash-lite-preview-09-2025")
    # Elsewhere a preview can be another model.
    assert not registry.get("openai").same_model("o1", "o1-preview")


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("anthropic", "claude-haiku-4-5"),
        ("anthropic", "claude-haiku-4-5-20251001"),
        ("openai", "gpt-5.5"),
        ("openai", "gpt-5.5-2026-04-23"),
        ("google", "models/gemini-3.1-pro-preview"),
        ("vertex", "gemini-3.1-pro-preview"),
        ("openai_compatible", "openai/gpt-5.5"),
        ("bedrock", "global.anthropic.claude-opus-4-7"),
        ("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
    ],
)
def test_a_models_profile_is_found_by_every_name_it_has(name: str, model: str) -> None:
    assert registry.get(name).profile(model)["max_input_tokens"] >= 200_000


def test_the_profiles_are_those_that_the_partner_classes_use() -> None:
    from langchain_anthropic import ChatAnthropic

    model: BaseChatModel = ChatAnthropic(model="claude-haiku-4-5", api_key=_KEY)
    assert registry.get("anthropic").profile("claude-haiku-4-5") == model.profile


def test_a_package_that_is_not_there_has_no_profiles() -> None:
    assert profiles.profile("langchain_of_nobody", "a-model") == {}
    assert profiles.profile("json", "a-model") == {}
