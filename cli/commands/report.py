"""``pointsman report``: what ran where, what it cost and saved, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from .. import options
from ..io import durations
from ..io.outcome import TARGET_TAG
from ..io.output import answer, seconds, usd
from ..io.records import decision_record
from ..io.simulated import named
from ..io.table import table
from ..settings import opened

if TYPE_CHECKING:
    from ...ledger.report import Percentiles, Report, Savings, Share

__all__ = ["report"]


def report(
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Only this run.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="Only since then: 2h, 7d, or 2026-11-30[T12:00] UTC.")
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", metavar="TAG", help="Only runs with this tag.")] = None,
    json: options.AsJson = False,
) -> None:
    """Show the routing distribution, cost, failures, latency and savings of what ran."""
    from ...agents.errors import NoRun
    from ...ledger.report import report as add_up

    start = durations.since(since)
    with opened(reads=True) as runtime:
        if run is not None and runtime.ledger.run(run) is None:
            raise NoRun(runtime.settings.state, run)
        # Recover as rows the calls that were under way in a process that was killed.
        runtime.dispatcher.budgets.reclaim()
        made = add_up(runtime.ledger, since=start, run=run, tag=tag)
    answer({**asdict(made), "last": [decision_record(row) for row in made.last]}, "\n".join(_told(made)), json=json)


def _told(made: Report) -> list[str]:
    total = made.totals
    if not made.decisions and not total.calls:
        return ["nothing has run yet: pointsman run"]
    runs = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in made.runs.items())
    lines = [
        f"runs       {runs or 'none'}",
        f"decisions  {made.decisions}, {made.escalated} of them took more than one call",
        f"calls      {total.calls}, {100 * made.error_rate:.1f} % without a usable answer",
        f"tokens     {total.input:,} in ({total.cache_read:,} from a cache), {total.output:,} out",
        f"cost       {usd(total.cost)}{_unpriced(total.unpriced)}",
    ]
    for name, shares in (("model", made.models), ("tier", made.tiers), ("agent", made.agents)):
        lines += ["", *_shares(name, shares)]
    if tags := [share for share in made.tags if not share.name.startswith(TARGET_TAG)]:
        lines += ["", *_shares("tag", tags)]
    if made.failures:
        rows = [(failure.calls, named(failure.model), failure.kind) for failure in made.failures]
        lines += ["", *table(rows, ("calls", "model", "failed by"), right=[0]).splitlines()]
    lines += ["", _percentiles("latency", made.latency), _percentiles("first token", made.first_token)]
    lines += ["", _savings(made.savings)]
    waiting = f"{made.open_handoffs} (pointsman queue)" if made.open_handoffs else "nothing"
    return [*lines, f"waiting for a person: {waiting}"]


def _shares(name: str, shares: Sequence[Share]) -> list[str]:
    rows = [
        (
            named(share.name) if name == "model" else share.name or "-",
            f"{100 * share.share:.1f} %",
            share.totals.calls,
            share.totals.failed,
            share.totals.retries,
            share.totals.input + share.totals.output,
            usd(share.totals.cost) + (f" + {share.totals.unpriced} unknown" if share.totals.unpriced else ""),
        )
        for share in shares
    ]
    head = (name, "share", "calls", "failed", "not first", "tokens", "cost")
    return table(rows, head, right=range(1, 7)).splitlines()


def _percentiles(name: str, found: Percentiles | None) -> str:
    if found is None:
        return f"{name:<12} no answers"
    shown = "   ".join(f"{label} {seconds(getattr(found, label))}" for label in ("p50", "p95", "p99"))
    return f"{name:<12} {shown}   ({found.count} answers)"


def _savings(found: Savings | None) -> str:
    if found is None:
        return "savings: no call can be compared with the flagship"
    left = f"; {found.left_out} answers of unknown price are left out" if found.left_out else ""
    wasted = f" and {usd(found.wasted)} for answers that could not be used" if found.wasted else ""
    router = f" and {usd(found.router)} for judging steps" if found.router else ""
    word = "saved" if found.saved >= 0 else "lost"
    flagship = " and ".join(found.flagship)
    return (
        f"{word} {usd(abs(found.saved))} against {flagship}: {usd(found.flagship_cost)} there, "
        f"{usd(found.cost)} here{wasted}{router}, over {found.compared} answers{left}"
    )


def _unpriced(calls: int) -> str:
    return f", and {calls} calls whose price is unknown" if calls else ""
