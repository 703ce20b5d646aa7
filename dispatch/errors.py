"""Errors that end a step without an answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..backends.base import Backend, BackendError
from ..backends.errors.told import one_line, words_of
from ..configs.errors import ConfigError
from ..configs.words import FailureKind, Risk
from ..routing.decision import Decision
from .context import StepContext
from .failures import FAILURES

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

__all__ = ["AllFailed", "Failure", "NoCandidate", "cut_off", "failure_of"]


def failure_of(backend: Backend, error: Exception) -> BackendError:
    """Classify an exception that a client raised; one the backend does not know becomes `FailureKind.UNKNOWN`.

    Args:
        backend: The client's backend.
        error: The exception; for a group, its first exception counts.
    """
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, BackendError):
        return error
    failure = backend.failure(error) or BackendError(FailureKind.UNKNOWN, one_line(words_of(error)))
    failure.__cause__ = error
    return failure


@dataclass(frozen=True, slots=True)
class Failure:
    """One model that was asked and gave no usable answer; ``reply`` is its reply, if there was one."""

    model: str
    kind: FailureKind
    detail: str
    reply: AIMessage | None = None


_SHOWN: Final = 3
"""How many reasons a message lists."""


class NoCandidate(ConfigError):
    """No model of the catalogue may or can run the step; the message says what would change that.

    Attributes:
        decision: Why each model was rejected.
    """

    def __init__(self, decision: Decision, step: StepContext) -> None:
        raised = ", ".join(hit.id for hit in decision.rules if hit.id.startswith("evidence."))
        above = f"tier {decision.tier} or above{f' for {raised}' if raised else ''}"
        again = f"; then go on with: pointsman resume {step.run.id}" if step.can_go_on else ""
        super().__init__(
            f"no model can run {step.agent or 'this step'} (risk {decision.risk}, {above}): {_cure(decision)}{again}"
        )
        self.decision = decision


def _cure(decision: Decision) -> str:
    """Return what is missing: a key if one would help, otherwise why most models were rejected."""
    ceiling = decision.features.max_tier
    if ceiling is not None and decision.floor.rank > ceiling.rank:
        return (
            f"its max_tier {ceiling} is below {decision.floor}, which risk {decision.risk} demands: raise max_tier, or "
            "leave it less that it can do"
        )
    models = Counter(rejection.reason for rejection in decision.rejected)
    keys = list(dict.fromkeys(rejection.needs for rejection in decision.rejected if rejection.needs))
    if keys:
        return f"set {' or '.join(keys[:_SHOWN])}, or simulate the models with --offline (POINTSMAN_OFFLINE=1)"
    told = [f"{count} because {reason}" for reason, count in models.most_common(_SHOWN)]
    left = sum(models.values()) - sum(count for _, count in models.most_common(_SHOWN))
    return "; ".join([*told, *([f"{left} for other reasons"] if left else [])]) or "the catalogue is empty"


class AllFailed(BackendError):
    """Every model that may run the step failed or had to be skipped.

    Args:
        failures: The models that were asked, in order.
        skipped: The models that were not, each with its reason: unhealthy, out of headroom, cannot take the
            conversation.
        risk: Risk of the step.
        setup: Seconds spent loading SDKs and building clients, which count against no deadline.
        step: The step that failed, with its run.
    """

    def __init__(
        self,
        failures: Sequence[Failure],
        skipped: Sequence[tuple[str, str]],
        risk: Risk,
        setup: float = 0.0,
        step: StepContext | None = None,
    ) -> None:
        step = step or StepContext()
        said = [f"{f.model}: {f.kind} ({f.detail})" for f in failures]
        said += [f"{model}: not asked ({reason})" for model, reason in skipped]
        kind = failures[-1].kind if failures else FailureKind.UNAVAILABLE
        then = ", ".join(part for part in (FAILURES[kind].cure, _of_run(step)) if part)
        told = "; ".join((*said, then) if then else said)
        super().__init__(kind, f"no model answered {step.agent or 'this step'}: {told}")
        self.run = step.run.id
        self.failures = tuple(failures)
        self.skipped = tuple(skipped)
        self.risk = risk
        self.setup = setup

    @property
    def last(self) -> str:
        """Why the last model gave no answer, in a few words."""
        return self.failures[-1].detail if self.failures else self.skipped[-1][1]


def cut_off(failure: Failure, cause: BackendError | None, step: StepContext) -> BackendError:
    """Return the error for a stream that failed after its first words had been yielded.

    Args:
        failure: How the call failed.
        cause: The error that broke the stream; None if the stream ended by itself.
        step: The step that failed, with its run.
    """
    told = f"{failure.model} has not answered, although it began to: {failure.kind} ({failure.detail})"
    then = "do not use its words; ask again, or let another model answer anew with on_cut='retract'"
    said = "; ".join((told, ", ".join(part for part in (then, _of_run(step)) if part)))
    seen = BackendError(failure.kind, said) if cause is None else cause
    made = BackendError(failure.kind, said, status=seen.status, retry_after=seen.retry_after, sent=seen.sent)
    made.run = step.run.id
    return made


def _of_run(step: StepContext) -> str:
    if not step.run.id:
        return ""
    # Only a step of a kept run can be resumed.
    return f"go on with: pointsman resume {step.run.id}" if step.can_go_on else f"this was run {step.run.id}"
