"""Asks, steps and replies as text, for work that another process may have to go on with."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, Final

from langchain_core.messages import AIMessage, message_to_dict, messages_from_dict, messages_to_dict

from ...configs.errors import ConfigError
from ...configs.words import Risk, Tier
from ...routing.evidence import Finding
from ...routing.request import RouteRequest
from ..context import RunContext, StepContext
from ..request import ModelRequest

__all__ = ["ask_of", "ask_text", "reply_of", "reply_text", "step_of", "step_record"]

_TUPLES: Final = ("tools", "stop")
"""What JSON gives back as lists."""
_APART: Final = (
    "task", "kind", "tier", "max_tier", "reversible", "max_output", "effects", "only_reads", "latency", "deadline",
)  # fmt: skip
"""What version 0.1 wrote one by one of what is declared."""


def ask_text(ask: ModelRequest) -> str:
    """Write an ask down.

    Raises:
        ConfigError: Something in it, such as a class given as an option, cannot be written down.
    """
    record: dict[str, Any] = {field.name: getattr(ask, field.name) for field in fields(ask)}
    record["messages"] = messages_to_dict(list(ask.messages))
    record["declared"] = ask.declared.model_dump(mode="json", exclude={"messages"}, exclude_unset=True)
    # A class cannot be written down; `AnswerClasses` finds it again.
    record["answer"] = None
    record["examples"], record["options"] = dict(ask.examples), dict(ask.options)
    try:
        return json.dumps(record)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a batch has to be written down, and this ask cannot be as JSON: {error}") from error


def ask_of(text: str) -> ModelRequest:
    """Read an ask that `ask_text` wrote."""
    record = json.loads(text)
    record["messages"] = messages_from_dict(record["messages"])
    if "declared" not in record:
        record["declared"] = {name: record.pop(name) for name in _APART if name in record}
        record["declared"]["model"] = record.pop("prefer")
    record["declared"] = RouteRequest.model_validate(record["declared"])
    for name in _TUPLES:
        record[name] = None if record[name] is None else tuple(record[name])
    return ModelRequest(**record)


_HERE: Final = frozenset({"observe", "journal", "tokens", "runtime"})
"""What a run has in the process that works on it, and nowhere else."""


def step_record(step: StepContext) -> dict[str, Any]:
    """Give a step as plain values, without what its run has in this process alone."""
    return {
        **{field.name: getattr(step, field.name) for field in fields(step)},
        "run": {field.name: getattr(step.run, field.name) for field in fields(RunContext) if field.name not in _HERE},
    }


def step_of(record: dict[str, Any]) -> StepContext:
    """Read a step that `step_record` gave, also after it has been JSON."""
    run = {**record["run"], "tags": tuple(record["run"]["tags"])}
    run["caps"] = tuple((str(scope), int(cap)) for scope, cap in run["caps"])
    said = {**record, "run": RunContext(**run), "ahead": tuple(record["ahead"])}
    said["chain"] = tuple(record.get("chain", ()))
    said["unavailable"] = tuple((str(name), str(reason)) for name, reason in record["unavailable"])
    said["evidence"] = tuple(
        Finding(str(name), str(reason), None if least is None else Tier(least))
        for name, reason, least in record.get("evidence", ())
    )
    said["risk"] = None if record["risk"] is None else Risk(record["risk"])
    return StepContext(**said)


def reply_text(message: AIMessage) -> str:
    """Write a reply down; what JSON has no form for becomes text."""
    return json.dumps(message_to_dict(message), default=str)


def reply_of(text: str) -> AIMessage:
    """Read a reply that `reply_text` wrote."""
    [message] = messages_from_dict([json.loads(text)])
    if not isinstance(message, AIMessage):
        raise TypeError(f"a chat model replied with {type(message).__name__}")
    return message
