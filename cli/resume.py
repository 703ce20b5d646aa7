"""``pointsman resume`` and ``pointsman runs``: take up what stopped, and list what ran."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .run import TARGET_TAG, Bounds, answered, report_run, told
from .screen import aligned, as_json, result, seconds
from .target import load_target

if TYPE_CHECKING:
    from ..agents.result import Pending, RunResult
    from ..agents.runtime import Runtime
    from ..ledger.rows import RunRow
    from .approval import Answers

__all__ = ["register"]

_NEAR = 1000
"""How many of the latest runs a mistyped id is compared with."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("resume")(resume)
    app.command("runs")(runs)


def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")],
    approve: Annotated[
        list[str] | None, typer.Option("--approve", metavar="ID|all", help="Approve an act that waits; repeatable.")
    ] = None,
    reject: Annotated[
        list[str] | None, typer.Option("--reject", metavar="ID|all", help="Refuse an act that waits; repeatable.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="WHY", help="Why it is refused; the agent is told.")] = "",
    target: Annotated[
        str | None, typer.Option("--target", metavar="TARGET", help="The target, where it has moved since.")
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", min=0, metavar="USD", help="Most the run may spend, what is spent included."),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", metavar="N", min=1, help="Steps of the graph this part may take.")
    ] = None,
    timeout: options.Timeout = None,
    user: options.User = "",
    user_class: options.UserClass = None,
    tag: options.Tag = None,
    workspace: options.Workspace = None,
    config: options.Config = None,
    offline: options.Offline = False,
    overrides: options.Set = None,
    json: options.AsJson = False,
) -> None:
    """Take up a run that waits for approval, or was cut off.

    Without an answer it shows what waits and ends with code 4. What is left out stays as the run was started.
    """
    from .live import Live
    from .settings import opened

    with opened(config, offline=offline, overrides=overrides, workspace=workspace) as runtime:
        row = _run_row(runtime, run)
        workflow = load_target(target or _target_of(row))
        live = Live(json=json)
        bounds = Bounds(max_cost, max_steps, timeout, user, user_class, tuple(tag or ()))

        async def work() -> RunResult:
            stopped = await workflow.aresume(run, None, **bounds.arguments(), runtime=runtime, emit=live.show)
            if not stopped.pending:
                return stopped
            if not approve and not reject:
                return await answered(workflow, stopped, runtime, live, "ask")
            answers = _answers(stopped.pending, approve or (), reject or (), reason)
            return await workflow.aresume(run, answers, runtime=runtime, emit=live.show)

        try:
            outcome = asyncio.run(work())
        except (TimeoutError, KeyboardInterrupt):
            told(run)
            raise
        code = report_run(outcome, live, json=json, stream=False)
    raise typer.Exit(code)


def _run_row(runtime: Runtime, run: str) -> RunRow:
    import difflib

    from ..configs.errors import ConfigError

    row = runtime.ledger.run(run)
    if row is not None:
        return row
    near = difflib.get_close_matches(run, [row.id for row in runtime.ledger.runs(limit=_NEAR)], n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"there is no run {run!r}{meant}: pointsman runs lists them")


def _target_of(row: RunRow) -> str:
    from ..configs.errors import ConfigError

    kept = next((tag.removeprefix(TARGET_TAG) for tag in row.tags if tag.startswith(TARGET_TAG)), None)
    if kept is None:
        raise ConfigError(f"run {row.id} keeps no target to go on with: name it with --target file.py:name")
    return kept


def _answers(waiting: Sequence[Pending], approve: Sequence[str], reject: Sequence[str], reason: str) -> Answers:
    from ..configs.errors import ConfigError

    ids = [pending.id for pending in waiting]
    unknown = [word for word in (*approve, *reject) if word != "all" and word not in ids]
    if unknown:
        raise ConfigError(f"nothing waits under the id {unknown[0]!r}; these do: {', '.join(ids)}")
    answers: Answers = {}
    for pending in waiting:
        refused = pending.id in reject or ("all" in reject and pending.id not in approve)
        if refused and pending.id in approve:
            raise ConfigError(f"{pending.id} is both approved and rejected: decide")
        if refused:
            answers[pending.id] = {"digest": pending.digest, "decision": "reject", "reason": reason}
        elif pending.id in approve or "all" in approve:
            answers[pending.id] = {"digest": pending.digest, "decision": "approve"}
    return answers


def runs(
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Most runs to list, the newest first.")
    ] = 20,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """List what ran."""
    from .settings import opened

    with opened(config, reads=True) as runtime:
        rows = runtime.ledger.runs(limit=limit)
    if json:
        as_json([_record(row) for row in rows])
        return
    if not rows:
        result("nothing has run yet: pointsman run")
        return
    cells = [
        (row.id, _when(row.started), row.status.replace("_", " "), _took(row), row.target, row.user, _labels(row))
        for row in rows
    ]
    result(aligned(cells, ("run", "started (UTC)", "status", "took", "target", "user", "tags"), right=[3]))


def _record(row: RunRow) -> dict[str, object]:
    return {
        "run": row.id,
        "target": row.target,
        "started": row.started,
        "ended": row.ended,
        "status": row.status,
        "user": row.user,
        "tags": list(row.tags),
    }


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _took(row: RunRow) -> str:
    return seconds(None if row.ended is None else row.ended - row.started)


def _labels(row: RunRow) -> str:
    here = Path.cwd()
    return " ".join(
        TARGET_TAG + os.path.relpath(tag.removeprefix(TARGET_TAG), here) if tag.startswith(f"{TARGET_TAG}/") else tag
        for tag in row.tags
    )
