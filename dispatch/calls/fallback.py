"""`FallbackChain`: asks one model after the other for a request until one gives a usable answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Final

from ...backends.base import BackendError
from ...backends.errors.told import one_line as error_line
from ...backends.errors.told import words_of
from ...backends.options import NOTHING
from ...configs.catalog import ModelCard
from ...configs.errors import ConfigError, PointsmanError
from ...configs.schema import OnFailure
from ...configs.words import FailureKind, Tier
from ...ledger.rows import CallRow
from ...routing.evidence import of_failure
from ..cache.answers import KeptAnswers
from ..conversation.convert import carried
from ..conversation.prompt_cache import PromptCacheTracker
from ..errors import AllFailed, Failure, NoCandidate, cut_off
from ..evidence.task_stats import TaskHistory
from ..guards.availability import Availability
from ..guards.guards import Grant, Guards
from ..guards.rate_limit import Wait
from ..request import one_line
from .bill import CallRecorder, call_metadata
from .call import ModelCall, fund
from .clients import Clients, Ready
from .prompt import brief
from .replay import Replay

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk

    from ..decider import Routed

__all__ = ["FallbackChain"]

_BACKOFF_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 20.0
_SHORT_HOLD_SECONDS: Final = 2.0
"""How long a rate limit is waited for where the next candidate is of a more expensive tier."""
_PATIENCE_SECONDS: Final = 30.0
"""How long a call waits for what parallel calls have reserved of a cap."""


@dataclass(eq=False, repr=False)
class FallbackChain:
    """Gives the next call to make until one is answered, and acts on how each call ended.

    Attributes:
        routed: The request, and what was decided for it.
        cards: The catalogue.
        clients: Its chat models.
        guards: Breakers, rate limits and budgets.
        recorder: Writes the calls' rows.
        history: Learns how each model did at the task.
        prompt_caches: Learns which provider has the conversation in its cache.
        availability: Learns of keys that were refused.
        kept: Answers given before; None where the policy keeps none.
        replay: What came of the request in an earlier part of the run; None where the run cannot be taken up.
        made: Calls made so far.
        failures: Those without a usable answer.
        setup: Seconds that loading SDKs and building clients has taken.
        ask: The request.
        decision: Which models may run the step.
        limits: What bounds it.
        deadline: When the step has to be over, in the event loop's seconds; ``setup`` is not counted.
    """

    routed: Routed
    _: KW_ONLY
    cards: Mapping[str, ModelCard]
    clients: Clients
    guards: Guards
    recorder: CallRecorder
    history: TaskHistory
    prompt_caches: PromptCacheTracker
    availability: Availability
    kept: KeptAnswers | None = None
    replay: Replay | None = None
    made: int = 0
    failures: list[Failure] = field(default_factory=list)
    setup: float = 0.0
    _flying: dict[str, ModelCall] = field(default_factory=dict)
    _skipped: list[tuple[str, str]] = field(default_factory=list)
    _mistakes: list[ConfigError] = field(default_factory=list)

    def __post_init__(self) -> None:
        routed = self.routed
        self.ask, self.decision, self.limits = routed.ask, routed.decision, routed.limits
        self.deadline = routed.deadline
        self._candidates = _Candidates(self.cards, list(self.decision.candidates), routed.policy.routing.on_failure)

    def refused(self, failure: Failure) -> None:
        """Note that a provider refused the request before, so that the next one that does so ends it."""
        self.failures.append(failure)
        self._candidates.refused_by = failure.model.partition("/")[0]

    async def next(self) -> ModelCall | None:
        """The next call that may be made beside those under way, or None when no model is left to ask.

        Raises:
            BudgetExceeded: A cap leaves too little for it.
        """
        while self.made < self.limits.attempts and self._left() > 0:
            if (card := self._candidates.pick(self._flying, last=self.made + 1 == self.limits.attempts)) is None:
                return None
            if self.replay and self.replay.again and (paid := self.replay.failed(card.id)) is not None:
                self.made += 1
                self._on_failure(card, paid)
                continue
            built = await self._built(card)
            if card.id not in self._candidates.queue:
                continue
            ready = built if isinstance(built, str) else self._admitted(card, built)
            if isinstance(ready, ModelCall):
                ready.number = self.made + 1
                if await self._funded(ready):
                    self.made = ready.number
                    self._flying[card.id] = ready
                    return ready
            elif isinstance(ready, Wait) and ready.seconds < self._patience(card):
                if self._candidates.hold(card.id):
                    await asyncio.sleep(ready.seconds)
            elif ready is None:
                self._candidates.slow.add(card.id)
            else:
                self._skipped.append((card.id, str(ready)))
                self._candidates.queue.remove(card.id)
        return None

    def _patience(self, card: ModelCard) -> float:
        """Seconds to wait for a model's rate limit rather than ask a more expensive one, or give up."""
        if self._candidates.single:
            return self._left()
        return 0.0 if self.ask.declared.latency == "critical" else min(self._left(), _SHORT_HOLD_SECONDS)

    async def _built(self, card: ModelCard) -> Ready | str:
        """The chat model of a card, built at its first use; or why it cannot be built.

        The deadline moves by the time that takes, since it is not the provider's doing.
        """
        began = _now()
        try:
            return await self.clients.ready(card)
        except Exception as error:  # noqa: BLE001 - an SDK raises what it likes while it is loaded and set up
            self._mistakes += [error] if isinstance(error, ConfigError) else []
            return one_line(f"its client cannot be built: {error_line(words_of(error))}")
        finally:
            took = _now() - began
            self.setup += took
            self.deadline += took

    def _admitted(self, card: ModelCard, ready: Ready) -> ModelCall | Wait | str | None:
        """The call of a model, still without money.

        Returns:
            The call; or how long its rate limit or breaker holds it back; or why it cannot be made now; or None where
            its breaker only finds it slow.
        """
        slow_too = card.id in self._candidates.slow
        tokens, output = self.decision.features.tokens, self.ask.declared.max_output or 0
        grant = self.guards.admit(card, tokens, output, last=slow_too)
        if isinstance(grant, str):
            key = self.guards.key(card)
            if held := self.guards.health.held(key):
                return Wait(grant, held)
            return grant if slow_too or not self.guards.health.merely_slow(key) else None
        return grant if isinstance(grant, Wait) else _made(self.routed, self.recorder, card, ready, grant)

    async def _funded(self, call: ModelCall) -> bool:
        """Reserve the worst case of a call; False, with the call closed, where it cannot be made.

        Raises:
            BudgetExceeded: A cap leaves too little.
        """
        scopes, tokens = self.routed.scopes, self.routed.step.run.tokens
        if scopes or tokens is not None or self.ask.declared.max_output is not None:
            patience = max(0.0, min(self._left(), _PATIENCE_SECONDS))
            try:
                async with asyncio.timeout_at(self.deadline):
                    await fund(call, self.guards, scopes, tokens, patience)
            except TimeoutError:
                call.close()
                self._skipped.append((call.card.id, "the deadline was over before the ledger could reserve its money"))
                return False
        if call.card.id in self._candidates.queue:
            return True
        call.close()
        return False

    async def answer(self, call: ModelCall) -> AIMessage | None:
        """Make a call, and give its reply where that can be used.

        Raises:
            BackendError: The request itself is at fault.
        """
        call.task = asyncio.current_task()
        until = min(self.deadline, _now() + self.limits.call)
        try:
            with call:
                try:
                    message = await call.invoke(until)
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
        card, (row, wrong) = call.card, call.answered(message, chunks)
        self._flying.pop(card.id, None)
        call.grant.judge(row, None if wrong is None else wrong[0])
        self.history.observe(self.ask.declared.task, row)
        if wrong is not None:
            if self.replay is not None:
                self.replay.unusable(card.id, wrong)
            self._on_failure(card, Failure(card.id, wrong[0], wrong[1], message))
            return False
        self.prompt_caches.noted(self.routed.place, card)
        if self._flying:
            _break_off(self._flying.values(), "another model answered first")
        self.accounted(message, row, call.notes)
        return True

    async def failed(self, call: ModelCall, error: BackendError) -> None:
        """Record a call that raised, and wait where the same model is asked again.

        Raises:
            BackendError: The request itself is at fault.
            ConfigError: A mistake of the user's is, such as in a file of examples: no other model mends it.
        """
        card, row = call.card, call.failed(error)
        self._flying.pop(card.id, None)
        call.grant.judge(row, error.kind, error.retry_after)
        self.history.observe(self.ask.declared.task, row)
        if error.kind is FailureKind.AUTH:
            self.availability.refused(card.provider)
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__
        if self._on_failure(card, Failure(card.id, error.kind, one_line(error)), error) == "retry":
            pause = error.retry_after or _BACKOFF_SECONDS * (1 + random.random())  # noqa: S311 - jitter
            await asyncio.sleep(max(0.0, min(pause, self._left(), _LONGEST_WAIT_SECONDS)))

    def begun(self, call: ModelCall) -> None:
        """Note that a call's stream has begun, so that no other is needed; one that breaks after that is on its own."""
        self._flying.pop(call.card.id, None)
        _break_off(self._flying.values(), "another model answered first")

    def error(self) -> ConfigError | AllFailed:
        """The error that tells why there is no answer; a mistake of the user's where there is nothing else."""
        if self._mistakes and not self.failures and len(self._mistakes) == len(self._skipped):
            return self._mistakes[0]
        if self.failures or self._skipped:
            return AllFailed(self.failures, self._skipped, self.decision.risk, self.setup, self.routed.step)
        return NoCandidate(self.decision, self.routed.step)

    def cut(self, cause: BackendError | None = None) -> BackendError:
        """The error of the last stream, whose first words have been handed out."""
        return cut_off(self.failures[-1], cause, self.routed.step)

    def accounted(self, message: AIMessage, row: CallRow, notes: Sequence[str] | None = None) -> AIMessage:
        """Put into a reply's metadata which model answered, why, and what it cost."""
        rules = [hit.id for hit in self.decision.rules]
        if self.failures and Tier(row.tier) > self.decision.tier:
            raised = (of_failure(failure.kind) for failure in self.failures)
            rules += dict.fromkeys(name for name in raised if name is not None)
        effects = self.ask.called(message) if message.tool_calls else {}
        told = call_metadata(row, rules, self.failures, self._skipped, self.setup, effects)
        message.response_metadata["pointsman"] = told if notes is None else {**told, "notes": list(notes)}
        return message

    def _left(self) -> float:
        return self.deadline - _now()

    def _on_failure(self, card: ModelCard, failure: Failure, error: BackendError | None = None) -> OnFailure:
        """Do what the policy says about a failure.

        Raises:
            BackendError: No other model can be expected to do better.
        """
        self.failures.append(failure)
        action, again = self._candidates.failed(card, failure.kind, list(self._flying))
        if action == "stop" and not self._flying:
            # Of two providers that refuse the request both reasons are told.
            raise self.error() if again or error is None else error
        gone = [call for name, call in self._flying.items() if name not in self._candidates.queue]
        _break_off(gone, f"{card.id}: {failure.kind}, so another model must answer")
        return action


@dataclass(eq=False)
class _Candidates:
    """The queue of one request's models. A model stays in it until its turn is over or a failure rules it out.

    Attributes:
        cards: The catalogue.
        queue: What may still be asked: the candidates of the decision at first, best first.
        on_failure: Kind of failure -> what is done about it, as the policy has it.
        slow: Those that have become slow, and are asked after the others.
        refused_by: The provider that refused the request; a second one that does so ends it.
    """

    cards: Mapping[str, ModelCard]
    queue: list[str]
    on_failure: Mapping[FailureKind, OnFailure]
    slow: set[str] = field(default_factory=set)
    refused_by: str | None = None
    _held: set[str] = field(default_factory=set)
    _retried: set[str] = field(default_factory=set)

    @property
    def single(self) -> bool:
        """Whether only one is left."""
        return len(self.queue) == 1

    def pick(self, busy: Container[str], *, last: bool) -> ModelCard | None:
        """The model to ask next; None where none is left.

        Args:
            busy: Models that are being asked.
            last: Only one more call may be made. A slow model comes last, and the last call is kept for one.
        """
        waiting = [name for name in self.queue if name not in busy]
        if not waiting:
            return None
        name = next((name for name in waiting if (name in self.slow) is last), waiting[0])
        if name in self._held:
            # Another one of the same tier, while its rate limit holds this one back.
            peers = (one for one in waiting if one not in self._held)
            name = next((one for one in peers if self.cards[one].tier is self.cards[name].tier), name)
        return self.cards[name]

    def hold(self, model: str) -> bool:
        """Note that a model's rate limit holds it back for a moment.

        Returns:
            Whether that moment has to be waited for, since no other model is asked meanwhile.
        """
        if model in self._held or self.single:
            self._held.clear()
            return True
        self._held.add(model)
        return False

    def failed(self, card: ModelCard, kind: FailureKind, busy: Sequence[str]) -> tuple[OnFailure, bool]:
        """Rearrange what is left after a failure.

        Args:
            card: The model that failed.
            kind: How.
            busy: Other models that are being asked.

        Returns:
            What the policy does about it, ``next`` where the model has had its retry; and whether this is the second
            provider that refuses the request.
        """
        action, again = self.on_failure[kind], False
        if action == "elsewhere":
            again = self.refused_by not in (None, card.provider)
            self.refused_by = self.refused_by if again else card.provider
        if action == "stop" or again:
            # Whoever is asked already may still answer; nobody else is asked.
            self.queue = list(busy)
            return "stop", again
        if action == "retry" and card.id not in self._retried:
            self._retried.add(card.id)
            return action, False
        rest = [self.cards[name] for name in self.queue if name != card.id]
        if action == "stronger":
            # Where nothing is stronger another model of the same tier may still do better.
            rest = [other for other in rest if other.tier > card.tier] or [o for o in rest if o.tier is card.tier]
        elif action == "larger":
            rest = [other for other in rest if (other.context or 0) > (card.context or 0)]
        if action == "elsewhere" or kind is FailureKind.AUTH:
            rest = [other for other in rest if other.provider != card.provider]
        self.queue = [other.id for other in rest]
        return "next" if action == "retry" else action, False


def _made(routed: Routed, recorder: CallRecorder, card: ModelCard, ready: Ready, grant: Grant) -> ModelCall | str:
    """The call of a model that is asked with a grant; or why it cannot be asked, with the grant given back."""
    try:
        said = routed.said.get(card.id, NOTHING)
        messages, options = brief(routed.ask, card, said)
        taken = carried(messages, ready.dialect, card)
        if isinstance(taken, str):
            grant.give_back()
            return taken
        if routed.keeps_prompt:
            options = {**ready.backend.prompt_cache, **options}
        return ModelCall(
            card,
            routed.ask,
            taken,
            options,
            backend=ready.backend,
            grant=grant,
            booking=recorder,
            notes=() if said is NOTHING else said.told,
            ready=ready,
        )
    except BaseException as error:
        grant.give_back()
        if isinstance(error, PointsmanError) or not isinstance(error, Exception):
            raise
        # What one vendor's form cannot hold another's may.
        return one_line(f"the request cannot be put into its form: {error_line(words_of(error))}")


def _break_off(calls: Iterable[ModelCall], why: str) -> None:
    """Cancel calls under way whose answers are no longer needed."""
    for call in calls:
        if call.task is not None and call.task is not asyncio.current_task():
            call.unwanted = why
            call.task.cancel()


def _now() -> float:
    return asyncio.get_running_loop().time()
