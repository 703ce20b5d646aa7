"""What a call may ask for beside its messages, and how one vendor's client is told: tables, read by `Backend.said`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal

__all__ = ["EFFORTS", "NOTHING", "SAMPLING", "Choice", "Said", "Vocabulary", "Wanted", "unforced", "unrenamed"]

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""How much a model is to think before it answers, least first."""
SAMPLING: Final = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty")
_NO_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType({})
_NO_TEXT: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tools the model may or must call.

    Attributes:
        mode: ``auto`` leaves it to the model, ``none`` forbids, ``any`` and ``tool`` force.
        name: The tool that is forced, with ``tool``.
    """

    mode: Literal["auto", "none", "any", "tool"]
    name: str = ""

    @property
    def forced(self) -> bool:
        """Whether the model must call a tool."""
        return self.mode in ("any", "tool")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call asks for beside its messages.

    Attributes:
        options: By their standard names, and what is some vendor's own.
        choice: Of tools; None where nobody said.
        parallel: Whether several tools may be called at once; None where nobody said.
        strict: Tools are called by their schemas to the letter.
        answer: What is forced is the answer's own form, which is checked when it comes.
        tools: Tools are bound.
        max_output: Tokens the answer may have; None for no limit.
        settings: What the client of the model was built with.
    """

    options: Mapping[str, Any] = field(default_factory=lambda: _NO_OPTIONS)
    choice: Choice | None = None
    parallel: bool | None = None
    strict: bool | None = None
    answer: bool = False
    tools: bool = False
    max_output: int | None = None
    settings: Mapping[str, Any] = field(default_factory=lambda: _NO_OPTIONS)


@dataclass(frozen=True, slots=True)
class Said:
    """The same as one model's client is told.

    Attributes:
        options: Keyword arguments of the call.
        choice: Of tools.
        parallel: Whether several tools may be called at once.
        strict: As asked.
        notes: Option -> what became of it, where it could not be passed on as it is.
        unfit: Why this model cannot be asked, where something it lacks cannot be left out; empty where it can.
    """

    options: Mapping[str, Any] = field(default_factory=lambda: _NO_OPTIONS)
    choice: Choice | None = None
    parallel: bool | None = None
    strict: bool | None = None
    notes: Mapping[str, str] = field(default_factory=lambda: _NO_TEXT)
    unfit: str = ""

    @property
    def told(self) -> list[str]:
        """The notes, a line each."""
        return [f"{option} {note}" for option, note in self.notes.items()]


NOTHING: Final = Said()
"""What is said where nothing was asked for."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the API and client of one backend take.

    Attributes:
        names: Standard name of an option -> the client's keyword for it.
        own: Options of the vendor's own, passed on as they are.
        stops: How many stop sequences it takes; 0 for none.
        blank_stops: Whether a stop sequence may be nothing but white space.
        hottest: The highest temperature.
        json_object: Whether ``response_format`` may ask for any JSON object.
        strict: Whether it holds the arguments of tools to their schemas.
        parallel: Whether it can be told to call one tool at a time.
        forbids: Whether it can be told to call none of the tools it is shown.
    """

    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    own: frozenset[str] = frozenset()
    stops: int = 0
    blank_stops: bool = True
    hottest: float = 2.0
    json_object: bool = True
    strict: bool = False
    parallel: bool = False
    forbids: bool = True

    def translate(self, wanted: Wanted, missing: Mapping[str, str], efforts: Sequence[str] | None = None) -> Said:
        """Say what is wanted in the client's words.

        Args:
            wanted: What the call asks for.
            missing: Option -> why this very model does not take it.
            efforts: The levels of `EFFORTS` this model knows; None where nobody knows.
        """
        notes = {name: why for name, why in missing.items() if name in wanted.options}
        said: dict[str, Any] = {}
        unfit = ""
        for name, value in wanted.options.items():
            if name in notes:
                continue
            if name == "stop":
                value = self._stops(value, notes)
                if not value:
                    continue
            elif name == "temperature" and value > self.hottest:
                notes[name] = f"{value:g} lowered to {self.hottest:g}, the highest it takes"
                value = self.hottest
            elif name == "reasoning_effort" and efforts is not None:
                asked, value = value, _nearest(value, efforts)
                if value is None:
                    notes[name] = "left out: it has no such option"
                    continue
                if value != asked:
                    notes[name] = f"{asked} taken to {value}, the nearest it knows"
            if name in self.names:
                said[self.names[name]] = value
            elif name in self.own:
                said[name] = value
            else:
                notes[name] = "left out: it has no such option"
        shape = wanted.options.get("response_format")
        if shape is not None and ("response_format" in notes or not self._shapes(shape)):
            unfit = "it cannot be held to the response_format"
        if wanted.strict and not self.strict:
            unfit = "it cannot be held to the schemas of tools (strict)"
        parallel = wanted.parallel if wanted.tools else None
        if parallel is not None and not self.parallel:
            notes["parallel_tool_calls"], parallel = "left out: it has no such option", None
        choice = wanted.choice if wanted.tools else None
        if choice is not None and choice.mode == "none" and not self.forbids:
            unfit = "it cannot be told to call no tool (tool_choice none)"
        return Said(said, choice, parallel, wanted.strict, notes, unfit)

    def _stops(self, stops: list[str], notes: dict[str, str]) -> list[str]:
        taken = [stop for stop in stops if self.blank_stops or stop.strip()]
        if len(taken) < len(stops):
            notes["stop"] = "left out where blank: it takes none of white space alone"
        if len(taken) > self.stops:
            taken = taken[: self.stops]
            notes["stop"] = (
                f"left out after the first {self.stops}" if self.stops else "left out: it has no such option"
            )
        return taken

    def _shapes(self, shape: Any) -> bool:
        return self.json_object or not isinstance(shape, Mapping) or shape.get("type") != "json_object"


def unrenamed(*names: str, **others: str) -> Mapping[str, str]:
    """Options that the client calls by their standard names, and ``others`` by the client's keywords for them."""
    return MappingProxyType({**{name: name for name in names}, **others})


def unforced(said: Said, wanted: Wanted) -> Said:
    """Say the same to a model that cannot be made to call a tool, since it thinks first.

    Args:
        said: With a choice that forces a tool.
        wanted: What the call asks for.
    """
    if wanted.answer:
        note = "asked for but not forced: it thinks first, and the reply is checked"
        return replace(said, choice=Choice("auto"), notes={**said.notes, "tool_choice": note})
    return replace(said, unfit="it cannot be made to call a tool (tool_choice), since it thinks first")


def _nearest(wanted: str, levels: Sequence[str]) -> str | None:
    """The level of effort that is nearest to the one wanted, the lower of two; None where there is none."""
    known = sorted(EFFORTS.index(level) for level in levels if level in EFFORTS)
    if not known or (wanted == "none" and "none" not in levels):
        return None
    at = EFFORTS.index(wanted)
    return EFFORTS[min(known, key=lambda index: (abs(index - at), index))]
