"""The two wire formats for typed questions: OpenAI's Decisions API, and System One.

OpenAI's is described in the SDK's types (`openai.types.decision`). System One (POST ``/v1/systemone``) is implemented
by Ollama, llama.cpp and other local servers, and by several hosted services; its questions and answers have the shape
of `langchain_core.decisions`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from .questions import NO, YES, Asked

__all__ = ["DecisionsWire", "SystemOneWire", "Wire"]

Probabilities = dict[str, float]


class Wire(ABC):
    """One format of requests and answers.

    Attributes:
        path: Path of the endpoint, relative to the base URL.
    """

    path: ClassVar[str]

    @abstractmethod
    def body(self, model: str, state: str, questions: Mapping[str, Asked]) -> dict[str, Any]:
        """Write a request."""

    @abstractmethod
    def answers(self, body: Mapping[str, Any], questions: Mapping[str, Asked]) -> dict[str, Probabilities]:
        """Return the probability of each label, by question; unanswered questions are left out.

        Raises:
            KeyError, TypeError, ValueError: The body is not an answer in this format.
        """


class DecisionsWire(Wire):
    """OpenAI's Decisions API."""

    path = "/decisions"

    def body(self, model: str, state: str, questions: Mapping[str, Asked]) -> dict[str, Any]:
        """Write a request."""
        return {
            "model": model,
            "input": state,
            "questions": [_decision(name, asked) for name, asked in questions.items()],
        }

    def answers(self, body: Mapping[str, Any], questions: Mapping[str, Asked]) -> dict[str, Probabilities]:
        """Read the probabilities."""
        found: dict[str, Probabilities] = {}
        for answer in body["answers"]:
            name = answer.get("name")
            if name not in questions or answer["type"] == "refusal":
                continue
            if answer["type"] == "predicate":
                found[name] = _yes(answer["probability"])
            else:
                found[name] = {str(one["value"]): float(one["probability"]) for one in answer["probabilities"]}
        return found


class SystemOneWire(Wire):
    """System One."""

    path = "/systemone"

    def body(self, model: str, state: str, questions: Mapping[str, Asked]) -> dict[str, Any]:
        """Write a request."""
        return {"model": model, "state": state, "questions": {n: _systemone(asked) for n, asked in questions.items()}}

    def answers(self, body: Mapping[str, Any], questions: Mapping[str, Asked]) -> dict[str, Probabilities]:
        """Read the probabilities."""
        found: dict[str, Probabilities] = {}
        for name, answer in body["answers"].items():
            if name not in questions or answer["type"] == "refusal":
                continue
            if answer["type"] == "noul":
                found[name] = _yes(answer["noul"])
            else:
                found[name] = {str(label): float(share) for label, share in answer["probabilities"].items()}
        return found


def _yes(probability: Any) -> Probabilities:
    return {NO: 1 - float(probability), YES: float(probability)}


def _decision(name: str, asked: Asked) -> dict[str, Any]:
    said: dict[str, Any] = {"name": name, "instructions": asked.instructions}
    if asked.kind == "noul":
        # A predicate has no fields for the meanings of yes and no.
        meant = "".join(f" {label.capitalize()}: {meaning}" for label, meaning in asked.meanings.items())
        return {**said, "type": "predicate", "instructions": asked.instructions + meant}
    if asked.kind == "score":
        return {**said, "type": "score", "levels": [{"label": asked.meanings[label]} for label in asked.labels]}
    return {**said, "type": "choice", "choices": [_option(label, asked) for label in asked.labels]}


def _option(label: str, asked: Asked) -> dict[str, str]:
    meaning = asked.meanings.get(label)
    return {"value": label} if meaning is None else {"value": label, "description": meaning}


def _systemone(asked: Asked) -> dict[str, Any]:
    said: dict[str, Any] = {"type": asked.kind, "instructions": asked.instructions}
    if asked.kind == "noul":
        told = {key: asked.meanings[label] for label, key in ((YES, "true"), (NO, "false")) if label in asked.meanings}
        return {**said, "criteria": told} if told else said
    if asked.kind == "score":
        return {**said, "criteria": [asked.meanings[label] for label in asked.labels]}
    return {**said, "criteria": {label: asked.meanings.get(label) for label in asked.labels}}
