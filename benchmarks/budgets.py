"""Parallel branches under one cap: it is never exceeded, and nearly all of it is usable.

    python benchmarks/budgets.py [--quick]

Each branch makes one call after another until the cap refuses it. What was spent is read from the ledger, from the
counts of the budget, and from the loopback provider's billed tokens; none of the three may exceed the cap. First in
one process, a run with a cap of its own; then in four processes, each a run, that share a ledger and a cap per day.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from contenders import PRIMARY, runtime
from stage import Provider, count, parser, provider, table, verdict

_PICO = 10**12
_PROMPT = "Where is my order 4711? I was promised it for Tuesday."
_ANSWER = "It left the warehouse this morning and should reach you on Thursday."
_MAX_OUTPUT = 64
# Milliseconds, so that branches overlap as they would at a real provider.
_LATENCY = 20
_BAR = 0.95
_MODEL = f"openai/{PRIMARY}"


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--quick", action="store_true", help="40 branches instead of 200, and a fifth of the cap")
    arguments.add_argument("--branches", type=count, help="parallel branches (default 200, quick 40)")
    arguments.add_argument("--calls", type=count, help="calls the cap shall allow (default 2000, quick 400)")
    options = arguments.parse_args()
    branches = options.branches or (40 if options.quick else 200)
    calls = options.calls or (400 if options.quick else 2000)
    rows: list[list[str]] = []
    lines: list[str] = []
    with provider() as played:
        rules = [{"match": {"model": PRIMARY}, "answer": _ANSWER, "latency": _LATENCY}]
        played.play(rules, "openai")
        cap = _price_of_one(played) * calls
        for processes in (1, 4):
            played.play(rules, "openai")
            _measure(played, processes, branches, cap, rows, lines)
    print(
        f"{branches} branches, a cap of ${cap}: {calls} calls as they turn out, each reserving its worst case before\n"
    )
    print(table(_HEAD, rows))
    print()
    print("\n".join(lines))


_HEAD = ("processes", "calls", "refused", "ledger / cap", "counted / cap", "billed / cap", "left reserved", "seconds")


def _measure(
    played: Provider, processes: int, branches: int, cap: Decimal, rows: list[list[str]], lines: list[str]
) -> None:
    from pointsman.ledger.budgets.budgets import Budgets
    from pointsman.ledger.ledger import Ledger
    from pointsman.ledger.report import report

    with tempfile.TemporaryDirectory(prefix="pointsman-benchmark-") as folder:
        began = time.monotonic()
        results = _in_processes(played.url, folder, processes, branches, cap)
        took = time.monotonic() - began
        file = Path(folder) / ".pointsman" / "ledger.db"
        with Ledger(file) as ledger:
            totals = report(ledger).totals
        budgets = Budgets(file)
        spent, reserved = budgets.totals(f"day:{datetime.now(UTC):%Y-%m-%d}" if processes > 1 else "run:benchmark-0")
        budgets.close()
    billed = sum((Decimal(str(record["cost_usd"])) for record in played.log()), Decimal(0))
    shares = [Decimal(str(totals.cost)) / cap, Decimal(spent) / _PICO / cap, billed / cap]
    answered, refused = (sum(result[key] for result in results) for key in ("answered", "refused"))
    odd = [message for result in results for message in result["odd"]]
    cells = [answered, refused, *(f"{share:.2%}" for share in shares), reserved, f"{took:.1f}"]
    rows.append([str(processes), *map(str, cells)])
    name = f"{processes} process{'es' if processes > 1 else ''}"
    within = max(shares) <= 1 and not totals.unpriced
    lines.append(verdict(within, f"{name}: at most {max(shares):.2%} of the cap spent, never over"))
    usable = min(shares)
    lines.append(verdict(usable >= _BAR, f"{name}: {usable:.2%} of the cap was usable (bar {_BAR:.0%})"))
    if odd:
        lines.append(verdict(False, f"{name}: {len(odd)} calls ended in another way, for one: {odd[0]}"))


def _price_of_one(played: Provider) -> Decimal:
    """Return the actual cost of one call, in USD."""
    with tempfile.TemporaryDirectory(prefix="pointsman-benchmark-") as folder:
        asyncio.run(_ask_once(folder, played.url))
    cost = played.log()[0]["cost_usd"]
    if not cost:
        raise SystemExit(f"genai-prices knows no price for {_MODEL}, so there is nothing to cap")
    return Decimal(str(cost))


async def _ask_once(folder: str, url: str) -> None:
    home, model = _model(folder, url)
    await model.ainvoke(_PROMPT)
    home.close()


def _in_processes(url: str, folder: str, processes: int, branches: int, cap: Decimal) -> list[dict[str, Any]]:
    spawn = multiprocessing.get_context("spawn")
    together, results = spawn.Barrier(processes), spawn.Queue()
    started = [
        spawn.Process(target=_process, args=(url, folder, number, branches // processes, str(cap), together, results))
        for number in range(processes)
    ]
    for process in started:
        process.start()
    told = [results.get(timeout=600) for _ in started]
    for process in started:
        process.join()
    return told


def _process(url: str, folder: str, number: int, branches: int, cap: str, together: Any, results: Any) -> None:
    try:
        results.put(asyncio.run(_branches(url, folder, number, branches, cap, together)))
    except BaseException as error:
        results.put({"answered": 0, "refused": 0, "odd": [f"{type(error).__name__}: {error}"]})
        raise


async def _branches(url: str, folder: str, number: int, branches: int, cap: str, together: Any) -> dict[str, Any]:
    from pointsman.agents.runs import run_scope
    from pointsman.ledger.budgets.budgets import BudgetExceeded

    result: dict[str, Any] = {"answered": 0, "refused": 0, "odd": []}
    alone = together.parties == 1
    home, model = _model(folder, url, None if alone else float(cap))

    async def branch() -> None:
        while True:
            try:
                await model.ainvoke(_PROMPT)
            except BudgetExceeded:
                result["refused"] += 1
                return
            except Exception as error:  # noqa: BLE001 - counted, since only a refusal may end a branch
                result["odd"].append(f"{type(error).__name__}: {error}")
                return
            result["answered"] += 1

    await asyncio.to_thread(together.wait)
    with run_scope(home, "benchmark", run=f"benchmark-{number}", max_cost=float(cap) if alone else None):
        await asyncio.gather(*(branch() for _ in range(branches)))
    home.close()
    return result


def _model(folder: str, url: str, day: float | None = None) -> tuple[Any, Any]:
    from pointsman.dispatch.model import RoutedChatModel

    home = runtime(Path(folder), url, environ={} if day is None else {"POINTSMAN_ROUTING__BUDGETS__DAY": str(day)})
    model = RoutedChatModel(kind="transform", prefer=_MODEL, max_output=_MAX_OUTPUT, dispatcher=home.dispatcher)
    return home, model


if __name__ == "__main__":
    main()
