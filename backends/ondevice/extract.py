"""Fill a JSON schema from text by rules: only values found in the text are filled, with their positions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from .classify import Verdict
from .schema import Field, read_fields, spoken
from .sentences import split_sentences, stem
from .spans import Span, find

__all__ = ["Chooser", "Extraction", "extract", "fill"]

Chooser = Callable[[Field], Verdict]
"""Chooses one of a field's labels if the text mentions none or several."""

# Confidences of the rules, in the order the rules are tried.
_SURE, _CUED, _ONLY, _LOOSE, _GUESS = 0.95, 0.9, 0.8, 0.6, 0.4
_MENTIONED, _NEGATED_OR_NOT, _EMPTY = 0.9, 0.7, 0.6
_UNCERTAIN = 0.6
_CUE_BEFORE, _CUE_AFTER = 60, 25
_NEGATION = re.compile(r"\b(?:no|not|never|without|isn't|wasn't|don't|doesn't|didn't|cannot|can't)\W+(?:\w+\W+){0,2}$")
_AUXILIARIES = frozenset(
    ("is", "has", "was", "are", "had", "does", "did", "should", "needs", "need", "wants", "want", "can", "be")
)
_KIND_WORDS = frozenset(
    ("date", "amount", "number", "email", "phone", "url", "link", "id", "reference", "name", "currency", "time")
)
# Digits that are part of these are not numbers of their own.
_DIGIT_HOLDERS = ("date", "time", "phone", "iban", "sort_code", "email", "url", "uuid", "reference", "last4")


@dataclass(frozen=True, slots=True)
class Extraction:
    """The result of an extraction.

    Attributes:
        values: Field -> value, for the fields that could be filled.
        spans: Field -> (start, end) of the text the value was read from; nested fields as ``outer.inner``. Fields that
            are decided rather than read (labels, booleans, constants, lists) have none unless a word was found.
        confidence: Field -> confidence in the value, 0 to 1.
        missing: Required fields that could not be filled.
    """

    values: dict[str, Any]
    spans: dict[str, tuple[int, int]]
    confidence: dict[str, float]
    missing: tuple[str, ...]


def extract(schema: Mapping[str, Any], text: str, *, choose: Chooser | None = None) -> Extraction:
    """Fill the properties of a JSON schema from text.

    Args:
        schema: JSON schema of an object.
        text: The text to read.
        choose: Decides fields whose labels the text does not mention; None leaves them empty.
    """
    return fill(read_fields(schema), text, choose=choose)


def fill(fields: Sequence[Field], text: str, *, choose: Chooser | None = None) -> Extraction:
    """Fill fields from text; see `extract`."""
    result = Extraction({}, {}, {}, ())
    missing: list[str] = []
    typed = _typed_spans([field for field in fields if field.kind and not field.labels], text)
    for field in fields:
        found: _Found | None = None
        if field.fields:
            inner = fill(field.fields, text, choose=choose)
            result.spans.update({f"{field.name}.{name}": span for name, span in inner.spans.items()})
            if inner.values and not inner.missing:
                found = inner.values, None, min(inner.confidence.values())
        else:
            found = typed[field.name] if field.name in typed else _one(field, text, choose)
        if found is None and field.required and field.nullable:
            found = None, None, _EMPTY
        if found is not None:
            result.values[field.name], span, result.confidence[field.name] = found
            result.spans.update({field.name: span} if span else {})
        elif field.required:
            missing.append(field.name)
    return replace(result, missing=tuple(missing))


_Found = tuple[Any, tuple[int, int] | None, float]


def _one(field: Field, text: str, choose: Chooser | None) -> _Found | None:
    """Fill a field that is not found by a value's kind."""
    if field.labels:
        return _label(field, text, choose)
    if field.type == "boolean":
        return _boolean(field, text)
    if field.type == "array" and field.item is not None:
        return _array(field.item, text)
    if field.pattern is not None:
        return _matching(field.pattern, text)
    if field.type == "string" and field.kind is None:
        return _labelled(field, text)
    return None


def _label(field: Field, text: str, choose: Chooser | None) -> _Found | None:
    if len(field.labels) == 1:
        return field.labels[0], None, 1.0
    mentions = [(label, place) for label in field.labels if (place := _mention(label, text))]
    # "card payment" also mentions "card": ignore a label within another's mention.
    outer = [
        (label, place)
        for label, place in mentions
        if not any(a <= place[0] and place[1] <= b and (a, b) != place for _, (a, b) in mentions)
    ]
    if len(outer) == 1:
        return *outer[0], _MENTIONED
    if choose is None:
        return None
    verdict = choose(field)
    return verdict.label, None, verdict.confidence


def _mention(label: str, text: str) -> tuple[int, int] | None:
    words = spoken(label).split()
    if not words:
        return None
    expression = r"[\W_]+".join(map(re.escape, words))
    for match in re.finditer(rf"(?<!\w){expression}(?!\w)", text, re.IGNORECASE):
        if not _NEGATION.search(text[: match.start()].lower()[-40:]):
            return match.span()
    return None


def _boolean(field: Field, text: str) -> _Found | None:
    wanted = [stem(word) for word in field.words if word not in _AUXILIARIES]
    for sentence in split_sentences(text):
        lowered = sentence.text.lower()
        places = [
            next((match for match in re.finditer(r"\w+", lowered) if stem(match.group()) == word), None)
            for word in wanted
        ]
        if places and all(places):
            first = min(match.start() for match in places if match)
            last = max(match.end() for match in places if match)
            negated = _NEGATION.search(lowered[:first]) is not None
            return not negated, (sentence.start + first, sentence.start + last), _NEGATED_OR_NOT
    return None


def _array(item: Field, text: str) -> _Found | None:
    if item.labels:
        return [label for label in item.labels if _mention(label, text)], None, _EMPTY
    if item.kind is None:
        return None
    values = [value for span in _free(item.kind, text) if (value := _value(item, span, text)) is not None]
    return values, None, _ONLY if values else _EMPTY


def _matching(pattern: str, text: str) -> _Found | None:
    try:
        match = re.search(pattern.removeprefix("^").removesuffix("$"), text)
    except re.error:
        # JSON schema patterns are ECMAScript's; a field whose pattern Python cannot parse is left to a stronger model.
        return None
    return (match.group(), match.span(), _ONLY) if match and match.group() else None


def _labelled(field: Field, text: str) -> _Found | None:
    """Read ``Label: value`` from a line of its own."""
    for place in _label_places(field.words, text):
        value = re.match(r"[^\n|]*", text[place:])
        kept = value.group().strip() if value else ""
        if kept:
            start = text.index(kept, place)
            return kept, (start, start + len(kept)), _CUED
    return None


def _label_places(words: Sequence[str], text: str) -> list[int]:
    """Return where the values of ``Label:`` begin; the label may omit words that only name the kind."""
    shorter = [word for word in words if word not in _KIND_WORDS]
    found = []
    for label in (list(words), shorter):
        if label:
            expression = r"[ \t_-]*".join(map(re.escape, label))
            expression = rf"^[ \t>*|-]*\**{expression}\**[ \t]*(?:[:=|]|\bis\b)\**[ \t]*"
            found += [match.end() for match in re.finditer(expression, text, re.IGNORECASE | re.MULTILINE)]
    return found


def _typed_spans(fields: Sequence[Field], text: str) -> dict[str, _Found | None]:
    """Assign to each field the value of its kind nearest to the field's own words; no value is used twice."""
    offers: list[tuple[float, int, int, Field, Span]] = []
    counts: dict[str, int] = {}
    for order, field in enumerate(fields):
        spans = [span for span in _free(str(field.kind), text) if _value(field, span, text) is not None]
        counts[field.name] = len({str(span.value) for span in spans})
        offers += [(_distance(field, span, text), order, span.start, field, span) for span in spans]
    taken: set[tuple[str, int]] = set()
    chosen: dict[str, _Found | None] = {field.name: None for field in fields}
    for distance, _, start, field, span in sorted(offers, key=lambda offer: offer[:3]):
        family = "number" if field.kind in ("amount", "number", "percent") else str(field.kind)
        if chosen[field.name] is not None or (family, start) in taken:
            continue
        taken.add((family, start))
        confidence = _confidence(field, distance, counts[field.name]) * (1 if span.certain else _UNCERTAIN)
        chosen[field.name] = (_value(field, span, text), (span.start, span.end), confidence)
    return chosen


def _confidence(field: Field, distance: float, count: int) -> float:
    if distance < _CUE_BEFORE + _CUE_AFTER:
        return _SURE if count == 1 else _CUED
    if count > 1:
        return _GUESS
    # A single e-mail address is surely the one wanted; a single number could mean anything.
    return _LOOSE if field.kind in ("number", "reference") else _ONLY


def _free(kind: str, text: str) -> list[Span]:
    """Find the values of a kind that are not part of something else."""
    spans = find(kind, text)
    if kind == "amount" and not spans:
        spans, kind = find("number", text), "number"
    if kind == "reference":
        holders = [span for other in ("date", "iban", "phone", "email", "url", "amount") for span in find(other, text)]
    elif kind == "number":
        holders = [span for other in _DIGIT_HOLDERS for span in find(other, text) if other != "reference" or
                   not text[span.start : span.end].isdigit()]  # fmt: skip
    else:
        return spans
    return [span for span in spans if not any(held.start < span.end and span.start < held.end for held in holders)]


def _distance(field: Field, span: Span, text: str) -> float:
    """Return the distance, in characters on the same line, between the field's own words and a value."""
    words = [stem(word) for word in field.words if word not in _KIND_WORDS] or [stem(word) for word in field.words]
    before = text[max(0, span.start - _CUE_BEFORE) : span.start].rsplit("\n", 1)[-1].lower()
    after = text[span.end : span.end + _CUE_AFTER].split("\n", 1)[0].lower()
    gaps = [len(before) - match.end() for match in re.finditer(r"[^\W_]+", before) if stem(match.group()) in words]
    gaps += [match.start() + _CUE_BEFORE for match in re.finditer(r"[^\W_]+", after) if stem(match.group()) in words]
    hits = {stem(match) for match in re.findall(r"[^\W_]+", before + " " + after)} & set(words)
    # Each of the field's words that is absent adds 10 characters.
    return min(gaps) + (len(set(words)) - len(hits)) * 10 if gaps else 1000.0


def _value(field: Field, span: Span, text: str) -> Any:
    """Convert a span's value to the type of the field; return None if the type does not accept it."""
    written = text[span.start : span.end]
    if field.pattern is not None and field.type == "string" and not _fits(field.pattern, written):
        return None
    if isinstance(span.value, date):
        return span.value.isoformat() if field.iso_date else written
    if field.kind == "currency":
        return span.value
    if field.type in ("integer", "number", "decimal"):
        return _numeric(field.type, span.value) if isinstance(span.value, Decimal) else None
    return written


def _numeric(type_: str, number: Decimal) -> int | float | str | None:
    if type_ == "decimal":
        return str(number)
    if number == number.to_integral_value():
        return int(number)
    return None if type_ == "integer" else float(number)


def _fits(pattern: str, written: str) -> bool:
    try:
        return re.search(pattern, written) is not None
    except re.error:
        return False
