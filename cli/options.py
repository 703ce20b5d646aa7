"""The options that many commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from typer.core import TyperGroup

__all__ = [
    "AsJson", "Batch", "DryRun", "File", "Jobs", "MaxCost", "MaxInput", "MaxSteps", "MaxTokens", "Tag", "Thread",
    "Timeout", "User", "UserClass", "add_project", "apart", "group", "listing", "name_arguments", "project",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., None])
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
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


def project(*names: str) -> Callable[[F], F]:
    """Give a command more options of `_project`, whose values are kept in `settings.GIVEN`.

    Every command has ``--config``, ``--trust`` and ``--offline`` unless marked with `apart`. Unless named here,
    ``--offline`` means: of what ran with ``--offline``, and with no network.

    Args:
        names: Their parameters in `_project`.
    """

    def declare(command: F) -> F:
        command.__dict__["project"] = names
        return command

    return declare


def apart(command: F) -> F:
    """Mark a command that does not work on a project, and so has none of its options."""
    command.__dict__["project"] = None
    return command


def _given(parameter: typer.CallbackParam, value: Any) -> None:
    from .settings import GIVEN

    GIVEN.set(replace(GIVEN.get(), **{str(parameter.name): value}))


def _option(name: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(name, metavar=metavar, help=help, expose_value=False, callback=_given)


_SANDBOX = (
    "Where shell commands cannot be confined: run none, or ask a person about each; ask at a terminal, else required, "
    "when left out."
)


def _project(
    workspace: Annotated[
        Path | None, _option("--workspace", "Folder the file and shell tools may touch.", "DIR")
    ] = None,
    sandbox: Annotated[Literal["required", "ask"] | None, _option("--sandbox", _SANDBOX, "required|ask")] = None,
    config: Annotated[
        Path | None, _option("--config", "Folder with models.yaml and the like; ./configs when left out.", "DIR")
    ] = None,
    offline: Annotated[bool, _option("--offline", "Use no network: hosted providers are simulated here.")] = False,
    overrides: Annotated[
        list[str] | None, _option("--set", "Override a setting, such as routing.strategy=quality.", "KEY=VALUE")
    ] = None,
    trust: Annotated[bool, _option("--trust", "Trust this folder's files as they are, for this command.")] = False,
) -> None: ...


def group(help: str, commands: Mapping[str, Callable[..., None]], cls: type[TyperGroup] = TyperGroup) -> typer.Typer:
    """Group several commands under one name.

    Args:
        help: Help text of the group.
        commands: The commands by name.
        cls: The group class, which finds the named command.
    """
    made = typer.Typer(help=help, cls=cls, rich_markup_mode=None)
    for name, command in commands.items():
        made.command(name)(command)
    return made


def listing(command: Callable[..., None], *below: Callable[..., None]) -> typer.Typer:
    """Make a command that lists if it is given alone, with subcommands.

    Args:
        command: The command.
        below: The subcommands, named after their functions.
    """
    made = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
    made.callback()(command)
    for one in below:
        made.command(one.__name__)(one)
    return made


def name_arguments(command: Any) -> None:
    """Make the help of a command and of its subcommands show arguments by name, without their Python type.

    Args:
        command: As Typer makes it.
    """
    for inner in getattr(command, "commands", {}).values():
        name_arguments(inner)
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None


def add_project(command: Any) -> None:
    """Give a command and its subcommands the options of the project that they work on.

    Args:
        command: As Typer makes it.
    """
    for inner in getattr(command, "commands", {}).values():
        add_project(inner)
    named = getattr(command.callback, "project", ())
    if named is None or command.callback is None:
        return
    home = typer.Typer(rich_markup_mode=None, add_completion=False)
    home.command()(_project)
    known: dict[Any, Any] = {one.name: one for one in typer.main.get_command(home).params}
    own = [one for name, one in known.items() if name in ("config", *named)]
    at = next((place for place, one in enumerate(command.params) if one.name == "json"), len(command.params))
    command.params[at:at] = own
    if command.name != "trust":
        command.params.append(known["trust"])
        if "offline" not in named:
            known["offline"].help = "Of what ran with --offline, and with no network."
            command.params.append(known["offline"])
