"""`Guards`: the checks before every call: breakers, rate limits and budgets, in that order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...configs.catalog import ModelCard
from ...configs.words import FailureKind
from ...ledger.budgets.budgets import BudgetExceeded
from ...ledger.prices import PriceBook
from .budget import Bound, bounded
from .grant import Grant
from .health import Health, HealthKey
from .rate_limit import RateLimiter, RateLimitKey, Wait

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from ...backends.base import Backend
    from ...backends.http.meter import Asked
    from ...ledger.budgets.budgets import Budgets
    from ...ledger.rows import CallRow
    from ..calls.call import ModelCall
    from ..request import ModelRequest
    from .tokens import TokenCaps

__all__ = ["Guards"]


class Guards:
    """Gives leave to make calls.

    Args:
        health: The breakers.
        rate_limiter: What each provider still takes.
        prices: The price book, for the most a call can cost.
        budgets: Gives the caps; they are opened at the first call that counts against one.
        regions: Provider -> region.
        settled: Gives what the configured options of a model ask for in every call.
    """

    def __init__(
        self,
        health: Health,
        rate_limiter: RateLimiter,
        prices: PriceBook,
        budgets: Callable[[], Budgets],
        regions: Mapping[str, str],
        settled: Callable[[ModelCard], Asked],
    ) -> None:
        self.health = health
        self._rate_limiter = rate_limiter
        self._prices = prices
        self._budgets = budgets
        self._regions = regions
        self._settled = settled

    def key(self, card: ModelCard) -> HealthKey:
        """What can fail by itself: the card's model at its provider, in the region that is configured."""
        return HealthKey(card.provider, card.name, self._regions[card.provider])

    def admit(
        self, card: ModelCard, input_tokens: int, output_tokens: int, *, last: bool = False
    ) -> Grant | Wait | str:
        """Ask the breaker and the rate limits for leave to call a model now.

        Args:
            card: The model.
            input_tokens: Estimated input.
            output_tokens: The most it may answer, 0 where that is open.
            last: Ask a model that is merely slow all the same.

        Returns:
            The grant, still without money; or why the call must wait; or why it must not be made.
        """
        permit = self.health.allow(self.key(card), last=last)
        if isinstance(permit, str):
            return permit
        share = self._rate_limiter.reserve(RateLimitKey(card.provider, card.name), input_tokens, output_tokens)
        if isinstance(share, Wait):
            permit.cancel()
            return share
        return Grant(permit, share)

    async def fund(
        self, call: ModelCall, scopes: Mapping[str, int | None], tokens: TokenCaps | None, patience: float = 0.0
    ) -> None:
        """Reserve the worst case of a call, and limit its output to what the reservation covers.

        Args:
            call: The admitted call; closed if this raises.
            scopes: What it counts against, each with its cap in picodollars.
            tokens: The caps on tokens that it counts against.
            patience: Seconds to wait for what parallel calls have reserved.

        Raises:
            BudgetExceeded: A cap leaves too little.
        """
        try:
            capped = bool(scopes) or tokens is not None
            bound = self._bound(call, capped=capped)
            if tokens is not None:
                most = (bound.input or 0) + (bound.output or 0)
                call.grant.allow(tokens, await tokens.reserve(most, patience))
            while scopes and bound.most:
                budgets = self._budgets()
                row = _row_if_killed(call)
                try:
                    reservation = await budgets.acquire(scopes, bound.most, patience, sent=True, row=row)
                except BudgetExceeded:
                    # What others learned of the provider meanwhile may have made it less.
                    before, bound = bound, self._bound(call, capped=capped)
                    if bound.most >= before.most:
                        raise
                else:
                    call.grant.fund(budgets, reservation)
                    call.bill.row_id = row.id
                    break
        except BaseException:
            call.close()
            raise
        call.options, call.bill.most_input = bound.options, bound.input

    def bound(
        self,
        card: ModelCard,
        ask: ModelRequest,
        messages: Sequence[BaseMessage],
        options: dict[str, Any],
        *,
        backend: Backend,
        capped: bool,
    ) -> Bound:
        """Compute the most a call can cost, and limit its output to what that covers.

        Args:
            card: The model.
            ask: What is asked.
            messages: The conversation in the form the model takes.
            options: Keyword arguments of the call, as its client will get them.
            backend: Of the model's provider.
            capped: The call counts against a budget, so that its output needs a limit.
        """
        return bounded(
            self._prices, card, ask, messages, options, backend=backend, settled=self._settled(card), capped=capped
        )

    def _bound(self, call: ModelCall, *, capped: bool) -> Bound:
        return self.bound(call.card, call.ask, call.messages, call.options, backend=call.backend, capped=capped)


def _row_if_killed(call: ModelCall) -> CallRow:
    """The row to record if the process is killed during the call; the call's own row has the same id."""
    return call.bill.recorder.row(call.card, at=time.time(), attempt=call.number, failure=FailureKind.LOST.value)
