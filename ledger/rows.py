"""What the ledger keeps: a row a run, a decision, a call, an act, an item handed to a person; who works on a run; and
what a run needs again where it is cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..configs.catalog import Usage

__all__ = ["ROUTER", "CallRow", "DecisionRow", "EffectRow", "HandoffRow", "KeptRow", "LeaseRow", "RunRow"]

ROUTER: Final = "(router)"
"""The agent of the calls that routing makes for itself; in brackets, as nobody names an agent."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of a workflow or agent, with what bounds it when it is taken up again.

    Times are seconds since the epoch, UTC.

    Attributes:
        max_cost: Picodollars (1e-12 USD) the run may spend in all its parts, None without a cap.
        max_steps: Supersteps of the graph that each part may take, None where nobody said.
        timeout: Seconds that each part may take, None without a bound.
        parent: The run inside which it was started; empty where there is none.
        max_tokens: Tokens of input and output that all its parts may use, None without a cap.
    """

    id: str
    target: str
    started: float
    ended: float | None = None
    status: str = "running"
    user: str = ""
    tags: tuple[str, ...] = ()
    user_class: str = "default"
    max_cost: int | None = None
    max_steps: int | None = None
    timeout: float | None = None
    parent: str = ""
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One routing decision. ``features``, ``candidates``, ``rejected`` and ``rules`` are JSON texts."""

    id: str
    run: str
    step: str
    agent: str
    task: str
    at: float
    risk: str
    floor: str
    tier: str
    model: str | None
    candidates: str
    rejected: str
    rules: str
    complexity: float
    confidence: float
    features: str
    policy_hash: str
    price_version: str


@dataclass(frozen=True, slots=True)
class CallRow:
    """One model call, answered or not.

    Attributes:
        attempt: 1 for the first candidate asked, counting up along the fallback chain.
        model: The model asked, as ``provider/name``.
        answered_by: The name the provider gave of the model that really ran, None when it did not say.
        failure: A `FailureKind` value, or None for a usable answer.
        cost: Picodollars (1e-12 USD), or None when the price is unknown: never zero for unknown.
        latency: Seconds to the end; ``first_token`` seconds to the first chunk of a stream.
        flagship_cost: Picodollars the same tokens would have cost on the flagship, None when unknown.
        flagship: The model that ``flagship_cost`` is about.
    """

    id: str
    decision: str
    run: str
    step: str
    agent: str
    attempt: int
    model: str
    tier: str
    risk: str
    at: float
    answered_by: str | None = None
    failure: str | None = None
    detail: str = ""
    finish: str | None = None
    usage: Usage | None = None
    cost: int | None = None
    flagship_cost: int | None = None
    price_version: str = ""
    latency: float = 0.0
    first_token: float | None = None
    confidence: float | None = None
    stream: bool = False
    flagship: str = ""


@dataclass(frozen=True, slots=True)
class HandoffRow:
    """Something a person must look at. ``summary`` is what they are told, ``reason`` why it came to them.

    To tick it off, record it again with ``done``.
    """

    id: str
    run: str
    at: float
    risk: str
    reason: str
    summary: str
    done: bool = False


@dataclass(frozen=True, slots=True)
class EffectRow:
    """One act of a tool that does more than read, recorded before it is carried out.

    To tell what came of it, record it again with an outcome; one without may have happened.

    Attributes:
        effect: What the tool does, an `Effect` value.
        digest: What tells this act from others, made of the tool and its arguments; never the arguments themselves.
        at: When it was about to begin, in seconds since the epoch.
        outcome: How it ended, in a word or a line; empty until that is known.
        place: Where in the run it was asked for, the same when that part of the run is done again; None where the run
            cannot be taken up.
        token: The fencing token of whoever worked on the run; None where nobody held it.
    """

    id: str
    run: str
    step: str
    agent: str
    tool: str
    effect: str
    digest: str
    at: float
    outcome: str = ""
    place: str | None = None
    token: int | None = None


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """Who works on a run, or did so last.

    Times are seconds since the epoch, UTC.

    Attributes:
        token: Counts those who held the run: what an earlier one still writes is refused.
        host: Name of the machine.
        process: Number of the process there.
        until: When the run may be taken over if the holder says nothing more; 0 where it has let go.
        locked: A lock on a file of its own shows whether its process is there.
        cancel: Somebody has asked it to stop.
    """

    run: str
    token: int
    host: str
    process: int
    since: float
    until: float
    locked: bool
    cancel: bool = False


@dataclass(frozen=True, slots=True)
class KeptRow:
    """Something a run needs again if it is cut off, encrypted under the user's key: a model's reply, an act's result.

    Attributes:
        name: What it is the reply or result of.
        sealed: The text, encrypted.
    """

    run: str
    name: str
    sealed: str
