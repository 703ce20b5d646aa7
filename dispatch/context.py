"""The run and step a model call belongs to, carried in a context variable through any LangChain code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from ..configs.process.variables import set_to
from ..configs.words import Risk, Trust
from ..ledger.rows import CallRow
from ..routing.evidence import Finding

if TYPE_CHECKING:
    from .guards.tokens import TokenCaps
    from .journal import Journal

__all__ = ["RunContext", "RunsOn", "StepContext", "current", "entered", "runtime_of_run"]


class RunsOn(Protocol):
    """What a run runs on."""

    @property
    def closed(self) -> bool:
        """Whether it has been closed and must not be used any more."""

    @property
    def dispatcher(self) -> Any:
        """The `Dispatcher` that chooses and calls models."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """One run, with its limits.

    Attributes:
        id: Id of the run; empty outside any.
        user: Whom the run is for; recorded in the ledger and used by budgets.
        tags: Free labels.
        caps: Scope and cap in picodollars of this run and of every run around it.
        user_class: Selects per-class limits.
        observe: Called with the ledger row of each model call as it ends.
        kept: Whether the run can be resumed.
        journal: What the run keeps so that it can be resumed; None if it cannot be.
        tokens: How many tokens this run and every run around it may use; None without a cap.
        runtime: What it runs on, and so does whatever is not told otherwise inside it.
    """

    id: str = ""
    user: str = ""
    tags: tuple[str, ...] = ()
    caps: tuple[tuple[str, int], ...] = ()
    user_class: str = "default"
    observe: Callable[[CallRow], None] | None = None
    kept: bool = True
    journal: Journal | None = None
    tokens: TokenCaps | None = None
    runtime: RunsOn | None = None


@dataclass(frozen=True, slots=True)
class StepContext:
    """One step of a run, with the facts its planner declared; each fact can only raise the risk.

    Attributes:
        unavailable: Model or provider -> why this step must not use it.
        evidence: Events that call for a higher tier, such as a verifier's doubt.
        chain: Names of the enclosing agents and workflows, outermost first.
        ahead: Picodollars that each future high-risk step may cost, to be left in the run's budget.
        recalled: The lowest trust of the notes that were recalled from the memory before it; None if none were.
        trust: The lowest trust of what whoever asked for it had in view, such as the agent whose tool asks another.
        by_user: Whether the user asked for it, and no tool of an agent.
    """

    run: RunContext = RunContext()
    step: str = ""
    agent: str = ""
    dependents: int = 0
    sensitivity: Literal["public", "internal", "personal", "secret"] | None = None
    risk: Risk | None = None
    unavailable: tuple[tuple[str, str], ...] = ()
    chain: tuple[str, ...] = ()
    ahead: tuple[int, ...] = ()
    evidence: tuple[Finding, ...] = ()
    recalled: Trust | None = None
    trust: Trust = Trust.USER
    by_user: bool = True

    @property
    def can_go_on(self) -> bool:
        """Whether this is a step of a run that can be resumed."""
        return bool(self.step and self.run.id and self.run.kept)


_NONE = StepContext()
_STEP: ContextVar[StepContext] = ContextVar("pointsman_step", default=_NONE)


current: Final = _STEP.get
"""Returns the step that the running code belongs to."""


def runtime_of_run() -> RunsOn | None:
    """What the run runs on that the running code belongs to; None outside any, and where a thread has outlived it."""
    runtime = current().run.runtime
    return None if runtime is None or runtime.closed else runtime


@contextmanager
def entered(base: StepContext | None = None, /, **changes: object) -> Iterator[StepContext]:
    """Set the current step inside the block to ``base`` (default: the current step) with ``changes`` applied."""
    inner = replace(base or current(), **changes)  # type: ignore[arg-type]  # names are StepContext's own
    with set_to(_STEP, inner):
        yield inner
