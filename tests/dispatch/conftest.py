"""A project whose three vendors are the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.loading.loader import load
from pointsman.configs.schema import Settings
from pointsman.dispatch.catalog import classifier_id, proof_file
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.routing.policy.proof import Gain, Proof, TaskProof, inputs, write
from pointsman.simulator import Simulator

KEYS = {name: "not-a-real-key" for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GOOGLE_API_KEY")}


def prove(settings: Settings, known: str, *tasks: str) -> None:
    """Write down that the scorer of these settings has proved itself at tasks."""
    gain = Gain(5.0, 1.0, 9.0)
    shown = {task: TaskProof(40, gain, gain, gain) for task in tasks}
    write(Proof(known, inputs(settings.routing, settings.risk), "", "2026-01-02", shown), proof_file(settings))


@pytest.fixture
def judging(dispatcher: Callable[..., Dispatcher]) -> Callable[..., Dispatcher]:
    """Make a dispatcher whose classifier has proved itself at the task chat."""

    def make(**flags: Any) -> Dispatcher:
        settings = dispatcher(routing__scorer="classifier", **flags).settings
        prove(settings, classifier_id(settings.routing.classifier), "chat")
        return dispatcher(routing__scorer="classifier", **flags)

    return make


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
