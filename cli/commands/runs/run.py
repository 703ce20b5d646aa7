"""``pointsman run``: run a workflow once, or once for each row of a CSV."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....configs.errors import ConfigError
from ... import options
from ...io.inputs import MAX_INPUT, read_input, read_messages, read_piped
from ...io.outcome import TARGET_TAG, Approval, answered, report_run, sum_up, told
from ...io.output import progress
from ...settings import GIVEN, opened
from ...signals import run_to_end
from ...target.target import DEFAULT, found_target, is_named, load_target, looks_like_target, target_file

if TYPE_CHECKING:
    from ....agents.bounds import Bounds
    from ....agents.result import RunResult
    from ....agents.runtime import Runtime
    from ....graphs.workflow import Workflow
    from ...errors import ExitCode

__all__ = ["ApprovalOption", "run", "run_once"]

SAMPLES = "messages.csv"


_Target = Annotated[
    str | None,
    typer.Argument(
        metavar="TARGET", help=f"file.py:name, module:name or a name of agents.yaml; {DEFAULT} when left out."
    ),
]
_Input = Annotated[str | None, typer.Argument(metavar="INPUT", help="The text, @file, or - for standard input.")]
ApprovalOption = Annotated[
    Approval,
    typer.Option("--approval", metavar="ask|deny", help="What to do with critical acts: ask a person, or refuse them."),
]


@options.project("workspace", "sandbox", "offline", "overrides")
def run(
    target: _Target = None,
    input_: _Input = None,
    file: options.File = None,
    thread: options.Thread = None,
    dry_run: options.DryRun = False,
    batch: options.Batch = None,
    jobs: options.Jobs = 4,
    max_cost: options.MaxCost = None,
    max_tokens: options.MaxTokens = None,
    max_steps: options.MaxSteps = 50,
    timeout: options.Timeout = None,
    approval: ApprovalOption = "ask",
    stream: Annotated[bool, typer.Option("--stream", help="Print tokens as they come.")] = False,
    user: options.User = "",
    user_class: options.UserClass = None,
    tag: options.Tag = None,
    max_input: options.MaxInput = MAX_INPUT,
    json: options.AsJson = False,
) -> None:
    """Run a workflow or an agent.

    Without an input, the project that ``pointsman init`` writes runs its sample messages.
    """
    if batch is not None and (file or thread or dry_run):
        raise ConfigError("--batch goes without --file, --thread and --dry-run")
    if dry_run:
        with opened(reads=True) as runtime:
            code = _foreseen(target, input_, file or [], max_input, runtime, json=json)
        raise typer.Exit(code)
    spec, task, rows = _what(target, input_, batch, max_input)
    if rows is not None and (file or thread):
        raise ConfigError("there is no input beside the files: give a text, @file, or - for standard input")
    messages = read_messages(rows, limit=max_input) if rows else None
    tags = (*(tag or ()), TARGET_TAG + _kept(spec))
    from ....agents.bounds import Bounds

    bounds = Bounds(max_cost, max_steps, timeout, user, user_class, tags, max_tokens)
    who = None if approval == "ask" and messages is None else False
    name_it = None if target is not None and _names(target, input_) else f"'pointsman run {spec} INPUT'"
    with opened(attended=who) as runtime:
        workflow = found_target(spec, runtime, name_it=name_it)
        if messages is not None:
            from ...io.rows import run_batch

            code = run_batch(workflow, messages, runtime, bounds, jobs=jobs, deny=approval == "deny", json=json)
        else:
            again = GIVEN.get().again()
            what = (workflow, task or "", {"files": file or (), "thread": thread}, runtime, bounds, approval)
            code = run_once(*what, stream=stream, json=json, again=again)
    raise typer.Exit(code)


def _foreseen(
    target: str | None, text: str | None, files: list[Path], limit: int, runtime: Runtime, *, json: bool
) -> ExitCode:
    """Print what the command would do; the input may be left out."""
    from .foresee import foresee

    if target is not None and not (_names(target, text) or is_named(target, runtime)):
        target, text = None, target
    spec = _spec(target)
    task = read_input(text, limit=limit) if text is not None else ""
    name_it = None if target else f"'pointsman run {spec} INPUT --dry-run'"
    return foresee(spec, task, files, runtime, name_it=name_it, json=json)


def _spec(target: str | None) -> str:
    spec = target or DEFAULT
    return spec + DEFAULT[DEFAULT.index(":") :] if spec.endswith(".py") else spec


def _what(target: str | None, text: str | None, batch: Path | None, limit: int) -> tuple[str, str | None, Path | None]:
    """Return the target, and the input or batch; a single argument that names no target is the input."""
    if target is not None and not _names(target, text):
        target, text = None, target
    spec = _spec(target)
    if batch is not None and text is not None:
        raise ConfigError("give either an input or --batch, not both")
    if batch is not None:
        return spec, None, batch
    if text is not None:
        return spec, read_input(text, limit=limit), None
    file = target_file(spec)
    if file is not None and not file.is_file():
        load_target(spec)  # raises the error before the command waits for any input
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
    """Return whether the first argument names a target; on its own it may be the input."""
    return text is not None or looks_like_target(target)


def _kept(spec: str) -> str:
    """Return the target as the ledger stores it: a file by its full path, so that `resume` finds it from any folder."""
    file = target_file(spec)
    return spec if file is None else f"{file.resolve()}:{spec.rpartition(':')[2]}"


def run_once(
    workflow: Workflow,
    task: str,
    given: Mapping[str, Any],
    runtime: Runtime,
    bounds: Bounds,
    approval: Approval,
    *,
    stream: bool,
    json: bool,
    again: list[str],
    acts: bool = False,
) -> ExitCode:
    """Run once, ask the person at the terminal about acts that need approval, show events live, and print the outcome.

    Args:
        workflow: What to run.
        task: The input.
        given: Files and thread, as `Workflow.arun` takes them.
        runtime: The runtime to run on.
        bounds: The bounds of the run.
        approval: Whether a person is asked.
        stream: Print tokens as they come.
        json: Print JSON.
        again: Options with which a later command finds the run as this one did.
        acts: Show each tool call, and sum up what was done.
    """
    from ...io.live import Live

    live = Live(stream=stream, json=json, acts=acts)

    async def work() -> RunResult:
        first = await workflow.arun(task, **given, **asdict(bounds), runtime=runtime, emit=live.show)
        return await answered(workflow, first, runtime, live, approval)

    try:
        outcome = run_to_end(work())
    except (TimeoutError, KeyboardInterrupt):
        told(live.run, again)
        raise
    finally:
        live.close()
    code = report_run(outcome, live, json=json, stream=stream, again=again)
    if acts:
        sum_up(outcome)
    return code
