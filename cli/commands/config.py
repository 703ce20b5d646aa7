"""``pointsman config``: every setting in force and where it was set, and what is wrong with the policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ...configs.errors import ConfigError
from ...configs.loading.loader import unread
from .. import options
from ..errors import ExitCode
from ..io.output import answer
from ..io.table import table
from ..settings import GIVEN, settings_of

__all__ = ["commands"]


@options.project("offline", "overrides")
def show(
    section: Annotated[
        str, typer.Argument(metavar="SECTION", help="Only this section, such as routing or models.PROVIDER/NAME.")
    ] = "",
    origin: Annotated[bool, typer.Option("--origin", help="Say where each setting comes from.")] = False,
    json: options.AsJson = False,
) -> None:
    """Show the settings in force; keys appear by the name of their variable only."""
    settings = settings_of()
    made = settings.model_dump(mode="json", exclude={"origins", "secrets"}, exclude_none=True)
    leaves = [(name, value) for name, value in _leaves(made) if _below(name, section)]
    if section and not leaves:
        raise ConfigError(f"there is no setting {section!r}: pointsman config show lists them")
    found = {n: {"value": v, "origin": _origin(n, settings.origins)} if origin else v for n, v in leaves}
    rows = [(name, *([_origin(name, settings.origins)] if origin else []), _shown(value)) for name, value in leaves]
    answer(found, table(rows), json=json)


@options.project("offline", "overrides")
def check(
    json: options.AsJson = False,
) -> None:
    """Look for likely mistakes: rules that never apply, names that refer to nothing, tiers that one outage empties.

    Ends with 1 if a rule or name must be corrected; what a user class may not do, this machine lacks or is not read is
    only listed.
    """
    from ...dispatch.catalog import catalogue, policy_of, problems, unavailable
    from ...ledger.prices import PriceBook
    from ...routing.request import RoutingContext

    settings = settings_of()
    policy = policy_of(settings, catalogue(settings, PriceBook(settings.models)))
    found = problems(settings, policy, RoutingContext(unavailable=unavailable(settings)))
    faults = [str(one) for one in found if not one.subject.startswith(("class ", "tier "))]
    notes = [str(one) for one in found if one.subject.startswith(("class ", "tier "))]
    passed = unread(Path.cwd()) if GIVEN.get().config is None else ()
    notes += [f"{file.name} is not read, as this project has a folder configs: move it there" for file in passed]
    lines = [*(f"fault  {said}" for said in faults), *(f"note   {said}" for said in notes)]
    none = f"no fault in {len(policy.rules)} routing and {len(policy.risk_rules)} risk rules"
    answer({"faults": faults, "notes": notes}, "\n".join(lines) or none, json=json)
    raise typer.Exit(ExitCode.FAILED if faults else ExitCode.DONE)


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting with its dotted name; a rule is named by its id."""
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
    """Return where a setting was set; if only a whole section above it was set, where that was."""
    while name:
        if name in origins:
            return origins[name]
        name = name.rpartition(".")[0]
    return "built-in"


def _shown(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


commands = options.group(
    "Show the settings in force, and check them.",
    {"show": show, "check": check},
)
