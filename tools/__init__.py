"""Tools: functions a model may call, each with a declared effect, and the workspace they are kept in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.lazy import lazily

if TYPE_CHECKING:
    from ..configs.mcp import McpServer
    from .base import CallFacts, Declaration, EffectRule, ToolFailed, declaration_of, effect_of
    from .decorator import declare, tool
    from .facts import call_facts
    from .files.files import file_tools
    from .files.workspace import PROTECTED, Workspace
    from .images import image_tools
    from .memory import Memory, memory_tools
    from .mcp.servers import McpServers
    from .registry import ToolRegistry
    from .shell.shell import ShellResult, shell_tool

__all__ = [
    "PROTECTED",
    "CallFacts",
    "Declaration",
    "EffectRule",
    "McpServer",
    "McpServers",
    "Memory",
    "ShellResult",
    "ToolFailed",
    "ToolRegistry",
    "Workspace",
    "call_facts",
    "declaration_of",
    "declare",
    "effect_of",
    "file_tools",
    "image_tools",
    "memory_tools",
    "shell_tool",
    "tool",
]

_HOME = {
    "PROTECTED": ".files.workspace",
    "CallFacts": ".base",
    "Declaration": ".base",
    "EffectRule": ".base",
    "McpServer": ".mcp.servers",
    "McpServers": ".mcp.servers",
    "Memory": ".memory",
    "ShellResult": ".shell.shell",
    "ToolFailed": ".base",
    "ToolRegistry": ".registry",
    "Workspace": ".files.workspace",
    "call_facts": ".facts",
    "declaration_of": ".base",
    "declare": ".decorator",
    "effect_of": ".base",
    "file_tools": ".files.files",
    "image_tools": ".images",
    "memory_tools": ".memory",
    "shell_tool": ".shell.shell",
    "tool": ".decorator",
}

# LangChain costs a fifth of a second to import, so nothing is loaded before it is named.
__getattr__, __dir__ = lazily(__name__, _HOME)
