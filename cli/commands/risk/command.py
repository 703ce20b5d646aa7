"""``pointsman risk``: what an act would do, said before it happens."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....configs.redact import redact, redacted
from ... import options
from ...errors import ExitCode
from ...io.output import answer, as_json, line, progress, result
from ...io.requests import broken_line, json_of, lines_of
from ...io.table import table
from .tool_call import tool_call

if TYPE_CHECKING:
    from ....tools.risk.base import CommandRisk

__all__ = ["commands"]


@options.apart
def command(
    text: Annotated[
        str | None,
        typer.Argument(metavar="COMMAND", help="As for bash -c; JSON lines on standard input when left out."),
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Say what a shell command would do. The command is only parsed, never run, and no file is read.

    Lines are JSON strings, or objects with 'command' and optionally 'id'.
    """
    if text is not None:
        said = _judged(text)
        answer(_record(said), _told(said), json=json, lines=True, clean=True)
        return
    seen = broken = 0
    for number, given in lines_of("-"):
        seen += 1
        one = _given(given, number)
        if one is None:
            broken += 1
            continue
        named, asked = one
        said = _judged(asked)
        if json:
            as_json({**named, **_record(said)}, lines=True, clean=True)
        else:
            result(f"{said.risk.value}  {line(asked)}")
    if not seen:
        progress('there were no commands: give one as an argument, or JSON lines such as {"command": "ls"}')
    if broken:
        raise typer.Exit(ExitCode.USAGE)


def _given(text: bytes, number: int) -> tuple[dict[str, Any], str] | None:
    """Return the id and the command of a line; report what is wrong and return None if it is invalid."""
    made = json_of(text, number)
    if made is None:
        return None
    if isinstance(made, str):
        return {}, made
    asked = made.get("command") if isinstance(made, dict) else None
    if not isinstance(asked, str):
        broken_line(number, 'give a JSON string, or an object such as {"id": "1", "command": "ls"}')
        return None
    return ({"id": redacted(made["id"])} if "id" in made else {}), asked


def _judged(text: str) -> CommandRisk:
    from ....tools.risk.reader import read_command

    return read_command(text)


def _record(said: CommandRisk) -> dict[str, Any]:
    return {
        "risk": said.risk.value,
        "asks": said.asks,
        "effects": [effect.value for effect in sorted(said.effects)],
        "reasons": [{"code": one.code, "text": _clean(one.text), "span": list(one.span)} for one in said.reasons],
        "commands": [
            {"name": _clean(one.name), "span": list(one.span), "risk": one.risk.value, "effect": one.effect.value}
            for one in said.commands
        ],
    }


@lru_cache(maxsize=4096)
def _clean(text: str) -> str:
    """Redact a text; cached, since most lines hold the same few texts."""
    return redact(text)


def _told(said: CommandRisk) -> str:
    """Return a verdict in words."""
    lines = [
        f"risk     {said.risk.value}" + (", so a person is asked" if said.asks else ""),
        f"effects  {', '.join(effect.value for effect in sorted(said.effects)) or 'none'}",
    ]
    if said.reasons:
        lines += ["because", table([(one.code, line(one.text)) for one in said.reasons], indent=2)]
    if said.commands:
        rows = [(line(one.name) or "?", one.risk.value, one.effect.value) for one in said.commands]
        lines += ["commands", table(rows, indent=2)]
    return "\n".join(lines)


commands = options.group(
    "Say what an act would do, without doing it.",
    {"command": command, "tool-call": tool_call},
)
