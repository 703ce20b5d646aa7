"""Find typed values in text - dates, amounts, addresses, numbers, names - each with its position."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any

__all__ = ["FINDERS", "Span", "find", "parse_number"]


@dataclass(frozen=True, slots=True)
class Span:
    """A value and its position in the text.

    Attributes:
        value: The value as read: `datetime.date`, `decimal.Decimal`, or the text itself.
        start: Where it begins in the text.
        end: Where it ends.
        certain: False if the text can be read in two ways, such as 03/04/2026.
    """

    value: Any
    start: int
    end: int
    certain: bool = True


_MONTH_NAMES = (
    "january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug",
    "september sept sep", "october oct", "november nov", "december dec",
)  # fmt: skip
_MONTHS = {name: number for number, names in enumerate(_MONTH_NAMES, start=1) for name in names.split()}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DATES = (
    re.compile(r"(?<![\d-])(?P<y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})(?![\d-])"),
    re.compile(r"(?<![\d/])(?P<y>\d{4})/(?P<m>\d{2})/(?P<d>\d{2})(?![\d/])"),
    re.compile(rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<mon>{_MONTH})\.?,? (?P<y>\d{{4}})\b", re.IGNORECASE),
    re.compile(rf"\b(?P<mon>{_MONTH})\.? (?P<d>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<y>\d{{4}})\b", re.IGNORECASE),
    re.compile(r"(?<![\d/.])(?P<a>\d{1,2})(?P<sep>[/.-])(?P<b>\d{1,2})(?P=sep)(?P<y>\d{4})(?![\d/])"),
)
_CURRENCY = r"(?:[£$€¥₹]|\b(?:USD|EUR|GBP|CHF|JPY|INR|CAD|AUD|SEK|NOK|DKK|PLN|CZK|CNY)\b)"
_DIGITS = r"\d{1,3}(?:[,.'’\u00a0 ]\d{3})+(?:[.,]\d{1,2})?(?!\d)|\d+(?:[.,]\d+)?"
_AMOUNT = re.compile(
    rf"(?P<before>{_CURRENCY})\s?(?P<x>-?(?:{_DIGITS}))|(?<![\w.,])(?P<y>-?(?:{_DIGITS}))\s?(?P<after>{_CURRENCY}|"
    r"\b(?:dollars?|euros?|pounds?|francs?|quid|pence|cents?)\b)",
    re.IGNORECASE,
)
_CURRENCY_WORDS = {"£": "GBP", "$": "USD", "€": "EUR", "¥": "JPY", "₹": "INR"} | {
    "dollar": "USD", "euro": "EUR", "pound": "GBP", "quid": "GBP", "franc": "CHF"
}  # fmt: skip
_NAME = r"[A-ZÀ-ÖØ-Þ][\w'’-]+(?:[ \t]+(?:(?:de|van|von|der|da|di|bin|al)[ \t]+)*[A-ZÀ-ÖØ-Þ][\w'’.-]*){0,3}"


def parse_number(text: str) -> tuple[Decimal, bool]:
    """Parse a number in English or continental notation.

    Returns:
        The number, and whether it is unambiguous: ``1.234`` is read as 1.234 but may mean 1234.
    """
    plain = re.sub(r"['’\u00a0 ]", "", text)
    commas, dots = plain.count(","), plain.count(".")
    certain = True
    if commas and dots:
        decimal = max(plain.rfind(","), plain.rfind("."))
        plain = re.sub(r"[,.]", "", plain[:decimal]) + "." + plain[decimal + 1 :]
    elif commas:
        thousands = re.fullmatch(r"-?\d{1,3}(,\d{3})+", plain)
        plain = plain.replace(",", "" if thousands else ".")
    elif dots > 1:
        plain = plain.replace(".", "")
    elif dots:
        certain = not re.fullmatch(r"-?[1-9]\d{0,2}\.\d{3}", plain)
    return Decimal(plain), certain


def _dates(text: str) -> Iterator[Span]:
    for pattern in _DATES:
        for match in pattern.finditer(text):
            parts = match.groupdict()
            certain = True
            if "a" in parts:
                first, second = int(parts["a"]), int(parts["b"])
                # Day first, as everywhere but in the United States, unless that is not a valid date.
                day, month = (second, first) if second > 12 else (first, second)
                certain = parts["sep"] == "." or max(first, second) > 12 or first == second
            else:
                month = _MONTHS[parts["mon"].lower()] if parts.get("mon") else int(parts["m"])
                day = int(parts["d"])
            try:
                yield Span(date(int(parts["y"]), month, day), *match.span(), certain)
            except ValueError:
                continue


def _amounts(text: str) -> Iterator[Span]:
    for match in _AMOUNT.finditer(text):
        group = "x" if match["x"] else "y"
        number, certain = parse_number(match[group])
        yield Span(number, *match.span(group), certain)


def _currencies(text: str) -> Iterator[Span]:
    for match in _AMOUNT.finditer(text):
        group = "before" if match["before"] else "after"
        code = _CURRENCY_WORDS.get(match[group].lower().rstrip("s"), match[group].upper())
        if len(code) == 3:
            yield Span(code, *match.span(group))


def _ibans(text: str) -> Iterator[Span]:
    for match in re.finditer(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", text):
        plain = match.group().replace(" ", "")
        # ISO 13616: letters as 10..35, the first four characters last, remainder 1.
        if int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1:
            yield Span(match.group(), *match.span())


_Read = Callable[[str], tuple[Any, bool]]


def _pattern(expression: str, read: _Read = lambda written: (written, True)) -> Callable[[str], Iterator[Span]]:
    """Return a finder for a regular expression; the value is read from its group ``v``, or from the whole match."""
    compiled = re.compile(expression)
    group = "v" if "v" in compiled.groupindex else 0

    def finder(text: str) -> Iterator[Span]:
        for match in compiled.finditer(text):
            value, certain = read(match[group])
            yield Span(value, *match.span(group), certain)

    return finder


def _phones(text: str) -> Iterator[Span]:
    for match in re.finditer(r"(?<![\w+.-])\+?\(?\d[\d ()./-]{6,}\d(?![\w-])", text):
        digits = sum(character.isdigit() for character in match.group())
        if 8 <= digits <= 15 and not list(_dates(match.group())):
            yield Span(match.group(), *match.span())


FINDERS: MappingProxyType[str, Callable[[str], Iterator[Span]]] = MappingProxyType(
    {
        "amount": _amounts,
        "currency": _currencies,
        "date": _dates,
        "email": _pattern(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b"),
        "iban": _ibans,
        "last4": _pattern(
            r"(?i)(?:\bend(?:s|ing|ed)?(?: in| with)?|\blast (?:four|4)(?: digits)?(?: are| is|:)?|[*•xX]{2,}[ -]?)\s*"
            r"(?P<v>\d{4})\b"
        ),
        "name": _pattern(
            rf"(?:\b[Mm]y (?:full )?name is|\b[Nn]ame\s*[:=]|\bI am|\bI['’]m|\b[Tt]his is|\b[Cc]ustomer\s*:|"
            rf"\b(?:[Rr]egards|[Ss]incerely|[Tt]hanks|[Cc]heers|[Bb]est),?[ \t]*\n+|\bMrs?\.?|\bMs\.?|\bDr\.?)\s*"
            rf"(?P<v>{_NAME})"
        ),
        "number": _pattern(rf"(?<![\w.,/:-])-?(?:{_DIGITS})(?![\w/:-]|[.,]\d)", parse_number),
        "percent": _pattern(
            r"(?i)(?<![\w.,])(?P<v>\d+(?:[.,]\d+)?)\s?(?:%|percent\b|per cent\b)",
            lambda written: (Decimal(written.replace(",", ".")), True),
        ),
        "phone": _phones,
        "reference": _pattern(
            r"(?<![\w@./-])#?(?P<v>(?=[A-Za-z0-9/-]*\d)(?:[A-Z]{1,6}[-/]?\d[A-Z0-9/-]*[A-Z0-9]|\d{5,}|"
            r"(?<=#)[A-Za-z0-9-]{2,}|\d+-\d[\d-]*\d))(?![\w@])"
        ),
        "sort_code": _pattern(r"(?<![\d-])\d{2}-\d{2}-\d{2}(?![\d-])"),
        "time": _pattern(r"(?i)(?<![\d:])(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?:\s?[ap]m)?(?![\d:])"),
        "url": _pattern(r"(?i)\bhttps?://[^\s<>\"')\]]*[^\s<>\"')\].,;:!?]"),
        "uuid": _pattern(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"),
    }
)
"""Kind -> its finder; a finder yields values in the order of its patterns."""


def find(kind: str, text: str) -> list[Span]:
    """Find all values of a kind, in text order; of two that overlap, the one that starts first, then the longer one.

    Args:
        kind: A key of `FINDERS`. Dates are found as 2026-05-03, 2026/05/03, 3 May 2026, 3rd of May 2026,
            May 3, 2026, 03/05/2026 and 03.05.2026, with four digits of year.
        text: The text to search.
    """
    kept: list[Span] = []
    for span in sorted(FINDERS[kind](text), key=lambda span: (span.start, -span.end)):
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return kept
