"""What a run gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..ledger.rows import CallRow, DecisionRow

__all__ = ["Pending", "RunResult", "StepRecord"]

Status = Literal["done", "failed", "pending", "handed_over"]


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a run as it really went.

    Attributes:
        id: Unique within the run.
        agent: Who did it.
        model: The model that really ran, as ``provider/name``; None when no model did.
        risk: The step's risk.
        output: What came out, typed where the agent declares an output.
        status: ``done``, or ``handed_over`` when a person must go on.
        note: One line on what a reader should know: an escalation, a doubt, why it was handed over.
        seconds: Wall time.
    """

    id: str
    agent: str
    model: str | None
    risk: str
    output: Any
    status: str = "done"
    note: str = ""
    seconds: float = 0.0
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """An act that waits for a person.

    Attributes:
        id: Names it in an answer.
        tool: The tool that would run.
        arguments: Its exact arguments.
        risk: Risk of the call.
        reason: Why it waits.
        digest: Hash of tool and arguments; an answer holds for this digest only.
    """

    id: str
    tool: str
    arguments: Mapping[str, Any]
    risk: str
    reason: str
    digest: str


@dataclass(frozen=True, slots=True)
class RunResult:
    """The outcome of a run.

    Attributes:
        run: Id of the run, which ``pointsman report --run`` and ``resume`` take.
        status: How it ended.
        output: The workflow's output.
        steps: What was done, in order.
        cost: USD spent on calls whose price is known.
        unpriced: Calls whose price is unknown; their cost is not in ``cost``.
        decisions: Every routing decision of the run.
        calls: Every model call of the run, failed ones included.
        pending: Acts that wait for a person when ``status`` is ``pending``.
    """

    run: str
    status: Status
    output: Any
    steps: tuple[StepRecord, ...] = ()
    cost: float = 0.0
    unpriced: int = 0
    decisions: tuple[DecisionRow, ...] = ()
    calls: tuple[CallRow, ...] = ()
    pending: tuple[Pending, ...] = ()
    notes: tuple[str, ...] = field(default=())
