"""Requests, steps and replies as text, for work that another process may have to continue."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, Final

from langchain_core.messages import AIMessage, message_to_dict, messages_from_dict, messages_to_dict

from ...configs.errors import ConfigError
from ...configs.words import Risk, Tier, Trust
from ...routing.evidence import Finding
from ...routing.request import RouteRequest
from ..context import RunContext, StepContext
from ..request import ModelRequest

__all__ = ["ask_of", "ask_text", "reply_of", "reply_text", "step_of", "step_record"]

_TUPLES: Final = ("tools", "stop")
"""Fields that JSON returns as lists."""
_APART: Final = (
    "task", "kind", "tier", "max_tier", "reversible", "max_output", "effects", "only_reads", "latency", "deadline",
)  # fmt: skip
"""Fields of the declaration that version 0.1 wrote one by one."""


def ask_text(ask: ModelRequest) -> str:
    """Serialize a request.

    Raises:
        ConfigError: Part of it, such as a class given as an option, cannot be serialized.
    """
    record: dict[str, Any] = {field.name: getattr(ask, field.name) for field in fields(ask)}
    record["messages"] = messages_to_dict(list(ask.messages))
    record["declared"] = ask.declared.model_dump(mode="json", exclude={"messages"}, exclude_unset=True)
    # A class cannot be serialized; `AnswerClasses` finds it again.
    record["answer"] = None
    record["examples"], record["options"] = dict(ask.examples), dict(ask.options)
    try:
        return json.dumps(record)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a batch has to be written down, and this ask cannot be as JSON: {error}") from error


def ask_of(text: str) -> ModelRequest:
    """Parse a request that `ask_text` serialized."""
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
    """Convert a step to plain values, without the fields of its run that exist only in this process."""
    return {
        **{field.name: getattr(step, field.name) for field in fields(step)},
        "run": {field.name: getattr(step.run, field.name) for field in fields(RunContext) if field.name not in _HERE},
    }


def step_of(record: dict[str, Any]) -> StepContext:
    """Rebuild a step from what `step_record` returned, also after a round trip through JSON."""
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
    said["recalled"] = None if record.get("recalled") is None else Trust(record["recalled"])
    said["trust"] = Trust(record.get("trust", Trust.USER))
    return StepContext(**said)


def reply_text(message: AIMessage) -> str:
    """Serialize a reply; values without a JSON form become text."""
    return json.dumps(message_to_dict(message), default=str)


def reply_of(text: str) -> AIMessage:
    """Parse a reply that `reply_text` serialized."""
    [message] = messages_from_dict([json.loads(text)])
    if not isinstance(message, AIMessage):
        raise TypeError(f"a chat model replied with {type(message).__name__}")
    return message
