"""`EmbeddingCalls`: requests for vectors, each charged and recorded in one row of the ledger, however it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ...backends.base import BackendError
from ...configs.catalog import Usage
from ...configs.errors import ConfigError
from ...configs.process.ids import new_id
from ...configs.schema import ModelEntry, Prices
from ...configs.words import FailureKind, Tier
from ...ledger.budgets.budgets import BudgetExceeded
from ...ledger.prices import PriceBook
from ...ledger.rows import EMBEDDING, MEMORY, CallRow
from ...routing.features.messages import estimate_tokens
from ..context import StepContext, current
from ..failures import FAILURES
from ..guards.budget import scopes_of
from ..guards.guards import Grant
from ..request import one_line

if TYPE_CHECKING:
    from ..dispatcher import Dispatcher

__all__ = ["EmbeddingCalls"]

_PER_TEXT: Final = 16
"""Tokens that a provider may count around each text; a token of the text itself is at least one byte."""
_PAUSE: Final = 0.05


@dataclass(frozen=True)
class EmbeddingCalls:
    """Books the requests of one embedder, in whichever thread they are made.

    A request counts against the caps of the run that makes it and against the policy's budgets: its worst case is
    reserved, and then the tokens are charged that the provider reports, else those that Pointsman estimates. Its row
    has the tier `EMBEDDING`, and the agent of the step, or `MEMORY` outside any.

    Attributes:
        model: The embedder, as ``provider/name``.
        prices: Its prices.
        version: Where they come from.
        dispatcher: Returns what holds the ledger and the budgets.
    """

    model: str
    prices: PriceBook
    version: str
    dispatcher: Callable[[], Dispatcher]

    @classmethod
    def of(cls, model: str, prices: Prices | None, dispatcher: Callable[[], Dispatcher]) -> EmbeddingCalls:
        """Make one.

        Args:
            model: The embedder.
            prices: What it costs; None for what the price table says.
            dispatcher: See the class.
        """
        book = PriceBook({model: ModelEntry(tier=Tier.ONDEVICE, prices=prices)})
        return cls(model, book, book.version if prices is None else f"override {prices.as_of}", dispatcher)

    @contextmanager
    def __call__(self, texts: Sequence[str]) -> Iterator[Callable[[int | None], None]]:
        """Book one request; see `pointsman.backends.embedders.Booking`.

        Args:
            texts: What is sent.

        Raises:
            BudgetExceeded: A cap leaves too little; nothing is to be sent.
            ConfigError: It cannot be recorded, or a cap applies and the price is unknown.
        """
        dispatcher, step = self.dispatcher(), current()
        dispatcher.ledger.check()
        row = CallRow(
            id=new_id(),
            decision="",
            run=step.run.id,
            step=step.step,
            agent=step.agent or MEMORY,
            attempt=1,
            model=self.model,
            tier=EMBEDDING,
            risk="",
            at=time.time(),
            failure=FailureKind.LOST.value,
        )
        bound = sum(len(text.encode("utf-8", "replace")) + _PER_TEXT for text in texts)
        grant, begun = self._admitted(dispatcher, step, row, bound), time.monotonic()
        reported: list[int | None] = []
        row = replace(row, failure=FailureKind.CANCELLED.value, detail="broken off")
        billed, usage = True, None
        try:
            yield reported.append
            estimated = round(sum(map(estimate_tokens, texts))) or 1
            told = reported[0] if reported else None
            usage = Usage(input=told or estimated)
            row = replace(row, failure=None, detail="" if told else "tokens estimated: the provider reports none")
        except BackendError as error:
            refused = error.status is not None and error.status >= 400
            billed = error.sent and not refused and FAILURES[error.kind].perhaps_billed
            row = replace(row, failure=error.kind.value, detail=one_line(error))
            raise
        finally:
            row = replace(row, latency=time.monotonic() - begun, usage=usage)
            self._settle(dispatcher, step, grant, row, bound, billed=billed)

    def _admitted(self, dispatcher: Dispatcher, step: StepContext, row: CallRow, bound: int) -> Grant:
        """Reserve the most that a request can cost in tokens and money."""
        grant = Grant()
        scopes = scopes_of(step.run, dispatcher.settings.routing.budgets)
        most = self._most(bound) if scopes else 0
        if most is None:
            raise ConfigError(
                f"embedder {self.model} has no known price, and {next(iter(scopes))} has a budget: set embedder.prices "
                "in your models.yaml"
            )
        until = time.monotonic() + dispatcher.settings.routing.limits.deadline
        try:
            tokens = step.run.tokens
            if tokens is not None:
                grant.tokens = tokens, _patiently(lambda: tokens.take(bound), until)
            if scopes:
                budgets = dispatcher.budgets
                grant.money = budgets, _patiently(lambda: budgets.reserve(scopes, most, sent=True, row=row), until)
        except BaseException:
            grant.give_back()
            raise
        return grant

    def _most(self, tokens: int) -> int | None:
        return self.prices.worst_case(self.model, tokens, 0, datetime.now(UTC))

    def _settle(
        self, dispatcher: Dispatcher, step: StepContext, grant: Grant, row: CallRow, bound: int, *, billed: bool
    ) -> None:
        """Charge a request that has ended, and record it."""
        cost = self.prices.price(self.model, row.usage, datetime.fromtimestamp(row.at, UTC)) if billed else 0
        charged = grant.settle(row.usage, cost, billed=billed)
        if cost is None and charged is not None:
            cost = charged
            row = replace(row, detail="; ".join(filter(None, (row.detail, "charged as reserved"))))
        elif cost is None and self._most(bound) == 0:
            cost = 0
        version = self.version if row.usage is not None and cost is not None else ""
        row = replace(row, cost=cost, price_version=version)
        dispatcher.ledger.record(row)
        if step.run.observe is not None:
            step.run.observe(row)


def _patiently(reserve: Callable[[], str], until: float) -> str:
    """Reserve, waiting while only what other calls have reserved is in the way."""
    while True:
        try:
            return reserve()
        except BudgetExceeded as short:
            if short.final or time.monotonic() >= until:
                raise
        time.sleep(_PAUSE)
