"""The options that many commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

__all__ = [
    "AsJson", "Batch", "Config", "DryRun", "File", "Jobs", "MaxCost", "MaxInput", "MaxSteps", "MaxTokens", "Offline",
    "Sandbox", "Set", "Tag", "Thread", "Timeout", "User", "UserClass", "Workspace", "add_listing", "add_shared",
    "again", "name_arguments",
]  # fmt: skip

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="DIR", help="Folder with models.yaml and the like; ./configs when left out."),
]


def _given(parameter: typer.CallbackParam, value: bool) -> bool:
    from . import settings

    {"trust": settings.TRUST, "offline": settings.OFFLINE}[str(parameter.name)].set(value)
    return value


Offline = Annotated[
    bool, typer.Option("--offline", help="Use no network: hosted providers are simulated here.", callback=_given)
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as routing.strategy=quality."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Workspace = Annotated[
    Path | None, typer.Option("--workspace", metavar="DIR", help="Folder the file and shell tools may touch.")
]
Batch = Annotated[
    Path | None, typer.Option("--batch", metavar="FILE.csv", help="Run each row of a CSV (text[,label]).")
]
Jobs = Annotated[
    int, typer.Option("--jobs", min=1, max=64, metavar="N", help="Rows of a batch to run at the same time.")
]
MaxCost = Annotated[float | None, typer.Option("--max-cost", min=0, metavar="USD", help="Most the command may spend.")]
MaxTokens = Annotated[
    int | None,
    typer.Option("--max-tokens", min=1, metavar="N", help="Most tokens of input and output to use."),
]
File = Annotated[
    list[Path] | None,
    typer.Option("--file", metavar="PATH", help="A picture, PDF or text that goes with the input; repeatable."),
]
Thread = Annotated[
    str | None, typer.Option("--thread", metavar="NAME", help="Go on with the conversation of this name.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show steps, models and worst cost, and call nothing; 2 if it cannot run.")
]
Sandbox = Annotated[
    Literal["required", "ask"] | None,
    typer.Option(
        "--sandbox",
        metavar="required|ask",
        help="Where shell commands cannot be confined: run none, or ask a person about each; "
        "ask at a terminal, else required, when left out.",
    ),
]
MaxInput = Annotated[int, typer.Option("--max-input", min=1, metavar="BYTES", help="Largest input accepted.")]
MaxSteps = Annotated[int, typer.Option("--max-steps", min=1, metavar="N", help="Steps of the graph a run may take.")]
Timeout = Annotated[float | None, typer.Option("--timeout", min=0.001, metavar="SECONDS", help="Time a run may take.")]
User = Annotated[str, typer.Option("--user", metavar="NAME", help="User to record in the ledger.")]
UserClass = Annotated[
    str | None,
    typer.Option("--user-class", metavar="NAME", help="User class whose limits apply (routing.classes)."),
]
Tag = Annotated[
    list[str] | None, typer.Option("--tag", metavar="LABEL", help="A label for the ledger; may be repeated.")
]

_Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Trust this folder's files as they are, for this command.", expose_value=False, callback=_given
    ),
]


_Simulated = Annotated[
    bool,
    typer.Option(
        "--offline", help="Of what ran with --offline, and with no network.", expose_value=False, callback=_given
    ),
]


def _shared(trust: _Trust = False, offline: _Simulated = False) -> None: ...


def again(config: Path | None, workspace: Path | None, overrides: list[str] | None, *, offline: bool) -> list[str]:
    """The options with which a later command finds the same project, settings and workspace, from any folder in it.

    Args:
        config: As given, and so are the others.
    """
    words = ["--offline"] if offline else []
    for name, folder in (("--config", config), ("--workspace", workspace)):
        words += [] if folder is None else [name, str(folder.absolute())]
    return [*words, *(word for one in overrides or () for word in ("--set", one))]


def add_listing(app: typer.Typer, listing: Callable[..., None], *below: Callable[..., None]) -> None:
    """Add a command that lists when it is given alone, and the commands below it.

    Args:
        app: Where to add it.
        listing: The command; its name is the function's.
        below: Those below it, named likewise.
    """
    group = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
    group.callback()(listing)
    for command in below:
        group.command(command.__name__)(command)
    app.add_typer(group, name=listing.__name__)


def name_arguments(command: Any) -> None:
    """Have the help of a command, and of those below it, show arguments by name, without their Python type.

    Args:
        command: As Typer makes it.
    """
    for inner in getattr(command, "commands", {}).values():
        name_arguments(inner)
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None


def add_shared(command: Any) -> None:
    """Give ``--trust`` and ``--offline`` to a command, and to those below it, that reads the configuration.

    Args:
        command: As Typer makes it.
    """
    for inner in getattr(command, "commands", {}).values():
        add_shared(inner)
    has = {parameter.name for parameter in command.params}
    if command.name != "trust" and "config" in has:
        home = typer.Typer(rich_markup_mode=None, add_completion=False)
        home.command()(_shared)
        shared = typer.main.get_command(home).params
        command.params += [one for one in shared if one.name in ("trust", "offline") and one.name not in has]
