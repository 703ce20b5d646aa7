"""Show acts that wait for approval with everything relevant, and ask the person at the terminal about them."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import typer

from ...configs.redact import redact, redacted, restored
from ...configs.visible import visible
from ..signals import received
from .live import RISK_COLOURS
from .output import minute, paint, progress

if TYPE_CHECKING:
    from ...agents.result import Pending

__all__ = ["Answers", "Person", "ask", "at_terminal", "described", "edit", "show"]

Answers = dict[str, dict[str, Any]]

_LONG: Final = 1_200
"""Most characters of a text shown whole; of a longer one, the beginning, the end and the length left out are shown."""
_MANY: Final = 60
"""Most items of a list, or lines of a change, that are all shown."""
_GAP: Final = "\n             "
_DIFF_COLOURS: Final = {"+": "green", "-": "red", "@": "cyan"}


class Person:
    """The person at the terminal, who is told things and asked questions."""

    def say(self, text: str) -> None:
        """Tell them something, on stderr."""
        progress(text)

    def asked(self, question: str, default: str = "", *, shown: bool = True) -> str:
        """Ask for a line.

        Args:
            question: The question.
            default: The answer that an empty line stands for.
            shown: Show the default in the question.

        Raises:
            typer.Abort: They leave the question.
        """
        return str(typer.prompt(question, default=default, show_default=shown and bool(default), err=True))

    def corrected(self, question: str, text: str) -> str:
        """Ask for a corrected text; an empty line leaves it unchanged.

        Args:
            question: The question.
            text: The text.

        Raises:
            typer.Abort: They leave the question.
        """
        return self.asked(question, text)


def show(pending: Pending, *, full: bool = False, here: bool = False, person: Person | None = None) -> None:
    """Show an act as `described` formats it.

    Args:
        pending: The act.
        full: Leave nothing out.
        here: It is answered right here.
        person: Whom to show it to; printed on stderr if None.
    """
    for said in ("", *described(pending, full=full, here=here, err=True)):
        (person or Person()).say(said)


def described(pending: Pending, *, full: bool = False, here: bool = False, err: bool = False) -> Iterator[str]:
    """Yield the lines that describe an act: tool, risk and reasons, origin, exact arguments, what it would change.

    Every character is visible, as `visible` writes it, and secrets are redacted. Long parts are cut in the middle, with
    a count of what is left out.

    Args:
        pending: The act.
        full: Leave nothing out.
        here: It is answered right here, so that its id, its run and the expiry of an approval are left out.
        err: It is for stderr.
    """
    what = f"approval: {_line(pending.tool)}" if pending.tool else "an answer"
    yield f"waiting for {what}" + ("" if here else f"   id {pending.id}")
    if pending.risk:
        risk = paint(pending.risk, RISK_COLOURS.get(pending.risk, "white"), err=err)
        yield f"  risk       {risk}: {_line(pending.reason)}"
    if pending.sandbox:
        confined = not pending.sandbox.startswith("UNSANDBOXED")
        yield f"  sandbox    {_line(pending.sandbox) if confined else paint(_line(pending.sandbox), 'red', err=err)}"
    origin = {name: said for name, said in pending.origin.items() if not (here and name == "run")}
    if origin:
        yield f"  from       {', '.join(f'{_line(name)} {_line(said)}' for name, said in origin.items())}"
    if pending.asked is not None and not here:
        until = "" if pending.expires is None else f", an approval holds until {minute(pending.expires)} UTC"
        yield f"  asked      {minute(pending.asked)} UTC{until}"
    given = redacted(pending.arguments)
    laid = json.dumps(given if full else _cut(given), ensure_ascii=False, indent=2, default=str)
    # As JSON, and with every invisible character escaped, so that what is read is what would run.
    yield "  arguments  " + visible(laid).replace("\n", _GAP)
    for name, whose in pending.sources.items():
        yield f"  source     {_line(name)}: {_line(whose)}"
    if pending.preview:
        lines = redact(pending.preview).rstrip("\n").split("\n")
        shown = lines if full else [_text(one) for one in _some(lines, "lines")]
        yield "  change"
        for one in shown:
            yield f"    {paint(visible(one), _DIFF_COLOURS.get(one[:1], ''), err=err)}"


def at_terminal() -> bool:
    """Return whether somebody can read a question and answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(waiting: Sequence[Pending], person: Person | None = None) -> Answers | None:
    """Ask about each act; return None, and everything keeps waiting, if nobody is at the terminal, they leave the
    question, or a graph asks a question of its own.

    Args:
        waiting: The acts.
        person: Whom to ask; whoever is at the terminal if None.
    """
    if (person is None and not at_terminal()) or not all(pending.tool for pending in waiting):
        return None
    person = person or Person()
    answers: Answers = {}
    with _leaving_at_once():
        try:
            for number, pending in enumerate(waiting, 1):
                show(pending, here=True, person=person)
                left = f" ({number} of {len(waiting)})" if len(waiting) > 1 else ""
                answers[pending.id] = {"digest": pending.digest, **_decision(pending, left, person)}
        except (typer.Abort, KeyboardInterrupt, EOFError):
            if received() != signal.SIGINT:
                raise
            person.say("\nnothing was answered, so everything waits on")
            return None
    return answers


def edit(pending: Pending, arguments: Any) -> dict[str, Any]:
    """Return the answer that makes a call with other arguments.

    Args:
        pending: The act.
        arguments: The arguments to use instead; a secret left redacted, as it was shown, gets its original value.
    """
    kept = restored(arguments, pending.arguments)
    return {"type": "edit", "edited_action": {"name": pending.tool, "args": kept}}


@contextmanager
def _leaving_at_once() -> Iterator[None]:
    """Let Ctrl-C end the question at once; an event loop would handle it only after the question is answered."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_WORDS: Final[Mapping[str, str]] = {"approve": "yes", "a": "yes", "reject": "no", "r": "no", "details": "more"}
"""Other words for the answers."""
_SAID: Final[Mapping[str, str]] = {"approve": "yes", "reject": "no"}
"""Decisions with a shorter word."""


def _decision(pending: Pending, left: str, person: Person) -> dict[str, Any]:
    words = [_SAID.get(one, one) for one in ("approve", "reject", "edit", "respond") if one in pending.allowed]
    words += [*(["always"] if pending.always else []), "more"]
    question = f"  approve? {', '.join(words)}{left}"
    editing = _Editing(pending, person)
    while True:
        said = person.asked(question, "no").strip().lower()
        word = _WORDS.get(said, said)
        fitting = [one for one in words if word and one.startswith(word)]
        match word if word in words else fitting[0] if len(fitting) == 1 else "":
            case "yes":
                return {"type": "approve"}
            case "always":
                return {"type": "approve", "scope": "always"}
            case "no":
                return {"type": "reject", "message": person.asked("  why (told to the agent)", shown=False)}
            case "respond":
                return {"type": "respond", "message": person.asked("  its result, given without making the call")}
            case "edit":
                if (edited := editing.done()) is not None:
                    return edit(pending, edited)
            case "more":
                show(pending, full=True, person=person)


class _Editing:
    """Arguments that a person is changing; their text is kept until it is valid.

    Args:
        pending: The act.
        person: The person.
    """

    def __init__(self, pending: Pending, person: Person) -> None:
        self._names = tuple(pending.arguments)
        self._person = person
        self._text = json.dumps(redacted(pending.arguments), default=str)

    def done(self) -> dict[str, Any] | None:
        """Return the new arguments, an object with the same names; None if an invalid text is left uncorrected."""
        while True:
            text = self._person.corrected("  arguments as JSON", self._text)
            made, wrong = self._read(text)
            if made is not None or not text.strip():
                return made
            self._person.say(f"  {wrong}; an empty line asks again")
            if text == self._text:
                return None
            self._text = text

    def _read(self, text: str) -> tuple[dict[str, Any] | None, str]:
        """Return the arguments in a text, or None and why it is invalid."""
        try:
            made = json.loads(text)
        except json.JSONDecodeError as error:
            return None, f"that is not JSON: {error.msg} (character {error.pos + 1})"
        if not isinstance(made, dict) or not set(made) <= set(self._names):
            return None, f"give an object with no other names than {', '.join(self._names)}"
        return made, ""


def _cut(value: Any) -> Any:
    """Return a JSON value with long texts and lists cut in the middle."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {key: _cut(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(item) for item in _some(value, "items")]
    return value


def _text(text: str) -> str:
    if len(text) <= _LONG:
        return text
    half = _LONG // 2
    return f"{text[:half]} [… {len(text) - 2 * half:,} characters left out, --full shows them …] {text[-half:]}"


def _some(items: Sequence[Any], what: str) -> Sequence[Any]:
    if len(items) <= _MANY:
        return items
    half = _MANY // 2
    return [*items[:half], f"[… {len(items) - 2 * half:,} {what} left out, --full shows them …]", *items[-half:]]


def _line(text: object) -> str:
    return visible(redact(str(text)).replace("\n", "\\n").replace("\t", "\\t"))
