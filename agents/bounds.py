"""`Bounds`: what bounds a run, and the caps in money and tokens that its calls count against."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypedDict

from ..configs.errors import ConfigError
from ..configs.loading.layers import suggest
from ..configs.schema import Limits
from ..dispatch.guards.tokens import TokenCaps
from ..ledger.rows import CallRow, RunRow
from .runtime import Runtime

__all__ = ["Bounds", "BoundsFields", "TokenCap", "cap_of", "check_cap", "scope_of", "token_cap_of", "token_caps"]

_PICO = 10**12
_MOST_STEPS = 50
_LARGEST = 2**63 - 1
_EVERYBODY = "default"

TokenCap = tuple[str, int, int]
"""Id of a run, the tokens it may use, and those that it has used."""


class BoundsFields(TypedDict, total=False):
    """The fields of `Bounds`, as keyword arguments."""

    max_cost: float | None
    max_steps: int | None
    timeout: float | None
    user: str
    user_class: str | None
    tags: Sequence[str]
    max_tokens: int | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of a run and how it is labelled; a resumed run keeps the values that are left out here.

    Attributes:
        max_cost: USD it may spend in all its parts, including nested runs.
        max_steps: Supersteps of its graph that this part may take.
        timeout: Seconds that this part may take.
        user: Who it is for, in the ledger.
        user_class: Class of users whose limits apply.
        tags: Free labels, in the ledger.
        max_tokens: Tokens of input and output that it may use in all its parts, including nested runs.

    Raises:
        ConfigError: If a bound is invalid.
    """

    max_cost: float | None = None
    max_steps: int | None = None
    timeout: float | None = None
    user: str = ""
    user_class: str | None = None
    tags: Sequence[str] = ()
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.user, str):
            raise ConfigError(f"user is {self.user!r}: give a text")
        if isinstance(self.tags, str) or not all(isinstance(tag, str) for tag in self.tags):
            raise ConfigError(f"tags is {self.tags!r}: give a list of texts, such as tags=['nightly']")
        for name, text in (
            ("user", self.user),
            ("user_class", self.user_class or ""),
            *(("tags", t) for t in self.tags),
        ):
            if not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text):
                raise ConfigError(f"{name} is {text!r}, which is no text that can be written: give one in UTF-8")
        for name, kinds, what in (
            ("max_cost", (int, float, Decimal), "give USD, such as 0.25"),
            ("max_steps", (int,), "give a whole number of 1 or more"),
            ("max_tokens", (int,), "give a whole number of 1 or more"),
            ("timeout", (int, float), "give a number of seconds"),
        ):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
                raise ConfigError(f"{name} is {value!r}: {what}")
        if self.max_cost is not None:
            check_cap(self.max_cost)
        for name, number in (("max_steps", self.max_steps), ("max_tokens", self.max_tokens)):
            if number is not None and number < 1:
                raise ConfigError(f"{name} is {number}: give 1 or more")
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise ConfigError(f"timeout is {self.timeout}: give a number of seconds above 0")

    def over(self, row: RunRow) -> RunRow:
        """Return the row of a run with these bounds; those that are left out stay unchanged."""
        return replace(
            row,
            user=self.user or row.user,
            user_class=self.user_class or row.user_class,
            # A resumed run is usually given the same tags again.
            tags=tuple(dict.fromkeys((*row.tags, *self.tags))),
            max_cost=row.max_cost if self.max_cost is None else min(_pico(self.max_cost), _LARGEST),
            max_steps=min(self.max_steps or row.max_steps or _MOST_STEPS, _LARGEST),
            timeout=row.timeout if self.timeout is None else self.timeout,
            max_tokens=row.max_tokens if self.max_tokens is None else min(self.max_tokens, _LARGEST),
        )


def check_cap(max_cost: float) -> None:
    """Reject a cap that is not valid.

    Args:
        max_cost: USD a run may spend.

    Raises:
        ConfigError: It is negative, infinite or not a number.
    """
    # Both comparisons are false for NaN.
    if not 0 <= max_cost < math.inf:
        raise ConfigError(f"a cap of {max_cost} is not valid: give USD, 0 or more, or leave it out for no cap")


def scope_of(run: str) -> str:
    """Return the scope in which the cost of a run is counted."""
    return f"run:{run}"


def cap_of(runtime: Runtime, row: RunRow) -> tuple[tuple[str, int], ...]:
    """Return the scope of a run with its spending cap in picodollars, if it has one.

    Args:
        runtime: What it runs on.
        row: Its row.

    Raises:
        ConfigError: The policy defines classes of users, but not this one.
    """
    allowed = _limits(runtime, row.user_class).max_cost
    caps = [cap for cap in (row.max_cost, None if allowed is None else _pico(allowed)) if cap is not None]
    return ((scope_of(row.id), min(caps)),) if caps else ()


def token_cap_of(runtime: Runtime, row: RunRow, calls: Iterable[CallRow]) -> tuple[TokenCap, ...]:
    """Return the token cap of a run, if it has one.

    Args:
        runtime: What it runs on.
        row: Its row.
        calls: Its calls so far, including those of nested runs.

    Raises:
        ConfigError: As `cap_of`.
    """
    allowed = _limits(runtime, row.user_class).max_tokens
    caps = [cap for cap in (row.max_tokens, allowed) if cap is not None]
    used = sum(call.usage.input + call.usage.output for call in calls if call.usage is not None) if caps else 0
    return ((row.id, min(caps), used),) if caps else ()


def token_caps(own: Sequence[TokenCap], outer: TokenCaps | None) -> TokenCaps | None:
    """Return the token caps that a run's calls count against; None if there are none.

    Args:
        own: Its caps, innermost first.
        outer: Those of its enclosing run, in this process.
    """
    caps = outer
    for cap in reversed(own):
        caps = TokenCaps(*cap, outer=caps)
    return caps


def _pico(dollars: float) -> int:
    return int(Decimal(str(dollars)) * _PICO)


def _limits(runtime: Runtime, user_class: str) -> Limits:
    """Return the limits of a class of users; a misspelt class must not get the default limits."""
    routing = runtime.dispatcher.policy.routing
    if routing.classes and user_class not in (*routing.classes, _EVERYBODY):
        near = suggest(user_class, routing.classes)
        raise ConfigError(f"routing.classes has no class {user_class!r}{near}")
    return routing.limits_of(user_class)
