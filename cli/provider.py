"""``pointsman provider``: switch a provider or a model off for a while, for every process of the project."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .screen import aligned, as_json, result, seconds

if TYPE_CHECKING:
    from ..dispatch.switches import Switch, Switches

__all__ = ["register"]

_Name = Annotated[str, typer.Argument(metavar="NAME", help="A provider, or a model as provider/name.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(rich_markup_mode=None)
    group.command("off")(off)
    group.command("on")(on)
    group.command("list")(list_)
    app.add_typer(group, name="provider", help="Switch a provider or a model off for a while, and on again.")


def off(
    name: _Name,
    duration: Annotated[float, typer.Option("--for", metavar="SECONDS", min=0.001, help="For how long.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, shown with every decision it changes.")] = "",
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Let nothing of this project ask it for so many seconds; running processes heed it at once."""
    switches, known = _opened(config)
    _check(name, known)
    now = time.time()
    switch = switches.off(name, now + duration, reason)
    if json:
        as_json(_record(switch, now))
    else:
        result(f"{name} is {switch.said}")


def on(name: _Name, config: options.Config = None, json: options.AsJson = False) -> None:
    """Switch it on before its time is over."""
    switches, known = _opened(config)
    was_off = switches.on(name)
    if not was_off:
        _check(name, known)
    if json:
        as_json({"name": name, "was_off": was_off})
    else:
        result(f"{name} is on again" if was_off else f"{name} was not switched off")


def list_(config: options.Config = None, json: options.AsJson = False) -> None:
    """List what is switched off."""
    switches, _ = _opened(config)
    now = time.time()
    found = switches.all()
    if json:
        as_json([_record(switch, now) for switch in found])
    elif not found:
        result("nothing is switched off")
    else:
        rows = [(switch.name, seconds(switch.until - now), switch.reason or "-") for switch in found]
        result(aligned(rows, ("name", "on again in", "why"), right=[1]))


def _opened(config: Path | None) -> tuple[Switches, list[str]]:
    from ..dispatch.switches import SWITCHES_FILE, Switches
    from .settings import settings_of

    settings = settings_of(config)
    return Switches(settings.state / SWITCHES_FILE), [*settings.providers, *settings.models]


def _check(name: str, known: Iterable[str]) -> None:
    from ..configs.errors import ConfigError
    from ..configs.layers import suggest

    names = list(known)
    if name not in names:
        raise ConfigError(f"there is no provider or model {name!r}{suggest(name, names)}: pointsman models lists them")


def _record(switch: Switch, now: float) -> dict[str, Any]:
    return {**asdict(switch), "seconds": switch.until - now}
