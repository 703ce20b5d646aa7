"""`Batches`: work that can wait, submitted to the providers' batch APIs and collected hours later, by any process."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ...configs.errors import ConfigError, PointsmanError
from ...configs.process.closing import Closing
from ...configs.words import FailureKind
from ...ledger.batches import AskRow, BatchBook, BatchRow, Outcome
from ...tools.threads import in_thread
from ..context import StepContext, current, entered
from ..errors import Failure
from ..request import ModelRequest, one_line
from ..state.sealing import user_seal
from .answers import done, read
from .classes import AnswerClasses
from .codec import reply_of
from .parts import Parts
from .requests import BREATH, Requests, step_in

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage
    from pydantic import BaseModel

    from ..dispatcher import Dispatcher

__all__ = ["BatchAnswer", "Batches"]

_FIRST_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 300.0
_GROWTH: Final = 1.5
_AT_ONCE: Final = 8
"""The most live calls at the same time."""


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """The result of one request.

    Attributes:
        place: Its place in the order of the requests, from 0.
        name: The step it belongs to.
        message: The reply, as `Dispatcher.call` returns it; None while the request is open, or if there is no reply.
        error: Why there is no reply; None if there is one or the request is open.
        note: How it was checked if its class was not available, whose validators might reject it; otherwise empty.
    """

    place: int
    name: str
    message: AIMessage | None
    error: str | None
    note: str = ""


class Batches(Closing):
    """Submits requests to the providers' batch APIs, and collects the answers.

    Each request is decided like a live call. If the chosen model's provider has a batch API, the request goes there at
    the batch price; its worst case stays reserved in the budgets until it is answered. Requests without a batch API,
    and those that came back without a usable answer, are asked live at the same tier or above. Everything needed to
    continue is in the ledger's file, so another process can collect what this one submitted.

    Args:
        dispatcher: Decides, and makes the live calls.
        outputs: Pydantic classes that validate typed answers, including their validators. None are needed for a batch
            that this process has submitted, or whose classes are in modules it has loaded. An answer whose class is
            not available is checked against its schema, and its note says so.

    Raises:
        ConfigError: One of the classes is not a pydantic class that can type an answer.
    """

    def __init__(self, dispatcher: Dispatcher, *, outputs: Iterable[type[BaseModel]] = ()) -> None:
        self._dispatcher = dispatcher
        self._classes = AnswerClasses(outputs)
        self._requests = Requests(dispatcher, self._classes)

    @cached_property
    def book(self) -> BatchBook:
        """The stored records of all batches."""
        seal = user_seal()
        return BatchBook(self._dispatcher.settings.state / "ledger.db", close=seal.close, open_=seal.open)

    @cached_property
    def _parts(self) -> Parts:
        return Parts(self._dispatcher, self.book, self._requests, self._classes)

    def close(self) -> None:
        """Close the file."""
        if "book" in self.__dict__:
            self.book.close()

    async def submit(self, asks: Sequence[ModelRequest], steps: Sequence[StepContext] | None = None) -> str:
        """Submit requests as a batch.

        Args:
            asks: The requests.
            steps: The step each belongs to; default: the current one for all.

        Returns:
            The batch's id, for `collect`.

        Raises:
            ConfigError: There are no requests, or one cannot be serialized.
            BudgetExceeded: A cap leaves too little for the worst case of all of them; nothing was submitted.
        """
        if not asks:
            raise ConfigError("a batch needs at least one request")
        batch = uuid.uuid4().hex[:12]
        rows: list[AskRow] = []
        for place, (ask, step) in enumerate(zip(asks, steps or [current()] * len(asks), strict=True)):
            rows.append(await self._requests.decided(batch, place, ask.declaring(latency="batch"), step))
            if place % BREATH == 0:
                await asyncio.sleep(0)
        parts, rows = await in_thread(self._requests.parted, batch, rows)
        begun = asyncio.ensure_future(in_thread(self._parts.begun, batch, parts, rows))
        try:
            parts = await asyncio.shield(begun)
        except asyncio.CancelledError:
            # The thread continues; its work is undone, since the caller never gets the batch's id.
            with suppress(Exception):
                await in_thread(self._parts.dropped, batch, await begun)
            raise
        try:
            for part in parts:
                await self._parts.hand_in(part)
        finally:
            await in_thread(self.book.let_go, batch)
        return batch

    async def poll(self, batch: str) -> BatchRow:
        """Check a batch once: record the answers that are ready, and ask live what must be asked live.

        Args:
            batch: Its id.

        Raises:
            ConfigError: There is no such batch, or another process is working on it.
            BackendError: The provider refuses the key.
            BudgetExceeded: A part that was not submitted yet no longer fits under a cap.
        """
        found = await in_thread(self.book.batch, batch)
        if found.ended is None:
            async with self._held(batch):
                await self._advance(batch)
        return await in_thread(self.book.batch, batch)

    async def collect(self, batch: str, *, pause: float = _FIRST_PAUSE) -> list[BatchAnswer]:
        """Wait until every request is answered, and return the answers; collecting again costs nothing.

        Args:
            batch: Its id.
            pause: Seconds until the second check; later pauses are longer.

        Raises:
            ConfigError: As in `poll`.
            BackendError: As in `poll`.
            BudgetExceeded: As in `poll`.
        """
        if (await in_thread(self.book.batch, batch)).ended is None:
            async with self._held(batch):
                while not await self._advance(batch):
                    await asyncio.sleep(pause)
                    pause = min(pause * _GROWTH, _LONGEST_PAUSE)
                    await in_thread(self.book.stir, batch)
        return await in_thread(self.answers, batch)

    def answers(self, batch: str) -> list[BatchAnswer]:
        """Return the answers known now, in the order of the requests.

        An answer that could only be checked against its schema is now validated by its class if that is available; if
        the class rejects it, that is an error, and the request is not asked again.

        Args:
            batch: Its id.
        """
        return [self._answer(row) for row in self.book.asks(batch)]

    def _answer(self, row: AskRow) -> BatchAnswer:
        facts = json.loads(row.facts)
        message = None if row.reply is None else reply_of(row.reply)
        error, note = row.error, ""
        if message is not None and facts.get("by_schema"):
            wrong, note = self._classes.verdict(facts["class"], message)
            if wrong:
                message, error = None, f"{FailureKind.INVALID_OUTPUT} ({wrong})"
        return BatchAnswer(row.place, facts["step"]["step"], message, error, note)

    @asynccontextmanager
    async def _held(self, batch: str) -> AsyncIterator[None]:
        """Lock a batch against other workers, without blocking the event loop on the file."""
        held = self.book.held(batch)
        await in_thread(held.__enter__)
        try:
            yield
        finally:
            await in_thread(held.__exit__, None, None, None)

    async def _advance(self, batch: str) -> bool:
        """Do what can be done for a batch now, and return whether all of it is answered."""
        for stray in await in_thread(self.book.stray_reservations, batch):
            await in_thread(self._dispatcher.budgets.release, stray)
        for part in await in_thread(self.book.parts, batch):
            await self._parts.advance(part)
        await self._ask_live(batch)
        over = not await in_thread(self.book.asks, batch, state="waiting")
        if over:
            await in_thread(self.book.end, batch)
        return over

    async def _ask_live(self, batch: str) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(row: AskRow) -> None:
            async with gate:
                await self._answered_live(row)

        async with asyncio.TaskGroup() as tasks:
            for row in await in_thread(self.book.asks, batch, state="live"):
                tasks.create_task(one(row))

    async def _answered_live(self, row: AskRow) -> None:
        step, (ask, facts) = step_in(row), read(row, self._classes)
        avoid = tuple((str(name), str(reason)) for name, reason in facts["avoid"])
        refused = None
        if told := facts.get("refused"):
            refused = Failure(told[0], FailureKind(told[1]), told[2])
        try:
            with entered(step, unavailable=(*step.unavailable, *avoid)):
                message = await self._dispatcher.call(ask, refused=refused)
        except PointsmanError as error:
            outcome = Outcome(row.place, "done", error=one_line(error))
        else:
            outcome = done(row.place, ask, facts, message)
        await in_thread(self.book.answer, row.batch, [outcome])
