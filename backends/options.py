"""The options of a call besides its messages, and tables by which `Backend.said` translates them for a client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal

__all__ = ["EFFORTS", "NOTHING", "SAMPLING", "Choice", "Said", "Vocabulary", "Wanted", "unforced", "unrenamed"]

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Levels of how much a model thinks before it answers, lowest first."""
SAMPLING: Final = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty")
_NO_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType({})
_NO_TEXT: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tools the model may or must call.

    Attributes:
        mode: ``auto`` leaves it to the model, ``none`` forbids calls, ``any`` and ``tool`` force one.
        name: The forced tool, with ``tool``.
    """

    mode: Literal["auto", "none", "any", "tool"]
    name: str = ""

    @property
    def forced(self) -> bool:
        """Whether the model must call a tool."""
        return self.mode in ("any", "tool")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call asks for besides its messages.

    Attributes:
        options: Options by their standard names, and vendor-specific ones.
        choice: The tool choice; None if not specified.
        parallel: Whether several tools may be called at once; None if not specified.
        strict: Whether tool arguments must match their schemas exactly.
        answer: Whether the forced tool is the answer's own schema, by which the reply is checked anyway.
        tools: Whether tools are bound.
        max_output: Maximum tokens of the answer; None for no limit.
        settings: The arguments the model's client was built with.
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
    """What a call asks for, translated for one model's client.

    Attributes:
        options: Keyword arguments of the call.
        choice: The tool choice.
        parallel: Whether several tools may be called at once.
        strict: As in `Wanted`.
        notes: Option -> how it was changed or why it was left out, if it could not be passed on unchanged.
        unfit: Why this model cannot take the call, if it lacks something essential; empty if it can.
    """

    options: Mapping[str, Any] = field(default_factory=lambda: _NO_OPTIONS)
    choice: Choice | None = None
    parallel: bool | None = None
    strict: bool | None = None
    notes: Mapping[str, str] = field(default_factory=lambda: _NO_TEXT)
    unfit: str = ""

    @property
    def told(self) -> list[str]:
        """The notes, one line each."""
        return [f"{option} {note}" for option, note in self.notes.items()]


NOTHING: Final = Said()
"""The translation of a call that asks for nothing."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The options that the API and client of one backend accept.

    Attributes:
        names: Standard name of an option -> the client's keyword for it.
        own: The vendor's own options, passed on unchanged.
        stops: Maximum number of stop sequences; 0 for none.
        blank_stops: Whether a stop sequence may consist of white space only.
        hottest: The highest temperature.
        json_object: Whether ``response_format`` may ask for any JSON object.
        strict: Whether it can enforce the schemas of tool arguments.
        parallel: Whether it can be told to call one tool at a time.
        forbids: Whether it can be told to call none of the bound tools.
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
        """Translate what a call asks for into the client's options.

        Args:
            wanted: What the call asks for.
            missing: Option -> why this particular model does not accept it.
            efforts: The levels of `EFFORTS` this model supports; None if unknown.
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
    """Return standard name -> keyword: ``names`` unchanged, ``others`` with the client's keywords for them."""
    return MappingProxyType({**{name: name for name in names}, **others})


def unforced(said: Said, wanted: Wanted) -> Said:
    """Replace a forced tool choice for a model that cannot be forced to call a tool because it thinks first.

    Args:
        said: A translation whose choice forces a tool.
        wanted: What the call asks for.
    """
    if wanted.answer:
        note = "asked for but not forced: it thinks first, and the reply is checked"
        return replace(said, choice=Choice("auto"), notes={**said.notes, "tool_choice": note})
    return replace(said, unfit="it cannot be made to call a tool (tool_choice), since it thinks first")


def _nearest(wanted: str, levels: Sequence[str]) -> str | None:
    """Return the effort level nearest to the wanted one, the lower one on a tie; None if there is none."""
    known = sorted(EFFORTS.index(level) for level in levels if level in EFFORTS)
    if not known or (wanted == "none" and "none" not in levels):
        return None
    at = EFFORTS.index(wanted)
    return EFFORTS[min(known, key=lambda index: (abs(index - at), index))]
