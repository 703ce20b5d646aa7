"""Describe a mistake in a merged configuration in one line that names the place and the fix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Any, Final, NoReturn, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from ..features import CHOICES, NUMBERS, RISK_FEATURES, ROUTING_FEATURES
from ..redact import redact
from ..schema import LOCAL_EMBEDDERS, RiskRule, RoutingRule, Settings
from ..words import Effect, FailureKind
from .documents import Node, Place, fail
from .layers import RENAMED, RULES, suggest

__all__ = ["check_names", "check_secrets", "explain"]

# Fields that no file can set.
_OURS: Final = frozenset({"needs_mark", "obeyed", "origins", "project", "secrets", "sources"})
_WANTED: Final[Mapping[str, str]] = {
    "string_type": "must be text; put it in quotes",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "tuple_type": "must be a list",
    "mapping_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "date_from_datetime_parsing": "must be a date such as 2026-11-21",
    "date_parsing": "must be a date such as 2026-11-21",
    "date_type": "must be a date such as 2026-11-21",
}


# Bounds that may be changed but not removed; and what to write instead.
_KEPT: Final = (("risk", "floors"), ("routing", "budgets"))
_BOUNDS: Final[Mapping[str, str]] = {
    "risk": "name the tier below which such a step may not run, such as frontier",
    "routing": "write the USD that may be spent",
}


def explain(error: ValidationError, tree: Node) -> NoReturn:
    """Raise the first mistake that pydantic found as a `ConfigError` with its place."""
    # An unknown key is reported first: a misspelt required key is also a missing one, and the spelling is the cause.
    details = error.errors(include_url=False, include_context=True)
    detail = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
    path, place = _find(tree, detail["loc"])
    kind, value = detail["type"], detail.get("input")
    name = _dotted(tree, path)
    if path[-1:] == ("key",) and path[0] == "providers":
        fail(f"{name} takes the NAME of an environment variable", place)
    if kind == "extra_forbidden":
        known = [f for f in _fields(path[:-1]) if f not in _OURS]
        inside = _dotted(tree, path[:-1])
        if new := RENAMED.get((str(path[0]), str(path[-1]))) if len(path) == 2 else None:
            fail(f"'{path[-1]}' is called '{new}' now: write {new}: in its place", place)
        fail(f"unknown key '{path[-1]}'{f' in {inside}' if inside else ''}{suggest(str(path[-1]), known)}", place)
    if kind == "missing":
        fail(f"{_dotted(tree, path[:-1]) or 'the configuration'} lacks '{path[-1]}'", place)
    if kind in ("enum", "literal_error"):
        choices = re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))
        is_key = detail["loc"][-1] == "[key]"
        what = f"unknown key '{path[-1]}' in {_dotted(tree, path[:-1])}" if is_key else f"{name}: {_show(value)}"
        text = value if isinstance(value, str) else str(value)
        fail(f"{what} is not one of {', '.join(choices)}{suggest(text, choices)}", place)
    if "when" in path and path[-1] != "when":
        fail(f"{name} must be a value, a list of values, or a mapping with min and max", place)
    fail(f"{name} {_WANTED.get(kind) or _lower(detail['msg'])}{_instead(kind, path)}", place)


_CAPS: Final = ("max_cost", "max_tokens")


def _instead(kind: str, path: tuple[str | int, ...]) -> str:
    """Return a hint on what to write instead of an invalid amount of money."""
    if kind not in ("finite_number", "greater_than_equal"):
        return ""
    if "prices" in path:
        return "; where a price is not known leave out `prices`, and it counts as unknown"
    capped = path[:2] == ("routing", "budgets") or path[-1:] == ("max_cost",)
    return "; write USD, or leave it out for no cap" if capped else ""


def _lower(message: str) -> str:
    return message.replace("Input should be", "must be").replace("Value error, ", "")


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "the truth value " + str(value).lower()
    text = repr(value) if isinstance(value, str | int | float | bool) else f"a {type(value).__name__}"
    return redact(text if len(text) <= 60 else text[:57] + "...")


def _fields(path: tuple[str | int, ...]) -> Iterable[str]:
    """Return the keys that are allowed at a path, according to the types of the schemas."""
    kind: Any = Settings
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = None if field is None else field.annotation
        else:
            # The type of each item of a list, or of each value of a mapping.
            args = get_args(kind) or (None,)
            kind = args[0] if get_origin(kind) is tuple else args[-1]
        if get_origin(kind) in (Union, UnionType):
            kind = get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_fields
    return ("min", "max") if "when" in path else ()


def _find(tree: Node, loc: tuple[str | int, ...]) -> tuple[tuple[str | int, ...], Place]:
    """Follow a pydantic location as far as the tree goes, skipping the parts it adds for unions and keys."""
    path: list[str | int] = []
    node = tree
    for part in loc:
        if _holds(node, part):
            node = node.value[part]
            path.append(part)
        elif isinstance(node.value, Mapping) and part != "[key]" and not _is_a_union_tag(part):
            # A missing key has a name, but no place other than its mapping's.
            path.append(part)
            break
    return tuple(path), node.place


def _is_a_union_tag(part: str | int) -> bool:
    return isinstance(part, str) and ("[" in part or "(" in part)


def _dotted(tree: Node, path: tuple[str | int, ...]) -> str:
    """Return a path in dotted form, with rules by their ids."""
    parts: list[str] = []
    node = tree
    for index, part in enumerate(path):
        known = node.value[part] if _holds(node, part) else Node(None, node.place)
        if isinstance(part, int) and tuple(path[:index]) in RULES and isinstance(known.value, dict):
            parts[-1] += f"[{redact(str(known.value['id'].value))}]"
        elif isinstance(part, int):
            parts[-1] += f"[{part}]"
        else:
            parts.append(part)
        node = known
    return ".".join(parts)


def _holds(node: Node, part: str | int) -> bool:
    if isinstance(node.value, dict):
        return part in node.value
    return isinstance(node.value, list) and isinstance(part, int) and part < len(node.value)


def check_secrets(tree: Node) -> None:
    """Reject secrets written into the configuration itself.

    Raises:
        ConfigError: A value looks like a vendor's key, a provider's ``key`` is not the name of a variable, or a
            ``base_url`` contains a password. The message never contains the value.
    """
    for path, node in _scalars(tree, ()):
        text = node.value
        # The built-in files are most of the tree and the same in every process; a test checks them once.
        if not isinstance(text, str) or node.place.layer == "built-in":
            continue
        if path[0] == "providers" and path[-1] == "key" and len(path) == 3 and not _names_a_variable(text):
            fail(f"{_shown(path)} takes the NAME of an environment variable", node.place)
        if path[-1] == "base_url" and path[0] == "providers":
            _check_url(text, _shown(path), node.place)
        if redact(text) != text:
            told = "holds what looks like a key; put it in an environment variable and name that"
            fail(f"{_shown(path)} {told}", node.place)


def _shown(path: tuple[str, ...]) -> str:
    return redact(".".join(path))


def _names_a_variable(text: str) -> bool:
    if redact(text) != text or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", text):
        return False
    # Hexadecimal and base64 keys are also valid names, but names do not have 24 characters without an underscore.
    return not re.fullmatch(r"[A-Za-z0-9]{24,}", text)


def _check_url(text: str, name: str, place: Place) -> None:
    try:
        parts = urlsplit(text)
        password = parts.password
    except ValueError:
        fail(f"{name} is not a URL", place)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        fail(f"{name} must be a URL that begins with http:// or https://", place)
    if password is not None or parts.username is not None:
        fail(f"{name} must not hold a user name or password", place)
    if parts.query:
        fail(f"{name} must end before the '?': each request puts a path of its own behind it", place)


def _scalars(node: Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Node]]:
    if isinstance(node.value, dict):
        for key, child in node.value.items():
            yield from _scalars(child, (*path, key))
    elif isinstance(node.value, list):
        for index, child in enumerate(node.value):
            yield from _scalars(child, (*path, str(index)))
    else:
        yield path, node


def check_names(settings: Settings, tree: Node, removed: Mapping[tuple[str, ...], Place]) -> None:
    """Check the references between settings.

    Args:
        settings: Settings that are valid by their schema.
        tree: The same settings with places.
        removed: The settings that null removed, and where.

    Raises:
        ConfigError: A name refers to nothing, a rule has a feature or value that cannot match, or a table lacks a key.
    """
    names = _Names(settings, tree, removed)
    for name in settings.models:
        provider, slash, rest = name.partition("/")
        if not (provider and slash and rest):
            fail(f"the model '{name}' must be called provider/name", names.place("models", name))
        names.known(provider, "provider", settings.providers, "models", name)
    _check_embedder(settings, names)
    _check_agents(settings, names)
    _check_servers(settings, names)
    either = {**settings.providers, **settings.models}
    for model_or_provider in settings.routing.approved or ():
        names.known(model_or_provider, "model or provider", either, "routing", "approved")
    if settings.routing.classifier.model is not None:
        names.known(settings.routing.classifier.model, "model", settings.models, "routing", "classifier", "model")
    for index, rule in enumerate(settings.routing.rules):
        where = ("routing", "rules", index)
        for name in rule.prefer:
            names.known(name, "model", settings.models, *where, "prefer")
        for name in rule.avoid:
            names.known(name, "model or provider", either, *where, "avoid")
        scores = {score for model in settings.models.values() for score in model.scores}
        for name in rule.require:
            names.known(name, "score", scores, *where, "require", name)
        names.check_when(rule, ROUTING_FEATURES, *where)
    for index, risk_rule in enumerate(settings.risk.rules):
        names.check_when(risk_rule, RISK_FEATURES, "risk", "rules", index)
    for path, place in removed.items():
        if any(path[: len(kept)] == kept or path == kept[: len(path)] for kept in _KEPT) or path[-1] in _CAPS:
            fail(f"{'.'.join(path)}: null would take a bound away; {_BOUNDS.get(path[0], '')}", place)
    names.complete(settings.routing.on_failure, FailureKind, "routing", "on_failure")
    names.complete(settings.risk.call, Effect, "risk", "call")


def _check_embedder(settings: Settings, names: _Names) -> None:
    kind, slash, rest = settings.embedder.model.partition("/")
    known = [*LOCAL_EMBEDDERS, *settings.providers]
    if kind not in known or bool(slash and rest) == (kind == LOCAL_EMBEDDERS[0]):
        fail(
            f"embedder.model: {_show(settings.embedder.model)} is not {LOCAL_EMBEDDERS[0]}, nor one of "
            f"{', '.join(LOCAL_EMBEDDERS[1:])} or a provider with a slash and a model{suggest(kind, known)}",
            names.place("embedder", "model"),
        )


def _check_agents(settings: Settings, names: _Names) -> None:
    for name, agent in settings.agents.items():
        if agent.model is not None:
            names.known(agent.model, "model", settings.models, "agents", name, "model")
    for name, workflow in settings.workflows.items():
        for agent_name in workflow.agents:
            names.known(agent_name, "agent", settings.agents, "workflows", name, "agents")
        for index, step in enumerate(workflow.steps):
            names.known(
                step.agent, "agent of the workflow", workflow.agents, "workflows", name, "steps", index, "agent"
            )


def _check_servers(settings: Settings, names: _Names) -> None:
    keys = {provider.key: name for name, provider in settings.providers.items() if provider.key}
    for server, entry in settings.mcp.items():
        for name, variable in entry.secrets.items():
            if variable in keys:
                where = ("mcp", server, "secrets", name)
                fail(
                    f"{'.'.join(where)}: {variable} is the key of {keys[variable]}, which only {keys[variable]} is "
                    "sent; name another variable",
                    names.place(*where),
                )


class _Names:
    """The checks of references, with the places for their messages."""

    def __init__(self, settings: Settings, tree: Node, removed: Mapping[tuple[str, ...], Place]) -> None:
        self._settings = settings
        self._tree = tree
        self._removed = removed

    def place(self, *path: str | int) -> Place:
        return _find(self._tree, path)[1]

    def known(self, name: str, what: str, names: Iterable[str], *path: str | int) -> None:
        if name in names:
            return
        user = _dotted(self._tree, path)
        for section in ("providers", "models"):
            if (section, name) in self._removed:
                message = f"{section}.{name} is removed here, but {user} still names it; change that too"
                fail(message, self._removed[section, name])
        fail(f"{user} names an unknown {what} '{name}'{suggest(name, names)}", self.place(*path))

    def check_when(self, rule: RiskRule | RoutingRule, features: Mapping[str, str], *path: str | int) -> None:
        for feature, condition in rule.when.items():
            where = (*path, "when", feature)
            name, place = _dotted(self._tree, where), self.place(*where)
            if feature not in features:
                if feature in ROUTING_FEATURES:
                    fail(f"{name}: a risk rule may not ask for '{feature}', only for declared facts", place)
                fail(f"{name}: unknown feature '{feature}'{suggest(feature, features)}", place)
            if isinstance(condition, Mapping):
                low, high = condition.get("min"), condition.get("max")
                if feature not in NUMBERS:
                    fail(f"{name} is no number and takes no min or max", place)
                if low is None and high is None:
                    fail(f"{name} needs a min or a max", place)
                if low is not None and high is not None and low > high:
                    fail(f"{name}: min is above max, so it never holds", place)
                continue
            if not condition:
                fail(f"{name} is an empty list, so it never holds", place)
            for value in condition:
                self._check_value(feature, value, name, place)

    def _check_value(self, feature: str, value: Any, name: str, place: Place) -> None:
        if feature in NUMBERS:
            if isinstance(value, bool) or not isinstance(value, int | float):
                fail(f"{name} must be a number, or a mapping with min and max", place)
        elif feature in CHOICES:
            choices = CHOICES[feature]
            # 1 == True in Python, but not here.
            if not any(value == choice and type(value) is type(choice) for choice in choices):
                words = [str(choice).lower() for choice in choices]
                fail(f"{name}: {_show(value)} is not one of {', '.join(words)}{suggest(str(value), words)}", place)
        elif not isinstance(value, str):
            fail(f"{name} must be text; put it in quotes", place)

    def complete(self, table: Mapping[Any, Any], keys: Iterable[Any], *path: str) -> None:
        for key in keys:
            if key not in table:
                fail(f"{'.'.join(path)} lacks '{key}'", self._removed.get((*path, str(key)), self.place(*path)))
