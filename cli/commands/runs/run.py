"""``pointsman run``: run a workflow once, or once for each row of a CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ....configs.errors import ConfigError
from ... import options
from ...io.inputs import MAX_INPUT, read_input, read_messages, read_piped
from ...io.outcome import TARGET_TAG, Approval, Bounds, answered, report_run, told
from ...io.output import progress
from ...io.target import DEFAULT, load_target, looks_like_target, read_with, target_file
from ...signals import run_to_end

if TYPE_CHECKING:
    from ....agents.result import RunResult
    from ....agents.runtime import Runtime
    from ....graphs.workflow import Workflow
    from ...errors import ExitCode

__all__ = ["register"]

SAMPLES = "messages.csv"


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
    max_input: options.MaxInput = MAX_INPUT,
    workspace: options.Workspace = None,
    sandbox: options.Sandbox = None,
    config: options.Config = None,
    offline: options.Offline = False,
    overrides: options.Set = None,
    json: options.AsJson = False,
) -> None:
    """Run a workflow or an agent.

    Without an input, the project that ``pointsman init`` writes runs its sample messages.
    """
    from ...settings import opened

    spec, task, rows = _what(target, input_, batch, max_input)
    messages = read_messages(rows, limit=max_input) if rows else None
    bounds = Bounds(max_cost, max_steps, timeout, user, user_class, (*(tag or ()), TARGET_TAG + _kept(spec)))
    name_it = None if target is not None and _names(target, input_) else f"'pointsman run {spec} INPUT'"
    who = None if approval == "ask" and messages is None else False
    with opened(
        config, offline=offline, overrides=overrides, workspace=workspace, sandbox=sandbox, attended=who
    ) as runtime:
        workflow = load_target(spec, name_it=name_it)
        runtime.protect(read_with(spec))
        if messages is not None:
            from ...io.rows import run_batch

            code = run_batch(workflow, messages, runtime, bounds, jobs=jobs, deny=approval == "deny", json=json)
        else:
            code = _run_once(workflow, task or "", runtime, bounds, approval, stream=stream, json=json)
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


def _run_once(
    workflow: Workflow, task: str, runtime: Runtime, bounds: Bounds, approval: Approval, *, stream: bool, json: bool
) -> ExitCode:
    """Run once, ask the person at the terminal whatever needs approval, show it live, and print the outcome."""
    from ...io.live import Live

    live = Live(stream=stream, json=json)

    async def work() -> RunResult:
        first = await workflow.arun(task, **bounds.arguments(), runtime=runtime, emit=live.show)
        return await answered(workflow, first, runtime, live, approval)

    try:
        outcome = run_to_end(work())
    except (TimeoutError, KeyboardInterrupt):
        told(live.run)
        raise
    finally:
        live.close()
    return report_run(outcome, live, json=json, stream=stream)
