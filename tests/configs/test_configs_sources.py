"""Settings know the files of their policy, and how to read them again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.errors import ConfigError
from pointsman.configs.loading.loader import load
from pointsman.configs.schema import Settings
from pointsman.configs.sources import Sources

KEY = "not-a-real-key-but-a-secret-one"


def sources_of(settings: Settings) -> Sources:
    assert settings.sources is not None
    return settings.sources


def test_the_files_of_user_and_project_are_watched_and_no_others(tmp_path: Path) -> None:
    user, project = tmp_path / "user", tmp_path / "project"
    (project / "configs").mkdir(parents=True)
    found = set(sources_of(load(project, environ={}, user=user)).files)
    folders = (user, project, project / "configs")
    assert found == {folder / name for folder in folders for name in ("routing.yaml", "risk.yaml")}
    own = set(sources_of(load(project, environ={}, user=user, config_dir=Path("configs"))).files)
    assert own == {file for file in found if file.parent != project}


def test_reading_again_takes_the_new_file_under_the_old_flags_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"POINTSMAN_ROUTING__SCORER": "classifier"}
    monkeypatch.chdir(tmp_path)
    sources = sources_of(load(environ=environ, flags={"routing.strategy": "quality"}))
    monkeypatch.chdir(tmp_path.parent)
    before = sources.look()
    assert before == sources.stamps
    (tmp_path / "routing.yaml").write_text("routing: {scorer: own.npz, strategy: cost, history: {least: 30}}")
    assert sources.look() != before
    routing = sources.read().routing
    assert (routing.scorer, routing.strategy, routing.history.least) == ("classifier", "quality", 30)


def test_a_file_written_anew_looks_different_even_at_the_same_length(tmp_path: Path) -> None:
    file, other = tmp_path / "routing.yaml", tmp_path / "other"
    file.write_text("routing: {strategy: quality}")
    sources = sources_of(load(tmp_path, environ={}))
    other.write_text("routing: {strategy: latency}")
    before = sources.look()
    other.replace(file)
    assert sources.look() != before


def test_what_the_sources_hold_of_the_environment_never_shows(tmp_path: Path) -> None:
    settings = load(tmp_path, environ={"OPENAI_API_KEY": KEY})
    shown: Mapping[str, Any] = settings.model_dump()
    assert "sources" not in shown
    assert KEY not in repr(settings.sources) + repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("classifier", "said"),
    [
        ("{model: openai/gpt}", "routing.classifier.model names an unknown model 'openai/gpt'"),
        ("{modle: x}", "did you mean 'model'"),
        ("{timeout: 0}", "routing.classifier.timeout"),
    ],
)
def test_a_mistake_about_the_classifier_is_told_with_its_line(tmp_path: Path, classifier: str, said: str) -> None:
    (tmp_path / "routing.yaml").write_text(f"# mine\nrouting:\n  classifier: {classifier}\n")
    with pytest.raises(ConfigError) as told:
        load(tmp_path, environ={})
    assert said in str(told.value)
    assert "routing.yaml:3" in str(told.value)
