"""Convert typed questions to the JSON schema of their answers and back: all backends that answer them read this schema.

Each question is a property with the labels to choose from. The rest of LangChain's question is stored in an annotation,
which JSON schema lets applications define (2020-12, section 6.5).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from ...configs.errors import ConfigError

if TYPE_CHECKING:
    from langchain_core.decisions import Question

__all__ = ["NO", "YES", "Asked", "questions_of", "schema_of"]

Kind = Literal["noul", "choice", "score"]
YES, NO = "yes", "no"
_NOTE: Final = "x-decision"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Asked:
    """One question.

    Attributes:
        kind: ``noul`` for yes or no, ``choice`` for one of some labels, ``score`` for a level of a rubric.
        instructions: The question itself.
        labels: The possible answers: `NO` and `YES` for a noul, the levels' numbers for a score.
        meanings: Label -> its meaning, if given.
        boolean: Whether the answer's field is a boolean.
    """

    kind: Kind
    instructions: str
    labels: tuple[str, ...]
    meanings: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    boolean: bool = False


def schema_of(questions: Mapping[str, Question]) -> dict[str, Any]:
    """Return the JSON schema of the answers to some questions.

    Args:
        questions: LangChain's questions by name.

    Raises:
        ConfigError: There is no question, or one asks for a place in a picture.
    """
    if not questions:
        raise ConfigError("there is no question to answer")
    return {
        "type": "object",
        "properties": {name: _property(name, question) for name, question in questions.items()},
        "required": list(questions),
        "additionalProperties": False,
    }


def questions_of(schema: Mapping[str, Any]) -> dict[str, Asked] | None:
    """Read the questions from the schema of an answer; return None if a property is not a question, such as free text.

    Args:
        schema: From `schema_of`, or of any structured answer whose fields are choices and booleans.
    """
    found: dict[str, Asked] = {}
    for name, spec in schema.get("properties", {}).items():
        note, said = spec.get(_NOTE, {}), spec.get("description") or f"What is {name}?"
        if spec.get("type") == "boolean":
            found[name] = Asked("noul", said, (NO, YES), boolean=True)
            continue
        labels = spec.get("enum", [spec["const"]] if "const" in spec else [])
        if not labels or not all(isinstance(label, str) for label in labels):
            return None
        found[name] = Asked(note.get("type", "choice"), said, tuple(labels), note.get("meanings", _NOTHING))
    return found or None


def _property(name: str, question: Question) -> dict[str, Any]:
    if question.type == "box":
        raise ConfigError(
            f"question {name!r} asks for a place in a picture; a choice, a score or a yes or no can be asked"
        )
    if question.type == "noul":
        told = question.criteria.model_dump(exclude_none=True) if question.criteria else {}
        meanings = {label: _text(told[key]) for label, key in ((NO, "false"), (YES, "true")) if key in told}
        labels = [NO, YES]
    elif question.type == "choice":
        labels = list(question.criteria)
        meanings = {label: _text(said) for label, said in question.criteria.items() if said is not None}
    else:
        labels = [str(level) for level in range(len(question.criteria))]
        meanings = {label: _text(said) for label, said in zip(labels, question.criteria, strict=True)}
    return {
        "type": "string",
        "enum": labels,
        "description": _text(question.instructions),
        _NOTE: {"type": question.type, "meanings": meanings},
    }


def _text(said: Any) -> str:
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
