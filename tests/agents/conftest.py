"""A runtime whose three vendors are the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman.agents.runtime import Runtime
from pointsman.configs.loading.loader import load
from pointsman.simulator import Simulator

KEYS = {name: "not-a-real-key" for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GOOGLE_API_KEY")}


@pytest.fixture
def simulated(simulator: Simulator, tmp_path: Path) -> Iterator[Callable[..., Runtime]]:
    """Make a runtime over the simulator; keyword arguments are flags of the loader."""
    made: list[Runtime] = []

    def make(**flags: Any) -> Runtime:
        urls = {
            f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL": simulator.url(vendor)
            for vendor in ("anthropic", "openai", "google")
        }
        made.append(Runtime(load(tmp_path, environ={**KEYS, **urls}, flags=flags)))
        return made[-1]

    yield make
    for one in made:
        one.close()
