"""`TokenCaps`: how many tokens a run may use, including the runs inside it."""

from __future__ import annotations

from collections.abc import Mapping

from ...ledger.budgets.budgets import TOKENS, Budgets

__all__ = ["TokenCaps"]


class TokenCaps:
    """The caps of a run and of the runs around it, counted in input and output tokens.

    Only one process at a time works on a run, so tokens are counted in its memory. As with money in the ledger's file,
    the worst case is reserved before a call and settled after it.

    Args:
        run: Id of the run.
        cap: Tokens it may use in all its parts.
        used: Tokens that its earlier parts have used.
        outer: The caps of the run around it; None if there are none.
    """

    __slots__ = ("_budgets", "_scopes")

    def __init__(self, run: str, cap: int, used: int = 0, outer: TokenCaps | None = None) -> None:
        self._budgets: Budgets = Budgets(None) if outer is None else outer._budgets
        own = f"{TOKENS}{run}"
        # The innermost first: if several leave too little, it is the one to report.
        self._scopes: Mapping[str, int | None] = {own: cap, **({} if outer is None else outer._scopes)}
        if used:
            self._budgets.settle(self._budgets.reserve({own: None}, used), used)

    async def reserve(self, amount: int, patience: float) -> str:
        """Reserve tokens for a call; wait if only the reservations of other calls prevent it.

        Args:
            amount: The most tokens it can use.
            patience: The most seconds to wait.

        Raises:
            BudgetExceeded: A cap leaves too little.
        """
        return await self._budgets.acquire(self._scopes, amount, patience)

    def take(self, amount: int) -> str:
        """Reserve tokens for a call of a thread, without waiting.

        Args:
            amount: The most tokens it can use.

        Raises:
            BudgetExceeded: A cap leaves too little.
        """
        return self._budgets.reserve(self._scopes, amount)

    def settle(self, reservation: str, used: int | None) -> None:
        """Count what a call has used, or everything reserved if that is not known."""
        self._budgets.settle(reservation, used)
