"""`Features`: the declared and measured facts that a decision is based on, small enough to record with every call."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final, TypeVar

from ...configs.errors import ConfigError
from ...configs.words import Effect, Risk, StepKind, Tier, Trust
from ..evidence import Finding, is_evidence
from ..request import RouteRequest
from .messages import measure
from .progress import stalled

__all__ = ["Features", "extract", "features_dict", "features_json", "from_dict", "is_record", "kind_of"]

# The kind in older records of a step that did not declare one.
_UNDECLARED: Final = "undeclared"
_ROOM: Final = 1024
"""Tokens of output to leave room for if none are specified."""
# Features that older records have and this version does not, and vice versa.
_RETIRED: Final = frozenset({"thought", "chores"})
_ADDED: Final = frozenset({"only_reads", "evidence", "max_tier"})


@dataclass(frozen=True, slots=True)
class Features:
    """What routing knows about one step. The first group is declared and can be relied upon, the rest is measured.

    Attributes:
        id: Id of the request.
        kind: A `StepKind`, declared or derived from the tools and effects.
        task: What is done.
        effects: Effects of the bound tools, worst last; ``destructive`` if tools are bound that declare none, or if
            tools were called and the request declares neither a kind nor tools or effects.
        tools: Number of tools bound.
        only_reads: Those of them with the effect ``external`` declare that they only read.
        done: The worst effect of the tools that were called earlier, None if none were.
        reversible: Whether what the step does can be undone.
        sensitivity: Sensitivity of the data in view.
        recalled: The lowest trust of the notes that were recalled from the memory before it, None if none were.
        dependents: Later steps that build on this one.
        risk: The caller's own opinion.
        tier: The requested tier.
        max_tier: The highest tier allowed.
        model: The requested model.
        structured: The answer must match a schema.
        max_output: Tokens of output to leave room for.
        latency: ``batch``, ``interactive`` or ``critical``.
        deadline: Seconds the step may take, None if only the policy limits it.
        user_class: For per-class limits.
        tags: Labels, sorted.
        evidence: What has happened that calls for a higher tier, reported by the caller or found in the messages.
        messages: Messages in the conversation.
        system_messages: System messages.
        user_messages: User messages.
        assistant_messages: Messages of the model.
        tool_messages: Messages of tools.
        tool_calls: Tool calls the model asked for.
        tool_results: Tool results.
        tool_errors: Tool results that report an error.
        tracebacks: Tool results that hold a stack trace.
        tests_passed: Tool results whose test summary names no failure.
        tests_failed: Tool results whose test summary names a failure.
        last_failed: The newest tool result reports an error.
        step: Which step of its conversation this is, from 1.
        characters: Text in all messages.
        tokens: Estimated input tokens.
        signals: What a trained scorer measured in the messages.
        judged: Complexity and confidence, both 0..1, as a classifying model judged them; None if none was asked.
        code_share: Share of the text outside system messages that looks like a program, 0..1.
        diff_share: Share of it that belongs to a diff, 0..1.
        modalities: Kinds of content, always including ``text``, sorted.
        language: Language of the newest user message (ISO 639-1), empty if it cannot be guessed.
        question: Characters in the newest user message.
    """

    id: str = ""
    kind: str = StepKind.TRANSFORM.value
    task: str = "chat"
    effects: tuple[Effect, ...] = ()
    tools: int = 0
    only_reads: bool = False
    done: Effect | None = None
    reversible: bool = True
    sensitivity: str = "internal"
    recalled: Trust | None = None
    dependents: int = 0
    risk: Risk | None = None
    tier: Tier | None = None
    max_tier: Tier | None = None
    model: str | None = None
    structured: bool = False
    max_output: int = _ROOM
    latency: str = "interactive"
    deadline: float | None = None
    user_class: str = "default"
    tags: tuple[str, ...] = ()
    evidence: tuple[Finding, ...] = ()

    messages: int = 0
    system_messages: int = 0
    user_messages: int = 0
    assistant_messages: int = 0
    tool_messages: int = 0
    tool_calls: int = 0
    tool_results: int = 0
    tool_errors: int = 0
    tracebacks: int = 0
    tests_passed: int = 0
    tests_failed: int = 0
    last_failed: bool = False
    step: int = 1
    characters: int = 0
    tokens: int = 0
    signals: tuple[float, ...] = ()
    judged: tuple[float, float] | None = None
    code_share: float = 0.0
    diff_share: float = 0.0
    modalities: tuple[str, ...] = ("text",)
    language: str = ""
    question: int = 0


def extract(request: RouteRequest, signals: tuple[float, ...] = ()) -> Features:
    """Reduce a request to its features.

    Args:
        request: The step. Its messages are measured, never obeyed: nothing in them reaches a declared feature.
        signals: What a trained scorer measured in the messages.

    Raises:
        ConfigError: A message is malformed; the error names it.
    """
    counted, effects = measure(request.messages), tuple(sorted(set(request.effects), key=lambda effect: effect.rank))
    done = _worst_called(counted.called, request.called, declares=bool(effects) and not request.called)
    if not effects and (request.tools or (counted.called - set(request.called) and _says_nothing(request))):
        effects = (Effect.DESTRUCTIVE,)
    work = counted.work or 1
    return Features(
        id=request.id,
        kind=kind_of(request.kind, effects, request.tier, only_reads=request.only_reads).value,
        task=request.task,
        effects=effects,
        tools=max(request.tools, len(effects)),
        only_reads=request.only_reads,
        done=done,
        reversible=request.reversible,
        sensitivity=request.sensitivity,
        recalled=request.recalled,
        dependents=request.dependents,
        risk=request.risk,
        tier=request.tier,
        max_tier=request.max_tier,
        model=request.model,
        structured=request.structured,
        max_output=request.max_output or _ROOM,
        latency=request.latency,
        deadline=request.deadline,
        user_class=request.user_class,
        tags=tuple(sorted(set(request.tags))),
        evidence=(*request.evidence, *(stalled(request.messages) if counted.results else ())),
        messages=sum(counted.roles.values()),
        system_messages=counted.roles["system"],
        user_messages=counted.roles["user"],
        assistant_messages=counted.roles["assistant"],
        tool_messages=counted.roles["tool"],
        tool_calls=counted.calls,
        tool_results=counted.results,
        tool_errors=counted.errors,
        tracebacks=counted.tracebacks,
        tests_passed=counted.tests_passed,
        tests_failed=counted.tests_failed,
        last_failed=counted.last_error,
        step=counted.roles["assistant"] + 1,
        characters=counted.characters,
        tokens=int(counted.tokens + 0.999),
        signals=signals,
        code_share=round(counted.code / work, 4),
        diff_share=round(counted.diff / work, 4),
        modalities=tuple(sorted({"text", *counted.modalities})),
        language=counted.language,
        question=len(counted.question),
    )


def kind_of(
    declared: StepKind | None, effects: Collection[Effect], tier: Tier | None, *, only_reads: bool = False
) -> StepKind:
    """Return the kind of a step: as declared, otherwise as derived from its effects.

    Without effects it is ``transform`` (``decide`` if the frontier tier is requested), with tools that only read
    ``gather``, and otherwise ``act``.

    Args:
        declared: The kind that the caller declares.
        effects: Effects of the bound tools; a tool without a declared effect has ``destructive``.
        tier: The requested tier.
        only_reads: The tools with the effect ``external`` declare that they only read.
    """
    if declared is not None:
        return declared
    if not effects:
        return StepKind.DECIDE if tier is Tier.FRONTIER else StepKind.TRANSFORM
    reading = {Effect.READ, Effect.EXTERNAL} if only_reads else {Effect.READ}
    return StepKind.GATHER if reading.issuperset(effects) else StepKind.ACT


def _worst_called(names: Iterable[str], known: Mapping[str, Effect], *, declares: bool) -> Effect | None:
    """Return the worst effect of the tools called in a transcript; None if there is none.

    Args:
        names: Names of the tools that were called.
        known: Name -> effect, as far as it is known.
        declares: The step declares effects, but none by name. A call without a known effect is then assumed to be to
            one of the declared tools and is left out; otherwise it is undeclared and counts as ``destructive``.
    """
    found = [known.get(name, None if declares else Effect.DESTRUCTIVE) for name in names]
    return max((effect for effect in found if effect is not None), default=None)


def _says_nothing(request: RouteRequest) -> bool:
    """Whether a request declares neither a kind nor tools or effects; its tools are then inferred from its messages."""
    return request.kind is None and not {"effects", "tools"} & request.model_fields_set


_FIELDS: Final = tuple(field.name for field in fields(Features))
_VALUES: Final = attrgetter(*_FIELDS)
_KNOWN: Final = frozenset(_FIELDS)
_EMPTY: Final = Features()
_MEASURED: Final = frozenset(name for name in _FIELDS if getattr(_EMPTY, name) is not None) - _ADDED


def features_dict(features: Features) -> dict[str, Any]:
    """Convert features to plain JSON values, in the order of the fields."""
    made: dict[str, Any] = json.loads(features_json(features))
    return made


def features_json(features: Features) -> str:
    """Return the result of `features_dict` as a JSON string."""
    # The enums are `StrEnum`s, which JSON writes as strings.
    return json.dumps(dict(zip(_FIELDS, _VALUES(features), strict=True)))


def is_record(recorded: object) -> bool:
    """Whether this is a complete record that `features_dict` wrote, in this version or an older one."""
    return isinstance(recorded, dict) and _MEASURED <= set(recorded) <= _KNOWN | _RETIRED


def from_dict(recorded: Mapping[str, Any]) -> Features:
    """Restore features from what `features_dict` wrote; a missing feature takes its default.

    The kind of a step that did not declare one is derived from its tools and effects, as in `extract`.

    Raises:
        ConfigError: A feature is unknown or its value does not fit.
    """
    if unknown := sorted(set(recorded) - _KNOWN - _RETIRED):
        raise ConfigError(f"unknown feature '{unknown[0]}'; this version knows {', '.join(sorted(_KNOWN))}")
    read = {name: _read(name, value) for name, value in recorded.items() if name not in _RETIRED}
    if read.get("kind", _UNDECLARED) == _UNDECLARED:
        only_reads = read.get("only_reads", False)
        read["kind"] = kind_of(None, read.get("effects", ()), read.get("tier"), only_reads=only_reads).value
    return Features(**read)


_NOUNS: Final[dict[type, str]] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
# Features that may be None, each with a value of its type otherwise.
_OPTIONAL: Final[Mapping[str, Any]] = {
    "deadline": 0.0, "done": "", "judged": (), "max_tier": "", "model": "", "recalled": "", "risk": "", "tier": "",
}  # fmt: skip
_Word = TypeVar("_Word", Effect, Risk, Tier, Trust)
_WORDS: Final[Mapping[str, Any]] = {"done": Effect, "max_tier": Tier, "recalled": Trust, "risk": Risk, "tier": Tier}


def _read(name: str, value: Any) -> Any:
    if name in _OPTIONAL and value is None:
        return None
    if name in _WORDS:
        return _word(_WORDS[name], name, value)
    if name == "evidence":
        return _findings(value)
    default = _OPTIONAL.get(name, getattr(_EMPTY, name))
    if name in ("judged", "signals"):
        if not isinstance(value, list | tuple) or not all(isinstance(item, int | float) for item in value):
            raise ConfigError(f"feature '{name}' must be a list of numbers")
        if name == "judged" and (len(value) != 2 or not all(0 <= item <= 1 for item in value)):
            raise ConfigError("feature 'judged' must be a complexity and a confidence, both from 0 to 1")
        return tuple(float(item) for item in value)
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"feature '{name}' must be a list of texts")
        return tuple(_word(Effect, name, item) for item in value) if name == "effects" else tuple(value)
    fits = isinstance(value, int | float) if isinstance(default, float) else type(value) is type(default)
    if not fits:
        raise ConfigError(f"feature '{name}' is {value!r}; it must be {_NOUNS[type(default)]}")
    return value


def _word(kind: type[_Word], name: str, value: Any) -> _Word:
    try:
        return kind(value)
    except ValueError:
        words = ", ".join(member.value for member in kind)
        raise ConfigError(f"feature '{name}' is {value!r}; it must be one of {words}") from None


def _findings(value: Any) -> tuple[Finding, ...]:
    """Restore recorded findings: id, reason, and the least tier or null."""
    if not isinstance(value, list | tuple) or not all(map(_is_finding, value)):
        raise ConfigError("feature 'evidence' must be a list of [id, reason, least tier or null]")
    return tuple(Finding(row[0], row[1], None if row[2] is None else _word(Tier, "evidence", row[2])) for row in value)


def _is_finding(row: Any) -> bool:
    fits = isinstance(row, list | tuple) and len(row) == 3 and all(isinstance(text, str) for text in row[:2])
    return fits and is_evidence(row[0])
