"""The most a call can cost, and the caps it counts against."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from ...backends.base import Backend
from ...backends.http.meter import Asked
from ...configs.catalog import ModelCard
from ...configs.redact import redact
from ...ledger.prices import PriceBook
from ..context import RunContext
from ..conversation.blocks import is_inline, kind_of
from ..request import ModelRequest

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

__all__ = ["DEFAULT_OUTPUT", "STEP_INPUT", "Bound", "bounded", "input_bound", "scopes_of", "uncapped"]

_PICO: Final = 10**12
DEFAULT_OUTPUT: Final = 4096
"""Default limit of output tokens under a cap; without a limit a single call could use up the whole cap."""

STEP_INPUT: Final = 8_000
"""Input tokens assumed for a future step, since it is not known yet what it will read."""

# A byte-pair token is at least one byte, so bytes bound the tokens of a text; the rest is what vendors add around it.
_PER_MESSAGE: Final = 16
_PER_REQUEST: Final = 600
# The largest image of any vendor here counts 4,784 tokens (platform.claude.com/docs/en/build-with-claude/vision).
_PER_IMAGE: Final = 6_000
_WINDOW: Final = 2_000_000
"""Input tokens assumed for a model whose context window is unknown: no model here has a larger one."""
_MEDIA: Final = frozenset({"file", "audio", "video"})
_TEXT: Final = frozenset({"type", "text"})
_NOTHING: Final = Asked()
_NO_TIERS: Final = frozenset({"", "auto"})


@dataclass(frozen=True, slots=True)
class Bound:
    """A call with limited output, and the most it can use and cost.

    Attributes:
        options: Its keyword arguments, including the output limit.
        input: The most input tokens it can have.
        output: The most output tokens it can have.
        most: The most picodollars it can cost; 0 if the price is unknown: without any cap such a model may run, and is
            counted once its cost is known.
    """

    options: dict[str, Any]
    input: int
    output: int
    most: int


def input_bound(messages: Sequence[BaseMessage], tools: Sequence[Mapping[str, Any]], window: int | None = None) -> int:
    """Return the most tokens the input can have, without using a tokenizer.

    Args:
        messages: The conversation.
        tools: Tools in OpenAI format.
        window: The model's input window in tokens, which content that the provider fetches by itself may fill.
    """
    total, fetched = _PER_REQUEST, False
    for message in messages:
        own, elsewhere = _content_bound(message)
        total += _PER_MESSAGE + own
        fetched = fetched or elsewhere
    total += len(json.dumps(tools)) if tools else 0
    return max(total, window or _WINDOW) if fetched else total


def uncapped(ask: ModelRequest, options: dict[str, Any], backend: Backend) -> dict[str, Any]:
    """Return the options of a call without caps; its output is limited only if the request says so."""
    name, most = backend.output_limit, ask.declared.max_output
    return options if most is None or name is None else {name: most, **options}


def bounded(
    prices: PriceBook,
    card: ModelCard,
    ask: ModelRequest,
    messages: Sequence[BaseMessage],
    options: dict[str, Any],
    *,
    backend: Backend,
    settled: Asked,
) -> Bound:
    """Compute the most a call can cost, and limit its output to match.

    Args:
        prices: The price book, asked for current prices.
        card: The model.
        ask: The request.
        messages: The conversation in the form the model takes.
        options: Keyword arguments of the call, as its client will get them.
        backend: The backend of the model's provider.
        settled: What the model's configured options request in each of its calls.
    """
    name, meter = backend.output_limit, backend.meter
    asked = meter.read(options) if options else _NOTHING
    wanted = max((*asked.limits.values(), *asked.inside), default=0) or ask.declared.max_output
    # If thinking uses up the limit, there is no answer left, and some vendors reject such a limit.
    unsaid = DEFAULT_OUTPUT + max(asked.thinking, settled.thinking)
    limit = wanted or settled.limits.get(name or "") or unsaid
    limit = min(limit, card.max_output or limit)
    if asked.limits or asked.inside:
        options = meter.held(options, limit)
    if name is not None and not asked.inside and not settled.inside:
        options = {**options, name: limit}
    # Limits configured inside other options are sent with the request, whatever the call's own limit is.
    inside = [number or card.max_output or _WINDOW for number in settled.inside]
    others = [number for key, number in settled.limits.items() if key != name]
    output = max((limit, *inside, *others)) * max(asked.answers, settled.answers)
    window = card.context or _WINDOW
    into = input_bound(messages, ask.tools, window) + asked.size + settled.size
    if asked.kept or settled.kept:
        into = max(into, window)
    named = (asked.tiers | settled.tiers) - _NO_TIERS if asked.tiers or settled.tiers else ()
    at = datetime.now(UTC)
    worst = [
        prices.worst_case(card.id, into, output, at, service_tier=tier, perhaps=() if named else meter.unasked)
        for tier in named or ("",)
    ]
    return Bound(options, into, output, 0 if None in worst else max(most or 0 for most in worst))


def _content_bound(message: BaseMessage) -> tuple[int, bool]:
    """Return the most tokens a message can have, and whether the provider fetches uncounted content for it."""
    bound = 0
    for part in (vars(message).get("tool_calls"), vars(message).get("invalid_tool_calls")):
        if part:
            bound += len(json.dumps(part, default=str))
    if message.additional_kwargs:
        bound += len(json.dumps(message.additional_kwargs, default=str))
    content = message.content
    if isinstance(content, str):
        return bound + _bytes(content), False
    fetched = False
    for block in content:
        if isinstance(block, str):
            bound += _bytes(block)
        elif (kind := kind_of(block)) == "image":
            bound += _PER_IMAGE
        else:
            bound += _bytes(block["text"]) if block.keys() == _TEXT else len(json.dumps(block, default=str))
            fetched = fetched or (kind in _MEDIA and not is_inline(block)) or block.get("type") == "container_upload"
    return bound, fetched


def _bytes(text: str) -> int:
    # A lone surrogate cannot be encoded and sent; the client raises its own error for that.
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def scopes_of(run: RunContext, budgets: Mapping[str, float], at: datetime | None = None) -> dict[str, int | None]:
    """Return the scopes a call of ``run`` counts against, each with its cap in picodollars; empty without caps.

    Args:
        run: The run, which includes the caps of the runs around it.
        budgets: ``day``, ``user`` or ``tag:NAME`` -> USD, from the routing policy.
        at: The time of the call, which determines the day (UTC); default: now.
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
    """Return a user's name as the ledger stores it; a name that looks like a secret is replaced by its hash."""
    return user if redact(user) == user else f"hidden {sha256(user.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
