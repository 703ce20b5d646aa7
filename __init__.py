"""Pointsman: agents bound to models by the risk of each step.

Names are imported on first use, so that ``import pointsman`` costs almost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .configs.process.lazy import lazily

if TYPE_CHECKING:
    from . import runs
    from .agents.agent import Agent
    from .agents.approval.answers import ApprovalPending
    from .agents.attachments import attach
    from .agents.conversations import ThreadBusy
    from .agents.errors import CutOff
    from .agents.lease.holder import RunOwned
    from .agents.result import Pending, RunResult, Status
    from .agents.runs import run_scope
    from .agents.runtime import Runtime
    from .backends.base import BackendError
    from .configs.errors import ConfigError, PointsmanError
    from .configs.loading.loader import environment, load
    from .configs.words import Effect, Risk, StepKind, Tier, Trust
    from .dispatch.decisions.model import RoutedDecisionModel
    from .dispatch.ensemble.ensemble import Ensemble
    from .dispatch.errors import AllFailed, NoCandidate
    from .dispatch.model import RoutedChatModel
    from .graphs.events import *
    from .graphs.prebuilt.batch import batch
    from .graphs.prebuilt.cascade import cascade, extraction
    from .graphs.prebuilt.code_fix import Fix, code_fix
    from .graphs.prebuilt.decided import decided
    from .graphs.prebuilt.documents import document_extraction
    from .graphs.prebuilt.support_desk import support_desk
    from .graphs.prebuilt.vote import vote
    from .graphs.workflow import Workflow
    from .ledger.budgets.budgets import BudgetExceeded
    from .memory.store import ChromaStore
    from .tools.base import ToolFailed
    from .tools.decorator import declare, tool

_NAMES = {
    "agents.agent": ("Agent",),
    "agents.approval.answers": ("ApprovalPending",),
    "agents.attachments": ("attach",),
    "agents.conversations": ("ThreadBusy",),
    "agents.errors": ("CutOff",),
    "agents.lease.holder": ("RunOwned",),
    "agents.result": ("Pending", "RunResult", "Status"),
    "agents.runs": ("run_scope",),
    "agents.runtime": ("Runtime",),
    "backends.base": ("BackendError",),
    "configs.errors": ("ConfigError", "PointsmanError"),
    "configs.loading.loader": ("environment", "load"),
    "configs.words": ("Effect", "Risk", "StepKind", "Tier", "Trust"),
    "dispatch.decisions.model": ("RoutedDecisionModel",),
    "dispatch.ensemble.ensemble": ("Ensemble",),
    "dispatch.errors": ("AllFailed", "NoCandidate"),
    "dispatch.model": ("RoutedChatModel",),
    "graphs.events": (
        "Began",
        "Called",
        "Event",
        "Finished",
        "Noted",
        "Retracted",
        "Stepped",
        "Token",
        "Used",
        "Using",
        "Waiting",
    ),
    "graphs.prebuilt.batch": ("batch",),
    "graphs.prebuilt.cascade": ("cascade", "extraction"),
    "graphs.prebuilt.code_fix": ("Fix", "code_fix"),
    "graphs.prebuilt.decided": ("decided",),
    "graphs.prebuilt.documents": ("document_extraction",),
    "graphs.prebuilt.support_desk": ("support_desk",),
    "graphs.prebuilt.vote": ("vote",),
    "graphs.workflow": ("Workflow",),
    "ledger.budgets.budgets": ("BudgetExceeded",),
    "memory.store": ("ChromaStore",),
    "runs": ("runs",),
    "tools.base": ("ToolFailed",),
    "tools.decorator": ("declare", "tool"),
}

__all__ = [
    "Agent",
    "AllFailed",
    "ApprovalPending",
    "BackendError",
    "Began",
    "BudgetExceeded",
    "Called",
    "ChromaStore",
    "ConfigError",
    "CutOff",
    "Effect",
    "Ensemble",
    "Event",
    "Finished",
    "Fix",
    "NoCandidate",
    "Noted",
    "Pending",
    "PointsmanError",
    "Retracted",
    "Risk",
    "RoutedChatModel",
    "RoutedDecisionModel",
    "RunOwned",
    "RunResult",
    "Runtime",
    "Status",
    "StepKind",
    "Stepped",
    "ThreadBusy",
    "Tier",
    "Token",
    "ToolFailed",
    "Trust",
    "Used",
    "Using",
    "Waiting",
    "Workflow",
    "attach",
    "batch",
    "cascade",
    "code_fix",
    "decided",
    "declare",
    "document_extraction",
    "environment",
    "extraction",
    "load",
    "run_scope",
    "runs",
    "support_desk",
    "tool",
    "vote",
]

__getattr__, __dir__ = lazily(__name__, _NAMES)
