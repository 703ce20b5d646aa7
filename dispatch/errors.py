"""How a step can end without an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..backends.base import Backend, BackendError
from ..backends.told import one_line, words_of
from ..configs.errors import ConfigError
from ..configs.words import FailureKind, Risk
from ..routing.decision import Decision

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

__all__ = ["AllFailed", "Failure", "NoCandidate", "failure_of"]


def failure_of(backend: Backend, error: Exception) -> BackendError:
    """Sort what a client raised into the kinds of failure; what the backend does not know is `FailureKind.UNKNOWN`.

    Args:
        backend: Whose client it was.
        error: What it raised; of a group the first counts.
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
    """One model that was asked and gave no usable answer; ``reply`` is what it said, where it said anything."""

    model: str
    kind: FailureKind
    detail: str
    reply: AIMessage | None = None


class NoCandidate(ConfigError):
    """No model of the catalogue may or can run the step; the message lists why each fell."""

    def __init__(self, decision: Decision, agent: str) -> None:
        models: dict[str, list[str]] = {}
        for rejection in decision.rejected:
            models.setdefault(rejection.reason, []).append(rejection.model)
        reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in models.items())
        reasons = reasons or "the catalogue is empty"
        super().__init__(
            f"no model can run {agent or 'this step'} (risk {decision.risk}, tier {decision.tier} or above): {reasons}"
        )
        self.decision = decision


class AllFailed(BackendError):
    """Every model that may run the step was asked or had to be passed over.

    Args:
        failures: Those that were asked, in order.
        skipped: Those that were not, each with its reason: not well, out of headroom, cannot take the conversation.
        agent: Whose step it was.
        risk: Of the step.
        setup: Seconds it took to load SDKs and build clients, which no deadline counts.
    """

    def __init__(
        self,
        failures: Sequence[Failure],
        skipped: Sequence[tuple[str, str]],
        agent: str,
        risk: Risk,
        setup: float = 0.0,
    ) -> None:
        said = [f"{f.model}: {f.kind} ({f.detail})" for f in failures]
        said += [f"{model}: not asked ({reason})" for model, reason in skipped]
        kind = failures[-1].kind if failures else FailureKind.UNAVAILABLE
        super().__init__(kind, f"no model answered {agent or 'this step'}: {'; '.join(said)}")
        self.failures = tuple(failures)
        self.skipped = tuple(skipped)
        self.risk = risk
        self.setup = setup

    @property
    def last(self) -> str:
        """Why the last of them gave no answer, in a few words."""
        return self.failures[-1].detail if self.failures else self.skipped[-1][1]
