"""What calls cost, how they were routed, and what went wrong, summed over the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from .prices import PICODOLLARS
from .rows import EMBEDDING, ROUTER, DecisionRow
from .storage.connection import Connection
from .storage.tables import DECISIONS, HALF, UNPRICED

if TYPE_CHECKING:
    from .ledger import Ledger

__all__ = ["Failures", "Percentiles", "Report", "Savings", "Share", "Totals", "report"]


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals over a group of calls.

    Attributes:
        calls: Model calls, answered or not.
        failed: Those without a usable answer.
        retries: Those that were not the first of their decision: retries, fallbacks and escalations.
        input: Input tokens, including those read from and written to a cache.
        output: Output tokens.
        cache_read: Input tokens read from a cache.
        cache_write: Input tokens written to a cache.
        cost: USD of the calls whose cost is known.
        unpriced: Calls that may have cost an unknown amount; they are not in ``cost``.
    """

    calls: int = 0
    failed: int = 0
    retries: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cost: float = 0.0
    unpriced: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """The calls of one model, tier, agent or tag; ``share`` is their share of all calls, 0..1."""

    name: str
    share: float
    totals: Totals


@dataclass(frozen=True, slots=True)
class Failures:
    """How often a model failed in one way, a `FailureKind` value."""

    model: str
    kind: str
    calls: int


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Nearest-rank percentiles over ``count`` values, in seconds."""

    count: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Savings:
    """What routing saved compared with sending every request to the flagship, net of failed attempts and its own calls.

    Attributes:
        flagship: The models that the comparison is with.
        compared: Usable answers whose own cost and flagship cost are both known.
        left_out: Usable answers for which one of them is not.
        flagship_cost: USD the compared answers would have cost on the flagship.
        cost: USD they actually cost.
        wasted: USD spent on calls without a usable answer, which the flagship is assumed not to need.
        router: USD that routing itself spent on judging steps, successful or not.
        saved: USD, ``flagship_cost - cost - wasted - router``; negative for a loss.
    """

    flagship: tuple[str, ...]
    compared: int
    left_out: int
    flagship_cost: float
    cost: float
    wasted: float
    router: float
    saved: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything `report` sums up; ``dataclasses.asdict`` makes it JSON-compatible.

    Attributes:
        since: Only what happened at or after this, in seconds since the epoch; None for all.
        run: Only this run; None for all.
        tag: Only runs with this tag; None for all.
        runs: Runs by status.
        decisions: Routing decisions.
        escalated: Decisions that took more than one call.
        totals: All calls.
        error_rate: Share of the calls without a usable answer, 0..1.
        models: By model, most calls first; the same holds for the next three.
        tiers: By tier.
        agents: By agent.
        tags: By tag; a run with several tags counts under each.
        failures: By model and kind, most frequent first.
        latency: Time to the end of the usable answers; None if there are none.
        first_token: Time to the first chunk of the usable streamed answers; None if there are none.
        savings: Compared with the flagship; None if no call was compared.
        open_handoffs: Number of handoffs that wait for a person.
        last: The latest decisions, newest first.
    """

    since: float | None
    run: str | None
    tag: str | None
    runs: Mapping[str, int]
    decisions: int
    escalated: int
    totals: Totals
    error_rate: float
    models: tuple[Share, ...]
    tiers: tuple[Share, ...]
    agents: tuple[Share, ...]
    tags: tuple[Share, ...]
    failures: tuple[Failures, ...]
    latency: Percentiles | None
    first_token: Percentiles | None
    savings: Savings | None
    open_handoffs: int
    last: tuple[DecisionRow, ...]


def report(
    ledger: Ledger, *, since: float | None = None, run: str | None = None, tag: str | None = None, last: int = 20
) -> Report:
    """Sum up the ledger, using memory that does not grow with it.

    Args:
        ledger: The ledger to read.
        since: Only what happened at or after this, in seconds since the epoch.
        run: Only this run.
        tag: Only runs with this tag.
        last: How many of the latest decisions to show.
    """
    query = _Query(since, run, tag)
    with ledger.reading() as connection:
        groups = list(query.groups(connection))
        total = _added(group.sums for group in groups)
        calls = total["calls"]
        decisions, escalated = query.decisions(connection)
        return Report(
            since=since,
            run=run,
            tag=tag,
            runs=query.runs(connection),
            decisions=decisions,
            escalated=escalated,
            totals=_totals(total),
            error_rate=total["failed"] / calls if calls else 0.0,
            models=_shares(((group.model, group.sums) for group in groups), calls),
            tiers=_shares(((group.tier, group.sums) for group in groups), calls),
            agents=_shares(((group.agent, group.sums) for group in groups), calls),
            tags=_shares(query.tags(connection), calls),
            failures=_failures(groups),
            latency=query.percentiles(connection, "latency"),
            first_token=query.percentiles(connection, "first_token"),
            savings=_savings(groups),
            open_handoffs=query.open_handoffs(connection),
            last=query.last(connection, last),
        )


_Sums = Counter[str]
"""Name -> sum over a group of calls, money in picodollars."""


class _Group(NamedTuple):
    """The calls that have these in common."""

    model: str
    tier: str
    agent: str
    failure: str | None
    flagship: str
    sums: _Sums


# The flagship would have been called to do the step, not to judge it, nor to embed what it reads.
_ROUTED = f"agent = '{ROUTER}'"
_DONE = f"NOT ({_ROUTED} OR tier = '{EMBEDDING}')"
_BOTH_KNOWN = "cost IS NOT NULL AND flagship_cost IS NOT NULL"
_COMPARED = f"failure IS NULL AND {_DONE} AND {_BOTH_KNOWN}"
_COUNTED = {
    "calls": "count(*)",
    "failed": "sum(failure IS NOT NULL)",
    "retries": "sum(attempt > 1)",
    **{kind: f"sum({kind})" for kind in ("input", "output", "cache_read", "cache_write")},
    "unpriced": f"sum({UNPRICED})",
    "compared": f"sum({_COMPARED})",
    "left_out": f"sum(failure IS NULL AND {_DONE} AND NOT ({_BOTH_KNOWN}))",
}
_MONEY = {
    "cost": ("cost", "TRUE"),
    "flagship_cost": ("flagship_cost", _COMPARED),
    "compared_cost": ("cost", _COMPARED),
    "wasted": ("cost", f"failure IS NOT NULL AND {_DONE}"),
    "router": ("cost", _ROUTED),
}
# Each amount of money is summed as two parts, see `HALF`.
_SUMS = ", ".join(
    (
        *_COUNTED.values(),
        *(
            f"sum({what} {part} {HALF}) FILTER (WHERE {where})"
            for what, where in _MONEY.values()
            for part in ("/", "%")
        ),
    )
)


def _sums(found: tuple[int | None, ...]) -> _Sums:
    values = [value or 0 for value in found]
    counted, parts = values[: len(_COUNTED)], values[len(_COUNTED) :]
    money = (high * HALF + low for high, low in zip(parts[::2], parts[1::2], strict=True))
    return Counter(dict(zip((*_COUNTED, *_MONEY), (*counted, *money), strict=True)))


def _totals(sums: _Sums) -> Totals:
    """Return those sums of a group that are reported for every group."""
    told: dict[str, Any] = {field.name: sums[field.name] for field in fields(Totals)}
    return Totals(**{**told, "cost": _usd(sums["cost"])})


class _Query:
    """The queries to one ledger for what a report covers."""

    def __init__(self, since: float | None, run: str | None, tag: str | None) -> None:
        self._values = {"since": since, "run": run, "tag": tag}

    def groups(self, connection: Connection) -> Iterator[_Group]:
        """Yield the calls grouped by everything the report distinguishes, so that they are read only once."""
        common = "model, tier, agent, failure, flagship"
        query = f"SELECT {common}, {_SUMS} FROM calls WHERE {self._where()} GROUP BY {common}"  # noqa: S608 - our own words
        for found in connection.execute(query, self._values):
            yield _Group(*(*found[:5], _sums(found[5:])))

    def tags(self, connection: Connection) -> Iterator[tuple[str, _Sums]]:
        """Yield the sums over the calls by tag of their run."""
        source = "calls JOIN runs ON runs.id = calls.run, json_each(runs.tags)"
        query = f"SELECT json_each.value, {_SUMS} FROM {source} WHERE {self._where()} GROUP BY 1"  # noqa: S608 - our own words
        for tag, *found in connection.execute(query, self._values):
            yield tag, _sums(tuple(found))

    def runs(self, connection: Connection) -> dict[str, int]:
        """Return the number of runs by status."""
        query = (
            f"SELECT status, count(*) FROM runs WHERE {self._where('started', 'id')} GROUP BY status ORDER BY status"  # noqa: S608 - our own words
        )
        return dict(connection.execute(query, self._values))

    def decisions(self, connection: Connection) -> tuple[int, int]:
        """Return the number of decisions, and of those that took more than one call."""
        where = self._where()
        every = connection.execute(f"SELECT count(*) FROM decisions WHERE {where}", self._values)  # noqa: S608 - our own words
        query = f"SELECT count(DISTINCT decision) FROM calls WHERE attempt > 1 AND {where}"  # noqa: S608 - our own words
        return every.fetchone()[0], connection.execute(query, self._values).fetchone()[0]

    def percentiles(self, connection: Connection, column: str) -> Percentiles | None:
        """Return percentiles of a column over the usable answers that have a value in it."""
        source = f"FROM calls WHERE failure IS NULL AND {_DONE} AND {column} IS NOT NULL AND {self._where()}"
        (count,) = connection.execute(f"SELECT count(*) {source}", self._values).fetchone()
        if not count:
            return None
        # Rounded up in whole numbers: 95 * count / 100 is not exact in floating point.
        ranks = {f"p{percent}": -(-count * percent // 100) for percent in (50, 95, 99)}
        numbered = f"SELECT {column} AS value, row_number() OVER (ORDER BY {column}) AS place {source}"
        query = f"SELECT place, value FROM ({numbered}) WHERE place IN (:p50, :p95, :p99)"  # noqa: S608 - our own words
        found = dict(connection.execute(query, {**self._values, **ranks}).fetchall())
        return Percentiles(count, *(found[rank] for rank in ranks.values()))

    def open_handoffs(self, connection: Connection) -> int:
        """Return the number of handoffs that are not done, by the latest row of each."""
        latest = "seq IN (SELECT max(seq) FROM handoffs GROUP BY id)"
        query = f"SELECT count(*) FROM handoffs WHERE {latest} AND done = 0 AND {self._where()}"  # noqa: S608 - our own words
        count: int = connection.execute(query, self._values).fetchone()[0]
        return count

    def last(self, connection: Connection, limit: int) -> tuple[DecisionRow, ...]:
        """Return the latest decisions, newest first."""
        query = f"SELECT {DECISIONS.names} FROM decisions WHERE {self._where()} ORDER BY seq DESC LIMIT :limit"  # noqa: S608 - our own words
        found = connection.execute(query, {**self._values, "limit": limit})
        return tuple([DECISIONS.decode(values) for values in found])

    def _where(self, at: str = "at", run: str = "run") -> str:
        parts = ["TRUE"]
        if self._values["since"] is not None:
            parts.append(f"{at} >= :since")
        if self._values["run"] is not None:
            parts.append(f"{run} = :run")
        if self._values["tag"] is not None:
            tagged = "SELECT r.id FROM runs AS r, json_each(r.tags) AS t WHERE t.value = :tag"
            parts.append(f"{run} IN ({tagged})")
        return " AND ".join(parts)


def _added(sums: Iterable[_Sums]) -> _Sums:
    return sum(sums, Counter())


def _shares(groups: Iterable[tuple[str, _Sums]], calls: int) -> tuple[Share, ...]:
    added: dict[str, _Sums] = {}
    for name, sums in groups:
        added.setdefault(name, Counter()).update(sums)
    shares = [Share(name, sums["calls"] / calls, _totals(sums)) for name, sums in added.items()]
    return tuple(sorted(shares, key=lambda share: (-share.totals.calls, share.name)))


def _failures(groups: Iterable[_Group]) -> tuple[Failures, ...]:
    counted: Counter[tuple[str, str]] = Counter()
    for group in groups:
        if group.failure is not None:
            counted[group.model, group.failure] += group.sums["calls"]
    found = [Failures(model, kind, calls) for (model, kind), calls in counted.items()]
    return tuple(sorted(found, key=lambda failures: (-failures.calls, failures.model, failures.kind)))


def _savings(groups: Sequence[_Group]) -> Savings | None:
    total = _added(group.sums for group in groups)
    if not total["compared"]:
        return None
    return Savings(
        flagship=tuple(sorted({group.flagship for group in groups if group.sums["compared"] and group.flagship})),
        compared=total["compared"],
        left_out=total["left_out"],
        flagship_cost=_usd(total["flagship_cost"]),
        cost=_usd(total["compared_cost"]),
        wasted=_usd(total["wasted"]),
        router=_usd(total["router"]),
        saved=_usd(total["flagship_cost"] - total["compared_cost"] - total["wasted"] - total["router"]),
    )


def _usd(pico: int) -> float:
    return float(Decimal(pico) / PICODOLLARS)
