"""What a call can cost at most, and the caps it counts against."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from ..configs.catalogue import ModelCard
from ..configs.redact import redact
from ..ledger.prices import PriceBook
from .ask import Ask
from .context import RunContext

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

__all__ = ["DEFAULT_OUTPUT", "STEP_INPUT", "input_bound", "scopes_of", "worst_case"]

_PICO: Final = 10**12
DEFAULT_OUTPUT: Final = 4096
"""Output tokens a call may use under a cap where nobody said; without a limit a single call could need it all."""

STEP_INPUT: Final = 8_000
"""Input tokens reckoned with for a step that is still to come; nobody knows yet what it will read."""

# A byte-pair token is at least one byte, so bytes bound the tokens of a text; the rest is what vendors add around it.
_PER_MESSAGE: Final = 16
_PER_REQUEST: Final = 600
# The largest image of any vendor here counts 4,784 tokens (platform.claude.com/docs/en/build-with-claude/vision).
_PER_IMAGE: Final = 6_000


def input_bound(messages: Sequence[BaseMessage], tools: Sequence[Mapping[str, Any]]) -> int:
    """Tokens the input can have at most, without asking a tokenizer.

    Args:
        messages: The conversation.
        tools: Tools in OpenAI format.
    """
    total = _PER_REQUEST + sum(_PER_MESSAGE + _content_bound(message) for message in messages)
    return total + (len(json.dumps(tools)) if tools else 0)


def worst_case(
    prices: PriceBook, card: ModelCard, ask: Ask, messages: Sequence[BaseMessage], *, capped: bool
) -> tuple[int | None, int]:
    """Say how much a call may answer and what it can then cost at most.

    Args:
        prices: The price book, asked for the prices of now.
        card: The model.
        ask: What is asked.
        messages: The conversation in the form the model takes.
        capped: The call counts against a budget, so that its output needs a limit.

    Returns:
        Tokens of output to hold the model to, None for no limit; and picodollars, 0 where nothing is capped or the
        price is unknown: without a cap anywhere such a model may run, and is counted once its cost is known.
    """
    if not capped:
        return ask.max_output, 0
    limit = min(ask.max_output or DEFAULT_OUTPUT, card.max_output or DEFAULT_OUTPUT)
    bound, tier = input_bound(messages, ask.tools), ask.options.get("service_tier")
    most = prices.worst_case(
        card.id, bound, limit, datetime.now(UTC), service_tier=tier if isinstance(tier, str) else ""
    )
    return limit, most or 0


def _content_bound(message: BaseMessage) -> int:
    calls = getattr(message, "tool_calls", None)
    bound = len(json.dumps(calls, default=str)) if calls else 0
    content = message.content
    if isinstance(content, str):
        return bound + _bytes(content)
    return bound + sum(_bytes(block) if isinstance(block, str) else _block_bound(block) for block in content)


def _block_bound(block: Mapping[str, Any]) -> int:
    kind = str(block.get("type", ""))
    if kind == "text":
        return _bytes(str(block.get("text", "")))
    if "image" in kind:
        return _PER_IMAGE
    return len(json.dumps(block, default=str))


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def scopes_of(run: RunContext, budgets: Mapping[str, float], at: datetime | None = None) -> dict[str, int | None]:
    """The scopes a call of ``run`` counts against, each with its cap in picodollars; empty when nothing is capped.

    Args:
        run: The run, which carries the caps of the runs around it.
        budgets: ``day``, ``user`` or ``tag:NAME`` -> USD, from the routing policy.
        at: The moment of the call, which names the day (UTC).
    """
    scopes: dict[str, int | None] = dict(run.caps)
    for name, dollars in budgets.items():
        if name == "day":
            scope = f"day:{(at or datetime.now(UTC)):%Y-%m-%d}"
        elif name == "user":
            scope = f"user:{_known_as(run.user)}" if run.user else ""
        else:
            scope = name if name.removeprefix("tag:") in run.tags else ""
        if scope:
            scopes[scope] = int(Decimal(str(dollars)) * _PICO)
    return scopes


@lru_cache(maxsize=4096)
def _known_as(user: str) -> str:
    """A user's name in the ledger's file; one that is itself a secret goes by its hash, which tells it from others."""
    return user if redact(user) == user else f"hidden {sha256(user.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
