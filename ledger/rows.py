"""The rows of the ledger: runs, decisions, calls, acts, handoffs to a person, leases, and what a run needs again if it
is interrupted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..configs.catalog import Usage

__all__ = [
    "EMBEDDING",
    "MEMORY",
    "ROUTER",
    "CallRow",
    "DecisionRow",
    "EffectRow",
    "HandoffRow",
    "KeptRow",
    "LeaseRow",
    "RunRow",
]

EMBEDDING: Final = "embedding"
"""Tier of the calls that ask a provider for vectors; no model of the catalogue has it."""
MEMORY: Final = "(memory)"
"""Agent name of such calls outside any agent's step."""
ROUTER: Final = "(router)"
"""Agent name of the calls that routing itself makes; in brackets, so that it cannot clash with a real agent's name."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of a workflow or agent, with the limits that apply when it is resumed.

    Times are seconds since the epoch, UTC.

    Attributes:
        max_cost: Picodollars (1e-12 USD) the run may spend in all its parts, None for no cap.
        max_steps: Supersteps of the graph that each part may take, None if not specified.
        timeout: Seconds that each part may take, None for no limit.
        parent: The run inside which it was started; empty if there is none.
        max_tokens: Tokens of input and output that all its parts may use, None for no cap.
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
        attempt: 1 for the first candidate called, counting up along the fallback chain.
        model: The model called, as ``provider/name``.
        answered_by: The provider's name for the model that actually ran, None if it gave none.
        failure: A `FailureKind` value, or None for a usable answer.
        cost: Picodollars (1e-12 USD), or None when the price is unknown: never zero for unknown.
        latency: Seconds to the end; ``first_token`` seconds to the first chunk of a stream.
        flagship_cost: Picodollars the same tokens would have cost on the flagship, None when unknown.
        flagship: The model that ``flagship_cost`` refers to.
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
    """Something a person must look at. ``summary`` is what they are told, ``reason`` why it was handed to them.

    To mark it as done, record it again with ``done``.
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

    To store its result, record it again with an outcome; an act without one may have happened.

    Attributes:
        effect: What the tool does, an `Effect` value.
        digest: Hash of the tool and its arguments that identifies this act; never the arguments themselves.
        at: When it was about to begin, in seconds since the epoch.
        outcome: How it ended, in a word or a line; empty until that is known.
        place: Where in the run it was requested, the same if that part of the run is repeated; None if the run cannot
            be resumed.
        token: The fencing token of the process that worked on the run; None if no process held it.
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
        token: Counts the holders of the run: writes by an earlier holder are refused.
        host: Name of the machine.
        process: Process id on that machine.
        until: When the run may be taken over unless the holder renews the lease; 0 once it has released the run.
        locked: A lock on a separate file shows whether its process is still running.
        cancel: Somebody has asked the holder to stop.
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
    """A model's reply or an act's result that an interrupted run needs again, encrypted with the user's key.

    Attributes:
        name: Name of the call or act that it belongs to.
        sealed: The text, encrypted.
    """

    run: str
    name: str
    sealed: str
