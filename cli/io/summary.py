"""Sum up a batch: how messages were answered, by which models, at what cost, and what is left for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ...ledger.rows import EMBEDDING
from .output import money, seconds, short
from .records import dollars, plain
from .simulated import named
from .table import table

if TYPE_CHECKING:
    from ...agents.result import RunResult
    from ...agents.runtime import Runtime
    from ...ledger.rows import HandoffRow
    from .inputs import Message

__all__ = ["Ended", "Summary", "summarise"]


@dataclass(frozen=True, slots=True)
class Ended:
    """One message of a batch with its outcome: a result, or the error that prevented one."""

    message: Message
    seconds: float
    result: RunResult | None = None
    error: str = ""

    @property
    def status(self) -> str:
        """Return the status of the result; ``failed`` without one."""
        return self.result.status if self.result else "failed"

    @property
    def said(self) -> str | None:
        """Return what a label is compared with: ``intent`` of the output, or the output itself if it is text."""
        output = plain(self.result.output) if self.result else None
        if isinstance(output, Mapping):
            intent = output.get("intent")
            return None if intent is None else str(intent)
        return output if isinstance(output, str) else None


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a batch. Costs are picodollars.

    Attributes:
        statuses: Status -> number of messages.
        labelled: Messages with a label.
        correct: Labelled messages that were given their label.
        models: Model and tier -> calls that gave an answer.
        decisions: Routing decisions; ``without_model`` counts those that found no model that may run the step.
        escalated: Steps that a later candidate answered.
        failures: Model and kind -> calls without a usable answer.
        cost: Cost of the calls whose price is known.
        unpriced: Calls whose price is unknown.
        flagship: The model that costs are compared with.
        flagship_cost: What the same tokens would have cost there; None if that price is unknown.
        queue: What waits for a person.
        providers: Providers that answered.
        missing: Environment variables whose keys would make more providers usable.
    """

    messages: int
    statuses: Mapping[str, int]
    labelled: int
    correct: int
    models: Mapping[tuple[str, str], int]
    decisions: int
    without_model: int
    escalated: int
    failures: Mapping[tuple[str, str], int]
    cost: int
    unpriced: int
    flagship: str | None
    flagship_cost: int | None
    queue: tuple[HandoffRow, ...]
    providers: tuple[str, ...]
    local: bool
    missing: tuple[str, ...]
    seconds: float

    @property
    def accuracy(self) -> float | None:
        """Return the share of the labelled messages that were given their label; None if there are none."""
        return self.correct / self.labelled if self.labelled else None

    def sentence(self) -> str:
        """Say which providers were used."""
        if not self.providers:
            return "No model answered."
        names = ", ".join(map(named, self.providers))
        if not self.local:
            return f"Providers used: {names}."
        if self.missing:
            keys = ", ".join(self.missing[:3])
            return f"No key was found, so only models on this machine ran ({names}); set {keys} or another to use more."
        return f"Only models on this machine ran ({names})."

    def record(self) -> dict[str, Any]:
        """Return the summary as JSON values, with amounts in USD."""
        calls = sum(self.models.values())
        return {
            "messages": self.messages,
            "answered": self.statuses.get("done", 0),
            "handed_over": self.statuses.get("handed_over", 0),
            "failed": self.statuses.get("failed", 0),
            "rejected": self.statuses.get("rejected", 0),
            "pending": self.statuses.get("pending", 0),
            "labelled": self.labelled,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "routing": [
                {"model": model, "tier": tier, "calls": count, "share": count / calls}
                for (model, tier), count in _ranked(self.models)
            ],
            "decisions": self.decisions,
            "decisions_without_model": self.without_model,
            "escalated": self.escalated,
            "failures": [{"model": model, "kind": kind, "calls": n} for (model, kind), n in _ranked(self.failures)],
            "cost": dollars(self.cost),
            "unpriced": self.unpriced,
            "flagship": self.flagship,
            "flagship_cost": dollars(self.flagship_cost),
            "queue": [asdict(handoff) for handoff in self.queue],
            "providers": list(self.providers),
            "said": self.sentence(),
            "seconds": self.seconds,
        }

    def text(self) -> str:
        """Return the summary as text for a person."""
        count = self.statuses.get
        parts = [
            f"{self.messages} messages in {seconds(self.seconds)}: {count('done', 0)} answered, "
            f"{count('handed_over', 0)} handed to a person, {count('failed', 0)} failed"
            + (f", {count('rejected', 0)} rejected by a person" if count("rejected") else "")
            + (f", {count('pending', 0)} waiting for approval" if count("pending") else "")
        ]
        if self.labelled:
            share = 100 * self.correct / self.labelled
            parts.append(f"accuracy against the labels: {share:.1f} % ({self.correct} of {self.labelled})")
        parts += ["", *self._routing(), "", *self._money(), "", *self._queue(), "", self.sentence()]
        return "\n".join(parts)

    def _routing(self) -> list[str]:
        calls = sum(self.models.values())
        rows = [(f"{100 * n / calls:.1f} %", n, tier, named(model)) for (model, tier), n in _ranked(self.models)]
        if self.without_model:
            rows.append(("-", self.without_model, "-", "no model may run the step here: handed to a person"))
        lines = [f"routing ({self.decisions} decisions)"]
        lines += table(rows, right=[0, 1], indent=2).splitlines()
        lines.append(f"escalated to a stronger or another model: {self.escalated}")
        lines += [f"  {n} x {named(model)}: {kind}" for (model, kind), n in _ranked(self.failures)]
        return lines

    def _money(self) -> list[str]:
        unpriced = f", and {self.unpriced} calls of unknown price" if self.unpriced else ""
        flagship = f" ({self.flagship})" if self.flagship else ""
        return [
            f"cost: {money(self.cost)}{unpriced}",
            f"had everything gone to the flagship{flagship}: {money(self.flagship_cost)}",
        ]

    def _queue(self) -> list[str]:
        if not self.queue:
            return ["nothing waits for a person"]
        reasons = Counter((handoff.risk, handoff.reason) for handoff in self.queue)
        rows = [(n, risk, short(reason, 110)) for (risk, reason), n in reasons.most_common(8)]
        more = len(reasons) - len(rows)
        lines = [f"waiting for a person: {len(self.queue)} (pointsman queue)"]
        lines += table(rows, right=[0], indent=2).splitlines()
        return [*lines, f"  and {more} more reasons"] if more else lines


def summarise(ended: Sequence[Ended], runtime: Runtime, took: float) -> Summary:
    """Sum up a batch.

    Args:
        ended: The messages that were processed.
        runtime: The runtime they ran on.
        took: Wall time of the batch, in seconds.
    """
    results = [one.result for one in ended if one.result is not None]
    calls = [call for outcome in results for call in outcome.calls]
    decisions = [decision for outcome in results for decision in outcome.decisions]
    # Requests for vectors cost too, but no decision chose a model for them, and none is an answer.
    answers = [call for call in calls if call.tier != EMBEDDING]
    good = [call for call in answers if call.failure is None]
    asked = Counter(call.decision for call in answers)
    flagged = [call.flagship_cost for call in answers if call.usage is not None]
    labelled = [one for one in ended if one.message.label is not None]
    runs = {outcome.run for outcome in results}
    dispatcher = runtime.dispatcher
    providers = tuple(sorted({call.model.partition("/")[0] for call in good}))
    return Summary(
        messages=len(ended),
        statuses=Counter(one.status for one in ended),
        labelled=len(labelled),
        correct=sum(one.said == one.message.label for one in labelled),
        models=Counter((call.model, call.tier) for call in good),
        decisions=len(decisions),
        without_model=sum(decision.model is None for decision in decisions),
        escalated=sum(asked[call.decision] > 1 for call in good),
        failures=Counter((call.model, str(call.failure)) for call in calls if call.failure is not None),
        cost=sum(call.cost for call in calls if call.cost is not None),
        unpriced=sum(call.cost is None and call.usage is not None for call in calls),
        flagship=dispatcher.flagship.id if dispatcher.flagship else None,
        flagship_cost=_total(flagged),
        queue=tuple(handoff for handoff in runtime.ledger.handoffs(open_only=True) if handoff.run in runs),
        providers=providers,
        local=all(dispatcher.settings.providers[name].local for name in providers),
        missing=_missing(runtime),
        seconds=took,
    )


def _total(costs: Sequence[int | None]) -> int | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _missing(runtime: Runtime) -> tuple[str, ...]:
    """Return the key variables that would make more providers usable; none if one is set already, or if offline."""
    settings = runtime.settings
    hosted = {name: entry.key for name, entry in settings.providers.items() if entry.key and not entry.local}
    if settings.offline or any(settings.key_of(name) for name in hosted):
        return ()
    # In the order of the file, without duplicates.
    return tuple(dict.fromkeys(key for key in hosted.values() if key))


def _ranked(counts: Mapping[tuple[str, str], int]) -> list[tuple[tuple[str, str], int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
