"""`Parts`: the life cycle of a part of a batch, from reserving its money to recording its answers."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ...backends.base import BackendError
from ...configs.catalog import ModelCard
from ...configs.errors import ConfigError
from ...configs.words import FailureKind
from ...ledger.batches import AskRow, BatchBook, Outcome, PartRow, owner_of
from ...tools.threads import in_thread
from ..errors import failure_of
from ..failures import FAILURES
from ..request import ModelRequest, one_line
from .answers import Judge
from .classes import AnswerClasses
from .requests import BREATH, Requests, step_in

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from ..dispatcher import Dispatcher

__all__ = ["Parts"]

_GROUP: Final = 200
"""Answers recorded in one transaction."""
_GIVE_UP_SECONDS: Final = 86_400.0
"""How long to keep trying a provider that accepts no more batches now: as long as a batch itself may take."""
_READ_SECONDS: Final = 3_600.0
"""How long reading a batch's answers may take, hundreds of megabytes at most; the rest is read the next time."""
_NOT_FOUND: Final = 404


class Parts:
    """Submits parts to their providers, checks their progress, and records their answers.

    Args:
        dispatcher: The dispatcher whose models, budgets and ledger are used.
        book: Stores each state of a part before the action that follows from it.
        requests: Converts requests to the form that is sent.
        classes: Validate the typed answers.
    """

    def __init__(self, dispatcher: Dispatcher, book: BatchBook, requests: Requests, classes: AnswerClasses) -> None:
        self._classes = classes
        self._dispatcher = dispatcher
        self._book = book
        self._requests = requests

    def begun(self, batch: str, parts: Sequence[PartRow], rows: Sequence[AskRow]) -> list[PartRow]:
        """Record a batch and reserve money for every part; if that fails, release all of it and drop the batch.

        Raises:
            BudgetExceeded: A cap leaves too little for the worst case of all parts.
        """
        self._book.add(batch, parts, rows)
        reserved: list[PartRow] = []
        try:
            for part in parts:
                reserved.append(self._reserved(part))  # noqa: PERF401 - those before a failure are needed
        except BaseException:
            self.dropped(batch, reserved)
            raise
        return reserved

    def dropped(self, batch: str, reserved: Iterable[PartRow]) -> None:
        """Delete a batch of which nothing was submitted, and release its money."""
        for part in reserved:
            self._release(part)
        self._book.drop(batch)

    async def advance(self, part: PartRow) -> None:
        """Do the next step of a part that can be done now.

        Raises:
            BackendError: The provider refuses the key.
            BudgetExceeded: The part was not submitted yet, and no longer fits under a cap.
        """
        if part.state == "planned":
            await self.hand_in(part if part.reservation else await in_thread(self._reserved, part))
        elif part.state == "sending":
            await self.hand_in(part)
        elif part.state == "sent":
            await self._look(part)

    async def hand_in(self, part: PartRow) -> None:
        """Submit a part, unless the provider already has it.

        Raises:
            BackendError: The provider refuses the key.
        """
        card, api = self._card(part), self._requests.api(part.model)
        waiting = await in_thread(self._book.asks, part.batch, part=part.id, state="waiting")
        model, requests = await self._requests.sendable(part, card, waiting)
        if not requests:
            # A process gave the part up, but ended before it recorded that.
            await in_thread(self._give_up, part, part.detail)
            return
        # Recorded before sending: a process that finds this state first looks for the part at the provider.
        sending = await in_thread(self._noted, part, state="sending", at=part.at or time.time())
        try:
            vendor = await api.submit(model, part.id, requests, since=part.at if part.state == "sending" else None)
        except Exception as error:
            failure = self._failure(card, error)
            said = one_line(failure)
            if part.state == "sending" or not FAILURES[failure.kind].refused:
                await in_thread(self._noted, sending, detail=said)
                if failure.kind is FailureKind.AUTH:
                    raise failure from error
            elif failure.kind is FailureKind.RATE_LIMIT and time.time() - sending.at < _GIVE_UP_SECONDS:
                await in_thread(self._noted, sending, state="planned", detail=said)
            else:
                await in_thread(self._give_up, sending, said)
        else:
            await in_thread(self._noted, sending, state="sent", vendor=vendor, detail="")

    async def _look(self, part: PartRow) -> None:
        """Check a part's progress, and record its answers once it is complete."""
        card, api = self._card(part), self._requests.api(part.model)
        asks = await in_thread(self._book.asks, part.batch, part=part.id, state="waiting")
        waiting = {row.place: row for row in asks}
        clients = self._dispatcher.clients
        await clients.ready(card)
        model, _ = clients.bound(ModelRequest(()), card)
        judge = Judge(self._dispatcher, self._classes, card, part)
        # Earlier work on the part may have recorded calls that are not in the file yet.
        await in_thread(self._dispatcher.ledger.flush)
        recorded = await in_thread(self._book.recorded, part.id)
        lost: BackendError | None = None
        detail = part.detail
        try:
            async with asyncio.timeout(_READ_SECONDS):
                state = await api.state(model, part.vendor or "")
            detail = state.detail
            if not state.over:
                await in_thread(self._noted, part, detail=detail)
                return
            group: list[tuple[AskRow, AIMessage | BackendError]] = []
            async with asyncio.timeout(_READ_SECONDS):
                async for name, outcome in api.collect(model, part.vendor or ""):
                    row = waiting.pop(_place(part, name), None)
                    if row is not None:
                        group.append((row, outcome))
                    if len(group) == _GROUP:
                        await self._take_in(judge, group, recorded)
                        group = []
            await self._take_in(judge, group, recorded)
        except Exception as error:
            failure = self._failure(card, error)
            if failure.status != _NOT_FOUND:
                await in_thread(self._noted, part, detail=one_line(failure))
                if failure.kind is FailureKind.AUTH:
                    raise failure from error
                return
            lost = BackendError(FailureKind.MALFORMED, f"the provider does not know the batch any more: {failure}")
        missing = lost or BackendError(FailureKind.TIMEOUT, f"not answered: the batch is {detail}")
        unanswered = [(row, missing) for row in waiting.values()]
        await self._take_in(judge, unanswered, recorded, billed=lost is not None or state.whole)
        if part.reservation is not None:
            await in_thread(self._settled, part, part.reservation)
        await in_thread(self._noted, part, state="given_up" if lost else "collected", detail=detail)

    async def _take_in(
        self,
        judge: Judge,
        answers: Sequence[tuple[AskRow, AIMessage | BackendError]],
        recorded: set[int],
        *,
        billed: bool = False,
    ) -> None:
        """Record missing calls, then the outcomes of their requests, so that each is recorded exactly once."""
        outcomes: list[Outcome] = []
        for row, answer in answers:
            outcomes.append(judge.outcome(row, answer, billed=billed, recorded=row.place in recorded))
            if len(outcomes) % BREATH == 0:
                await asyncio.sleep(0)
        await in_thread(self._dispatcher.ledger.flush)
        await in_thread(self._book.answer, judge.part.batch, outcomes)

    def _reserved(self, part: PartRow) -> PartRow:
        """Reserve the worst case of a part, for an owner that outlives this process."""
        scopes = self._requests.scopes(step_in(self._book.asks(part.batch, part=part.id)[0]))
        most = self._book.charge(part.id)
        if not scopes or not most:
            return part
        reservation = self._dispatcher.budgets.reserve(scopes, most, owner_of(part.batch), sent=True)
        return self._noted(part, reservation=reservation)

    def _settled(self, part: PartRow, reservation: str) -> None:
        self._dispatcher.budgets.settle(reservation, self._book.charge(part.id))

    def _release(self, part: PartRow) -> None:
        if part.reservation is not None:
            self._dispatcher.budgets.release(part.reservation)

    def _give_up(self, part: PartRow, said: str) -> None:
        """Give a part up, so that the requests the provider did not take are asked live."""
        rows = self._book.asks(part.batch, part=part.id, state="waiting")
        self._book.answer(part.batch, [Outcome(row.place, "live", row.ask, cost=0) for row in rows])
        self._release(part)
        self._noted(part, state="given_up", detail=said)

    def _noted(self, part: PartRow, **changes: Any) -> PartRow:
        changed = replace(part, **changes)
        self._book.update(changed)
        return changed

    def _card(self, part: PartRow) -> ModelCard:
        card = self._dispatcher.cards.get(part.model)
        if card is None:
            raise ConfigError(f"batch {part.batch} is for {part.model}: put that model back into models.yaml")
        return card

    def _failure(self, card: ModelCard, error: Exception) -> BackendError:
        # Errors of the book and of the user's configuration are not the provider's.
        if isinstance(error, sqlite3.Error | ConfigError):
            raise error
        return failure_of(self._dispatcher.clients.backend(card), error)


def _place(part: PartRow, name: str) -> int:
    label, _, place = name.rpartition("-")
    return int(place) if label == part.id and place.isascii() and place.isdigit() else -1
