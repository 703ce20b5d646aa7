"""`CallRecorder`: the ledger's rows of one ask: the decision, and each call made under it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...configs.catalog import ModelCard, Usage
from ...configs.process.ids import new_id
from ...configs.words import Risk
from ...ledger.rows import CallRow, DecisionRow
from ...routing.decision import Decision, Rejection, RuleHit
from ...routing.features.features import features_json
from ..context import StepContext
from ..errors import Failure
from ..request import one_line

if TYPE_CHECKING:
    from ...ledger.ledger import Ledger
    from ...ledger.prices import PriceBook

__all__ = ["CallRecorder", "call_metadata"]

_NO_EFFECTS: Mapping[str, str] = MappingProxyType({})


class CallRecorder:
    """Writes what is decided and called for one ask into the ledger.

    Args:
        ledger: Where it writes.
        prices: The price book.
        step: The step it belongs to.
        decision: Id of the decision the calls are made under.
        risk: Risk of the step.
        stream: The answer is streamed.
        flagship: Say what this model would have cost.
        discount: What the provider takes off the price of such work, from 0 to 1.
        note: What the details of its rows begin with.
        recorded: Its rows are in the ledger already.

    Attributes:
        ledger: Where it writes.
    """

    def __init__(
        self,
        ledger: Ledger,
        prices: PriceBook,
        step: StepContext,
        decision: str,
        risk: Risk,
        *,
        stream: bool = False,
        flagship: ModelCard | None = None,
        discount: float = 0.0,
        note: str = "",
        recorded: bool = False,
    ) -> None:
        self.ledger = ledger
        self._prices = prices
        self._flagship = flagship
        self._step = step
        self._decision = decision
        self._risk = risk
        self._stream = stream
        self._discount = discount
        self._note = note
        self._recorded = recorded

    def decided(self, decision: Decision) -> None:
        """Write the decision down."""
        self.ledger.record(_decision_row(decision, self._step))

    def cost(self, card: ModelCard, usage: Usage | None, at: float) -> int | None:
        """Picodollars for a call; None where it is unknown.

        Args:
            card: The model asked.
            usage: Tokens used.
            at: When it was made, in seconds since the epoch.
        """
        full = self._prices.price(card.id, usage, datetime.fromtimestamp(at, UTC))
        if full is None or not self._discount:
            return full
        # Through its text: 0.1 is meant as a tenth, not as the nearest binary fraction.
        left = Decimal(full) * (1 - Decimal(str(self._discount)))
        return int(left.quantize(Decimal(1), ROUND_HALF_EVEN))

    def row(self, card: ModelCard, *, at: float, usage: Usage | None = None, detail: str = "", **facts: Any) -> CallRow:
        """Make the row of one call.

        Args:
            card: The model asked.
            at: When it was made, in seconds since the epoch.
            usage: Tokens used.
            detail: What a reader should know of it.
            facts: Further fields of `CallRow`.
        """
        flagship = self._flagship if usage is not None else None
        said = ": ".join(part for part in (self._note, detail) if part)
        return CallRow(
            id=facts.pop("id", None) or new_id(),
            decision=self._decision,
            run=self._step.run.id,
            step=self._step.step,
            agent=self._step.agent,
            model=card.id,
            tier=card.tier.value,
            risk=self._risk.value,
            at=at,
            stream=self._stream,
            usage=usage,
            flagship="" if flagship is None else flagship.id,
            flagship_cost=None
            if flagship is None
            else self._prices.price(flagship.id, usage, datetime.fromtimestamp(at, UTC), made=False),
            price_version=card.prices.version if card.prices and usage is not None else "",
            detail=one_line(said) if said else "",
            **facts,
        )

    def record(self, row: CallRow) -> None:
        """Write a call down, and tell whoever watches the run."""
        if self._recorded:
            return
        self.ledger.record(row)
        if self._step.run.observe is not None:
            self._step.run.observe(row)


def call_metadata(
    row: CallRow,
    rules: Sequence[str],
    failures: Sequence[Failure] = (),
    skipped: Sequence[tuple[str, str]] = (),
    setup: float = 0.0,
    effects: Mapping[str, str] = _NO_EFFECTS,
) -> dict[str, Any]:
    """Say in plain values which model answered, why, and what it cost; it stands in the reply's metadata.

    Args:
        row: The call that was answered.
        rules: Ids of the rules that applied.
        failures: Models asked before, without a usable answer.
        skipped: Models passed over, each with its reason.
        setup: Seconds it took to load SDKs and build clients before the calls; they count against no deadline.
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
        "setup": setup,
        "confidence": row.confidence,
        "usage": row.usage.told if row.usage else None,
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
