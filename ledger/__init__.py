"""The ledger: what was decided, called and paid, tamper-evident, and what waits for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .budgets.budgets import BudgetExceeded, Budgets
    from .ledger import Ledger
    from .prices import PriceBook, dollars
    from .report import Report
    from .rows import CallRow, DecisionRow, EffectRow, HandoffRow, RunRow
    from .storage.chain import Break

__all__ = [
    "Break",
    "BudgetExceeded",
    "Budgets",
    "CallRow",
    "DecisionRow",
    "EffectRow",
    "HandoffRow",
    "Ledger",
    "PriceBook",
    "Report",
    "RunRow",
    "dollars",
]

_NAMES = {
    "budgets.budgets": ("BudgetExceeded", "Budgets"),
    "ledger": ("Ledger",),
    "prices": ("PriceBook", "dollars"),
    "report": ("Report",),
    "rows": ("CallRow", "DecisionRow", "EffectRow", "HandoffRow", "RunRow"),
    "storage.chain": ("Break",),
}

# SQLite and the price table are loaded by those who use them; naming a row type must not pay for either.
__getattr__, __dir__ = lazily(__name__, _NAMES)
