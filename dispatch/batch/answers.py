"""What came back from a batch, judged as a live reply is: its row in the ledger, and what becomes of the ask."""

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
    """Says what the answers to a part are worth.

    Attributes:
        dispatcher: Whose prices, checks and policy.
        classes: Judge a typed answer.
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
        """Say what an answer is worth, and record its call.

        Args:
            row: The ask.
            answer: The reply, or what failed.
            billed: A failure may have been billed; providers bill nothing for a request that they say failed.
            recorded: Its call is in the ledger already.

        Returns:
            What becomes of the ask: it is done, or is to be asked live.
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
        # Its money is reserved for the whole part, and breakers and rate limits are for live calls.
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
        """The least tier of a live call, which goes no lower than the model that was asked."""
        cards = self.dispatcher.cards
        later = [cards[name].tier for name in facts["candidates"] if name in cards]
        above = [tier for tier in later if tier > self.card.tier]
        # Where nothing is stronger another model of the same tier may still do better.
        least = min(above) if above and stronger else self.card.tier
        return least if ask.declared.tier is None else max(ask.declared.tier, least)


def read(row: AskRow, classes: AnswerClasses) -> tuple[ModelRequest, dict[str, Any]]:
    """Read an ask, with the class that judges its answer where that is at hand, and what was written down beside it.

    Args:
        row: The ask.
        classes: Where the class may be.
    """
    ask, facts = ask_of(row.ask), json.loads(row.facts)
    told = facts.get("class")
    return replace(ask, answer=classes.find(told)) if told else ask, facts


def done(
    place: int, ask: ModelRequest, facts: Mapping[str, Any], message: AIMessage, *, cost: int | None = None
) -> Outcome:
    """Say that an ask is answered, and whether only the schema of its class could judge the answer.

    Args:
        place: Of the ask.
        ask: As `read` gives it.
        facts: What was written down beside it.
        message: The answer.
        cost: Picodollars it cost in its part, where it came in one.
    """
    told = facts.get("class")
    unjudged = told and ask.answer is None and typed_calls(told, message)
    kept = json.dumps({**facts, "by_schema": True}) if unjudged else None
    return Outcome(place, "done", facts=kept, cost=cost, reply=reply_text(message))


@dataclass(eq=False)
class _Reserved(Grant):
    """What a call in a batch was admitted with: the part's money, which is settled when all of the part is answered.

    Attributes:
        most: Picodollars that were reserved for the call; None where no money was.
    """

    most: int | None = None

    def settle(self, usage: Usage | None, cost: int | None, *, billed: bool) -> int | None:
        """Say what the part will be charged for the call; arguments as `Grant.settle` takes them."""
        return (self.most if cost is None else cost) if billed else None
