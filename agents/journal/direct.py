"""`DirectCalls`: the journal around tools that nodes of the user's own call outside any agent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langgraph.errors import GraphBubbleUp
from langgraph.types import interrupt

from ...configs.errors import PointsmanError
from ...configs.process.ids import new_id
from ...dispatch.context import current
from ...ledger.ledger import Ledger
from ...ledger.rows import EffectRow
from ...tools.around import surrounded
from ...tools.base import declaration_of
from ...tools.facts import call_facts
from ..approval.acts import acting
from .places import Place, act_digest, at_place, begun_before, place_of
from .results import kept_name

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

__all__ = ["DirectCalls"]


class DirectCalls:
    """Journal each call that does more than read; what an earlier part of the run has done is given again.

    Where nobody knows whether it happened, a person is asked by an interrupt of LangGraph's: True has it done.

    Args:
        ledger: Keeps the intents.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def run(self, tool: BaseTool, arguments: Mapping[str, Any], call: Callable[[], Any]) -> Any:
        """Make the call, or give its result again."""
        place = _placed(tool, arguments)
        if place is None:
            return call()
        if place.settled:
            return _given_again(tool, place, place.journal.read(_name(place)))
        with at_place(place), surrounded(None):
            if not _wanted(tool, arguments, place):
                return f"{tool.name} was not called again"
            row = _intent(tool, arguments, place)
            place.journal.catch_up()
            self._ledger.commit(row)
            try:
                value = call()
            except GraphBubbleUp:
                self._waits(row)
                raise
            with suppress(PointsmanError):
                self._told(row, place, value).result()
            return value

    async def arun(self, tool: BaseTool, arguments: Mapping[str, Any], call: Callable[[], Awaitable[Any]]) -> Any:
        """Make the call, or give its result again."""
        place = _placed(tool, arguments)
        if place is None:
            return await call()
        if place.settled:
            return _given_again(tool, place, await place.journal.get(_name(place)))
        with at_place(place), surrounded(None):
            if not _wanted(tool, arguments, place):
                return f"{tool.name} was not called again"
            row = _intent(tool, arguments, place)
            await place.journal.caught_up()
            await self._ledger.committed(row)
            try:
                value = await call()
            except GraphBubbleUp:
                self._waits(row)
                raise
            with suppress(PointsmanError):
                await asyncio.wrap_future(self._told(row, place, value))
            return value

    def _told(self, row: EffectRow, place: Place, value: Any) -> Any:
        """Say that it is done; ends when that outlives the end of this process."""
        with suppress(TypeError, ValueError):
            place.journal.keep(kept_name(row.id), json.dumps(value))
        place.journal.acts[place.name] = ended = replace(row, outcome="done")
        self._ledger.record(ended)
        return self._ledger.soon()

    def _waits(self, row: EffectRow) -> None:
        with suppress(PointsmanError):
            self._ledger.record(replace(row, outcome="waits for an answer"))


def _placed(tool: BaseTool, arguments: Mapping[str, Any]) -> Place | None:
    declared = declaration_of(tool)
    if not acting(call_facts(tool, arguments).effect) or (declared is not None and declared.only_reads):
        return None
    return place_of(tool, arguments)


def _name(place: Place) -> str:
    return "" if place.before is None else kept_name(place.before.id)


def _given_again(tool: BaseTool, place: Place, text: str | None) -> Any:
    if text is None:
        raise PointsmanError(
            f"{tool.name} was done before run {place.journal.run} was cut off, and what it returned could not be kept: "
            "have it return JSON values, and start the run again from there with: pointsman runs fork"
        )
    return json.loads(text)


def _wanted(tool: BaseTool, arguments: Mapping[str, Any], place: Place) -> bool:
    said = begun_before(tool)
    if not said:
        return True
    question = f"call {tool.name} again? {said}"
    asked = {"question": question, "tool": tool.name, "arguments": dict(arguments)}
    # An answer holds for one call: where that is cut off, too, nobody knows of that either.
    return all(interrupt(asked) is True for _ in range(place.journal.unknown[place.name]))


def _intent(tool: BaseTool, arguments: Mapping[str, Any], place: Place) -> EffectRow:
    step, effect = current(), call_facts(tool, arguments).effect
    return EffectRow(
        id=new_id(),
        run=step.run.id,
        step=step.step,
        agent=step.agent,
        tool=tool.name,
        effect="" if effect is None else effect.value,
        digest=act_digest(tool, arguments),
        at=time.time(),
        place=place.name,
        token=place.journal.token,
    )
