"""The ledger: a tamper-evident record of decisions, calls and costs, and of what waits for a person."""

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

# SQLite and the price table are loaded only when used; importing a row type must load neither.
__getattr__, __dir__ = lazily(__name__, _NAMES)
