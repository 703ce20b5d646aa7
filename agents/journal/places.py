"""Where in a run an act belongs, and what an earlier part of the run says of it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from ...configs.process.ids import new_id
from ...configs.process.variables import set_to
from ...dispatch.context import current
from ...ledger.rows import EffectRow
from ...tools.base import declaration_of
from ...tools.facts import call_facts, json_schema
from ..approval.digests import digests, hashed
from .results import kept_name, result_text

if TYPE_CHECKING:
    from langchain_core.messages import ToolMessage
    from langchain_core.tools import BaseTool

    from ...dispatch.journal import Journal

__all__ = [
    "BEGUN",
    "Place",
    "act_digest",
    "at_place",
    "begun_before",
    "here",
    "intent_of",
    "place_of",
    "said_done",
    "settle",
]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an act belongs.

    Attributes:
        journal: What the run keeps.
        name: The same when this part of the run is done again.
        before: What an earlier part has of the act; None where none began it.
    """

    journal: Journal
    name: str
    before: EffectRow | None

    @property
    def settled(self) -> bool:
        """Whether it is known how the act ended."""
        return self.before is not None and self.before.outcome in ("done", "failed")


BEGUN: Final = "it may have been done already, before the run was cut off"
"""What a person is told of an act of which nobody knows whether it happened."""
_HERE: ContextVar[Place | None] = ContextVar("pointsman_place", default=None)


def here() -> Place | None:
    """The place of the call that is being made; None where the run cannot be taken up."""
    return _HERE.get()


def at_place(place: Place | None) -> AbstractContextManager[None]:
    """Say that the call made inside the block belongs to a place."""
    return set_to(_HERE, place)


def place_of(tool: BaseTool, arguments: Mapping[str, Any]) -> Place | None:
    """The place of a call that is about to be made; to be asked once for each.

    Args:
        tool: The tool.
        arguments: As they are asked for.
    """
    journal = current().run.journal
    name = None if journal is None else journal.act(act_digest(tool, arguments))
    if journal is None or name is None:
        return None
    before = journal.acts.get(name)
    if before is None and journal.unplaced:
        named = ((current().step, digest) for digest in digests(tool.name, arguments))
        before = next((journal.unplaced[one] for one in named if one in journal.unplaced), None)
    return Place(journal, name, before)


def begun_before(tool: object) -> str:
    """What is to be told of this act from a part of the run that was cut off; empty where it may simply be made.

    Args:
        tool: The tool.
    """
    place = _HERE.get()
    if place is None or place.before is None or place.before.outcome:
        return ""
    # Doing it twice comes to the same, says its author.
    if getattr(declaration_of(tool), "idempotent", False):
        return ""
    return BEGUN


def said_done(answer: ToolMessage) -> None:
    """Keep that the act of this place was done, as a person says, with what came of it.

    Args:
        answer: What they say came of it.

    Raises:
        ConfigError: It cannot be written.
    """
    place = _HERE.get()
    if place is not None:
        settle(place, result_text(answer))


def settle(place: Place, result: str | None) -> None:
    """Keep that the act of a place was done, as a person says, and return once that is on the disk.

    Args:
        place: The place.
        result: What they say came of it, as it is kept; None keeps none.

    Raises:
        ConfigError: It cannot be written.
    """
    if place.before is None:
        return
    act = replace(place.before, outcome="done", place=place.name, token=place.journal.token)
    if act.run != place.journal.run:
        # Of the run that this one was copied from, which is told nothing.
        act = replace(act, id=new_id(), run=place.journal.run)
    place.journal.settle(act, kept_name(act.id), result)


def intent_of(tool: BaseTool, name: str, arguments: Mapping[str, Any], place: Place | None) -> EffectRow:
    """The row of a call that is about to be made, without an outcome.

    Args:
        tool: Its tool.
        name: What the call names that by.
        arguments: What it is called with.
        place: Where it belongs; None where the run cannot be taken up.
    """
    step, effect = current(), call_facts(tool, arguments).effect
    return EffectRow(
        id=new_id(),
        run=step.run.id,
        step=step.step,
        agent=step.agent,
        tool=name,
        effect="" if effect is None else effect.value,
        digest=act_digest(tool, arguments),
        at=time.time(),
        place=None if place is None else place.name,
        token=None if place is None else place.journal.token,
    )


def act_digest(tool: BaseTool, arguments: Mapping[str, Any]) -> str:
    """Tell an act from others: a digest of tool, schema and arguments, as `hashed` makes it.

    Args:
        tool: The tool.
        arguments: The arguments.
    """
    return hashed(tool.name, _schema(tool), arguments)


_schemas: WeakKeyDictionary[type, str] = WeakKeyDictionary()


def _schema(tool: BaseTool) -> str:
    """The digest of what the tool takes."""
    schema = tool.tool_call_schema
    if isinstance(schema, dict):
        return _hash(schema)
    known = _schemas.get(schema)
    if known is None:
        known = _schemas[schema] = _hash(json_schema(tool))
    return known


def _hash(schema: object) -> str:
    return hashlib.sha256(json.dumps(schema, sort_keys=True, default=repr).encode()).hexdigest()
