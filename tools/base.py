"""The port of the tools: what a tool declares about itself, and the error a model may hear."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..configs.errors import PointsmanError
from ..configs.words import Effect, EffectName, Trust

__all__ = [
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

DECLARED = "pointsman"
"""The key in a tool's ``metadata`` under which its `Declaration` lies."""


@dataclass(frozen=True, slots=True)
class CallRisk:
    """What one call would do, as its tool judges it from the arguments.

    Attributes:
        effect: ``read``, ``write``, ``external`` or ``destructive``; the policy says which risk a call with it has.
        reasons: Why, each in one line; a person who is asked about the call reads them.
    """

    effect: EffectName | Effect
    reasons: tuple[str, ...] = ()


EffectRule = Callable[[Mapping[str, Any]], str | CallRisk]
"""Judges one call from its validated arguments: its effect, or that with reasons."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What one call would change, told before it is made.

    Attributes:
        diff: The change as a unified diff, or in words where there is none; shown to the person who decides.
        files: File -> a digest of what stands in it now, empty where it does not exist. Where one has changed by the
            time the call would be made, an approval does not hold, and the person is asked again.
    """

    diff: str
    files: Mapping[str, str]


PreviewRule = Callable[[Mapping[str, Any]], Preview | None]
"""Tells, from its validated arguments, what a call would change, and changes nothing; None where it cannot tell."""


class ToolFailed(PointsmanError):
    """Trouble a tool met that the model is told, so that it can try something else."""

    def __init__(self, *said: object) -> None:
        # A model works with what its tools give it; what is shown or kept of this is redacted there.
        Exception.__init__(self, *said)


class Declaration(BaseModel):
    """What a tool's author declares about it.

    Only an instance counts, never a mapping of the same shape: the ``metadata`` of an MCP tool is filled by its
    server, which could otherwise declare itself harmless.

    Attributes:
        effect: The worst the tool does; ``destructive`` where nothing but a rule judges call by call.
        risk_of: Judges one call, which may then do less than `effect`, or be asked about as one that does more; None
            when it is always `effect`. What it cannot judge it must call ``destructive``.
        target_args: The arguments that name what a call acts on, such as a recipient and an account.
        reversible: What it does can be undone.
        only_reads: It changes nothing anywhere, although its effect is ``external``.
        idempotent: Twice the same call leaves what one leaves.
        timeout: Seconds one call may take; None for as long as it takes.
        secrets: Argument that no model sees -> NAME of the environment variable that holds its value.
        trust: How far what it returns may be believed; ``tool`` where no word of it can come from outside, as with a
            tool that computes.
        confined: What it writes lies within a workspace, whose protected paths it cannot change; text that was read may
            say where in it.
        preview: Tells what one call would change, before it is made; None when nothing can.
        sandbox: What confines the programs it runs, or that nothing does, in a few words for whoever approves a call;
            empty for a tool that runs none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    effect: Effect
    # Left out when dumped: traces write a tool's metadata as JSON, and a function has no JSON form.
    risk_of: EffectRule | None = Field(default=None, exclude=True, repr=False)
    target_args: tuple[str, ...] = ()
    reversible: bool = False
    only_reads: bool = False
    confined: bool = False
    idempotent: bool = False
    timeout: float | None = None
    secrets: Mapping[str, str] = Field(default_factory=dict)
    trust: Trust = Trust.UNTRUSTED
    preview: PreviewRule | None = Field(default=None, exclude=True, repr=False)
    sandbox: str = ""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What one call will do, judged before it runs.

    Attributes:
        tool: The tool's name.
        arguments: As the model gave them.
        effect: With these very arguments; None when the tool is an output schema and cannot act.
        targets: What it acts on: each argument that the tool names for that, with its value; those left out are not
            here.
        reversible: What it does can be undone.
        reasons: Why it has that effect, where its tool judges call by call.
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
    """Return the tool itself out of what ``bind`` and ``with_config`` wrapped around it."""
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
        The declared effect; ``destructive`` for whatever declares none, by `pointsman.tool` or `pointsman.declare`
        (dicts in OpenAI's format and pydantic classes among them); None for an output schema, which cannot act.
    """
    from langchain_core.tools import StructuredTool

    tool = unbound(tool)
    # Not isinstance: a subclass may act in its own _run although it carries no function.
    if type(tool) is StructuredTool and tool.func is None and tool.coroutine is None:
        return None
    declared = declaration_of(tool)
    return Effect.DESTRUCTIVE if declared is None else declared.effect


def only_reads(tools: Iterable[object]) -> bool:
    """Whether each of these tools that leaves the machine declares that it changes nothing there."""
    leaving = [tool for tool in tools if effect_of(tool) is Effect.EXTERNAL]
    return all((declared := declaration_of(tool)) is not None and declared.only_reads for tool in leaving)
