"""A run: its id, what bounds it, and what the ledger and the caller learn of it."""

from __future__ import annotations

import asyncio
import json
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypedDict, Unpack

from ..configs.errors import ConfigError, PointsmanError
from ..configs.loading.layers import suggest
from ..configs.loading.loader import OFFLINE
from ..configs.schema import Limits
from ..dispatch.context import RunContext, StepContext, current, entered
from ..dispatch.errors import AllFailed
from ..dispatch.offline import SIMULATED
from ..ledger.rows import CallRow, HandoffRow, RunRow
from .owner import owned, owner_of
from .result import Pending, RunResult, Status, StepRecord
from .runtime import Runtime
from .threads import inherit

__all__ = [
    "Bounds",
    "Run",
    "Taken",
    "act_id",
    "ask_person",
    "check_cap",
    "check_task",
    "hand_over",
    "note_answers",
    "row_of",
    "run_scope",
    "status_of",
    "taken_up",
    "tick_off",
    "waits_for_approval",
]

_PICO = 10**12
_MOST_STEPS = 50
_LARGEST = 2**63 - 1
_EVERYBODY = "default"
_HANDOFF = "failed-"
_ACT = ":"
"""Stands in the id of an act that waits, between the id of its question and its digest."""


class BoundsFields(TypedDict, total=False):
    """The fields of `Bounds`, as keyword arguments."""

    max_cost: float | None
    max_steps: int | None
    timeout: float | None
    user: str
    user_class: str | None
    tags: Sequence[str]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What bounds a run and what it is booked on; a run that is taken up again keeps what is left out here.

    Attributes:
        max_cost: USD it may spend in all its parts, the runs inside it included.
        max_steps: Supersteps of its graph that this part may take.
        timeout: Seconds that this part may take.
        user: Who it is for, in the ledger.
        user_class: Class of users whose limits hold.
        tags: Free labels, in the ledger.

    Raises:
        ConfigError: On a bound that bounds nothing.
    """

    max_cost: float | None = None
    max_steps: int | None = None
    timeout: float | None = None
    user: str = ""
    user_class: str | None = None
    tags: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.user, str):
            raise ConfigError(f"user is {self.user!r}: give a text")
        if isinstance(self.tags, str) or not all(isinstance(tag, str) for tag in self.tags):
            raise ConfigError(f"tags is {self.tags!r}: give a list of texts, such as tags=['nightly']")
        for name, kinds, what in (
            ("max_cost", (int, float, Decimal), "give USD, such as 0.25"),
            ("max_steps", (int,), "give a whole number of 1 or more"),
            ("timeout", (int, float), "give a number of seconds"),
        ):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
                raise ConfigError(f"{name} is {value!r}: {what}")
        if self.max_cost is not None:
            check_cap(self.max_cost)
        if self.max_steps is not None and self.max_steps < 1:
            raise ConfigError(f"max_steps is {self.max_steps}: give 1 or more")
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise ConfigError(f"timeout is {self.timeout}: give a number of seconds above 0")

    def over(self, row: RunRow) -> RunRow:
        """The row of a run under these bounds, each that is left out as it was."""
        return replace(
            row,
            user=self.user or row.user,
            user_class=self.user_class or row.user_class,
            # Those of a run that is taken up again are mostly given again.
            tags=tuple(dict.fromkeys((*row.tags, *self.tags))),
            max_cost=row.max_cost if self.max_cost is None else min(_pico(self.max_cost), _LARGEST),
            max_steps=self.max_steps or row.max_steps or _MOST_STEPS,
            timeout=row.timeout if self.timeout is None else self.timeout,
        )


@dataclass(frozen=True, slots=True)
class Taken:
    """A run that is taken up again, as the ledger has it.

    Attributes:
        row: Its row.
        calls: Its calls so far, those of runs inside it too.
        begun: Step and digest of each act it began -> how that ended; empty where nobody knows.
        caps: Scope and cap of each run around it, which hold for it by itself too.
    """

    row: RunRow
    calls: tuple[CallRow, ...]
    begun: Mapping[tuple[str, str], str]
    caps: tuple[tuple[str, int], ...] = ()


@dataclass
class Run:
    """The bookkeeping of one run while it lasts.

    Attributes:
        row: What bounds it.
        calls: Its model calls, those of earlier parts included.
    """

    id: str
    runtime: Runtime
    row: RunRow
    calls: list[CallRow] = field(default_factory=list)
    status: Status = Status.FAILED

    @property
    def scope(self) -> str:
        """Where the ledger counts what it may spend."""
        return _scope(self.id)

    async def result(
        self,
        output: Any,
        *,
        status: Status,
        steps: Sequence[StepRecord] = (),
        pending: Sequence[Pending] = (),
        notes: Sequence[str] = (),
    ) -> RunResult:
        """Close the books: what the run cost and decided.

        Args:
            output: The workflow's output.
            status: How it ended.
            steps: What was done, in order.
            pending: Acts that wait for a person.
            notes: What a reader should know.
        """
        self.status = status
        calls = tuple(self.calls)
        known = sum(call.cost for call in calls if call.cost is not None)
        # Reading waits for the rows that are still to be written.
        decisions = await asyncio.to_thread(self.runtime.ledger.decisions, self.id)
        return RunResult(
            run=self.id,
            status=status,
            output=output,
            steps=tuple(steps),
            cost=float(Decimal(known) / _PICO),
            unpriced=sum(call.cost is None and call.usage is not None for call in calls),
            decisions=decisions,
            calls=calls,
            pending=tuple(pending),
            notes=(*notes, SIMULATED) if self.runtime.settings.offline else tuple(notes),
        )


def hand_over(runtime: Runtime, *, risk: str, reason: str, summary: str, step: str = "") -> HandoffRow:
    """Put something of the current run in the person's queue.

    Args:
        runtime: Whose ledger keeps the queue.
        risk: Risk of the step that could not be done.
        reason: Why it comes to a person.
        summary: What they need to know.
        step: Id of the step; where it is given, handing the same step over again does not queue it twice.
    """
    run = current().run.id
    row = HandoffRow(
        id=uuid.uuid5(uuid.NAMESPACE_URL, f"{run}/{step}").hex if step else uuid.uuid4().hex,
        run=run,
        at=time.time(),
        risk=risk,
        reason=reason,
        summary=summary,
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
        raise ConfigError(f"a cap of {max_cost} is not valid: give USD, 0 or more, or leave it out for no cap")


def check_task(task: Any) -> None:
    """Refuse what is no task.

    Args:
        task: What is asked.

    Raises:
        ConfigError: It is no text, or an empty one.
    """
    if not isinstance(task, str):
        raise ConfigError(f"there is nothing to do: give the task as a text, not {type(task).__name__}")
    if not task.strip():
        raise ConfigError("there is nothing to do: the input is empty")


def row_of(runtime: Runtime, run: str) -> RunRow:
    """The row of a run; this waits for the ledger's file.

    Args:
        runtime: What it ran on.
        run: Its id.

    Raises:
        ConfigError: There is no such run.
    """
    row = runtime.ledger.run(run) if isinstance(run, str) else None
    if row is None:
        kept = runtime.settings.state / OFFLINE / "ledger.db"
        simulated = ", and with --offline those that were simulated" if kept.exists() else ""
        raise ConfigError(f"there is no run {run!r} to resume; pointsman runs lists them{simulated}")
    return row


def taken_up(runtime: Runtime, run: str) -> Taken:
    """What the ledger has of a run that is to be taken up again; this waits for the ledger's file.

    Args:
        runtime: What it ran on.
        run: Its id.

    Raises:
        ConfigError: There is no such run.
    """
    row = row_of(runtime, run)
    budgets = runtime.dispatcher.budgets
    # What was under way when a process of the run was killed becomes a row of its own.
    budgets.reclaim()
    calls = runtime.ledger.calls(run, inner=True)
    scope = _scope(run)
    spent = sum(call.cost or 0 for call in calls)
    uncounted = spent - budgets.totals(scope)[0]
    if uncounted > 0:
        # A part without a cap was not counted, and a cap from now on is for the whole run.
        budgets.settle(budgets.reserve({scope: None}, uncounted), uncounted)
    begun = {(effect.step, effect.digest): effect.outcome for effect in runtime.ledger.effects(run)}
    return Taken(row, calls, begun, tuple(_around(runtime, row)))


def _around(runtime: Runtime, row: RunRow) -> Iterator[tuple[str, int]]:
    outer = runtime.ledger.run(row.parent) if row.parent else None
    if outer is not None:
        yield from _cap(runtime, outer)
        yield from _around(runtime, outer)


def _cap(runtime: Runtime, row: RunRow) -> tuple[tuple[str, int], ...]:
    """The scope of a run with the most it may spend, if anything bounds that."""
    allowed = _limits(runtime, row.user_class).max_cost
    caps = [cap for cap in (row.max_cost, None if allowed is None else _pico(allowed)) if cap is not None]
    return ((_scope(row.id), min(caps)),) if caps else ()


@contextmanager
def run_scope(
    runtime: Runtime,
    target: str,
    *,
    run: str | None = None,
    taken: Taken | None = None,
    bounds: Bounds | None = None,
    observe: Callable[[CallRow], None] | None = None,
    kept: bool = True,
    **bound: Unpack[BoundsFields],
) -> Iterator[Run]:
    """Enter a run: every model call inside is booked on it and bounded by it, from whatever thread it is made.

    Inside another run the bounds of both hold, since the outer run's scopes are kept.

    Args:
        runtime: What it runs on.
        target: What is run, as the command line names it.
        run: Id of the run; a new one when absent.
        taken: The run that is taken up again, whose bounds hold where ``bounds`` leaves them out; the caller owns it.
        bounds: What bounds it; what its class of users may spend bounds it too.
        observe: Called with each model call's row as it ends.
        kept: It can be taken up again, so that a person is asked to see to it where every model failed.
        bound: Fields of `Bounds`, where there are no ``bounds``.

    Raises:
        ConfigError: The policy knows classes of users, and not this one; or the cap is no amount.
        RunOwned: Somebody else works on a run of this id.
    """
    outer = current().run
    run_id = taken.row.id if taken else run or time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + uuid.uuid4().hex[:8]
    bounds = bounds or Bounds(**bound)
    # A run that is taken up stays the run that was started: its labels and its beginning are kept.
    row = taken.row if taken else RunRow(run_id, target, time.time(), user_class=outer.user_class, parent=outer.id)
    row = replace(bounds.over(row), ended=None, status=Status.RUNNING.value)
    books = Run(run_id, runtime, row, list(taken.calls) if taken else [])
    context = _context(books, outer, taken, observe, kept=kept)
    inherit()
    with nullcontext() if taken else owned(runtime.settings.state, run_id):
        runtime.ledger.record(row)
        try:
            with entered(StepContext(run=context)):
                yield books
        except BaseException as error:
            _ended_by(error, books, kept=kept)
            raise
        finally:
            runtime.ledger.record(replace(row, ended=time.time(), status=books.status.value))


def _ended_by(error: BaseException, books: Run, *, kept: bool) -> None:
    """Note what ended a run in the error and, where a person is needed, in their queue."""
    if isinstance(error, AllFailed) and kept:
        books.runtime.ledger.record(_handed_over(books.id, error))
    if isinstance(error, PointsmanError):
        error.run = error.run or books.id
    elif isinstance(error, Exception):
        error.add_note(f"in run {books.id}")
    elif books.status is Status.FAILED:
        # Cancelled, or left in the middle of its stream: nothing of it has failed.
        books.status = Status.INTERRUPTED


def _context(
    books: Run, outer: RunContext, taken: Taken | None, observe: Callable[[CallRow], None] | None, *, kept: bool
) -> RunContext:
    """What every call inside a run is booked on and bounded by."""
    row = books.row

    def booked(call: CallRow) -> None:
        books.calls.append(call)
        if observe is not None:
            observe(call)
        if outer.observe is not None:
            outer.observe(call)

    return RunContext(
        id=row.id,
        user=row.user,
        tags=row.tags,
        # The innermost first, as it is the one to name where several leave too little.
        caps=tuple(dict((*_cap(books.runtime, row), *(taken.caps if taken else ()), *outer.caps)).items()),
        user_class=row.user_class,
        observe=booked,
        begun=taken.begun if taken else {},
        kept=kept,
    )


def tick_off(runtime: Runtime, run: str) -> None:
    """Take a run that has been taken up and got further out of the person's queue; this waits for the ledger's file.

    Args:
        runtime: Whose ledger keeps the queue.
        run: Its id.
    """
    handoff = _HANDOFF + run
    if any(row.id == handoff for row in runtime.ledger.handoffs(open_only=True, run=run)):
        runtime.ledger.finish_handoff(handoff)


def status_of(runtime: Runtime, row: RunRow) -> str:
    """How a run ended, or ``interrupted`` where the process that worked on it is gone.

    Args:
        runtime: What it ran on.
        row: Its row in the ledger.
    """
    if row.status == Status.RUNNING and owner_of(runtime.settings.state, row.id) is None:
        # It may have ended since its row was read.
        row = runtime.ledger.run(row.id) or row
        return Status.INTERRUPTED.value if row.status == Status.RUNNING else row.status
    return row.status


def waits_for_approval(row: HandoffRow) -> bool:
    """Whether an item of the person's queue is an act of a run, which is answered and not ticked off."""
    return _ACT in row.id


def ask_person(runtime: Runtime, run: str, pending: Sequence[Pending]) -> list[Pending]:
    """Put what a run waits for in the person's queue, and take out what it no longer waits for.

    Args:
        runtime: Whose ledger keeps the queue; this waits for its file.
        run: The run.
        pending: What it waits for.

    Returns:
        What was not in the queue before.
    """
    waiting = {act_id(act): act for act in pending}
    known = {row.id: row for row in runtime.ledger.handoffs(open_only=True, run=run)}
    new = {key: act for key, act in waiting.items() if key not in known}
    for act in new.values():
        runtime.ledger.record(_act_row(run, act))
    for key, row in known.items():
        if waits_for_approval(row) and key not in waiting:
            runtime.ledger.record(replace(row, done=True))
    return list(new.values())


def note_answers(runtime: Runtime, run: str, answers: Sequence[tuple[Pending, str]]) -> None:
    """Keep in the ledger what a person has answered, before anything is done with it.

    Args:
        runtime: Whose ledger; this waits for its file.
        run: The run.
        answers: Each act with what was decided, in a few words.
    """
    known = {row.id: row for row in runtime.ledger.handoffs(run=run)}
    for act, said in answers:
        row = known.get(act_id(act)) or _act_row(run, act)
        runtime.ledger.record(replace(row, done=True, reason=said))


def act_id(act: Pending) -> str:
    """Under which id an act that waits stands in the person's queue."""
    return f"{act.id}{_ACT}{act.digest}"


def _act_row(run: str, act: Pending) -> HandoffRow:
    shown = json.dumps(act.arguments, ensure_ascii=False, default=str)
    return HandoffRow(
        act_id(act), run, time.time(), risk=act.risk, reason=act.reason, summary=f"{act.tool} {shown}".strip()
    )


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


def _scope(run: str) -> str:
    return f"run:{run}"


def _pico(dollars: float) -> int:
    return int(Decimal(str(dollars)) * _PICO)


def _limits(runtime: Runtime, user_class: str) -> Limits:
    """The bounds on a class of users; a class that is misspelt must not get the bounds of everybody."""
    routing = runtime.dispatcher.policy.routing
    if routing.classes and user_class not in (*routing.classes, _EVERYBODY):
        near = suggest(user_class, routing.classes)
        raise ConfigError(f"routing.classes has no class {user_class!r}{near}")
    return routing.limits_of(user_class)
