"""The result of a run, and the statuses of steps and runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Generic, Self

from pydantic import BaseModel
from typing_extensions import TypeVar

from ..configs.errors import PointsmanError
from ..configs.words import Tier, Trust
from ..ledger.rows import CallRow, DecisionRow

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

__all__ = ["ENDED", "Act", "Outcome", "Output", "Pending", "Recollection", "RunResult", "Status", "StepRecord"]

Output = TypeVar("Output", covariant=True, default=Any)
"""The type of a run's output; Any if a name such as `RunResult` is used without it."""


class Status(StrEnum):
    """How a step or a run ended.

    ``skipped`` is only for steps; ``running``, ``pending`` and ``interrupted`` are only for runs.
    """

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    PENDING = "pending"
    """An act waits for a person's approval."""
    HANDED_OVER = "handed_over"
    """A person must continue."""
    REJECTED = "rejected"
    """A person refused an act, so the step did not do what it was for."""
    INTERRUPTED = "interrupted"
    """It was cancelled, or its process is gone. Only after ``runs cancel`` is there a caller who gets such a result."""
    SKIPPED = "skipped"
    """A step it needs is not done."""

    @classmethod
    def of_run(cls, steps: tuple[StepRecord, ...], *, pending: bool) -> Status:
        """Return how a run ended, from how its steps ended.

        Args:
            steps: Its steps.
            pending: An act waits for approval.
        """
        if pending:
            return cls.PENDING
        ended = {step.status for step in steps}
        return next((status for status in (cls.HANDED_OVER, cls.REJECTED) if status in ended), cls.DONE)


ENDED: Final = (Status.DONE, Status.HANDED_OVER, Status.REJECTED)
"""The statuses of a run that came to its end: it can no longer be resumed."""


class Outcome(StrEnum):
    """The outcome of a call that does more than read and that a step wanted to make."""

    DONE = "done"
    FAILED = "failed"
    """It was carried out, or begun, and the tool reported an error."""
    DOUBTED = "doubted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Act:
    """A call of a tool that does more than read, made or proposed by a step.

    Attributes:
        tool: The tool.
        arguments: As the model gave them; a person may have edited them since.
        outcome: ``done`` when it was carried out, ``failed`` when the tool then reported an error.
        reason: Why it was not carried out, or why it was carried out unverified.
    """

    tool: str
    arguments: Mapping[str, Any]
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Recollection:
    """An item of the memory that was put before a step.

    Attributes:
        id: Its id, as ``pointsman memory show`` takes it.
        author: Who wrote it.
        source: Where that was read from.
        trust: How far it may be believed.
    """

    id: str
    author: str
    source: str
    trust: str


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a run as it actually ran.

    Attributes:
        id: Unique within the run.
        agent: Who did it.
        model: The model that actually ran, as ``provider/name``; None when no model did.
        risk: The step's risk, the highest of its model calls.
        output: What came out, typed if the agent declares an output.
        status: How it ended.
        note: One line on what a reader should know: an escalation and its evidence, a doubt, why it was handed over.
        seconds: Wall time.
        confidence: Confidence of the model that ran, if it reports one.
        tier: Tier of the model that ran; empty when no model did.
        acts: What it did, or wanted to do, with tools that do more than read.
        doubt: Why a verifier does not rely on it, if it ended that way.
        unverified: Why nobody verified it, or a call it made, if its risk requires that.
        trust: How far its output may be trusted: the lowest trust that was in view when it was written.
        recalled: What was recalled from the memory before it began.
        remembered: Id of the note that its output was kept as in its agent's memory; empty if it was not.
        evidence: Ids of the passages of evidence that were in view when it was written.
    """

    id: str
    agent: str
    model: str | None
    risk: str
    output: Any
    status: Status = Status.DONE
    note: str = ""
    seconds: float = 0.0
    confidence: float | None = None
    tier: str = ""
    acts: tuple[Act, ...] = ()
    doubt: str = ""
    unverified: str = ""
    trust: str = Trust.TOOL.value
    recalled: tuple[Recollection, ...] = ()
    remembered: str = ""
    evidence: tuple[str, ...] = ()

    @property
    def acted(self) -> bool:
        """Whether it carried out anything that cannot simply be done again."""
        return any(act.outcome is Outcome.DONE for act in self.acts)

    @property
    def tier_above(self) -> Tier | None:
        """The next tier after that of the model that ran; None above the highest, and if no model ran."""
        return next((tier for tier in Tier if tier > Tier(self.tier)), None) if self.tier else None

    def noted(self, *notes: str) -> StepRecord:
        """Return the same record with more notes."""
        return replace(self, note="; ".join(note for note in (self.note, *notes) if note))

    def plain(self) -> dict[str, Any]:
        """Return the record as plain JSON values, for a checkpoint."""
        output = self.output.model_dump(mode="json") if isinstance(self.output, BaseModel) else self.output
        acts = [{**asdict(act), "outcome": act.outcome.value} for act in self.acts]
        told = {"output": output, "status": self.status.value, "acts": acts}
        recalled = [asdict(one) for one in self.recalled]
        return {**asdict(replace(self, acts=())), **told, "recalled": recalled, "evidence": list(self.evidence)}

    @classmethod
    def restored(cls, plain: Mapping[str, Any]) -> StepRecord:
        """Return the record from the values that `plain` returned; its output stays plain."""
        acts = tuple(Act(**{**act, "outcome": Outcome(act["outcome"])}) for act in plain.get("acts", ()))
        recalled = tuple(Recollection(**one) for one in plain.get("recalled", ()))
        evidence = tuple(plain.get("evidence", ()))
        read = {"status": Status(plain["status"]), "acts": acts, "recalled": recalled, "evidence": evidence}
        return cls(**{**plain, **read})


@dataclass(frozen=True, slots=True)
class Pending:
    """An act that waits for a person, or a question that a user's own graph asks.

    Attributes:
        id: Names it in an answer.
        tool: The tool that would run; empty for a question of a graph's own.
        arguments: Its exact arguments; for a question, the ``value`` that the graph shows.
        risk: Risk of the call.
        reason: Why it waits.
        digest: Digest of the tool, what it says about itself, the arguments, and the files it would change as they were
            when it was asked; an answer that names it holds only for these.
        allowed: The decisions a person may take: approve, edit, reject, respond.
        run: The run that waits.
        effect: What the call does with exactly these arguments.
        preview: What it would change, as a unified diff, if its tool provides one.
        sandbox: Where the call would run and what confines it: ``in the sandbox: …``, ``UNSANDBOXED: …``, or in this
            process; empty if unknown.
        sources: Argument -> where its value comes from: the task, the result of a tool, the model, a person.
        origin: Where the call comes from: ``run``, ``step``, ``agent`` and ``model``, as far as they are known, and
            ``edited`` if a person has changed its arguments.
        asked: When it was asked, in seconds since the epoch; None if unknown.
        expires: When an approval expires and the question is asked again, likewise.
        always: It may be approved for always: this tool with these arguments.
    """

    id: str
    tool: str
    arguments: Mapping[str, Any]
    risk: str
    reason: str
    digest: str
    allowed: tuple[str, ...] = ()
    run: str = ""
    effect: str = ""
    preview: str = ""
    sandbox: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict)
    asked: float | None = None
    expires: float | None = None
    always: bool = False


@dataclass(frozen=True, slots=True)
class RunResult(Generic[Output]):
    """The outcome of a run, including one that failed: then it holds what was done until then.

    Attributes:
        run: Id of the run, which ``pointsman report --run`` and ``resume`` take.
        status: How it ended.
        output: What came out; None if the run was cut off, whatever its type says.
        steps: What was done, in order.
        cost: USD spent on calls whose price is known, in every part of the run if it was resumed.
        unpriced: Calls whose price is unknown; their cost is not in ``cost``.
        decisions: Every routing decision of the run.
        calls: Every model call of the run, failed ones included.
        pending: Acts that wait for a person when ``status`` is ``pending``.
        notes: What a reader should know.
        messages: What it added to the conversation: for an agent, its answers, its tool calls and their results; for a
            workflow, its answer.
        diff: What it changed in files of the workspace, by the file tools and by commands, as a unified diff from what
            was there before to what is there now.
        changed_tests: The files in it that are tests.
        error: What stopped it before its end, in one line that says what to do; None if nothing did.
    """

    run: str
    status: Status
    output: Output
    steps: tuple[StepRecord, ...] = ()
    cost: float = 0.0
    unpriced: int = 0
    decisions: tuple[DecisionRow, ...] = ()
    calls: tuple[CallRow, ...] = ()
    pending: tuple[Pending, ...] = ()
    notes: tuple[str, ...] = field(default=())
    messages: tuple[BaseMessage, ...] = ()
    diff: str = ""
    changed_tests: tuple[str, ...] = ()
    error: Exception | None = None

    def raise_for_status(self) -> Self:
        """Return the result, unless the run failed or was cancelled.

        Raises:
            Exception: What stopped it, as `error`; a PointsmanError with its notes if the graph itself says that the
                run failed.
        """
        if self.error is not None:
            raise self.error
        if self.status is Status.FAILED:
            raise PointsmanError(f"run {self.run} failed: {'; '.join(self.notes) or 'its graph does not say why'}")
        return self
