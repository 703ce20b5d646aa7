"""What came back from a batch, judged as a live reply is: its row in the ledger, and what becomes of the ask."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Any

from ..backends.base import BackendError
from ..configs.catalogue import ModelCard
from ..configs.words import FailureKind
from ..ledger.batches import AskRow, Outcome, PartRow
from ..ledger.rows import CallRow
from .ask import Ask, one_line
from .booking import account
from .checks import fault
from .stored import ask_of, ask_text, reply_text, step_of

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from .dispatcher import Dispatcher

__all__ = ["judged"]

# These tell of the provider at that hour, not of what the model makes of this very ask.
_PASSING = frozenset(
    {
        FailureKind.RATE_LIMIT,
        FailureKind.OVERLOADED,
        FailureKind.TIMEOUT,
        FailureKind.CONNECTION,
        FailureKind.AUTH,
        FailureKind.UNAVAILABLE,
        FailureKind.QUOTA,
    }
)


def judged(
    home: Dispatcher,
    card: ModelCard,
    part: PartRow,
    row: AskRow,
    answer: AIMessage | BackendError,
    *,
    billed: bool = False,
) -> tuple[CallRow, Outcome]:
    """Say what an answer is worth.

    Args:
        home: Whose prices, checks and cures.
        card: The model that was asked.
        part: The part it came with.
        row: The ask.
        answer: The reply, or what failed.
        billed: A failure may have been billed; providers bill nothing for a request that they say failed.

    Returns:
        The ledger's row of the call, and what becomes of the ask: it is done, or is to be asked live.
    """
    ask, facts = ask_of(row.ask), json.loads(row.facts)
    step = step_of(facts["step"])
    call = CallRow(
        id=row.call,
        decision=facts["decision"],
        run=step.run.id,
        step=step.step,
        agent=step.agent,
        attempt=1,
        model=card.id,
        tier=card.tier.value,
        risk=facts["risk"],
        at=part.at,
        latency=max(0.0, time.time() - part.at),
        detail=f"batch {part.batch}",
    )
    if isinstance(answer, BackendError):
        wrong: tuple[FailureKind, str] | None = (answer.kind, one_line(answer))
        call = replace(call, cost=None if billed else 0)
    else:
        backend = home.clients.backend(card)
        reply = backend.read(answer)
        wrong = fault(ask, card, backend, answer, reply)
        call = replace(call, answered_by=reply.model, finish=reply.finish, usage=reply.usage)
        call = replace(call, **_priced(home, card, call))
    if wrong is None and not isinstance(answer, BackendError):
        answer.response_metadata["pointsman"] = account(call, facts["rules"], effects=ask.called(answer))
        return call, Outcome(row.place, "done", cost=call.cost, reply=reply_text(answer))
    kind, detail = wrong or (FailureKind.MALFORMED, "")
    call = replace(call, failure=kind.value, detail=one_line(f"batch {part.batch}: {detail}"))
    if home.policy.cures[kind] == "stop":
        return call, Outcome(row.place, "done", cost=call.cost, error=f"{card.id}: {kind} ({detail})")
    again, avoid = _again(home, card, ask, facts, kind)
    facts["avoid"] = avoid
    return call, Outcome(row.place, "live", ask_text(again), json.dumps(facts), cost=call.cost)


def _again(
    home: Dispatcher, card: ModelCard, ask: Ask, facts: Mapping[str, Any], kind: FailureKind
) -> tuple[Ask, list[tuple[str, str]]]:
    """The ask for a live call that goes no lower than its model, and which models that call must not use."""
    later = [home.cards[name].tier for name in facts["candidates"] if name in home.cards]
    above = [tier for tier in later if tier > card.tier]
    # Where nothing is stronger another model of the same tier may still do better.
    least = min(above) if above and home.policy.cures[kind] == "stronger" else card.tier
    tier = least if ask.tier is None else max(ask.tier, least)
    avoid = [] if kind in _PASSING else [(card.id, f"gave no usable answer in a batch: {kind}")]
    return replace(ask, tier=tier), avoid


def _priced(home: Dispatcher, card: ModelCard, call: CallRow) -> dict[str, Any]:
    """The costs of a call: what a batch costs, and what the flagship would have cost live."""
    at = datetime.fromtimestamp(call.at, UTC)
    cost = home.prices.price(card.id, call.usage, at)
    discount = home.settings.providers[card.provider].batch_discount
    flagship = home.flagship
    return {
        "cost": None if cost is None else _discounted(cost, discount),
        "flagship": flagship.id if flagship else "",
        "flagship_cost": home.prices.price(flagship.id, call.usage, at) if flagship else None,
        "price_version": card.prices.version if card.prices else "",
    }


def _discounted(cost: int, discount: float) -> int:
    # Through its text: 0.1 is meant as a tenth, not as the nearest binary fraction.
    left = Decimal(cost) * (1 - Decimal(str(discount)))
    return int(left.quantize(Decimal(1), ROUND_HALF_EVEN))
