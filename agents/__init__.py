"""Agents: what each is told, may run on and can reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .agent import Agent as Agent
    from .approval.answers import ApprovalPending as ApprovalPending
    from .bounds import Bounds as Bounds
    from .errors import CutOff as CutOff
    from .errors import DepthLimit as DepthLimit
    from .errors import HandoffCycle as HandoffCycle
    from .errors import NoAnswer as NoAnswer
    from .errors import RepeatedCall as RepeatedCall
    from .errors import RunTimeout as RunTimeout
    from .errors import StepLimit as StepLimit
    from .errors import TurnLimit as TurnLimit
    from .lease.holder import RunCancelled as RunCancelled
    from .lease.holder import RunOwned as RunOwned
    from .result import Act as Act
    from .result import Outcome as Outcome
    from .result import Pending as Pending
    from .result import RunResult as RunResult
    from .result import Status as Status
    from .result import StepRecord as StepRecord
    from .runs import run_scope as run_scope
    from .runtime import Runtime as Runtime
    from .verification.verifier import Ruling as Ruling
    from .verification.verifier import Verifier as Verifier

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
