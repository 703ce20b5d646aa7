"""`Features`: the facts a decision is made from, declared and measured, small enough to record with every call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final, TypeVar

from ..configs.errors import ConfigError
from ..configs.words import Effect, Risk, Tier
from .language import language
from .messages import measure
from .request import RouteRequest

__all__ = ["Features", "extract", "features_dict", "features_json", "from_dict"]

_UNDECLARED: Final = "undeclared"
_QUESTION_HEAD: Final = 1_500
_QUESTION_TAIL: Final = 500


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Words of a question that ask for thought, and words that ask for a mechanical change. English only: other languages
# have neither, and are judged by structure alone.
_THOUGHT: Final = _set(
    "why prove proof derive design architect architecture analyse analyze debug diagnose optimise optimize refactor"
    " trade-off trade-offs tradeoff tradeoffs strategy plan evaluate assess justify investigate root-cause reason"
    " decide recommend migrate concurrency deadlock race invariant complexity vulnerability theorem hypothesis"
)
_CHORES: Final = _set(
    "translate summarise summarize list format reformat extract classify label rewrite convert sort count copy"
    " rename spell capitalise capitalize transcribe"
)
_EDGES: Final = ".,;:!?\"'()[]{}<>`*"


@dataclass(frozen=True, slots=True)
class Features:
    """What routing knows of one step. The first group is declared and can be relied upon, the rest is measured.

    Attributes:
        id: Of the request.
        kind: A `StepKind`, or ``undeclared``.
        task: What is done.
        effects: Effects of the bound tools, worst last; ``destructive`` where tools are bound that declare none.
        tools: Tools bound.
        reversible: Whether what the step does can be taken back.
        sensitivity: Of the data in view.
        dependents: Later steps that build on this one.
        risk: The caller's own opinion.
        tier: The tier asked for.
        model: The model asked for.
        structured: The answer must fit a schema.
        max_output: Tokens of output to leave room for.
        latency: ``batch``, ``interactive`` or ``critical``.
        deadline: Seconds the step may take, None where only the policy bounds it.
        user_class: For per-class limits.
        tags: Labels, sorted.
        messages: Messages in the conversation.
        system_messages: Those of the system.
        user_messages: Those of the user.
        assistant_messages: Those of the model.
        tool_messages: Those of tools.
        tool_calls: Tool calls the model asked for.
        tool_results: Tool results.
        tool_errors: Tool results that tell of an error.
        tracebacks: Tool results that hold a stack trace.
        tests_passed: Tool results whose test summary names no failure.
        tests_failed: Tool results whose test summary names a failure.
        last_failed: The newest tool result tells of an error.
        step: Which step of its conversation this is, from 1.
        characters: Text in all messages.
        tokens: Estimated input tokens.
        signals: What a trained scorer read off the messages.
        judged: Complexity and confidence, both 0..1, as a model that was asked put them; None where none was.
        code_share: Share of the text outside system messages that looks like a program, 0..1.
        diff_share: Share of it that belongs to a diff, 0..1.
        modalities: Kinds of content, ``text`` always among them, sorted.
        language: Of the newest user message (ISO 639-1), empty where nothing tells.
        question: Characters of the newest user message.
        thought: Words in it that ask for thought.
        chores: Words in it that ask for a mechanical change.
    """

    id: str = ""
    kind: str = _UNDECLARED
    task: str = "chat"
    effects: tuple[Effect, ...] = ()
    tools: int = 0
    reversible: bool = True
    sensitivity: str = "internal"
    dependents: int = 0
    risk: Risk | None = None
    tier: Tier | None = None
    model: str | None = None
    structured: bool = False
    max_output: int = 1024
    latency: str = "interactive"
    deadline: float | None = None
    user_class: str = "default"
    tags: tuple[str, ...] = ()

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
    thought: int = 0
    chores: int = 0

    @property
    def worst_effect(self) -> Effect | None:
        """The worst its tools can do, None where none are bound."""
        return self.effects[-1] if self.effects else None


def extract(request: RouteRequest, signals: tuple[float, ...] = ()) -> Features:
    """Reduce a request to its features.

    Args:
        request: The step. Its messages are measured, never obeyed: nothing in them reaches a declared feature.
        signals: What a trained scorer reads off the messages.

    Raises:
        ConfigError: A message is malformed; the error names it.
    """
    counted = measure(request.messages)
    effects = tuple(sorted(set(request.effects), key=lambda effect: effect.rank))
    if request.tools and not effects:
        effects = (Effect.DESTRUCTIVE,)
    question = counted.question
    words = _words(question)
    work = counted.work or 1
    return Features(
        id=request.id,
        kind=_UNDECLARED if request.kind is None else request.kind.value,
        task=request.task,
        effects=effects,
        tools=max(request.tools, len(effects)),
        reversible=request.reversible,
        sensitivity=request.sensitivity,
        dependents=request.dependents,
        risk=request.risk,
        tier=request.tier,
        model=request.model,
        structured=request.structured,
        max_output=request.max_output,
        latency=request.latency,
        deadline=request.deadline,
        user_class=request.user_class,
        tags=tuple(sorted(set(request.tags))),
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
        language=language(question),
        question=len(question),
        thought=len(words & _THOUGHT),
        chores=len(words & _CHORES),
    )


def _words(question: str) -> set[str]:
    """The words at both ends of a question; what is asked stands there, what it is asked about between."""
    if len(question) > _QUESTION_HEAD + _QUESTION_TAIL:
        question = f"{question[:_QUESTION_HEAD]} {question[-_QUESTION_TAIL:]}"
    return {word.strip(_EDGES) for word in question.lower().split()}


_FIELDS: Final = tuple(field.name for field in fields(Features))
_VALUES: Final = attrgetter(*_FIELDS)
# Those that hold words of the house or several values; the others are JSON as they are.
_WORDED: Final = ("effects", "judged", "modalities", "risk", "signals", "tags", "tier")
_KNOWN: Final = frozenset(_FIELDS)
_EMPTY: Final = Features()


def features_dict(features: Features) -> dict[str, Any]:
    """Write features as plain JSON values, in the order of the fields."""
    made = dict(zip(_FIELDS, _VALUES(features), strict=True))
    for name in _WORDED:
        made[name] = _plain(made[name])
    return made


def features_json(features: Features) -> str:
    """Write what `features_dict` gives as JSON."""
    # The words of the house are texts to JSON already.
    return json.dumps(dict(zip(_FIELDS, _VALUES(features), strict=True)))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Effect | Risk | Tier) else value


def from_dict(recorded: Mapping[str, Any]) -> Features:
    """Read features back from what `features_dict` wrote; a feature that is absent takes its default.

    Raises:
        ConfigError: A feature is unknown or its value does not fit.
    """
    if unknown := sorted(set(recorded) - _KNOWN):
        raise ConfigError(f"unknown feature '{unknown[0]}'; this version knows {', '.join(sorted(_KNOWN))}")
    return Features(**{name: _read(name, value) for name, value in recorded.items()})


_NOUNS: Final[dict[type, str]] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
# What may be absent, with a value of the kind it has where it is not.
_OPTIONAL: Final[Mapping[str, Any]] = {"risk": "", "tier": "", "model": "", "deadline": 0.0, "judged": ()}
_Word = TypeVar("_Word", Effect, Risk, Tier)


def _read(name: str, value: Any) -> Any:
    if name in _OPTIONAL and value is None:
        return None
    if name == "risk":
        return _word(Risk, name, value)
    if name == "tier":
        return _word(Tier, name, value)
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
