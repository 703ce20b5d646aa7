"""What a session has cost: the model, risk and cost of each call, and the sum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..io.fitting import width
from ..io.live import RISK_COLOURS
from ..io.output import line, money, paint
from ..io.simulated import named

if TYPE_CHECKING:
    from ...ledger.rows import CallRow

__all__ = ["Spent", "told"]

_GAP = 3


class Spent:
    """The calls of a session.

    Args:
        name: What is talked with, which stands in the footer until a model has answered.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: list[CallRow] = []

    def add(self, row: CallRow) -> None:
        """Book a call."""
        self._calls.append(row)

    def footer(self, columns: int) -> str:
        """The last call and the sum, on one line where there is room for it, else on two.

        Args:
            columns: How wide it may be.
        """
        last = _last(self._calls[-1]) if self._calls else line(self._name)
        total = f"session {self.total}"
        between = columns - width(last) - width(total)
        return f"{last}{' ' * between}{total}" if between >= _GAP else f"{last}\n{total}"

    @property
    def total(self) -> str:
        """The sum in words; a call of unknown cost is said, not counted as nothing."""
        known = [row.cost for row in self._calls if row.cost is not None]
        unknown = len(self._calls) - len(known)
        more = f" and {unknown} of unknown cost" if unknown else ""
        return f"{money(sum(known))}{more}, {len(self._calls)} call{'' if len(self._calls) == 1 else 's'}"


def told(row: CallRow) -> str:
    """A call on one line, as it is shown when it has ended: model, risk, cost, and what went wrong.

    Args:
        row: The call.
    """
    risk = paint(row.risk, RISK_COLOURS.get(row.risk, ""))
    said = f"{line(named(row.model))} · {risk} · {_cost(row)}"
    return said if row.failure is None else f"{said} · {paint(row.failure, 'red')}: {line(row.detail)}"


def _last(row: CallRow) -> str:
    return f"{line(named(row.model))} · {row.risk} · {_cost(row)}"


def _cost(row: CallRow) -> str:
    return money(row.cost) if row.cost is not None else "cost unknown"
