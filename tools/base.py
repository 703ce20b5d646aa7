"""The interface of the tools: what a tool declares about itself, and the error that is shown to a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..configs.errors import PointsmanError
from ..configs.words import Effect, EffectName, Trust

__all__ = [
    "MEMORY_TOOLS",
    "CallFacts",
    "CallRisk",
    "Declaration",
    "EffectRule",
    "Preview",
    "PreviewRule",
    "ToolFailed",
    "declaration_of",
    "effect_of",
    "only_reads",
    "unbound",
]

MEMORY_TOOLS = frozenset({"remember", "recall", "forget"})
"""Names of the tools that work on the memory of the agent that has them."""
DECLARED = "pointsman"
"""The key of a tool's `Declaration` in its ``metadata``."""


@dataclass(frozen=True, slots=True)
class CallRisk:
    """What one call would do, as judged by its tool from the arguments.

    Attributes:
        effect: ``read``, ``write``, ``external`` or ``destructive``; the policy maps it to the risk of the call.
        reasons: Why, one line each; shown to the person who is asked to approve the call.
    """

    effect: EffectName | Effect
    reasons: tuple[str, ...] = ()


EffectRule = Callable[[Mapping[str, Any]], str | CallRisk]
"""Judges one call from its validated arguments; returns its effect, with or without reasons."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What one call would change, computed before it is made.

    Attributes:
        diff: The change as a unified diff, or in words if there is none; shown to the person who decides.
        files: File -> a digest of its current content, empty if it does not exist. If one has changed by the time the
            call would be made, the approval is void, and the person is asked again.
    """

    diff: str
    files: Mapping[str, str]


PreviewRule = Callable[[Mapping[str, Any]], Preview | None]
"""Returns, from a call's validated arguments, what it would change, without changing it; None if unknown."""


class ToolFailed(PointsmanError):
    """A failure of a tool that is reported to the model, so that it can try something else."""

    def __init__(self, *said: object) -> None:
        # Not redacted here: the model needs the full text, and it is redacted wherever it is shown or stored.
        Exception.__init__(self, *said)


class Declaration(BaseModel):
    """What a tool's author declares about it.

    Only an instance counts, never a mapping of the same shape: the server of an MCP tool fills in its ``metadata``, and
    could otherwise declare the tool harmless.

    Attributes:
        effect: The worst the tool does; ``destructive`` if only a rule judges each call.
        risk_of: Judges one call, which may then count as less than `effect`, or as more; None if every call has
            `effect`. It must return ``destructive`` for calls it cannot judge.
        target_args: The arguments that name what a call acts on, such as a recipient and an account.
        reversible: Whether what it does can be undone.
        only_reads: Whether it changes nothing anywhere, although its effect is ``external``.
        idempotent: Whether repeating a call has no further effect.
        timeout: Seconds one call may take; None for no limit.
        secrets: Argument that no model sees -> NAME of the environment variable that holds its value.
        trust: How far its results may be believed; ``tool`` if none of the text can come from outside, as with a tool
            that only computes.
        evidence: Whether it returns passages as `pointsman.configs.evidence.render_evidence` writes them; each then has
            the trust that it states.
        confined: Whether it writes only within a workspace, whose protected paths it cannot change; untrusted text may
            decide where in it.
        preview: Returns what one call would change, before it is made; None if it cannot be known.
        sandbox: What confines the programs it runs, or that nothing does, in a few words for whoever approves a call;
            empty for a tool that runs none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    effect: Effect
    # Excluded from dumps: traces write a tool's metadata as JSON, and a function has no JSON form.
    risk_of: EffectRule | None = Field(default=None, exclude=True, repr=False)
    target_args: tuple[str, ...] = ()
    reversible: bool = False
    only_reads: bool = False
    confined: bool = False
    idempotent: bool = False
    timeout: float | None = None
    secrets: Mapping[str, str] = Field(default_factory=dict)
    trust: Trust = Trust.UNTRUSTED
    evidence: bool = False
    preview: PreviewRule | None = Field(default=None, exclude=True, repr=False)
    sandbox: str = ""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What one call will do, judged before it runs.

    Attributes:
        tool: The tool's name.
        arguments: As the model gave them.
        effect: The effect with these arguments; None if the tool is an output schema and cannot act.
        targets: What it acts on: the tool's target arguments with their values, without those not given.
        reversible: Whether what it does can be undone.
        reasons: Why it has that effect, if the tool judges each call.
    """

    tool: str
    arguments: Mapping[str, Any]
    effect: Effect | None
    targets: Mapping[str, Any] = field(default_factory=dict)
    reversible: bool = False
    reasons: tuple[str, ...] = ()

    @property
    def target(self) -> str | None:
        """The first of its targets as text, or None."""
        return next((str(value) for value in self.targets.values()), None)


def unbound(tool: Any) -> Any:
    """Return the tool itself, without the wrappers of ``bind`` and ``with_config``."""
    while (inner := getattr(tool, "bound", None)) is not None:
        tool = inner
    return tool


def declaration_of(tool: object) -> Declaration | None:
    """Return what the tool declares, or None."""
    metadata = getattr(unbound(tool), "metadata", None)
    declared = metadata.get(DECLARED) if isinstance(metadata, Mapping) else None
    return declared if isinstance(declared, Declaration) else None


def effect_of(tool: Any) -> Effect | None:
    """Return the worst effect a tool may have.

    Returns:
        The effect declared with `pointsman.tool` or `pointsman.declare`; ``destructive`` if none is declared (including
        dicts in OpenAI's format and pydantic classes); None for an output schema, which cannot act.
    """
    from langchain_core.tools import StructuredTool

    tool = unbound(tool)
    # Not isinstance: a subclass may act in its own _run even if it has no function.
    if type(tool) is StructuredTool and tool.func is None and tool.coroutine is None:
        return None
    declared = declaration_of(tool)
    return Effect.DESTRUCTIVE if declared is None else declared.effect


def only_reads(tools: Iterable[object]) -> bool:
    """Whether every tool with the effect ``external`` declares that it only reads."""
    leaving = [tool for tool in tools if effect_of(tool) is Effect.EXTERNAL]
    return all((declared := declaration_of(tool)) is not None and declared.only_reads for tool in leaving)
