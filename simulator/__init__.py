"""A loopback server that speaks the model providers' wire formats, scripted by a scenario."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .log import Log, Served
    from .request import Message, Request, Tool, ToolCall
    from .scenario import Answer, Fault, Latency, Match, RateLimit, Rule, Scenario, Usage
    from .simulator import Simulator, serve

__all__ = [
    "Answer",
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

_HOMES = {
    "Answer": "scenario",
    "Fault": "scenario",
    "Latency": "scenario",
    "Log": "log",
    "Match": "scenario",
    "Message": "request",
    "RateLimit": "scenario",
    "Request": "request",
    "Rule": "scenario",
    "Scenario": "scenario",
    "Served": "log",
    "Simulator": "simulator",
    "Tool": "request",
    "ToolCall": "request",
    "Usage": "scenario",
    "serve": "simulator",
}


def __getattr__(name: str) -> Any:
    # aiohttp and pydantic load only when the simulator is used.
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
