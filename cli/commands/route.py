"""``pointsman route``: decide on a model for recorded requests without calling any, and explain decisions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ...configs.errors import ConfigError
from .. import options
from ..errors import ExitCode
from ..io.output import answer, as_json, progress, result
from ..io.requests import broken_line, lines_of, request_of
from ..io.simulated import named
from ..io.table import table
from ..settings import GIVEN, opened, settings_of

if TYPE_CHECKING:
    from ...configs.schema import Settings
    from ...routing.decision import Decision
    from ...routing.request import RouteRequest

__all__ = ["commands"]

_Usable = Annotated[bool, typer.Option("--usable", help="Leave out what cannot be used here, such as without a key.")]


class _DecideByDefault(TyperGroup):
    """A command group that treats ``pointsman route FILE`` as ``pointsman route decide FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["decide", *args]
        return super().parse_args(ctx, args)


@options.project("offline", "overrides")
def decide(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON lines of requests; standard input when left out.")
    ] = "-",
    usable: _Usable = False,
    json: options.AsJson = False,
) -> None:
    """Decide which model may run each request.

    The whole catalogue is considered, so that the answer is the same on every machine, unless --usable is given.
    """
    decider = _Decider(usable=usable or GIVEN.get().offline)
    rows: list[tuple[object, ...]] = []
    broken = 0
    for number, text in lines_of(file):
        request = request_of(text, number)
        if request is None:
            broken += 1
            continue
        try:
            decision = decider.decide(request)
        except ConfigError as error:
            broken_line(number, str(error))
            broken += 1
            continue
        if json:
            as_json(decider.record(decision), lines=True)
        else:
            rules = " ".join(hit.id for hit in decision.rules)
            rows.append(
                (
                    decision.request or number,
                    decision.risk.value,
                    decision.tier.value,
                    named(decision.model or "none"),
                    rules,
                )
            )
    if rows:
        result(table(rows, ("request", "risk", "tier", "model", "rules")))
    elif not broken and not json:
        progress("there were no requests: give JSON lines, such as " + '{"id":"1","kind":"decide","messages":[]}')
    if broken:
        raise typer.Exit(ExitCode.USAGE)


def explain(
    what: Annotated[str, typer.Argument(metavar="ID|FILE|-", help="A decision's id in the ledger, or a request.")],
    usable: _Usable = False,
    json: options.AsJson = False,
) -> None:
    """Explain a recorded decision, or the decision a request would get."""
    stored = None if what == "-" or Path(what).is_file() else _stored(what)
    requests: list[RouteRequest | None] = []
    if stored is not None:
        records = [stored]
    else:
        decider = _Decider(usable=usable)
        requests = [request_of(text, number) for number, text in lines_of(what)]
        records = [decider.record(decider.decide(request)) for request in requests if request is not None]
    for record in records:
        answer(record, _told(record), json=json, lines=True)
    if stored is None and (not requests or None in requests):
        raise typer.Exit(ExitCode.USAGE)


class _Decider:
    """Routing over the catalogue without a ledger, so that nothing is written."""

    def __init__(self, *, usable: bool) -> None:
        from ...dispatch.catalog import catalogue, policy_of, unavailable
        from ...ledger.prices import PriceBook

        settings: Settings = settings_of()
        cards = catalogue(settings, PriceBook(settings.models))
        self._policy = policy_of(settings, cards)
        self._unavailable = dict(unavailable(settings)) if usable else {}
        if settings.routing.scorer == "classifier":
            progress("no model is asked here, so the rules decide without the classifier")

    def decide(self, request: RouteRequest) -> Decision:
        from ...routing.decide import decide
        from ...routing.request import RoutingContext

        return decide(self._policy.features(request), self._policy, RoutingContext(unavailable=self._unavailable))

    def record(self, decision: Decision) -> dict[str, Any]:
        from ...routing.explain import decision_dict

        return dict(decision_dict(decision))


def _stored(decision: str) -> dict[str, Any]:
    from ..io.records import decision_record

    with opened(reads=True) as runtime:
        row = runtime.ledger.decision(decision)
    if row is None:
        raise ConfigError(
            f"{decision!r} is neither a file nor a decision in the ledger: pointsman runs show RUN tells their ids"
        )
    return decision_record(row)


def _told(record: dict[str, Any]) -> str:
    """Return a decision in words."""
    model = record["model"]
    lines = [
        f"decision {record['id']}",
        f"  risk        {record['risk']}" + (f", so nothing below {record['floor']}" if record.get("floor") else ""),
        f"  tier        {record['tier']}",
        f"  model       {named(model) if model else 'no model may run this step'}",
        f"  confidence  {record['confidence']:.2f}",
        f"  policy      {record['policy_hash']}, prices {record.get('price_version') or 'unknown'}",
        "  because",
    ]
    lines += [f"    {hit['id']}: {hit['reason']}" for hit in record["rules"]]
    if record["candidates"]:
        lines.append("  then, in this order")
        lines += [f"    {name}" for name in record["candidates"]]
    lines.append("  rejected")
    rejected = [(r["model"], r["reason"]) for r in record["rejected"]]
    lines += table(rejected, indent=4).splitlines() or ["    none"]
    features = {key: value for key, value in (record.get("features") or {}).items() if value and key != "id"}
    lines.append("  made from   " + ", ".join(f"{key}={_plain(value)}" for key, value in features.items()))
    return "\n".join(lines)


def _plain(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


commands = options.group(
    "Decide for requests without calling a model; 'route FILE' is 'route decide FILE'.",
    {"decide": decide, "explain": explain},
    cls=_DecideByDefault,
)
