"""Pointsman: agents bound to models by the risk of each step.

Names are imported at their first use, so that ``import pointsman`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .configs.lazy import lazily

if TYPE_CHECKING:
    from .agents.agent import Agent as Agent
    from .agents.result import RunResult as RunResult
    from .agents.runtime import Runtime as Runtime
    from .backends.base import BackendError as BackendError
    from .configs.errors import ConfigError as ConfigError
    from .configs.errors import PointsmanError as PointsmanError
    from .dispatch.ensemble.ensemble import Ensemble as Ensemble
    from .dispatch.model import RoutedChatModel as RoutedChatModel
    from .graphs.prebuilt.support_desk import support_desk as support_desk
    from .graphs.workflow import Workflow as Workflow
    from .memory.store import ChromaStore as ChromaStore
    from .tools.base import ToolFailed as ToolFailed
    from .tools.decorator import declare as declare
    from .tools.decorator import tool as tool

_HOMES = {
    "Agent": "agents.agent",
    "BackendError": "backends.base",
    "ChromaStore": "memory.store",
    "ConfigError": "configs.errors",
    "Ensemble": "dispatch.ensemble.ensemble",
    "PointsmanError": "configs.errors",
    "RoutedChatModel": "dispatch.model",
    "RunResult": "agents.result",
    "Runtime": "agents.runtime",
    "ToolFailed": "tools.base",
    "Workflow": "graphs.workflow",
    "declare": "tools.decorator",
    "support_desk": "graphs.prebuilt.support_desk",
    "tool": "tools.decorator",
}

__all__ = [
    "Agent",
    "BackendError",
    "ChromaStore",
    "ConfigError",
    "Ensemble",
    "PointsmanError",
    "RoutedChatModel",
    "RunResult",
    "Runtime",
    "ToolFailed",
    "Workflow",
    "declare",
    "support_desk",
    "tool",
]

__getattr__, __dir__ = lazily(__name__, _HOMES)
