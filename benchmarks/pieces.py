"""The time of each part of one call, in microseconds: the best of many runs, since machines are busy.

    python benchmarks/pieces.py

Ratios to other software are in the other benchmarks; this one shows where the time of a call is spent.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pointsman.configs.catalog import Usage
from pointsman.configs.loading.loader import load
from pointsman.dispatch.catalog import catalogue, policy_of
from pointsman.dispatch.guards.availability import Overrides
from pointsman.evaluation.train_router import train
from pointsman.ledger.budgets.budgets import Budgets
from pointsman.ledger.ledger import Ledger
from pointsman.ledger.prices import PriceBook
from pointsman.ledger.report import report
from pointsman.ledger.rows import CallRow
from pointsman.routing.decide import decide
from pointsman.routing.features.features import extract
from pointsman.routing.request import RouteRequest
from pointsman.routing.scorers.learned import Learned
from stage import options, table

_PROGRAM = "def add(a, b):\n    return a + b\n\n\nTraceback (most recent call last):\nKeyError: 'x'\n" * 8
_PROSE = "The order has left the warehouse this morning and should reach you on Thursday. " * 8


def main() -> None:
    """Measure and print."""
    options(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        rows = [[name, f"{best:,.1f}"] for name, best in _measured(Path(folder))]
    print(table(["piece", "µs"], rows))


def _measured(folder: Path) -> Iterator[tuple[str, float]]:
    turn = ({"role": "assistant", "content": _PROSE}, {"role": "tool", "content": _PROGRAM})
    long = RouteRequest(messages=({"role": "user", "content": _PROSE}, *turn * 40))
    size = sum(len(message["content"]) for message in long.messages)
    settings = load(folder, environ={})
    policy = policy_of(settings, catalogue(settings, PriceBook(settings.models)))
    features = policy.features(long)
    yield f"features of {size:,} characters", _best(lambda: extract(long))
    scorer = Learned(train(_steps()))
    found = scorer.read(long)
    yield "a trained router: signals of the same", _best(lambda: scorer.read(long))
    yield "a trained router: judgement", _best(lambda: scorer.judge(found))
    yield f"decision over {len(policy.cards)} models", _best(lambda: decide(features, policy))
    switches = Overrides(folder / "switches.json")
    switches.off("openai", time.time() + 600)
    yield "look at the switches", _best(switches.reasons)
    budgets = Budgets(folder / "ledger.db")
    yield "reserve and settle, one cap", _best(lambda: _spent(budgets))
    budgets.close()
    yield from _ledger(folder)


def _steps() -> list[dict[str, object]]:
    """Make up as many rows as a small workload has: the time of a judgement does not depend on what was learned."""
    texts = ((_PROSE, "low"), (_PROGRAM, "high"))
    return [
        {"messages": [{"role": "user", "content": f"{number} {text}"}], "target_tier": tier, "instance_id": str(number)}
        for number in range(70)
        for text, tier in texts
    ]


def _spent(budgets: Budgets) -> None:
    budgets.settle(budgets.reserve({"run:x": 10**18}, 10**6, sent=True), 10**5)


def _ledger(folder: Path) -> Iterator[tuple[str, float]]:
    row = CallRow(
        id="c",
        decision="d",
        run="r",
        step="s",
        agent="a",
        attempt=1,
        model="openai/x",
        tier="economy",
        risk="low",
        at=datetime.now(UTC).timestamp(),
        usage=Usage(1000, 100),
        cost=10**9,
        latency=0.3,
    )
    with Ledger(folder / "ledger.db") as ledger:
        yield "record a call", _best(lambda: ledger.record(row), runs=50)
        for _ in range(20_000):
            ledger.record(row)
        ledger.flush()
        yield f"report over {len(ledger.calls()):,} calls", _best(lambda: report(ledger), runs=1, times=3)


def _best(work: Callable[[], object], *, runs: int = 20, times: int = 20) -> float:
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        for _ in range(runs):
            work()
        best = min(best, (time.perf_counter() - began) / runs)
    return best * 1e6


if __name__ == "__main__":
    main()
