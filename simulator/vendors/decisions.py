"""Wire formats for typed questions: OpenAI's Decisions API, and System One.

Shapes from the SDK's types (`openai.types.decision`) and docs.litellm.ai/docs/decisions/systemone_format. A rule's
answer, or the default brain's, is an object: question -> a label, or label -> probability; a plain label gets 0.9.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ..base import BadRequest, Reply, encode
from ..request import Endpoint, Json, Message, Request
from .openai import OpenAIWire

__all__ = ["DecisionsWire"]

_SURE: Final = 0.9
_NO_YES: Final = ("no", "yes")


class DecisionsWire(OpenAIWire):
    """Both formats: OpenAI lists its questions, System One names them."""

    def parse(self, vendor: str, endpoint: Endpoint, model: str, body: Json, *, stream: bool) -> Request:
        """Read a request."""
        if not isinstance(body.get("model"), str):
            raise BadRequest("you must provide a model parameter")
        questions = body.get("questions")
        if not isinstance(questions, list | dict) or not questions:
            raise BadRequest("Invalid 'questions': expected at least one question.")
        state = body.get("input") if isinstance(questions, list) else body.get("state")
        if not state:
            raise BadRequest("there is nothing to decide about")
        labels = _labels(body)
        schema = {
            "type": "object",
            "properties": {name: {"type": "string", "enum": list(known)} for name, known in labels.items()},
            "required": list(labels),
        }
        return Request(
            vendor=vendor,
            endpoint=endpoint,
            model=body["model"],
            messages=(Message("user", state if isinstance(state, str) else json.dumps(state, ensure_ascii=False)),),
            schema=schema,
            tool_chars=len(encode(questions)),
            body=body,
        )

    def body(self, reply: Reply) -> Json:
        """Write the answers in the format of the request."""
        said = json.loads(reply.text)
        asked = reply.request.body
        named = _by_name(asked)
        answers = {
            name: _answer(named[name], _shares(said.get(name), known), asked) for name, known in _labels(asked).items()
        }
        counts = reply.counts
        usage = {"input_tokens": counts.input, "output_tokens": 0, "total_tokens": counts.input}
        if isinstance(asked["questions"], dict):
            return {"model": reply.model, "answers": answers, "usage": usage}
        listed = [{"name": name, **answer} for name, answer in answers.items()]
        return {"model": reply.model, "answers": listed, "usage": usage}


def _by_name(body: Mapping[str, Any]) -> dict[str, Json]:
    questions = body["questions"]
    return dict(questions) if isinstance(questions, dict) else {one["name"]: one for one in questions}


def _labels(body: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return question -> the allowed answers."""
    found: dict[str, tuple[str, ...]] = {}
    for name, one in _by_name(body).items():
        if one["type"] in ("noul", "predicate"):
            found[name] = _NO_YES
        elif one["type"] == "score":
            found[name] = tuple(str(level) for level in range(len(one.get("criteria") or one["levels"])))
        elif one["type"] == "choice":
            options = one.get("choices")
            found[name] = tuple(one["criteria"]) if options is None else tuple(str(each["value"]) for each in options)
        else:
            raise BadRequest(f"unknown question type {one['type']!r}")
    return found


def _shares(said: Any, labels: tuple[str, ...]) -> dict[str, float]:
    if isinstance(said, Mapping):
        return {label: float(said.get(label, 0.0)) for label in labels}
    chosen = said if said in labels else labels[0]
    rest = (1 - _SURE) / (len(labels) - 1) if len(labels) > 1 else 0.0
    return {label: _SURE if label == chosen else rest for label in labels}


def _answer(asked: Json, shares: dict[str, float], body: Mapping[str, Any]) -> Json:
    best = max(shares, key=lambda label: shares[label])
    openai = isinstance(body["questions"], list)
    if asked["type"] == "predicate":
        return {"type": "predicate", "probability": shares["yes"]}
    if asked["type"] == "noul":
        return {"type": "noul", "noul": shares["yes"]}
    told: Json = {"type": asked["type"], "confidence": shares[best], "probabilities": shares}
    if asked["type"] == "choice":
        told["choice"] = best
        if openai:
            told["probabilities"] = [{"value": label, "probability": share} for label, share in shares.items()]
        return told
    told["score"] = sum(int(label) * share for label, share in shares.items())
    if openai:
        levels = asked["levels"]
        told["probabilities"] = [
            {"value": int(label), "label": levels[int(label)]["label"], "probability": share}
            for label, share in shares.items()
        ]
        return told
    return {**told, "legend": {str(level): said for level, said in enumerate(asked["criteria"])}}
