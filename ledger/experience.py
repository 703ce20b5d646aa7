"""The newest calls with their tasks, from which a new process learns how models did."""

from __future__ import annotations

from typing import Final

from .ledger import Ledger
from .rows import CallRow
from .storage.tables import CALLS

__all__ = ["newest_calls"]

# Rows that say nothing of how a model does, told by how their details begin: an answer out of a batch comes hours
# later, and a call that was broken off because another model was quicker did not fail.
_UNTOLD: Final = ("batch ", "broken off: ")


def newest_calls(ledger: Ledger, most: int) -> list[tuple[str, CallRow]]:
    """The newest calls that tell of their models, each after its task, in the order they were recorded.

    Args:
        ledger: What happened.
        most: How many rows to look at; it takes about 25 ms for 2,000, however many there are.

    Raises:
        ConfigError: The ledger cannot be read.
    """
    told = " AND ".join(f"c.detail NOT LIKE '{words}%'" for words in _UNTOLD)
    query = (
        f"SELECT d.task, c.* FROM (SELECT seq, {CALLS.names} FROM calls ORDER BY seq DESC LIMIT ?) AS c "  # noqa: S608 - our own words
        f"JOIN decisions AS d ON d.id = c.decision WHERE {told} ORDER BY c.seq"
    )
    with ledger.reading() as connection:
        return [(task, CALLS.decode(tuple(row))) for task, _, *row in connection.execute(query, (most,))]
