"""What the ledger says about past decisions, read row by row: what followed each, and how each model performed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..configs.catalog import Usage
from ..ledger.ledger import Ledger
from ..ledger.prices import PICODOLLARS
from ..ledger.rows import DecisionRow
from ..ledger.storage.tables import DECISIONS, UNPRICED

__all__ = ["Course", "Evidence", "Floats", "Recorded", "Seen", "evidence"]

Floats = NDArray[np.float64]
"""The first element is the plain figure, the others are its resamples."""

_CHUNK: Final = 500


class Course(NamedTuple):
    """What followed a recorded decision: its calls, their USD and seconds, and the tokens of the decisive call."""

    calls: int
    cost: float | None
    seconds: float
    moment: float
    usage: Usage | None


@dataclass(slots=True)
class Evidence:
    """Observations of one model for one task; the first element of an array is the plain figure, the rest resamples."""

    calls: int
    failed: Floats
    mean: Floats


Seen = Mapping[tuple[str, str], Evidence]
"""Task and model -> observations."""


class Recorded:
    """Queries to one ledger; rows are read one at a time.

    Args:
        ledger: The ledger.
        since: Only what happened at or after this, in seconds since the epoch.
        run: Only the decisions of this run.
    """

    def __init__(self, ledger: Ledger, since: float | None, run: str | None) -> None:
        self._ledger = ledger
        self._values = {"since": since, "run": run}
        self._since = "TRUE" if since is None else "{}at >= :since"
        self._where = self._since.format("") + ("" if run is None else " AND run = :run")

    def runs(self) -> int:
        """Return the number of runs with decisions."""
        with self._ledger.reading() as connection:
            query = f"SELECT count(DISTINCT run) FROM decisions WHERE run <> '' AND {self._where}"  # noqa: S608 - our own words
            count: int = connection.execute(query, self._values).fetchone()[0]
            return count

    def decisions(self) -> Iterator[tuple[DecisionRow, Course | None]]:
        """Yield the decisions, grouped by run, with what followed them."""
        # In a query with one max(), SQLite takes the other columns from the row with the maximum: here the last call
        # with tokens, preferring usable ones.
        course = (
            "SELECT decision AS asked, count(*) AS calls, total(cost) AS spent, "  # noqa: S608 - our own words
            f"sum({UNPRICED}) AS unpriced, total(latency) AS seconds, at AS moment, "
            "input AS tokens_in, output AS tokens_out, cache_read AS tokens_read, cache_write AS tokens_written, "
            "max(CASE WHEN input IS NULL THEN 0 WHEN failure IS NULL THEN seq + (1 << 62) ELSE seq END) "
            f"FROM calls WHERE {'run = :run' if self._values['run'] is not None else 'TRUE'} GROUP BY decision"
        )
        query = (
            f"SELECT calls, spent, unpriced, seconds, moment, tokens_in, tokens_out, tokens_read, tokens_written, "  # noqa: S608 - our own words
            f"{DECISIONS.names} FROM decisions LEFT JOIN ({course}) ON asked = id WHERE {self._where} ORDER BY run, seq"
        )
        with self._ledger.reading() as connection:
            for calls, spent, unpriced, seconds, moment, *rest in connection.execute(query, self._values):
                counts, values = rest[:4], rest[4:]
                usage = None if counts[0] is None else Usage(*counts)
                cost = None if unpriced else (spent or 0.0) / PICODOLLARS
                yield DECISIONS.decode(tuple(values)), Course(calls, cost, seconds, moment, usage) if calls else None

    def calls(self) -> Iterator[tuple[str, str, float, bool]]:
        """Yield task, model, seconds and failure of every call."""
        query = (
            "SELECT d.task, c.model, c.latency, c.failure IS NOT NULL FROM calls AS c "  # noqa: S608 - our own words
            f"JOIN decisions AS d ON d.id = c.decision WHERE {self._since.format('c.')} ORDER BY c.seq"
        )
        with self._ledger.reading() as connection:
            yield from connection.execute(query, self._values)

    def percentiles(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Return task and model -> nearest-rank p50 and p95 of the seconds of the answered calls."""
        partition = "OVER (PARTITION BY d.task, c.model"
        numbered = (
            f"SELECT d.task AS task, c.model AS model, c.latency AS value, count(*) {partition}) AS many, "  # noqa: S608 - our own words
            f"row_number() {partition} ORDER BY c.latency) AS place FROM calls AS c JOIN decisions AS d "
            f"ON d.id = c.decision WHERE c.failure IS NULL AND {self._since.format('c.')}"
        )
        # Rounded up in whole numbers: 95 * many / 100 is not exact in floating point.
        query = (
            f"SELECT task, model, max(value) FILTER (WHERE place = (many * 50 + 99) / 100), "  # noqa: S608 - our own words
            f"max(value) FILTER (WHERE place = (many * 95 + 99) / 100) FROM ({numbered}) GROUP BY task, model"
        )
        with self._ledger.reading() as connection:
            return {(task, model): (p50, p95) for task, model, p50, p95 in connection.execute(query, self._values)}


def evidence(query: Recorded, random: np.random.Generator, draws: int) -> Seen:
    """Sum up how each model performed for each task, with resamples of its calls.

    Args:
        query: The ledger's queries.
        random: Draws how often each call counts.
        draws: Number of resamples.
    """
    sums: dict[tuple[str, str], Floats] = {}
    counts: Counter[tuple[str, str]] = Counter()
    chunk: list[tuple[str, str, float, bool]] = []

    def add() -> None:
        weights = np.hstack([np.ones((len(chunk), 1)), random.poisson(1.0, (len(chunk), draws))])
        for (task, model, seconds, failed), weight in zip(chunk, weights, strict=True):
            total = sums.setdefault((task, model), np.zeros((3, draws + 1)))
            counts[task, model] += 1
            total[0] += weight
            total[1] += weight * seconds
            if failed:
                total[2] += weight
        chunk.clear()

    for call in query.calls():
        chunk.append(call)
        if len(chunk) == _CHUNK:
            add()
    add()
    seen: dict[tuple[str, str], Evidence] = {}
    for key, (weight, seconds, failed) in sums.items():
        # A resample without any of the calls has no value, so the plain figure is used.
        some = weight > 0
        weight = np.where(some, weight, weight[0])
        mean = np.where(some, seconds, seconds[0]) / weight
        seen[key] = Evidence(counts[key], np.where(some, failed, failed[0]) / weight, mean)
    return seen
