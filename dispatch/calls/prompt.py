"""The prompt for one candidate: the conversation and keyword arguments in the form that model accepts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage, SystemMessage

from ...backends.options import Said
from ...configs.catalog import ModelCard
from ...configs.errors import disk_errors
from ...configs.rows import read_rows
from ..request import ModelRequest

__all__ = ["brief", "examples_digests"]

_EXAMPLES_SHOWN = 2


def brief(ask: ModelRequest, card: ModelCard, said: Said) -> tuple[Sequence[BaseMessage], dict[str, Any]]:
    """Convert a request into the form that ``card`` accepts.

    A model that serves only named tasks gets the task and all labelled examples to learn from; a general model gets a
    few of them in its instructions.

    Args:
        ask: The request.
        card: The model.
        said: The request's options as the model's client takes them.
    """
    options = dict(said.options)
    if card.tasks is None:
        return _with_examples(ask) if ask.examples else ask.messages, options
    options["task"] = ask.declared.task
    if ask.examples:
        options["examples"] = dict(ask.examples)
    return ask.messages, options


def examples_digests(examples: Mapping[str, str]) -> dict[str, str]:
    """Return field -> SHA-256 of its examples file: an answer depends on the file's content, not its path.

    Raises:
        ConfigError: A file cannot be read.
    """
    return {field: _digest(path, _mtime(path)) for field, path in examples.items()}


@lru_cache
def _digest(path: str, _changed: float) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _with_examples(ask: ModelRequest) -> list[BaseMessage]:
    shown = "\n\n".join(
        f"Examples for {field}:\n" + _examples(path, _mtime(path)) for field, path in sorted(ask.examples.items())
    )
    first, *rest = ask.messages
    if isinstance(first, SystemMessage) and isinstance(first.content, str):
        return [SystemMessage(f"{first.content}\n\n{shown}"), *rest]
    return [SystemMessage(shown), *ask.messages]


def _mtime(path: str) -> float:
    with disk_errors("cannot read the examples", file=path):
        return Path(path).stat().st_mtime


@lru_cache
def _examples(path: str, _changed: float) -> str:
    """Return the first few examples of each label; the same text for every call, so that a provider can cache it."""
    by_label: dict[str, list[str]] = {}
    for row in read_rows(Path(path), ["text", "label"]):
        by_label.setdefault(row.fields["label"], []).append(row.fields["text"])
    return "\n".join(f"- {text} -> {label}" for label, texts in by_label.items() for text in texts[:_EXAMPLES_SHOWN])
