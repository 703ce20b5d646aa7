"""``pointsman provider``: show each model's state, probe it, and switch it off for a while for the whole project."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...configs.errors import ConfigError
from .. import options
from ..errors import ExitCode
from ..io.output import answer, as_json, line, money, paint, progress, result, seconds, short
from ..io.records import dollars
from ..io.simulated import named
from ..io.table import table
from ..settings import settings_of
from ..signals import run_to_end

if TYPE_CHECKING:
    from ...configs.catalog import ModelCard
    from ...configs.schema import ModelEntry, Settings
    from ...dispatch.dispatcher import Dispatcher
    from ...dispatch.guards.availability import Override, Overrides
    from ...dispatch.probe import Probed
    from ...ledger.health import HealthRow

__all__ = ["commands"]

_Name = Annotated[str, typer.Argument(metavar="NAME", help="A provider, or a model as provider/name.")]

_DETAIL_CHARACTERS = 160


def off(
    name: _Name,
    duration: Annotated[float, typer.Option("--for", metavar="SECONDS", min=0.001, help="For how long.")],
    reason: Annotated[
        str, typer.Option("--reason", metavar="WHY", help="Why, shown with every decision it changes.")
    ] = "",
    json: options.AsJson = False,
) -> None:
    """Let nothing of this project ask it for so many seconds; running processes heed it at once."""
    settings, overrides = _opened()
    _check([name], settings)
    now = time.time()
    override = overrides.off(name, now + duration, reason)
    answer({**asdict(override), "seconds": override.until - now}, f"{name} is {override.said}", json=json)


def on(name: _Name, json: options.AsJson = False) -> None:
    """Switch it on before its time is over."""
    settings, overrides = _opened()
    was_off = overrides.on(name)
    if not was_off:
        _check([name], settings)
    answer(
        {"name": name, "was_off": was_off},
        f"{name} is on again" if was_off else f"{name} was not switched off",
        json=json,
    )


def list_(json: options.AsJson = False) -> None:
    """List the state of each model (usable, switched off, or avoided for failures or slowness) and its limits.

    Known failures are those that the processes of this project met; a refused key is known only to the process that met
    it, so other processes try it again.
    """
    settings, overrides = _opened(changes=False)
    records = _states(settings, overrides.all(), _kept(settings))
    rows = [
        (
            record["name"],
            record["state"],
            "-" if record["seconds"] is None else seconds(record["seconds"]),
            record["reason"] or "-",
            _limits(record),
        )
        for record in records
    ]
    answer(records, table(rows, ("name", "state", "for", "why", "takes a minute"), right=[2]), json=json)


def probe(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Providers or models; all that can be used if none.")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.001, help="For each answer.")] = 30.0,
    json: options.AsJson = False,
) -> None:
    """Ask each model for one word, at its price; ends with code 1 when one does not answer.

    A model that answers is used again by every process at once; one that does not is avoided for a while.
    """
    from ...dispatch.dispatcher import Dispatcher

    # A cached answer would say nothing about the model.
    settings = settings_of(overrides=["routing.cache.mode=off"])
    _check(names or (), settings)
    with Dispatcher(settings) as dispatcher:
        found = run_to_end(_probed(dispatcher, names or (), timeout, json))
    if json:
        as_json(found)
    elif not found:
        result("there is no model to ask: pointsman doctor says what is missing")
    if not found or not all(record["ok"] for record in found):
        raise typer.Exit(ExitCode.FAILED)


async def _probed(dispatcher: Dispatcher, names: Iterable[str], timeout: float, quiet: bool) -> list[dict[str, Any]]:
    """Ask all at once, and print a line as each answers."""
    import asyncio

    from ...dispatch.probe import Probed
    from ...dispatch.probe import probe as ask

    unusable, wanted = dispatcher.availability.reasons(), set(names)
    reasons = {card.id: unusable.get(card.id) or unusable.get(card.provider) for card in dispatcher.cards.values()}
    if wanted:
        cards = [card for card in dispatcher.cards.values() if wanted & {card.id, card.provider}]
    else:
        # A model that serves some tasks only is a program on this machine, and does not answer questions.
        cards = [card for card in dispatcher.cards.values() if card.tasks is None and not reasons[card.id]]
    width = max((len(card.id) for card in cards), default=0)
    # Loading SDKs while other models answer would be counted in the time of those answers.
    began = time.monotonic()
    for card in cards:
        if not reasons[card.id]:
            await dispatcher.clients.ready(card)
    if cards and not quiet:
        progress(f"clients ready in {time.monotonic() - began:.1f} s, which no time-out counts")

    async def one(card: ModelCard) -> dict[str, Any]:
        reason = reasons[card.id]
        probed = (
            Probed(card.id, False, None, None, reason.reason, {}) if reason else await ask(dispatcher, card, timeout)
        )
        if not quiet:
            _show(probed, width)
        return {**asdict(probed), "cost": dollars(probed.cost)}

    return list(await asyncio.gather(*(one(card) for card in cards)))


def _show(probed: Probed, width: int) -> None:
    state = paint("ok    ", "green", err=False) if probed.ok else paint("failed", "red", err=False)
    left = ", ".join(f"{amount:.0f} {resource.replace('_', ' ')}" for resource, amount in probed.left.items())
    said = f"{left} left" if probed.ok and left else short(probed.detail, _DETAIL_CHARACTERS)
    cost = "-" if probed.seconds is None else money(probed.cost)
    shown = f"{state}  {named(probed.model):<{width}}  {seconds(probed.seconds):>8}  {cost:>10}  {line(said)}"
    result(shown.rstrip(), painted=True)


def _opened(*, changes: bool = True) -> tuple[Settings, Overrides]:
    from ...dispatch.guards.availability import OVERRIDES_FILE, Overrides
    from ...dispatch.state.ownership import claim, refuse_foreign

    settings = settings_of()
    (claim if changes else refuse_foreign)(settings)
    return settings, Overrides(settings.state / OVERRIDES_FILE)


def _check(names: Iterable[str], settings: Settings) -> None:
    from ...configs.loading.layers import suggest

    known = [*settings.providers, *settings.models]
    for name in names:
        if name not in known:
            near = suggest(name, known)
            raise ConfigError(f"there is no provider or model {name!r}{near}: pointsman models lists them")


def _kept(settings: Settings) -> dict[tuple[str, str, str], HealthRow]:
    from ...ledger.health import HealthBook

    path = settings.state / "ledger.db"
    # Reading must not create a ledger.
    rows = HealthBook(path).load() if path.exists() else ()
    return {(row.provider, row.model, row.region): row for row in rows}


def _states(
    settings: Settings, overrides: Iterable[Override], kept: Mapping[tuple[str, str, str], HealthRow]
) -> list[dict[str, Any]]:
    from ...dispatch.catalog import unavailable

    now, missing = time.time(), unavailable(settings)
    off_now = {override.name: override for override in overrides}
    records = []
    for name, entry in settings.models.items():
        provider, _, model = name.partition("/")
        override = off_now.get(name) or off_now.get(provider)
        row = kept.get((provider, entry.name or model, settings.providers[provider].region or ""))
        if override is not None:
            record = _record(name, "off", override.until - now, override.reason, entry)
        elif provider in missing:
            record = _record(name, "unusable", None, missing[provider].reason, entry)
        elif row is not None and row.until > now:
            record = _record(name, "open", row.until - now, row.reason, entry)
        elif row is not None:
            record = _record(name, "half open", None, f"the next call shows whether it is well: {row.reason}", entry)
        else:
            record = _record(name, "on", None, "", entry)
        records.append(record)
    gone = [override for name, override in off_now.items() if name not in {*settings.models, *settings.providers}]
    return records + [_record(override.name, "off", override.until - now, override.reason) for override in gone]


def _record(name: str, state: str, left: float | None, reason: str, entry: ModelEntry | None = None) -> dict[str, Any]:
    limits = {"rpm": entry.rpm if entry else None, "tpm": entry.tpm if entry else None}
    return {"name": name, "state": state, "seconds": left, "reason": reason, **limits}


def _limits(record: Mapping[str, Any]) -> str:
    amounts = [(record["rpm"], "requests"), (record["tpm"], "tokens")]
    return ", ".join(f"{amount:.0f} {noun}" for amount, noun in amounts if amount is not None) or "-"


commands = options.group(
    "Show the state of models, probe them, and switch one off and on.",
    {"off": off, "on": on, "list": list_, "probe": probe},
)
