"""`Requests`: an ask as the batch of a provider carries it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ...backends import registry
from ...backends.batch.base import BatchApi, BatchRequest
from ...configs.catalog import ModelCard
from ...configs.errors import ConfigError
from ...ledger.batches import AskRow, PartRow
from ..calls.prompt import brief
from ..context import StepContext, entered
from ..conversation.convert import portable
from ..guards.budget import bounded, scopes_of, uncapped
from ..request import ModelRequest, one_line
from .classes import AnswerClasses
from .codec import ask_of, ask_text, step_of, step_record

if TYPE_CHECKING:
    from ..dispatcher import Dispatcher

__all__ = ["BREATH", "Requests", "step_in"]

BREATH: Final = 20
"""Asks worked on, at a millisecond each, before others on the event loop have their turn."""
_SHARE_OF_LIMIT: Final = 0.9
"""Parts are measured by the asks as they are written down, which is not quite how they are sent."""


@dataclass(frozen=True, slots=True)
class _Letter:
    messages: Sequence[Any]
    options: dict[str, Any]
    worst: int


class Requests:
    """Decides where asks go, and puts them into the form that a model's batch takes.

    Args:
        dispatcher: Decides, and knows the models.
        classes: Told of the class that each typed answer is to be judged by.
    """

    def __init__(self, dispatcher: Dispatcher, classes: AnswerClasses) -> None:
        self._dispatcher = dispatcher
        self._classes = classes

    async def decided(self, batch: str, place: int, ask: ModelRequest, step: StepContext) -> AskRow:
        """Decide about one ask.

        Args:
            batch: The batch it is in.
            place: Its place there.
            ask: What is asked.
            step: The step it belongs to.

        Returns:
            Its row, whose ``part`` names the model for now, where it can go into a batch.

        Raises:
            ConfigError: It cannot be written down.
        """
        answer = self._classes.told(ask)
        with entered(step):
            chain = await self._dispatcher.chain(ask, step)
        decision = chain.decision
        facts = {
            "step": step_record(step),
            "decision": decision.request,
            "risk": decision.risk.value,
            "rules": [hit.id for hit in decision.rules],
            "candidates": decision.candidates,
            "avoid": [],
            "class": answer,
        }
        row = AskRow(batch, place, None, "live", uuid.uuid4().hex, json.dumps(facts), ask_text(ask))
        if decision.model is None:
            return replace(row, state="done", ask="", error=one_line(chain.error()))
        card = self._dispatcher.cards[decision.model]
        # A provider's batch outlives the process that counts the tokens of a run.
        if step.run.tokens is not None or self._api(card) is None:
            return row
        letter = self._letter(ask, card, self.scopes(step))
        if letter is None:
            return row
        return replace(row, part=card.id, state="waiting", worst=letter.worst)

    def parted(self, batch: str, rows: Sequence[AskRow]) -> tuple[list[PartRow], list[AskRow]]:
        """Put the asks that are for one model, and under the same caps, into parts that its provider takes.

        Args:
            batch: The batch they are in.
            rows: As `decided` gives them.
        """
        parts: list[PartRow] = []
        open_parts: dict[tuple[str, str], tuple[PartRow, int, int]] = {}
        placed: list[AskRow] = []
        for row in rows:
            if row.part is None:
                placed.append(row)
                continue
            api = self.api(row.part)
            key = row.part, json.dumps(self.scopes(step_in(row)), sort_keys=True)
            part, count, size = open_parts.get(key, (None, 0, 0))
            size += len(row.ask)
            if part is None or count == api.most_requests or size > api.most_bytes * _SHARE_OF_LIMIT:
                part, count, size = PartRow(uuid.uuid4().hex, batch, row.part), 0, len(row.ask)
                parts.append(part)
            open_parts[key] = part, count + 1, size
            placed.append(replace(row, part=part.id))
        return parts, placed

    async def sendable(self, part: PartRow, card: ModelCard, rows: Sequence[AskRow]) -> tuple[Any, list[BatchRequest]]:
        """Give the chat model of a part, and its asks in the form the model takes.

        Args:
            part: The part.
            card: Its model.
            rows: The asks that are to be sent.

        Raises:
            ConfigError: The model no longer takes one of them.
        """
        clients = self._dispatcher.clients
        await clients.ready(card)
        requests: list[BatchRequest] = []
        model: Any = None
        for row in rows:
            ask = ask_of(row.ask)
            letter = self._letter(ask, card, self.scopes(step_in(row)))
            if letter is None:
                raise ConfigError(f"batch {part.batch}: {card.id} no longer takes ask {row.place}")
            model, binding = clients.bound(ask, card)
            name = f"{part.id}-{row.place}"
            requests.append(BatchRequest(name, letter.messages, {**binding, **letter.options}))
            if len(requests) % BREATH == 0:
                await asyncio.sleep(0)
        return model, requests

    def scopes(self, step: StepContext) -> dict[str, int | None]:
        """What an ask of a step counts against, each with its cap in picodollars."""
        return scopes_of(step.run, self._dispatcher.policy.routing.budgets)

    def api(self, model: str) -> BatchApi:
        """The batch API of a model that had one when its batch was decided.

        Raises:
            ConfigError: It has none any more.
        """
        api = self._api(self._dispatcher.cards[model])
        if api is None:
            raise ConfigError(f"{model} has no batch API any more: give its provider the backend it had")
        return api

    def _api(self, card: ModelCard) -> BatchApi | None:
        return registry.batches(self._dispatcher.clients.backend_name(card))

    def _letter(self, ask: ModelRequest, card: ModelCard, scopes: dict[str, int | None]) -> _Letter | None:
        """An ask in the form ``card`` takes, held to the output that is reckoned with; None where it takes none."""
        clients = self._dispatcher.clients
        said = clients.said(ask, card)
        if said.unfit:
            return None
        messages, options = brief(ask, card, said)
        carried = portable(messages, to=clients.backend_name(card), card=card)
        if isinstance(carried, str):
            return None
        guards, backend = self._dispatcher.guards, clients.backend(card)
        if not scopes:
            return _Letter(carried, uncapped(ask, options, backend), 0)
        bound = bounded(guards.prices, card, ask, carried, options, backend=backend, settled=guards.settled(card))
        return _Letter(carried, bound.options, bound.most)


def step_in(row: AskRow) -> StepContext:
    """The step that an ask belongs to."""
    return step_of(json.loads(row.facts)["step"])
