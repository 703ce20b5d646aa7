"""Answers from a batch, checked like live replies: their ledger rows, and the outcomes of their requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...backends.base import BackendError
from ...configs.catalog import ModelCard, Usage
from ...configs.words import FailureKind, Risk, Tier
from ...ledger.batches import AskRow, Outcome, PartRow
from ..calls.bill import CallRecorder, call_metadata
from ..calls.call import ModelCall
from ..failures import FAILURES
from ..guards.guards import Grant
from ..request import ModelRequest, one_line
from .classes import AnswerClasses, typed_calls
from .codec import ask_of, ask_text, reply_text, step_of

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from ..dispatcher import Dispatcher

__all__ = ["Judge", "done", "read"]


@dataclass(frozen=True, eq=False, repr=False)
class Judge:
    """Checks the answers to a part.

    Attributes:
        dispatcher: The dispatcher whose prices, checks and policy are used.
        classes: Validate a typed answer.
        card: The model that was asked.
        part: The part.
    """

    dispatcher: Dispatcher
    classes: AnswerClasses
    card: ModelCard
    part: PartRow

    def outcome(
        self, row: AskRow, answer: AIMessage | BackendError, *, billed: bool = False, recorded: bool = False
    ) -> Outcome:
        """Check an answer, and record its call.

        Args:
            row: The request's row.
            answer: The reply, or the failure.
            billed: Whether a failure may have been billed; providers bill nothing for a request they report as failed.
            recorded: Whether its call is already in the ledger.

        Returns:
            The request's outcome: it is done, or must be asked live.
        """
        ask, facts = read(row, self.classes)
        call = self._call(row, ask, facts, recorded=recorded)
        call.sent(at=self.part.at)
        if isinstance(answer, BackendError):
            wrong: tuple[FailureKind, str] | None = (answer.kind, one_line(answer))
            entry = call.failed(answer, billed=billed)
        else:
            entry, wrong = call.answered(answer)
        if wrong is None and not isinstance(answer, BackendError):
            told = call_metadata(entry, facts["rules"], effects=ask.called(answer))
            answer.response_metadata["pointsman"] = {**told, "notes": list(call.notes)}
            return done(row.place, ask, facts, answer, cost=entry.cost)
        kind, detail = wrong or (FailureKind.MALFORMED, "")
        action = self.dispatcher.policy.routing.on_failure[kind]
        if action == "stop":
            return Outcome(row.place, "done", cost=entry.cost, error=f"{self.card.id}: {kind} ({detail})")
        whom = self.card.provider if action == "elsewhere" else self.card.id
        facts["avoid"] = [] if FAILURES[kind].passing else [(whom, f"gave no usable answer in a batch: {kind}")]
        if action == "elsewhere":
            facts["refused"] = [self.card.id, kind, detail]
        again = ask.declaring(tier=self._least(ask, facts, stronger=action == "stronger"))
        return Outcome(row.place, "live", ask_text(again), json.dumps(facts), cost=entry.cost)

    def _call(self, row: AskRow, ask: ModelRequest, facts: Mapping[str, Any], *, recorded: bool) -> ModelCall:
        """The call that a provider made in its batch, to be judged and written down as one made here."""
        dispatcher, card = self.dispatcher, self.card
        booking = CallRecorder(
            dispatcher.ledger,
            dispatcher.prices,
            step_of(facts["step"]),
            facts["decision"],
            Risk(facts["risk"]),
            flagship=dispatcher.flagship,
            discount=dispatcher.settings.providers[card.provider].batch_discount,
            note=f"batch {self.part.batch}",
            recorded=recorded,
        )
        # Money is reserved for the whole part, and breakers and rate limits apply only to live calls.
        return ModelCall(
            card,
            ask,
            ask.messages,
            {},
            backend=dispatcher.clients.backend(card),
            grant=_Reserved(most=row.worst if self.part.reservation else None),
            booking=booking,
            notes=dispatcher.clients.said(ask, card).told,
            row_id=row.call,
        )

    def _least(self, ask: ModelRequest, facts: Mapping[str, Any], *, stronger: bool) -> Tier:
        """Return the least tier of a live call, which is no lower than that of the model that was asked."""
        cards = self.dispatcher.cards
        later = [cards[name].tier for name in facts["candidates"] if name in cards]
        above = [tier for tier in later if tier > self.card.tier]
        # If no model is stronger, another one of the same tier may still do better.
        least = min(above) if above and stronger else self.card.tier
        return least if ask.declared.tier is None else max(ask.declared.tier, least)


def read(row: AskRow, classes: AnswerClasses) -> tuple[ModelRequest, dict[str, Any]]:
    """Return a request, with the class that validates its answer if available, and the facts stored with it.

    Args:
        row: The request's row.
        classes: Where to look for the class.
    """
    ask, facts = ask_of(row.ask), json.loads(row.facts)
    told = facts.get("class")
    return replace(ask, answer=classes.find(told)) if told else ask, facts


def done(
    place: int, ask: ModelRequest, facts: Mapping[str, Any], message: AIMessage, *, cost: int | None = None
) -> Outcome:
    """Return the outcome of an answered request; note if the answer was checked only against its class's schema.

    Args:
        place: Place of the request.
        ask: As `read` returns it.
        facts: The facts stored with it.
        message: The answer.
        cost: Picodollars it cost in its part; None if it did not come in one or the cost is unknown.
    """
    told = facts.get("class")
    unjudged = told and ask.answer is None and typed_calls(told, message)
    kept = json.dumps({**facts, "by_schema": True}) if unjudged else None
    return Outcome(place, "done", facts=kept, cost=cost, reply=reply_text(message))


@dataclass(eq=False)
class _Reserved(Grant):
    """The grant of a call in a batch: it uses the part's money, which is settled when the whole part is answered.

    Attributes:
        most: Picodollars reserved for the call; None if none were.
    """

    most: int | None = None

    def settle(self, usage: Usage | None, cost: int | None, *, billed: bool) -> int | None:
        """Return what the part will be charged for the call; takes the same arguments as `Grant.settle`."""
        return (self.most if cost is None else cost) if billed else None
