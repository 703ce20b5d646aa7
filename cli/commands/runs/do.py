"""``pointsman do``: let an agent do a task with shell commands, in the sandbox, in this folder."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import options
from ...io.inputs import MAX_INPUT, read_input
from ...io.outcome import TARGET_TAG
from ...settings import GIVEN, opened
from .run import ApprovalOption, run_once

__all__ = ["do"]

_AGENT = "terminal"


@options.project("workspace", "sandbox", "offline", "overrides")
def do(
    task: Annotated[str, typer.Argument(metavar="TASK", help="What is to be done: a text, @file, or - for input.")],
    file: options.File = None,
    thread: options.Thread = None,
    max_cost: options.MaxCost = None,
    max_tokens: options.MaxTokens = None,
    timeout: options.Timeout = None,
    approval: ApprovalOption = "ask",
    stream: Annotated[bool, typer.Option("--stream", help="Print tokens as they come.")] = False,
    user: options.User = "",
    user_class: options.UserClass = None,
    tag: options.Tag = None,
    json: options.AsJson = False,
) -> None:
    """Do a task with shell commands in this folder: plan, run commands in the sandbox, ask, and sum up.

    Each command is shown with its output. One that deletes, reaches outside the sandbox, or cannot be judged waits for
    your approval. At the end the acts and the diff are shown; pointsman runs undo reverts them.
    """
    from ....agents.bounds import Bounds
    from ....graphs.workflow import Workflow

    asked = read_input(task, limit=MAX_INPUT)
    bounds = Bounds(max_cost, None, timeout, user, user_class, (*(tag or ()), TARGET_TAG + _AGENT), max_tokens)
    who = None if approval == "ask" else False
    with opened(attended=who) as runtime:
        code = run_once(
            Workflow.named(_AGENT, runtime),
            asked,
            {"files": file or (), "thread": thread},
            runtime,
            bounds,
            approval,
            stream=stream,
            json=json,
            again=GIVEN.get().again(),
            acts=True,
        )
    raise typer.Exit(code)
