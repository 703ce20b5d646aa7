"""Read a YAML file into nodes with their positions, rejecting mistakes that `yaml.safe_load` silently accepts."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import yaml

from ..errors import ConfigError

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "Node", "Place", "fail", "parse", "plain", "text_of", "wrap"]

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 32
MAX_NODES: Final = 50_000

_TOO_DEEP: Final = f"is nested more than {MAX_DEPTH} levels deep"
# From 0.2.6 on libyaml reads ahead and stops by itself at 1,000 levels, with this message.
_TOO_DEEP_FOR_LIBYAML: Final = "exceeded maximum nesting depth"

Layer = Literal["built-in", "user", "project", "environment", "flag"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a setting was written: a file with a line counted from 1, a variable, or a flag."""

    layer: Layer
    name: str
    line: int | None = None

    @property
    def origin(self) -> str:
        """The place as ``pointsman config show`` displays it."""
        if self.layer == "flag":
            return "flag"
        where = self.name if self.line is None else f"{self.name}:{self.line}"
        return f"user {where}" if self.layer == "user" else where


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a document (a scalar, a mapping of text to nodes, a list of nodes) and the place of its key."""

    value: Any
    place: Place


def fail(message: str, place: Place) -> NoReturn:
    """Raise a one-line `ConfigError` for a place."""
    raise ConfigError(" ".join(message.split()), file=place.name, line=place.line) from None


def plain(node: Node) -> Any:
    """Return the plain value of a node, without places."""
    if isinstance(node.value, Mapping):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def wrap(value: Any, place: Place) -> Node:
    """Wrap a Python value in nodes that all have the same place."""
    if isinstance(value, Mapping):
        return Node({str(key): wrap(child, place) for key, child in value.items()}, place)
    if isinstance(value, list | tuple | set | frozenset):
        return Node([wrap(child, place) for child in value], place)
    return Node(value, place)


def text_of(path: Path, place: Place) -> str | None:
    """Read a file.

    Args:
        path: The file.
        place: How to name it in messages.

    Returns:
        Its text, or None if there is no such file.

    Raises:
        ConfigError: The file cannot be read, is not text, or is too large.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe would block until there is a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                fail("is not a regular file", place)
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            fail("is a link to a file that does not exist", place)
        return None
    except OSError as error:
        fail(f"cannot be read: {error.strerror or type(error).__name__}", place)
    if len(data) > MAX_BYTES:
        fail(f"is larger than {MAX_BYTES:,} bytes; a configuration file is a few kilobytes", place)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        fail("is not UTF-8 text; save it as UTF-8", Place(place.layer, place.name, line))


def parse(text: str, place: Place) -> Node | None:
    """Parse one YAML document with the types of `yaml.safe_load` (text, numbers, booleans, dates, null).

    Args:
        text: The document.
        place: How to name its source in messages.

    Returns:
        The document, or None for an empty one.

    Raises:
        ConfigError: The text is not YAML, a key appears twice, a tag asks for anything other than plain data, or the
            document is nested too deeply or expands (by aliases) too far.
    """
    # Built from events rather than with yaml.compose: libyaml's composer recurses in C, and before 0.2.6 a file of half
    # a million brackets crashes the process there.
    try:
        return _Reader(text, place).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "unreadable"
        # The mark is one line past the end if something is missing there.
        line = None if mark is None else min(mark.line + 1, text.count("\n") + 1)
        where = Place(place.layer, place.name, line)
        if problem == _TOO_DEEP_FOR_LIBYAML:
            fail(_TOO_DEEP, where)
        if "'\\t'" in problem or (line is not None and _indented_by_tab(text, line)):
            fail("a tab stands where YAML wants spaces; indent with spaces", where)
        fail(f"is not valid YAML: {problem}", where)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else None
        fail("holds characters that are not text; is it a binary file?", Place(place.layer, place.name, line))


def _indented_by_tab(text: str, line: int) -> bool:
    lines = text.split("\n")
    return line <= len(lines) and re.match(r" *\t", lines[line - 1]) is not None


_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAGS: Final = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "timestamp", "str"))
_MERGE: Final = "tag:yaml.org,2002:merge"


class _Reader:
    """Builds nodes from the events of one document."""

    def __init__(self, text: str, place: Place) -> None:
        self._loader = _Loader(text)
        self._place = place
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._nodes = 0

    def document(self) -> Node | None:
        events = self._events()
        next(events)
        if isinstance(next(events), yaml.StreamEndEvent):
            return None
        node = self._node(next(events), events, 0, None)
        next(events)
        extra = next(events)
        if not isinstance(extra, yaml.StreamEndEvent):
            fail("holds more than one document ('---'); keep one", self._at(extra))
        return None if node.value is None else node

    def _events(self) -> Iterator[Any]:
        while True:
            yield self._loader.get_event()

    def _at(self, event: Any) -> Place:
        return Place(self._place.layer, self._place.name, event.start_mark.line + 1)

    def _count(self, nodes: int, place: Place) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            fail(f"holds or expands to more than {MAX_NODES:,} values", place)

    def _node(self, event: Any, events: Iterator[Any], depth: int, place: Place | None) -> Node:
        place = place or self._at(event)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                fail(f"'*{event.anchor}' names no anchor above it", self._at(event))
            node, size = self._anchors[event.anchor]
            self._count(size, place)
            if depth + _height(node) > MAX_DEPTH:
                fail(_TOO_DEEP, self._at(event))
            return Node(node.value, place)
        before = self._nodes
        self._count(1, place)
        if isinstance(event, yaml.ScalarEvent):
            node = Node(self._scalar(event), place)
        elif depth >= MAX_DEPTH:
            fail(_TOO_DEEP, self._at(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            self._no_tag(event, "seq")
            node = Node(list(self._items(events, depth)), place)
        else:
            self._no_tag(event, "map")
            node = Node(self._mapping(events, depth), place)
        if event.anchor:
            self._anchors[event.anchor] = node, self._nodes - before
        return node

    def _items(self, events: Iterator[Any], depth: int) -> Iterator[Node]:
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                return
            yield self._node(event, events, depth + 1, None)

    def _mapping(self, events: Iterator[Any], depth: int) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                return merged | own
            place = self._at(event)
            if not isinstance(event, yaml.ScalarEvent):
                fail("a key must be plain text", place)
            if self._loader.resolve(yaml.ScalarNode, event.value, event.implicit) == _MERGE and event.implicit[0]:
                merged = self._merge(self._node(next(events), events, depth + 1, place)) | merged
                continue
            key = self._scalar(event)
            if not isinstance(key, str):
                fail(f"the key {event.value or 'null'} is read as a {_noun(key)}; put it in quotes", place)
            if key in own:
                fail(f"the key '{key}' stands twice, first in line {own[key].place.line}", place)
            own[key] = self._node(next(events), events, depth + 1, place)
        raise AssertionError("the parser closes every mapping")

    def _merge(self, node: Node) -> dict[str, Node]:
        sources = node.value if isinstance(node.value, list) else [node]
        merged: dict[str, Node] = {}
        for source in sources:
            if not isinstance(source.value, dict):
                fail("'<<' takes a mapping", node.place)
            merged = source.value | merged
        return merged

    def _no_tag(self, event: Any, kind: str) -> None:
        if event.tag not in (None, "!", f"tag:yaml.org,2002:{kind}"):
            fail(f"the tag {event.tag} is not allowed; write plain YAML", self._at(event))

    def _scalar(self, event: Any) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        place = self._at(event)
        if tag not in _TAGS:
            fail(f"the tag {tag.removeprefix('tag:yaml.org,2002:')} is not allowed; write plain YAML", place)
        try:
            value = self._loader.construct_object(yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark))
        except (ValueError, KeyError, OverflowError):
            fail(f"'{event.value[:40]}' is not a {tag.rsplit(':', 1)[-1]}; put it in quotes if it is text", place)
        if isinstance(value, int) and re.fullmatch(r"[-+]?0[0-9_]+", event.value):
            fail(f"{event.value} is read as the octal number {value}; write it without the leading zero", place)
        if value != value:
            fail("not-a-number is not a value; write a number, or leave it out", place)
        return value


def _height(node: Node) -> int:
    if not isinstance(node.value, dict | list):
        return 0
    children = node.value.values() if isinstance(node.value, dict) else node.value
    return 1 + max(map(_height, children), default=0)


def _noun(value: Any) -> str:
    if isinstance(value, bool):
        return "truth value"
    if isinstance(value, int | float):
        return "number"
    return "null" if value is None else "date"
