"""The options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "Config", "Offline", "Set", "Workspace"]

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="DIR", help="Folder with models.yaml and the like; ./configs when left out."),
]
Offline = Annotated[bool, typer.Option("--offline", help="Use only what runs on this machine.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as routing.strategy=quality."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Workspace = Annotated[
    Path | None, typer.Option("--workspace", metavar="DIR", help="Folder the file and shell tools may touch.")
]
