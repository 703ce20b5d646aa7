"""`FallbackChain`: the candidates of one ask in order: which is asked next, and what follows from how a call ended."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self

from ...backends.base import BackendError
from ...backends.errors.told import one_line as error_line
from ...backends.errors.told import words_of
from ...backends.options import NOTHING
from ...configs.catalog import ModelCard
from ...configs.errors import ConfigError, PointsmanError
from ...configs.ids import new_id
from ...configs.plain import plain_content
from ...configs.words import FailureKind, Tier
from ...ledger.budgets.budgets import BudgetExceeded
from ...ledger.prices import PICODOLLARS
from ...ledger.rows import CallRow
from ...routing.decide import decide
from ...routing.decision import Decision
from ...routing.evidence import of_failure
from ...routing.ordering import worth_caching
from ...routing.request import BudgetReserve, RoutingContext
from ...tools.threads import in_thread
from ..cache.key import CacheRequest, cacheable
from ..context import StepContext, current
from ..conversation.convert import portable
from ..conversation.prompt_cache import place_of
from ..errors import AllFailed, Failure, NoCandidate, cut_off
from ..guards.budget import Bound, bounded, scopes_of
from ..guards.grant import Grant, admit, health_key
from ..guards.rate_limit import Wait
from ..request import ModelRequest, one_line, route_request
from .call import ModelCall
from .options import noted
from .prompt import brief, examples_digests
from .recorder import CallRecorder, account

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk

    from ..dispatcher import Dispatcher

__all__ = ["FallbackChain"]

_BACKOFF_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 20.0
_SHORT_HOLD_SECONDS: Final = 2.0
"""How long a rate limit is waited for where the next model that may be asked is of a dearer tier."""
_PATIENCE_SECONDS: Final = 30.0
"""How long a call waits for what parallel calls have reserved of a cap."""


class FallbackChain:
    """Gives one candidate after the other until one answers; made with `FallbackChain.decided`.

    Attributes:
        decision: Which models may run the step.
        deadline: When the step has to be over, in the event loop's seconds; loading SDKs and building clients is not
            counted.
        setup: Seconds that has taken.
        limits: What bounds it.
        failures: What was asked in vain.
    """

    decision: Decision

    def __init__(self, dispatcher: Dispatcher, ask: ModelRequest) -> None:
        self._home = dispatcher
        self._ask = ask = _plain(ask)
        self._step: StepContext = current()
        self._policy = dispatcher.policy
        self._scopes = scopes_of(self._step.run, self._policy.routing.budgets)
        self._retried: set[str] = set()
        self._flying: dict[str, ModelCall] = {}
        self._slow: set[str] = set()
        self._held: set[str] = set()
        self._skipped: list[tuple[str, str]] = []
        self._mistakes: list[ConfigError] = []
        self._refused_by: str | None = None
        self._made = 0
        self._request: CacheRequest | None = None
        self.limits = self._policy.limits_of(self._step.run.user_class)
        self.deadline = _now() + min(self.limits.deadline, ask.deadline or self.limits.deadline)
        self.setup = 0.0
        self.failures: list[Failure] = []
        self._said = dispatcher.clients.each_said(ask, dispatcher.cards)
        self._unfit = {name: said.unfit for name, said in self._said.items() if said.unfit}
        self._place = place_of(ask.messages, ask.tools)
        self._queue: list[str] = []

    @classmethod
    async def decided(cls, dispatcher: Dispatcher, ask: ModelRequest, *, stream: bool = False) -> Self:
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
        self.decision = noted(decide(features, policy, now), self._said)
        self._queue = list(self.decision.candidates)
        self._booking = CallRecorder(home, self._step, self.decision.request, self.decision.risk, stream=stream)
        self._booking.decided(self.decision)

    def refused(self, failure: Failure) -> None:
        """Note that a provider refused the request before, so that the next one that does so ends it."""
        self.failures.append(failure)
        self._refused_by = failure.model.partition("/")[0]

    async def next(self) -> ModelCall | None:
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
            name = self._beside(name, waiting)
            card = self._home.cards[name]
            ready = await self._readied(card)
            if isinstance(ready, Wait) and ready.seconds < self._patience(card):
                if card.id in self._held or len(self._queue) == 1:
                    await asyncio.sleep(ready.seconds)
                    self._held.clear()
                else:
                    self._held.add(card.id)
            elif isinstance(ready, ModelCall):
                if await self._funded(ready):
                    self._made += 1
                    ready.number = self._made
                    self._flying[name] = ready
                    return ready
            elif ready is not None:
                self._skipped.append((card.id, str(ready)))
                self._queue.remove(name)
        return None

    def _beside(self, name: str, waiting: Sequence[str]) -> str:
        """Another model of the same tier where this one is held back for a moment, itself where there is none."""
        tier = self._home.cards[name].tier
        peers = (one for one in waiting if one not in self._held and self._home.cards[one].tier is tier)
        return next(peers, name) if name in self._held else name

    def _patience(self, card: ModelCard) -> float:
        """Seconds to wait for a model's rate limit rather than ask a dearer one, or nobody."""
        if len(self._queue) == 1:
            return self._left()
        return 0.0 if self._ask.latency == "critical" else min(self._left(), _SHORT_HOLD_SECONDS)

    async def _readied(self, card: ModelCard) -> ModelCall | Wait | str | None:
        """As `_prepared`, with the client of ``card`` built; whatever goes wrong with that is the next one's turn."""
        async with self._setting_up():
            try:
                await self._home.clients.ready(card)
            except Exception as error:  # noqa: BLE001 - an SDK raises what it likes while it is loaded and set up
                self._mistakes += [error] if isinstance(error, ConfigError) else []
                return one_line(f"its client cannot be built: {error_line(words_of(error))}")
        if card.id not in self._queue:
            return None
        try:
            return self._prepared(card)
        except PointsmanError:
            raise
        except Exception as error:  # noqa: BLE001 - what one vendor's form cannot hold another's may
            return one_line(f"the request cannot be put into its form: {error_line(words_of(error))}")

    @asynccontextmanager
    async def _setting_up(self) -> AsyncIterator[None]:
        """What is done here is not the provider's doing: the deadline moves by the time it takes."""
        began = _now()
        try:
            yield
        finally:
            took = _now() - began
            self.setup += took
            self.deadline += took

    async def answer(self, call: ModelCall) -> AIMessage | None:
        """Make a call, and give its reply where that can be used.

        Raises:
            BackendError: The request itself is at fault.
        """
        call.task = asyncio.current_task()
        try:
            with call:
                until = min(self.deadline, _now() + self.limits.call)
                try:
                    message = await call.invoke(self._home.clients, until)
                except BackendError as error:
                    await self.failed(call, error)
                    return None
                return message if self.accept(call, message) else None
        except asyncio.CancelledError:
            # Broken off from here, not by the caller: the race goes on without it.
            if call.unwanted:
                return None
            raise
        finally:
            self._flying.pop(call.card.id, None)

    def accept(self, call: ModelCall, message: AIMessage, *, chunks: AIMessageChunk | None = None) -> bool:
        """Check and record a complete reply; False when the next candidate must be asked."""
        card = call.card
        wrong = call.answered(message, chunks)
        row = call.ended
        self._flying.pop(card.id, None)
        call.grant.judge(call.first_token or row.latency, None if wrong is None else wrong[0], usage=row.usage)
        self._home.history.observe(self._ask.task, row)
        if wrong is not None:
            self._apply_cure(card, Failure(card.id, wrong[0], wrong[1], message))
            return False
        self._home.conversations.noted(self._place, card)
        self._break_off("another model answered first")
        message.response_metadata["pointsman"] = {**self._account(row, message), "notes": list(call.notes)}
        return True

    async def failed(self, call: ModelCall, error: BackendError) -> None:
        """Record a call that raised, and wait where the cure is to ask again.

        Raises:
            BackendError: The request itself is at fault.
        """
        card = call.card
        row = call.failed(error)
        self._flying.pop(card.id, None)
        call.grant.judge(row.latency, error.kind, retry_after=error.retry_after)
        self._home.history.observe(self._ask.task, row)
        if error.kind is FailureKind.AUTH:
            self._home.refused(card.provider)
        if self._apply_cure(card, Failure(card.id, error.kind, one_line(error)), error) == "retry":
            pause = error.retry_after or _BACKOFF_SECONDS * (1 + random.random())  # noqa: S311 - jitter
            await asyncio.sleep(max(0.0, min(pause, self._left(), _LONGEST_WAIT_SECONDS)))

    def begun(self, call: ModelCall) -> None:
        """Note that a call's stream has begun, so that no other is needed; one that breaks after that is on its own."""
        self._flying.pop(call.card.id, None)
        self._break_off("another model answered first")

    def _break_off(self, why: str, keep: frozenset[str] = frozenset()) -> None:
        """Cancel the calls under way that nobody needs any more."""
        for name, call in list(self._flying.items()):
            if name not in keep and call.task is not None and call.task is not asyncio.current_task():
                call.unwanted = why
                call.task.cancel()

    async def kept_answer(self) -> AIMessage | None:
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
                "kind": self._ask.kind,
                "prefer": self._ask.prefer,
                "reversible": self._ask.reversible,
                "max_output": self._ask.max_output,
                "latency": self._ask.latency,
                "examples": examples_digests(self._ask.examples),
                "policy": decision.policy_hash,
                "models": home.clients.settled,
                "output": self._ask.output,
                # What one user's data went into is not another's to read.
                "user": self._step.run.user,
                "class": self._step.run.user_class,
            },
        )
        if self._request is None:
            return None
        # Another process may hold the file of kept answers.
        return self._given_again(await in_thread(home.responses.get, self._request))

    async def last_resort(self) -> AIMessage:
        """An old answer to the same question or one like it, where the policy allows that and nobody answered.

        Raises:
            ConfigError: As `error`.
            AllFailed: As `error`.
        """
        responses = self._home.responses
        message = None
        if self._request is not None and responses is not None:
            old = await in_thread(responses.stand_in, self._request)
            message = self._given_again(old, "an old answer: no model gave a new one")
        if message is None:
            raise self.error()
        return message

    async def keep(self, message: AIMessage) -> None:
        """Keep a usable answer for the next who asks the same."""
        if self._request is not None and self._home.responses is not None:
            await in_thread(self._home.responses.put, self._request, message)

    def error(self) -> ConfigError | AllFailed:
        """The error that tells why there is no answer; a mistake of the user's where there is nothing else."""
        if self._mistakes and not self.failures and len(self._mistakes) == len(self._skipped):
            return self._mistakes[0]
        if self.failures or self._skipped:
            return AllFailed(self.failures, self._skipped, self.decision.risk, self.setup, self._step)
        return NoCandidate(self.decision, self._step)

    def cut(self, cause: BackendError | None = None) -> BackendError:
        """The error of the last stream, whose first words have been handed out."""
        return cut_off(self.failures[-1], cause, self._step)

    def _given_again(self, message: AIMessage | None, why: str = "an answer given before") -> AIMessage | None:
        if message is None:
            return None
        model = str(message.response_metadata["pointsman_cache"]["model"])
        card = self._home.cards.get(model)
        # What may not run the step now may not answer it out of the cache either.
        if card is None or model not in self.decision.candidates:
            return None
        row = self._booking.row(card, at=time.time(), attempt=self._made, finish="cached", detail=why, cost=0)
        self._booking.record(row)
        message.response_metadata["pointsman"] = self._account(row, message)
        return message

    def _account(self, row: CallRow, message: AIMessage) -> dict[str, Any]:
        rules = [hit.id for hit in self.decision.rules]
        if Tier(row.tier) > self.decision.tier:
            raised = (of_failure(failure.kind) for failure in self.failures)
            rules += dict.fromkeys(name for name in raised if name is not None)
        return account(row, rules, self.failures, self._skipped, self.setup, self._ask.called(message))

    def _left(self) -> float:
        return self.deadline - _now()

    def _circumstances(self) -> RoutingContext:
        """What is true right now."""
        home = self._home
        asked = self._policy.asks
        unavailable = home.unusable(self._step.unavailable)
        return RoutingContext(
            unavailable={**unavailable, **self._unfit} if self._unfit else unavailable,
            needs_price=any(cap is not None for cap in self._scopes.values()),
            budget_left=self._budget_left() if "budget_left" in asked else None,
            funds=self._funds(),
            experience=home.history.of(self._ask.task),
            carried=home.conversations.carried(self._place),
            down=frozenset(unavailable).union(home.open_circuits()) if "down" in asked else frozenset(),
        )

    def _prepared(self, card: ModelCard) -> ModelCall | Wait | str | None:
        """The call of ``card``, still without money, or why it cannot be made now; None puts it off."""
        home = self._home
        provider, backend = home.settings.providers[card.provider], home.clients.backend(card)
        tokens, output = self.decision.features.tokens, self._ask.max_output or 0
        grant = admit(home, home.health, card, tokens, output, last=card.id in self._slow)
        if isinstance(grant, str):
            key = health_key(home, card)
            if held := home.health.held(key):
                return Wait(grant, held)
            if card.id in self._slow or not home.health.merely_slow(key):
                return grant
            self._slow.add(card.id)
            return None
        if isinstance(grant, Wait):
            return grant
        with _given_back(grant):
            said = self._said.get(card.id, NOTHING)
            messages, options = brief(self._ask, card, said)
            carried = portable(messages, to=provider.backend, card=card)
            if isinstance(carried, str):
                grant.give_back()
                return carried
            if worth_caching(self.decision.features):
                options = {**backend.prompt_cache, **options}
            return ModelCall(
                card, self._ask, carried, options, backend=backend, grant=grant, booking=self._booking, notes=said.told
            )

    async def _funded(self, call: ModelCall) -> bool:
        """Set the worst case of a call aside, and hold the model to the output that was reckoned with.

        Returns:
            False where what ended meanwhile has left the model no candidate any more.

        Raises:
            BudgetExceeded: A cap leaves too little.
        """
        home, card = self._home, call.card
        with _given_back(call.grant):
            bound = self._bound(call)
            while bound.most:
                patience = max(0.0, min(self._left(), _PATIENCE_SECONDS))
                try:
                    async with asyncio.timeout_at(self.deadline):
                        reservation = await home.budgets.acquire(self._scopes, bound.most, patience, sent=True)
                except TimeoutError:
                    call.grant.give_back()
                    self._skipped.append((card.id, "the deadline was over before the ledger could reserve its money"))
                    return False
                except BudgetExceeded:
                    # What others learned of the provider meanwhile may have made it less.
                    before, bound = bound, self._bound(call)
                    if bound.most >= before.most:
                        raise
                else:
                    call.grant.fund(home.budgets, reservation)
                    break
            call.options, call.input = bound.options, bound.input
        if card.id in self._queue:
            return True
        call.grant.give_back()
        return False

    def _bound(self, call: ModelCall) -> Bound:
        return bounded(
            self._home.prices,
            call.card,
            self._ask,
            call.messages,
            call.options,
            backend=call.backend,
            settled=self._home.clients.asked(call.card),
            capped=bool(self._scopes),
        )

    def _budget_left(self) -> float | None:
        """Share of the tightest cap that is neither spent nor reserved."""
        capped = {scope: cap for scope, cap in self._scopes.items() if cap}
        if not capped:
            return None
        totals = {scope: sum(self._home.budgets.totals(scope)) for scope in capped}
        return max(0.0, min(1 - totals[scope] / cap for scope, cap in capped.items()))

    def _funds(self) -> BudgetReserve | None:
        """What the run's own caps leave, where steps of high risk are still to come."""
        ahead, caps = self._step.ahead, self._step.run.caps
        # Asking costs a look into the file, so nobody asks without need.
        if not ahead or not caps:
            return None
        left = min(cap - sum(self._home.budgets.totals(scope)) for scope, cap in caps)
        return BudgetReserve(max(0, left) / PICODOLLARS, sum(ahead) / PICODOLLARS, len(ahead))

    def _apply_cure(self, card: ModelCard, failure: Failure, error: BackendError | None = None) -> str:
        self.failures.append(failure)
        cure = self._policy.cures[failure.kind]
        again = cure == "elsewhere" and self._refused_by not in (None, card.provider)
        if cure == "stop" or again:
            if self._flying:
                # Whoever is asked already may still answer; nobody else is asked.
                self._queue = list(self._flying)
                return cure
            self._break_off(f"{card.id}: {failure.kind}, which no other model would mend")
            # Of two providers both reasons are told.
            raise self.error() if again or error is None else error
        if cure == "retry" and card.id not in self._retried:
            self._retried.add(card.id)
            return cure
        rest = [self._home.cards[name] for name in self._queue if name != card.id]
        if cure == "stronger":
            # Where nothing is stronger another model of the same tier may still do better.
            rest = [other for other in rest if other.tier > card.tier] or [o for o in rest if o.tier is card.tier]
        elif cure == "larger":
            rest = [other for other in rest if (other.context or 0) > (card.context or 0)]
        elif cure == "elsewhere":
            self._refused_by = card.provider
        if failure.kind is FailureKind.AUTH or cure == "elsewhere":
            rest = [other for other in rest if other.provider != card.provider]
        self._queue = [other.id for other in rest]
        # A request that one provider refuses may be right for another that has it already.
        spared = [name for name in self._flying if cure == "elsewhere" and not name.startswith(f"{card.provider}/")]
        self._break_off(f"{card.id}: {failure.kind}, so another model must answer", frozenset([*self._queue, *spared]))
        return cure


def _plain(ask: ModelRequest) -> ModelRequest:
    """The ask without what a terminal would obey in the results of tools, wherever they ran."""
    found = [message for message in ask.messages if message.type == "tool" and _is_suspect(message.content)]
    if not found:
        return ask
    said = {id(message): message.model_copy(update={"content": plain_content(message.content)}) for message in found}
    return replace(ask, messages=[said.get(id(message), message) for message in ask.messages])


def _is_suspect(content: Any) -> bool:
    # The agents' own tools are clean already, so of long texts only what is found fast is looked for.
    return not isinstance(content, str) or any(mark in content for mark in "\x1b\x9b\0")


@contextmanager
def _given_back(grant: Grant) -> Iterator[None]:
    """Give a grant back where the block raises."""
    try:
        yield
    except BaseException:
        grant.give_back()
        raise


def _now() -> float:
    return asyncio.get_running_loop().time()
