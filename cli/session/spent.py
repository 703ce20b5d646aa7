"""The cost of a session: model, risk and cost of each call, and the total."""

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
        name: The workflow, shown in the footer until a model has answered.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: CallRow | None = None
        self._calls = self._unknown = 0
        self._cost = 0

    def add(self, row: CallRow) -> None:
        """Add a call."""
        self._last = row
        self._calls += 1
        self._unknown += row.cost is None
        self._cost += row.cost or 0

    def footer(self, columns: int) -> str:
        """Return the last call and the total, on one line if they fit, else on two.

        Args:
            columns: How wide it may be.
        """
        last = line(self._name) if self._last is None else _said(self._last, self._last.risk)
        total = f"session {self.total}"
        between = columns - width(last) - width(total)
        return f"{last}{' ' * between}{total}" if between >= _GAP else f"{last}\n{total}"

    @property
    def total(self) -> str:
        """Return the total in words; calls of unknown cost are mentioned, not counted as free."""
        more = f" and {self._unknown} of unknown cost" if self._unknown else ""
        return f"{money(self._cost)}{more}, {self._calls} call{'' if self._calls == 1 else 's'}"


def told(row: CallRow) -> str:
    """Return the line shown when a call has ended: model, risk, cost, and its failure, if any.

    Args:
        row: The call.
    """
    said = _said(row, paint(row.risk, RISK_COLOURS.get(row.risk, "")))
    return said if row.failure is None else f"{said} · {paint(row.failure, 'red')}: {line(row.detail)}"


def _said(row: CallRow, risk: str) -> str:
    cost = money(row.cost) if row.cost is not None else "cost unknown"
    return f"{line(named(row.model))} · {risk} · {cost}"
