"""The command ``pointsman``: its groups, its global options, and the guard that turns errors into one line."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from .errors import ExitCode, judge
from .signals import end_at_once
from .streams import TerminalGone, output_lost, prepare

__all__ = ["COMMANDS", "app", "main"]

COMMANDS = {
    "init": ("init", "Write a project that runs without a key."),
    "run": ("runs.run", "Run a workflow or an agent."),
    "do": ("runs.do", "Have a task done at a shell, in the sandbox."),
    "code": ("runs.session", "Have the coding agent work here, in a conversation."),
    "chat": ("runs.session", "Talk with a workflow or an agent."),
    "resume": ("runs.resume", "Resume a run that stopped."),
    "runs": ("runs.runs", "List what ran, or tell the story of a run."),
    "queue": ("runs.queue", "List what waits for a person."),
    "approvals": ("runs.approvals", "List the calls that are always allowed, and revoke one."),
    "report": ("report", "Show what ran where, and what it cost."),
    "validate": ("runs.validate", "Find what would go wrong with a workflow."),
    "graph": ("graph", "Draw a workflow."),
    "agents": ("agents", "List the agents and what each would run on."),
    "tools": ("tools", "List the tools agents can name."),
    "models": ("agents", "List the models and which can be used."),
    "route": ("route", "Decide for requests without calling a model."),
    "router": ("router", "Train, measure and show a router."),
    "batch": ("batches", "Have work that can wait done by the providers' batch APIs."),
    "replay": ("replay", "Decide what was recorded again, under another policy."),
    "drill": ("drill", "Break providers on purpose, on this machine."),
    "provider": ("provider", "Switch a provider or a model off for a while."),
    "risk": ("risk.command", "Say what a command would do, without running it."),
    "memory": ("memory.group", "Look into the shared memory, change, move and serve it."),
    "config": ("config", "Show the settings in force."),
    "trust": ("trust", "Show what a folder's files ask for, and trust them."),
    "doctor": ("doctor", "Check this machine and project."),
    "simulate": ("simulate", "Play the model providers on this machine."),
}
"""Command -> its module and its line in the help, so that help loads no command. The module has a function of that
name, or several commands as ``commands``."""


class _Root(TyperGroup):
    """The root command: loads a command only when it is named, and turns every error into one line and an exit code."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # Only the names: Typer suggests from them if a command is misspelt.
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment]  # get_command provides the values

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        home = typer.Typer(rich_markup_mode=None)
        module = import_module(f".commands.{COMMANDS[cmd_name][0]}", __package__)
        if hasattr(module, "commands"):
            home.add_typer(module.commands, name=cmd_name)
        else:
            home.command(cmd_name)(getattr(module, cmd_name))
        command = typer.main.get_group(home).commands[cmd_name]
        options = import_module(".options", __package__)
        options.add_project(command)
        options.name_arguments(command)
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in COMMANDS.items()])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            # Typer would end without a message.
            raise typer.Abort from error

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in words[: _first_command(words)]
        extra["standalone_mode"] = False
        code: Any = ExitCode.DONE
        try:
            code = super().main(words, *rest, **extra)
        except typer.TyperException as error:
            _usage(error)
            code = ExitCode.USAGE
        except typer.Abort:
            code, said = judge(KeyboardInterrupt())
            _say(said)
        except BaseException as error:
            if isinstance(error, SystemExit):
                raise
            if debug:
                _trace(error)
            if output_lost() is None:
                from ..configs.plain import plain

                code, said = judge(error)
                _say(plain(str(said)))
        if (lost := output_lost()) is not None:
            code = ExitCode.HUNG_UP if isinstance(lost, TerminalGone) else ExitCode.FAILED
            # A pipe closed by its reader is not an error, and nobody reads a closed terminal.
            if not isinstance(lost, BrokenPipeError | TerminalGone):
                _say(f"standard output cannot be written: {lost.strerror}")
        sys.exit(int(code) if isinstance(code, int) else 0)


def _first_command(words: Sequence[str]) -> int:
    return next((place for place, word in enumerate(words) if not word.startswith("-")), len(words))


def _usage(error: typer.TyperException) -> None:
    context = getattr(error, "ctx", None)
    hint = f" (see '{context.command_path} --help')" if context is not None else ""
    _say(f"{' '.join(_clean(error.format_message()).split())}{hint}")


def _say(said: str) -> None:
    from .io.output import progress

    progress(f"error: {said}")


app = typer.Typer(
    name="pointsman",
    cls=_Root,
    help="Multi-agent orchestration where risk decides which model runs each step.",
    epilog="Exit codes: 0 done, 1 failed or rejected, 2 usage or configuration, 3 budget, 4 a person must act.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"pointsman {version('pointsman')}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    from .settings import GIVEN, Given

    # Options of an earlier command in this process must not apply.
    GIVEN.set(Given())
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _clean(text: str) -> str:
    from ..configs.redact import redact

    return redact(text)


def _trace(error: BaseException | None) -> None:
    """Print the traceback of an error."""
    import traceback

    typer.echo(_clean("".join(traceback.format_exception(error))), err=True, nl=False)


def _watch_others() -> None:
    """Redact secrets from output that bypasses the commands: unhandled log records, warnings, errors in threads."""
    import logging
    import warnings

    class Redacting(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return _clean(super().format(record))

    def warn(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        typer.echo(_clean(warnings.formatwarning(message, category, filename, lineno, line)), err=True, nl=False)

    logging.lastResort = logging.StreamHandler()
    logging.lastResort.setLevel(logging.WARNING)
    logging.lastResort.setFormatter(Redacting())
    warnings.showwarning = warn
    threading.excepthook = lambda ended: _trace(ended.exc_value)


def main() -> None:
    """Run the command line; the console script's entry point."""
    prepare()
    end_at_once()
    _watch_others()
    try:
        app()
    finally:
        end_at_once()
