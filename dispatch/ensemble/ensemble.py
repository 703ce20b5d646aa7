"""`Ensemble`: asks several models the same request, and combines their answers into one."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from langchain_core.messages import BaseMessage, MessageLikeRepresentation, convert_to_messages

from ...backends.base import BackendError
from ...configs.arguments import checked
from ...configs.errors import ConfigError
from ...configs.words import FailureKind, StepKind, Tier
from ...ledger.budgets.budgets import BudgetExceeded
from .. import sync
from ..errors import NoCandidate
from ..model import RoutedChatModel
from .members import Answering, Barred, Member, barred_from, called, cost_key, model_of, routed, shared_out
from .voting import Candidate, Vote, capability, judge_request, tally

__all__ = ["Ensemble", "EnsembleAnswer", "EnsembleFailed", "Member"]

Verify = Callable[[Any], bool | Awaitable[bool]]
_COMBINE: Final = ("vote", "weighted", "judge", "best_of")


@dataclass(frozen=True, slots=True)
class EnsembleAnswer:
    """The combined answer, and how it was found.

    Attributes:
        answer: As in `Member`.
        votes: The different answers, the one with the most weight first.
        agreement: Share of the total weight of all answers that equal this one, 0..1.
        members: The members' results, in the given order; one that was not asked has neither model nor failure.
        judge: The judge's own call; None if there was nothing to judge.
        reason: The judge's reason.
    """

    answer: Any
    votes: tuple[Vote, ...]
    agreement: float
    members: tuple[Member, ...]
    judge: Member | None = None
    reason: str = ""


class EnsembleFailed(BackendError):
    """Too few members answered, or no answer was accepted; ``members`` holds the result of each."""

    def __init__(self, kind: FailureKind, message: str, members: Sequence[Member]) -> None:
        failed = [f"{place}. {m.failure}" for place, m in enumerate(members, 1) if m.failure is not None]
        super().__init__(kind, f"{message}{': ' if failed else ''}{'; '.join(failed)}")
        self.members = tuple(members)


class Ensemble:
    """Asks several models the same request and combines their answers into one.

    No two members ever run on the same model, not even by a fallback: the candidates are divided among them beforehand.
    ``vote`` takes the answer that most members gave, and in a tie the stronger tier's; ``weighted`` counts each member
    by its weight; ``judge`` lets a model, of another provider if possible, pick the best; ``best_of`` asks the members
    one by one, from the lowest tier and the cheapest model up, until ``verify`` accepts an answer.

    Args:
        members: Models, or models with tools bound that only read.
        combine: How the answers are combined into one.
        quorum: Answers needed; default: more than half the members.
        weights: One for each member, above zero; default: the capability scores of the models that ran.
        judge: The judging model; default: a model at least as strong as the strongest that answered.
        verify: Returns whether an answer is acceptable.
        seed: Seed for the order in which the judge sees the answers.

    Raises:
        ConfigError: A member can do more than read, or the arguments do not go together.
    """

    @checked
    def __init__(
        self,
        members: Sequence[Answering],
        combine: Literal["vote", "weighted", "judge", "best_of"] = "vote",
        *,
        quorum: int | None = None,
        weights: Sequence[float] | None = None,
        judge: RoutedChatModel | None = None,
        verify: Verify | None = None,
        seed: int = 0,
    ) -> None:
        if not members:
            raise ConfigError("an ensemble needs members")
        if combine not in _COMBINE:
            raise ConfigError(f"combine is one of {', '.join(_COMBINE)}, not {combine!r}")
        for given, needed, name in ((weights, "weighted", "weights"), (judge, "judge", "a judge")):
            if given is not None and combine != needed:
                raise ConfigError(f"{name} can only be given with combine={needed!r}")
        if (verify is not None) != (combine == "best_of"):
            raise ConfigError("combine='best_of' and verify go together: say what answer will do")
        if weights is not None and (
            len(weights) != len(members) or not all(math.isfinite(weight) and weight > 0 for weight in weights)
        ):
            raise ConfigError("give one weight above zero for each member")
        if quorum is not None and (combine == "best_of" or not 1 <= quorum <= len(members)):
            raise ConfigError("a quorum is from 1 to the number of members, and best_of has none: it needs one answer")
        self._members = tuple(members)
        self._models = tuple(model_of(member) for member in members)
        self._combine, self._weights, self._judge, self._verify = combine, weights, judge, verify
        self._quorum = quorum or len(members) // 2 + 1
        self._seed = seed

    async def ainvoke(
        self, messages: str | Sequence[MessageLikeRepresentation], output: type | dict[str, Any] | None = None
    ) -> EnsembleAnswer:
        """Ask the members and combine their answers; cancelling this cancels every call.

        Args:
            messages: The conversation, oldest first, or the user's text.
            output: Schema of a structured answer, as ``with_structured_output`` takes it.

        Raises:
            BudgetExceeded: A cap left too little for enough answers.
            ConfigError: A member has tools bound, and ``output`` is given.
            EnsembleFailed: There were fewer answers than the quorum, none was accepted, or the judge gave no ruling.
            AllFailed: Every model asked to judge failed.
            NoCandidate: No model may judge.
        """
        if output is not None and any(getattr(member, "kwargs", {}).get("tools") for member in self._members):
            raise ConfigError("a member of the ensemble has tools bound: bind tools or ask for an output, not both")
        said = convert_to_messages([messages] if isinstance(messages, str) else messages)
        decisions = [routed(member, said, output) for member in self._members]
        shares = shared_out(self._models, decisions)
        calls = [
            called(
                member if output is None else model.with_structured_output(output, include_raw=True),
                said,
                barred_from(model, decision, share),
            )
            for member, model, decision, share in zip(self._members, self._models, decisions, shares, strict=True)
        ]
        if self._combine == "best_of":
            return await self._first_accepted(calls, shares)
        members = await self._asked(calls)
        votes = tally([self._candidate(place, member) for place, member in enumerate(members) if member.message])
        if self._combine != "judge" or len(votes) == 1:
            return _combined(votes[0], votes, members)
        return await self._judged(said, votes, members)

    invoke = sync.blocking(ainvoke)

    async def _asked(self, calls: Sequence[Callable[[], Awaitable[Member]]]) -> list[Member]:
        """Ask all members at once, and stop as soon as the quorum is out of reach."""
        members = [Member(failure="called off") for _ in calls]

        async def ask(place: int) -> Member:
            members[place] = await calls[place]()
            return members[place]

        tasks = [asyncio.create_task(ask(place)) for place in range(len(calls))]
        failed = 0
        try:
            for done in asyncio.as_completed(tasks):
                failed += (await done).message is None
                if len(calls) - failed < self._quorum:
                    break
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        answered = sum(member.message is not None for member in members)
        if answered < self._quorum:
            raise _failure(f"{answered} of {len(calls)} members answered, {self._quorum} are needed", members)
        return members

    async def _first_accepted(
        self, calls: Sequence[Callable[[], Awaitable[Member]]], shares: Sequence[Sequence[str]]
    ) -> EnsembleAnswer:
        assert self._verify is not None  # noqa: S101 - the constructor has checked it
        members = [Member() for _ in calls]
        given: list[Candidate] = []
        for place in sorted(range(len(calls)), key=lambda place: cost_key(self._models[place], shares[place])):
            member = members[place] = await calls[place]()
            if isinstance(member.error, BudgetExceeded):
                raise member.error
            if member.message is None:
                continue
            given.append(self._candidate(place, member))
            verdict = self._verify(member.answer)
            if await verdict if inspect.isawaitable(verdict) else verdict:
                votes = tally(given)
                chosen = next(vote for vote in votes if vote.key == given[-1].key)
                return replace(_combined(chosen, votes, members), answer=member.answer)
        raise _failure(f"{len(given)} of {len(calls)} members answered, and no answer was accepted", members)

    async def _judged(
        self, messages: Sequence[BaseMessage], votes: tuple[Vote, ...], members: Sequence[Member]
    ) -> EnsembleAnswer:
        models = [model for vote in votes for model in vote.models]
        asked, schema, shown = judge_request(messages, votes, self._seed)
        tier = max(Tier.STANDARD, *(vote.tier for vote in votes))
        judge = self._judge or RoutedChatModel(
            task="judge", kind=StepKind.TRANSFORM, tier=tier, dispatcher=self._models[0].dispatcher
        )
        runnable = judge.with_structured_output(schema, include_raw=True)
        authors = sorted({model.partition("/")[0] for model in models})
        # Models favour answers that sound like their own, so their providers judge only if no other can.
        barred: Barred = tuple((author, "it wrote one of the answers to judge") for author in authors)
        ruling = await called(runnable, asked, barred)()
        if isinstance(ruling.error, NoCandidate | BackendError):
            first, ruling = ruling, await called(runnable, asked, ())()
            ruling = replace(ruling, cost=None if ruling.cost is None else ruling.cost + (first.cost or 0))
        if ruling.error is not None:
            raise ruling.error
        if ruling.message is None:
            raise EnsembleFailed(FailureKind.INVALID_OUTPUT, f"no ruling by the judge ({ruling.failure})", members)
        chosen = shown[ruling.answer["best"]]
        return replace(_combined(chosen, votes, members), judge=ruling, reason=str(ruling.answer["reason"]))

    def _candidate(self, place: int, member: Member) -> Candidate:
        model = self._models[place]
        card = model._dispatcher().cards[str(member.model)]
        weight = 1.0
        if self._combine == "weighted":
            weight = capability(card, model.task) if self._weights is None else float(self._weights[place])
        return Candidate(member.answer, card, weight)


def _combined(chosen: Vote, votes: tuple[Vote, ...], members: Sequence[Member]) -> EnsembleAnswer:
    agreement = chosen.weight / math.fsum(vote.weight for vote in votes)
    return EnsembleAnswer(chosen.answer, votes, min(1.0, agreement), tuple(members))


def _failure(message: str, members: Sequence[Member]) -> Exception:
    """Return the error for too few answers; a cap's error comes first, since asking again would not help."""
    errors = [member.error for member in members if member.error is not None]
    capped = next((error for error in errors if isinstance(error, BudgetExceeded)), None)
    if capped is not None:
        return capped
    kinds = [error.kind for error in errors if isinstance(error, BackendError)]
    return EnsembleFailed(kinds[-1] if kinds else FailureKind.UNAVAILABLE, message, members)
