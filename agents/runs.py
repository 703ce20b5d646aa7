"""A run: its id, what bounds it, and what the ledger and the caller learn of it."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from ..configs.errors import ConfigError
from ..configs.layers import suggest
from ..configs.schema import Limits
from ..dispatch.context import RunContext, StepContext, current, entered
from ..dispatch.errors import AllFailed
from ..ledger.rows import CallRow, DecisionRow, HandoffRow, RunRow
from .result import Pending, RunResult, Status, StepRecord
from .runtime import Runtime

__all__ = ["Run", "check_cap", "hand_over", "run_scope"]

_PICO = 10**12
_EVERYBODY = "default"
_HANDOFF = "failed-"


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


def check_cap(max_cost: float) -> None:
    """Refuse what bounds nothing.

    Args:
        max_cost: USD a run may spend.

    Raises:
        ConfigError: It is negative, infinite or no number.
    """
    # Neither comparison holds for what is no number.
    if not 0 <= max_cost < math.inf:
        raise ConfigError(f"a cap of {max_cost} bounds nothing: give USD, 0 or more, or leave it out for no cap")


@contextmanager
def run_scope(
    runtime: Runtime,
    target: str,
    *,
    run: str | None = None,
    max_cost: float | None = None,
    user: str = "",
    user_class: str | None = None,
    tags: Sequence[str] = (),
    observe: Callable[[CallRow], None] | None = None,
) -> Iterator[Run]:
    """Enter a run: every model call inside is booked on it and bounded by it.

    Inside another run the bounds of both hold, since the outer run's scopes are kept.

    Args:
        runtime: What it runs on.
        target: What is run, as the command line names it.
        run: Id of a run that is resumed; a new one when absent.
        max_cost: USD it may spend; what its class of users may spend bounds it too.
        user: Who it is for.
        user_class: Class of users whose limits hold, that of the run around it when absent.
        tags: Free labels.
        observe: Called with each model call's row as it ends.

    Raises:
        ConfigError: The policy knows classes of users, and not this one; or the cap is no amount.
    """
    if max_cost is not None:
        check_cap(max_cost)
    outer = current()
    run_id = run or time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + uuid.uuid4().hex[:8]
    before = runtime.ledger.run(run) if run else None
    # A run that is taken up stays the run that was started: its labels and its beginning are kept.
    row = before or RunRow(id=run_id, target=target, started=time.time(), user_class=outer.run.user_class)
    row = replace(
        row,
        ended=None,
        status="running",
        user=user or row.user,
        tags=(*row.tags, *tags),
        user_class=user_class or row.user_class,
    )
    limits = _limits(runtime, row.user_class)
    books = Run(run_id, runtime, row)

    def booked(call: CallRow) -> None:
        books.calls.append(call)
        if observe is not None:
            observe(call)
        if outer.run.observe is not None:
            outer.run.observe(call)

    runtime.ledger.record(row)
    caps = outer.run.caps
    most = min((cap for cap in (max_cost, limits.max_cost) if cap is not None), default=None)
    if most is not None:
        caps = (*caps, (f"run:{run_id}", int(Decimal(str(most)) * _PICO)))
    context = RunContext(id=run_id, user=row.user, tags=row.tags, caps=caps, user_class=row.user_class, observe=booked)
    try:
        with entered(StepContext(run=context)):
            yield books
        if before is not None:
            _tick_off(runtime, run_id)
    except AllFailed as error:
        runtime.ledger.record(_handed_over(run_id, error))
        raise
    finally:
        runtime.ledger.record(replace(row, ended=time.time(), status=books.status))


def _handed_over(run_id: str, error: AllFailed) -> HandoffRow:
    """The last rung of every fallback is a person; the run itself can be taken up again."""
    return HandoffRow(
        id=_HANDOFF + run_id,
        run=run_id,
        at=time.time(),
        risk=error.risk.value,
        reason="no model gave a usable answer",
        summary=f"{error}; take it up again with: pointsman resume {run_id}",
    )


def _tick_off(runtime: Runtime, run_id: str) -> None:
    """Take a run that has been taken up and got further out of the person's queue."""
    handoff = _HANDOFF + run_id
    if any(row.id == handoff for row in runtime.ledger.handoffs(open_only=True)):
        runtime.ledger.finish_handoff(handoff)


def _limits(runtime: Runtime, user_class: str) -> Limits:
    """The bounds on a class of users; a class that is misspelt must not get the bounds of everybody."""
    routing = runtime.dispatcher.policy.routing
    if routing.classes and user_class not in (*routing.classes, _EVERYBODY):
        near = suggest(user_class, routing.classes)
        raise ConfigError(f"routing.classes has no class {user_class!r}{near}")
    return routing.limits_of(user_class)
