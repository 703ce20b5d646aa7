"""A clean environment for every test: no keys, no configuration of the user's, a folder of its own."""

from __future__ import annotations

import os

import pytest

KEYS = ("_API_KEY", "AWS_", "GOOGLE_", "POINTSMAN_", "LANGSMITH_", "LANGCHAIN_")


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.endswith(KEYS[0]) or name.startswith(KEYS[1:]):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
