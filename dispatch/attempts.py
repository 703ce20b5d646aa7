"""`Attempts`: the candidates of one ask in order, what guards each call, what became of it, and its rows."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..backends.base import BackendError
from ..configs.catalogue import ModelCard, Usage
from ..configs.ids import new_id
from ..configs.words import FailureKind
from ..ledger.prices import PICODOLLARS
from ..ledger.rows import CallRow
from ..routing.decide import decide
from ..routing.decision import Decision
from ..routing.ordering import worth_caching
from ..routing.request import Circumstances, Funds
from .ask import Ask, one_line, route_request
from .booking import Booking, account
from .briefing import brief
from .cache_key import CacheRequest, cacheable
from .checks import fault
from .context import StepContext, current
from .conversations import place_of
from .errors import AllFailed, Failure, NoCandidate
from .headroom import HeadroomKey, Reservation, Wait
from .health import HealthKey, Permit
from .portability import portable
from .spending import scopes_of, worst_case

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

    from .dispatcher import Dispatcher

__all__ = ["PERHAPS_BILLED", "Attempt", "Attempts"]

_BACKOFF_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 20.0
_PATIENCE_SECONDS = 30.0
"""How long a call waits for what parallel calls have reserved of a cap."""

# The provider may have worked, and billed, although no complete answer came.
PERHAPS_BILLED = frozenset({FailureKind.TIMEOUT, FailureKind.CONNECTION, FailureKind.MALFORMED})


@dataclass
class Attempt:
    """One call that may be made now; as a ``with`` block it gives back whatever was not settled.

    Attributes:
        card: The model to ask.
        messages: The conversation in a form the model takes.
        options: Keyword arguments for the call.
        started: Monotonic seconds.
        number: Which call of the ask it is, from 1.
    """

    card: ModelCard
    messages: Sequence[BaseMessage]
    options: dict[str, Any]
    permit: Permit
    share: Reservation
    home: Dispatcher
    money: str | None = None
    started: float = 0.0
    number: int = 0

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
    """Gives one candidate after the other until one answers; made with `Attempts.decided`.

    Attributes:
        decision: Which models may run the step.
        deadline: When the step has to be over, in the event loop's seconds.
        limits: What bounds it.
        failures: What was asked in vain.
        answered: Whether a model has begun to answer, so that others still under way are no longer needed.
    """

    decision: Decision

    def __init__(self, dispatcher: Dispatcher, ask: Ask) -> None:
        self._home = dispatcher
        self._ask = ask
        self._step: StepContext = current()
        self._policy = dispatcher.policy
        self._scopes = scopes_of(self._step.run, self._policy.routing.budgets)
        self._retried: set[str] = set()
        self._flying: set[str] = set()
        self._slow: set[str] = set()
        self._skipped: list[tuple[str, str]] = []
        self._made = 0
        self._request: CacheRequest | None = None
        self.limits = self._policy.limits_of(self._step.run.user_class)
        self.deadline = _now() + min(self.limits.deadline, ask.deadline or self.limits.deadline)
        self.failures: list[Failure] = []
        self.answered = False
        self._place = place_of(ask.messages, ask.tools)
        self._queue: list[str] = []

    @classmethod
    async def decided(cls, dispatcher: Dispatcher, ask: Ask, *, stream: bool = False) -> Self:
        """Decide which models may be asked, and write that down.

        Args:
            dispatcher: The configuration and the state all calls share.
            ask: What is asked.
            stream: The answer is streamed.
        """
        await dispatcher.reload.look()
        made = cls(dispatcher, ask)
        await made._decide(stream)
        return made

    async def _decide(self, stream: bool) -> None:
        home, policy = self._home, self._policy
        features, now = policy.features(route_request(self._ask, self._step, new_id())), self._circumstances()
        judged = await home.classifier.judged(features, self._ask, policy, now)
        if judged is not features:
            # Whoever was asked took their time.
            features, now = judged, self._circumstances()
        self.decision = decide(features, policy, now)
        self._queue = list(self.decision.candidates)
        self._booking = Booking(home, self._step, self.decision, stream=stream)

    async def next(self) -> Attempt | None:
        """The next call that may be made beside those under way, or None when there is nobody left to ask.

        Raises:
            BudgetExceeded: A cap leaves too little for it.
        """
        while self._made < self.limits.attempts and self._left() > 0:
            waiting = [name for name in self._queue if name not in self._flying]
            if not waiting:
                return None
            # One that has become slow is still better than nobody, so the last call is kept for it.
            wanted_slow = self._made + 1 == self.limits.attempts
            name = next((name for name in waiting if (name in self._slow) is wanted_slow), waiting[0])
            card = self._home.cards[name]
            await self._home.clients.ready(card)
            ready = self._prepared(card)
            if isinstance(ready, Wait) and len(self._queue) == 1 and ready.seconds < self._left():
                await asyncio.sleep(ready.seconds)
                continue
            if ready is None:
                continue
            if not isinstance(ready, Attempt):
                self._skipped.append((card.id, str(ready)))
                self._queue.remove(name)
                continue
            try:
                await self._reserve(ready)
            except BaseException:
                ready.__exit__(None, None, None)
                raise
            self._made += 1
            ready.number = self._made
            self._flying.add(name)
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
        row = self._booking.call(
            card,
            attempt=attempt.number,
            seconds=seconds,
            usage=reply.usage,
            answered_by=reply.model,
            finish=reply.finish,
            confidence=metadata.get("confidence"),
            first_token=first_token,
            failure=None if wrong is None else wrong[0].value,
            detail="" if wrong is None else wrong[1],
        )
        self._flying.discard(card.id)
        attempt.settle(row.usage, row.cost, billed=True)
        attempt.permit.record(first_token or seconds, None if wrong is None else wrong[0], usage=row.usage)
        self._booking.record(row)
        self._home.history.observe(self._ask.task, row)
        if wrong is not None:
            self._apply_cure(card, Failure(card.id, wrong[0], wrong[1], message))
            return False
        self._home.conversations.noted(self._place, card)
        self.answered = True
        metadata["pointsman"] = self._account(row, message)
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
        row = self._booking.call(
            card,
            attempt=attempt.number,
            seconds=seconds,
            usage=reply.usage if reply else None,
            failure=error.kind.value,
            detail=one_line(error),
            first_token=first_token,
        )
        self._flying.discard(card.id)
        self.answered = False
        billed = row.usage is not None or first_token is not None or error.kind in PERHAPS_BILLED
        attempt.settle(row.usage, row.cost, billed=billed)
        attempt.permit.record(seconds, error.kind, retry_after=error.retry_after)
        self._booking.record(row)
        self._home.history.observe(self._ask.task, row)
        if error.kind is FailureKind.AUTH:
            self._home.refused(card.provider)
        if self._apply_cure(card, Failure(card.id, error.kind, one_line(error)), error) == "retry":
            pause = error.retry_after or _BACKOFF_SECONDS * (1 + random.random())  # noqa: S311 - jitter
            await asyncio.sleep(max(0.0, min(pause, self._left(), _LONGEST_WAIT_SECONDS)))

    def broken_off(self, attempt: Attempt) -> None:
        """Record a cancelled call where that is because another model has answered: its provider may bill it."""
        if not self.answered:
            return
        attempt.settle(None, None, billed=True)
        detail = "broken off: another model answered first"
        self._booking.record(
            self._booking.call(
                attempt.card,
                attempt=attempt.number,
                seconds=attempt.seconds,
                failure=FailureKind.TIMEOUT.value,
                detail=detail,
            )
        )

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
        return None if self._request is None else self._given_again(home.responses.get(self._request))

    def last_resort(self) -> AIMessage:
        """An old answer to the same question or one like it, where the policy allows that and nobody answered.

        Raises:
            NoCandidate: As `error`.
            AllFailed: As `error`.
        """
        responses = self._home.responses
        message = None
        if self._request is not None and responses is not None:
            message = self._given_again(responses.stand_in(self._request), "an old answer: no model gave a new one")
        if message is None:
            raise self.error()
        return message

    def keep(self, message: AIMessage) -> None:
        """Keep a usable answer for the next who asks the same."""
        if self._request is not None and self._home.responses is not None:
            self._home.responses.put(self._request, message)

    def error(self) -> NoCandidate | AllFailed:
        """The error that tells why there is no answer."""
        if self.failures or self._skipped:
            return AllFailed(self.failures, self._skipped, self._step.agent, self.decision.risk)
        return NoCandidate(self.decision, self._step.agent)

    def _given_again(self, message: AIMessage | None, why: str = "an answer given before") -> AIMessage | None:
        if message is None:
            return None
        model = str(message.response_metadata["pointsman_cache"]["model"])
        card = self._home.cards.get(model)
        # What may not run the step now may not answer it out of the cache either.
        if card is None or model not in self.decision.candidates:
            return None
        row = self._booking.call(card, attempt=self._made, seconds=0.0, finish="cached", detail=why, cost=0)
        self._booking.record(row)
        message.response_metadata["pointsman"] = self._account(row, message)
        return message

    def _account(self, row: CallRow, message: AIMessage) -> dict[str, Any]:
        rules, effects = [hit.id for hit in self.decision.rules], self._ask.called(message)
        return account(row, rules, self.failures, self._skipped, effects=effects)

    def _left(self) -> float:
        return self.deadline - _now()

    def _circumstances(self) -> Circumstances:
        """What is true right now."""
        home = self._home
        asked = self._policy.asks
        unavailable = home.unusable(self._step.unavailable)
        return Circumstances(
            unavailable=unavailable,
            needs_price=any(cap is not None for cap in self._scopes.values()),
            budget_left=self._budget_left() if "budget_left" in asked else None,
            funds=self._funds(),
            experience=home.history.of(self._ask.task),
            carried=home.conversations.carried(self._place),
            down=frozenset(unavailable).union(home.open_circuits()) if "down" in asked else frozenset(),
        )

    def _prepared(self, card: ModelCard) -> Attempt | Wait | str | None:
        """Everything but money that a call of ``card`` needs, or why it cannot be made now; None puts it off."""
        home = self._home
        provider = home.settings.providers[card.provider]
        key = HealthKey(card.provider, card.name, provider.region or "")
        permit = home.health.allow(key, last=card.id in self._slow)
        if isinstance(permit, str):
            if card.id in self._slow or not home.health.merely_slow(key):
                return permit
            self._slow.add(card.id)
            return None
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
        if worth_caching(self.decision.features):
            options = {**home.clients.backend(card).prompt_cache, **options}
        return Attempt(card, carried, options, permit, share, home)

    async def _reserve(self, attempt: Attempt) -> None:
        """Set the worst case of the call aside, and hold the model to the output that was reckoned with."""
        home, card = self._home, attempt.card
        option = home.clients.backend(card).output_limit
        limit, most = worst_case(home.prices, card, self._ask, attempt.messages, capped=bool(self._scopes))
        if most:
            patience = max(0.0, min(self._left(), _PATIENCE_SECONDS))
            attempt.money = await home.budgets.acquire(self._scopes, most, patience, sent=True)
        if limit is not None and option:
            attempt.options.setdefault(option, limit)

    def _budget_left(self) -> float | None:
        """Share of the tightest cap that is neither spent nor reserved."""
        capped = {scope: cap for scope, cap in self._scopes.items() if cap}
        if not capped:
            return None
        totals = {scope: sum(self._home.budgets.totals(scope)) for scope in capped}
        return max(0.0, min(1 - totals[scope] / cap for scope, cap in capped.items()))

    def _funds(self) -> Funds | None:
        """What the run's own caps leave, where steps of high risk are still to come."""
        ahead, caps = self._step.ahead, self._step.run.caps
        # Asking costs a look into the file, so nobody asks without need.
        if not ahead or not caps:
            return None
        left = min(cap - sum(self._home.budgets.totals(scope)) for scope, cap in caps)
        return Funds(max(0, left) / PICODOLLARS, sum(ahead) / PICODOLLARS, len(ahead))

    def _apply_cure(self, card: ModelCard, failure: Failure, error: BackendError | None = None) -> str:
        self.failures.append(failure)
        cure = self._policy.cures[failure.kind]
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


def _now() -> float:
    return asyncio.get_running_loop().time()
