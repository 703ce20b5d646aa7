"""The report's numbers are those a plain recount gives."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

import pytest
from pointsman.configs.catalog import Usage
from pointsman.ledger.ledger import Ledger
from pointsman.ledger.report import Share, Totals, report
from pointsman.ledger.rows import ROUTER, CallRow

PICO = 10**12
FAILURES = [None] * 8 + ["timeout", "rate_limit", "refusal", "connection"]
CHARGED = {"timeout", "refusal"}


def some_calls(make: Any, number: int, seed: int = 1) -> list[CallRow]:
    dice = random.Random(seed)
    calls = []
    for index in range(number):
        failure = dice.choice(FAILURES)
        usage = Usage(dice.randrange(5000), dice.randrange(900), dice.randrange(50), 7) if dice.random() < 0.8 else None
        known = usage is not None and dice.random() < 0.8
        attempt = dice.choice([1, 1, 1, 2, 3])
        calls.append(
            make.call(
                id=f"c{index}", decision=f"d{dice.randrange(number // 2 + 1)}", run=f"r{dice.randrange(20)}",
                attempt=attempt, agent=dice.choice("abc"), model=f"p/m{dice.randrange(4)}",
                tier=dice.choice(["economy", "frontier"]),
                at=float(index), failure=failure, usage=usage, cost=dice.randrange(10**13) if known else None,
                flagship_cost=dice.randrange(10**14) if known and dice.random() < 0.9 else None, flagship="p/top",
                latency=dice.random(), first_token=dice.random() if dice.random() < 0.3 else None,
            )
        )  # fmt: skip
    return calls


def recount(calls: list[CallRow]) -> Totals:
    usages = [call.usage for call in calls if call.usage is not None]
    return Totals(
        calls=len(calls),
        failed=sum(call.failure is not None for call in calls),
        retries=sum(call.attempt > 1 for call in calls),
        input=sum(usage.input for usage in usages),
        output=sum(usage.output for usage in usages),
        cache_read=sum(usage.cache_read for usage in usages),
        cache_write=sum(usage.cache_write for usage in usages),
        cost=sum(call.cost or 0 for call in calls) / PICO,
        unpriced=sum(
            call.cost is None
            and (
                call.failure is None
                or call.usage is not None
                or call.first_token is not None
                or call.failure in CHARGED
            )
            for call in calls
        ),
    )


def recounted(calls: list[CallRow], name: str) -> list[Share]:
    names = Counter(getattr(call, name) for call in calls)
    return [
        Share(one, names[one] / len(calls), recount([call for call in calls if getattr(call, name) == one]))
        for one in sorted(names, key=lambda one: (-names[one], one))
    ]


def rank(values: Iterable[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[math.ceil(percent * len(ordered) / 100) - 1]


@pytest.mark.parametrize("only", [{}, {"since": 250.0}, {"run": "r3"}, {"tag": "odd"}, {"tag": "odd", "since": 100.0}])
def test_every_number_is_that_of_a_plain_recount(either: Ledger, make: Any, only: dict[str, Any]) -> None:
    runs = [
        make.run(
            id=f"r{n}",
            started=n * 25.0,
            status="done" if n % 3 else "failed",
            tags=("odd", "all") if n % 2 else ("all",),
        )
        for n in range(20)
    ]
    calls = some_calls(make, 500)
    decisions = [make.decision(id=f"d{n}", run=f"r{n % 20}", at=n * 2.0) for n in range(250)]
    handoffs = [make.handoff(id=f"h{n}", run=f"r{n}", at=n * 25.0) for n in range(20)]
    for row in (*runs, *calls, *decisions, *handoffs):
        either.record(row)
    for n in range(0, 20, 4):
        either.finish_handoff(f"h{n}")

    wanted = {
        run.id for run in runs if ("tag" not in only or only["tag"] in run.tags) and only.get("run", run.id) == run.id
    }

    def picked(rows: Iterable[Any], at: str = "at", run: str = "run") -> list[Any]:
        since = only.get("since", 0)
        return [row for row in rows if getattr(row, run) in wanted and getattr(row, at) >= since]

    found = report(either, **only, last=5)
    calls = picked(calls)
    good = [call for call in calls if call.failure is None]
    assert found.totals == recount(calls)
    assert found.error_rate == pytest.approx(1 - len(good) / len(calls))
    assert list(found.models) == recounted(calls, "model")
    assert list(found.tiers) == recounted(calls, "tier")
    assert list(found.agents) == recounted(calls, "agent")
    tags = {run.id: run.tags for run in runs}
    assert {share.name: share.totals for share in found.tags} == {
        tag: recount([call for call in calls if tag in tags[call.run]])
        for tag in {tag for call in calls for tag in tags[call.run]}
    }
    assert {(one.model, one.kind): one.calls for one in found.failures} == Counter(
        (call.model, call.failure) for call in calls if call.failure is not None
    )
    assert found.runs == Counter(run.status for run in picked(runs, "started", "id"))
    assert found.decisions == len(picked(decisions))
    assert found.escalated == len({call.decision for call in calls if call.attempt > 1})
    assert found.last == tuple(picked(decisions)[::-1][:5])
    assert found.open_handoffs == sum(int(row.id[1:]) % 4 != 0 for row in picked(handoffs))
    for percentiles, values in (
        (found.latency, [call.latency for call in good]),
        (found.first_token, [call.first_token for call in good if call.first_token is not None]),
    ):
        assert percentiles is not None
        assert percentiles.count == len(values)
        assert [percentiles.p50, percentiles.p95, percentiles.p99] == [
            rank(values, percent) for percent in (50, 95, 99)
        ]
    both = [call for call in good if call.cost is not None and call.flagship_cost is not None]
    assert found.savings is not None
    assert (found.savings.compared, found.savings.left_out) == (len(both), len(good) - len(both))
    assert found.savings.flagship == ("p/top",)
    assert found.savings.saved == pytest.approx(
        (
            sum(call.flagship_cost or 0 for call in both)
            - sum(call.cost or 0 for call in both)
            - sum(call.cost or 0 for call in calls if call.failure is not None)
        )
        / PICO
    )
    assert json.loads(json.dumps(asdict(found)))["totals"]["calls"] == len(calls)


def test_an_empty_ledger_reports_nothing_rather_than_zero_latency(either: Ledger) -> None:
    found = report(either)
    assert (found.totals, found.error_rate, found.models, found.last) == (Totals(), 0.0, (), ())
    assert (found.latency, found.first_token, found.savings) == (None, None, None)


def test_a_failed_cheap_try_is_no_saving(either: Ledger, make: Any) -> None:
    dear = 10 * PICO
    either.record(make.call(decision="d", failure="refusal", cost=PICO, flagship_cost=dear, usage=Usage(1, 1)))
    either.record(make.call(decision="d", attempt=2, cost=dear, flagship_cost=dear, usage=Usage(1, 1)))
    savings = report(either).savings
    assert savings is not None
    assert (savings.saved, savings.wasted, savings.compared) == (-1.0, 1.0, 1)


def test_what_routing_spends_on_its_own_judgement_is_taken_off_the_savings(either: Ledger, make: Any) -> None:
    dear = 10 * PICO
    either.record(make.call(decision="d", cost=PICO, flagship_cost=dear, usage=Usage(1, 1), latency=4.0))
    before = report(either)
    for failure in (None, "timeout"):
        usage = Usage(1, 1)
        either.record(make.call(agent=ROUTER, failure=failure, cost=PICO // 4, usage=usage, latency=1.0))
    after = report(either)
    assert before.savings is not None
    assert after.savings == replace(before.savings, router=0.5, saved=8.5)
    assert after.latency == before.latency
    assert {share.name: share.totals.cost for share in after.agents}[ROUTER] == 0.5
    assert after.totals.cost == 1.5


def test_unknown_prices_stand_beside_the_cost_and_not_in_it(either: Ledger, make: Any) -> None:
    either.record(make.call(cost=PICO, usage=Usage(1, 1)))
    either.record(make.call(cost=None, usage=Usage(10**6, 10**6)))
    totals = report(either).totals
    assert (totals.cost, totals.unpriced) == (1.0, 1)


@pytest.mark.slow
def test_a_hundred_thousand_calls_are_reported(make: Any) -> None:
    with Ledger(None) as ledger:
        for run in range(200):
            ledger.record(make.run(id=f"r{run}", tags=("a", "b")))
        for row in some_calls(make, 1000):
            ledger.record(row)
        ledger.flush()
        # Multiplied by SQL, which is faster than recording them; the chain does not matter here.
        with ledger._writer.access.changing() as connection:
            columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(calls)")][1:]
            names = ", ".join(f'"{name}"' for name in columns)
            numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99)"
            connection.execute(f"INSERT INTO calls ({names}) {numbers} SELECT {names} FROM calls, n")
        found = report(ledger)
    assert found.totals.calls == 100_000
