"""`RoutedDecisionModel`: a LangChain decision model that decides on this machine if sure, else on a hosted model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from langchain_core.decisions import BaseDecisionModel, ClassifierResponse, Question, State
from langchain_core.decisions.types import Answer, ChoiceAnswer, NoulAnswer, ScoreAnswer
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import ConfigDict, Field

from ...backends.decisions.questions import NO, YES, schema_of
from ...configs.arguments import CheckedModel
from ...configs.errors import ConfigError
from ...configs.words import StepKind, Tier
from ...routing.request import RouteRequest
from .. import sync
from ..context import current, entered
from ..defaults import default_dispatcher
from ..dispatcher import Dispatcher
from ..errors import AllFailed, NoCandidate
from ..request import ModelRequest
from .state import text_of

__all__ = ["Decided", "RoutedDecisionModel"]

_TOOL: Final = "decide"
_NO_PROBABILITIES: Final = "it tells no probabilities"
_NO_EXAMPLES: Final = "it answers only what it has examples of"

Shares = Mapping[str, float]
Otherwise = str | bool | int


class Decided(ClassifierResponse):
    """Answers, and which of them no model was sure of.

    Attributes:
        abstained: Questions whose most probable answer was below the threshold, or that no model answered; their answer
            is that of ``otherwise=``, or the best guess.
    """

    abstained: tuple[str, ...] = ()


class RoutedDecisionModel(CheckedModel, BaseDecisionModel):
    """Answers typed questions with probabilities, on the cheapest model that is sure of them.

    It replaces any LangChain decision model, such as in ``ModelRouterMiddleware`` and ``AutoModeMiddleware``.
    Questions with ``examples`` are decided on this machine if that is sure; the rest go to a model of a provider whose
    backend is ``openai_decisions`` or ``systemone``. The questions of a request are one call, which is routed, charged
    and recorded like any other. ``confidence`` is the probability of the answer.

    Args:
        model: The model to use while it qualifies, as ``provider/name``; if empty, the cheapest.
        examples: Question -> CSV (``text,label``) of labelled examples. The labels of a yes-or-no question are ``yes``
            and ``no``, those of a score the numbers of its levels, from ``0``.
        threshold: Probability below which an answer counts as not sure. Decisions on this machine also have their own
            threshold, learned from the examples, and must reach both.
        otherwise: Question -> the answer if no model is sure. For a yes-or-no question, True raises the probability to
            at least one half, and False lowers it to at most one half; for a score, it is the least level; for a
            choice, the label. If a question judges a risk, this must be the higher-risk answer, so that doubt can only
            raise the risk.
        reads: Returns the part of a state to read, as text; default: all of it.
        dispatcher: The dispatcher to use; default: that of the current run or the working directory's project.

    Raises:
        ConfigError: At a call: a question asks for a place in an image, or ``otherwise`` has an answer that its
            question does not offer.
        NoCandidate: At a call: no model can answer, and a question has no ``otherwise``.
        AllFailed: At a call: every model failed, and a question has no ``otherwise``.
        BudgetExceeded: At a call: a cap leaves too little.
    """

    model: str = ""
    examples: Mapping[str, str] = Field(default_factory=dict)
    threshold: float = Field(default=0.5, ge=0, le=1)
    otherwise: Mapping[str, Otherwise] = Field(default_factory=dict)
    reads: Callable[[Any], str] | None = Field(default=None, exclude=True, repr=False)
    dispatcher: Dispatcher | None = Field(default=None, exclude=True, repr=False)

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    @property
    def _provider(self) -> str:
        return "pointsman"

    def _classify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        return sync.run(self._aclassify(state, questions))

    async def _aclassify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        for name, question in questions.items():
            _check(name, question, self.otherwise.get(name))
        dispatcher = self.dispatcher or default_dispatcher()
        ask = self._ask(state, questions)
        step = current()
        context = {
            "unavailable": (*step.unavailable, *self._unfit(dispatcher, questions)),
            # What is said of the risk of a step is about the step, and not about judging it.
            "risk": None,
            "dependents": 0,
            "recalled": None,
            "evidence": (),
        }
        try:
            with entered(**context):
                said = await dispatcher.call(ask)
        except (AllFailed, NoCandidate) as error:
            reply = _guess(error)
            if reply is None and not set(questions) <= set(self.otherwise):
                raise
            said = reply or AIMessage("")
        return self._decided(questions, said)

    def _ask(self, state: State, questions: Mapping[str, Question]) -> ModelRequest:
        schema = {"name": _TOOL, "description": "Answer each question.", "parameters": schema_of(questions)}
        return ModelRequest(
            messages=[HumanMessage(text_of(state) if self.reads is None else self.reads(state))],
            declared=RouteRequest(task="classify", kind=StepKind.TRANSFORM, model=self.model or None),
            tools=({"type": "function", "function": schema},),
            tool_choice="any",
            output=_TOOL,
            examples={name: path for name, path in self.examples.items() if name in questions},
            options={"probabilities": True},
        )

    def _unfit(self, dispatcher: Dispatcher, questions: Mapping[str, Question]) -> list[tuple[str, str]]:
        """The models that must not be asked, and why."""
        unfit = []
        for card in dispatcher.cards.values():
            if not dispatcher.clients.backend(card).gives_probabilities:
                unfit.append((card.id, _NO_PROBABILITIES))
            elif card.tier is Tier.ONDEVICE and not set(questions) <= set(self.examples):
                unfit.append((card.id, _NO_EXAMPLES))
        return unfit

    def _decided(self, questions: Mapping[str, Question], said: AIMessage) -> Decided:
        fields = said.response_metadata.get("fields", {})
        answers: dict[str, Answer] = {}
        abstained = []
        for name, question in questions.items():
            field = fields.get(name, {})
            shares = field.get("probabilities") or {}
            sure = bool(shares) and max(shares.values()) >= self.threshold and field.get("sure", True)
            if not sure:
                abstained.append(name)
            answers[name] = _answer(question, shares, None if sure else self.otherwise.get(name))
        told = said.response_metadata.get("pointsman", {})
        return Decided(
            model=told.get("model") or said.response_metadata.get("model_name") or self.model or "none",
            answers=answers,
            usage=said.usage_metadata,
            request_id=told.get("decision") or None,
            abstained=tuple(abstained),
        )


def _check(name: str, question: Question, otherwise: Otherwise | None) -> None:
    if otherwise is None:
        return
    if question.type == "noul":
        fits = isinstance(otherwise, bool)
    elif question.type == "choice":
        fits = otherwise in question.criteria
    elif question.type == "score":
        fits = type(otherwise) is int and 0 <= otherwise < len(question.criteria)
    else:
        return
    if not fits:
        raise ConfigError(f"otherwise={otherwise!r} is no answer to question {name!r}, a {question.type}")


def _guess(error: AllFailed | NoCandidate) -> AIMessage | None:
    """Return the best guess of the last model that was not sure; None if there is none."""
    if isinstance(error, NoCandidate):
        return None
    replies = [failure.reply for failure in error.failures if failure.reply is not None]
    return next((reply for reply in reversed(replies) if reply.response_metadata.get("fields")), None)


def _answer(question: Question, shares: Shares, otherwise: Otherwise | None) -> Answer:
    if question.type == "noul":
        return _noul(_filled(shares, (NO, YES)), otherwise)
    if question.type == "choice":
        whole = _filled(shares, tuple(question.criteria))
        chosen = max(whole, key=lambda label: whole[label]) if otherwise is None else str(otherwise)
        return ChoiceAnswer(type="choice", choice=chosen, probabilities=dict(whole), confidence=_bounded(whole[chosen]))
    if question.type == "score":
        return _score(question.criteria, shares, otherwise)
    raise ConfigError(f"a {question.type} cannot be answered with probabilities")


def _score(criteria: Sequence[Any], shares: Shares, otherwise: Otherwise | None) -> ScoreAnswer:
    levels = {int(level): share for level, share in _filled(shares, tuple(map(str, range(len(criteria))))).items()}
    expected = sum(level * share for level, share in levels.items())
    return ScoreAnswer(
        type="score",
        score=expected if otherwise is None else max(expected, float(otherwise)),
        legend=dict(enumerate(criteria)),
        probabilities=levels,
        confidence=_bounded(max(levels.values())),
    )


def _noul(shares: Shares, otherwise: Otherwise | None) -> NoulAnswer:
    yes = _bounded(shares[YES])
    if otherwise is not None:
        yes = max(yes, 0.5) if otherwise else min(yes, 0.5)
    return NoulAnswer(type="noul", noul=yes)


def _filled(shares: Shares, labels: tuple[str, ...]) -> Shares:
    """Return the probability of every label; equal probabilities if none were given."""
    if not shares:
        return dict.fromkeys(labels, 1 / len(labels))
    return {label: shares.get(label, 0.0) for label in labels}


def _bounded(share: float) -> float:
    return min(max(share, 0.0), 1.0)
