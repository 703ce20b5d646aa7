"""`Bill`: what one call used and costs; counted while it runs, settled once, and recorded by `CallRecorder`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ...backends.base import REACH, BackendError, Reach
from ...backends.usage.seen import StreamUsage
from ...configs.catalog import ModelCard, Usage
from ...configs.process.ids import new_id
from ...configs.words import FailureKind, Risk
from ...ledger.rows import CallRow, DecisionRow
from ...routing.decision import Decision, Rejection, RuleHit
from ...routing.features.features import features_json
from ..context import StepContext
from ..errors import Failure
from ..guards.budget import input_bound
from ..guards.guards import Grant
from ..request import ModelRequest, one_line

if TYPE_CHECKING:
    from langchain_core.messages import AIMessageChunk, BaseMessage

    from ...ledger.ledger import Ledger
    from ...ledger.prices import PriceBook

__all__ = ["Bill", "CallRecorder", "Verdict", "call_metadata"]

_NO_EFFECTS: Mapping[str, str] = MappingProxyType({})
Verdict = tuple[FailureKind, str]
"""What is wrong with a call or its reply, and the text for its row."""

_MOST_OUTPUT: Final = 4_000_000
"""Output tokens of a stream after which it is cancelled: far more than any model writes or an image takes."""


@dataclass
class Bill:
    """What one call used and costs.

    The charge is what the provider reported; without a report, what was seen of the stream; without a stream, all that
    was reserved. Nothing is charged if the request was not sent or the provider answered with an error.

    Attributes:
        card: The model that is asked.
        ask: The request.
        messages: The conversation as it is sent.
        grant: What the call was admitted with; settled with the cost.
        recorder: Computes the cost and writes the row.
        row_id: Id of the row, if known before the call.
        first_token: Seconds from the request to the first words of a stream; None before them.
        most_input: Input tokens that money was reserved for; None if none was reserved.
    """

    card: ModelCard
    ask: ModelRequest
    messages: Sequence[BaseMessage]
    grant: Grant
    recorder: CallRecorder
    row_id: str | None = None
    first_token: float | None = None
    most_input: int | None = None
    _stream: StreamUsage | None = None
    _reach: Reach = field(default_factory=Reach)
    _sent: float | None = None
    _at: float = 0.0
    _seconds: float = 0.0
    _usage: Usage | None = None
    _cost: int | None = None
    _charged: int | None = None
    _flagship_cost: int | None = None

    @property
    def begun(self) -> bool:
        """Whether the request was sent."""
        return self._sent is not None

    @property
    def connected(self) -> bool:
        """Whether the client has reported a connection, however it reports a later error."""
        return self._reach.connected is True

    @property
    def seconds(self) -> float:
        """Time since the request was sent."""
        return 0.0 if self._sent is None else time.monotonic() - self._sent

    def begin(self, tells: bool | None = None, at: float | None = None) -> None:
        """Note that the request is being sent.

        Args:
            tells: Whether the chat model that sends it from this task reports when it has a connection; None if the
                request was sent elsewhere.
            at: When it was sent, in seconds since the epoch; default: now.
        """
        if tells is not None:
            if tells:
                # Until the client reports a connection, a failure happened on this machine and costs nothing.
                self._reach.connected = False
            REACH.set(self._reach)
        now = time.time()
        self._at = now if at is None else at
        self._sent = time.monotonic() - max(0.0, now - self._at)

    def count(self, chunk: AIMessageChunk) -> None:
        """Count a chunk of the stream.

        Raises:
            BackendError: The stream is longer than any answer.
        """
        if self._stream is None:
            self._stream = StreamUsage()
        if self.first_token is None and (chunk.content or chunk.tool_call_chunks):
            self.first_token = self.seconds
        self._stream.add(chunk)
        if self._stream.seen_output > _MOST_OUTPUT:
            raise BackendError(FailureKind.MALFORMED, "the reply has no end: it was broken off")

    def settle(self, usage: Usage | None, *, billed: bool) -> None:
        """Charge the call.

        Args:
            usage: Tokens it used; None if unknown.
            billed: Whether the provider may have billed it.
        """
        self._usage, self._seconds, self._at = usage, self.seconds, self._at or time.time()
        try:
            self._cost, self._flagship_cost = self.recorder.costs(self.card, usage, self._at)
        finally:
            self._charged = self.grant.settle(usage, self._cost, billed=billed)

    def break_off(self, *, billed: bool | None = None, perhaps: bool = True) -> None:
        """Charge a call without a complete reply.

        Args:
            billed: Whether the provider billed it; None if it does not say.
            perhaps: Whether it may have billed it if it does not say; output seen in a stream counts as billed anyway.
        """
        usage = self._seen()
        if billed is None:
            unsent = not self.begun or self._reach.connected is False
            self.settle(usage, billed=(usage is not None or perhaps) and not unsent)
            free = unsent
        else:
            self.settle(usage, billed=billed)
            free = not billed
        if free and self._cost is None:
            self._cost = 0

    def write(self, wrong: Verdict | None, notes: Sequence[str] = (), **facts: Any) -> CallRow:
        """Write the row of a call that has been settled.

        Args:
            wrong: What is wrong with the call or its reply.
            notes: What else a reader of the row should know.
            facts: Further fields of `CallRow`.
        """
        cost, said = self._cost, ["" if wrong is None else wrong[1], *notes]
        if cost is None and self._charged is not None:
            cost = self._charged
            said.append("charged as reserved")
        row = self.recorder.row(
            self.card,
            id=self.row_id,
            at=self._at,
            latency=self._seconds,
            first_token=self.first_token,
            usage=self._usage,
            cost=cost,
            flagship_cost=self._flagship_cost,
            failure=None if wrong is None else wrong[0].value,
            detail="; ".join(filter(None, said)),
            **facts,
        )
        self.recorder.record(row)
        return row

    def _seen(self) -> Usage | None:
        """Return the usage reported for an incomplete reply; its output is at least what was seen of the stream."""
        if self._stream is None:
            return None
        told = self._stream.so_far
        if told is None and self.first_token is not None:
            # The input is not known yet, so its upper bound is used, as when money was reserved.
            most = self.most_input or input_bound(self.messages, self.ask.tools, self.card.context)
            return Usage(input=most, output=max(1, self._stream.seen_output))
        return told


@dataclass
class CallRecorder:
    """Writes the decision and the calls of one request to the ledger.

    Attributes:
        ledger: Where it writes.
        prices: The price book.
        step: The step of the request.
        decision: Id of the decision the calls are made under.
        risk: Risk of the step.
        stream: Whether the answer is streamed.
        flagship: The model to compare costs with; None to compare with none.
        discount: The provider's discount for such work, from 0 to 1.
        note: Prefix of its rows' details.
        recorded: Whether its rows are already in the ledger.
    """

    ledger: Ledger
    prices: PriceBook
    step: StepContext
    decision: str
    risk: Risk
    _: KW_ONLY
    stream: bool = False
    flagship: ModelCard | None = None
    discount: float = 0.0
    note: str = ""
    recorded: bool = False

    def decided(self, decision: Decision) -> None:
        """Record the decision."""
        self.ledger.record(_decision_row(decision, self.step))

    def costs(self, card: ModelCard, usage: Usage | None, at: float) -> tuple[int | None, int | None]:
        """Return a call's cost in picodollars and its cost on the flagship; each is None if unknown.

        Args:
            card: The model asked.
            usage: Tokens used.
            at: When it was made, in seconds since the epoch.
        """
        beside = None if self.flagship is None else self.flagship.id
        full, most = self.prices.compared(card.id, beside, usage, datetime.fromtimestamp(at, UTC))
        if full is None or not self.discount:
            return full, most
        # Converted through text: 0.1 means one tenth, not the nearest binary fraction.
        left = Decimal(full) * (1 - Decimal(str(self.discount)))
        return int(left.quantize(Decimal(1), ROUND_HALF_EVEN)), most

    def row(self, card: ModelCard, *, at: float, usage: Usage | None = None, detail: str = "", **facts: Any) -> CallRow:
        """Make the row of one call.

        Args:
            card: The model asked.
            at: When it was made, in seconds since the epoch.
            usage: Tokens used.
            detail: What a reader should know about it.
            facts: Further fields of `CallRow`.
        """
        flagship = self.flagship if usage is not None else None
        said = ": ".join(part for part in (self.note, detail) if part)
        return CallRow(
            id=facts.pop("id", None) or new_id(),
            decision=self.decision,
            run=self.step.run.id,
            step=self.step.step,
            agent=self.step.agent,
            model=card.id,
            tier=card.tier.value,
            risk=self.risk.value,
            at=at,
            stream=self.stream,
            usage=usage,
            flagship="" if flagship is None else flagship.id,
            price_version=card.prices.version if card.prices and usage is not None else "",
            detail=one_line(said) if said else "",
            **facts,
        )

    def record(self, row: CallRow) -> None:
        """Record a call, and notify the run's observer."""
        if self.recorded:
            return
        self.ledger.record(row)
        if self.step.run.observe is not None:
            self.step.run.observe(row)


def call_metadata(
    row: CallRow,
    rules: Sequence[str],
    failures: Sequence[Failure] = (),
    skipped: Sequence[tuple[str, str]] = (),
    setup: float = 0.0,
    effects: Mapping[str, str] = _NO_EFFECTS,
) -> dict[str, Any]:
    """Return, in plain values for the reply's metadata, which model answered, why, and what it cost.

    Args:
        row: The call that was answered.
        rules: Ids of the rules that applied.
        failures: Models asked before, without a usable answer.
        skipped: Models skipped, each with its reason.
        setup: Seconds spent loading SDKs and building clients before the calls; they count against no deadline.
        effects: Tool -> effect, of the tools that the reply calls, for later calls in the conversation.
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
        model=made.candidates[0] if made.candidates else None,
        candidates=_names(made.candidates),
        rejected=_reasons(made.rejected),
        rules=_reasons(made.rules),
        complexity=made.complexity,
        confidence=made.confidence,
        features=features_json(features),
        policy_hash=made.policy_hash,
        price_version=made.price_version,
    )


# Most decisions of a process name the same models and rules, so their texts are cached.
@lru_cache
def _names(models: tuple[str, ...]) -> str:
    return json.dumps(models)


@lru_cache
def _reasons(said: tuple[Rejection | RuleHit, ...]) -> str:
    return json.dumps([asdict(one) for one in said])
