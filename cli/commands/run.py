"""``pointsman run``: run a workflow once, or once for each row of a CSV."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...configs.errors import ConfigError
from ..errors import ExitCode
from ..io import records
from ..io.inputs import MAX_INPUT, read_input, read_messages, read_piped
from ..io.output import as_json, line, money, progress, result
from ..io.target import DEFAULT, load_target, looks_like_target, read_with, target_file
from . import options

if TYPE_CHECKING:
    from ...agents.result import RunResult
    from ...agents.runtime import Runtime
    from ...graphs.workflow import Workflow
    from ...ledger.rows import CallRow
    from ..io.live import Live

__all__ = ["TARGET_TAG", "Bounds", "added_up", "drive", "register", "report_run", "told"]

Approval = Literal["ask", "deny"]
TARGET_TAG = "target:"
"""Prefix of the tag under which a run keeps its target, for `resume`."""

SAMPLES = "messages.csv"

ENDED = {
    "done": ExitCode.DONE,
    "failed": ExitCode.FAILED,
    "rejected": ExitCode.FAILED,
    "pending": ExitCode.PENDING,
    "handed_over": ExitCode.PENDING,
}
"""How the command ends after a run that ended so: where a person must act it is not done, and 4 tells that from 1."""


@dataclass(frozen=True)
class Bounds:
    """What bounds a run and what it is booked on; `resume` keeps what is left out."""

    max_cost: float | None = None
    max_steps: int | None = None
    timeout: float | None = None
    user: str = ""
    user_class: str | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_cost is not None:
            from ...agents.runs import check_cap

            check_cap(self.max_cost)

    def arguments(self) -> dict[str, Any]:
        """The arguments of `Workflow.arun` and `Workflow.aresume`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help=f"file.py:name or module:name; {DEFAULT} when left out.")
    ] = None,
    input_: Annotated[
        str | None, typer.Argument(metavar="INPUT", help="The text, @file, or - for standard input.")
    ] = None,
    batch: Annotated[
        Path | None, typer.Option("--batch", metavar="FILE.csv", help="Run each row of a CSV (text[,label]).")
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, max=64, metavar="N", help="Rows of a batch to run at the same time.")
    ] = 4,
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", min=0, metavar="USD", help="Most the command may spend.")
    ] = None,
    max_steps: options.MaxSteps = 50,
    timeout: options.Timeout = None,
    approval: Annotated[
        Approval,
        typer.Option(
            "--approval", metavar="ask|deny", help="What to do with critical acts: ask a person, or refuse them."
        ),
    ] = "ask",
    stream: Annotated[bool, typer.Option("--stream", help="Print tokens as they come.")] = False,
    user: options.User = "",
    user_class: options.UserClass = None,
    tag: options.Tag = None,
    max_input: Annotated[
        int, typer.Option("--max-input", min=1, metavar="BYTES", help="Largest input accepted.")
    ] = MAX_INPUT,
    workspace: options.Workspace = None,
    config: options.Config = None,
    offline: options.Offline = False,
    overrides: options.Set = None,
    json: options.AsJson = False,
) -> None:
    """Run a workflow or an agent.

    Without an input, the project that ``pointsman init`` writes runs its sample messages.
    """
    from ..settings import opened

    spec, task, rows = _what(target, input_, batch, max_input)
    messages = read_messages(rows, limit=max_input) if rows else None
    bounds = Bounds(max_cost, max_steps, timeout, user, user_class, (*(tag or ()), TARGET_TAG + _kept(spec)))
    name_it = None if target is not None and _names(target, input_) else f"'pointsman run {spec} INPUT'"
    with opened(config, offline=offline, overrides=overrides, workspace=workspace) as runtime:
        workflow = load_target(spec, name_it=name_it)
        runtime.protect(read_with(spec))
        if messages is not None:
            from ..io.rows import run_batch

            code = run_batch(workflow, messages, runtime, bounds, jobs=jobs, deny=approval == "deny", json=json)
        else:
            from ..io.live import Live

            live = Live(stream=stream, json=json)
            outcome = drive(workflow, task or "", runtime, bounds, live, approval)
            code = report_run(outcome, live, json=json, stream=stream)
    raise typer.Exit(code)


def _what(target: str | None, text: str | None, batch: Path | None, limit: int) -> tuple[str, str | None, Path | None]:
    """Which target, and which input or batch; a lone argument that names no target is the input."""
    if target is not None and not _names(target, text):
        target, text = None, target
    spec = target or DEFAULT
    if spec.endswith(".py"):
        spec += DEFAULT[DEFAULT.index(":") :]
    if batch is not None and text is not None:
        raise ConfigError("give either an input or --batch, not both")
    if batch is not None:
        return spec, None, batch
    if text is not None:
        return spec, read_input(text, limit=limit), None
    file = target_file(spec)
    if file is not None and not file.is_file():
        load_target(spec)  # which says what is wrong, before anything is waited for
    samples = file.parent / SAMPLES if file is not None and target is None else None
    has_samples = samples is not None and samples.is_file()
    task = read_piped(limit=limit, optional=has_samples)
    if task is not None:
        return spec, task, None
    if has_samples:
        progress(f"no input given, so the sample messages in {samples} run")
        return spec, None, samples
    raise ConfigError("there is no input: give a text, @file, - for standard input, or --batch FILE.csv")


def _names(target: str, text: str | None) -> bool:
    """Whether the first argument names a target; alone it may be the input."""
    return text is not None or looks_like_target(target)


def _kept(spec: str) -> str:
    """The target as the ledger keeps it: a file by its full path, so that `resume` finds it from anywhere."""
    file = target_file(spec)
    return spec if file is None else f"{file.resolve()}:{spec.rpartition(':')[2]}"


def drive(
    workflow: Workflow, task: str, runtime: Runtime, bounds: Bounds, live: Live, approval: Approval = "ask"
) -> RunResult:
    """Run once, asking the person at the terminal whatever needs approval, and show it live.

    Args:
        workflow: What to run.
        task: Its input.
        runtime: What it runs on.
        bounds: What bounds it.
        live: What shows it.
        approval: What becomes of critical acts.
    """

    async def work() -> RunResult:
        first = await workflow.arun(task, **bounds.arguments(), runtime=runtime, emit=live.show)
        return await answered(workflow, first, runtime, live, approval)

    try:
        return asyncio.run(work())
    except (TimeoutError, KeyboardInterrupt):
        told(live.run)
        raise
    finally:
        live.close()


async def answered(
    workflow: Workflow, outcome: RunResult, runtime: Runtime, live: Live, approval: Approval
) -> RunResult:
    """Go on with a run that waits for approval until it ends or nobody answers; it keeps its bounds."""
    from ..io.approval import ask

    while outcome.pending:
        if approval == "deny":
            refusal = {"type": "reject", "message": "acts that need approval are refused here"}
            answers: Any = {p.id: {"digest": p.digest, **refusal} for p in outcome.pending}
        else:
            live.close()
            answers = ask(outcome.pending)
        if answers is None:
            return outcome
        outcome = await workflow.aresume(outcome.run, answers, runtime=runtime, emit=live.show)
    return outcome


def told(run: str) -> None:
    """Say how to take up a run that was cut off."""
    if run:
        progress(f"what is done is kept; go on with: pointsman resume {run}")


def report_run(outcome: RunResult, live: Live, *, json: bool, stream: bool, resumed: bool = False) -> ExitCode:
    """Print a run's outcome and say with which code the command ends.

    Args:
        outcome: The outcome.
        live: What showed the run.
        json: Print it as JSON.
        stream: Its tokens were printed already.
        resumed: The command was one part of the run only, which is told apart from the whole.
    """
    from ..io.approval import show

    for note in outcome.notes:
        progress(f"note: {line(note)}")
    if resumed:
        progress(f"this part: {added_up(live.steps, live.calls)}")
    whole = added_up(len(outcome.steps), outcome.calls)
    progress(f"run {outcome.run}: {outcome.status.replace('_', ' ')}, {whole}{' in all' if resumed else ''}")
    if json:
        record = records.run_record(outcome)
        if resumed:
            record["part"] = {"steps": live.steps, **records.spent(live.calls)}
        as_json({"event": "result", **record} if stream else record, lines=stream)
    elif outcome.output is not None:
        text = records.as_text(outcome.output)
        if not stream or live.streamed.strip() != text.strip():
            result(text)
    if outcome.status == "handed_over":
        progress("a person must go on: pointsman queue")
    for pending in outcome.pending:
        show(pending)
    if any(pending.tool for pending in outcome.pending):
        progress(f"answer with: pointsman resume {outcome.run} --approve all    (or --reject ID --reason WHY, --edit)")
    elif outcome.pending:
        progress(f"its graph asks this itself: answer in Python, workflow.resume({outcome.run!r}, {{ID: answer}})")
    return ENDED[outcome.status]


def added_up(steps: int, calls: Sequence[CallRow]) -> str:
    """Steps, calls, tokens and cost in words.

    Args:
        steps: How many steps.
        calls: The calls.
    """
    sums = records.spent(calls)
    unpriced = f" and {sums['unpriced']} calls of unknown price" if sums["unpriced"] else ""
    cost = money(round(sums["cost"] * 10**12))
    return f"{steps} steps, {sums['calls']} calls, {sums['tokens']} tokens, {cost}{unpriced}"
