"""The JSON encoding of the arguments and results of a memory's methods, between client and server.

JSON has no tuples, dates or classes, so each of them is an object with its kind under ``$``. Decoding creates only the
kinds listed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any

from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchItem,
    SearchOp,
)

from ...configs.errors import ConfigError
from ...configs.words import Trust
from .. import base
from ..items import check_value
from ..notes import CapturedPut

__all__ = ["ERRORS", "PATH", "dumped", "loaded"]

PATH = "/v1/"
"""The URL path before the name of a method."""

ERRORS: dict[str, type[Exception]] = {
    error.__name__: error for error in (ConfigError, InvalidNamespaceError, TypeError, ValueError)
}
"""The exceptions of a method that are raised again at the client."""

_KIND, _OF = "$", "of"


def _of_fields(kind: Any, names: tuple[str, ...]) -> tuple[tuple[str, ...], Callable[[Any], Any]]:
    return names, lambda about: kind(**{name: value for name, value in about.items() if name in names})


_MADE: dict[str, tuple[tuple[str, ...], Callable[[Any], Any]]] = {
    **{
        name: _of_fields(kind, tuple(field.name for field in fields(kind)))
        for name, kind in vars(base).items()
        if isinstance(kind, type) and is_dataclass(kind)
    },
    **{
        kind.__name__: _of_fields(kind, kind._fields)
        for kind in (GetOp, ListNamespacesOp, MatchCondition, PutOp, SearchOp, CapturedPut)
    },
    # A reranker is code of the client, which the server neither has nor runs.
    "Ranking": _of_fields(base.Ranking, tuple(f.name for f in fields(base.Ranking) if f.name != "reranker")),
    "Item": _of_fields(Item, Item.__slots__),
    "SearchItem": _of_fields(SearchItem, (*Item.__slots__, *SearchItem.__slots__)),
}
_WORDS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "Trust": (lambda trust: trust.value, Trust),
    # A time without a zone is local time.
    "datetime": (lambda time: (time if time.tzinfo else time.astimezone()).isoformat(), datetime.fromisoformat),
    "timedelta": (timedelta.total_seconds, lambda seconds: timedelta(seconds=seconds)),
}
"""Kinds that are encoded as one value, with their encoder and decoder."""


def dumped(value: Any) -> bytes:
    """Encode a value as ASCII JSON, so that lone surrogates, which are legal in Python strings, survive.

    Raises:
        TypeError: If the value, or anything inside it, is of a kind that cannot be encoded.
        ConfigError: If it contains a reranker.
    """
    return json.dumps(_plain(value)).encode()


def loaded(data: bytes) -> Any:
    """Decode the output of `dumped`.

    Raises:
        ValueError: If it is anything else.
    """
    try:
        return _made(json.loads(data))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"is not what a memory is told: {error}") from error


def _plain(value: Any) -> Any:
    kind = type(value).__name__
    if kind in _WORDS:
        return {_KIND: kind, _OF: _WORDS[kind][0](value)}
    if isinstance(value, base.Ranking) and value.reranker is not None:
        raise ConfigError(
            "a memory that another process serves takes no reranker: recall more items than you need without one, and "
            "order them by it"
        )
    if kind in _MADE:
        return {_KIND: kind, _OF: {name: _plain(getattr(value, name)) for name in _MADE[kind][0]}}
    if isinstance(value, Mapping):
        check_value(dict.fromkeys(value), "a mapping")
        inner = {name: _plain(one) for name, one in value.items()}
        return {_KIND: "dict", _OF: inner} if _KIND in inner else inner
    if isinstance(value, tuple):
        return {_KIND: "tuple", _OF: [_plain(one) for one in value]}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _made(value: Any) -> Any:
    if isinstance(value, list):
        return [_made(one) for one in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(_KIND)
    if kind is None:
        return {name: _made(one) for name, one in value.items()}
    about = value[_OF]
    if kind in _WORDS:
        return _WORDS[kind][1](about)
    if kind == "tuple":
        return tuple([_made(one) for one in about])
    inner = {name: _made(one) for name, one in about.items()}
    return inner if kind == "dict" else _MADE[kind][1](inner)
