"""Merge layers of configuration: files, environment and flags as trees of one shape, merged key by key."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ..schema import MEMORY_TOKEN
from .documents import Node, Place, fail, parse, plain, text_of, wrap

__all__ = [
    "FILES", "NAMED", "RENAMED", "RULES", "SECTIONS", "expand", "from_environment", "from_flags", "leaves", "merge",
    "read_file", "suggest",
]  # fmt: skip

FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "models": ("providers", "models", "embedder"),
    "agents": ("agents", "mcp", "workflows"),
    "routing": ("routing",),
    "risk": ("risk", "approval", "sandbox"),
}
SECTIONS: Final[Mapping[str, str]] = {section: file for file, sections in FILES.items() for section in sections}
NAMED: Final = ("providers", "models", "agents", "mcp", "workflows")
RULES: Final = (("routing", "rules"), ("risk", "rules"))
RENAMED: Final[Mapping[tuple[str, str], str]] = {("routing", "cures"): "on_failure"}
"""Section and key of version 0.1 -> the key's current name; a file may use either."""

_PREFIX: Final = "POINTSMAN_"
# Variables without a section. An unknown name that is not close to these or to `_LIKELY` is not one of ours, such as
# the POINTSMAN_PORT_80_TCP that a container platform sets for a service of that name.
_PLAIN: Final = (
    *("POINTSMAN_STATE", "POINTSMAN_OFFLINE", "POINTSMAN_MEMORY"),
    *("POINTSMAN_HOME", "POINTSMAN_TRUST", MEMORY_TOKEN),
)
_SINGLE: Final = ("state", "offline", "memory")
_NOT_SETTINGS: Final = ("POINTSMAN_HOME", "POINTSMAN_TRUST", MEMORY_TOKEN)
_SECTION_PREFIXES: Final = tuple(f"{_PREFIX}{section.upper()}_" for section in SECTIONS)
# Variables that a container platform sets for a service called pointsman-models.
_ORCHESTRATED: Final = re.compile(r"_SERVICE_(HOST|PORT)|_PORT(_\d+_(TCP|UDP|SCTP)|$)")
_LIKELY: Final = (*_PLAIN, "POINTSMAN_ROUTING__STRATEGY", "POINTSMAN_ROUTING__APPROVED")


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean ...?`` for the nearest known name, or an empty string if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def read_file(path: Path, file: str, place: Place, texts: dict[Path, str]) -> Node:
    """Read ``models.yaml`` or one of its siblings.

    Args:
        path: The file; a missing file reads as empty.
        file: Which of `FILES` it is.
        place: How to name it in messages.
        texts: Receives its text.

    Raises:
        ConfigError: As in `documents.text_of` and `documents.parse`, or for a top-level key that does not belong there.
    """
    wrong = path.with_suffix(".yml")
    if not os.path.lexists(path) and os.path.exists(wrong):
        fail(f"is not read; rename it to {path.name}", Place(place.layer, str(Path(place.name).with_suffix(".yml"))))
    text = text_of(path, place)
    if text is not None:
        texts[path] = text
    document = None if text is None else parse(text, place)
    if document is None:
        return Node({}, place)
    if not isinstance(document.value, dict):
        wanted = " and ".join(FILES[file])
        fail(f"must be a mapping with {wanted} at the top", document.place)
    for key, node in document.value.items():
        if key in FILES[file]:
            continue
        if key in SECTIONS:
            fail(f"'{key}' belongs in {SECTIONS[key]}.yaml", node.place)
        fail(f"unknown key '{key}' in {file}.yaml{suggest(key, FILES[file])}", node.place)
    # An empty section has no effect; it does not remove the settings of lower layers.
    return Node({key: _renamed(key, node) for key, node in document.value.items() if node.value is not None}, place)


def _renamed(section: str, node: Node) -> Node:
    """Return the section with the keys of version 0.1 renamed, unless it also has the current name."""
    if not isinstance(node.value, dict):
        return node
    now = {old: new for (where, old), new in RENAMED.items() if where == section and new not in node.value}
    return Node({now.get(key, key): child for key, child in node.value.items()}, node.place)


def expand(node: Node, environ: Mapping[str, str], *, refused: str | None, keys: frozenset[str]) -> Node:
    """Replace ``${NAME}`` in every text by environment variables.

    Args:
        node: The tree.
        environ: The variables.
        refused: Why this file may not use them, None for the user's own: anyone who can write ``${NAME}`` into a file
            can have any variable sent to a server of their choice.
        keys: Variables that hold providers' keys, which must not end up in settings that are shown.

    Raises:
        ConfigError: A ``${`` is not allowed, a variable is not set, or a reference is malformed.
    """
    value, place = node.value, node.place
    if isinstance(value, dict):
        return Node({k: expand(v, environ, refused=refused, keys=keys) for k, v in value.items()}, place)
    if isinstance(value, list):
        return Node([expand(v, environ, refused=refused, keys=keys) for v in value], place)
    if not isinstance(value, str) or "${" not in value:
        return node
    if refused is not None:
        fail(refused, place)

    def put(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            fail("'${' must be followed by the name of an environment variable and '}'", place)
        if name in keys:
            fail(f"{name} holds a provider's key; name it with 'key: {name}' instead of expanding it", place)
        if not environ.get(name):
            fail(f"the environment variable {name} is not set", place)
        return environ[name]

    return Node(re.sub(r"\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?", put, value), place)


def merge(
    low: Node, high: Node, path: tuple[str, ...] = (), removed: dict[tuple[str, ...], Place] | None = None
) -> Node:
    """Merge one tree into another.

    Mappings merge key by key, and null removes a key. Lists replace each other, except rules, which merge by id: a rule
    with a known id replaces that rule unless both are equal; new rules come first.

    Args:
        low: The lower tree.
        high: The tree that takes precedence.
        path: The path of both.
        removed: Receives the settings that null removed, and where.

    Raises:
        ConfigError: Null for a provider, model, agent or rule that does not exist, or an invalid list of rules.
    """
    removed = {} if removed is None else removed
    if path in RULES:
        return _merge_rules(low, high, path, removed)
    if not isinstance(high.value, dict):
        return high
    result = dict(low.value) if isinstance(low.value, dict) else {}
    for key, node in high.value.items():
        here = (*path, key)
        if node.value is None:
            if key not in result and path and path[0] in NAMED and len(path) == 1:
                fail(f"there is no '{key}' in {path[0]} to remove{suggest(key, result)}", node.place)
            if result.pop(key, None) is not None:
                removed[here] = node.place
            continue
        below = result.get(key)
        result[key] = merge(below or Node([] if here in RULES else {}, node.place), node, here, removed)
        removed.pop(here, None)
    return Node(result, high.place)


def _merge_rules(low: Node, high: Node, path: tuple[str, ...], removed: dict[tuple[str, ...], Place]) -> Node:
    rules = list(low.value)
    where = {rule.value["id"].value: index for index, rule in enumerate(rules)}
    new: list[Node] = []
    for name, rule in _rules(high, ".".join(path)).items():
        if rule.value is not None:
            if name in where:
                # A rule equal to the existing one keeps the existing one's origin.
                if plain(rule) != plain(rules[where[name]]):
                    rules[where[name]] = rule
            else:
                new.append(rule)
        elif name in where:
            rules[where[name]] = Node(None, rule.place)
            removed[*path, name] = rule.place
        else:
            fail(f"there is no rule '{name}' in {'.'.join(path)} to remove{suggest(name, where)}", rule.place)
    return Node([*new, *(rule for rule in rules if rule.value is not None)], high.place)


def _rules(node: Node, name: str) -> dict[str, Node]:
    """Return rules by id, from a list of rules or from a mapping of id to rule, in which null removes a rule."""
    if isinstance(node.value, dict):
        items = [
            (key, rule if not isinstance(rule.value, dict) else _with_id(key, rule)) for key, rule in node.value.items()
        ]
    elif isinstance(node.value, list):
        items = [(_id_of(rule, name), rule) for rule in node.value]
    else:
        fail(f"{name} must be a list of rules", node.place)
    rules: dict[str, Node] = {}
    for key, rule in items:
        if rule.value is not None and not isinstance(rule.value, dict):
            fail(f"a rule of {name} must be a mapping with id and reason", rule.place)
        if key in rules:
            fail(f"the rule '{key}' stands twice in {name}", rule.place)
        rules[key] = rule
    return rules


def _with_id(key: str, rule: Node) -> Node:
    own = rule.value.get("id")
    if own is not None and own.value != key:
        fail(f"the rule '{key}' calls itself '{own.value}'", own.place)
    return Node({"id": Node(key, rule.place), **rule.value}, rule.place)


def _id_of(rule: Node, name: str) -> str:
    if not isinstance(rule.value, dict):
        fail(f"a rule of {name} must be a mapping with id and reason", rule.place)
    own = rule.value.get("id")
    if own is None or not isinstance(own.value, str) or not own.value:
        fail(f"a rule of {name} has no id", rule.place)
    return str(own.value)


def leaves(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Place]]:
    """Yield every setting of a tree with its place; a list or a rule counts as one setting."""
    if path in RULES:
        for rule in node.value:
            yield (*path, rule.value["id"].value), rule.place
    elif isinstance(node.value, dict) and node.value:
        for key, child in node.value.items():
            yield from leaves(child, (*path, key))
    elif path:
        yield path, node.place


def from_environment(environ: Mapping[str, str], base: Node) -> Node:
    """Read ``POINTSMAN_SECTION__KEY__KEY=value``; names of ``base`` match in capitals, with ``_`` for other characters.

    Args:
        environ: The variables; empty ones count as unset.
        base: The merged lower layers, whose names are known.

    Raises:
        ConfigError: A variable names no section, or looks like a misspelt one.
    """
    root = Node({}, Place("environment", "environment"))
    for name in sorted(environ):
        text = environ[name].strip()
        if not name.startswith(_PREFIX) or not text or name in _NOT_SETTINGS:
            continue
        place = Place("environment", f"environment {name}")
        if name in _PLAIN:
            path = [name.removeprefix(_PREFIX).lower()]
        elif "__" in name:
            path = _known(name.removeprefix(_PREFIX).split("__"), base)
            if path[0] not in SECTIONS:
                fail(f"'{path[0]}' is no section{suggest(path[0], SECTIONS)}", place)
        elif difflib.get_close_matches(name, _LIKELY, n=1, cutoff=0.85):
            fail(f"unknown variable{suggest(name, _LIKELY)}", place)
        elif name.startswith(_SECTION_PREFIXES) and not _ORCHESTRATED.search(name):
            fail(
                f"names no setting; did you mean {_joined(name, base)}, with two underscores between its parts?", place
            )
        else:
            continue
        _put(root, path, _value(text, path, place))
    return root


def _joined(name: str, base: Node) -> str:
    """Return the variable as probably intended, with two underscores after the section and after a known name."""
    section, _, rest = name.removeprefix(_PREFIX).partition("_")
    node = base.value.get(section.lower())
    for key in node.value if node is not None and isinstance(node.value, dict) else ():
        known = re.sub(r"[^A-Z0-9]", "_", key.upper())
        if rest.startswith(f"{known}_"):
            return f"{_PREFIX}{section}__{known}__{rest.removeprefix(known + '_')}"
    return f"{_PREFIX}{section}__{rest}"


def _known(segments: list[str], base: Node) -> list[str]:
    path: list[str] = []
    for segment in segments:
        names = base.value if isinstance(base.value, dict) else {}
        name = next((key for key in names if re.sub(r"[^A-Z0-9]", "_", key.upper()) == segment), segment.lower())
        path.append(name)
        base = names.get(name, Node(None, base.place))
    return path


def from_flags(flags: Mapping[str, Any], base: Node) -> Node:
    """Read dotted keys; None counts as not given. Names of ``base`` may contain dots (``openai/gpt-5.5``).

    Raises:
        ConfigError: A key names no section.
    """
    root = Node({}, Place("flag", "flag"))
    for name, value in flags.items():
        if value is None:
            continue
        place = Place("flag", f"flag {name}")
        path = _split(name, base)
        if path[0] not in (*SECTIONS, *_SINGLE):
            fail(f"unknown setting{suggest(path[0], (*SECTIONS, *_SINGLE))}", place)
        _put(root, path, _value(value, path, place) if isinstance(value, str) else wrap(value, place))
    return root


def _split(name: str, base: Node) -> list[str]:
    path: list[str] = []
    while name:
        names = base.value if isinstance(base.value, dict) else {}
        fits = [key for key in names if name == key or name.startswith(f"{key}.")]
        head = max(fits, key=len) if fits else name.split(".", 1)[0]
        path.append(head)
        base = names.get(head, Node(None, base.place))
        name = name[len(head) + 1 :]
    return path or [""]


def _value(text: str, path: list[str], place: Place) -> Node:
    # Plain text is left to the schema, which knows the expected type; free-form options have no schema.
    if text[:1] in ("[", "{") or text == "null" or "options" in path:
        node = parse(text, place)
        return wrap(None if node is None else plain(node), place)
    return Node(text, place)


def _put(root: Node, path: list[str], node: Node) -> None:
    for key in path[:-1]:
        if not isinstance(root.value.get(key, root).value, dict):
            fail(f"'{key}' is set as a whole and in part", node.place)
        root = root.value.setdefault(key, Node({}, node.place))
    root.value[path[-1]] = node
