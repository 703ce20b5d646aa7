"""The four tasks of the on-device tier; each turns a request into an outcome that is confident enough or declined."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...configs.errors import ConfigError
from .classify import HeadShelf, Verdict
from .extract import fill
from .quote import Quote, quote_answer
from .schema import Field
from .summarise import summarise

if TYPE_CHECKING:
    from ...configs.evidence import Evidence

__all__ = ["TASKS", "Outcome", "Request", "perform"]

# A field with a confidence below this is more likely wrong than right.
_LEAST = 0.5
_ANSWER_WORDS = frozenset({"answer", "reply", "response", "quote", "quotes", "citation", "passage", "text"})
_SUMMARY_WORDS = frozenset({"summary", "abstract", "text", "content", "brief", "tldr"})


@dataclass(frozen=True, slots=True)
class Request:
    """The input of a task.

    Attributes:
        text: The user's text without evidence blocks.
        evidence: The evidence blocks.
        fields: The output schema's properties; empty if plain text is wanted.
        examples: Field -> CSV file of labelled examples.
        min_confidence: Confidence below which a field is declined; None leaves it to each algorithm.
        sentences: Maximum number of sentences in a summary.
        probabilities: Whether to report the probability of every label of a field.
    """

    text: str
    evidence: Sequence[Evidence] = ()
    fields: Sequence[Field] = ()
    examples: Mapping[str, Path | str] = field(default_factory=dict)
    min_confidence: float | None = None
    sentences: int = 3
    probabilities: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a task.

    Attributes:
        text: Plain text, empty if there are values.
        values: The filled output schema, or None if plain text was wanted.
        confidence: The confidence of the least certain part.
        fields: Field -> its confidence and, if known, its basis.
        quotes: Source, id and position of each quote.
        reason: Why the task is declined, in one line; None if it is not.
    """

    text: str = ""
    values: Mapping[str, Any] | None = None
    confidence: float = 0.0
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    quotes: Sequence[Mapping[str, Any]] = ()
    reason: str | None = None


@dataclass(slots=True)
class _Form:
    """An output schema being filled, with the names of its uncertain fields."""

    request: Request
    values: dict[str, Any] = field(default_factory=dict)
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)

    def put(self, entry: Field, value: Any, confidence: float, *, sure: bool | None = None, **told: Any) -> None:
        least = self.request.min_confidence
        if least is not None or sure is None:
            sure = confidence >= (_LEAST if least is None else least)
        self.values[entry.name] = value
        self.told[entry.name] = {"confidence": round(confidence, 4), "sure": sure, **told}
        if not sure:
            self.unsure.append(entry.name)

    def outcome(self, *, reason: str | None = None, quotes: Sequence[Mapping[str, Any]] = ()) -> Outcome:
        confidence = min((told["confidence"] for told in self.told.values()), default=0.0)
        for entry in self.request.fields:
            if entry.name not in self.values and entry.words == ("confidence",) and entry.type == "number":
                self.values[entry.name] = confidence
        missing = [entry.name for entry in self.request.fields if entry.required and entry.name not in self.values]
        if missing:
            confidence, reason = 0.0, reason or f"nothing in the text fills: {', '.join(missing)}"
        elif self.unsure:
            reason = reason or f"not sure enough of: {', '.join(self.unsure)}"
        return Outcome("", self.values, confidence, self.told, quotes, reason)


def _classify(request: Request, shelf: HeadShelf) -> Outcome:
    text = request.text or _evidence_text(request)
    form = _Form(request)
    chosen = [entry for entry in request.fields if entry.labels and entry.type != "array"]
    if not chosen:
        return Outcome(reason="to classify, bind an output schema with an enum or Literal property")
    for entry in chosen:
        if len(entry.labels) == 1:
            form.put(entry, entry.labels[0], 1.0, probabilities={entry.labels[0]: 1.0})
            continue
        verdict = shelf.choose(text, entry.labels, request.examples.get(entry.name))
        told = {"probabilities": dict(verdict.probabilities)} if request.probabilities else {}
        form.put(entry, verdict.label, verdict.confidence, sure=verdict.accepted, runner_up=verdict.runner_up, **told)
    _read_rest(form, text, shelf)
    return form.outcome()


def _extract(request: Request, shelf: HeadShelf) -> Outcome:
    if not request.fields:
        return Outcome(reason="to extract, bind an output schema")
    form = _Form(request)
    _read_rest(form, _evidence_text(request) or request.text, shelf)
    return form.outcome()


def _summarise(request: Request, shelf: HeadShelf) -> Outcome:
    text = _evidence_text(request) or request.text
    summary = summarise(text, shelf.embedder, sentences=request.sentences)
    least = request.min_confidence
    reason = None
    if not summary.sentences:
        reason = "there is no sentence to summarise"
    elif least is not None and summary.coverage < least:
        reason = f"the chosen sentences stand for too little of the text ({summary.coverage:.2f})"
    if not request.fields:
        return Outcome(summary.text, None, summary.coverage, reason=reason)
    form = _Form(request)
    strings = [entry for entry in request.fields if entry.type == "string" and not entry.labels]
    for entry in request.fields:
        if entry.type == "array" and entry.item and entry.item.type in ("string", "") and not entry.item.labels:
            form.put(entry, [sentence.text for sentence in summary.sentences], summary.coverage, sure=True)
        elif entry in strings and (len(strings) == 1 or _SUMMARY_WORDS & set(entry.words)):
            form.put(entry, summary.text, summary.coverage, sure=True)
    _read_rest(form, text, shelf)
    return form.outcome(reason=reason)


def _answer(request: Request, shelf: HeadShelf) -> Outcome:
    reason = None if request.text else "there is no question"
    if not request.evidence:
        reason = "there is no evidence to answer from"
    least = {} if request.min_confidence is None else {"threshold": request.min_confidence}
    quote = None if reason else quote_answer(request.text, request.evidence, shelf.embedder, **least)
    if reason is None and (quote is None or not quote.accepted):
        reason = "the evidence does not seem to answer the question"
    quotes = [] if quote is None else [_told(quote)]
    if not request.fields:
        text, confidence = (quote.text, quote.confidence) if quote else ("", 0.0)
        return Outcome(text, None, confidence, quotes=quotes, reason=reason)
    form = _Form(request)
    for entry in request.fields:
        words = set(entry.words)
        if entry.type == "boolean" and words & {"answerable", "answered", "found", "supported"}:
            form.put(entry, reason is None, quote.confidence if quote else 0.0, sure=True)
        elif quote is None or entry.labels or entry.words == ("confidence",):
            continue
        elif "source" in words or "sources" in words:
            _put_text(form, entry, quote.evidence.source, quote.confidence)
        elif "id" in words:
            _put_text(form, entry, quote.evidence.id, quote.confidence)
        elif words & _ANSWER_WORDS:
            _put_text(form, entry, quote.text, quote.confidence)
    _read_rest(form, request.text, shelf)
    return form.outcome(reason=reason, quotes=quotes)


TASKS: Mapping[str, Callable[[Request, HeadShelf], Outcome]] = MappingProxyType(
    {"answer": _answer, "classify": _classify, "extract": _extract, "summarise": _summarise}
)
"""Task -> function that performs it."""


def perform(task: str, request: Request, shelf: HeadShelf) -> Outcome:
    """Perform one task.

    Args:
        task: A key of `TASKS`.
        request: The input.
        shelf: The learned heads, and the embedder they were learned with.

    Raises:
        ConfigError: Examples are given for a field that has no labels, or cannot be read.
    """
    labelled = {entry.name for entry in request.fields if entry.labels}
    for name in request.examples:
        if name not in labelled:
            raise ConfigError(f"examples are given for {name!r}, which is not an enum field of the output schema")
    if not request.text.strip() and not request.evidence:
        return Outcome(values={} if request.fields else None, reason="the message is empty")
    return TASKS[task](request, shelf)


def _read_rest(form: _Form, text: str, shelf: HeadShelf) -> None:
    """Fill the remaining fields from the text."""
    request = form.request
    rest = [entry for entry in request.fields if entry.name not in form.values and entry.words != ("confidence",)]
    verdicts: dict[str, Verdict] = {}

    def choose(entry: Field) -> Verdict:
        verdicts[entry.name] = shelf.choose(text, entry.labels, request.examples.get(entry.name))
        return verdicts[entry.name]

    found = fill(rest, text, choose=choose)
    for entry in rest:
        if entry.name not in found.values:
            continue
        verdict = verdicts.get(entry.name)
        confidence = found.confidence[entry.name]
        if not entry.required and (verdict.accepted if verdict else confidence >= _LEAST) is False:
            continue
        span = {"span": list(found.spans[entry.name])} if entry.name in found.spans else {}
        sure = verdict.accepted if verdict else None
        form.put(entry, found.values[entry.name], confidence, sure=sure, **span)


def _put_text(form: _Form, entry: Field, text: str, confidence: float) -> None:
    """Fill in a string, or a list of it if the schema wants a list; the quote as a whole was judged before."""
    if entry.type == "array":
        form.put(entry, [text], confidence, sure=True)
    elif entry.type in ("string", ""):
        form.put(entry, text, confidence, sure=True)


def _told(quote: Quote) -> dict[str, Any]:
    return {
        "id": quote.evidence.id,
        "source": quote.evidence.source,
        "trust": quote.evidence.trust.value,
        "start": quote.start,
        "end": quote.end,
    }


def _evidence_text(request: Request) -> str:
    return "\n\n".join(passage.text for passage in request.evidence)
