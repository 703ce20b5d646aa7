"""`Guards`: checks breakers and rate limits before every call; `Grant`: what one call was admitted with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...configs.catalog import ModelCard, Usage
from ...configs.words import FailureKind
from ...ledger.prices import PriceBook
from .health import Health, HealthKey, Permit
from .rate_limit import RateLimiter, RateLimitKey, Reservation, Wait

if TYPE_CHECKING:
    from ...backends.http.meter import Asked
    from ...ledger.budgets.budgets import Budgets
    from ...ledger.rows import CallRow
    from .tokens import TokenCaps

__all__ = ["Grant", "Guards"]


@dataclass(frozen=True, eq=False)
class Guards:
    """Admits calls.

    Attributes:
        health: The breakers.
        rate_limiter: How much each provider still accepts.
        prices: The price book, for the most a call can cost.
        budgets: Returns the caps; they are opened at the first call that counts against one.
        regions: Provider -> region.
        settled: Returns what a model's configured options request in each of its calls.
    """

    health: Health
    rate_limiter: RateLimiter
    prices: PriceBook
    budgets: Callable[[], Budgets]
    regions: Mapping[str, str]
    settled: Callable[[ModelCard], Asked]

    def key(self, card: ModelCard) -> HealthKey:
        """Return the unit that can fail on its own: the card's model at its provider, in the configured region."""
        return HealthKey(card.provider, card.name, self.regions[card.provider])

    def admit(
        self, card: ModelCard, input_tokens: int, output_tokens: int, *, last: bool = False
    ) -> Grant | Wait | str:
        """Check whether the breaker and the rate limits allow calling a model now.

        Args:
            card: The model.
            input_tokens: Estimated input tokens.
            output_tokens: The most output tokens; 0 if not limited.
            last: Whether to allow a model that is only slow.

        Returns:
            The grant, without money reserved yet; or why the call must wait; or why it must not be made.
        """
        permit = self.health.allow(self.key(card), last=last)
        if isinstance(permit, str):
            return permit
        share = self.rate_limiter.reserve(RateLimitKey(card.provider, card.name), input_tokens, output_tokens)
        if isinstance(share, Wait):
            permit.cancel()
            return share
        return Grant(permit, share)


@dataclass(eq=False)
class Grant:
    """Permission to make one call: given back in full if the call is never sent, settled once otherwise.

    Attributes:
        permit: The breaker's permit; None if no breaker guards the call.
        share: Its share of the rate limits; None if none are kept.
        money: The budgets and the id of the money reservation; None if none was made.
        tokens: The token caps and the id of the token reservation; None if none was made.
    """

    permit: Permit | None = None
    share: Reservation | None = None
    money: tuple[Budgets, str] | None = None
    tokens: tuple[TokenCaps, str] | None = None

    def give_back(self) -> None:
        """Give back a grant under which nothing was sent."""
        if self.money is not None:
            budgets, reservation = self.money
            budgets.release(reservation)
        self._use(0)
        if self.share is not None:
            self.share.release()
        if self.permit is not None:
            self.permit.cancel()

    def settle(self, usage: Usage | None, cost: int | None, *, billed: bool) -> int | None:
        """Charge what was used; money is settled first, so that no other failure can prevent it.

        Args:
            usage: Tokens; None if unknown.
            cost: Picodollars; None if unknown.
            billed: Whether the provider may have billed the call. If so and the cost is unknown, everything reserved
                is charged; if not, nothing is.

        Returns:
            Picodollars charged; None if no money was reserved or nothing is billed.
        """
        charged: int | None = None
        if self.money is not None:
            budgets, reservation = self.money
            charged = budgets.settle(reservation, cost if billed else 0, recorded=True)
        self._use((None if usage is None else usage.input + usage.output) if billed else 0)
        if self.share is not None:
            if usage is not None:
                self.share.settle(usage.input, usage.output)
            else:
                self.share.keep()
        return charged if billed else None

    def _use(self, tokens: int | None) -> None:
        if self.tokens is not None:
            caps, reservation = self.tokens
            caps.settle(reservation, tokens)

    def judge(self, row: CallRow, kind: FailureKind | None, retry_after: float | None = None) -> None:
        """Tell the breaker how the call went.

        Args:
            row: The call's row.
            kind: What went wrong; None for a usable answer.
            retry_after: Seconds the provider asked to wait.
        """
        if self.permit is not None:
            self.permit.record(row.first_token or row.latency, kind, usage=row.usage, retry_after=retry_after)
