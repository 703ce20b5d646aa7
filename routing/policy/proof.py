"""`Proof`: how well a scorer did on a user's own rows; a scorer is not used without it.

Measured on unseen rows, the words of a prompt and the shape of a transcript predict the tier of a step no better than
its length or the most common tier of its workload. So a scorer judges only the tasks for which it was compared with
both, and with one tier for all, and the interval of its gain over each lies above zero. The proof is a file next to the
router; it is valid only for that exact router and for the rules under which it was measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import FiniteFloat, TypeAdapter

from ...configs.errors import ConfigError, disk_errors
from ...configs.process.atomic import replace_file
from ...configs.schema import RoutingPolicy, StepRiskPolicy
from ..features.features import Features
from ..request import RouteRequest
from ..scorers.complexity import Scorer

__all__ = ["FEWEST", "Gain", "Proof", "Proven", "TaskProof", "fingerprint", "inputs", "proof_path", "read", "write"]

FEWEST: Final = 20
"""Fewest instances whose interval is meaningful: with fewer, a bootstrap draws the same few again and again."""

_FORMAT: Final = "pointsman-proof/2"
_EVAL: Final = "run 'pointsman router eval' on rows of your own"


class Gain(NamedTuple):
    """A difference with its 95 % interval."""

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat

    def __str__(self) -> str:
        return f"{self.value:+.3g} [{self.low:+.3g}, {self.high:+.3g}]"


@dataclass(frozen=True, slots=True)
class TaskProof:
    """How a scorer did at one task, on rows it was not trained on.

    Attributes:
        instances: Number of trajectories or prompts; the intervals are over these.
        over_majority: Gain over the most common tier of the workload.
        over_length: Gain over plain length.
        over_fixed: Gain over one tier for all, the highest or the best of the other rows, whichever is harder to beat.
    """

    instances: int
    over_majority: Gain
    over_length: Gain
    over_fixed: Gain

    @property
    def lacking(self) -> str:
        """Why it may not be used; empty if it has proved itself."""
        if self.instances < FEWEST:
            return f"{self.instances} instances are too few, {FEWEST} are needed"
        if self.over_majority.low <= 0:
            return f"it does not beat the commonest tier of the workload: {self.over_majority}"
        if self.over_length.low <= 0:
            return f"it does not beat plain length: {self.over_length}"
        if self.over_fixed.low <= 0:
            return f"it does not beat one tier for all: {self.over_fixed}"
        return ""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was measured, of which scorer, and under which rules.

    Attributes:
        scorer: `fingerprint` of the router, or another name for the scorer.
        policy: `inputs` of the rules.
        data: SHA-256 of the rows.
        date: Day it was measured, ISO 8601.
        tasks: Task -> how it did.
    """

    scorer: str
    policy: str
    data: str
    date: str
    tasks: Mapping[str, TaskProof]

    @property
    def proven(self) -> frozenset[str]:
        """The tasks for which the scorer may be used."""
        return frozenset(name for name, task in self.tasks.items() if not task.lacking)

    def why_not(self, scorer: str, policy: str) -> str:
        """Return why the scorer may not be used at all; empty if it may be used for some task."""
        if self.scorer != scorer:
            return f"it is not the one that was measured; {_EVAL}"
        if self.policy != policy:
            return f"the rules have changed since it was measured; {_EVAL}"
        if self.proven:
            return ""
        return (
            "; ".join(f"{name}: {task.lacking}" for name, task in self.tasks.items())
            or f"nothing was measured; {_EVAL}"
        )


class Proven:
    """A scorer limited to the tasks it has proved itself at; for all others the rules decide alone.

    Args:
        scorer: The scorer.
        proof: Its proof.
    """

    def __init__(self, scorer: Scorer, proof: Proof) -> None:
        self.scorer = scorer
        self.proof = proof
        self.tasks = proof.proven

    @property
    def id(self) -> str:
        """Name of this scorer in a policy's hash."""
        return f"{self.proof.scorer[:16]} for {', '.join(sorted(self.tasks))}"

    def lacking(self, task: str) -> str:
        """Return why it does not judge a task; empty if it does."""
        if task in self.tasks:
            return ""
        known = self.proof.tasks.get(task)
        return known.lacking if known is not None else f"it was not measured at {task}; {_EVAL}"

    def read(self, request: RouteRequest) -> tuple[float, ...]:
        """Return the scorer's measurements of a request; empty if it may not judge the request."""
        measure = getattr(self.scorer, "read", None)
        return () if measure is None or request.task not in self.tasks else tuple(measure(request))

    def __call__(self, features: Features) -> tuple[float, float] | None:
        """Return complexity and confidence; None for a task it has not proved itself at."""
        return self.scorer(features) if features.task in self.tasks else None


def proof_path(router: Path) -> Path:
    """Return the path of a router's proof: next to the router's file."""
    return router.with_name(f"{router.name}.proof.json")


def fingerprint(router: Path) -> str:
    """SHA-256 of a router's file."""
    return sha256(router.read_bytes()).hexdigest()


def inputs(routing: RoutingPolicy, risk: StepRiskPolicy) -> str:
    """Return a hash of what turns complexity into a tier: the routing rules, the risk rules and the floors."""
    whole = [[rule.model_dump(mode="json") for rule in routing.rules], risk.model_dump(mode="json")]
    return sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def write(proof: Proof, path: Path) -> None:
    """Write a proof to a file.

    Raises:
        ConfigError: The file cannot be written.
    """
    text = json.dumps({"format": _FORMAT, **asdict(proof)}, indent=2, sort_keys=True)
    with disk_errors("cannot be written", file=path):
        replace_file(path, f"{text}\n".encode())


def read(path: Path) -> Proof | None:
    """Read a proof that `write` wrote; return None if there is no file.

    Raises:
        ConfigError: The file does not hold a proof.
    """
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
        if made.pop("format") != _FORMAT:
            raise ValueError("another format")
        return TypeAdapter(Proof).validate_python(made)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError("is no proof of a router; run 'pointsman router eval' again", file=path) from error
