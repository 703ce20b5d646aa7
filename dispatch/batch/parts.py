"""`Parts`: the life of a part of a batch, from the money set aside for it to the answers taken in."""

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
"""Answers written down in one transaction."""
_GIVE_UP_SECONDS: Final = 86_400.0
"""How long a provider is asked again that takes no more batches now: as long as a batch itself may take."""
_READ_SECONDS: Final = 3_600.0
"""How long it may take to read a batch's answers, hundreds of megabytes at most; what is not read by then is left."""
_NOT_FOUND: Final = 404


class Parts:
    """Hands parts in at their providers, looks how far they are, and takes their answers in.

    Args:
        dispatcher: Whose models, budgets and ledger.
        book: Where each state of a part is written down before what follows from it.
        requests: Puts their asks into the form that is sent.
        classes: Judge the typed answers.
    """

    def __init__(self, dispatcher: Dispatcher, book: BatchBook, requests: Requests, classes: AnswerClasses) -> None:
        self._classes = classes
        self._dispatcher = dispatcher
        self._book = book
        self._requests = requests

    def begun(self, batch: str, parts: Sequence[PartRow], rows: Sequence[AskRow]) -> list[PartRow]:
        """Write a batch down and reserve for every part, or for none and forget the batch.

        Raises:
            BudgetExceeded: A cap leaves too little for the worst case of them all.
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
        """Forget a batch of which nothing was handed in, and give its money back."""
        for part in reserved:
            self._release(part)
        self._book.drop(batch)

    async def advance(self, part: PartRow) -> None:
        """Do for a part what can be done now.

        Raises:
            BackendError: The provider refuses the key.
            BudgetExceeded: It was not handed in yet, and no longer fits under a cap.
        """
        if part.state == "planned":
            await self.hand_in(part if part.reservation else await in_thread(self._reserved, part))
        elif part.state == "sending":
            await self.hand_in(part)
        elif part.state == "sent":
            await self._look(part)

    async def hand_in(self, part: PartRow) -> None:
        """Hand a part in, unless the provider has it already.

        Raises:
            BackendError: The provider refuses the key.
        """
        card, api = self._card(part), self._requests.api(part.model)
        waiting = await in_thread(self._book.asks, part.batch, part=part.id, state="waiting")
        model, requests = await self._requests.sendable(part, card, waiting)
        if not requests:
            # Whoever gave it up ended before that was written down.
            await in_thread(self._give_up, part, part.detail)
            return
        # Written down before it is sent: whoever finds it so looks for it at the provider first.
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
        """Ask how far a part is, and take its answers in when it is over."""
        card, api = self._card(part), self._requests.api(part.model)
        asks = await in_thread(self._book.asks, part.batch, part=part.id, state="waiting")
        waiting = {row.place: row for row in asks}
        clients = self._dispatcher.clients
        await clients.ready(card)
        model, _ = clients.bound(ModelRequest(()), card)
        judge = Judge(self._dispatcher, self._classes, card, part)
        # Whoever was at it before may have recorded calls that are not in the file yet.
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
        """Record the calls that are not, then what became of the asks: so nothing is recorded twice or not at all."""
        outcomes: list[Outcome] = []
        for row, answer in answers:
            outcomes.append(judge.outcome(row, answer, billed=billed, recorded=row.place in recorded))
            if len(outcomes) % BREATH == 0:
                await asyncio.sleep(0)
        await in_thread(self._dispatcher.ledger.flush)
        await in_thread(self._book.answer, judge.part.batch, outcomes)

    def _reserved(self, part: PartRow) -> PartRow:
        """Set the worst case of a part aside, under a name that outlives this process."""
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
        """Have what the provider did not take asked live."""
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
        # The book's own trouble and the user's mistakes are none of the provider's.
        if isinstance(error, sqlite3.Error | ConfigError):
            raise error
        return failure_of(self._dispatcher.clients.backend(card), error)


def _place(part: PartRow, name: str) -> int:
    label, _, place = name.rpartition("-")
    return int(place) if label == part.id and place.isascii() and place.isdigit() else -1
