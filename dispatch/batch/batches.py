"""`Batches`: work that can wait, handed in at the providers' batch APIs and collected hours later, by any process."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from ...backends import registry
from ...backends.base import BackendError
from ...backends.batch.base import BatchApi, BatchRequest
from ...configs.catalog import ModelCard
from ...configs.closing import Closing
from ...configs.errors import ConfigError, PointsmanError
from ...configs.words import FailureKind
from ...ledger.batches import AskRow, BatchBook, BatchRow, Outcome, PartRow, owner_of
from ...tools.threads import in_thread
from ..calls.prompt import brief
from ..context import StepContext, current, entered
from ..conversation.convert import portable
from ..errors import Failure, failure_of
from ..guards.budget import bounded, scopes_of
from ..request import ModelRequest, one_line
from ..sealing import user_seal
from .answers import judged
from .codec import ask_of, ask_text, reply_of, reply_text, step_of, step_record

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from ..dispatcher import Dispatcher

__all__ = ["BatchAnswer", "Batches"]

_FIRST_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 300.0
_GROWTH: Final = 1.5
_AT_ONCE: Final = 8
"""Live calls under way at the same time."""
_GROUP: Final = 200
"""Answers written down in one transaction."""
_BREATH: Final = 20
"""Asks worked on, at a millisecond each, before others on the event loop have their turn."""
_GIVE_UP_SECONDS: Final = 86_400.0
"""How long a provider is asked again that takes no more batches now: as long as a batch itself may take."""
_READ_SECONDS: Final = 3_600.0
"""How long it may take to read a batch's answers, hundreds of megabytes at most; what is not read by then is left."""
_SHARE_OF_LIMIT: Final = 0.9
"""Parts are measured by the asks as they are written down, which is not quite how they are sent."""
_NOT_FOUND: Final = 404

# The provider said no, so the batch is not there; whatever else went wrong, it may be.
_REFUSED = frozenset(
    {
        FailureKind.RATE_LIMIT,
        FailureKind.AUTH,
        FailureKind.UNAVAILABLE,
        FailureKind.QUOTA,
        FailureKind.CONTEXT_LENGTH,
        FailureKind.CONTENT_FILTER,
        FailureKind.BAD_REQUEST,
    }
)


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """What became of one ask.

    Attributes:
        place: Its place in the order of the asks, from 0.
        name: The step it belongs to.
        message: The reply, as `Dispatcher.call` gives it; None while it is open, or when there is none.
        error: Why there is none.
    """

    place: int
    name: str
    message: AIMessage | None
    error: str | None


class Batches(Closing):
    """Hands asks in at the providers' batch APIs, and collects the answers.

    Each ask is decided as a live call is. Where the provider of the model decided on has a batch API, it goes there at
    the price such work has; its worst case stays reserved in the budgets until it is answered. Whatever has no batch
    API, and whatever came back without a usable answer, is asked live at the same tier or above. All that is needed to
    go on is in the ledger's file, so another process can collect what this one submitted.

    Args:
        dispatcher: Decides, and makes the live calls.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._home = dispatcher

    @cached_property
    def book(self) -> BatchBook:
        """What is written down about them."""
        seal = user_seal()
        return BatchBook(self._home.settings.state / "ledger.db", close=seal.close, open_=seal.open)

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
            rows.append(await self._decided(batch, place, replace(ask, latency="batch"), step))
            if place % _BREATH == 0:
                await asyncio.sleep(0)
        parts, rows = await in_thread(self._parted, batch, rows)
        begun = asyncio.ensure_future(in_thread(self._begun, batch, parts, rows))
        try:
            parts = await asyncio.shield(begun)
        except asyncio.CancelledError:
            # The thread goes on; what it has begun is undone, since nobody learns of the batch.
            with suppress(Exception):
                await in_thread(self._dropped, batch, await begun)
            raise
        try:
            for part in parts:
                await self._hand_in(part)
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

        Args:
            batch: Its id.
        """
        return [
            BatchAnswer(
                row.place,
                json.loads(row.facts)["step"]["step"],
                None if row.reply is None else reply_of(row.reply),
                row.error,
            )
            for row in self.book.asks(batch)
        ]

    @asynccontextmanager
    async def _held(self, batch: str) -> AsyncIterator[None]:
        """Keep others from working on a batch, without waiting for the file on the event loop."""
        held = self.book.held(batch)
        await in_thread(held.__enter__)
        try:
            yield
        finally:
            await in_thread(held.__exit__, None, None, None)

    async def _decided(self, batch: str, place: int, ask: ModelRequest, step: StepContext) -> AskRow:
        """Decide about one ask; its row's ``part`` names the model for now, where it can go into a batch."""
        with entered(step):
            chain = await self._home.chain(ask)
        decision = chain.decision
        facts = {
            "step": step_record(step),
            "decision": decision.request,
            "risk": decision.risk.value,
            "rules": [hit.id for hit in decision.rules],
            "candidates": decision.candidates,
            "avoid": [],
        }
        row = AskRow(batch, place, None, "live", uuid.uuid4().hex, json.dumps(facts), ask_text(ask))
        if decision.model is None:
            return replace(row, state="done", ask="", error=one_line(chain.error()))
        card = self._home.cards[decision.model]
        if self._api(card) is None or (letter := self._letter(ask, card, self._scopes(step))) is None:
            return row
        return replace(row, part=card.id, state="waiting", worst=letter.worst)

    def _parted(self, batch: str, rows: list[AskRow]) -> tuple[list[PartRow], list[AskRow]]:
        """Put the asks that are for one model, and under the same caps, into parts that its provider takes."""
        parts: list[PartRow] = []
        open_parts: dict[tuple[str, str], tuple[PartRow, int, int]] = {}
        placed: list[AskRow] = []
        for row in rows:
            if row.part is None:
                placed.append(row)
                continue
            api = self._known_api(row.part)
            key = row.part, json.dumps(self._scopes(_step(row)), sort_keys=True)
            part, count, size = open_parts.get(key, (None, 0, 0))
            size += len(row.ask)
            if part is None or count == api.most_requests or size > api.most_bytes * _SHARE_OF_LIMIT:
                part, count, size = PartRow(uuid.uuid4().hex, batch, row.part), 0, len(row.ask)
                parts.append(part)
            open_parts[key] = part, count + 1, size
            placed.append(replace(row, part=part.id))
        return parts, placed

    def _begun(self, batch: str, parts: list[PartRow], rows: list[AskRow]) -> list[PartRow]:
        """Write a batch down and reserve for every part, or for none and forget the batch."""
        self.book.add(batch, parts, rows)
        reserved: list[PartRow] = []
        try:
            for part in parts:
                reserved.append(self._reserved(part))  # noqa: PERF401 - those before a failure are needed
        except BaseException:
            self._dropped(batch, reserved)
            raise
        return reserved

    def _dropped(self, batch: str, reserved: Iterable[PartRow]) -> None:
        for part in reserved:
            self._release(part)
        self.book.drop(batch)

    def _reserved(self, part: PartRow) -> PartRow:
        """Set the worst case of a part aside, under a name that outlives this process."""
        scopes = self._scopes(_step(self.book.asks(part.batch, part=part.id)[0]))
        most = self.book.charge(part.id)
        if not scopes or not most:
            return part
        reservation = self._home.budgets.reserve(scopes, most, owner_of(part.batch), sent=True)
        return self._noted(part, reservation=reservation)

    def _release(self, part: PartRow) -> None:
        if part.reservation is not None:
            self._home.budgets.release(part.reservation)

    def _noted(self, part: PartRow, **changes: Any) -> PartRow:
        changed = replace(part, **changes)
        self.book.update(changed)
        return changed

    async def _advance(self, batch: str) -> bool:
        """Do for a batch what can be done now, and say whether all of it is answered."""
        for stray in await in_thread(self.book.stray_reservations, batch):
            await in_thread(self._home.budgets.release, stray)
        for part in await in_thread(self.book.parts, batch):
            if part.state == "planned":
                await self._hand_in(part if part.reservation else await in_thread(self._reserved, part))
            elif part.state == "sending":
                await self._hand_in(part)
            elif part.state == "sent":
                await self._look(part)
        await self._ask_live(batch)
        over = not await in_thread(self.book.asks, batch, state="waiting")
        if over:
            await in_thread(self.book.end, batch)
        return over

    async def _hand_in(self, part: PartRow) -> None:
        """Hand a part in, unless the provider has it already."""
        card, api = self._card(part), self._known_api(part.model)
        model, requests = await self._requests(part, card)
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
            if part.state == "sending" or failure.kind not in _REFUSED:
                await in_thread(self._noted, sending, detail=said)
                if failure.kind is FailureKind.AUTH:
                    raise failure from error
            elif failure.kind is FailureKind.RATE_LIMIT and time.time() - sending.at < _GIVE_UP_SECONDS:
                await in_thread(self._noted, sending, state="planned", detail=said)
            else:
                await in_thread(self._give_up, sending, said)
        else:
            await in_thread(self._noted, sending, state="sent", vendor=vendor, detail="")

    def _give_up(self, part: PartRow, said: str) -> None:
        """Have what the provider did not take asked live."""
        rows = self.book.asks(part.batch, part=part.id, state="waiting")
        self.book.answer(part.batch, [Outcome(row.place, "live", row.ask, cost=0) for row in rows])
        self._release(part)
        self._noted(part, state="given_up", detail=said)

    async def _look(self, part: PartRow) -> None:
        """Ask how far a part is, and take its answers in when it is over."""
        card, api = self._card(part), self._known_api(part.model)
        waiting = {row.place: row for row in await in_thread(self.book.asks, part.batch, part=part.id, state="waiting")}
        await self._home.clients.ready(card)
        model, _ = self._home.clients.bound(ModelRequest(()), card)
        # Whoever was at it before may have recorded calls that are not in the file yet.
        await in_thread(self._home.ledger.flush)
        recorded = await in_thread(self.book.recorded, part.id)
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
                        await self._take_in(part, card, group, recorded)
                        group = []
            await self._take_in(part, card, group, recorded)
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
        await self._take_in(part, card, unanswered, recorded, billed=lost is not None or state.whole)
        if part.reservation is not None:
            await in_thread(self._settled, part, part.reservation)
        await in_thread(self._noted, part, state="given_up" if lost else "collected", detail=detail)

    def _settled(self, part: PartRow, reservation: str) -> None:
        self._home.budgets.settle(reservation, self.book.charge(part.id))

    async def _take_in(
        self,
        part: PartRow,
        card: ModelCard,
        answers: Sequence[tuple[AskRow, AIMessage | BackendError]],
        recorded: set[int],
        *,
        billed: bool = False,
    ) -> None:
        """Record the calls that are not, then what became of the asks: so nothing is recorded twice or not at all."""
        outcomes: list[Outcome] = []
        for row, answer in answers:
            known = row.place in recorded
            outcomes.append(judged(self._home, card, part, row, answer, billed=billed, recorded=known))
            if len(outcomes) % _BREATH == 0:
                await asyncio.sleep(0)
        await in_thread(self._home.ledger.flush)
        await in_thread(self.book.answer, part.batch, outcomes)

    async def _ask_live(self, batch: str) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(row: AskRow) -> None:
            async with gate:
                await self._answered_live(row)

        async with asyncio.TaskGroup() as tasks:
            for row in await in_thread(self.book.asks, batch, state="live"):
                tasks.create_task(one(row))

    async def _answered_live(self, row: AskRow) -> None:
        step, facts = _step(row), json.loads(row.facts)
        avoid = tuple((str(name), str(reason)) for name, reason in facts["avoid"])
        refused = None
        if told := facts.get("refused"):
            refused = Failure(told[0], FailureKind(told[1]), told[2])
        try:
            with entered(step, unavailable=(*step.unavailable, *avoid)):
                message = await self._home.call(ask_of(row.ask), refused=refused)
        except PointsmanError as error:
            outcome = Outcome(row.place, "done", error=one_line(error))
        else:
            outcome = Outcome(row.place, "done", reply=reply_text(message))
        await in_thread(self.book.answer, row.batch, [outcome])

    async def _requests(self, part: PartRow, card: ModelCard) -> tuple[Any, list[BatchRequest]]:
        """The chat model of a part, and its asks in the form the model takes."""
        await self._home.clients.ready(card)
        requests: list[BatchRequest] = []
        model: Any = None
        for row in await in_thread(self.book.asks, part.batch, part=part.id, state="waiting"):
            ask = ask_of(row.ask)
            letter = self._letter(ask, card, self._scopes(_step(row)))
            if letter is None:
                raise ConfigError(f"batch {part.batch}: {card.id} no longer takes ask {row.place}")
            model, binding = self._home.clients.bound(ask, card)
            name = f"{part.id}-{row.place}"
            requests.append(BatchRequest(name, letter.messages, {**binding, **letter.options}))
            if len(requests) % _BREATH == 0:
                await asyncio.sleep(0)
        return model, requests

    def _letter(self, ask: ModelRequest, card: ModelCard, scopes: dict[str, int | None]) -> _Letter | None:
        """An ask in the form ``card`` takes, held to the output that is reckoned with; None where it takes none."""
        said = self._home.clients.said(ask, card)
        if said.unfit:
            return None
        messages, options = brief(ask, card, said)
        carried = portable(messages, to=self._home.clients.backend_name(card), card=card)
        if isinstance(carried, str):
            return None
        bound = bounded(
            self._home.prices,
            card,
            ask,
            carried,
            options,
            backend=self._home.clients.backend(card),
            settled=self._home.clients.asked(card),
            capped=bool(scopes),
        )
        return _Letter(carried, bound.options, bound.most)

    def _scopes(self, step: StepContext) -> dict[str, int | None]:
        return scopes_of(step.run, self._home.policy.routing.budgets)

    def _api(self, card: ModelCard) -> BatchApi | None:
        return registry.batches(self._home.clients.backend_name(card))

    def _known_api(self, model: str) -> BatchApi:
        api = self._api(self._home.cards[model])
        if api is None:
            raise ConfigError(f"{model} has no batch API any more: give its provider the backend it had")
        return api

    def _card(self, part: PartRow) -> ModelCard:
        card = self._home.cards.get(part.model)
        if card is None:
            raise ConfigError(f"batch {part.batch} is for {part.model}: put that model back into models.yaml")
        return card

    def _failure(self, card: ModelCard, error: Exception) -> BackendError:
        # The book's own trouble and the user's mistakes are none of the provider's.
        if isinstance(error, sqlite3.Error | ConfigError):
            raise error
        return failure_of(self._home.clients.backend(card), error)


@dataclass(frozen=True, slots=True)
class _Letter:
    messages: Sequence[Any]
    options: dict[str, Any]
    worst: int


def _step(row: AskRow) -> StepContext:
    return step_of(json.loads(row.facts)["step"])


def _place(part: PartRow, name: str) -> int:
    label, _, place = name.rpartition("-")
    return int(place) if label == part.id and place.isascii() and place.isdigit() else -1
