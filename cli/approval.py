"""Ask the person at the terminal about acts that wait for approval."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from ..configs.redact import redacted, restored
from .live import RISK_COLOURS
from .screen import line, paint, progress, visible

if TYPE_CHECKING:
    from ..agents.result import Pending

__all__ = ["Answers", "ask", "show"]

Answers = dict[str, dict[str, Any]]


def show(pending: Pending) -> None:
    """Print an act with its exact arguments, risk and reason to stderr."""
    progress("")
    progress(f"waiting for approval: {line(pending.tool)}   id {pending.id}")
    progress(f"  risk       {paint(pending.risk, RISK_COLOURS.get(pending.risk, 'white'))}: {line(pending.reason)}")
    # As JSON, and then with every control character written out, so that what is read is what would run.
    laid = visible(json.dumps(redacted(pending.arguments), ensure_ascii=False, indent=2, default=str))
    progress("  arguments  " + laid.replace("\n", "\n             "))


def ask(waiting: Sequence[Pending]) -> Answers | None:
    """Ask about each act, or return None when nobody is at the terminal.

    Args:
        waiting: The acts.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    answers: Answers = {}
    for pending in waiting:
        show(pending)
        answers[pending.id] = {"digest": pending.digest, **_decision(pending)}
    return answers


def _decision(pending: Pending) -> dict[str, Any]:
    while True:
        word = typer.prompt("  approve, edit or reject?", default="reject", err=True).strip().lower()
        if word in ("a", "approve", "y", "yes"):
            return {"decision": "approve"}
        if word in ("r", "reject", "n", "no"):
            reason = typer.prompt("  why (told to the agent)", default="", show_default=False, err=True)
            return {"decision": "reject", "reason": reason}
        if word in ("e", "edit"):
            edited = _edited(pending)
            if edited is not None:
                return {"decision": "edit", "arguments": edited}


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
    return dict(restored(made, pending.arguments))
