"""`FallbackChain`: the candidates of one ask in order: which is asked next, and what follows from how a call ended."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from ...backends.base import BackendError
from ...backends.errors.told import one_line as error_line
from ...backends.errors.told import words_of
from ...backends.options import NOTHING
from ...configs.catalog import ModelCard
from ...configs.errors import ConfigError, PointsmanError
from ...configs.words import FailureKind, Tier
from ...ledger.rows import CallRow
from ...routing.evidence import of_failure
from ...routing.ordering import worth_caching
from ..cache.answers import KeptAnswers
from ..conversation.convert import portable
from ..conversation.prompt_cache import PromptCacheTracker
from ..errors import AllFailed, Failure, NoCandidate, cut_off
from ..evidence.task_stats import TaskHistory
from ..guards.availability import Availability
from ..guards.grant import Grant
from ..guards.guards import Guards
from ..guards.rate_limit import Wait
from ..request import one_line
from .call import ModelCall
from .clients import Clients
from .prompt import brief
from .recorder import CallRecorder, call_metadata

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk

    from ..decider import Routed

__all__ = ["FallbackChain"]

_BACKOFF_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 20.0
_SHORT_HOLD_SECONDS: Final = 2.0
"""How long a rate limit is waited for where the next model that may be asked is of a dearer tier."""
_PATIENCE_SECONDS: Final = 30.0
"""How long a call waits for what parallel calls have reserved of a cap."""


class FallbackChain:
    """Gives one candidate after the other until one answers.

    Args:
        routed: The request, and what was decided for it.
        cards: The catalogue.
        clients: Its chat models.
        guards: What gives leave to call.
        recorder: Where calls are written down.
        history: Told how each model did at the task.
        prompt_caches: Told who carries the conversation now.
        availability: Told of keys that were refused.
        kept: Answers given before; None where the policy keeps none.

    Attributes:
        ask: The request.
        decision: Which models may run the step.
        deadline: When the step has to be over, in the event loop's seconds; loading SDKs and building clients is not
            counted.
        setup: Seconds that has taken.
        limits: What bounds it.
        failures: What was asked in vain.
    """

    def __init__(
        self,
        routed: Routed,
        *,
        cards: Mapping[str, ModelCard],
        clients: Clients,
        guards: Guards,
        recorder: CallRecorder,
        history: TaskHistory,
        prompt_caches: PromptCacheTracker,
        availability: Availability,
        kept: KeptAnswers | None = None,
    ) -> None:
        self._routed = routed
        self.ask = routed.ask
        self._cards = cards
        self._clients = clients
        self._guards = guards
        self._recorder = recorder
        self._history = history
        self._prompt_caches = prompt_caches
        self._availability = availability
        self._kept = kept
        self._retried: set[str] = set()
        self._flying: dict[str, ModelCall] = {}
        self._slow: set[str] = set()
        self._held: set[str] = set()
        self._skipped: list[tuple[str, str]] = []
        self._mistakes: list[ConfigError] = []
        self._refused_by: str | None = None
        self._made = 0
        self.decision = routed.decision
        self.limits = routed.limits
        self.deadline = routed.deadline
        self.setup = 0.0
        self.failures: list[Failure] = []
        self._queue = list(self.decision.candidates)

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
            card = self._cards[name]
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
        tier = self._cards[name].tier
        peers = (one for one in waiting if one not in self._held and self._cards[one].tier is tier)
        return next(peers, name) if name in self._held else name

    def _patience(self, card: ModelCard) -> float:
        """Seconds to wait for a model's rate limit rather than ask a dearer one, or nobody."""
        if len(self._queue) == 1:
            return self._left()
        return 0.0 if self.ask.latency == "critical" else min(self._left(), _SHORT_HOLD_SECONDS)

    async def _readied(self, card: ModelCard) -> ModelCall | Wait | str | None:
        """As `_prepared`, with the client of ``card`` built; whatever goes wrong with that is the next one's turn."""
        async with self._setting_up():
            try:
                await self._clients.ready(card)
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
                    message = await call.invoke(self._clients, until)
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

    def chunks(self, call: ModelCall) -> AsyncGenerator[AIMessageChunk]:
        """The reply of a call as it comes; errors are the client's own."""
        return call.chunks(self._clients)

    def accept(self, call: ModelCall, message: AIMessage, *, chunks: AIMessageChunk | None = None) -> bool:
        """Check and record a complete reply; False when the next candidate must be asked."""
        card = call.card
        wrong = call.answered(message, chunks)
        row = call.ended
        self._flying.pop(card.id, None)
        call.grant.judge(call.first_token or row.latency, None if wrong is None else wrong[0], usage=row.usage)
        self._history.observe(self.ask.task, row)
        if wrong is not None:
            self._apply_cure(card, Failure(card.id, wrong[0], wrong[1], message))
            return False
        self._prompt_caches.noted(self._routed.place, card)
        self._break_off("another model answered first")
        message.response_metadata["pointsman"] = {**self._told(row, message), "notes": list(call.notes)}
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
        self._history.observe(self.ask.task, row)
        if error.kind is FailureKind.AUTH:
            self._availability.refused(card.provider)
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
        return None if self._kept is None else self._given_again(await self._kept.get())

    async def last_resort(self) -> AIMessage:
        """An old answer to the same question or one like it, where the policy allows that and nobody answered.

        Raises:
            ConfigError: As `error`.
            AllFailed: As `error`.
        """
        old = None if self._kept is None else await self._kept.stand_in()
        message = self._given_again(old, "an old answer: no model gave a new one")
        if message is None:
            raise self.error()
        return message

    async def keep(self, message: AIMessage) -> None:
        """Keep a usable answer for the next who asks the same."""
        if self._kept is not None:
            await self._kept.keep(message)

    def error(self) -> ConfigError | AllFailed:
        """The error that tells why there is no answer; a mistake of the user's where there is nothing else."""
        if self._mistakes and not self.failures and len(self._mistakes) == len(self._skipped):
            return self._mistakes[0]
        if self.failures or self._skipped:
            return AllFailed(self.failures, self._skipped, self.decision.risk, self.setup, self._routed.step)
        return NoCandidate(self.decision, self._routed.step)

    def cut(self, cause: BackendError | None = None) -> BackendError:
        """The error of the last stream, whose first words have been handed out."""
        return cut_off(self.failures[-1], cause, self._routed.step)

    def _given_again(self, message: AIMessage | None, why: str = "an answer given before") -> AIMessage | None:
        if message is None:
            return None
        model = str(message.response_metadata["pointsman_cache"]["model"])
        card = self._cards.get(model)
        # What may not run the step now may not answer it out of the cache either.
        if card is None or model not in self.decision.candidates:
            return None
        row = self._recorder.row(card, at=time.time(), attempt=self._made, finish="cached", detail=why, cost=0)
        self._recorder.record(row)
        message.response_metadata["pointsman"] = self._told(row, message)
        return message

    def _told(self, row: CallRow, message: AIMessage) -> dict[str, Any]:
        rules = [hit.id for hit in self.decision.rules]
        if Tier(row.tier) > self.decision.tier:
            raised = (of_failure(failure.kind) for failure in self.failures)
            rules += dict.fromkeys(name for name in raised if name is not None)
        return call_metadata(row, rules, self.failures, self._skipped, self.setup, self.ask.called(message))

    def _left(self) -> float:
        return self.deadline - _now()

    def _prepared(self, card: ModelCard) -> ModelCall | Wait | str | None:
        """The call of ``card``, still without money, or why it cannot be made now; None puts it off."""
        guards, backend = self._guards, self._clients.backend(card)
        tokens, output = self.decision.features.tokens, self.ask.max_output or 0
        grant = guards.admit(card, tokens, output, last=card.id in self._slow)
        if isinstance(grant, str):
            key = guards.key(card)
            if held := guards.health.held(key):
                return Wait(grant, held)
            if card.id in self._slow or not guards.health.merely_slow(key):
                return grant
            self._slow.add(card.id)
            return None
        if isinstance(grant, Wait):
            return grant
        with _given_back(grant):
            said = self._routed.said.get(card.id, NOTHING)
            messages, options = brief(self.ask, card, said)
            carried = portable(messages, to=self._clients.backend_name(card), card=card)
            if isinstance(carried, str):
                grant.give_back()
                return carried
            if worth_caching(self.decision.features):
                options = {**backend.prompt_cache, **options}
            return ModelCall(
                card, self.ask, carried, options, backend=backend, grant=grant, booking=self._recorder, notes=said.told
            )

    async def _funded(self, call: ModelCall) -> bool:
        """Set the worst case of a call aside, and hold the model to the output that was reckoned with.

        Returns:
            False where what ended meanwhile has left the model no candidate any more.

        Raises:
            BudgetExceeded: A cap leaves too little.
        """
        patience = max(0.0, min(self._left(), _PATIENCE_SECONDS))
        try:
            async with asyncio.timeout_at(self.deadline):
                await self._guards.fund(call, self._routed.scopes, patience)
        except TimeoutError:
            call.close()
            self._skipped.append((call.card.id, "the deadline was over before the ledger could reserve its money"))
            return False
        if call.card.id in self._queue:
            return True
        call.close()
        return False

    def _apply_cure(self, card: ModelCard, failure: Failure, error: BackendError | None = None) -> str:
        self.failures.append(failure)
        cure = self._routed.policy.cures[failure.kind]
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
        rest = [self._cards[name] for name in self._queue if name != card.id]
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
