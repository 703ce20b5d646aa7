"""The answers of a person: stored before the graph is given them, and given again if that was cut off."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..agents.approval.answers import GIVEN, answers_by_id, in_words, is_dated, pending_of
from ..agents.handoffs import note_answers
from ..agents.runs import Taken
from ..agents.runtime import Runtime
from ..configs.errors import ConfigError
from ..configs.process.ids import new_id
from ..dispatch.journal import ANSWERS
from ..ledger.points import Point, reached
from .checkpoints import checkpoints

if TYPE_CHECKING:
    from langgraph.types import Command, Interrupt

__all__ = ["answered"]


async def answered(
    found: Taken, given: object, stops: Callable[[], Awaitable[Sequence[Interrupt]]], runtime: Runtime
) -> Command[Any] | None:
    """Return what to continue with after a person has answered, now or before the run was cut off; None if none has.

    What they answer now is stored first, so that it survives the end of this process.

    Args:
        found: The run that is resumed.
        given: Answers as `Workflow.aresume` takes them; None or an empty mapping if none are given.
        stops: Returns what the run waits for.
        runtime: What it runs on.

    Raises:
        ConfigError: An answer is not understood, or cannot be stored.
    """
    from langgraph.types import Command

    anew = given is not None and given != {}
    if not anew and not found.journal.has(ANSWERS):
        return None
    waiting = await stops()
    answers = await _before(found, waiting, runtime)
    if anew:
        answers |= await _noted(found, given, waiting, runtime)
    return Command(resume=answers) if answers else None


async def _noted(found: Taken, given: object, stops: Sequence[Interrupt], runtime: Runtime) -> dict[str, Any]:
    """Store the answers, and return them by the ids of what they answer."""
    if not stops:
        run = found.row.id
        raise ConfigError(
            f"run {run} waits for no answer, which may have been given already, so nothing was done: "
            f"pointsman runs show {run} tells what was answered"
        )
    answers = answers_by_id(given, [(stop.id, stop.value) for stop in stops])
    acts = [pending_of(stop) for stop in stops if stop.id in answers]
    said = [(act, in_words(act, answers[act.id])) for act in acts]
    await asyncio.to_thread(note_answers, runtime, found.row.id, said)
    for stop in stops:
        if stop.id in answers:
            if is_dated(stop.value):
                answers[stop.id] = {**answers[stop.id], GIVEN: new_id()}
            if (text := _as_json(answers[stop.id])) is not None:
                found.journal.keep(_name(stop), text)
    await asyncio.to_thread(runtime.ledger.flush)
    reached(Point.ANSWER)
    return answers


async def _before(found: Taken, stops: Sequence[Interrupt], runtime: Runtime) -> dict[str, Any]:
    """Return the answers that a person gave to an earlier part, which was cut off before it acted on them."""
    async with checkpoints(runtime.settings.state, ()) as saver:
        # A task would take a second answer as one to its next question (`langgraph.pregel._algo._scratchpad`).
        has_answer = await saver.araised(found.row.id)
    names = {stop.id: _name(stop) for stop in stops if stop.id not in has_answer}
    texts = {stop: await found.journal.get(name) for stop, name in names.items()}
    return {stop: json.loads(text) for stop, text in texts.items() if text is not None}


def _name(stop: Interrupt) -> str:
    """Return the name under which an answer to a question is stored.

    It covers the whole question, so that a Pointsman question that is asked again is not answered by the answer to the
    previous one: it has another date. Questions of the user's code may look the same, but each that a task asks has its
    own id (`langgraph.types._interrupt_id`).
    """
    said = json.dumps([stop.id, stop.value], sort_keys=True, default=repr)
    return ANSWERS + hashlib.sha256(said.encode()).hexdigest()


def _as_json(answer: Any) -> str | None:
    """Return an answer as JSON; None if that would not round-trip to the same value."""
    try:
        text = json.dumps(answer)
    except (TypeError, ValueError):
        return None
    return text if json.loads(text) == answer else None
