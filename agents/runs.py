"""A run: its id, what bounds it, and what the ledger and the caller learn of it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from ..dispatch.context import RunContext, StepContext, current, entered
from ..ledger.rows import CallRow, DecisionRow, HandoffRow, RunRow
from .result import Pending, RunResult, Status, StepRecord
from .runtime import Runtime

__all__ = ["Run", "hand_over", "run_scope"]

_PICO = 10**12


@dataclass
class Run:
    """The bookkeeping of one run while it lasts."""

    id: str
    runtime: Runtime
    row: RunRow
    calls: list[CallRow] = field(default_factory=list)
    status: Status = "failed"

    def result(
        self,
        output: Any,
        *,
        steps: Sequence[StepRecord] = (),
        pending: Sequence[Pending] = (),
        notes: Sequence[str] = (),
        handed_over: bool = False,
    ) -> RunResult:
        """Close the books: what the run cost and decided.

        Args:
            output: The workflow's output.
            steps: What was done, in order.
            pending: Acts that wait for a person.
            notes: What a reader should know.
            handed_over: A person must go on.
        """
        self.status = "pending" if pending else "handed_over" if handed_over else "done"
        known = sum(call.cost for call in self.calls if call.cost is not None)
        return RunResult(
            run=self.id,
            status=self.status,
            output=output,
            steps=tuple(steps),
            cost=float(Decimal(known) / _PICO),
            unpriced=sum(call.cost is None and call.usage is not None for call in self.calls),
            decisions=self.decisions(),
            calls=tuple(self.calls),
            pending=tuple(pending),
            notes=tuple(notes),
        )

    def decisions(self) -> tuple[DecisionRow, ...]:
        """Every routing decision of the run so far."""
        return tuple(self.runtime.ledger.decisions(run=self.id))


def hand_over(runtime: Runtime, *, risk: str, reason: str, summary: str) -> HandoffRow:
    """Put something of the current run in the person's queue.

    Args:
        runtime: Whose ledger keeps the queue.
        risk: Risk of the step that could not be done.
        reason: Why it comes to a person.
        summary: What they need to know.
    """
    row = HandoffRow(
        id=uuid.uuid4().hex, run=current().run.id, at=time.time(), risk=risk, reason=reason, summary=summary
    )
    runtime.ledger.record(row)
    return row


@contextmanager
def run_scope(
    runtime: Runtime,
    target: str,
    *,
    run: str | None = None,
    max_cost: float | None = None,
    user: str = "",
    tags: Sequence[str] = (),
    observe: Callable[[CallRow], None] | None = None,
) -> Iterator[Run]:
    """Enter a run: every model call inside is booked on it and bounded by it.

    Inside another run the bounds of both hold, since the outer run's scopes are kept.

    Args:
        runtime: What it runs on.
        target: What is run, as the command line names it.
        run: Id of a run that is resumed; a new one when absent.
        max_cost: USD it may spend.
        user: Who it is for.
        tags: Free labels.
        observe: Called with each model call's row as it ends.
    """
    run_id = run or time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + uuid.uuid4().hex[:8]
    before = runtime.ledger.run(run) if run else None
    if before is not None:
        # A run that is taken up stays the run that was started: its labels and its beginning are kept.
        row = replace(before, ended=None, status="running", user=user or before.user, tags=(*before.tags, *tags))
    else:
        row = RunRow(id=run_id, target=target, started=time.time(), user=user, tags=tuple(tags))
    books = Run(run_id, runtime, row)

    def booked(call: CallRow) -> None:
        books.calls.append(call)
        if observe is not None:
            observe(call)
        if outer.run.observe is not None:
            outer.run.observe(call)

    outer = current()
    runtime.ledger.record(row)
    caps = outer.run.caps
    if max_cost is not None:
        caps = (*caps, (f"run:{run_id}", int(Decimal(str(max_cost)) * _PICO)))
    context = RunContext(id=run_id, user=row.user, tags=row.tags, caps=caps, observe=booked)
    try:
        with entered(StepContext(run=context)):
            yield books
    finally:
        runtime.ledger.record(replace(row, ended=time.time(), status=books.status))
