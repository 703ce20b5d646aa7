"""`Replay`: a model call that was paid in an earlier part of the run is not paid again when its step is done again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from ...configs.errors import PointsmanError
from ...configs.words import FailureKind
from ...ledger.budgets.budgets import BudgetExceeded
from ..batch.codec import reply_of, reply_text
from ..cache.key import request_digest
from ..context import StepContext
from ..errors import Failure
from ..journal import CALLS, Journal, in_task, is_kept_by_graph
from ..request import ModelRequest

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from .bill import Verdict

__all__ = ["Replay", "until_over"]


class Replay:
    """What came of one request so far: the replies that could not be used, and the answer.

    Args:
        journal: Of the part of the run that makes the request.
        name: What it is kept under.
        whole: Whether the answer is kept, too; else the graph keeps it.

    Attributes:
        again: What earlier parts of the run were given and could not use, and this one has not come to yet.
    """

    def __init__(self, journal: Journal, name: str, *, whole: bool) -> None:
        self._journal = journal
        self._name = name
        self._whole = whole
        self._tries: list[tuple[str, str, str]] = []
        self.again: list[tuple[str, str, str]] = []

    @classmethod
    def of(cls, ask: ModelRequest, step: StepContext, *, beside: bool = False) -> Self | None:
        """The replay of a request; None where nobody does it again, or it has no JSON form.

        Args:
            ask: The request.
            step: The step that makes it.
            beside: It is made for the sake of another request, whose answer alone the graph may keep.
        """
        journal = step.run.journal
        if journal is None or not in_task():
            return None
        said = ask.declared
        facts = {
            "step": [step.step, step.agent],
            "unavailable": sorted(step.unavailable),
            "evidence": [finding.id for finding in step.evidence],
            "asked": [said.task, said.kind, said.tier, said.model, said.max_output, ask.output],
        }
        options = {**ask.options, "stop": ask.stop, "tool_choice": ask.tool_choice}
        digest = request_digest(ask.messages, tools=ask.tools, options=options, facts=facts)
        place = None if digest is None else journal.call(digest)
        return None if place is None else cls(journal, CALLS + place, whole=beside or not is_kept_by_graph())

    async def answer(self) -> AIMessage | None:
        """The answer that an earlier part of the run was given; None where it was given none."""
        await self.caught_up()
        text = await self._journal.get(self._name)
        if text is None:
            return None
        said = json.loads(text)
        self.again = [tuple(one) for one in said["tries"]]
        return None if said["answer"] is None else reply_of(said["answer"])

    def failed(self, model: str) -> Failure | None:
        """What was wrong with the reply that an earlier part was given by a model, which is not asked again."""
        for place, (name, kind, detail) in enumerate(self.again):
            if name == model:
                self._tries.append(self.again.pop(place))
                return Failure(model, FailureKind(kind), detail)
        return None

    def unusable(self, model: str, wrong: Verdict) -> None:
        """Keep that a model was paid for a reply that cannot be used.

        Args:
            model: The model.
            wrong: What is wrong with it.
        """
        self._tries.append((model, wrong[0].value, wrong[1]))
        self._journal.keep(self._name, self._text(None))

    def keep(self, message: AIMessage) -> None:
        """Keep the answer."""
        if self._whole:
            self._journal.keep(self._name, self._text(reply_text(message)))

    async def caught_up(self) -> None:
        """Return once what was kept outlives the end of this process."""
        await self._journal.caught_up()

    def over(self) -> None:
        """Forget the replies: no model gave an answer, so all may be asked again when the run is taken up."""
        if self._tries:
            self._tries = []
            self._journal.keep(self._name, self._text(None))

    def _text(self, answer: str | None) -> str:
        return json.dumps({"tries": self._tries, "answer": answer})


@contextmanager
def until_over(replay: Replay) -> Iterator[None]:
    """Have what was paid forgotten where the block ends without an answer, other than for want of money.

    Args:
        replay: Of the request that the block asks for.
    """
    try:
        yield
    except BudgetExceeded:
        raise
    except PointsmanError:
        replay.over()
        raise
