"""A pytest fixture: model providers on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .simulator import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Run a fresh simulator for the test; set `simulator.scenario` to script it."""
    # Imported here because pytest loads this module in every run, used or not.
    from .simulator import Simulator

    with Simulator() as running:
        yield running
