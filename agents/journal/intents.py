"""Intents: no call that does more than read is made before the ledger has recorded it on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import ToolMessage
from langgraph.errors import GraphBubbleUp

from ...configs.errors import ConfigError, PointsmanError
from ...ledger.points import Point, reached
from ...ledger.rows import EffectRow
from ...ledger.storage.fences import Fenced
from ...tools.around import surrounded
from ...tools.base import declaration_of
from ...tools.facts import call_facts
from ...tools.threads import in_thread
from ..approval.acts import acting, acts
from ..around import AsyncToolHandler, ToolAnswer, ToolHandler
from .places import Place, at_place, here, intent_of, place_of
from .results import kept_name, result_of, result_text

if TYPE_CHECKING:
    from langchain.agents.middleware import ToolCallRequest

    from ...ledger.ledger import Ledger

__all__ = ["GRACE_SECONDS", "IntentMiddleware", "RecallMiddleware"]

GRACE_SECONDS: Final = 5.0
"""Seconds that a running act is given to finish when its run is interrupted, so that its outcome is known."""


class RecallMiddleware(AgentMiddleware[Any, Any]):
    """Give the model the result of an act that an earlier part of the run has done, instead of repeating the act."""

    def wrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> ToolAnswer:
        """Look the act up, then make the call."""
        place = _placed(request)
        if place is not None and place.settled and place.before is not None:
            text = place.journal.read(kept_name(place.before.id))
            return result_of(text, request.tool_call, failed=place.before.outcome == "failed")
        with at_place(place):
            return handler(request)

    async def awrap_tool_call(self, request: ToolCallRequest, handler: AsyncToolHandler) -> ToolAnswer:
        """Look the act up, then make the call."""
        await _judged(request)
        place = _placed(request)
        if place is not None and place.settled and place.before is not None:
            text = await place.journal.get(kept_name(place.before.id))
            return result_of(text, request.tool_call, failed=place.before.outcome == "failed")
        with at_place(place):
            return await handler(request)


class IntentMiddleware(AgentMiddleware[Any, Any]):
    """Commit a row before each call that does more than read: which tool and effect, and a digest of the arguments.

    A call whose row cannot be written is not made, and the step ends with the error. Its outcome and result are
    written before the model sees them.

    Args:
        ledger: Returns the ledger, which is opened on first use.
    """

    def __init__(self, ledger: Callable[[], Ledger]) -> None:
        super().__init__()
        self._ledger = ledger

    def wrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> ToolAnswer:
        """Record the intent, then make the call."""
        row = _intent(request)
        if row is None:
            return handler(request)
        if (place := here()) is not None:
            place.journal.catch_up()
        with _recorded(row):
            self._ledger().commit(row)
        try:
            with surrounded(None):
                answer = handler(request)
        except GraphBubbleUp:
            self._waits(row)
            raise
        reached(Point.OUTCOME)
        # The act has happened: an error now would cause it to be repeated.
        with suppress(PointsmanError):
            self._told(row, answer).result()
        reached(Point.CHECKPOINT)
        return answer

    async def awrap_tool_call(self, request: ToolCallRequest, handler: AsyncToolHandler) -> ToolAnswer:
        """Record the intent, then make the call."""
        row = _intent(request)
        if row is None:
            return await handler(request)
        # What led to the call is paid for, and so is a verifier's answer.
        if (place := here()) is not None:
            await place.journal.caught_up()
        with _recorded(row):
            await self._ledger().committed(row)
        with surrounded(None):
            making = asyncio.ensure_future(handler(request))
        try:
            answer = await asyncio.shield(making)
        except GraphBubbleUp:
            self._waits(row)
            raise
        except asyncio.CancelledError:
            await self._broken_off(row, making)
            raise
        reached(Point.OUTCOME)
        with suppress(PointsmanError):
            await asyncio.wrap_future(self._told(row, answer))
        reached(Point.CHECKPOINT)
        return answer

    async def _broken_off(self, row: EffectRow, making: asyncio.Future[ToolAnswer]) -> None:
        """Let a running act finish and record its outcome; after `GRACE_SECONDS` its outcome stays unknown."""
        done, _ = await asyncio.wait([making], timeout=GRACE_SECONDS)
        if not done:
            making.cancel()
        elif not making.cancelled() and making.exception() is None:
            with suppress(PointsmanError):
                self._told(row, making.result())

    def _told(self, row: EffectRow, answer: ToolAnswer) -> Any:
        """Record the outcome of an act; an act without an outcome may have happened.

        Returns:
            A future that completes once the record is durable.
        """
        failed = isinstance(answer, ToolMessage) and answer.status == "error"
        place, ended = here(), replace(row, outcome="failed" if failed else "done")
        if place is not None:
            text = result_text(answer)
            if text is not None:
                place.journal.keep(kept_name(row.id), text)
            place.journal.acts[place.name] = ended
        self._ledger().record(ended)
        return self._ledger().soon()

    def _waits(self, row: EffectRow) -> None:
        """Record that nothing happened yet: the tool itself asks a person, and restarts when it is answered."""
        with suppress(PointsmanError):
            self._ledger().record(replace(row, outcome="waits for an answer"))


@contextmanager
def _recorded(row: EffectRow) -> Iterator[None]:
    """Run the block that records an intent; if that fails, no call is made."""
    reached(Point.INTENT)
    try:
        yield
    except Fenced:
        raise
    except PointsmanError as error:
        raise ConfigError(f"{row.tool} was not called, since the ledger cannot record that it is: {error}") from error
    reached(Point.ACT)


async def _judged(request: ToolCallRequest) -> None:
    """Judge a call in a thread first if its tool judges its own risk, since parsing a long command takes time."""
    declared = None if request.tool is None else declaration_of(request.tool)
    if declared is not None and declared.risk_of is not None:
        await in_thread(call_facts, request.tool, request.tool_call["args"])


def _placed(request: ToolCallRequest) -> Place | None:
    call = request.tool_call
    if request.tool is None or not acting(call_facts(request.tool, call["args"]).effect):
        return None
    return place_of(request.tool, call["args"])


def _intent(request: ToolCallRequest) -> EffectRow | None:
    call, tool = request.tool_call, request.tool
    if tool is None or not acts(tool, call["args"]):
        return None
    return intent_of(tool, call["name"], call["args"], here())
