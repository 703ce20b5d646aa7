"""The newest calls with their tasks, from which a new process learns how models performed."""

from __future__ import annotations

from typing import Final

from .ledger import Ledger
from .rows import EMBEDDING, CallRow
from .storage.tables import CALLS

__all__ = ["newest_calls"]

# How the details of rows begin that say nothing about a model's performance: an answer from a batch comes hours later,
# and a call that was cancelled because another model was quicker did not fail.
_UNTOLD: Final = ("batch ", "broken off: ")


def newest_calls(ledger: Ledger, most: int) -> list[tuple[str, CallRow]]:
    """Return the newest calls that say how their models performed, as (task, call), in the order they were recorded.

    Args:
        ledger: The ledger to read.
        most: How many rows to look at; 2,000 take about 25 ms, whatever the size of the ledger.

    Raises:
        ConfigError: The ledger cannot be read.
    """
    told = " AND ".join(f"c.detail NOT LIKE '{words}%'" for words in _UNTOLD)
    query = (
        f"SELECT d.task, c.* FROM (SELECT seq, {CALLS.names} FROM calls "  # noqa: S608 - our own words
        f"WHERE tier <> '{EMBEDDING}' ORDER BY seq DESC LIMIT ?) AS c "
        f"JOIN decisions AS d ON d.id = c.decision WHERE {told} ORDER BY c.seq"
    )
    with ledger.reading() as connection:
        return [(task, CALLS.decode(tuple(row))) for task, _, *row in connection.execute(query, (most,))]
