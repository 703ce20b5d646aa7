"""Digests of calls: two calls that differ in any way, even in a type, never share one."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final

__all__ = ["digest", "digests", "hashed"]

_NAMED: Final = (FunctionType, BuiltinFunctionType, type)


def digest(tool: str, arguments: Mapping[str, Any]) -> str:
    """Name an act: the SHA-256, in hex digits, of its tool and arguments.

    Args:
        tool: The tool.
        arguments: As the model gave them.
    """
    return hashed(tool, arguments)


def digests(tool: str, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of an act: the one from `digest`, and the one that version 0.1 wrote to ledgers still in use."""
    try:
        text = json.dumps([tool, arguments], sort_keys=True, ensure_ascii=False, default=str)
        earlier = hashlib.sha256(text.encode()).hexdigest()[:16]
    except (TypeError, ValueError, RecursionError):
        # That version had no name for it either.
        return (digest(tool, arguments),)
    return digest(tool, arguments), earlier


def hashed(*values: Any) -> str:
    """Return the SHA-256, in hex digits, of any values.

    Each value is written with its type and length before it, so that ``1``, ``"1"``, ``True`` and ``1.0``, a list and a
    tuple, null and nothing, or a date and its text differ; a mapping and a set do not depend on their order. An
    object is hashed by what `pickle` would store. An object that cannot be pickled, such as an open file, equals
    nothing, not even itself.
    """
    sum_ = hashlib.sha256()
    try:
        for piece in _written(values, ()):
            sum_.update(piece)
    except RecursionError:
        sum_.update(_unique())
    return sum_.hexdigest()


def _written(value: Any, around: tuple[int, ...]) -> Iterator[bytes]:
    """Yield the value as bytes that identify it."""
    kind = type(value)
    if value is None or kind is bool:
        yield {None: b"n", True: b"t", False: b"f"}[value]
    elif kind is int:
        yield _sized(b"i", b"%x" % value if value >= 0 else b"-%x" % -value)
    elif kind is float:
        yield b"d" + struct.pack(">d", value)
    elif kind is str:
        yield _sized(b"s", value.encode("utf-8", "surrogatepass"))
    elif kind is bytes:
        yield _sized(b"b", value)
    elif isinstance(value, _NAMED) and (name := _name_of(value)):
        yield _sized(b"a", name.encode("utf-8", "surrogatepass"))
    elif id(value) in around:
        yield _unique()
    else:
        yield from _compound(value, (*around, id(value)))


def _compound(value: Any, around: tuple[int, ...]) -> Iterator[bytes]:
    kind = type(value)
    if kind is list or kind is tuple:
        yield b"%s%d:" % (b"l" if kind is list else b"u", len(value))
        for item in value:
            yield from _written(item, around)
    elif kind is dict:
        yield from _unordered(b"m", value.items(), around)
    elif kind is set or kind is frozenset:
        yield from _unordered(b"e" if kind is set else b"z", value, around)
    else:
        yield from _object(value, around)


def _object(value: Any, around: tuple[int, ...]) -> Iterator[bytes]:
    """Yield an object as what would be pickled: its constructor and arguments, its state, and its items."""
    if isinstance(value, MethodType):
        yield b"o"
        yield from _written((value.__func__, value.__self__), around)
        return
    try:
        made = value.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - what cannot be pickled says so by any error
        yield _unique()
        return
    if isinstance(made, str):
        yield _sized(b"g", f"{type(value).__module__}.{made}".encode("utf-8", "surrogatepass"))
        return
    maker, given, *rest = made
    state, items, pairs = (*rest, None, None, None)[:3]
    yield b"o"
    for part in (maker, given, state, *(None if one is None else list(one) for one in (items, pairs))):
        yield from _written(part, around)


def _name_of(value: Any) -> str:
    """Return the name under which a function or class is found in its module; empty if it is not."""
    found: Any = sys.modules.get(value.__module__)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return f"{value.__module__}:{value.__qualname__}" if found is value else ""


def _unordered(tag: bytes, items: Iterable[Any], around: tuple[int, ...]) -> Iterator[bytes]:
    written = sorted(b"".join(_written(item, around)) for item in items)
    yield b"%s%d:" % (tag, len(written))
    yield from written


def _sized(tag: bytes, content: bytes) -> bytes:
    return b"%s%d:%s" % (tag, len(content), content)


def _unique() -> bytes:
    return _sized(b"?", uuid.uuid4().bytes)
