"""The ledger: what was decided, called and paid, tamper-evident, and what waits for a person."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .budgets import BudgetExceeded, Budgets
    from .chain import Break
    from .ledger import Ledger
    from .prices import PriceBook, dollars
    from .report import Report
    from .rows import CallRow, DecisionRow, HandoffRow, RunRow

__all__ = [
    "Break",
    "BudgetExceeded",
    "Budgets",
    "CallRow",
    "DecisionRow",
    "HandoffRow",
    "Ledger",
    "PriceBook",
    "Report",
    "RunRow",
    "dollars",
]

_HOME = {
    "Break": ".chain",
    "BudgetExceeded": ".budgets",
    "Budgets": ".budgets",
    "CallRow": ".rows",
    "DecisionRow": ".rows",
    "HandoffRow": ".rows",
    "Ledger": ".ledger",
    "PriceBook": ".prices",
    "Report": ".report",
    "RunRow": ".rows",
    "dollars": ".prices",
}


def __getattr__(name: str) -> Any:
    # SQLite and the price table are loaded by those who use them; naming a row type must not pay for either.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
