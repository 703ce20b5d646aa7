"""`Batches`: work that can wait, handed in at the providers' batch APIs and collected hours later, by any process."""

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
from ..sealing import user_seal
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
"""Live calls under way at the same time."""


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """What became of one ask.

    Attributes:
        place: Its place in the order of the asks, from 0.
        name: The step it belongs to.
        message: The reply, as `Dispatcher.call` gives it; None while it is open, or when there is none.
        error: Why there is none.
        note: How it was judged, where not as it should be: a class that was not at hand can have validators which say
            no. Empty otherwise.
    """

    place: int
    name: str
    message: AIMessage | None
    error: str | None
    note: str = ""


class Batches(Closing):
    """Hands asks in at the providers' batch APIs, and collects the answers.

    Each ask is decided as a live call is. Where the provider of the model decided on has a batch API, it goes there at
    the price such work has; its worst case stays reserved in the budgets until it is answered. Whatever has no batch
    API, and whatever came back without a usable answer, is asked live at the same tier or above. All that is needed to
    go on is in the ledger's file, so another process can collect what this one submitted.

    Args:
        dispatcher: Decides, and makes the live calls.
        outputs: Pydantic classes that judge typed answers, their validators too. A batch that this process has
            submitted, or whose classes stand in modules it has loaded, needs none. An answer whose class is not at
            hand is judged by its schema, and its note says so.

    Raises:
        ConfigError: One of the classes is no pydantic class.
    """

    def __init__(self, dispatcher: Dispatcher, *, outputs: Iterable[type[BaseModel]] = ()) -> None:
        self._dispatcher = dispatcher
        self._classes = AnswerClasses(outputs)
        self._requests = Requests(dispatcher, self._classes)

    @cached_property
    def book(self) -> BatchBook:
        """What is written down about them."""
        seal = user_seal()
        return BatchBook(self._dispatcher.settings.state / "ledger.db", close=seal.close, open_=seal.open)

    @cached_property
    def _parts(self) -> Parts:
        return Parts(self._dispatcher, self.book, self._requests, self._classes)

    def close(self) -> None:
        """Let go of the file."""
        if "book" in self.__dict__:
            self.book.close()

    async def submit(self, asks: Sequence[ModelRequest], steps: Sequence[StepContext] | None = None) -> str:
        """Hand asks in.

        Args:
            asks: What is asked.
            steps: The step each belongs to; the current one for all when absent.

        Returns:
            The batch's id, for `collect`.

        Raises:
            ConfigError: There are no asks, or one cannot be written down.
            BudgetExceeded: A cap leaves too little for the worst case of them all; nothing was handed in.
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
            # The thread goes on; what it has begun is undone, since nobody learns of the batch.
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
        """Look once how far a batch is, take in what is ready, and ask live what must be.

        Args:
            batch: Its id.

        Raises:
            ConfigError: There is no such batch, or somebody else is at work on it.
            BackendError: The provider refuses the key.
            BudgetExceeded: A part that was not handed in yet no longer fits under a cap.
        """
        found = await in_thread(self.book.batch, batch)
        if found.ended is None:
            async with self._held(batch):
                await self._advance(batch)
        return await in_thread(self.book.batch, batch)

    async def collect(self, batch: str, *, pause: float = _FIRST_PAUSE) -> list[BatchAnswer]:
        """Wait until every ask is answered, and give the answers; collecting again costs nothing.

        Args:
            batch: Its id.
            pause: Seconds until the provider is asked a second time; later pauses are longer.

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
        """What is known now, in the order of the asks.

        An answer that only its schema could judge is judged by its class now, where that is at hand: one it refuses is
        an error, and is not asked for again.

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
        """Keep others from working on a batch, without waiting for the file on the event loop."""
        held = self.book.held(batch)
        await in_thread(held.__enter__)
        try:
            yield
        finally:
            await in_thread(held.__exit__, None, None, None)

    async def _advance(self, batch: str) -> bool:
        """Do for a batch what can be done now, and say whether all of it is answered."""
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
