"""The options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "Config", "MaxSteps", "Offline", "Set", "Tag", "Timeout", "User", "UserClass", "Workspace"]

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="DIR", help="Folder with models.yaml and the like; ./configs when left out."),
]
Offline = Annotated[bool, typer.Option("--offline", help="Use no network: hosted providers are simulated here.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as routing.strategy=quality."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Workspace = Annotated[
    Path | None, typer.Option("--workspace", metavar="DIR", help="Folder the file and shell tools may touch.")
]
MaxSteps = Annotated[int, typer.Option("--max-steps", min=1, metavar="N", help="Steps of the graph a run may take.")]
Timeout = Annotated[float | None, typer.Option("--timeout", min=0.001, metavar="SECONDS", help="Time a run may take.")]
User = Annotated[str, typer.Option("--user", metavar="NAME", help="Who it is for, in the ledger.")]
UserClass = Annotated[
    str | None, typer.Option("--user-class", metavar="NAME", help="Whose limits hold, a name under routing.classes.")
]
Tag = Annotated[
    list[str] | None, typer.Option("--tag", metavar="LABEL", help="A label for the ledger; may be repeated.")
]
