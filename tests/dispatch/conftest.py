"""A project whose three vendors are the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.loader import load
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.simulator import Simulator

KEYS = {name: "not-a-real-key" for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GOOGLE_API_KEY")}


@pytest.fixture
def dispatcher(simulator: Simulator, tmp_path: Path) -> Iterator[Callable[..., Dispatcher]]:
    """Make a dispatcher over the simulator; keyword arguments are flags of the loader."""
    made: list[Dispatcher] = []

    def make(**flags: Any) -> Dispatcher:
        environ = {
            **KEYS,
            **{
                f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL": simulator.url(vendor)
                for vendor in ("anthropic", "openai", "google")
            },
        }
        settings = load(tmp_path, environ=environ, flags={name.replace("__", "."): v for name, v in flags.items()})
        made.append(Dispatcher(settings))
        return made[-1]

    yield make
    for one in made:
        one.ledger.close()
