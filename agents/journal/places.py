"""Where in a run an act belongs, and what an earlier part of the run recorded about it."""

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
        journal: The journal of the run.
        name: Its name, the same when this part of the run is repeated.
        before: The record of the act by an earlier part; None if none began it.
    """

    journal: Journal
    name: str
    before: EffectRow | None

    @property
    def settled(self) -> bool:
        """Whether it is known how the act ended."""
        return self.before is not None and self.before.outcome in ("done", "failed")


BEGUN: Final = "it may have been done already, before the run was cut off"
"""What a person is told about an act if it is unknown whether it happened."""
_HERE: ContextVar[Place | None] = ContextVar("pointsman_place", default=None)


def here() -> Place | None:
    """Return the place of the call that is being made; None if the run cannot be resumed."""
    return _HERE.get()


def at_place(place: Place | None) -> AbstractContextManager[None]:
    """Declare that the call made inside the block belongs to a place."""
    return set_to(_HERE, place)


def place_of(tool: BaseTool, arguments: Mapping[str, Any]) -> Place | None:
    """Return the place of a call that is about to be made; call this once per call.

    Args:
        tool: The tool.
        arguments: The arguments of the call.
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
    """Return what to say about this act from a part of the run that was cut off; empty if it may simply be made.

    Args:
        tool: The tool.
    """
    place = _HERE.get()
    if place is None or place.before is None or place.before.outcome:
        return ""
    # Its author declares that doing it twice has the same effect.
    if getattr(declaration_of(tool), "idempotent", False):
        return ""
    return BEGUN


def said_done(answer: ToolMessage) -> None:
    """Record that the act of this place was done, as a person says, with its result.

    Args:
        answer: The result, as they state it.

    Raises:
        ConfigError: It cannot be written.
    """
    place = _HERE.get()
    if place is not None:
        settle(place, result_text(answer))


def settle(place: Place, result: str | None) -> None:
    """Record that the act of a place was done, as a person says, and return once that is on disk.

    Args:
        place: The place.
        result: The result as they state it, in the form that is stored; None stores none.

    Raises:
        ConfigError: It cannot be written.
    """
    if place.before is None:
        return
    act = replace(place.before, outcome="done", place=place.name, token=place.journal.token)
    if act.run != place.journal.run:
        # The act belongs to the run that this one was copied from, which must not change.
        act = replace(act, id=new_id(), run=place.journal.run)
    place.journal.settle(act, kept_name(act.id), result)


def intent_of(tool: BaseTool, name: str, arguments: Mapping[str, Any], place: Place | None) -> EffectRow:
    """Return the row of a call that is about to be made, without an outcome.

    Args:
        tool: Its tool.
        name: The tool's name in the call.
        arguments: What it is called with.
        place: Where it belongs; None if the run cannot be resumed.
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
    """Identify an act by a digest of tool, schema and arguments, made by `hashed`.

    Args:
        tool: The tool.
        arguments: The arguments.
    """
    return hashed(tool.name, _schema(tool), arguments)


_schemas: WeakKeyDictionary[type, str] = WeakKeyDictionary()


def _schema(tool: BaseTool) -> str:
    """Return the digest of the tool's argument schema."""
    schema = tool.tool_call_schema
    if isinstance(schema, dict):
        return _hash(schema)
    known = _schemas.get(schema)
    if known is None:
        known = _schemas[schema] = _hash(json_schema(tool))
    return known


def _hash(schema: object) -> str:
    return hashlib.sha256(json.dumps(schema, sort_keys=True, default=repr).encode()).hexdigest()
