"""The answers of a person: written down before the graph is given them, and given again where that was cut off."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..agents.approval.answers import GIVEN, OURS, answers_by_id, in_words, pending_of
from ..agents.handoffs import note_answers
from ..agents.runs import Taken
from ..agents.runtime import Runtime
from ..configs.ids import new_id
from ..dispatch.journal import ANSWERS
from ..ledger.points import Point, reached

if TYPE_CHECKING:
    from langgraph.types import Command, Interrupt

__all__ = ["answered"]


async def answered(
    found: Taken, given: object, stops: Callable[[], Awaitable[Sequence[Interrupt]]], runtime: Runtime
) -> Command[Any] | None:
    """What to go on with after a person has answered, now or before the run was cut off; None where none has.

    What they answer now is written down first, so that it outlives the end of this process.

    Args:
        found: The run that is taken up.
        given: Answers as `Workflow.aresume` takes them; None or an empty mapping where none are given.
        stops: Gives what the run waits for.
        runtime: What it runs on.

    Raises:
        ConfigError: An answer is not understood, or cannot be written down.
    """
    from langgraph.types import Command

    anew = given is not None and given != {}
    if not anew and not found.journal.has(ANSWERS):
        return None
    waiting = await stops()
    answers = await _before(found, waiting)
    if anew:
        answers |= await _noted(found, given, waiting, runtime)
    return Command(resume=answers) if answers else None


async def _noted(found: Taken, given: object, stops: Sequence[Interrupt], runtime: Runtime) -> dict[str, Any]:
    """The answers by the ids of what they answer, once they are written down."""
    answers = answers_by_id(given, [(stop.id, stop.value) for stop in stops])
    acts = [pending_of(stop) for stop in stops if stop.id in answers]
    said = [(act, in_words(act, answers[act.id])) for act in acts]
    await asyncio.to_thread(note_answers, runtime, found.row.id, said)
    for stop in stops:
        if stop.id in answers and (name := _name(stop)) is not None:
            answers[stop.id] = {**answers[stop.id], GIVEN: new_id()}
            found.journal.keep(name, json.dumps(answers[stop.id]))
    await asyncio.to_thread(runtime.ledger.flush)
    reached(Point.ANSWER)
    return answers


async def _before(found: Taken, stops: Sequence[Interrupt]) -> dict[str, Any]:
    """The answers that a person gave to an earlier part, which was cut off before it had done what they say."""
    names = {stop.id: name for stop in stops if (name := _name(stop)) is not None}
    texts = {stop: await found.journal.get(name) for stop, name in names.items()}
    return {stop: json.loads(text) for stop, text in texts.items() if text is not None}


def _name(stop: Interrupt) -> str | None:
    """What an answer to a question is kept under; None for a question that is not one of ours.

    All of the question counts, so that one that is asked again is not answered by what was said to the one before: it
    has another date. Questions of the user's own may look the same.
    """
    if not isinstance(stop.value, Mapping) or "asked" not in (stop.value.get(OURS) or ()):
        return None
    said = json.dumps([stop.id, stop.value], sort_keys=True, default=repr)
    return ANSWERS + hashlib.sha256(said.encode()).hexdigest()
