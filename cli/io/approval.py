"""Ask the person at the terminal about acts that wait for approval."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from ...configs.redact import redacted, restored
from .live import RISK_COLOURS
from .output import line, paint, progress, visible

if TYPE_CHECKING:
    from ...agents.result import Pending

__all__ = ["Answers", "ask", "at_terminal", "edit", "show"]

Answers = dict[str, dict[str, Any]]


def show(pending: Pending) -> None:
    """Print an act with its exact arguments, risk and reason to stderr."""
    progress("")
    progress(f"waiting for {f'approval: {line(pending.tool)}' if pending.tool else 'an answer'}   id {pending.id}")
    if pending.risk:
        risk = paint(pending.risk, RISK_COLOURS.get(pending.risk, "white"))
        progress(f"  risk       {risk}: {line(pending.reason)}")
    # As JSON, and then with every control character written out, so that what is read is what would run.
    laid = visible(json.dumps(redacted(pending.arguments), ensure_ascii=False, indent=2, default=str))
    progress("  arguments  " + laid.replace("\n", "\n             "))


def at_terminal() -> bool:
    """Whether somebody can read a question and answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(waiting: Sequence[Pending]) -> Answers | None:
    """Ask about each act, or return None when nobody is at the terminal, or a graph asks something of its own.

    Args:
        waiting: The acts.
    """
    if not (at_terminal() and all(pending.tool for pending in waiting)):
        return None
    answers: Answers = {}
    for pending in waiting:
        show(pending)
        answers[pending.id] = {"digest": pending.digest, **_decision(pending)}
    return answers


def edit(pending: Pending, arguments: Any) -> dict[str, Any]:
    """The answer that makes a call with other arguments.

    Args:
        pending: The act.
        arguments: Those to use instead; a secret that was left as it was shown, redacted, is the one it was.
    """
    kept = restored(arguments, pending.arguments)
    return {"type": "edit", "edited_action": {"name": pending.tool, "args": kept}}


def _decision(pending: Pending) -> dict[str, Any]:
    *others, last = pending.allowed
    while True:
        question = f"  {', '.join(others)} or {last}?"
        word = typer.prompt(question, default="reject", err=True).strip().lower()
        kind = {"y": "approve", "yes": "approve", "n": "reject", "no": "reject"}.get(word, word)
        fitting = [allowed for allowed in pending.allowed if kind and allowed.startswith(kind)]
        # A single r stays what it was before there was anything else that begins with it.
        match "reject" if kind == "r" else fitting[0] if len(fitting) == 1 else "":
            case "approve":
                return {"type": "approve"}
            case "reject":
                message = typer.prompt("  why (told to the agent)", default="", show_default=False, err=True)
                return {"type": "reject", "message": message}
            case "respond":
                return {"type": "respond", "message": typer.prompt("  the answer to give instead", err=True)}
            case "edit":
                if (edited := _edited(pending)) is not None:
                    return edit(pending, edited)


def _edited(pending: Pending) -> dict[str, Any] | None:
    """The arguments to use instead, checked to be an object with the same names."""
    shown = json.dumps(redacted(pending.arguments), default=str)
    text = typer.prompt("  arguments as JSON", default=shown, err=True)
    try:
        made = json.loads(text)
    except json.JSONDecodeError as error:
        progress(f"  that is not JSON: {error.msg}")
        return None
    if not isinstance(made, dict) or not set(made) <= set(pending.arguments):
        progress(f"  give an object with no other names than {', '.join(pending.arguments)}")
        return None
    return made
