"""How a step can end without an answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..backends.base import BackendError
from ..configs.errors import ConfigError
from ..configs.words import FailureKind, Risk
from ..routing.decision import Decision

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

__all__ = ["AllFailed", "Failure", "NoCandidate"]


@dataclass(frozen=True, slots=True)
class Failure:
    """One model that was asked and gave no usable answer; ``reply`` is what it said, where it said anything."""

    model: str
    kind: FailureKind
    detail: str
    reply: AIMessage | None = None


_SHOWN: Final = 3
"""Reasons that a message lists."""


class NoCandidate(ConfigError):
    """No model of the catalogue may or can run the step; the message says what would change that.

    Attributes:
        decision: Why each model fell.
    """

    def __init__(self, decision: Decision, agent: str) -> None:
        raised = ", ".join(hit.id for hit in decision.rules if hit.id.startswith("evidence."))
        above = f"tier {decision.tier} or above{f' for {raised}' if raised else ''}"
        step = f"{agent or 'this step'} (risk {decision.risk}, {above})"
        super().__init__(f"no model can run {step}: {_cure(decision)}")
        self.decision = decision


def _cure(decision: Decision) -> str:
    """What is missing: a key, where one would do, else why most models fell."""
    from .catalogue import NO_KEY

    models = Counter(rejection.reason for rejection in decision.rejected)
    keys = [reason.removeprefix(NO_KEY) for reason in models if reason.startswith(NO_KEY)]
    if keys:
        return f"set {' or '.join(keys[:_SHOWN])}, or simulate the models with --offline (POINTSMAN_OFFLINE=1)"
    told = [f"{count} because {reason}" for reason, count in models.most_common(_SHOWN)]
    left = sum(models.values()) - sum(count for _, count in models.most_common(_SHOWN))
    return "; ".join([*told, *([f"{left} for other reasons"] if left else [])]) or "the catalogue is empty"


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
