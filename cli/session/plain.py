"""The session in plain lines: behind a pipe, at a dumb terminal, or with a program that reads JSON events."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from ...configs.errors import ConfigError
from ..io import records
from ..io.approval import ask
from ..io.live import Live
from ..io.output import as_json, result
from .base import Answer, Ask, Command, Face, Left, Request
from .spent import told

if TYPE_CHECKING:
    from ...agents.result import Pending, RunResult
    from ..io.approval import Answers

__all__ = ["JsonLines", "Plain", "request_of", "unsaid"]

_MARK = "\ufeff"  # the byte order mark
_FORMS = '{"say": "…"}, {"answers": {ID: decision}} or {"resume": true}'


def request_of(typed: str) -> Request | None:
    """Return the request in a typed line; None if it is empty.

    Args:
        typed: The line.
    """
    text = typed.strip()
    if not text:
        return None
    name = (text[1:].split() or [""])[0]
    # A question may begin with a path.
    return Command(name, text) if text.startswith("/") and "/" not in name else Ask(text)


def _next_line() -> str:
    """Return the next line of standard input; empty at its end.

    Raises:
        ConfigError: The line cannot be decoded.
    """
    stream: Any = sys.stdin
    if not hasattr(stream, "buffer"):  # a caller in Python replaced it with a text stream
        return str(stream.readline()).removeprefix(_MARK)
    # A text stream that fails to decode a line loses the lines after it too.
    line = stream.buffer.readline()
    try:
        return str(line.decode(stream.encoding)).removeprefix(_MARK)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"a line is not {error.encoding.upper()} text (byte {error.start}): save it as UTF-8"
        ) from None


def unsaid(outcome: RunResult[Any], live: Live) -> str:
    """Return the output of a run if it was not streamed; empty if the run waits, or was rejected after streaming text.

    Args:
        outcome: How it ended.
        live: The object that showed it.
    """
    said = live.streamed.strip()
    if outcome.output is None or outcome.pending or (outcome.status == "rejected" and said):
        return ""
    text = records.as_text(outcome.output)
    return "" if said == text.strip() else text


class Plain(Face):
    """Lines in, lines out: answers on stdout, everything else on stderr."""

    @property
    def attended(self) -> bool:  # type: ignore[override]  # it depends on standard input
        """Return whether a person types the lines."""
        return sys.stdin.isatty()

    def request(self) -> Request | None:
        """Return the request in the next line that is not empty.

        Raises:
            ConfigError: The line cannot be decoded.
        """
        while True:
            if self.attended:
                typer.echo("> ", err=True, nl=False)
            if not (typed := _next_line()):
                return None
            if (request := request_of(typed)) is not None:
                return request

    def answers(self, waiting: Sequence[Pending]) -> Answers | None:
        """Ask only at a terminal: piped input is never an approval, since it may come from anybody."""
        return ask(waiting)

    def live(self) -> Live:
        """Return a `Live` that shows tokens and acts as they arrive."""
        return Live(stream=True, acts=True, told=told)

    def ended(self, outcome: RunResult[Any], live: Live) -> None:
        """Print what was not streamed."""
        if text := unsaid(outcome, live):
            result(text)


class JsonLines(Face):
    """A program: one object per line in, one event per line out."""

    attended = False

    def request(self) -> Request | None:
        """Return the request in the next line.

        Raises:
            ConfigError: The line has none of the accepted forms.
        """
        if not (typed := _next_line()):
            return None
        try:
            said = json.loads(typed)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"a line is no JSON ({error}): write {_FORMS}") from error
        match said:
            case {"say": str(text), **rest} if not rest and text.strip():
                # Text that a program passes on may come from anybody, so it is never a command.
                return Ask(text)
            case {"answers": dict(answers), **rest} if not rest and answers:
                return Answer(answers)
            case {"resume": True, **rest} if not rest:
                return Command("resume", "/resume")
        raise ConfigError(f"a line is no request: write {_FORMS}")

    def answers(self, waiting: Sequence[Pending]) -> Answers | None:
        """Return None: the answers arrive as a line of their own."""
        return None

    def began(self, name: str, thread: str, left: Left | None) -> None:
        """Print the first event."""
        as_json({"event": "session", "workflow": name, "thread": thread, "left": left and asdict(left)}, lines=True)

    def stopped(self, run: str) -> None:
        """Print an event."""
        as_json({"event": "stopped", "run": run or None}, lines=True)

    def failed(self, said: str) -> None:
        """Print an event."""
        as_json({"event": "error", "error": said}, lines=True)

    def live(self) -> Live:
        """Return a `Live` that prints one event per line."""
        return Live(stream=True, json=True, acts=True, told=told)

    def ended(self, outcome: RunResult[Any], live: Live) -> None:
        """Print the last event of a run."""
        as_json({"event": "result", **records.run_record(outcome)}, lines=True)
