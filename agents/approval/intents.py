"""Intents: nothing that does more than read is done before the ledger has it on the disk that it will be."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import ToolMessage

from ...configs.errors import ConfigError, PointsmanError
from ...configs.ids import new_id
from ...dispatch.context import current
from ...ledger.rows import EffectRow
from ...tools.facts import call_facts
from .acts import acting
from .answers import digest

if TYPE_CHECKING:
    from langchain.agents.middleware import ToolCallRequest
    from langgraph.types import Command

    from ...ledger.ledger import Ledger

__all__ = ["IntentMiddleware"]


class IntentMiddleware(AgentMiddleware[Any, Any]):
    """Commit a row before each call that does more than read: which tool and effect, and a digest of the arguments.

    A call whose row cannot be written is not made, and the step ends with the error.

    Args:
        ledger: Gives the ledger, which opens with its first use.
    """

    def __init__(self, ledger: Callable[[], Ledger]) -> None:
        super().__init__()
        self._ledger = ledger

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Write the intent down, then make the call."""
        row = _intent(request)
        if row is None:
            return handler(request)
        try:
            self._ledger().commit(row)
        except PointsmanError as error:
            raise _unrecorded(row, error) from error
        return self._told(row, handler(request))

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Write the intent down, then make the call."""
        row = _intent(request)
        if row is None:
            return await handler(request)
        try:
            await self._ledger().committed(row)
        except PointsmanError as error:
            raise _unrecorded(row, error) from error
        return self._told(row, await handler(request))

    def _told(self, row: EffectRow, answer: ToolMessage | Command[Any]) -> ToolMessage | Command[Any]:
        """Say what came of it; an act without an outcome may have happened."""
        failed = isinstance(answer, ToolMessage) and answer.status == "error"
        # It has happened: an error now would have it done again.
        with suppress(PointsmanError):
            self._ledger().record(replace(row, outcome="failed" if failed else "done"))
        return answer


def _intent(request: ToolCallRequest) -> EffectRow | None:
    call, step = request.tool_call, current()
    effect = None if request.tool is None else call_facts(request.tool, call["args"]).effect
    if effect is None or not acting(effect):
        return None
    return EffectRow(
        id=new_id(),
        run=step.run.id,
        step=step.step,
        agent=step.agent,
        tool=call["name"],
        effect=effect.value,
        digest=digest(call["name"], call["args"]),
        at=time.time(),
    )


def _unrecorded(row: EffectRow, error: PointsmanError) -> ConfigError:
    return ConfigError(f"{row.tool} was not called, since the ledger cannot record that it is: {error}")
