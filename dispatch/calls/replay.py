"""`Replay`: a model call that an earlier part of the run paid for is not paid for again when its step is repeated."""

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
    """The outcome of one request so far: its unusable replies, and the answer.

    Args:
        journal: The journal of the part of the run that makes the request.
        name: The name it is kept under.
        whole: Whether to keep the answer too; if not, the graph keeps it.

    Attributes:
        again: Unusable replies to earlier parts of the run that this part has not reached yet.
    """

    def __init__(self, journal: Journal, name: str, *, whole: bool) -> None:
        self._journal = journal
        self._name = name
        self._whole = whole
        self._tries: list[tuple[str, str, str]] = []
        self.again: list[tuple[str, str, str]] = []

    @classmethod
    def of(cls, ask: ModelRequest, step: StepContext, *, beside: bool = False) -> Self | None:
        """Return the replay of a request; None if the request cannot be repeated or has no JSON form.

        Args:
            ask: The request.
            step: The step that makes it.
            beside: Whether it is made on behalf of another request, so that the graph does not keep its answer.
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
        """Return the answer that an earlier part of the run received; None if it received none."""
        await self.caught_up()
        text = await self._journal.get(self._name)
        if text is None:
            return None
        said = json.loads(text)
        self.again = [tuple(one) for one in said["tries"]]
        return None if said["answer"] is None else reply_of(said["answer"])

    def failed(self, model: str) -> Failure | None:
        """Return the failure of a model's reply to an earlier part, so that it is not asked again; None if none."""
        for place, (name, kind, detail) in enumerate(self.again):
            if name == model:
                self._tries.append(self.again.pop(place))
                return Failure(model, FailureKind(kind), detail)
        return None

    def unusable(self, model: str, wrong: Verdict) -> None:
        """Record that a model was paid for an unusable reply.

        Args:
            model: The model.
            wrong: What is wrong with the reply.
        """
        self._tries.append((model, wrong[0].value, wrong[1]))
        self._journal.keep(self._name, self._text(None))

    def keep(self, message: AIMessage) -> None:
        """Keep the answer."""
        if self._whole:
            self._journal.keep(self._name, self._text(reply_text(message)))

    async def caught_up(self) -> None:
        """Wait until what was kept is safe if the process ends."""
        await self._journal.caught_up()

    def over(self) -> None:
        """Forget the replies: no model gave an answer, so all may be asked again when the run is resumed."""
        if self._tries:
            self._tries = []
            self._journal.keep(self._name, self._text(None))

    def _text(self, answer: str | None) -> str:
        return json.dumps({"tries": self._tries, "answer": answer})


@contextmanager
def until_over(replay: Replay) -> Iterator[None]:
    """Call ``replay.over()`` if the block raises a `PointsmanError` other than `BudgetExceeded`.

    Args:
        replay: The replay of the block's request.
    """
    try:
        yield
    except BudgetExceeded:
        raise
    except PointsmanError:
        replay.over()
        raise
