"""Numbers in texts, compared by value: 2000, 2,000.00 and 2k are the same; 20 and 2000 are different."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

__all__ = ["currencies", "number", "numbers", "stated", "whole_phones"]

_GROUPED: Final = re.compile(r"(?<=\d)[ \u00a0\u202f_](?=\d{3}(?!\d))")
_PHONE: Final = re.compile(
    r"(?<![\w.+-])(?:\+(?=(?:[ ()-]{0,2}\d){8})\d{1,3}[ -]?(?:\(\d{1,5}\)[ -]?)?\d{1,5}(?:[ -]\d{2,8}){1,4}"
    r"|(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[.-]\d{4})(?![\w-]|\.\w)"
)
"""A telephone number in groups: with a country code, or in the North American form."""
_FORM: Final = re.compile(
    r"[-+]?(?:[a-z]{3}|[^\w\s.,'+-])?\s?(?P<sign>[-+]?)(?P<digits>\d+(?:[.,'’]\d+)*)(?P<power>e[+-]?\d{1,2})?"
    r"(?P<times>[km]?)\s?(?:[a-z]{3}|[^\w\s.,'+-])?"
)
"""A number with what may surround it: a sign, a currency, a percent sign, a factor."""
_ANYWHERE: Final = re.compile(r"\d+(?:[.,'’]\d+)*(?:e[+-]?\d{1,2})?(?:[km]\b)?")
_TIMES: Final = {"k": 1_000, "m": 1_000_000}
_NAMES: Final = """
zero 0  one 1  two 2  three 3  four 4  five 5  six 6  seven 7  eight 8  nine 9  ten 10  eleven 11  twelve 12  twenty 20
thirty 30  forty 40  fifty 50  sixty 60  seventy 70  eighty 80  ninety 90  hundred 100  thousand 1000
"""
_WORDS: Final = {word: Decimal(value) for word, value in re.findall(r"(\w+) (\d+)", _NAMES)}
_CURRENCIES: Final = """
eur euro euros € | usd dollar dollars $ us$ | gbp pound pounds sterling quid £ | jpy yen ¥ | cny yuan renminbi
chf franc francs franken | inr rupee rupees ₹ | krw ₩ | btc xbt bitcoin bitcoins ₿ | eth ether ethereum
usdt tether | usdc | xmr monero | cad | aud | sek | nok | dkk | pln zloty | lira ₺ | brl | mxn | zar
"""
_MONEY: Final = {name: row.split()[0] for row in re.split(r"\||\n", _CURRENCIES) for name in row.split()}
_EDGES: Final = "()[]{}<>\"'“”‘’„«»`*;:!?=|~"


def number(value: str) -> frozenset[Decimal]:
    """Return the values of a text that is only a number; two values if its one separator can be read in two ways."""
    found = _FORM.fullmatch(_plain(value))
    if found is None or re.match(r"0\d", found["digits"]):  # a leading zero makes it a code
        return frozenset()
    negative = "-" in (found["sign"] or "") or _plain(value).startswith("-")
    return frozenset(
        (-worth if negative else worth) for worth in _read(found["digits"], found["power"] or "", found["times"])
    )


def currencies(text: str) -> frozenset[str]:
    """Return the codes of the currencies that a text names by word, code or sign."""
    words = re.findall(r"[a-z]+\$?|[^\w\s]", unicodedata.normalize("NFKC", text).casefold())
    return frozenset(_MONEY[word] for word in words if word in _MONEY)


def stated(text: str) -> frozenset[Decimal]:
    """Return the numbers that a text states: those that stand alone, and not inside a date, a time or a code."""
    made: set[Decimal] = set()
    for chunk in re.split(r"[\s=]+", _plain(text)):
        word = chunk.strip(_EDGES).rstrip(".,").strip(_EDGES)
        made |= number(word)
        if word in _WORDS:
            made.add(_WORDS[word])
    return frozenset(made)


def whole_phones(text: str) -> str:
    """Return a text with the separators inside each telephone number removed."""
    return _PHONE.sub(lambda found: re.sub(r"[ ().-]", "", found[0]), text)


def numbers(text: str) -> frozenset[Decimal]:
    """Return all numbers that can be read anywhere in a text, without their signs."""
    return frozenset(worth for found in _ANYWHERE.findall(_plain(text)) for worth in number(found))


def _plain(text: str) -> str:
    return _GROUPED.sub("", whole_phones(unicodedata.normalize("NFKC", text)).casefold().replace("\u2212", "-").strip())


def _read(digits: str, power: str, times: str) -> Iterator[Decimal]:
    for form in _decimal(re.sub(r"['’]", "", digits)):
        worth = Decimal(form + power)
        # A decimal product could be rounded, which would make two long numbers equal.
        yield worth * _TIMES[times] if times else worth


def _decimal(digits: str) -> Iterator[str]:
    """Yield the digits with a decimal point and without thousands separators, in each way they can be read."""
    signs = re.findall(r"[.,]", digits)
    if len(set(signs)) == 2:
        last = max(digits.rfind("."), digits.rfind(","))
        yield re.sub(r"[.,]", "", digits[:last]) + "." + digits[last + 1 :]
        return
    thousands = re.fullmatch(r"\d{1,3}(?:[.,]\d{3})+", digits) is not None
    if signs and thousands:
        yield re.sub(r"[.,]", "", digits)
    if not signs or (len(signs) == 1 and not (thousands and signs == [","])):
        yield digits.replace(",", ".")
