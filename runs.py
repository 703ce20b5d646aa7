"""The runs of a project, whoever started them: read what they wait for, answer it, and undo their edits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .configs.arguments import checked
from .configs.errors import ConfigError
from .dispatch import sync

if TYPE_CHECKING:
    from .agents.journal.undo import Undone
    from .agents.result import Pending, RunResult
    from .agents.runtime import Runtime
    from .graphs.workflow import Answers, Workflow
    from .ledger.rows import RunRow

__all__ = ["aanswer", "answer", "apending", "aundo", "pending", "undo"]


P = ParamSpec("P")
T = TypeVar("T")


def _blocking(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Return the same function for synchronous code."""

    def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        done: T = sync.run(function(*args, **kwargs))
        return done

    return sync.as_twin(twin, function)


@checked
async def apending(run: str | None = None, *, runtime: Runtime | None = None) -> tuple[Pending, ...]:
    """Return what waits for a person in the runs of a project, longest-waiting first; ``act.run`` names the run.

    Args:
        run: Only this run.
        runtime: Runtime whose runs are read; defaults to the working directory's project.

    Raises:
        ConfigError: There is no such run, or what is stored of the runs cannot be read.
    """
    from .agents.runs import row_of
    from .graphs.waiting import waiting

    runtime = runtime or _default()
    if run is not None:
        await asyncio.to_thread(row_of, runtime, run)
    return await waiting(runtime, run)


pending = _blocking(apending)


@checked
async def aanswer(
    run: str,
    answers: Answers,
    *,
    workflow: Workflow[Any] | None = None,
    runtime: Runtime | None = None,
    max_cost: float | None = None,
    max_tokens: int | None = None,
    max_steps: int | None = None,
    timeout: float | None = None,
    tags: Sequence[str] = (),
) -> RunResult[Any]:
    """Answer what a run waits for, and resume it, within the bounds it was given.

    Args:
        run: Its id.
        answers: Id of what waits -> answer, or the answer itself if only one thing waits; as `Workflow.resume` takes
            it.
        workflow: What runs. A run of the command line records where that is; a program must give its own.
        runtime: What it ran on; defaults to the working directory's project.
        max_cost: USD the run may spend in total, including what it has already spent.
        max_tokens: Tokens of input and output that it may use, likewise.
        max_steps: Supersteps this part may take.
        timeout: Seconds this part may take.
        tags: Further labels.

    Returns:
        The outcome of the whole run, as `Workflow.run` returns it.

    Raises:
        ConfigError: There is no such run, it waits for nothing or not for that, or an answer is not understood: in
            these cases nothing was done. Or what runs is not known, or has changed since it was last named.
        RunOwned: Somebody works on it right now.
    """
    from .agents.runs import row_of

    runtime = runtime or _default()
    row = await asyncio.to_thread(row_of, runtime, run)
    flow = await asyncio.to_thread(_workflow_of, runtime, row) if workflow is None else workflow
    return await flow.aresume(
        run,
        answers,
        runtime=runtime,
        max_cost=max_cost,
        max_tokens=max_tokens,
        max_steps=max_steps,
        timeout=timeout,
        tags=tags,
    )


answer = _blocking(aanswer)


@checked
async def aundo(
    run: str,
    paths: Sequence[str] = (),
    *,
    last: bool = False,
    redo: bool = False,
    force: bool = False,
    dry_run: bool = False,
    runtime: Runtime | None = None,
) -> tuple[Undone, ...]:
    """Restore the files that a run's file tools changed, or none of them if one cannot be restored.

    Args:
        run: Its id; changes by nested runs are included.
        paths: Only these files, each relative to the workspace or absolute.
        last: Undo only the run's last edit; each further call undoes the one before.
        redo: Revert the last undo instead.
        force: Include files that somebody else has changed since; their content is saved, and ``redo`` restores it.
        dry_run: Change nothing, and report in `Undone.problem` what prevents it.
        runtime: What it ran on; defaults to the working directory's project.

    Returns:
        The files with what happens to them; empty if everything is already as it was.

    Raises:
        ConfigError: There is no such run, it did not edit one of the paths, or a file cannot be put back.
        RunOwned: Somebody works on it right now.
    """
    from .agents.journal.undo import undone

    runtime = runtime or _default()
    return await asyncio.to_thread(undone, runtime, run, paths, last=last, redo=redo, force=force, dry_run=dry_run)


undo = _blocking(aundo)


def _default() -> Runtime:
    from .agents.runtime import Runtime

    return Runtime.default()


def _workflow_of(runtime: Runtime, row: RunRow) -> Workflow[Any]:
    """What a run of the command line runs, from the file that it was started with."""
    from .cli.io.outcome import target_of
    from .cli.target.target import load_target, read_with

    spec = target_of(row)
    if spec is None:
        raise ConfigError(
            f"run {row.id} was started by a program: give what runs, runs.answer({row.id!r}, …, workflow=…)"
        )
    found = load_target(spec, name_it=f"pointsman resume {row.id} --target {spec}")
    runtime.protect(read_with(spec))
    return found
