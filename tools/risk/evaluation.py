"""Strings that bash expands a second time: subscripts, wherever bash takes a string for a variable or a number."""

from __future__ import annotations

import re

from .calls import Judge

__all__ = ["expanded_again", "subscripts"]

_SUBSCRIPT = re.compile(r"\w\[")
_END = "end-of-what-is-expanded"


def subscripts(judge: Judge, text: str) -> None:
    """Judge the substitutions in the subscripts of a text.

    ``x='a[$(id)]'; ((x))`` runs ``id``; so do ``read 'a[$(id)]'``, ``test -v 'a[$(id)]'`` and
    ``[[ 'a[$(id)]' -eq 1 ]]`` (bash manual, "Arrays" and "Shell Arithmetic").
    """
    if ("$(" in text or "`" in text) and _SUBSCRIPT.search(text):
        expanded_again(judge, text)


def expanded_again(judge: Judge, text: str) -> None:
    """Judge the substitutions in a text that bash expands like the body of a here-document."""
    judge.read(f": <<{_END}\n{text}\n{_END}\n")
