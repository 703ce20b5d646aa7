"""Show the progress of a run: calls, steps and to-dos on stderr, and tokens on stdout if requested."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import typer

from ...configs.redact import Redactor, redact
from . import records
from .output import as_json, line, money, paint, progress, seconds, short, visible
from .simulated import named

if TYPE_CHECKING:
    from ...graphs.events import Event
    from ...ledger.rows import CallRow

__all__ = ["RISK_COLOURS", "Live", "Printer", "called"]

_TODOS: Final = "write_todos"
_MARKS: Final = {"completed": "[x]", "in_progress": "[>]"}
_SHOWN: Final = 12
"""Lines shown of a tool's result."""
RISK_COLOURS = {"low": "green", "medium": "yellow", "unknown": "red", "high": "red", "critical": "magenta"}


class Printer:
    """Prints for a person: lines on stderr, tokens on stdout."""

    _begun = False

    def say(self, text: str) -> None:
        """Show a line that is not part of the answer."""
        if self._begun and _are_one():
            self.write("\n")
        progress(text)

    def write(self, text: str) -> None:
        """Show a chunk of the answer."""
        self._begun = not text.endswith("\n")
        typer.echo(visible(text) if sys.stdout.isatty() else text, nl=False)


def _are_one() -> bool:
    """Return whether stdout and stderr go to the same place: a terminal, or one file or pipe as with ``2>&1``."""
    if sys.stdout.isatty() and sys.stderr.isatty():
        return True
    try:
        return os.path.samestat(*(os.fstat(stream.fileno()) for stream in (sys.stdout, sys.stderr)))
    except (AttributeError, OSError, ValueError):  # a caller in Python replaced the streams
        return False


class Live:
    """Shows events as they happen.

    Args:
        stream: Print tokens on stdout.
        json: Print only JSON on stdout: with ``stream``, one object per line for each event.
        acts: Show each tool call, and the beginning of its result.
        printer: The printer that shows events.
        told: Returns the line for a model call.
    """

    def __init__(
        self,
        *,
        stream: bool = False,
        json: bool = False,
        acts: bool = False,
        printer: Printer | None = None,
        told: Callable[[CallRow], str] | None = None,
    ) -> None:
        self._printer = printer or Printer()
        self._told = told or called
        self._stream = stream
        self._json = json
        self._acts = acts
        self._speaker = ""
        self._shown = ""
        self._tokens: dict[str, Redactor] = {}
        self._later: list[str] = []
        self.run = ""
        self.steps = 0
        self.calls: list[CallRow] = []
        self.streamed = ""

    def show(self, event: Event) -> None:
        """Show one event."""
        from ...graphs.events import Called, Retracted, Stepped, Token

        if isinstance(event, Token):
            self._token(event.agent, event.text)
            return
        if isinstance(event, Retracted):
            self._retract(event.agent)
            return
        if isinstance(event, Called):
            self.run = event.row.run
            self.calls.append(event.row)
            self._event({"event": "call", **records.call_record(event.row)})
            self._later.append(f"  {self._told(event.row)}")
            if not self._stream or self._json:
                self._catch_up()
        elif isinstance(event, Stepped):
            record = event.record
            self._let_go(record.agent)
            self._catch_up()
            self.steps += 1
            self._event({"event": "step", **records.step_record(record)})
            if record.status != "done" or record.note:
                state = "" if record.status == "done" else f"{record.status.replace('_', ' ')}: "
                self._printer.say(f"  {record.agent:<12} {state}{short(record.note, 160)}")
        else:
            self._other(event)

    def _other(self, event: Event) -> None:
        """Handle the other events: a program gets them all, a person only to-dos and, with ``acts``, tool calls."""
        from ...graphs.events import Began, Noted, Used, Using, Waiting

        match event:
            case Began(step=step, agent=agent, path=path):
                self._event({"event": "began", "step": step, "agent": agent, "path": list(path)})
            case Using(agent=agent, tool=tool, arguments=arguments, path=path):
                shown = records.plain(arguments)
                self._event({"event": "using", "agent": agent, "tool": tool, "arguments": shown, "path": list(path)})
                # The text before a tool call is complete.
                self._let_go(agent)
                self._catch_up()
                self._using(tool, arguments)
            case Used(tool=tool, text=text, failed=failed, path=path):
                self._event({"event": "used", "tool": tool, "text": text, "failed": failed, "path": list(path)})
                self._used(tool, text)
            case Waiting(pending=pending):
                self._event({"event": "waiting", **asdict(pending)})
            case Noted(text=text):
                self._event({"event": "note", "text": text})

    def _using(self, tool: str, arguments: Mapping[str, Any]) -> None:
        if tool == _TODOS and isinstance(todos := arguments.get("todos"), list):
            for todo in todos:
                if isinstance(todo, Mapping):
                    self._printer.say(
                        f"  {_MARKS.get(str(todo.get('status')), '[ ]')} {short(todo.get('content', ''), 160)}"
                    )
        elif self._acts and isinstance(command := arguments.get("command"), str):
            self._printer.say(f"  $ {paint(visible(redact(command.strip())), 'cyan')}")
        elif self._acts:
            given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
            self._printer.say(f"  {tool} {short(given, 160)}")

    def _used(self, tool: str, text: str) -> None:
        if not self._acts or tool == _TODOS:
            return
        told = text.rstrip().splitlines()
        for one in told[:_SHOWN]:
            self._printer.say(f"    {visible(redact(one))}")
        if len(told) > _SHOWN:
            self._printer.say(f"    … {len(told) - _SHOWN} more lines")

    def close(self) -> None:
        """Print buffered text, and end the current line of tokens."""
        for agent in list(self._tokens):
            self._let_go(agent)
        self._catch_up()
        if self._shown and not self._json:
            self._printer.write("\n")
        self._speaker = self._shown = ""

    def _catch_up(self) -> None:
        """Show the calls that ended while text was streamed: their events arrive before the last of their text."""
        for said in self._later:
            self._printer.say(said)
        self._later.clear()

    def _token(self, agent: str, text: str) -> None:
        if not self._stream:
            return
        if agent != self._speaker:
            self._speaker, self.streamed = agent, ""
        self.streamed += text
        self._print(agent, self._tokens.setdefault(agent, Redactor()).push(text))

    def _let_go(self, agent: str) -> None:
        tokens = self._tokens.pop(agent, None)
        if tokens is not None:
            self._print(agent, tokens.close())

    def _print(self, agent: str, text: str) -> None:
        if not text:
            return
        if self._json:
            self._event({"event": "token", "agent": agent, "text": text})
            return
        if agent != self._shown:
            if self._shown:
                self._printer.write("\n")
            self._printer.say(f"  {agent}:")
            self._shown = agent
        self._printer.write(text)

    def _retract(self, agent: str) -> None:
        if not self._stream:
            return
        self._tokens.pop(agent, None)
        self._event({"event": "retracted", "agent": agent})
        self.close()
        self.streamed = ""
        self._printer.say("  the text above is withdrawn: its stream broke, and another model answers again")

    def _event(self, event: dict[str, object]) -> None:
        if self._json and self._stream:
            as_json(event, lines=True)


def called(row: CallRow, *, err: bool = True) -> str:
    """Return one model call on one line: agent, the model that actually ran, risk, tokens, cost, time.

    Args:
        row: The call.
        err: It is for stderr rather than stdout; only one of them may support colours.
    """
    tokens = f"{row.usage.input}+{row.usage.output} tok" if row.usage else "- tok"
    risk = paint(f"{row.risk:<8}", RISK_COLOURS.get(row.risk, "white"), err=err)
    ended = "" if row.failure is None else paint(f"  {row.failure}: {short(row.detail, 120)}", "red", err=err)
    cost = money(row.cost) if row.usage else "-"
    who = f"{line(row.agent):<12} {line(named(row.model)):<30}"
    return f"{who} {risk} {tokens:>14} {cost:>10} {seconds(row.latency):>8}{ended}"
