"""The message that an error prints at the terminal, and its exit code."""

from __future__ import annotations

import os
import sys
from enum import IntEnum

from .signals import received

__all__ = ["ExitCode", "Verdict", "judge"]


class ExitCode(IntEnum):
    """The exit codes of ``pointsman``.

    Attributes:
        DONE: Everything is done.
        FAILED: Something failed, or a person rejected an act that the command needed.
        USAGE: A mistake in the command or the configuration.
        BUDGET: A cap is used up.
        PENDING: A person must act: approve, or continue what was handed over to them.
        HUNG_UP: The terminal was closed; this and the next two are 128 plus the signal's number, as in shells.
        INTERRUPTED: Ctrl-C.
        TERMINATED: SIGTERM.
    """

    DONE = 0
    FAILED = 1
    USAGE = 2
    BUDGET = 3
    PENDING = 4
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


Verdict = tuple[ExitCode, str]
"""The exit code, and the one line for stderr."""

# Families by the module that defines them, so that judging an error imports nothing: a family whose module was never
# loaded cannot have been raised.
_FAMILIES: tuple[tuple[str, str, ExitCode], ...] = (
    ("pointsman.ledger.budgets.budgets", "BudgetExceeded", ExitCode.BUDGET),
    ("pointsman.agents.approval.answers", "ApprovalPending", ExitCode.PENDING),
    ("pointsman.configs.errors", "ConfigError", ExitCode.USAGE),
    ("pointsman.backends.base", "BackendError", ExitCode.FAILED),
    ("pointsman.configs.errors", "PointsmanError", ExitCode.FAILED),
)


def judge(error: BaseException) -> Verdict:
    """Return the exit code and the message for an error.

    Args:
        error: What a command raised.
    """
    inner = _first(error)
    for module, name, code in _FAMILIES:
        family = getattr(sys.modules.get(module), name, None)
        if family is not None and isinstance(inner, family):
            return code, _folded(inner) + _explained(inner)
    if isinstance(inner, TimeoutError):
        return ExitCode.FAILED, _folded(inner, "a time-out expired")
    if isinstance(inner, KeyboardInterrupt):
        code = ExitCode(128 + received())
        return code, code.name.lower().replace("_", " ")
    run = next((note for note in getattr(inner, "__notes__", ()) if note.startswith("in run ")), "")
    if isinstance(inner, FileNotFoundError) and not run and _is_nowhere():
        return ExitCode.USAGE, "the current folder is gone: change into one that is there, such as with: cd"
    # An error that ends a run mostly comes from the code of a tool.
    said = f"{type(inner).__name__}: {_folded(inner)} ({run + '; ' if run else ''}pointsman --debug … shows where)"
    return ExitCode.FAILED, said if run else f"internal error: {said}"


def _is_nowhere() -> bool:
    """Return whether the current folder has been deleted."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _explained(error: BaseException) -> str:
    """Return a hint on how to explain the routing decision that an error is about, or an empty text."""
    decision = getattr(getattr(error, "decision", None), "request", None)
    return f" (pointsman route explain {decision} tells more)" if decision else ""


def _first(error: BaseException) -> BaseException:
    """Return the first error inside nested exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _folded(error: BaseException, nothing: str = "no further details") -> str:
    from ..configs.plain import message_of
    from ..configs.redact import redact

    # A message of several lines reports several mistakes; each keeps its own line.
    lines = [" ".join(line.split()) for line in redact(message_of(error)).splitlines()]
    return "\n".join(line for line in lines if line) or nothing
