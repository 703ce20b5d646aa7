"""The session in plain lines: behind a pipe, at a dumb terminal, or with a program that reads a JSON event a line."""

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
    """What a typed line asks for; None where it is empty.

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
    """The next line of standard input; empty once there is none.

    Raises:
        ConfigError: It is no text.
    """
    stream: Any = sys.stdin
    if not hasattr(stream, "buffer"):  # a caller inside Python gave a stream of text
        return str(stream.readline()).removeprefix(_MARK)
    # A text stream that cannot decode a line loses those behind it, too.
    line = stream.buffer.readline()
    try:
        return str(line.decode(stream.encoding)).removeprefix(_MARK)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"a line is not {error.encoding.upper()} text (byte {error.start}): save it as UTF-8"
        ) from None


def unsaid(outcome: RunResult[Any], live: Live) -> str:
    """What came out of a run and was not streamed; nothing of one that waits, or was rejected after it was answered.

    Args:
        outcome: How it ended.
        live: What showed it.
    """
    said = live.streamed.strip()
    if outcome.output is None or outcome.pending or (outcome.status == "rejected" and said):
        return ""
    text = records.as_text(outcome.output)
    return "" if said == text.strip() else text


class Plain(Face):
    """Lines in, lines out: answers on stdout, all else on stderr."""

    @property
    def attended(self) -> bool:  # type: ignore[override]  # it depends on where it stands
        """Whether a person types the lines."""
        return sys.stdin.isatty()

    def request(self) -> Request | None:
        """The next line that is not empty.

        Raises:
            ConfigError: It is no text.
        """
        while True:
            if self.attended:
                typer.echo("> ", err=True, nl=False)
            if not (typed := _next_line()):
                return None
            if (request := request_of(typed)) is not None:
                return request

    def answers(self, waiting: Sequence[Pending]) -> Answers | None:
        """What is piped in is no approval: it may come from anybody."""
        return ask(waiting)

    def live(self) -> Live:
        """Tokens and acts as they come."""
        return Live(stream=True, acts=True, told=told)

    def ended(self, outcome: RunResult[Any], live: Live) -> None:
        """Print what was not streamed."""
        if text := unsaid(outcome, live):
            result(text)


class JsonLines(Face):
    """A program: an object a line in, an event a line out."""

    attended = False

    def request(self) -> Request | None:
        """The next object.

        Raises:
            ConfigError: A line is none of the forms.
        """
        if not (typed := _next_line()):
            return None
        try:
            said = json.loads(typed)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"a line is no JSON ({error}): write {_FORMS}") from error
        match said:
            case {"say": str(text), **rest} if not rest and text.strip():
                # What a program hands on may be anybody's words, and so is never a command.
                return Ask(text)
            case {"answers": dict(answers), **rest} if not rest and answers:
                return Answer(answers)
            case {"resume": True, **rest} if not rest:
                return Command("resume", "/resume")
        raise ConfigError(f"a line is no request: write {_FORMS}")

    def answers(self, waiting: Sequence[Pending]) -> Answers | None:
        """They come as a line of their own."""
        return None

    def began(self, name: str, thread: str, left: Left | None) -> None:
        """The first event."""
        as_json({"event": "session", "workflow": name, "thread": thread, "left": left and asdict(left)}, lines=True)

    def stopped(self, run: str) -> None:
        """An event, too."""
        as_json({"event": "stopped", "run": run or None}, lines=True)

    def failed(self, said: str) -> None:
        """An event, too."""
        as_json({"event": "error", "error": said}, lines=True)

    def live(self) -> Live:
        """An event a line."""
        return Live(stream=True, json=True, acts=True, told=told)

    def ended(self, outcome: RunResult[Any], live: Live) -> None:
        """The last event of a run."""
        as_json({"event": "result", **records.run_record(outcome)}, lines=True)
