"""`Requests`: converts requests to the form that a provider's batch API takes."""

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
"""Requests to process, at a millisecond each, before yielding to the event loop."""
_SHARE_OF_LIMIT: Final = 0.9
"""Share of a provider's size limit to use: parts are measured by their serialized requests, not the bytes sent."""


@dataclass(frozen=True, slots=True)
class _Letter:
    messages: Sequence[Any]
    options: dict[str, Any]
    worst: int


class Requests:
    """Decides where requests go, and converts them to the form that a model's batch API takes.

    Args:
        dispatcher: Decides, and knows the models.
        classes: Receives the class that validates each typed answer.
    """

    def __init__(self, dispatcher: Dispatcher, classes: AnswerClasses) -> None:
        self._dispatcher = dispatcher
        self._classes = classes

    async def decided(self, batch: str, place: int, ask: ModelRequest, step: StepContext) -> AskRow:
        """Decide which model gets one request.

        Args:
            batch: Id of its batch.
            place: Its place in the batch.
            ask: The request.
            step: The step it belongs to.

        Returns:
            Its row; if it can go into a batch, ``part`` holds the model's id for now.

        Raises:
            ConfigError: It cannot be serialized.
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
        # A provider's batch outlives the process that counts a run's tokens, so a run with token caps cannot use one.
        if step.run.tokens is not None or self._api(card) is None:
            return row
        letter = self._letter(ask, card, self.scopes(step))
        if letter is None:
            return row
        return replace(row, part=card.id, state="waiting", worst=letter.worst)

    def parted(self, batch: str, rows: Sequence[AskRow]) -> tuple[list[PartRow], list[AskRow]]:
        """Group requests for the same model and under the same caps into parts within the provider's limits.

        Args:
            batch: Id of their batch.
            rows: As `decided` returns them.
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
        """Return the chat model of a part, and its requests in the form the model takes.

        Args:
            part: The part.
            card: Its model.
            rows: The requests to send.

        Raises:
            ConfigError: The model no longer accepts one of them.
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
        """Return the scopes that a request of a step counts against, each with its cap in picodollars."""
        return scopes_of(step.run, self._dispatcher.policy.routing.budgets)

    def api(self, model: str) -> BatchApi:
        """Return the batch API of a model that had one when its batch was decided.

        Raises:
            ConfigError: It no longer has one.
        """
        api = self._api(self._dispatcher.cards[model])
        if api is None:
            raise ConfigError(f"{model} has no batch API any more: give its provider the backend it had")
        return api

    def _api(self, card: ModelCard) -> BatchApi | None:
        return registry.batches(self._dispatcher.clients.backend_name(card))

    def _letter(self, ask: ModelRequest, card: ModelCard, scopes: dict[str, int | None]) -> _Letter | None:
        """Convert a request to the form ``card`` takes, with limited output; return None if it cannot take it."""
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
    """Return the step that a request belongs to."""
    return step_of(json.loads(row.facts)["step"])
