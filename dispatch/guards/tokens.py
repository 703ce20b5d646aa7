"""`TokenCaps`: how many tokens a run may use, the runs inside it included."""

from __future__ import annotations

from collections.abc import Mapping

from ...ledger.budgets.budgets import TOKENS, Budgets

__all__ = ["TokenCaps"]


class TokenCaps:
    """The caps of a run and of the runs around it, counted in tokens of input and output.

    One process at a time works on a run, so they are counted in its memory, as money is in the ledger's file: the worst
    case is reserved before a call and settled after it.

    Args:
        run: Id of the run.
        cap: Tokens it may use in all its parts.
        used: Tokens that earlier parts of it have used.
        outer: The caps of the run around it; None where there are none.
    """

    __slots__ = ("_budgets", "_scopes")

    def __init__(self, run: str, cap: int, used: int = 0, outer: TokenCaps | None = None) -> None:
        self._budgets: Budgets = Budgets(None) if outer is None else outer._budgets
        own = f"{TOKENS}{run}"
        # The innermost first, as it is the one to name where several leave too little.
        self._scopes: Mapping[str, int | None] = {own: cap, **({} if outer is None else outer._scopes)}
        if used:
            self._budgets.settle(self._budgets.reserve({own: None}, used), used)

    async def reserve(self, amount: int, patience: float) -> str:
        """Reserve tokens for a call, waiting while only what other calls have reserved stands in the way.

        Args:
            amount: The most that it can use.
            patience: Seconds to wait at most.

        Raises:
            BudgetExceeded: A cap leaves too little.
        """
        return await self._budgets.acquire(self._scopes, amount, patience)

    def settle(self, reservation: str, used: int | None) -> None:
        """Count what a call has used; all that was reserved where that is not known."""
        self._budgets.settle(reservation, used)
