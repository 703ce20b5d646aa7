"""A run: its id, what bounds it, and what it reports to the ledger and the caller."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final, TypedDict, Unpack

from ..configs.errors import ConfigError, PointsmanError
from ..configs.words import Trust
from ..dispatch.context import RunContext, StepContext, current, entered
from ..dispatch.errors import AllFailed
from ..dispatch.guards.tokens import TokenCaps
from ..dispatch.journal import ANSWERS, CALLS, Journal
from ..dispatch.offline import SIMULATED
from ..ledger.rows import CallRow, DecisionRow, EffectRow, RunRow
from ..ledger.storage.fences import Fenced
from ..tools.around import Around, surrounded
from .bounds import Bounds, BoundsFields, TokenCap, cap_of, scope_of, token_cap_of, token_caps
from .containment.exits import exits
from .conversations import ThreadBusy
from .errors import NoRun
from .handoffs import hand_over_failed
from .journal.changes import Changes, changes_of
from .journal.edits import keeping
from .lease.holder import RunCancelled, RunOwned
from .lease.lease import Lease, holder_of
from .loops.nesting import inside
from .result import Pending, RunResult, Status, StepRecord
from .runtime import Runtime
from .threads import inherit

__all__ = [
    "FORKED",
    "UNTRUSTED",
    "Run",
    "Taken",
    "carried_out",
    "forked_from",
    "row_of",
    "run_scope",
    "status_of",
    "taken_up",
]

_PICO = 10**12
_REFUSALS = (ConfigError, ThreadBusy)
"""Errors that prevent a run in which nothing was begun."""
UNTRUSTED: Final = f"trust:{Trust.UNTRUSTED}"
"""Tag of a run that was asked for with untrusted text in view, so that it holds when the run is resumed, too."""
FORKED = "forked:"
"""Prefix of the tag that names the run a run was forked from."""


class _Scope(TypedDict, total=False):
    """Arguments of `run_scope`."""

    taken: Taken | None
    bounds: Bounds
    observe: Callable[[CallRow], None]
    kept: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """A run that is resumed, as recorded in the ledger.

    Attributes:
        row: Its row.
        calls: Its calls so far, including those of nested runs.
        lease: The right to work on it.
        journal: What its earlier parts stored.
        caps: Scope and cap of each enclosing run, which also apply to it on its own.
        token_caps: Id, cap and used tokens of each enclosing run that has a token cap, likewise.
    """

    row: RunRow
    calls: tuple[CallRow, ...]
    lease: Lease
    journal: Journal
    caps: tuple[tuple[str, int], ...] = ()
    token_caps: tuple[TokenCap, ...] = ()


@dataclass
class Run:
    """The bookkeeping of one run while it lasts.

    Attributes:
        row: What bounds it.
        calls: Its model calls, including those of earlier parts.
        lease: The right to work on it.
        journal: What it stores in case it is cut off; None if it cannot be resumed.
        begun: Whether anything was done in it: a model call, a call of a tool that acts, or a step of its graph.
        gone: Whether nothing is stored of it, so that it can never be resumed.
        so_far: What was done when it was cut off, if more than its calls is known.
    """

    id: str
    runtime: Runtime
    row: RunRow
    lease: Lease
    journal: Journal | None
    calls: list[CallRow] = field(default_factory=list)
    status: Status = Status.FAILED
    begun: bool = False
    gone: bool = False
    so_far: RunResult | None = None

    def book(self, call: CallRow) -> None:
        """Add a call that has ended."""
        self.begun = True
        self.calls.append(call)

    @property
    def scope(self) -> str:
        """Where the ledger counts what it may spend."""
        return scope_of(self.id)

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
        decisions, changes, left_out = await asyncio.to_thread(self._kept)
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
            notes=(*notes, *left_out, *changes.notes, *((SIMULATED,) if self.runtime.settings.offline else ())),
            diff=changes.diff,
            changed_tests=changes.tests,
        )

    def _kept(self) -> tuple[tuple[DecisionRow, ...], Changes, tuple[str, ...]]:
        """Return what was decided and changed, and notes on what cannot be read; this waits for files."""
        decisions: tuple[DecisionRow, ...] = ()
        left_out: tuple[str, ...] = ()
        try:
            # Reading waits for the rows that are still to be written.
            decisions = self.runtime.ledger.decisions(self.id)
        except ConfigError as error:
            left_out = (f"its decisions are left out: {error}",)
        return decisions, changes_of(self.runtime, self.id), left_out


def row_of(runtime: Runtime, run: str) -> RunRow:
    """Return the row of a run; this waits for the ledger's file.

    Args:
        runtime: What it ran on.
        run: Its id.

    Raises:
        ConfigError: There is no such run.
    """
    row = runtime.ledger.run(run) if isinstance(run, str) else None
    if row is None:
        raise NoRun(runtime.settings.state, run)
    return row


def taken_up(runtime: Runtime, lease: Lease) -> Taken:
    """Return the ledger's record of a run that is to be resumed; this waits for the ledger's file.

    Args:
        runtime: What it ran on.
        lease: The right to work on it.

    Raises:
        ConfigError: There is no such run.
    """
    run = lease.run
    row = row_of(runtime, run)
    budgets = runtime.dispatcher.budgets
    # A call that was running when a process of the run was killed becomes a row of its own.
    budgets.reclaim()
    calls = runtime.ledger.calls(run, inner=True)
    scope = scope_of(run)
    spent = sum(call.cost or 0 for call in calls)
    uncounted = spent - budgets.totals(scope)[0]
    if uncounted > 0:
        # A part without a cap was not counted, but a cap from now on covers the whole run.
        budgets.settle(budgets.reserve({scope: None}, uncounted), uncounted)
    ledger = runtime.ledger
    journal = Journal(ledger, run, lease.token, names=_kept_by(runtime, row), acts=_acts_of(runtime, row))
    around = tuple(_outers(runtime, row))
    caps = tuple(cap for outer in around for cap in cap_of(runtime, outer))
    tokens = [token_cap_of(runtime, outer, ledger.calls(outer.id, inner=True)) for outer in around]
    return Taken(row, calls, lease, journal, caps, tuple(cap for found in tokens for cap in found))


def forked_from(row: RunRow) -> str:
    """Return the run that a run was forked from; empty if it was not forked.

    Args:
        row: The run's row.
    """
    return next((tag.removeprefix(FORKED) for tag in row.tags if tag.startswith(FORKED)), "")


def _acts_of(runtime: Runtime, row: RunRow) -> list[EffectRow]:
    """Return the acts of a run, and those of the run it was forked from."""
    source = runtime.ledger.run(forked_from(row))
    before = _acts_of(runtime, source) if source is not None else []
    return [*before, *runtime.ledger.effects(row.id)]


def _kept_by(runtime: Runtime, row: RunRow) -> dict[str, str]:
    """Return the names of what a run stored, and of the act results of the run it was forked from -> the owning run."""
    source = runtime.ledger.run(forked_from(row))
    before = _kept_by(runtime, source) if source is not None else {}
    acts = {name: run for name, run in before.items() if not name.startswith((ANSWERS, CALLS))}
    return {**acts, **dict.fromkeys(runtime.ledger.kept.names(row.id), row.id)}


def _outers(runtime: Runtime, row: RunRow) -> Iterator[RunRow]:
    """Yield the enclosing runs of a run, nearest first."""
    outer = runtime.ledger.run(row.parent) if row.parent else None
    if outer is not None:
        yield outer
        yield from _outers(runtime, outer)


async def carried_out(
    work: Callable[[Run], Awaitable[RunResult]], runtime: Runtime, target: str, **scope: Unpack[_Scope]
) -> RunResult:
    """Do the work of a run in its scope; a run in which something was done always returns a result.

    Args:
        work: Does the work and returns how it ended.
        runtime: As in `run_scope`.
        target: What is run.
        scope: Further arguments of `run_scope`.

    Raises:
        ConfigError: The run cannot start, and nothing was done.
        ThreadBusy: Another run is using its thread.
        NoAnswer: It is nested too deep in other runs.
        RunOwned: Somebody else works on the run, and it continues there.
    """
    running: Run | None = None
    try:
        with run_scope(runtime, target, **scope) as running, exits(f"code of {target!r}"):
            return await work(running)
    except Exception as error:
        lost = isinstance(error, RunOwned) and running is not None and error.run == running.id
        if running is None or lost or (isinstance(error, _REFUSALS) and not running.begun):
            raise
        so_far = running.so_far or await running.result(None, status=running.status)
        return replace(so_far, status=running.status, error=error)


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
    """Enter a run: every model call inside it, from any thread, is recorded for it and limited by it.

    Inside another run the bounds of both apply, since the outer run's scopes are kept.

    Args:
        runtime: What it runs on.
        target: What is run, as the command line names it.
        run: Id of the run, for which this waits for the ledger's file; a new one when absent.
        taken: The run that is resumed, whose bounds apply where ``bounds`` leaves them out; the caller closes its
            lease.
        bounds: Its limits; the spending limit of its class of users applies too.
        observe: Called with each model call's row as it ends.
        kept: Whether it can be resumed, so that a person is asked to deal with it if every model failed.
        bound: Fields of `Bounds`, used if ``bounds`` is absent.

    Raises:
        ConfigError: The policy defines classes of users, but not this one; or the cap is not a valid amount.
        RunOwned: Somebody else works on a run of this id, or has taken it over.
        RunCancelled: Somebody has asked for it to be stopped.
        NoAnswer: It is nested too deep in other runs.
    """
    outer, chain = current().run, inside(target)
    run_id = taken.row.id if taken else run or time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + uuid.uuid4().hex[:8]
    bounds = bounds or Bounds(**bound)
    # A resumed run stays the run that was started: its labels and its start are kept.
    row = taken.row if taken else RunRow(run_id, target, time.time(), user_class=outer.user_class, parent=outer.id)
    row = replace(bounds.over(row), ended=None, status=Status.RUNNING.value)
    trust = Trust.UNTRUSTED if UNTRUSTED in row.tags else current().trust
    if trust is Trust.UNTRUSTED and UNTRUSTED not in row.tags:
        row = replace(row, tags=(*row.tags, UNTRUSTED))
    inherit()
    with _held(runtime, run_id, taken, new=run is None) as lease:
        journal = taken.journal if taken else Journal(runtime.ledger, run_id, lease.token)
        running = Run(run_id, runtime, row, lease, journal if kept else None, list(taken.calls) if taken else [])
        context = _context(running, outer, taken, observe, kept=kept)
        runtime.ledger.record(row)
        try:
            by_user = current().by_user and not row.parent
            step = entered(StepContext(run=context, chain=chain, trust=trust, by_user=by_user))
            with _stopped_by(lease), step, surrounded(_calls_of(running)), keeping(runtime, run_id):
                yield running
                runtime.ledger.leases.check(run_id)
        except BaseException as error:
            ended = _ended_by(error, running, taken, kept=kept)
            if ended is error:
                raise
            raise ended from error
        finally:
            runtime.ledger.record(replace(row, ended=time.time(), status=running.status.value))


def _held(runtime: Runtime, run: str, taken: Taken | None, *, new: bool) -> AbstractContextManager[Lease]:
    """Hold a run, unless it is resumed: then the caller already holds it."""
    if taken:
        return nullcontext(taken.lease)
    return closing((Lease.begin if new else Lease.take)(runtime.ledger, runtime.settings.state, run))


def _calls_of(running: Run) -> Around | None:
    """Who is told of the tools that code of the user's own calls."""
    if running.journal is None:
        return None
    from .journal.direct import DirectCalls

    return DirectCalls(running.runtime.ledger, running.runtime.settings.risk.call)


@contextmanager
def _stopped_by(lease: Lease) -> Iterator[None]:
    """Cancel the task in which the block runs as soon as its lease is lost or the run is to stop."""
    try:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None:
        yield
        return

    def stop() -> None:
        # Runs in the task's own loop, so that the task is still inside the block.
        if lease.stop is not None and not stopped:
            stopped.append(task.cancel())

    stopped: list[bool] = []

    def ask() -> None:
        # The loop may be closed by now.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(stop)

    lease.stop = ask
    try:
        yield
    except asyncio.CancelledError:
        if stopped:
            task.uncancel()
        raise
    finally:
        lease.stop = None


def _ended_by(error: BaseException, running: Run, taken: Taken | None, *, kept: bool) -> BaseException:
    """The error to raise, once what ended a run is noted in it and, where a person is needed, in their queue."""
    lease = running.lease
    if lease.lost is not None or isinstance(error, Fenced):
        owner = lease.lost or holder_of(running.runtime.ledger, running.runtime.settings.state, running.id)
        return RunOwned(running.id, owner, lost=True)
    if lease.cancelled and isinstance(error, asyncio.CancelledError):
        running.status = Status.INTERRUPTED
        return RunCancelled(running.id, kept=kept)
    if isinstance(error, AllFailed) and kept:
        hand_over_failed(running.runtime, running.id, error)
    if isinstance(error, Exception):
        running.status = Status.FAILED
        if taken and isinstance(error, _REFUSALS) and not (running.begun or running.gone):
            # Nothing was done. What a run waits for is kept as long as it is pending.
            running.status = Status.INTERRUPTED if taken.row.status == Status.RUNNING else Status(taken.row.status)
    if isinstance(error, PointsmanError):
        error.run = error.run or running.id
    elif isinstance(error, Exception):
        error.add_note(f"in run {running.id}")
    elif running.status is not Status.PENDING:
        # Cancelled, or left in the middle of its stream: nothing of it has failed, and its end may not be told yet.
        running.status = Status.INTERRUPTED
    return error


def _context(
    running: Run, outer: RunContext, taken: Taken | None, observe: Callable[[CallRow], None] | None, *, kept: bool
) -> RunContext:
    """What every call inside a run is booked on and bounded by."""
    row = running.row

    def booked(call: CallRow) -> None:
        running.book(call)
        if observe is not None:
            observe(call)
        if outer.observe is not None:
            outer.observe(call)

    return RunContext(
        id=row.id,
        user=row.user,
        tags=row.tags,
        # The innermost first, as it is the one to name where several leave too little.
        caps=tuple(dict((*cap_of(running.runtime, row), *(taken.caps if taken else ()), *outer.caps)).items()),
        tokens=_tokens_of(running, outer, taken),
        user_class=row.user_class,
        observe=booked,
        kept=kept,
        journal=running.journal,
        runtime=running.runtime,
    )


def _tokens_of(running: Run, outer: RunContext, taken: Taken | None) -> TokenCaps | None:
    own = token_cap_of(running.runtime, running.row, taken.calls if taken else ())
    # A run around it that is not under way here holds for it all the same.
    around = taken.token_caps if taken and outer.tokens is None else ()
    return token_caps((*own, *around), outer.tokens)


def status_of(runtime: Runtime, row: RunRow) -> str:
    """Return how a run ended, or ``interrupted`` if the process that worked on it is gone.

    Args:
        runtime: What it ran on.
        row: Its row in the ledger.
    """
    if row.status == Status.RUNNING and holder_of(runtime.ledger, runtime.settings.state, row.id) is None:
        # It may have ended since its row was read.
        row = runtime.ledger.run(row.id) or row
        return Status.INTERRUPTED.value if row.status == Status.RUNNING else row.status
    return row.status
