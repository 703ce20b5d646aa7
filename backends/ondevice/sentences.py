"""Find sentences and words in text with their positions, so that quotes are verbatim."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Sentence", "content_words", "split_sentences", "stem"]

_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s|$)|\n[ \t]*\n|\n(?=[ \t]*(?:[-*•>#]|\d+[.)])[ \t])")
_ABBREVIATIONS = (
    "mr mrs ms dr prof st no nr vs etc inc ltd co corp dept approx est fig jan feb mar apr jun jul aug sep sept oct "
    "nov dec e.g i.e cf al a.m p.m u.s u.k"
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_STOPWORDS = (
    "a about after all also am an and any are as at be because been before being but by can could did do does doing "
    "don't for from get got had has have having he her here hers him his how i i'd i'm i've if in into is isn't it "
    "it's its just let like me more most my need no nor not now of on or our out please she should so some such "
    "than thank thanks that that's the their them then there these they this those to too until up us very want was "
    "we were what when where which while who why will with would you you're your yours"
)
_NO_CONTENT = frozenset(_STOPWORDS.split())
_NO_END = frozenset(_ABBREVIATIONS.split())


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence: ``text`` is ``source[start:end]`` of the text it was found in."""

    text: str
    start: int
    end: int


def split_sentences(text: str) -> list[Sentence]:
    """Split text at sentence ends, blank lines and list items; abbreviations, initials and decimals do not end one.

    A Markdown heading is not a sentence and is left out.
    """
    found: list[Sentence] = []
    start = 0
    for match in _END.finditer(text):
        if text[match.start()] == "." and _goes_on(text, match.start(), match.end()):
            continue
        _append(found, text, start, match.end())
        start = match.end()
    _append(found, text, start, len(text))
    return found


def content_words(text: str) -> set[str]:
    """Return the words that carry meaning, lower-case."""
    return set(_WORD.findall(text.lower().replace("’", "'"))) - _NO_CONTENT


def stem(word: str) -> str:
    """Remove common English endings; crude, but enough to match forms of the same word."""
    word = word.removesuffix("'s")
    for ending in ("ational", "ments", "ment", "ings", "ing", "ies", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= (2 if ending == "ies" else 3):
            return word.removesuffix(ending)
    return word


def _goes_on(text: str, dot: int, end: int) -> bool:
    word = re.search(r"[\w.]*$", text[max(0, dot - 12) : dot])
    before = word.group().lower() if word else ""
    initial = len(before) == 1 and before.isalpha() and text[dot - 1].isupper()
    follows = text[end:].lstrip()[:1]
    return before in _NO_END or initial or (before.isdigit() and follows.islower())


def _append(found: list[Sentence], text: str, start: int, end: int) -> None:
    raw = text[start:end]
    heading = re.match(r"\s*#{1,6} [^\n]*\n?", raw)
    if heading:
        start, raw = start + heading.end(), raw[heading.end() :]
    left = len(raw) - len(raw.lstrip())
    kept = raw.strip()
    if any(character.isalnum() for character in kept):
        found.append(Sentence(kept, start + left, start + left + len(kept)))
