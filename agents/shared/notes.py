"""What is recalled from an agent's memory before a step, and kept there after it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import BaseMessage, HumanMessage

from ...backends.base import BackendError
from ...configs.errors import ConfigError
from ...configs.evidence import parse_evidence, render_evidence
from ...configs.words import Trust
from ...dispatch.context import current, entered
from ...dispatch.request import one_line
from ...ledger.budgets.budgets import BudgetExceeded
from ..attachments import messages_of
from ..result import Recollection, Status, StepRecord
from ..runs import forked_from
from ..verification.verifier import as_text

if TYPE_CHECKING:
    from ...memory.base import Recalled
    from ...memory.store import ChromaStore
    from ..runtime import Runtime
    from ..spec.described import Described

__all__ = [
    "fitting",
    "items_in_view",
    "keep",
    "keep_or_tell",
    "least",
    "notes_for",
    "preceded",
    "unsaid",
    "with_notes",
    "with_recalled",
]

_ROOM: Final = 16_000
"""Letters of all that is recalled before a step, some four thousand tokens."""
_NOTES: Final = 4
_READ: Final = 20
"""Notes that are looked at for each question, of which some may say the same."""
_LEAST: Final = 0.3
"""Least score of a note. Measured on 2026-11-29 with the default embedder, on documents and conversations: a note with
this score or more was found for 99 % of 160 questions that they answer, and for 39 % of 220 that they do not."""

_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n+")
_ENDS: Final = 3
_LONGEST: Final = 300
"""Letters of a sentence that are looked up."""


async def notes_for(agent: Described, asked: str, *, step: str = "") -> list[Recalled]:
    """Return the notes of an agent's memory that bear on a step, best first.

    Args:
        agent: The agent; none are returned if it has no memory.
        asked: What the step is to do.
        step: Its id in the run; what it kept before it was interrupted and begun again is left out.
    """
    if agent.memory is None:
        return []
    recall = partial(agent.runtime.store.recall, agent.memory, limit=_READ, min_score=_LEAST)
    with entered(agent=agent.name, step=step or current().step or agent.name):
        each = await asyncio.gather(*(asyncio.to_thread(recall, question) for question in _questions(asked)))
    found = sorted(chain.from_iterable(each), key=_score, reverse=True)
    left_out = await asyncio.to_thread(_of_another_past, agent.runtime, current().run.id, step, found) if step else ()
    best: dict[str, Recalled] = {}
    for one in found:
        if one.id not in left_out:
            # Each run keeps its result under a key of its own, also one that says the same as another.
            best.setdefault(one.text, one)
    return list(fitting(list(best.values())[:_NOTES]))


def _of_another_past(runtime: Runtime, run: str, step: str, found: Sequence[Recalled]) -> set[str]:
    """Return the ids of notes on what a run has not done, or is about to do again.

    These are what the step itself kept before it was interrupted, and what the run that this one was forked from kept
    after the fork.

    Args:
        runtime: What the run runs on; this waits for its files.
        run: The run.
        step: The step that is about to begin.
        found: The notes.
    """
    by = {one.id: one.writers[-1] for one in found}
    past = set(_forked_from(runtime, run)) if any(writer.run not in ("", run) for writer in by.values()) else set()
    store = runtime.store
    # What was done before the fork was copied for it.
    undone = {
        key for key, to in by.items() if to.run in past and store.item(store.id_of(("runs", run), to.step)) is None
    }
    return undone | {key for key, to in by.items() if (to.run, to.step) == (run, step)}


def _forked_from(runtime: Runtime, run: str) -> Iterator[str]:
    """Yield the runs that a run was forked from, the nearest first."""
    while (row := runtime.ledger.run(run)) is not None and (run := forked_from(row)):
        yield run


def _questions(asked: str) -> list[str]:
    """Return what a memory is asked for a task: its sentences, of a long task the first ones and the last ones.

    A note that answers one of them has next to nothing in common with a long task as a whole.
    """
    parts = [part[:_LONGEST] for one in _SENTENCE.split(asked) if (part := one.strip())]
    ends = parts if len(parts) <= 2 * _ENDS else [*parts[:_ENDS], *parts[-_ENDS:]]
    whole = [asked] if len(ends) > 1 and len(asked) <= _LONGEST else []
    return list(dict.fromkeys([*whole, *ends]))


def _score(one: Recalled) -> float:
    return one.score or 0.0


def fitting(found: Iterable[Recalled], room: int = _ROOM) -> Iterator[Recalled]:
    """Yield what fits, in order. A text that does not fit is left out entirely: half of it may say something else.

    Args:
        found: What was recalled, best first.
        room: Letters in all.
    """
    for one in found:
        if len(one.text) <= room:
            room -= len(one.text)
            yield one


def least(found: Sequence[Recalled]) -> Trust | None:
    """Return the lowest trust of recalled items, which the risk of a step depends on; None if there are none."""
    return min((one.trust for one in found), default=None)


def with_recalled(record: StepRecord, found: Sequence[Recalled]) -> StepRecord:
    """Return the record of a step that had recalled items in view.

    Args:
        record: The record.
        found: The items.
    """
    told = tuple(Recollection(one.id, one.writers[-1].author, one.source, one.trust.value) for one in found)
    trust = min(Trust(record.trust), least(found) or Trust.USER)
    return replace(record, trust=trust.value, recalled=told)


def unsaid(found: Sequence[Recalled], earlier: Sequence[BaseMessage]) -> list[Recalled]:
    """Return the recalled items that do not stand in a conversation already, as they are now.

    Args:
        found: The items.
        earlier: The conversation.
    """
    told = [one for message in earlier if isinstance(message, HumanMessage) for one in parse_evidence(message.text)[0]]
    said = {(one.id, one.text, one.trust) for one in told}
    return [one for one in found if (one.id, one.text, one.trust) not in said]


def preceded(messages: Sequence[BaseMessage], found: Sequence[Recalled]) -> list[BaseMessage]:
    """Return a conversation with recalled items, as evidence, before its last message.

    Args:
        messages: The conversation.
        found: The items.
    """
    noted = [HumanMessage(render_evidence(found))] if found else []
    return [*messages[:-1], *noted, *messages[-1:]]


async def with_notes(agent: Described, input: Any) -> tuple[Any, Sequence[Recalled]]:
    """Return the input of the current step with the notes that bear on it, and these.

    Args:
        agent: Who does it.
        input: As `Agent.ainvoke` takes it.
    """
    if agent.memory is None:
        return input, ()
    said = messages_of(input)
    found = await notes_for(agent, parse_evidence(said[-1].text)[1], step=current().step)
    if not found:
        return input, ()
    told = preceded(said, found)
    return ({**input, "messages": told} if isinstance(input, Mapping) else told), found


async def keep_or_tell(agent: Described, record: StepRecord) -> tuple[StepRecord, tuple[str, ...]]:
    """Keep a result that would be lost with its run, which cannot be resumed, if the memory cannot be written.

    Args:
        agent: Who did it.
        record: Its record.

    Returns:
        The record as `keep` returns it, and what a reader of the run should know.
    """
    try:
        return await keep(agent, record), ()
    except (BackendError, BudgetExceeded, ConfigError) as error:
        return record, (f"the result is not kept in the memory {'/'.join(agent.memory or ())!r}: {one_line(error)}",)


async def keep(agent: Described, record: StepRecord, lineage: Sequence[str] = ()) -> StepRecord:
    """Keep the result of a step that is done in its agent's memory, if the agent remembers, and return the record.

    A step that is done again replaces its former result.

    Args:
        agent: Who did it.
        record: Its record.
        lineage: Ids of the items that its result was made from, besides those it had in view.
    """
    run, text = current().run.id, as_text(record.output)
    kept = agent.remember and record.status is Status.DONE and run and text.strip()
    if agent.memory is None or not kept:
        return record
    from ...memory.base import Provenance

    store, key = agent.runtime.store, f"{run}/{record.id}"
    seen = await asyncio.to_thread(items_in_view, store, record)
    provenance = Provenance(
        f"agent:{agent.name}",
        agent.name,
        run,
        Trust(record.trust),
        lineage=tuple(dict.fromkeys((*lineage, *seen))),
        model=record.model or "",
        step=record.id,
    )
    with entered(agent=agent.name, step=record.id):
        note = await asyncio.to_thread(store.remember, agent.memory, text, provenance=provenance, key=key)
    # A person may have had this text forgotten.
    return replace(record, remembered=note) if await asyncio.to_thread(store.item, note) else record


def items_in_view(store: ChromaStore, record: StepRecord) -> tuple[str, ...]:
    """Return the ids of the items of a memory that a step had in view, those it recalled by its tools among them.

    Args:
        store: The memory; this waits for it.
        record: The record of the step.
    """
    # Other evidence, such as the results of other steps, has ids of its own.
    read = [one for one in record.evidence if store.item(one) is not None]
    return tuple(dict.fromkeys((*(one.id for one in record.recalled), *read)))
