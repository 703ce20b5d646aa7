"""A tool of an MCP server as a LangChain tool."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from langchain_core.tools import BaseTool, ToolException
from pydantic import PrivateAttr

from ...configs.words import Effect, Trust
from ..base import DECLARED, Declaration, ToolFailed
from .offered import Offered

__all__ = ["McpTool", "mcp_tool"]

_Call: TypeAlias = Callable[[dict[str, Any]], Awaitable[Any]]
_Wait: TypeAlias = Callable[[dict[str, Any]], Any]


class McpTool(BaseTool):
    """Calls its server, from any loop or thread; the result is untrusted text."""

    _call: Any = PrivateAttr()
    _wait: Any = PrivateAttr()

    async def _arun(self, /, **arguments: Any) -> Any:
        try:
            return await self._call(arguments)
        except ToolFailed as failure:
            raise ToolException(str(failure)) from failure

    def _run(self, /, **arguments: Any) -> Any:
        try:
            return self._wait(arguments)
        except ToolFailed as failure:
            raise ToolException(str(failure)) from failure


def mcp_tool(offered: Offered, declared: Effect | None, call: _Call, wait: _Wait) -> McpTool:
    """Make the tool.

    Args:
        offered: The server's description of it.
        declared: The effect that the user declares, if any.
        call: Calls it with its arguments.
        wait: The same for a caller in synchronous code.
    """
    made = McpTool(
        name=offered.name,
        description=offered.description,
        args_schema=dict(offered.schema),
        handle_tool_error=True,
        metadata={DECLARED: Declaration(effect=offered.effect(declared), trust=Trust.UNTRUSTED)},
    )
    made._call, made._wait = call, wait
    return made
