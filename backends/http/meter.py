"""`Meter`: which options of a call decide what it can cost, read off them before it is sent."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["CHAT", "Asked", "Meter"]

_PLAIN: Final = frozenset({int, float, bool, type(None)})


@dataclass(slots=True)
class Asked:
    """What the options of a call ask for.

    Attributes:
        limits: Limits of the output, in tokens, by the option that sets them; 0 for one that sets none.
        inside: Limits that stand inside another option, likewise.
        answers: How many answers.
        tiers: Tiers of service.
        kept: Something that the provider keeps, or fetches by itself, goes into the input.
        size: Characters of all other options.
        thinking: Tokens of the output that the model may think before it answers.
    """

    limits: dict[str, int] = field(default_factory=dict)
    inside: list[int] = field(default_factory=list)
    answers: int = 1
    tiers: set[str] = field(default_factory=set)
    kept: bool = False
    size: int = 0
    thinking: int = 0


@dataclass(frozen=True, slots=True)
class Meter:
    """Where a backend's call options say what a call may cost, by every name its client or its API takes.

    Attributes:
        limits: They limit the output tokens of one answer.
        answers: They say how many answers are given, each of them billed.
        tiers: They name the tier of service, or the speed.
        inside: Their members are options too, and replace what stands beside them.
        kept: They name what the provider keeps or fetches, which is billed as input and is not in the request.
        unasked: Tiers of service that the provider may give to a call that names none.
        unsent: They stay with the client: no request holds them.
        thinking: They say how much of the output is for thinking: in tokens, or an object with ``budget_tokens``.
    """

    limits: frozenset[str] = frozenset()
    answers: frozenset[str] = frozenset()
    tiers: frozenset[str] = frozenset()
    inside: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    unasked: frozenset[str] = frozenset()
    unsent: frozenset[str] = frozenset()
    thinking: frozenset[str] = frozenset()

    def read(self, options: Mapping[str, Any]) -> Asked:
        """Read a call's options, or those of a client.

        Args:
            options: By name, as the client takes them.
        """
        asked = Asked()
        self._read(options, asked, nested=False)
        return asked

    def _read(self, options: Mapping[str, Any], asked: Asked, *, nested: bool) -> None:
        for name, value in options.items():
            if name in self.limits:
                if nested:
                    asked.inside.append(_whole(value))
                else:
                    asked.limits[name] = _whole(value)
            elif name in self.answers:
                asked.answers = max(asked.answers, _whole(value))
            elif name in self.tiers:
                asked.tiers.add(_tier(value))
            elif name in self.inside:
                members = _members(value)
                if members is not None:
                    self._read(members, asked, nested=True)
            elif name in self.thinking:
                budget = value.get("budget_tokens") if isinstance(value, Mapping) else value
                asked.thinking = max(asked.thinking, _whole(budget))
            elif name in self.kept:
                asked.kept = asked.kept or bool(value)
            elif type(value) not in _PLAIN and name not in self.unsent:
                asked.size += _size(value)

    def held(self, options: Mapping[str, Any], limit: int, *, nested: bool = False) -> dict[str, Any]:
        """Give options in which no limit stands beside them, and each inside another option is no more than one.

        Args:
            options: By name, as the client takes them.
            limit: In tokens.
            nested: They stand inside another option.
        """
        held: dict[str, Any] = {}
        for name, value in options.items():
            if name in self.limits:
                if nested:
                    held[name] = min(_whole(value) or limit, limit)
            elif name in self.inside and (members := _members(value)) is not None:
                held[name] = self.held(members, limit, nested=True)
            else:
                held[name] = value
        return held


def _whole(value: Any) -> int:
    """A number of things as a vendor may read it; 0 where it is none."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return 0
    if not isinstance(value, int | float) or not math.isfinite(value):
        return 0
    return max(0, math.ceil(value))


def _size(value: Any) -> int:
    try:
        return len(json.dumps(value, default=str))
    except (TypeError, ValueError):
        return len(str(value))


def _tier(value: Any) -> str:
    # Bedrock names it in an object.
    name = value.get("type") if isinstance(value, Mapping) else getattr(value, "value", value)
    return str(name or "").lower()


def _members(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, Mapping):
        return value
    # google-genai has a class of its own for each.
    dump = getattr(value, "model_dump", None)
    return dump(exclude_none=True) if callable(dump) else None


# platform.openai.com/docs/api-reference: Chat Completions and Responses; servers that speak the first take either name
# of the limit. developers.openai.com/api/docs/guides/conversation-state: what is taken up again is billed as input.
CHAT: Final = Meter(
    limits=frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"}),
    answers=frozenset({"n", "best_of"}),
    tiers=frozenset({"service_tier"}),
    inside=frozenset({"extra_body", "model_kwargs"}),
    kept=frozenset({"previous_response_id", "conversation", "prompt", "web_search_options", "plugins", "tools"}),
)
