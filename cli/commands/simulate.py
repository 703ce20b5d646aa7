"""``pointsman simulate``: simulate the model providers on this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from .. import options
from ..io.output import as_json, progress, result
from ..settings import settings_of

__all__ = ["simulate"]


def simulate(
    scenario: Annotated[
        Path | None, typer.Option("--scenario", metavar="FILE", help="YAML that scripts replies and faults.")
    ] = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 for a free one.")] = 8790,
    json: options.AsJson = False,
) -> None:
    """Serve the providers' wire formats until Ctrl-C, and print the settings that point Pointsman at them."""
    from ...simulator import Scenario, serve
    from ...simulator.paths import PATHS

    entries = settings_of().providers.items()
    hosted = {name: entry for name, entry in entries if not entry.local and entry.backend in PATHS}
    played = Scenario.load(scenario) if scenario else None

    def ready(base: str) -> None:
        urls = {name: f"{base}/{name}{PATHS[entry.backend]}" for name, entry in hosted.items()}
        if json:
            as_json({"base_url": base, "providers": urls}, lines=True)
            return
        result(f"# the providers are played at {base}; end with Ctrl-C")
        for name, url in urls.items():
            result(f"export POINTSMAN_PROVIDERS__{re.sub(r'[^A-Z0-9]', '_', name.upper())}__BASE_URL={url}")
            if hosted[name].key:
                result(f"export {hosted[name].key}=simulated")
        progress("serving")

    serve(played, host, port, ready=ready)
