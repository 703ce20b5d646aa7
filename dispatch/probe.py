"""Ask one model for a few words to see whether it answers; the result counts towards its health."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from langchain_core.messages import HumanMessage

from ..configs.errors import PointsmanError
from ..configs.words import FailureKind, StepKind
from ..ledger.rows import CallRow
from ..routing.request import RouteRequest
from .context import current, entered
from .dispatcher import Dispatcher
from .errors import AllFailed
from .failures import FAILURES
from .guards.rate_limit import RateLimitKey, Resource
from .request import ModelRequest, one_line

if TYPE_CHECKING:
    from ..configs.catalog import ModelCard

__all__ = ["AGENT", "Probed", "probe"]

AGENT: Final = "probe"
"""The agent that probes are recorded under in the ledger."""

_QUESTION: Final = "Are you there? Answer in one word."
# The lowest limit that every vendor accepts (OpenAI's Responses: 16).
_OUTPUT_TOKENS: Final = 16


@dataclass(frozen=True, slots=True)
class Probed:
    """The result of a probe.

    Attributes:
        model: The model asked.
        ok: Whether it answered, or used up the few tokens on thinking, which proves as much.
        seconds: Seconds to the complete answer; None if nothing was sent.
        cost: Picodollars; None if unknown.
        detail: What is wrong; empty if nothing is.
        left: What is left of its known rate limits.
        setup: Seconds it took to load its SDK and build its client, which the timeout does not count.
    """

    model: str
    ok: bool
    seconds: float | None
    cost: int | None
    detail: str
    left: Mapping[Resource, float]
    setup: float = 0.0


async def probe(dispatcher: Dispatcher, card: ModelCard, timeout: float) -> Probed:
    """Ask a model, past its breaker where that is open.

    Args:
        dispatcher: Whose configuration, ledger, budgets and health.
        card: The model.
        timeout: Seconds the answer may take once its client is ready.
    """
    dispatcher.health.try_now(dispatcher.guards.key(card))
    rows: list[CallRow] = []
    others = tuple((other, f"only {card.id} is probed") for other in dispatcher.cards if other != card.id)
    run = replace(current().run, observe=rows.append)
    declared = RouteRequest(kind=StepKind.GATHER, model=card.id, max_output=_OUTPUT_TOKENS, deadline=timeout)
    ask = ModelRequest([HumanMessage(_QUESTION)], declared)
    began = time.monotonic()
    await dispatcher.clients.ready(card)
    setup, detail = time.monotonic() - began, ""
    with entered(run=run, agent=AGENT, unavailable=others):
        try:
            await dispatcher.call(ask)
        except AllFailed as failed:
            detail = failed.last
        except PointsmanError as error:
            detail = one_line(error)
    row = rows[-1] if rows else None
    ok = row is not None and (row.failure is None or FAILURES[FailureKind(row.failure)].health == "well")
    return Probed(
        model=card.id,
        ok=ok,
        seconds=None if row is None else row.latency,
        cost=None if row is None else row.cost,
        detail="" if ok else f"{row.failure}: {row.detail}" if row is not None else detail,
        left=dispatcher.rate_limiter.left(RateLimitKey(card.provider, card.name)),
        setup=setup,
    )
