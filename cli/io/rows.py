"""``pointsman run --batch``: a run for each row of a CSV, several at the same time, with a line each and a summary."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..errors import ExitCode, judge
from ..signals import run_to_end
from .live import RISK_COLOURS
from .outcome import ENDED, answered, unbroken
from .output import as_json, money, paint, progress, result, seconds, short
from .records import plain, run_record
from .simulated import is_simulated, named
from .summary import Ended, summarise

if TYPE_CHECKING:
    from ...agents.bounds import Bounds
    from ...agents.result import RunResult, Status
    from ...agents.runs import Run
    from ...agents.runtime import Runtime
    from ...graphs.workflow import Workflow
    from .inputs import Message

__all__ = ["run_batch"]

_PICO = 10**12


def run_batch(
    workflow: Workflow,
    messages: Sequence[Message],
    runtime: Runtime,
    bounds: Bounds,
    *,
    jobs: int,
    deny: bool,
    json: bool,
) -> ExitCode:
    """Run every message and print the summary, even if the batch was interrupted; return the exit code.

    Args:
        workflow: The workflow to run.
        messages: The rows.
        runtime: The runtime to run on.
        bounds: The bounds of each run; ``max_cost`` and ``max_tokens`` bound all runs together.
        jobs: How many run at the same time; with either cap one after another, so that each knows what is left.
        deny: Refuse acts that need approval instead of leaving them waiting.
        json: Print JSON.
    """
    started = time.monotonic()
    batch = _Batch(workflow, messages, runtime, bounds, deny)
    broken: BaseException | None = None
    try:
        run_to_end(batch.all(jobs))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - show the results before it ends the command
        broken = error
    summary = summarise(batch.ended, runtime, time.monotonic() - started)
    if json:
        rows = sorted(batch.ended, key=lambda one: one.message.line)
        as_json({**summary.record(), "rows": [_row(one) for one in rows]})
    else:
        result(summary.text())
    left = len(messages) - len(batch.ended)
    if left:
        progress(f"{left} of {len(messages)} messages were not worked on")
    if broken is None and left:
        progress(f"error: --max-cost is used up: {money(batch.spent)} of {money(batch.cap)}")
        return ExitCode.BUDGET
    if broken is not None:
        code, said = judge(broken)
        progress(f"error: {said}")
        return code
    return _code([one.result for one in batch.ended])


def _code(results: Sequence[RunResult | None]) -> ExitCode:
    """Return the exit code of a batch. A step handed over by the workflow's design is a normal result of its row."""
    codes = [
        ExitCode.FAILED if outcome is None else ENDED[outcome.status]
        for outcome in results
        if outcome is None or outcome.status != "handed_over" or any(step.doubt for step in outcome.steps)
    ]
    return next((code for code in (ExitCode.FAILED, ExitCode.PENDING) if code in codes), ExitCode.DONE)


@dataclass
class _Batch:
    workflow: Workflow
    messages: Sequence[Message]
    runtime: Runtime
    bounds: Bounds
    deny: bool
    # The run around all rows under a cap: failed rows are charged to it too, and it also bounds rows resumed later.
    around: Run | None = None
    ended: list[Ended] = field(default_factory=list)

    @property
    def cap(self) -> int | None:
        """Return the picodollars that all runs together may spend; None without a cap."""
        return None if self.around is None else self.around.row.max_cost

    @property
    def spent(self) -> int:
        """Return the picodollars spent so far under the cap."""
        return 0 if self.around is None else self.runtime.dispatcher.budgets.totals(self.around.scope)[0]

    async def all(self, jobs: int) -> None:
        """Run all messages; an error that every further message would meet too ends the batch."""
        from ...agents.runs import run_scope

        if self.bounds.max_cost is None and self.bounds.max_tokens is None:
            await self._work(jobs)
            return
        with run_scope(self.runtime, self.workflow.name, bounds=self.bounds) as around:
            self.around = around
            await self._work(1)
            around.status = self._status()

    async def _work(self, jobs: int) -> None:
        waiting = iter(self.messages)

        async def worker() -> None:
            for message in waiting:
                left = None if self.cap is None else self.cap - await asyncio.to_thread(lambda: self.spent)
                if left is not None and left <= 0:
                    return
                await self._one(message, None if left is None else left / _PICO)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(jobs, len(self.messages))):
                group.create_task(worker())

    def _status(self) -> Status:
        """Return the status of the run around all rows."""
        from ...agents.result import Status

        if len(self.ended) < len(self.messages) or any(one.result is None for one in self.ended):
            return Status.FAILED
        return Status.PENDING if any(one.result and one.result.pending for one in self.ended) else Status.DONE

    async def _one(self, message: Message, left: float | None) -> None:
        started = time.monotonic()
        try:
            outcome = await self._run(message.text, replace(self.bounds, max_cost=left))
        except Exception as error:
            code, said = judge(error)
            if code in (ExitCode.USAGE, ExitCode.BUDGET) and not _of_this_message(error):
                raise
            ended = Ended(message, time.monotonic() - started, error=said)
        else:
            ended = Ended(message, time.monotonic() - started, outcome)
        self.ended.append(ended)
        progress(_line(ended, len(self.ended), len(self.messages)))

    async def _run(self, text: str, bounds: Bounds) -> RunResult:
        from .live import Live

        outcome = await self.workflow.arun(text, **asdict(bounds), runtime=self.runtime)
        return unbroken(await answered(self.workflow, outcome, self.runtime, Live(), "deny") if self.deny else outcome)


def _of_this_message(error: Exception) -> bool:
    """Return whether an error concerns only this message: another step may find a model where this one found none."""
    known: Any = getattr(sys.modules.get("pointsman.dispatch.errors"), "NoCandidate", None)
    return known is not None and isinstance(error, known)


def _line(ended: Ended, number: int, count: int) -> str:
    """Return one message on one line: agent, the model that actually ran, risk, tokens, cost, time, outcome."""
    place = f"{number:>{len(str(count))}}/{count}"
    outcome = ended.result
    if outcome is None:
        return f"{place}  {paint('failed', 'red')}  {short(ended.error, 160)}"
    thinking = [step for step in outcome.steps if step.model is not None]
    last = thinking[-1] if thinking else None
    risk = _worst([step.risk for step in outcome.steps])
    tokens = sum(call.usage.input + call.usage.output for call in outcome.calls if call.usage)
    known = [call.cost for call in outcome.calls if call.usage is not None]
    cost = money(None if None in known else sum(c for c in known if c is not None))
    handed = next((step for step in reversed(outcome.steps) if step.status == "handed_over"), None)
    agent = "person" if outcome.status == "handed_over" else last.agent if last else "-"
    said = f"to a person: {handed.note}" if handed else _short_output(outcome)
    if not is_simulated(last.model if last else None) and any(is_simulated(call.model) for call in outcome.calls):
        said = f"(partly simulated) {said}"
    model = named(last.model or "") if last else "-"
    return (
        f"{place}  {agent:<10} {model:<28} {paint(f'{risk:<8}', RISK_COLOURS.get(risk, 'white'))}"
        f" {tokens:>6} tok {cost:>10} {seconds(ended.seconds):>7}  {short(said, 100)}"
    )


def _worst(risks: Sequence[str]) -> str:
    from ...configs.words import Risk

    return max((Risk(risk) for risk in risks if risk), default=Risk.LOW).value


def _short_output(outcome: RunResult) -> str:
    if outcome.pending:
        return f"waits for approval: pointsman resume {outcome.run}"
    output = plain(outcome.output)
    if isinstance(output, dict):
        parts = [str(value) for key, value in output.items() if key in ("intent", "answer") and value]
        return ": ".join(parts) or str(output)
    return str(output)


def _row(ended: Ended) -> dict[str, Any]:
    record = run_record(ended.result) if ended.result else {"steps": [], "pending": []}
    return {
        "line": ended.message.line,
        "text": ended.message.text,
        "label": ended.message.label,
        "run": record.get("run"),
        "status": ended.status,
        **{name: record.get(name) for name in ("output", "cost", "unpriced", "steps", "pending")},
        "seconds": ended.seconds,
        "error": ended.error,
    }
