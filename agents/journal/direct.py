"""`DirectCalls`: the journal around tools that the user's nodes call outside any agent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from langgraph.errors import GraphBubbleUp
from langgraph.types import interrupt

from ...configs.errors import PointsmanError
from ...configs.words import Effect, Risk
from ...dispatch.context import current
from ...ledger.ledger import Ledger
from ...ledger.rows import EffectRow
from ...tools.around import surrounded
from ...tools.facts import call_facts
from ..approval.acts import acts
from ..approval.answers import OURS, answer_form, decided
from .places import BEGUN, Place, act_digest, at_place, begun_before, intent_of, place_of, settle
from .results import kept_name

if TYPE_CHECKING:
    from langchain.agents.middleware.human_in_the_loop import HITLRequest
    from langchain_core.tools import BaseTool

__all__ = ["DirectCalls"]


class _Answer(NamedTuple):
    """The value that is returned instead of making a call."""

    value: Any


class DirectCalls:
    """Journal each call that does more than read; results from an earlier part of the run are returned again.

    If it is unknown whether a call happened, a person is asked as they are about an agent's act: they have it made
    again, refuse it, or say that it was done and what it returned.

    Args:
        ledger: Stores the intents.
        risks: The risk of a call with each effect.
    """

    def __init__(self, ledger: Ledger, risks: Mapping[Effect, Risk]) -> None:
        self._ledger = ledger
        self._risks = risks

    def run(self, tool: BaseTool, arguments: Mapping[str, Any], call: Callable[[], Any]) -> Any:
        """Make the call, or return its earlier result."""
        place = _placed(tool, arguments)
        if place is None:
            return call()
        if place.settled:
            self._passed(tool, arguments, place)
            return _given_again(tool, place, place.journal.read(_name(place)))
        with at_place(place), surrounded(None):
            answer = self._answer(tool, arguments, place)
            if answer is not None:
                return answer.value
            row = intent_of(tool, tool.name, arguments, place)
            place.journal.catch_up()
            self._ledger.commit(row)
            with self._under_way(row, place):
                value = call()
            with suppress(PointsmanError):
                self._told(row, place, value).result()
            return value

    async def arun(self, tool: BaseTool, arguments: Mapping[str, Any], call: Callable[[], Awaitable[Any]]) -> Any:
        """Make the call, or return its earlier result."""
        place = _placed(tool, arguments)
        if place is None:
            return await call()
        if place.settled:
            self._passed(tool, arguments, place)
            return _given_again(tool, place, await place.journal.get(_name(place)))
        with at_place(place), surrounded(None):
            answer = self._answer(tool, arguments, place)
            if answer is not None:
                return answer.value
            row = intent_of(tool, tool.name, arguments, place)
            await place.journal.caught_up()
            await self._ledger.committed(row)
            with self._under_way(row, place):
                value = await call()
            with suppress(PointsmanError):
                await asyncio.wrap_future(self._told(row, place, value))
            return value

    def _passed(self, tool: BaseTool, arguments: Mapping[str, Any], place: Place) -> None:
        """Skip the answers about a settled act, so that the node's next question gets its own answer."""
        request = self._request(tool, arguments)
        for _ in range(place.journal.answered(place.name)):
            interrupt(request)

    def _answer(self, tool: BaseTool, arguments: Mapping[str, Any], place: Place) -> _Answer | None:
        """Return what a person answered instead of the call; None if the call is to be made."""
        if not begun_before(tool):
            return None
        request = self._request(tool, arguments)
        # An answer holds for one call: if that is cut off too, its outcome is unknown as well.
        for _ in range(max(1, place.journal.unknown[place.name])):
            decision: Any = decided(interrupt(request), request)
            if decision["type"] == "respond":
                value = _as_returned(tool, decision["message"])
                settle(place, json.dumps(value))
                return _Answer(value)
            if decision["type"] == "reject":
                why = f": {decision['message']}" if decision.get("message") else ""
                return _Answer(f"{tool.name} was not called again{why}")
        return None

    def _request(self, tool: BaseTool, arguments: Mapping[str, Any]) -> HITLRequest:
        """Return what a person is asked about a call that may have been made, in LangChain's form."""
        step, effect = current(), call_facts(tool, arguments).effect or Effect.DESTRUCTIVE
        allowed = ["approve", "reject", "respond"]
        reason = f"{tool.name} is {effect} with these arguments; {BEGUN}"
        form = f"{answer_form(tool.name, allowed)}; respond says that it was done, and its result"
        asked: Any = {
            "action_requests": [
                {"name": tool.name, "args": dict(arguments), "description": f"{reason}\n{form}"},
            ],
            "review_configs": [{"action_name": tool.name, "allowed_decisions": allowed}],
            OURS: {
                "digest": act_digest(tool, arguments),
                "reason": reason,
                "effect": effect.value,
                "risk": self._risks[effect].value,
                "origin": {"run": step.run.id},
                "always": False,
                "begun": True,
            },
        }
        request: HITLRequest = asked
        return request

    def _told(self, row: EffectRow, place: Place, value: Any) -> Any:
        """Record that the call is done; return a future that completes once the record is durable."""
        with suppress(TypeError, ValueError):
            place.journal.keep(kept_name(row.id), json.dumps(value))
        place.journal.acts[place.name] = ended = replace(row, outcome="done")
        self._ledger.record(ended)
        return self._ledger.soon()

    @contextmanager
    def _under_way(self, row: EffectRow, place: Place) -> Iterator[None]:
        """Record whether a call that does not finish in the block waits for a person or has an unknown outcome."""
        try:
            yield
        except GraphBubbleUp:
            with suppress(PointsmanError):
                self._ledger.record(replace(row, outcome="waits for an answer"))
            raise
        except BaseException:
            # Another attempt at the node in this part of the run must ask about it, too.
            place.journal.doubt(row)
            raise


def _placed(tool: BaseTool, arguments: Mapping[str, Any]) -> Place | None:
    return place_of(tool, arguments) if acts(tool, arguments) else None


def _name(place: Place) -> str:
    return "" if place.before is None else kept_name(place.before.id)


def _given_again(tool: BaseTool, place: Place, text: str | None) -> Any:
    if text is None:
        raise PointsmanError(
            f"{tool.name} was done before run {place.journal.run} was cut off, and what it returned could not be kept: "
            "have it return JSON values, and start the run again from there with: pointsman runs fork"
        )
    return json.loads(text)


def _as_returned(tool: BaseTool, message: str) -> Any:
    """Return what a person says a tool returned, typed as its function's result: the text, or its value as JSON."""
    function = getattr(tool, "func", None) or getattr(tool, "coroutine", None)
    try:
        kind = get_type_hints(function).get("return", str) if function is not None else str
    except (NameError, TypeError):
        kind = str
    if kind is str:
        return message
    try:
        return json.loads(message)
    except ValueError:
        return message
