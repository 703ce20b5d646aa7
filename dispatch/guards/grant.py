"""`Grant`: what one call was admitted with: the breaker's permit, its share of the rate limits, and reserved money."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...configs.catalog import Usage
from ...configs.words import FailureKind
from .health import Permit
from .rate_limit import Reservation

if TYPE_CHECKING:
    from ...ledger.budgets.budgets import Budgets
    from .tokens import TokenCaps

__all__ = ["Grant"]


class Grant:
    """Leave to make one call: given back in full if the call is never sent, settled once otherwise.

    Args:
        permit: Of the breaker; None where no breaker guards the call.
        share: Of the rate limits; None where none are kept.

    Attributes:
        permit: Of the breaker.
    """

    __slots__ = ("_budgets", "_caps", "_money", "_share", "_tokens", "permit")

    def __init__(self, permit: Permit | None = None, share: Reservation | None = None) -> None:
        self.permit = permit
        self._share = share
        self._budgets: Budgets | None = None
        self._money: str | None = None
        self._caps: TokenCaps | None = None
        self._tokens: str | None = None

    def allow(self, caps: TokenCaps, reservation: str) -> None:
        """Add the tokens that were reserved for the call."""
        self._caps, self._tokens = caps, reservation

    def fund(self, budgets: Budgets, reservation: str) -> None:
        """Add the money that was reserved for the call."""
        self._budgets, self._money = budgets, reservation

    def give_back(self) -> None:
        """End a grant under which nothing was sent."""
        if self._budgets is not None and self._money is not None:
            self._budgets.release(self._money)
        self._use(0)
        if self._share is not None:
            self._share.release()
        if self.permit is not None:
            self.permit.cancel()

    def settle(self, usage: Usage | None, cost: int | None, *, billed: bool) -> int | None:
        """Charge what was used; money goes first, so that nothing else can keep it from being counted.

        Args:
            usage: Tokens, where they are known.
            cost: Picodollars, where they are known.
            billed: Whether the provider may have billed the call. If so and the cost is not known, all that was
                reserved is charged; if not, nothing is.

        Returns:
            Picodollars charged; None where no money was reserved or nothing is billed.
        """
        charged: int | None = None
        if self._budgets is not None and self._money is not None:
            charged = self._budgets.settle(self._money, cost if billed else 0, recorded=True)
        self._use((None if usage is None else usage.input + usage.output) if billed else 0)
        if self._share is not None:
            if usage is not None:
                self._share.settle(usage.input, usage.output)
            else:
                self._share.keep()
        return charged if billed else None

    def _use(self, tokens: int | None) -> None:
        if self._caps is not None and self._tokens is not None:
            self._caps.settle(self._tokens, tokens)

    def judge(
        self,
        latency: float,
        kind: FailureKind | None = None,
        *,
        usage: Usage | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Tell the breaker how the call went; arguments as `Permit.record` takes them."""
        if self.permit is not None:
            self.permit.record(latency, kind, usage=usage, retry_after=retry_after)
