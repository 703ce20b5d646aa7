"""A clean environment for every test: no keys, no configuration of the user's, a folder of its own."""

from __future__ import annotations

import faulthandler
import os
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")

BOUND_SECONDS = 120.0
"""Far above what anything here takes on a busy machine: only what would never end takes longer."""

KEYS = ("_API_KEY", "AWS_", "GOOGLE_", "POINTSMAN_", "LANGSMITH_", "LANGCHAIN_")


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.endswith(KEYS[0]) or name.startswith(KEYS[1:]):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))


@pytest.fixture
def ends() -> Callable[[Callable[[], T]], T]:
    """Run a function in a thread and give what it returned or raised; fail, showing every thread, if it never ends."""

    def run(work: Callable[[], T]) -> T:
        results: list[T] = []
        errors: list[BaseException] = []

        def thread() -> None:
            try:
                results.append(work())
            except BaseException as error:
                errors.append(error)

        worker = threading.Thread(target=thread, daemon=True)
        worker.start()
        worker.join(BOUND_SECONDS)
        if worker.is_alive():
            faulthandler.dump_traceback(all_threads=True)
            pytest.fail(f"no end after {BOUND_SECONDS:.0f} seconds")
        if errors:
            raise errors[0]
        return results[0]

    return run
