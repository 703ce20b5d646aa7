"""``pointsman config show``: every setting in force, and where it was set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from . import options
from .screen import aligned, as_json, result

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback()(_group)
    group.command("show")(show)
    app.add_typer(group, name="config", help="Show the settings in force.")


def _group() -> None:
    """Keep ``show`` a command of its own, although it is the only one."""


def show(
    section: Annotated[
        str, typer.Argument(metavar="[SECTION]", help="Only this section, such as routing or models.PROVIDER/NAME.")
    ] = "",
    origin: Annotated[bool, typer.Option("--origin", help="Say where each setting comes from.")] = False,
    config: options.Config = None,
    offline: options.Offline = False,
    overrides: options.Set = None,
    json: options.AsJson = False,
) -> None:
    """Show the settings in force; keys appear by the name of their variable only."""
    from ..configs.errors import ConfigError
    from .settings import settings_of

    settings = settings_of(config, offline=offline, overrides=overrides)
    made = settings.model_dump(mode="json", exclude={"origins", "secrets"}, exclude_none=True)
    leaves = [(name, value) for name, value in _leaves(made) if _below(name, section)]
    if section and not leaves:
        raise ConfigError(f"there is no setting {section!r}: pointsman config show lists them")
    if json:
        as_json({n: {"value": v, "origin": _origin(n, settings.origins)} if origin else v for n, v in leaves})
        return
    rows = [(name, *([_origin(name, settings.origins)] if origin else []), _shown(value)) for name, value in leaves]
    result(aligned(rows))


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by its dotted name; a rule by its id."""
    if isinstance(node, Mapping) and node:
        for key, child in node.items():
            yield from _leaves(child, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list) and node and all(isinstance(item, Mapping) and "id" in item for item in node):
        for item in node:
            yield f"{path}.{item['id']}", {key: value for key, value in item.items() if key != "id" and value}
    else:
        yield path, node


def _below(name: str, section: str) -> bool:
    return not section or name == section or name.startswith(f"{section}.")


def _origin(name: str, origins: Mapping[str, str]) -> str:
    """Where a setting was set; a part of one that was set as a whole has that one's place."""
    while name:
        if name in origins:
            return origins[name]
        name = name.rpartition(".")[0]
    return "built-in"


def _shown(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
