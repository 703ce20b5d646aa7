"""`Meter`: read from a call's options, before it is sent, what determines its cost."""

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
        limits: Output limits in tokens, by the option that sets them; 0 for an option without a usable limit.
        inside: Output limits nested inside another option, likewise.
        answers: Number of answers.
        tiers: Service tiers.
        kept: Whether the input includes something that the provider stores or fetches by itself.
        size: Characters of all other options.
        thinking: Output tokens that the model may spend on thinking before it answers.
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
    """Names of a backend's call options that affect a call's cost, under every name its client or API accepts.

    Attributes:
        limits: Options that limit the output tokens of one answer.
        answers: Options that set the number of answers, each of which is billed.
        tiers: Options that name the service tier or the speed.
        inside: Options whose members are options too and override those outside.
        kept: Options that refer to content the provider stores or fetches, billed as input but not in the request.
        unasked: Service tiers that the provider may apply to a call that names none.
        unsent: Options that only the client uses and no request contains.
        thinking: Options that set the output for thinking: in tokens, or an object with ``budget_tokens``.
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
        """Read the options of a call or of a client.

        Args:
            options: Options by name, as the client accepts them.
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
        """Return the options without top-level limits and with each nested limit at most ``limit``.

        Args:
            options: Options by name, as the client accepts them.
            limit: In tokens.
            nested: Whether the options are nested inside another option.
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
    """Return a count as a vendor may read it, rounded up; 0 if it is not a number."""
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
    # Bedrock gives the tier in an object.
    name = value.get("type") if isinstance(value, Mapping) else getattr(value, "value", value)
    return str(name or "").lower()


def _members(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, Mapping):
        return value
    # google-genai has its own class for each.
    dump = getattr(value, "model_dump", None)
    return dump(exclude_none=True) if callable(dump) else None


# platform.openai.com/docs/api-reference: Chat Completions and Responses; servers that speak the first take either name
# of the limit. developers.openai.com/api/docs/guides/conversation-state: earlier turns of it are billed as input.
CHAT: Final = Meter(
    limits=frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"}),
    answers=frozenset({"n", "best_of"}),
    tiers=frozenset({"service_tier"}),
    inside=frozenset({"extra_body", "model_kwargs"}),
    kept=frozenset({"previous_response_id", "conversation", "prompt", "web_search_options", "plugins", "tools"}),
)
