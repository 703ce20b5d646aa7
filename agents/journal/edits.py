"""Save files as they were before a run changes them, so that its edits can be undone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ...dispatch.state.edits import Edits, untouched
from ...tools.files.changes import Change, kept_by
from ..result import ENDED

if TYPE_CHECKING:
    from ...ledger.ledger import Ledger
    from ..runtime import Runtime

__all__ = ["any_edits", "edits_of", "forget_edits", "keeping"]

_DAYS: Final = 30
"""Days for which the edits of a finished run are kept, the same as its last state."""


@contextmanager
def keeping(runtime: Runtime, run: str) -> Iterator[None]:
    """Save what the file tools change inside the block.

    Args:
        runtime: What the run runs on.
        run: Its id.
    """
    with kept_by(_Keeping(runtime, run)):
        yield


def any_edits(runtime: Runtime) -> bool:
    """Return whether edits of any run are stored.

    Args:
        runtime: What they ran on.
    """
    return bool(untouched(runtime.settings.state, float("inf")))


def edits_of(runtime: Runtime, run: str) -> Edits:
    """Return the stored edits of a run and of its enclosing runs; this waits for the ledger.

    Args:
        runtime: What it ran on.
        run: Its id.
    """
    settings = runtime.settings
    return Edits(settings.state, settings.project, _outermost(runtime.ledger, run))


def forget_edits(runtime: Runtime, run: str) -> None:
    """Delete the stored edits of a run, unless it is nested in another: then they are deleted with that one.

    Args:
        runtime: What it ran on.
        run: Its id.
    """
    settings = runtime.settings
    Edits(settings.state, settings.project, run).forget()


class _Keeping:
    """Store the edits of one run; edits older than `_DAYS` are deleted when the first is stored."""

    def __init__(self, runtime: Runtime, run: str) -> None:
        self._runtime = runtime
        self._run = run

    def __call__(self, change: Change) -> None:
        self._edits.keep(change, self._run)

    @cached_property
    def _edits(self) -> Edits:
        for run in untouched(self._runtime.settings.state, time.time() - _DAYS * 86_400):
            row = self._runtime.ledger.run(run)
            if row is None or row.status in ENDED:
                forget_edits(self._runtime, run)
        return edits_of(self._runtime, self._run)


def _outermost(ledger: Ledger, run: str) -> str:
    """Return the outermost run; a run whose parent is in another ledger keeps its own edits."""
    while (row := ledger.run(run)) is not None and row.parent and ledger.run(row.parent) is not None:
        run = row.parent
    return run
