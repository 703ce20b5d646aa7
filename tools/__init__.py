"""Tools: functions a model may call, each with a declared effect, and the workspace they are kept in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.lazy import lazily

if TYPE_CHECKING:
    from .base import CallFacts, Declaration, EffectRule, ToolFailed, declaration_of, effect_of
    from .decorator import declare, tool
    from .facts import call_facts
    from .files.files import file_tools
    from .files.protected import PROTECTED
    from .files.workspace import Workspace
    from .images import image_tools
    from .memory import Memory, memory_tools
    from .registry import McpServer, ToolRegistry
    from .sandbox.base import Sandbox, SandboxState
    from .sandbox.probe import probe
    from .shell.shell import shell_tool
    from .shell.streams import ShellResult

__all__ = [
    "PROTECTED",
    "CallFacts",
    "Declaration",
    "EffectRule",
    "McpServer",
    "Memory",
    "Sandbox",
    "SandboxState",
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
    "probe",
    "shell_tool",
    "tool",
]

_HOME = {
    "PROTECTED": ".files.protected",
    "CallFacts": ".base",
    "Declaration": ".base",
    "EffectRule": ".base",
    "McpServer": ".registry",
    "Memory": ".memory",
    "Sandbox": ".sandbox.base",
    "SandboxState": ".sandbox.base",
    "ShellResult": ".shell.streams",
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
    "probe": ".sandbox.probe",
    "shell_tool": ".shell.shell",
    "tool": ".decorator",
}

# LangChain costs a fifth of a second to import, so nothing is loaded before it is named.
__getattr__, __dir__ = lazily(__name__, _HOME)
