"""Pointsman: agents bound to models by the risk of each step.

Names are imported on first use, so that ``import pointsman`` costs almost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .configs.process.lazy import lazily

if TYPE_CHECKING:
    from . import runs as runs
    from .agents.agent import Agent as Agent
    from .agents.approval.answers import ApprovalPending as ApprovalPending
    from .agents.attachments import attach as attach
    from .agents.conversations import ThreadBusy as ThreadBusy
    from .agents.errors import CutOff as CutOff
    from .agents.lease.holder import RunOwned as RunOwned
    from .agents.result import Pending as Pending
    from .agents.result import RunResult as RunResult
    from .agents.result import Status as Status
    from .agents.runs import run_scope as run_scope
    from .agents.runtime import Runtime as Runtime
    from .backends.base import BackendError as BackendError
    from .configs.errors import ConfigError as ConfigError
    from .configs.errors import PointsmanError as PointsmanError
    from .configs.loading.loader import environment as environment
    from .configs.loading.loader import load as load
    from .configs.words import Effect as Effect
    from .configs.words import Risk as Risk
    from .configs.words import StepKind as StepKind
    from .configs.words import Tier as Tier
    from .configs.words import Trust as Trust
    from .dispatch.decisions.model import RoutedDecisionModel as RoutedDecisionModel
    from .dispatch.ensemble.ensemble import Ensemble as Ensemble
    from .dispatch.errors import AllFailed as AllFailed
    from .dispatch.errors import NoCandidate as NoCandidate
    from .dispatch.model import RoutedChatModel as RoutedChatModel
    from .graphs.events import Began as Began
    from .graphs.events import Called as Called
    from .graphs.events import Event as Event
    from .graphs.events import Finished as Finished
    from .graphs.events import Noted as Noted
    from .graphs.events import Retracted as Retracted
    from .graphs.events import Stepped as Stepped
    from .graphs.events import Token as Token
    from .graphs.events import Used as Used
    from .graphs.events import Using as Using
    from .graphs.events import Waiting as Waiting
    from .graphs.prebuilt.batch import batch as batch
    from .graphs.prebuilt.cascade import cascade as cascade
    from .graphs.prebuilt.cascade import extraction as extraction
    from .graphs.prebuilt.code_fix import Fix as Fix
    from .graphs.prebuilt.code_fix import code_fix as code_fix
    from .graphs.prebuilt.decided import decided as decided
    from .graphs.prebuilt.documents import document_extraction as document_extraction
    from .graphs.prebuilt.support_desk import support_desk as support_desk
    from .graphs.prebuilt.vote import vote as vote
    from .graphs.workflow import Workflow as Workflow
    from .ledger.budgets.budgets import BudgetExceeded as BudgetExceeded
    from .memory.store import ChromaStore as ChromaStore
    from .tools.base import ToolFailed as ToolFailed
    from .tools.decorator import declare as declare
    from .tools.decorator import tool as tool

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
