"""Convert what a tool returns to what a model reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

from langchain_core.messages.tool import ToolOutputMixin
from langchain_core.tools import BaseTool, StructuredTool

from ..configs.process.variables import set_to
from .around import around
from .base import ToolFailed
from .fitting import fitted, fitted_blocks

__all__ = ["TellingTool", "as_read", "as_told"]

_FOR_MODEL: ContextVar[bool] = ContextVar("pointsman_for_model", default=False)


class TellingTool(StructuredTool):
    """A tool that returns text if a model calls it, and the function's own result if code calls it."""

    def run(self, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        """Run as `StructuredTool` does."""
        told, call = around(), partial(self._read, tool_input, *args, **kwargs)
        return call() if told is None else told.run(self, _arguments(tool_input), call)

    def _read(self, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        with set_to(_FOR_MODEL, kwargs.get("tool_call_id") is not None):
            return super().run(tool_input, *args, **kwargs)

    async def arun(self, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        """Run as `StructuredTool` does."""
        told, call = around(), partial(self._aread, tool_input, *args, **kwargs)
        return await (call() if told is None else told.arun(self, _arguments(tool_input), call))

    async def _aread(self, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        with set_to(_FOR_MODEL, kwargs.get("tool_call_id") is not None):
            return await super().arun(tool_input, *args, **kwargs)


def _arguments(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {"input": given}


def as_told(result: Any) -> Any:
    """Return the result of a `TellingTool` for its caller: for a model as `as_read` converts it, for code unchanged."""
    return as_read(result) if _FOR_MODEL.get() else result


def as_read(result: Any, tool: BaseTool | None = None) -> Any:
    """Return what a model reads of a tool's result; what LangChain itself writes as JSON or messages is unchanged.

    For everything else, LangChain would use the ``repr``.

    Args:
        result: What the tool's function returned: pydantic models and dataclasses become JSON, bytes a description.
        tool: The tool, if it may return an artifact next to the content for the model.
    """
    if tool is not None and tool.response_format == "content_and_artifact":
        # Anything but a pair is an error of the tool, which LangChain reports.
        return (as_read(result[0]), result[1]) if isinstance(result, tuple) and len(result) == 2 else result
    if isinstance(result, str):
        return fitted(result)
    if isinstance(result, int | float | None | ToolOutputMixin):
        return result
    if isinstance(result, list) and any(isinstance(one, ToolOutputMixin) for one in result):
        return result
    if isinstance(result, bytes | bytearray | memoryview):
        return _described(result)
    if isinstance(result, list) and result and all(isinstance(one, dict) and "type" in one for one in result):
        return fitted_blocks(result)
    try:
        written = json.dumps(result, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        told = _json(result)
        return fitted(told) if isinstance(told, str) else told
    said = fitted(written)
    return result if said is written else said


def _json(result: Any) -> Any:
    from pydantic_core import to_jsonable_python

    try:
        plain = to_jsonable_python(_without_bytes(result), bytes_mode="base64", fallback=str)
    except Exception:  # noqa: BLE001 - it runs code of the result's own class
        # It refers to itself, or its serializer fails: fall back to ``repr``, as LangChain does.
        return _represented(result)
    # A value that serializes to a string, such as a date or a table, needs no quotes.
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _represented(result: Any) -> str:
    try:
        return repr(result)
    except Exception as error:
        raise ToolFailed(
            f"the tool did its work, but what it returned cannot be written as text ({type(error).__name__})"
        ) from error


def _without_bytes(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return _described(value)
    if isinstance(value, Mapping):
        return {key: _without_bytes(one) for key, one in value.items()}
    # Exact types only: a named tuple has a different constructor.
    if type(value) in (list, tuple, set, frozenset):
        return [_without_bytes(one) for one in value]
    return value


def _described(data: bytes | bytearray | memoryview) -> str:
    return f"({len(bytes(data)):,} bytes of binary data, not shown)"
