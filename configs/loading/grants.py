"""`grants`: changes in a project's files beyond choosing among what the user allows, or being stricter."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..redact import redact
from ..schema import Settings
from ..words import Effect, Tier
from .documents import Place

__all__ = ["Grant", "grants"]

Path = tuple[str, ...]

_GONE: Final = None
"""Stands for an absent setting: removed, or not there before."""

_WHOLE: Final[tuple[Path, ...]] = (
    ("providers", "*", "options"), ("models", "*", "options"), ("models", "*", "prices"), ("models", "*", "scores"),
    ("routing", "rules", "*"), ("risk", "rules", "*"), ("routing", "classes", "*"), ("routing", "limits", "require"),
)  # fmt: skip
"""Mappings that are compared as one setting."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One change that a project's file may make only if the user trusts it.

    Attributes:
        setting: The dotted name of the setting.
        what: What the file would do, in one line of printable text.
        place: Where the file says so.
    """

    setting: str
    what: str
    place: Place

    def __str__(self) -> str:
        return f"{self.place.origin}: {self.what}"


@dataclass(frozen=True, slots=True)
class _Change:
    """One setting that differs; ``theirs`` are the ids of the routing rules in the user's own files."""

    path: Path
    old: Any
    new: Any
    before: Settings
    after: Settings
    theirs: frozenset[str]


def grants(before: Settings, after: Settings, places: Mapping[Path, Place], theirs: Iterable[str]) -> list[Grant]:
    """List the changes in the project's files that require the user's trust. A change without a rule here requires it.

    Args:
        before: The settings without the project's files.
        after: The settings with them.
        places: Where the project's files set or removed each setting.
        theirs: Ids of the routing rules in the user's own files.
    """
    found = []
    own = frozenset(theirs)
    for path, old, new in _differences(_tree(before), _tree(after), ()):
        change = _Change(path, old, new, before, after, own)
        allowed = next((free for pattern, free in _FREE.items() if _fits(pattern, path)), None)
        if allowed is None or not allowed(change):
            found.append(Grant(_dotted(path), _said(change), _place(path, places)))
    return found


_SECTIONS: Final = (
    "providers", "models", "embedder", "agents", "mcp", "workflows", "routing", "risk", "approval", "sandbox",
)  # fmt: skip


def _tree(settings: Settings) -> dict[str, Any]:
    tree = settings.model_dump(include=set(_SECTIONS))
    for section in ("routing", "risk"):
        tree[section]["rules"] = {rule["id"]: rule for rule in tree[section]["rules"]}
    return tree


def _differences(old: Any, new: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping) and not any(_fits(whole, path) for whole in _WHOLE):
        for key in dict.fromkeys((*old, *new)):
            yield from _differences(old.get(key, _GONE), new.get(key, _GONE), (*path, str(key)))
    else:
        yield path, old, new


def _fits(pattern: Path, path: Path) -> bool:
    return len(pattern) == len(path) and all(p in ("*", q) for p, q in zip(pattern, path, strict=True))


def _place(path: Path, places: Mapping[Path, Place]) -> Place:
    """Return the nearest place: of the setting, of a mapping that contains it, or else of one of its parts."""
    for end in range(len(path), 0, -1):
        if path[:end] in places:
            return places[path[:end]]
    for length in range(len(path), 0, -1):
        for known, place in places.items():
            if known[:length] == path[:length]:
                return place
    return Place("project", "a file of the project")


# The rules, by setting, for changes that need no trust.


def _always(_: _Change) -> bool:
    return True


def _set_within(within: Callable[[Any, Any], bool]) -> Callable[[_Change], bool]:
    """Return a rule that allows setting an unset value, and replacing a value by one within it."""
    return lambda change: change.new is not None and (change.old is None or within(change.new, change.old))


def _all_known(names: Iterable[str], known: Collection[str]) -> bool:
    return all(name in known or name.partition("/")[0] in known for name in names)


_lower = _set_within(operator.le)
_higher = _set_within(operator.ge)
_fewer = _set_within(lambda new, old: set(new) <= set(old))
_approved = _set_within(_all_known)


def _more(change: _Change) -> bool:
    """Return whether no minimum score is lowered."""
    return all((change.new or {}).get(name, 0.0) >= least for name, least in (change.old or {}).items())


def _switched_off(change: _Change) -> bool:
    return change.new is False


def _removed(change: _Change) -> bool:
    return change.new is _GONE


def _model(change: _Change) -> bool:
    """Allow removing a model, or adding one on the user's own local server, at a tier below every floor."""
    if change.new is _GONE:
        return True
    if change.old is not _GONE:
        return False
    provider = change.before.providers.get(change.path[1].partition("/")[0])
    below = change.new["tier"] <= Tier.ECONOMY and not change.new["scores"]
    return provider is not None and provider.local and provider.key is None and below and not change.new["options"]


def _class(change: _Change) -> bool:
    """Allow limits of a user class that are at least as strict as its limits before, or as everybody's."""
    old, new = (side.routing.limits_of(change.path[2]).model_dump() for side in (change.before, change.after))
    return all(
        old[name] == new[name] or free(_Change((name,), old[name], new[name], change.before, change.after, frozenset()))
        for name, free in _LIMITS.items()
    )


def _effect(change: _Change) -> bool:
    """Allow raising the effect of a server's tool; a tool without one counts as the worst."""
    return change.new is None or change.new >= (change.old or Effect.DESTRUCTIVE)


def _risk_rule(change: _Change) -> bool:
    """Allow new rules and raised risks: the highest applicable rule counts, so another rule can only raise the risk."""
    old, new = change.old, change.new
    return old is None or (new is not None and new["when"] == old["when"] and new["risk"] >= old["risk"])


def _routing_rule(change: _Change) -> bool:
    """Allow rules, which choose within the floors, unless they weaken the user's own rules, requirements or bans."""
    old, new = change.old, change.new
    if old is not None:
        guards = bool(old["require"] or old["avoid"])
        if change.path[2] in change.theirs or guards:
            return new is not None and _stricter(old, new)
        if new is None:
            return True
    return new["tier"] is None or not any(new["tier"] < tier for tier in _tiers_of(change))


def _stricter(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    tier = old["tier"] is None or (new["tier"] is not None and new["tier"] >= old["tier"])
    least = all(new["require"].get(name, 0.0) >= score for name, score in old["require"].items())
    return new["when"] == old["when"] and tier and least and set(new["avoid"]) >= set(old["avoid"])


def _tiers_of(change: _Change) -> Iterator[Tier]:
    """Yield the tiers of the user's rules, which a rule of the project would precede."""
    for rule in change.before.routing.rules:
        if rule.id in change.theirs and rule.tier is not None:
            yield rule.tier


_LIMITS: Final[Mapping[str, Callable[[_Change], bool]]] = {
    "max_cost": _lower, "max_tokens": _lower, "tiers": _fewer, "require": _more, "attempts": _lower,
    "deadline": _lower, "call": _lower,
    "first_token": _lower, "stall": _lower, "hedge": _higher,
}  # fmt: skip

_FREE: Final[Mapping[Path, Callable[[_Change], bool]]] = {
    ("providers", "*"): _removed,
    ("providers", "*", "enabled"): _switched_off,
    ("models", "*"): _model,
    ("models", "*", "tier"): _lower,
    ("models", "*", "rpm"): _lower,
    ("models", "*", "tpm"): _lower,
    ("models", "*", "tools"): _switched_off,
    ("models", "*", "structured"): _switched_off,
    ("agents", "*"): _removed,
    ("agents", "*", "model"): _always,
    ("agents", "*", "tier"): _higher,
    ("agents", "*", "max_tier"): _lower,
    ("agents", "*", "tools"): _fewer,
    ("agents", "*", "turns"): _lower,
    ("agents", "*", "context"): _lower,
    ("agents", "*", "guidance"): _fewer,
    ("agents", "*", "todos"): _always,
    ("mcp", "*"): _removed,
    ("mcp", "*", "effects", "*"): _effect,
    ("mcp", "*", "timeout"): _lower,
    ("mcp", "*", "start_timeout"): _lower,
    ("workflows", "*"): _removed,
    ("routing", "strategy"): _always,
    ("routing", "scorer"): _always,
    ("routing", "classifier", "model"): _always,
    ("routing", "classifier", "timeout"): _lower,
    ("routing", "history", "*"): _always,
    ("routing", "rules", "*"): _routing_rule,
    ("routing", "approved"): _approved,
    ("routing", "on_failure", "*"): lambda change: change.new == "stop",
    ("routing", "budgets", "*"): _lower,
    ("routing", "cache", "mode"): lambda change: change.new == "off",
    ("routing", "cache", "ttl"): _lower,
    ("routing", "cache", "threshold"): _higher,
    ("routing", "cache", "max_bytes"): _lower,
    **{("routing", "limits", name): free for name, free in _LIMITS.items()},
    ("routing", "classes", "*"): _class,
    ("risk", "floors", "*"): _higher,
    ("risk", "call", "*"): _higher,
    ("risk", "rules", "*"): _risk_rule,
    ("approval", "expires"): _lower,
    ("sandbox", "mode"): lambda change: change.new == "required",
    **{("sandbox", name): _fewer for name in ("domains", "environment", "readable", "writable")},
    **{("sandbox", name): _lower for name in ("timeout", "memory", "processes", "cpu", "file_size", "disk", "output")},
}
"""The changes that a project's file may make without trust; any other change requires it."""


# Descriptions of changes: one line, printable, redacted.


def _said(change: _Change) -> str:
    path, old, new = change.path, change.old, change.new
    name = _text(path[1]) if len(path) > 1 else ""
    said: dict[Path, Callable[[], str]] = {
        ("providers", "*"): lambda: f"adds the provider {name} at {_url(new)}, {_sent(new)}",
        ("providers", "*", "base_url"): lambda: f"{_redirects(change, name)} to {_text(new or 'another host')}",
        ("providers", "*", "key"): lambda: f"takes {_text(new or 'no variable')} for the key of {name}",
        ("models", "*"): lambda: f"adds the model {name} at tier {new['tier']}",
        ("models", "*", "tier"): lambda: f"raises {name} from tier {old} to {new}",
        ("embedder", "model"): lambda: f"has all texts of the memory embedded by {_text(new)}",
        ("agents", "*"): lambda: f"adds the agent {name}",
        ("mcp", "*"): lambda: f"adds the MCP server {name}, {_reached(new)}",
        ("mcp", "*", "effects", "*"): lambda: f"says that {_text(path[3])} of the MCP server {name} is only {new}",
        ("workflows", "*"): lambda: f"adds the workflow {name}",
        ("agents", "*", "instructions"): lambda: f"gives the agent {name} other instructions",
        ("risk", "floors", "*"): lambda: f"lowers the floor of risk {path[2]} from {old} to {new}",
        ("risk", "call", "*"): lambda: f"lowers the risk of a {path[2]} call from {old} to {new}",
        ("risk", "rules", "*"): lambda: f"{'replaces' if new else 'removes'} the risk rule {_text(path[2])}",
        ("routing", "rules", "*"): lambda: _rule_said(change),
        ("approval", "notify", "command"): lambda: f"runs {_value(new)} whenever an act waits for a person",
        ("approval", "notify", "url"): lambda: f"sends what waits for a person to {_value(new)}",
    }
    words = next((say for pattern, say in said.items() if _fits(pattern, path)), None)
    return words() if words else f"changes {_dotted(path)} from {_value(old)} to {_value(new)}"


def _rule_said(change: _Change) -> str:
    name = _text(change.path[2])
    if change.old is not None:
        return f"{'replaces' if change.new else 'removes'} the routing rule {name}"
    return f"puts the routing rule {name}, tier {change.new['tier']}, before yours that ask for a higher tier"


def _url(provider: Mapping[str, Any]) -> str:
    return _text(provider["base_url"] or "its vendor's address")


def _sent(provider: Mapping[str, Any]) -> str:
    return f"which is sent {_text(provider['key'])}" if provider["key"] else "which is sent your texts"


def _reached(server: Mapping[str, Any]) -> str:
    if server["url"] is not None:
        sent = ", ".join(server["secrets"].values())
        return _text(f"at {server['url']}" + (f", which is sent {sent}" if sent else ""))
    return _text("which runs " + " ".join([server["command"], *server["args"]]))


def _redirects(change: _Change, name: str) -> str:
    key = change.after.providers[change.path[1]].key
    return f"sends {_text(key)} and what you ask {name}" if key else f"sends what you ask {name}"


def _dotted(path: Path) -> str:
    return _text(".".join(path))


def _value(value: Any) -> str:
    if value is None:
        return "nothing"
    return _text(value if isinstance(value, str) else json.dumps(value, default=str))


def _text(text: str) -> str:
    shown = redact(text if text.isprintable() else text.encode("unicode_escape").decode())
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
