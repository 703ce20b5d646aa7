"""Runs, calls and decisions as the JSON that ``--json`` prints; amounts in USD, None if unknown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..errors import judge
from .simulated import is_simulated

if TYPE_CHECKING:
    from ...agents.result import RunResult, StepRecord
    from ...ledger.rows import CallRow, DecisionRow

__all__ = [
    "as_text",
    "call_record",
    "decision_record",
    "dollars",
    "plain",
    "run_record",
    "spent",
    "step_record",
]

_PICO = 10**12


def dollars(picodollars: int | None) -> float | None:
    """Convert picodollars to USD."""
    return None if picodollars is None else picodollars / _PICO


def plain(value: Any) -> Any:
    """Convert a typed output to JSON values."""
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def as_text(output: Any) -> str:
    """Return an output as text for a person: text unchanged, anything else as JSON."""
    made = plain(output)
    return made if isinstance(made, str) else json.dumps(made, ensure_ascii=False, indent=2, default=str)


def step_record(step: StepRecord) -> dict[str, Any]:
    """Return one step as JSON values."""
    record = {**step.plain(), "simulated": is_simulated(step.model), "output": plain(step.output)}
    return {name: value for name, value in record.items() if name not in ("tier", "trust")}


def call_record(row: CallRow) -> dict[str, Any]:
    """Return one model call as JSON values."""
    return {
        **asdict(row),
        "cost": dollars(row.cost),
        "flagship_cost": dollars(row.flagship_cost),
        "simulated": is_simulated(row.model),
    }


def spent(calls: Sequence[CallRow]) -> dict[str, Any]:
    """Add calls up: their number, tokens, known cost in USD, and how many have no known price."""
    return {
        "calls": len(calls),
        "tokens": sum(call.usage.input + call.usage.output for call in calls if call.usage),
        "cost": dollars(sum(call.cost for call in calls if call.cost is not None)),
        "unpriced": sum(call.cost is None and call.usage is not None for call in calls),
    }


def decision_record(row: DecisionRow) -> dict[str, Any]:
    """Return one routing decision as JSON values."""
    texts = ("candidates", "rejected", "rules", "features")
    return {**asdict(row), **{name: json.loads(getattr(row, name)) for name in texts}}


def run_record(result: RunResult) -> dict[str, Any]:
    """Return the result of one run as JSON values."""
    return {
        "run": result.run,
        "status": result.status,
        "output": plain(result.output),
        "steps": [step_record(step) for step in result.steps],
        "cost": result.cost,
        "unpriced": result.unpriced,
        "decisions": [decision_record(row) for row in result.decisions],
        "calls": [call_record(row) for row in result.calls],
        "notes": list(result.notes),
        "error": None if result.error is None else judge(result.error)[1],
        "pending": [asdict(pending) for pending in result.pending],
        "diff": result.diff,
        "changed_tests": list(result.changed_tests),
    }
