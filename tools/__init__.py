"""Tools: functions that a model may call, each with a declared effect, and the workspace they are confined to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from ..configs.agents import McpServer
    from .base import CallFacts, CallRisk, Declaration, EffectRule, Preview, ToolFailed, declaration_of, effect_of
    from .decorator import declare, tool
    from .facts import call_facts
    from .fetch import fetch_tools
    from .files.files import file_tools
    from .files.protected import PROTECTED
    from .files.workspace import Workspace
    from .images import image_tools
    from .mcp.servers import McpServers
    from .memory import Memory, memory_tools
    from .registry import ToolRegistry
    from .risk.base import CommandRisk
    from .risk.reader import command_effect, read_command
    from .sandbox.base import Sandbox, SandboxState
    from .sandbox.probe import probe
    from .shell.shell import shell_tool
    from .shell.streams import ShellResult

__all__ = [
    "PROTECTED",
    "CallFacts",
    "CallRisk",
    "CommandRisk",
    "Declaration",
    "EffectRule",
    "McpServer",
    "McpServers",
    "Memory",
    "Preview",
    "Sandbox",
    "SandboxState",
    "ShellResult",
    "ToolFailed",
    "ToolRegistry",
    "Workspace",
    "call_facts",
    "command_effect",
    "declaration_of",
    "declare",
    "effect_of",
    "fetch_tools",
    "file_tools",
    "image_tools",
    "memory_tools",
    "probe",
    "read_command",
    "shell_tool",
    "tool",
]

_NAMES = {
    "base": (
        "CallFacts",
        "CallRisk",
        "Declaration",
        "EffectRule",
        "Preview",
        "ToolFailed",
        "declaration_of",
        "effect_of",
    ),
    "decorator": ("declare", "tool"),
    "facts": ("call_facts",),
    "fetch": ("fetch_tools",),
    "files.files": ("file_tools",),
    "files.protected": ("PROTECTED",),
    "files.workspace": ("Workspace",),
    "images": ("image_tools",),
    "mcp.servers": ("McpServer", "McpServers"),
    "memory": ("Memory", "memory_tools"),
    "registry": ("ToolRegistry",),
    "risk.base": ("CommandRisk",),
    "risk.reader": ("command_effect", "read_command"),
    "sandbox.base": ("Sandbox", "SandboxState"),
    "sandbox.probe": ("probe",),
    "shell.shell": ("shell_tool",),
    "shell.streams": ("ShellResult",),
}

# LangChain takes a fifth of a second to import, so names are loaded lazily, on first use.
__getattr__, __dir__ = lazily(__name__, _NAMES)
