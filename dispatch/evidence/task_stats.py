"""`TaskHistory`: how each model has recently performed at each task, as exponentially decaying counts."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from ...configs.process.forks import Lock, reset_in_children
from ...configs.words import FailureKind
from ...ledger.prices import PICODOLLARS
from ...ledger.rows import CallRow
from ...routing.evidence import of_failure
from ...routing.experience import TaskStats
from ..failures import FAILURES

__all__ = ["TaskHistory"]

_EXCUSED: Final = frozenset(kind.value for kind, told in FAILURES.items() if told.excused)
_UNUSABLE: Final = frozenset(kind.value for kind in FailureKind if of_failure(kind) is not None)
# The ``finish`` of a row for which no call was made.
_CACHED: Final = "cached"
# Callers choose task names freely, so their number has no natural limit.
_MOST_TASKS: Final = 512
_MOST_MODELS: Final = 128
_FRESH_SECONDS: Final = 1.0
_FRESH_CALLS: Final = 8
_NOTHING: Final[Mapping[str, TaskStats]] = MappingProxyType({})


class TaskHistory:
    """Exponentially decaying counts for each task and model; thread-safe.

    Recording and reading take constant time, and nothing grows with the number of calls.

    Args:
        half_life: Seconds.
        clock: Seconds since the epoch, as the ledger's rows have them.
    """

    def __init__(self, half_life: float, *, clock: Callable[[], float] = time.time) -> None:
        self._half_life = half_life
        self._clock = clock
        self._lock = Lock()
        reset_in_children(self._lock)
        self._tasks: OrderedDict[str, _Task] = OrderedDict()

    def observe(self, task: str, row: CallRow) -> None:
        """Record how a call went.

        Args:
            task: The call's task.
            row: The call's row; one that says nothing about its model is ignored.
        """
        if row.finish == _CACHED or row.failure in _EXCUSED:
            return
        with self._lock.inner:
            seen = self._tasks.get(task)
            if seen is None:
                seen = self._tasks[task] = _Task()
                if len(self._tasks) > _MOST_TASKS:
                    self._tasks.popitem(last=False)
            else:
                self._tasks.move_to_end(task)
            tally = seen.tallies.get(row.model)
            if tally is None:
                if len(seen.tallies) >= _MOST_MODELS:
                    del seen.tallies[min(seen.tallies, key=lambda name: seen.tallies[name].at)]
                tally = seen.tallies[row.model] = _Tally(row.at)
            tally.add(row, self._half_life)
            seen.news += 1

    def of(self, task: str) -> Mapping[str, TaskStats]:
        """Return model -> how it has performed at a task; at most one second and seven calls out of date."""
        seen = self._tasks.get(task)
        if seen is None:
            return _NOTHING
        now = self._clock()
        # Checked in both directions: otherwise a clock that was set back would freeze the view.
        if seen.news >= _FRESH_CALLS or not 0 <= now - seen.read < _FRESH_SECONDS:
            with self._lock.inner:
                seen.news = 0
                read = {model: tally.read(now, self._half_life) for model, tally in seen.tallies.items()}
            seen.view, seen.read = MappingProxyType(read), now
        return seen.view

    def load(self, calls: Iterable[tuple[str, CallRow]]) -> None:
        """Record past calls.

        Args:
            calls: Pairs of task and call row.
        """
        for task, row in calls:
            self.observe(task, row)


class _Task:
    """The tallies of the models that were asked for one task, and the view last computed from them."""

    __slots__ = ("news", "read", "tallies", "view")

    def __init__(self) -> None:
        self.tallies: dict[str, _Tally] = {}
        self.news = 0
        self.view: Mapping[str, TaskStats] = _NOTHING
        self.read = float("-inf")


class _Tally:
    """Sums over the calls of one model, each weighted as of the time ``at``."""

    __slots__ = ("answering", "at", "calls", "cost", "counted", "good", "output", "priced", "seconds", "unusable")

    def __init__(self, at: float) -> None:
        self.at = at
        self.calls = self.good = self.seconds = self.answering = 0.0
        self.priced = self.cost = self.counted = self.output = self.unusable = 0.0

    def add(self, row: CallRow, half_life: float) -> None:
        age = row.at - self.at
        weight = 1.0
        if age >= 0:
            self._fade(0.5 ** (age / half_life))
            self.at = row.at
        else:
            # Calls may end in a different order than they began.
            weight = 0.5 ** (-age / half_life)
        self.calls += weight
        self.seconds += weight * row.latency
        if row.cost is not None:
            self.priced += weight
            self.cost += weight * row.cost
        if row.failure is not None:
            self.unusable += weight if row.failure in _UNUSABLE else 0.0
            return
        self.good += weight
        self.answering += weight * row.latency
        if row.usage is not None:
            self.counted += weight
            self.output += weight * row.usage.output

    def read(self, now: float, half_life: float) -> TaskStats:
        # Sums that have faded to zero must not cause a division by zero.
        calls = self.calls or 1.0
        weight = 0.5 ** (max(0.0, now - self.at) / half_life)
        return TaskStats(
            calls=self.calls * weight,
            success=self.good / calls,
            unusable=self.unusable * weight,
            seconds=max(self.seconds / calls, self.answering / self.good) if self.good else None,
            cost=self.cost / self.priced / float(PICODOLLARS) if self.priced else None,
            output=self.output / self.counted if self.counted else None,
        )

    def _fade(self, factor: float) -> None:
        self.calls *= factor
        self.good *= factor
        self.unusable *= factor
        self.seconds *= factor
        self.answering *= factor
        self.priced *= factor
        self.cost *= factor
        self.counted *= factor
        self.output *= factor
