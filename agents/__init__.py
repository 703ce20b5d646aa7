"""Agents: what each is told, may run on and can reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .agent import Agent
    from .approval.answers import ApprovalPending
    from .bounds import Bounds
    from .errors import CutOff, DepthLimit, HandoffCycle, NoAnswer, RepeatedCall, RunTimeout, StepLimit, TurnLimit
    from .lease.holder import RunCancelled, RunOwned
    from .result import Act, Outcome, Pending, RunResult, Status, StepRecord
    from .runs import run_scope
    from .runtime import Runtime
    from .verification.verifier import Ruling, Verifier

_NAMES = {
    "agent": ("Agent",),
    "approval.answers": ("ApprovalPending",),
    "bounds": ("Bounds",),
    "errors": (
        "CutOff",
        "DepthLimit",
        "HandoffCycle",
        "NoAnswer",
        "RepeatedCall",
        "RunTimeout",
        "StepLimit",
        "TurnLimit",
    ),
    "lease.holder": ("RunCancelled", "RunOwned"),
    "result": ("Act", "Outcome", "Pending", "RunResult", "Status", "StepRecord"),
    "runs": ("run_scope",),
    "runtime": ("Runtime",),
    "verification.verifier": ("Ruling", "Verifier"),
}

__all__ = [
    "Act",
    "Agent",
    "ApprovalPending",
    "Bounds",
    "CutOff",
    "DepthLimit",
    "HandoffCycle",
    "NoAnswer",
    "Outcome",
    "Pending",
    "RepeatedCall",
    "Ruling",
    "RunCancelled",
    "RunOwned",
    "RunResult",
    "RunTimeout",
    "Runtime",
    "Status",
    "StepLimit",
    "StepRecord",
    "TurnLimit",
    "Verifier",
    "run_scope",
]

__getattr__, __dir__ = lazily(__name__, _NAMES)
