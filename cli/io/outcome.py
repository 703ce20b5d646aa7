"""Shared by `run` and `resume`: the bounds of a run, a person's answers, the outcome, and its exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ..errors import ExitCode
from . import records
from .output import as_json, line, progress, result, short, usd, visible

if TYPE_CHECKING:
    from ...agents.result import Pending, RunResult
    from ...agents.runtime import Runtime
    from ...graphs.workflow import Workflow
    from ...ledger.rows import CallRow, RunRow
    from .approval import Answers
    from .live import Live

__all__ = [
    "ENDED",
    "TARGET_TAG",
    "Approval",
    "added_up",
    "answered",
    "refusals",
    "report_run",
    "sum_up",
    "target_of",
    "told",
    "unbroken",
]

Approval = Literal["ask", "deny"]
TARGET_TAG = "target:"
"""Prefix of the tag under which a run keeps its target, for `resume`."""

ENDED = {
    "done": ExitCode.DONE,
    "failed": ExitCode.FAILED,
    "rejected": ExitCode.FAILED,
    "pending": ExitCode.PENDING,
    "handed_over": ExitCode.PENDING,
}
"""Exit code of the command by the status of its run: if a person must act it is not done, and 4 differs from 1."""


async def answered(
    workflow: Workflow, outcome: RunResult, runtime: Runtime, live: Live, approval: Approval
) -> RunResult:
    """Continue a run that waits for approval until it ends or nobody answers; it keeps its bounds."""
    from .approval import ask

    while outcome.error is None and outcome.pending:
        if approval == "deny":
            answers: Answers | None = refusals(outcome.pending)
        else:
            live.close()
            answers = ask(outcome.pending)
        if answers is None:
            return outcome
        outcome = await workflow.aresume(outcome.run, answers, runtime=runtime, emit=live.show)
    return outcome


def unbroken(outcome: RunResult) -> RunResult:
    """Return the result of a run that ended or waits.

    Args:
        outcome: How it ended.

    Raises:
        Exception: The error that broke the run off.
    """
    if outcome.error is not None:
        raise outcome.error
    return outcome


def refusals(waiting: Sequence[Pending]) -> Answers:
    """Return answers that reject every act, used if nobody is asked.

    Args:
        waiting: The acts that wait.
    """
    refusal = {"type": "reject", "message": "acts that need approval are refused here"}
    return {act.id: {"digest": act.digest, **refusal} for act in waiting}


def target_of(row: RunRow) -> str | None:
    """Return the target of a run that was started at the command line; None if a program started it.

    Args:
        row: The run's row in the ledger.
    """
    return next((tag.removeprefix(TARGET_TAG) for tag in row.tags if tag.startswith(TARGET_TAG)), None)


def told(run: str, again: Sequence[str]) -> None:
    """Say how to resume a run that was broken off.

    Args:
        run: Its id; empty if none had begun.
        again: Options with which a later command finds the run as this one did.
    """
    from ...agents.approval.notify import resume_command

    if run:
        progress(f"what is done is kept; go on with: {resume_command(run, *again)}")


def report_run(
    outcome: RunResult,
    live: Live,
    *,
    json: bool,
    stream: bool,
    again: Sequence[str],
    resumed: bool = False,
    full: bool = False,
) -> ExitCode:
    """Print a run's outcome and return the exit code of the command.

    Args:
        outcome: The outcome.
        live: The object that showed the run.
        json: Print it as JSON.
        stream: Its tokens have been printed already.
        again: Options with which a later command finds the run as this one did.
        resumed: The command ran only a part of the run, which is reported separately from the whole.
        full: Show everything about what waits.

        Raises:
            Exception: The error that broke the run off; its JSON has been printed by then.
    """
    from ...agents.approval.notify import resume_command
    from .approval import show

    if outcome.error is not None:
        if json:
            _print(outcome, live, stream=stream, resumed=resumed)
        if isinstance(outcome.error, TimeoutError):
            told(outcome.run, again)
        raise outcome.error
    for note in outcome.notes:
        progress(f"note: {line(note)}")
    if resumed:
        progress(f"this part: {added_up(live.steps, live.calls)}")
    whole = added_up(len(outcome.steps), outcome.calls)
    progress(f"run {outcome.run}: {outcome.status.replace('_', ' ')}, {whole}{' in all' if resumed else ''}")
    if json:
        _print(outcome, live, stream=stream, resumed=resumed)
    elif outcome.output is not None:
        text = records.as_text(outcome.output)
        if not stream or live.streamed.strip() != text.strip():
            result(text)
    if outcome.status == "handed_over":
        progress("handed over to a person: pointsman queue")
    for pending in outcome.pending:
        show(pending, full=full)
    if any(pending.tool for pending in outcome.pending):
        respond = any("respond" in pending.allowed for pending in outcome.pending)
        ways = f"(or --reject ID --reason WHY, --edit, --always ID{', --respond ID=RESULT' if respond else ''})"
        progress(f"answer with: {resume_command(outcome.run, *again, '--approve', 'all')}    {ways}")
    elif outcome.pending:
        command = resume_command(outcome.run, *again, "--answers", "FILE")
        progress(f"its graph asks this itself: answer in Python, workflow.resume({outcome.run!r}, {{ID: answer}})")
        progress(f"or with the same as JSON: {command}")
    return ENDED[outcome.status]


def _print(outcome: RunResult, live: Live, *, stream: bool, resumed: bool) -> None:
    record = records.run_record(outcome)
    if resumed:
        record["part"] = {"steps": live.steps, **records.spent(live.calls)}
    as_json({"event": "result", **record} if stream else record, lines=stream)


def sum_up(outcome: RunResult) -> None:
    """Print what was done, act by act, and the diff.

    Args:
        outcome: How the run ended.
    """
    for step in outcome.steps:
        for act in step.acts:
            given = act.arguments.get("command") or ", ".join(
                f"{name}={value!r}" for name, value in act.arguments.items()
            )
            why = f": {act.reason}" if act.reason else ""
            progress(f"  {act.outcome.replace('_', ' '):<9} {act.tool}  {short(f'{given}{why}', 160)}")
    if outcome.diff:
        progress(visible(outcome.diff.rstrip("\n")))


def added_up(steps: int, calls: Sequence[CallRow]) -> str:
    """Return steps, calls, tokens and cost in words.

    Args:
        steps: How many steps.
        calls: The calls.
    """
    sums = records.spent(calls)
    unpriced = f" and {sums['unpriced']} calls of unknown price" if sums["unpriced"] else ""
    return f"{steps} steps, {sums['calls']} calls, {sums['tokens']} tokens, {usd(sums['cost'])}{unpriced}"
