"""The embedder of a project's memory, by its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs import ConfigError, Settings, load
from pointsman.dispatch.embedding import embedder_of

LAB = "providers: {lab: {backend: openai_compatible, base_url: 'http://127.0.0.1:9/v1', local: true}}\n"
KEYS = {"OPENAI_API_KEY": "sk-not-a-key", "GOOGLE_API_KEY": "not-a-key"}


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a user's own file and an environment."""

    def made(text: str = "", routing: str = "", environ: Mapping[str, str] = KEYS, **flags: Any) -> Settings:
        own, project = tmp_path / "own", tmp_path / "project"
        for folder in (own, project):
            folder.mkdir(exist_ok=True)
        (own / "models.yaml").write_text(text)
        (own / "routing.yaml").write_text(routing)
        return load(project, user=own, environ=environ, flags=flags)

    return made


def name(settings: Settings) -> str:
    return embedder_of(settings).model_id


def test_without_a_word_it_is_this_machines_own(settings: Callable[..., Settings]) -> None:
    assert name(settings()) == "wordllama-256"


@pytest.mark.parametrize(
    ("model", "dimensions", "known_as"),
    [
        ("openai/text-embedding-3-small", None, "openai/text-embedding-3-small"),
        ("openai/text-embedding-3-large", 256, "openai/text-embedding-3-large@256"),
        ("google/gemini-embedding-001", 768, "google/gemini-embedding-001@768"),
        ("lab/org/nomic-embed-text", None, "openai_compatible/org/nomic-embed-text"),
    ],
)
def test_a_provider_of_the_configuration_can_be_named_in_a_file_and_in_the_environment(
    settings: Callable[..., Settings], model: str, dimensions: int | None, known_as: str
) -> None:
    cut = f", dimensions: {dimensions}" if dimensions else ""
    assert name(settings(f"{LAB}embedder: {{model: {model}{cut}}}\n")) == known_as
    variables = {"POINTSMAN_EMBEDDER__MODEL": model, **KEYS}
    if dimensions:
        variables["POINTSMAN_EMBEDDER__DIMENSIONS"] = str(dimensions)
    assert name(settings(LAB, environ=variables)) == known_as


@pytest.mark.parametrize(
    ("text", "routing", "told"),
    [
        ("embedder: {model: opnai/m}", "", r"'opnai/m' is not wordllama, .*did you mean 'openai'"),
        ("embedder: {model: openai}", "", "with a slash and a model"),
        ("embedder: {model: wordllama/256}", "", "is not wordllama"),
        ("embedder: {model: openai/m, dimensions: 0}", "", r"embedder\.dimensions"),
        ("embedder: {mdoel: openai/m}", "", "did you mean 'model'"),
        ("embedder: {model: anthropic/m}", "", "only providers of the backends openai, google, openai_compatible"),
        ("embedder: {model: deepseek/m}", "", "deepseek has no key: set DEEPSEEK_API_KEY"),
        ("embedder: {model: openai/m}\nproviders: {openai: {enabled: false}}", "", "openai is switched off"),
        ("embedder: {model: openai/m}", "routing: {approved: [google]}", "approved leaves out the provider openai"),
        ("embedder: {model: wordllama, dimensions: 64}", "", "256 dimensions, not 64"),
        ("embedder: {model: onnx/nowhere}", "", r"project/nowhere: needs the files model\.onnx"),
        ("embedder: {model: sentence-transformers/m}", "", r"pip install 'pointsman\[sentence-transformers\]'"),
    ],
)
def test_what_cannot_be_used_is_refused(settings: Callable[..., Settings], text: str, routing: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        name(settings(text, routing))


def test_a_key_that_is_not_set_is_named(settings: Callable[..., Settings]) -> None:
    with pytest.raises(ConfigError, match="set OPENAI_API_KEY"):
        name(settings("embedder: {model: openai/m}", environ={}))


def test_offline_nothing_is_sent_to_a_hosted_provider(settings: Callable[..., Settings]) -> None:
    assert name(settings("embedder: {model: openai/m, dimensions: 8}", offline=True)) == "wordllama-256"
    assert name(settings(f"{LAB}embedder: {{model: lab/m}}", offline=True)) == "openai_compatible/m"
