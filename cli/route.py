"""``pointsman route``: decide for recorded requests without calling any model, and explain decisions."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from . import options
from .errors import ExitCode
from .screen import aligned, as_json, progress, result, short

if TYPE_CHECKING:
    from ..configs.schema import Settings
    from ..routing.decision import Decision
    from ..routing.request import RouteRequest

__all__ = ["register"]

_MAX_LINE = 20_000_000
_Usable = Annotated[bool, typer.Option("--usable", help="Leave out what cannot be used from here, for want of a key.")]


class _DecideByDefault(TyperGroup):
    """Takes ``pointsman route FILE`` for ``pointsman route decide FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["decide", *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=_DecideByDefault, rich_markup_mode=None)
    group.command("decide")(decide)
    group.command("explain")(explain)
    said = "Decide for requests without calling a model; 'route FILE' is 'route decide FILE'."
    app.add_typer(group, name="route", help=said)


def decide(
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="JSON lines of requests; standard input when left out.")
    ] = "-",
    usable: _Usable = False,
    config: options.Config = None,
    offline: options.Offline = False,
    overrides: options.Set = None,
    json: options.AsJson = False,
) -> None:
    """Decide which model may run each request.

    Over the whole catalogue, so that the answer is the same on every machine, unless --usable.
    """
    decider = _Decider(config, offline=offline, overrides=overrides, usable=usable)
    rows: list[tuple[object, ...]] = []
    broken = 0
    for number, text in _lines(file):
        request = _request(text, number)
        if request is None:
            broken += 1
            continue
        decision = decider.decide(request)
        if json:
            as_json(decider.record(decision), lines=True)
        else:
            rules = " ".join(hit.id for hit in decision.rules)
            rows.append(
                (decision.request or number, decision.risk.value, decision.tier.value, decision.model or "none", rules)
            )
    if rows:
        result(aligned(rows, ("request", "risk", "tier", "model", "rules")))
    elif not broken and not json:
        progress("there were no requests: give JSON lines, such as " + '{"id":"1","kind":"decide","messages":[]}')
    if broken:
        raise typer.Exit(ExitCode.FAILED)


def explain(
    what: Annotated[str, typer.Argument(metavar="ID|FILE|-", help="A decision's id in the ledger, or a request.")],
    usable: _Usable = False,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Explain a recorded decision, or the decision a request would get."""
    stored = None if what == "-" or Path(what).is_file() else _stored(what, config)
    if stored is not None:
        records = [stored]
    else:
        decider = _Decider(config, offline=False, overrides=None, usable=usable)
        requests = [request for number, text in _lines(what) if (request := _request(text, number)) is not None]
        records = [decider.record(decider.decide(request)) for request in requests]
    for record in records:
        if json:
            as_json(record, lines=True)
        else:
            result(_told(record))
    if not records:
        raise typer.Exit(ExitCode.FAILED)


class _Decider:
    """Routing over the catalogue, without a ledger, so that nothing is written."""

    def __init__(self, config: Path | None, *, offline: bool, overrides: list[str] | None, usable: bool) -> None:
        from ..dispatch.catalogue import catalogue, policy_of, unavailable
        from ..ledger.prices import PriceBook
        from .settings import settings_of

        settings: Settings = settings_of(config, offline=offline, overrides=overrides)
        cards = catalogue(settings, PriceBook(settings.models))
        self._policy = policy_of(settings, cards)
        self._unavailable = dict(unavailable(settings)) if usable or offline else {}

    def decide(self, request: RouteRequest) -> Decision:
        from ..routing.decide import decide
        from ..routing.request import Circumstances

        return decide(self._policy.features(request), self._policy, Circumstances(unavailable=self._unavailable))

    def record(self, decision: Decision) -> dict[str, Any]:
        from ..routing.explain import decision_dict

        return dict(decision_dict(decision))


def _lines(file: str) -> Iterator[tuple[int, bytes]]:
    from ..configs.errors import ConfigError

    if file == "-":
        if sys.stdin.isatty():
            progress("reading requests from standard input, one JSON object a line")
        yield from _numbered(sys.stdin.buffer)
        return
    try:
        with Path(file).open("rb") as source:
            yield from _numbered(source)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or type(error).__name__}", file=file) from error


def _numbered(source: Any) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := source.readline(_MAX_LINE + 1):
        number += 1
        if line.strip():
            yield number, line


def _request(text: bytes, number: int) -> RouteRequest | None:
    """Read one request, or say what is wrong with its line."""
    from pydantic import ValidationError

    from ..routing.request import RouteRequest

    if len(text) > _MAX_LINE:
        progress(f"error: line {number}: is longer than {_MAX_LINE:,} bytes")
        return None
    try:
        made = json.loads(text)
    except (ValueError, RecursionError) as error:
        progress(f"error: line {number}: is not JSON: {short(error, 120)}")
        return None
    if not isinstance(made, dict):
        progress(f"error: line {number}: a request is a JSON object with messages, kind, effects and so on")
        return None
    try:
        return RouteRequest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        said = first["msg"]
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(where, RouteRequest.model_fields, n=1)
            said = f"unknown key; did you mean {near[0]!r}?" if near else "unknown key"
        progress(f"error: line {number}: {where}: {short(said, 160)}")
        return None


def _stored(decision: str, config: Path | None) -> dict[str, Any]:
    from ..configs.errors import ConfigError
    from .records import decision_record
    from .settings import opened

    with opened(config) as runtime:
        row = runtime.ledger.decision(decision)
    if row is None:
        raise ConfigError(f"{decision!r} is neither a file nor a decision in the ledger; run --json tells their ids")
    return decision_record(row)


def _told(record: dict[str, Any]) -> str:
    """A decision in words."""
    model = record["model"]
    lines = [
        f"decision {record['id']}",
        f"  risk        {record['risk']}" + (f", so nothing below {record['floor']}" if record.get("floor") else ""),
        f"  tier        {record['tier']}",
        f"  model       {model or 'none may run this step'}",
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
    lines += ["    " + row for row in aligned(rejected).splitlines()] or ["    none"]
    features = {key: value for key, value in (record.get("features") or {}).items() if value and key != "id"}
    lines.append("  made from   " + ", ".join(f"{key}={_plain(value)}" for key, value in features.items()))
    return "\n".join(lines)


def _plain(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
