"""A loopback server that implements the model providers' wire formats, scripted by a scenario."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .log import Log, Served
    from .request import Message, Request, Tool, ToolCall
    from .scenario import Answer, BatchPace, Fault, Latency, Match, RateLimit, Rule, Scenario, Usage
    from .simulator import Simulator, serve

__all__ = [
    "Answer",
    "BatchPace",
    "Fault",
    "Latency",
    "Log",
    "Match",
    "Message",
    "RateLimit",
    "Request",
    "Rule",
    "Scenario",
    "Served",
    "Simulator",
    "Tool",
    "ToolCall",
    "Usage",
    "serve",
]

_NAMES = {
    "log": ("Log", "Served"),
    "request": ("Message", "Request", "Tool", "ToolCall"),
    "scenario": ("Answer", "BatchPace", "Fault", "Latency", "Match", "RateLimit", "Rule", "Scenario", "Usage"),
    "simulator": ("Simulator", "serve"),
}

# aiohttp and pydantic are loaded only when the simulator is used.
__getattr__, __dir__ = lazily(__name__, _NAMES)
