"""``pointsman replay``: repeat the decisions in the ledger under another routing policy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.errors import ConfigError
from .. import options
from ..io import durations
from ..io.output import answer, as_json, seconds, short, usd
from ..io.reading import readable
from ..io.table import table
from ..settings import GIVEN, settings_of

if TYPE_CHECKING:
    from ...configs.schema import Settings
    from ...evaluation.metrics import Interval
    from ...evaluation.replay_report import Difference, ReplayReport, Shift

__all__ = ["replay"]

_SHOWN = 20


@options.project("overrides")
def replay(
    policy: Annotated[Path, typer.Option("--policy", metavar="FILE", help="Stands in for the project's routing.yaml.")],
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="Only since then: 2h, 7d, or 2026-11-30[T12:00] UTC.")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Only the decisions of this run.")] = None,
    each: Annotated[bool, typer.Option("--each", help="Print a JSON line for every decision first.")] = False,
    json: options.AsJson = False,
) -> None:
    """Say what a routing policy would have changed in the recorded decisions, without asking any model."""
    from ...ledger.ledger import Ledger

    kept = settings_of()
    file = kept.state / "ledger.db"
    settings = _with_policy(policy)
    start = durations.since(since)
    if not file.is_file():
        raise ConfigError("nothing has been recorded yet: pointsman run", file=file)
    from ...agents.errors import NoRun
    from ...evaluation import replay as replaying

    with readable(kept) as usable, Ledger(usable.state / file.name) as ledger:
        if run is not None and ledger.run(run) is None:
            raise NoRun(kept.state, run)
        made = replaying.replay(
            ledger,
            settings,
            since=start,
            run=run,
            each=(lambda found: as_json(asdict(found), lines=True)) if each else None,
        )
    answer(asdict(made), "\n".join(_told(made)), json=json, lines=each)


def _with_policy(policy: Path) -> Settings:
    """Return the settings that apply if this file replaces routing.yaml."""
    from ...configs.loading.layers import FILES
    from ...configs.loading.loader import project_folder

    if not policy.is_file():
        raise ConfigError("there is no such policy file", file=policy)
    home = project_folder(Path.cwd(), GIVEN.get().config)
    with TemporaryDirectory() as name:
        folder = Path(name)
        for sibling in FILES:
            if sibling != "routing" and (home / f"{sibling}.yaml").is_file():
                shutil.copyfile(home / f"{sibling}.yaml", folder / f"{sibling}.yaml")
        shutil.copyfile(policy, folder / "routing.yaml")
        try:
            # The named file is only used for the comparison, and trust in its siblings has been settled by now.
            return settings_of(config=folder, trust=True)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(folder / "routing.yaml"), str(policy))) from None


def _told(made: ReplayReport) -> Iterator[str]:
    again = made.decisions - made.skipped
    yield f"policy     {made.policy_hash}"
    yield f"decisions  {made.decisions}, {again} of them decided again"
    if made.skipped:
        yield f"skipped    {made.skipped}: their features are of another version"
    if not again:
        return
    yield f"choice     {made.same} as before, {made.other} another model, {made.none} no model at all"
    if made.unsupported:
        yield f"           {made.unsupported} choices are unsupported: hardly or never tried for their task"
    left = [f"{count} {why}" for why, count in made.left_out.items()]
    if left:
        yield f"left out   {', '.join(left)}"
    yield f"cost       {_difference(made.cost, usd)}"
    yield f"time       {_difference(made.latency, _seconds)}"
    for name, shift in (("risk", made.risk), ("floor", made.floor)):
        yield f"{name:<10} {_shift(shift)}"
    yield f"           {made.below_floor} decisions below the floor that was recorded"
    yield f"intervals  95 %, over {made.resampled}"
    tiers = [(t.tier, _percent(t.recorded), _percent(t.new), _interval(t.change, _points)) for t in made.tiers]
    yield ""
    yield table(tiers, ("tier", "recorded", "new", "change"), right=[1, 2])
    if made.choices:
        yield ""
        yield from _choices(made)
    if made.changes:
        yield ""
        yield from _changes(made)
    for note in made.notes:
        yield f"note: {note}"


def _choices(made: ReplayReport) -> Iterator[str]:
    rows = [
        (
            choice.decisions,
            choice.task,
            choice.model,
            choice.calls,
            "-" if choice.failed is None else _percent(choice.failed),
            seconds(choice.p50),
            seconds(choice.p95),
            "yes" if choice.supported else "no",
        )
        for choice in made.choices[:_SHOWN]
    ]
    head = ("decisions", "task", "new choice", "seen calls", "failed", "p50", "p95", "supported")
    yield table(rows, head, right=[0, 3, 4, 5, 6])


def _changes(made: ReplayReport) -> Iterator[str]:
    rows = [
        (
            change.decisions,
            change.task,
            change.model or "none",
            change.new_model or "none",
            " ".join([*(f"+{rule}" for rule in change.gained), *(f"-{rule}" for rule in change.lost)]) or "same rules",
            short(change.why, 60),
        )
        for change in made.changes[:_SHOWN]
    ]
    yield table(rows, ("decisions", "task", "recorded", "new", "rules", "the recorded one"), right=[0])
    if len(made.changes) > _SHOWN:
        yield f"and {len(made.changes) - _SHOWN} more ways, with --json"


def _difference(found: Difference | None, shown: Callable[[float], str]) -> str:
    if found is None:
        return "unknown: nothing can be compared"
    share = "" if found.share is None else f", {_interval(found.share, _signed_percent)}"
    change = _interval(found.change, shown)
    return f"{shown(found.recorded)} -> {shown(found.new)}: {change}{share}, over {found.decisions} decisions"


def _shift(found: Shift | None) -> str:
    if found is None:
        return "unknown"
    return (
        f"{found.lower} lower {_interval(found.lower_share, _percent)}, "
        f"{found.higher} higher {_interval(found.higher_share, _percent)}"
    )


def _interval(found: Interval, shown: Callable[[float], str]) -> str:
    return f"{shown(found.value)} [{shown(found.low)}, {shown(found.high)}]"


def _seconds(duration: float) -> str:
    return ("-" if duration < 0 else "") + seconds(abs(duration))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _signed_percent(share: float) -> str:
    return f"{100 * share:+.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
