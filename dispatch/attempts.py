"""`Attempts`: the candidates of one ask in order, what guards each call, what became of it, and its rows."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..backends.base import BackendError
from ..configs.catalogue import ModelCard, Usage
from ..configs.words import FailureKind
from ..ledger.rows import CallRow, DecisionRow
from ..routing.decide import decide
from ..routing.decision import Rejection, RuleHit
from ..routing.features import features_dict
from ..routing.request import Circumstances
from .ask import Ask, one_line, route_request
from .briefing import brief
from .cache_key import CacheRequest, cacheable
from .checks import fault
from .context import StepContext, current
from .errors import AllFailed, Failure, NoCandidate
from .headroom import HeadroomKey, Reservation, Wait
from .health import HealthKey, Permit
from .portability import portable
from .spending import DEFAULT_OUTPUT, input_bound, scopes_of

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

    from .dispatcher import Dispatcher

__all__ = ["Attempt", "Attempts"]

_BACKOFF_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 20.0
_PATIENCE_SECONDS = 30.0
"""How long a call waits for what parallel calls have reserved of a cap."""

# Writing a prompt to a cache costs a quarter more than reading it, so short ones are not worth it.
_LONG_PROMPT_TOKENS = 2048

# The provider may have worked, and billed, although no complete answer came.
_PERHAPS_BILLED = frozenset({FailureKind.TIMEOUT, FailureKind.CONNECTION, FailureKind.MALFORMED})


@dataclass
class Attempt:
    """One call that may be made now; as a ``with`` block it gives back whatever was not settled.

    Attributes:
        card: The model to ask.
        messages: The conversation in a form the model takes.
        options: Keyword arguments for the call.
        started: Monotonic seconds.
    """

    card: ModelCard
    messages: Sequence[BaseMessage]
    options: dict[str, Any]
    permit: Permit
    share: Reservation
    home: Dispatcher
    money: str | None = None
    started: float = 0.0

    def __enter__(self) -> Self:
        self.started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.permit.cancel()
        self.share.release()
        if self.money is not None:
            self.home.budgets.release(self.money)

    @property
    def seconds(self) -> float:
        """Time since the call began."""
        return time.monotonic() - self.started

    def settle(self, usage: Usage | None, cost: int | None, *, billed: bool) -> None:
        """Charge what was used.

        Args:
            usage: Tokens, where they are known.
            cost: Picodollars, where they are known.
            billed: Whether the provider may have billed the call; what is not known is then charged in full.
        """
        if usage is not None:
            self.share.settle(usage.input, usage.output)
        else:
            self.share.keep()
        if self.money is not None and billed:
            self.home.budgets.settle(self.money, cost)


class Attempts:
    """Gives one candidate after the other until one answers.

    Args:
        dispatcher: The configuration and the state all calls share.
        ask: What is asked.
        stream: The answer is streamed.
    """

    def __init__(self, dispatcher: Dispatcher, ask: Ask, *, stream: bool = False) -> None:
        self._home = dispatcher
        self._ask = ask
        self._stream = stream
        self._step: StepContext = current()
        self._decision_id = uuid.uuid4().hex
        self._scopes = scopes_of(self._step.run, dispatcher.policy.routing.budgets)
        features = dispatcher.policy.features(route_request(ask, self._step, self._decision_id))
        self.decision = decide(
            features,
            dispatcher.policy,
            Circumstances(
                unavailable=dispatcher.unusable(self._step.unavailable),
                needs_price=any(cap is not None for cap in self._scopes.values()),
                budget_left=self._budget_left(),
            ),
        )
        self._queue = list(self.decision.candidates)
        self._retried: set[str] = set()
        self._skipped: list[tuple[str, str]] = []
        self._made = 0
        self._request: CacheRequest | None = None
        self.deadline = asyncio.get_running_loop().time() + dispatcher.policy.limits.deadline
        self.failures: list[Failure] = []
        self._record_decision()

    async def next(self) -> Attempt | None:
        """The next call that may be made, or None when there is nobody left to ask.

        Raises:
            BudgetExceeded: A cap leaves too little for it.
        """
        while self._queue and self._made < self._home.policy.limits.attempts and self._left() > 0:
            card = self._home.cards[self._queue[0]]
            ready = self._prepared(card)
            if isinstance(ready, Wait) and len(self._queue) == 1 and ready.seconds < self._left():
                await asyncio.sleep(ready.seconds)
                continue
            if not isinstance(ready, Attempt):
                self._skipped.append((card.id, str(ready)))
                self._queue.pop(0)
                continue
            try:
                await self._reserve(ready)
            except BaseException:
                ready.__exit__(None, None, None)
                raise
            self._made += 1
            return ready
        return None

    def accept(
        self,
        attempt: Attempt,
        message: AIMessage,
        *,
        first_token: float | None = None,
        chunks: AIMessageChunk | None = None,
    ) -> bool:
        """Check and record a complete reply; False when the next candidate must be asked.

        ``chunks`` is the reply as it was streamed: merging mends broken JSON, so only the chunks tell of it.
        """
        card, backend, seconds = attempt.card, self._home.clients.backend(attempt.card), attempt.seconds
        reply = backend.read(message if chunks is None else chunks)
        wrong = fault(self._ask, card, backend, message, reply)
        metadata = message.response_metadata
        row = replace(
            self._row(card, seconds),
            answered_by=reply.model,
            finish=reply.finish,
            usage=reply.usage,
            confidence=metadata.get("confidence"),
            first_token=first_token,
            failure=None if wrong is None else wrong[0].value,
            detail="" if wrong is None else wrong[1],
        )
        row = self._priced(card, row)
        attempt.settle(row.usage, row.cost, billed=True)
        attempt.permit.record(first_token or seconds, None if wrong is None else wrong[0])
        self._observe(attempt, message)
        self._record_call(row)
        if wrong is not None:
            self._apply_cure(card, Failure(card.id, wrong[0], wrong[1], message))
            return False
        metadata["pointsman"] = self._account(card, row)
        return True

    async def failed(
        self,
        attempt: Attempt,
        error: BackendError,
        *,
        first_token: float | None = None,
        partial: AIMessageChunk | None = None,
    ) -> None:
        """Record a call that raised, and wait where the cure is to ask again."""
        card, seconds = attempt.card, attempt.seconds
        reply = None if partial is None else self._home.clients.backend(card).read(partial)
        row = replace(
            self._row(card, seconds),
            failure=error.kind.value,
            detail=one_line(error),
            first_token=first_token,
            usage=reply.usage if reply else None,
        )
        if row.usage:
            row = self._priced(card, row)
        billed = row.usage is not None or first_token is not None or error.kind in _PERHAPS_BILLED
        attempt.settle(row.usage, row.cost, billed=billed)
        attempt.permit.record(seconds, error.kind, retry_after=error.retry_after)
        self._record_call(row)
        if error.kind is FailureKind.AUTH:
            self._home.refused(card.provider)
        if self._apply_cure(card, Failure(card.id, error.kind, one_line(error)), error) == "retry":
            pause = error.retry_after or _BACKOFF_SECONDS * (1 + random.random())  # noqa: S311 - jitter
            await asyncio.sleep(max(0.0, min(pause, self._left(), _LONGEST_WAIT_SECONDS)))

    def kept_answer(self) -> AIMessage | None:
        """An answer given before to the same request, where the policy keeps them; it costs nothing."""
        home = self._home
        if home.responses is None or not cacheable(self._ask.effects, self._ask.kind, self._step.sensitivity or ""):
            return None
        decision, options = self.decision, dict(self._ask.options)
        self._request = CacheRequest.of(
            self._ask.messages,
            tools=self._ask.tools,
            options={**options, "stop": self._ask.stop, "tool_choice": self._ask.tool_choice},
            facts={
                "tier": decision.tier,
                "task": self._ask.task,
                "policy": decision.policy_hash,
                "output": self._ask.output,
                # What one user's data went into is not another's to read.
                "user": self._step.run.user,
                "class": self._step.run.user_class,
            },
        )
        message = None if self._request is None else home.responses.get(self._request)
        if message is None:
            return None
        model = str(message.response_metadata["pointsman_cache"]["model"])
        card = home.cards.get(model)
        # What may not run the step now may not answer it out of the cache either.
        if card is None or model not in self.decision.candidates:
            return None
        row = replace(self._row(card, 0.0), finish="cached", detail="an answer given before", cost=0)
        self._record_call(row)
        message.response_metadata["pointsman"] = self._account(card, row)
        return message

    def keep(self, message: AIMessage) -> None:
        """Keep a usable answer for the next who asks the same."""
        if self._request is not None and self._home.responses is not None:
            self._home.responses.put(self._request, message)

    def error(self) -> NoCandidate | AllFailed:
        """The error that tells why there is no answer."""
        if self.failures or self._skipped:
            return AllFailed(self.failures, self._skipped, self._step.agent)
        return NoCandidate(self.decision, self._step.agent)

    def _left(self) -> float:
        return self.deadline - asyncio.get_running_loop().time()

    def _prepared(self, card: ModelCard) -> Attempt | Wait | str:
        """Everything but money that a call of ``card`` needs, or why it cannot be made now."""
        home = self._home
        provider = home.settings.providers[card.provider]
        permit = home.health.allow(HealthKey(card.provider, card.name, provider.region or ""))
        if isinstance(permit, str):
            return permit
        messages, options = brief(self._ask, card)
        carried = portable(messages, to=provider.backend, card=card)
        if isinstance(carried, str):
            permit.cancel()
            return carried
        share = home.headroom.reserve(
            HeadroomKey(card.provider, card.name),
            self.decision.features.tokens,
            self._ask.max_output or 0,
        )
        if isinstance(share, Wait):
            permit.cancel()
            return share
        if self._worth_caching():
            options = {**home.clients.backend(card).prompt_cache, **options}
        return Attempt(card, carried, options, permit, share, home)

    def _worth_caching(self) -> bool:
        """Whether the vendor should keep the prompt: a long one that the next turn will begin with."""
        features = self.decision.features
        return features.tokens >= _LONG_PROMPT_TOKENS and (self._ask.acting_tools > 0 or features.step > 1)

    async def _reserve(self, attempt: Attempt) -> None:
        """Set the worst case of the call aside, and hold the model to the output that was reckoned with."""
        limit = self._ask.max_output
        card = attempt.card
        option = self._home.clients.backend(card).output_limit
        if self._scopes:
            limit = min(limit or DEFAULT_OUTPUT, card.max_output or DEFAULT_OUTPUT)
            bound = input_bound(attempt.messages, self._ask.tools)
            # Without a cap anywhere a model of unknown price may run; it is then counted once its cost is known.
            most = self._home.prices.worst_case(card.id, bound, limit, datetime.now(UTC)) or 0
            patience = max(0.0, min(self._left(), _PATIENCE_SECONDS))
            if most:
                attempt.money = await self._home.budgets.acquire(self._scopes, most, patience, sent=True)
        if limit is not None and option:
            attempt.options.setdefault(option, limit)

    def _budget_left(self) -> float | None:
        """Share of the tightest cap that is neither spent nor reserved."""
        capped = {scope: cap for scope, cap in self._scopes.items() if cap}
        # Asking costs a look into the file, and most policies have no rule about it.
        if not capped or not self._home.rules_on_budget:
            return None
        totals = {scope: sum(self._home.budgets.totals(scope)) for scope in capped}
        return max(0.0, min(1 - totals[scope] / cap for scope, cap in capped.items()))

    def _apply_cure(self, card: ModelCard, failure: Failure, error: BackendError | None = None) -> str:
        self.failures.append(failure)
        cure = self._home.policy.cures[failure.kind]
        if cure == "stop":
            raise error or self.error()
        if cure == "retry" and card.id not in self._retried:
            self._retried.add(card.id)
            return cure
        rest = [self._home.cards[name] for name in self._queue if name != card.id]
        if cure == "stronger":
            # Where nothing is stronger another model of the same tier may still do better.
            rest = [other for other in rest if other.tier > card.tier] or [o for o in rest if o.tier is card.tier]
        elif cure == "larger":
            rest = [other for other in rest if (other.context or 0) > (card.context or 0)]
        if failure.kind is FailureKind.AUTH:
            rest = [other for other in rest if other.provider != card.provider]
        self._queue = [other.id for other in rest]
        return cure

    def _observe(self, attempt: Attempt, message: AIMessage) -> None:
        headers = message.response_metadata.get("headers")
        if headers:
            self._home.headroom.observe(HeadroomKey(attempt.card.provider, attempt.card.name), headers)

    def _row(self, card: ModelCard, seconds: float) -> CallRow:
        return CallRow(
            id=uuid.uuid4().hex,
            decision=self._decision_id,
            run=self._step.run.id,
            step=self._step.step,
            agent=self._step.agent,
            attempt=self._made,
            model=card.id,
            tier=card.tier.value,
            risk=self.decision.risk.value,
            at=time.time() - seconds,
            latency=seconds,
            stream=self._stream,
        )

    def _priced(self, card: ModelCard, row: CallRow) -> CallRow:
        at = datetime.fromtimestamp(row.at, UTC)
        prices, flagship = self._home.prices, self._home.flagship
        return replace(
            row,
            cost=prices.price(card.id, row.usage, at),
            flagship=flagship.id if flagship else "",
            flagship_cost=prices.price(flagship.id, row.usage, at) if flagship else None,
            price_version=card.prices.version if card.prices else "",
        )

    def _record_call(self, row: CallRow) -> None:
        self._home.ledger.record(row)
        if self._step.run.observe is not None:
            self._step.run.observe(row)

    def _record_decision(self) -> None:
        made = self.decision
        self._home.ledger.record(
            DecisionRow(
                id=self._decision_id,
                run=self._step.run.id,
                step=self._step.step,
                agent=self._step.agent,
                task=self._ask.task,
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
                features=json.dumps(features_dict(made.features)),
                policy_hash=made.policy_hash,
                price_version=made.price_version,
            )
        )

    def _account(self, card: ModelCard, row: CallRow) -> dict[str, Any]:
        return {
            "decision": self._decision_id,
            "model": card.id,
            "answered_by": row.answered_by,
            "tier": card.tier.value,
            "risk": self.decision.risk.value,
            "attempt": row.attempt,
            "cost": row.cost,
            "seconds": row.latency,
            "confidence": row.confidence,
            "usage": asdict(row.usage) if row.usage else None,
            "rules": [hit.id for hit in self.decision.rules],
            "failed": [f"{failure.model}: {failure.kind}" for failure in self.failures],
            "skipped": [f"{model}: {reason}" for model, reason in self._skipped],
        }


# Most decisions of a process name the same models and rules, so their texts are kept.
@lru_cache(maxsize=1024)
def _names(models: tuple[str, ...]) -> str:
    return json.dumps(models)


@lru_cache(maxsize=1024)
def _reasons(said: tuple[Rejection | RuleHit, ...]) -> str:
    return json.dumps([asdict(one) for one in said])
