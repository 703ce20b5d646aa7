"""A recorded call to judge: what the user said, what was in view, the tools, the call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator, with_config
from typing_extensions import TypedDict

from .gate import Judged, ToolFacts, judge

__all__ = ["ToolCallRecord"]


@with_config(ConfigDict(extra="allow"))
class _Message(TypedDict, total=False):
    """A message as it was recorded; only these keys are relied on."""

    tool_calls: tuple[Mapping[str, Any], ...] | None


class _Call(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1)
    arguments: Mapping[str, Any] = Field(default_factory=dict)

    @field_validator("arguments", mode="before")
    @classmethod
    def _written(cls, given: Any) -> Any:
        """Parse arguments in OpenAI's form, which is JSON text."""
        return (json.loads(given) if given.strip() else {}) if isinstance(given, str) else given


class ToolCallRecord(BaseModel):
    """One line of ``pointsman risk tool-call --json``.

    Attributes:
        id: Returned with the answer.
        user: The user's words.
        transcript: Messages so far in OpenAI's form; a tool's result may be marked ``"trust": "user"`` or ``"tool"``.
        tools: The available tools; one that declares no effect counts as ``destructive``.
        call: The call.
    """

    model_config = ConfigDict(extra="ignore")

    id: str | int | None = None
    user: str
    transcript: tuple[_Message, ...] = ()
    tools: tuple[ToolFacts, ...] = ()
    call: _Call

    @model_validator(mode="before")
    @classmethod
    def _meant(cls, given: Any) -> Any:
        """Refuse a key that nearly matches a field: dropping it would make a call look less harmful than it is."""
        for key in given if isinstance(given, Mapping) else ():
            near = get_close_matches(str(key), cls.model_fields, n=1, cutoff=0.75)
            if near and near[0] != key:
                raise ValueError(f"unknown key {key!r}; did you mean {near[0]!r}?")
        return given

    def judged(self) -> Judged:
        """Return the gate's decision on the call."""
        facts = {tool.name: tool for tool in self.tools}
        return judge(self.user, self.transcript, facts, self.call.name, self.call.arguments)
