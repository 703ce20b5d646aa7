"""`Booking`: the ledger's rows of one ask: the decision, and each call made under it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..configs.catalogue import ModelCard, Usage
from ..configs.ids import new_id
from ..ledger.rows import CallRow, DecisionRow
from ..routing.decision import Decision, Rejection, RuleHit
from ..routing.features import features_json
from .context import StepContext
from .errors import Failure

if TYPE_CHECKING:
    from .dispatcher import Dispatcher

__all__ = ["Booking", "account"]

_NO_EFFECTS: Mapping[str, str] = MappingProxyType({})


class Booking:
    """Writes what is decided and called for one ask into the ledger.

    Args:
        dispatcher: Whose ledger and prices.
        step: The step it belongs to.
        decision: The decision, recorded at once.
        stream: The answer is streamed.
    """

    def __init__(self, dispatcher: Dispatcher, step: StepContext, decision: Decision, *, stream: bool = False) -> None:
        self._home = dispatcher
        self._step = step
        self._decision = decision
        self._stream = stream
        dispatcher.ledger.record(_decision_row(decision, step))

    def call(
        self, card: ModelCard, *, attempt: int, seconds: float, usage: Usage | None = None, **facts: Any
    ) -> CallRow:
        """Make the row of one call, priced where its usage is known.

        Args:
            card: The model asked.
            attempt: Which call of the ask it is, from 1.
            seconds: How long it took.
            usage: Tokens used.
            facts: Further fields of `CallRow`.
        """
        home, began = self._home, time.time() - seconds
        cost = flagship_cost = None
        flagship, version = "", ""
        if usage is not None:
            at = datetime.fromtimestamp(began, UTC)
            cost = home.prices.price(card.id, usage, at)
            version = card.prices.version if card.prices else ""
            if home.flagship is not None:
                flagship = home.flagship.id
                flagship_cost = home.prices.price(flagship, usage, at)
        return CallRow(
            id=new_id(),
            decision=self._decision.request,
            run=self._step.run.id,
            step=self._step.step,
            agent=self._step.agent,
            attempt=attempt,
            model=card.id,
            tier=card.tier.value,
            risk=self._decision.risk.value,
            at=began,
            latency=seconds,
            stream=self._stream,
            usage=usage,
            cost=facts.pop("cost", cost),
            flagship=flagship,
            flagship_cost=flagship_cost,
            price_version=version,
            **facts,
        )

    def record(self, row: CallRow) -> None:
        """Write a call down, and tell whoever watches the run."""
        self._home.ledger.record(row)
        if self._step.run.observe is not None:
            self._step.run.observe(row)


def account(
    row: CallRow,
    rules: Sequence[str],
    failures: Sequence[Failure] = (),
    skipped: Sequence[tuple[str, str]] = (),
    *,
    effects: Mapping[str, str] = _NO_EFFECTS,
) -> dict[str, Any]:
    """Say in plain values which model answered, why, and what it cost; it stands in the reply's metadata.

    Args:
        row: The call that was answered.
        rules: Ids of the rules that applied.
        failures: Models asked before, in vain.
        skipped: Models passed over, each with its reason.
        effects: Tool -> effect, of the tools that the reply calls, for whoever goes on with the conversation.
    """
    return {
        "decision": row.decision,
        "model": row.model,
        "answered_by": row.answered_by,
        "tier": row.tier,
        "risk": row.risk,
        "attempt": row.attempt,
        "cost": row.cost,
        "seconds": row.latency,
        "confidence": row.confidence,
        "usage": asdict(row.usage) if row.usage else None,
        "rules": list(rules),
        "failed": [f"{failure.model}: {failure.kind}" for failure in failures],
        "skipped": [f"{model}: {reason}" for model, reason in skipped],
        "effects": dict(effects),
    }


def _decision_row(made: Decision, step: StepContext) -> DecisionRow:
    features = made.features
    return DecisionRow(
        id=made.request,
        run=step.run.id,
        step=step.step,
        agent=step.agent,
        task=features.task,
        at=time.time(),
        risk=made.risk.value,
        floor=made.floor.value,
        tier=made.tier.value,
        model=made.model,
        candidates=_names(made.candidates),
        rejected=_reasons(made.rejected),
        rules=_reasons(made.rules),
        complexity=made.complexity,
        confidence=made.confidence,
        features=features_json(features),
        policy_hash=made.policy_hash,
        price_version=made.price_version,
    )


# Most decisions of a process name the same models and rules, so their texts are kept.
@lru_cache(maxsize=1024)
def _names(models: tuple[str, ...]) -> str:
    return json.dumps(models)


@lru_cache(maxsize=1024)
def _reasons(said: tuple[Rejection | RuleHit, ...]) -> str:
    return json.dumps([asdict(one) for one in said])
