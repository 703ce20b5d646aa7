"""Tools: functions a model may call, each with a declared effect, and the workspace they are kept in."""

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

_HOME = {
    "PROTECTED": ".files.protected",
    "CallFacts": ".base",
    "CallRisk": ".base",
    "CommandRisk": ".risk.base",
    "Declaration": ".base",
    "EffectRule": ".base",
    "McpServer": ".mcp.servers",
    "McpServers": ".mcp.servers",
    "Memory": ".memory",
    "Preview": ".base",
    "Sandbox": ".sandbox.base",
    "SandboxState": ".sandbox.base",
    "ShellResult": ".shell.streams",
    "ToolFailed": ".base",
    "ToolRegistry": ".registry",
    "Workspace": ".files.workspace",
    "call_facts": ".facts",
    "command_effect": ".risk.reader",
    "declaration_of": ".base",
    "declare": ".decorator",
    "effect_of": ".base",
    "fetch_tools": ".fetch",
    "file_tools": ".files.files",
    "image_tools": ".images",
    "memory_tools": ".memory",
    "probe": ".sandbox.probe",
    "read_command": ".risk.reader",
    "shell_tool": ".shell.shell",
    "tool": ".decorator",
}

# LangChain costs a fifth of a second to import, so nothing is loaded before it is named.
__getattr__, __dir__ = lazily(__name__, _HOME)
