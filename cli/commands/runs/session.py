"""``pointsman chat`` and ``code``: a conversation at the terminal, one run per turn."""

from __future__ import annotations

import os
import sys
import time
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ....configs.errors import ConfigError
from ... import options
from ...io.outcome import TARGET_TAG
from ...settings import opened
from ...signals import end_cleanly
from ...target.target import DEFAULT, found_target
from .run import ApprovalOption

if TYPE_CHECKING:
    from ....agents.runtime import Runtime
    from ....ledger.rows import RunRow
    from ...session.base import Face, Left

__all__ = ["chat", "code"]

_CODER: Final = "coding"
_LOOKED_AT: Final = 1_000
"""How many of the latest runs are searched for the conversation to continue."""
_Continue = Annotated[
    bool, typer.Option("--continue", help="Go on with the last conversation that was held here with it.")
]
_Json = Annotated[
    bool, typer.Option("--json", help='Be driven by a program: {"say": "…"} a line in, an event a line out.')
]


@options.project("workspace", "sandbox", "offline", "overrides")
def chat(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="file.py:name, module:name or a name of agents.yaml.")
    ] = DEFAULT,
    thread: options.Thread = None,
    last: _Continue = False,
    max_cost: options.MaxCost = None,
    approval: ApprovalOption = "ask",
    json: _Json = False,
) -> None:
    """Talk with a workflow or an agent: each line is a run of one conversation. --max-cost bounds each run."""
    from ....agents.bounds import Bounds
    from ...session.session import Session

    if thread is not None and last:
        raise ConfigError("give either --thread or --continue")
    who = None if approval == "ask" and not json else False
    with opened(attended=who) as runtime:
        workflow = found_target(target, runtime)
        rows = _held(runtime, target)
        if last and not rows:
            raise ConfigError(f"no conversation was held here with {target} yet: leave --continue out")
        name = thread or (_thread_of(rows[0]) if last else _new_thread())
        left = _left(runtime, next((row for row in rows if _thread_of(row) == name), None))
        bounds = Bounds(max_cost=max_cost, tags=(TARGET_TAG + target,))
        end_cleanly()
        with closing(_face(runtime, workflow.name, json=json)) as face:
            code = Session(face, workflow, runtime, name, bounds, approval, left).hold()
    raise typer.Exit(code)


@options.project("workspace", "sandbox", "offline", "overrides")
def code(
    thread: options.Thread = None,
    last: _Continue = False,
    max_cost: options.MaxCost = None,
    approval: ApprovalOption = "ask",
    json: _Json = False,
) -> None:
    """Let the coding agent work in this folder, in a conversation. --max-cost bounds each run."""
    chat(_CODER, thread, last, max_cost, approval, json)


def _face(runtime: Runtime, name: str, *, json: bool) -> Face:
    """Return the face for the user: a program, a terminal, or plain lines."""
    from ...session.plain import JsonLines, Plain
    from ...session.spent import Spent

    spent = Spent(name)
    if json:
        return JsonLines(spent)
    if sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from ...session.terminal import Terminal

        return Terminal(spent, runtime.settings.state)
    return Plain(spent)


def _new_thread() -> str:
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + uuid.uuid4().hex[:4]


def _held(runtime: Runtime, target: str) -> list[RunRow]:
    """Return the latest runs of conversations with a target, newest first."""
    rows = runtime.ledger.runs(limit=_LOOKED_AT)
    return [row for row in rows if TARGET_TAG + target in row.tags and _thread_of(row)]


def _thread_of(row: RunRow) -> str:
    from ....graphs.conversing import THREAD_TAG

    return next((tag.removeprefix(THREAD_TAG) for tag in row.tags if tag.startswith(THREAD_TAG)), "")


def _left(runtime: Runtime, row: RunRow | None) -> Left | None:
    """Return the last run of a conversation if it can be continued."""
    from ....agents.runs import status_of
    from ...session.base import Left

    status = "" if row is None else status_of(runtime, row)
    return Left(row.id, status) if row is not None and status in ("interrupted", "failed", "pending") else None
