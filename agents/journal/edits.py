"""Keeping of what files were before a run changes them, so that its edits can be taken back."""

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
"""How long the edits of a run that came to its end are kept, as long as its last state is."""


@contextmanager
def keeping(runtime: Runtime, run: str) -> Iterator[None]:
    """Keep what the file tools change inside the block.

    Args:
        runtime: What the run runs on.
        run: Its id.
    """
    with kept_by(_Keeping(runtime, run)):
        yield


def any_edits(runtime: Runtime) -> bool:
    """Whether anything is kept of the edits of any run.

    Args:
        runtime: What they ran on.
    """
    return bool(untouched(runtime.settings.state, float("inf")))


def edits_of(runtime: Runtime, run: str) -> Edits:
    """What is kept of the edits of a run and of those around it; this waits for the ledger.

    Args:
        runtime: What it ran on.
        run: Its id.
    """
    settings = runtime.settings
    return Edits(settings.state, settings.project, _outermost(runtime.ledger, run))


def forget_edits(runtime: Runtime, run: str) -> None:
    """Delete what is kept of the edits of a run, unless it was started inside another: then they go with that.

    Args:
        runtime: What it ran on.
        run: Its id.
    """
    settings = runtime.settings
    Edits(settings.state, settings.project, run).forget()


class _Keeping:
    """Keeps the edits of one run; what is older than `_DAYS` makes room when the first is kept."""

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
    """The run around all others; one whose ledger is another's keeps its own edits."""
    while (row := ledger.run(run)) is not None and row.parent and ledger.run(row.parent) is not None:
        run = row.parent
    return run
