"""Who wrote something: models that differ only in their maker's own words must not check each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...configs.catalog import ModelCard
    from ...configs.schema import Settings

__all__ = ["authorship", "own_work"]

_SEPARATORS = re.compile(r"[/.:@\s_-]+")
_LETTERS = re.compile(r"[a-z]+")
_TUNED = "ft:"

# Families of one maker that do not share a word, from the makers' lists of models, read 2026-11-27:
# platform.openai.com/docs/models, ai.google.dev/gemini-api/docs/models, docs.mistral.ai/getting-started/models.
_SIBLINGS = (
    frozenset({"gpt", "chatgpt", "o", "codex", "davinci", "babbage", "computer"}),
    frozenset({"gemini", "gemma"}),
    frozenset({"mistral", "mixtral", "ministral", "magistral", "codestral", "devstral", "pixtral"}),
)


def authorship(settings: Settings, card: ModelCard) -> frozenset[str]:
    """Return the words that name the author of a model: its provider, its vendor if its name tells, and its family.

    A model keeps its family whoever serves it, since providers put words before and after a model's own name but do
    not change it: ``vendor/family-9``, ``region.vendor.family-9-v1:0`` and ``family-9`` are one family. It is also
    read from the name under which price tables know the model (``profile``), if the configuration gives it.

    Args:
        settings: May contain ``profile``.
        card: The model.
    """
    entry = settings.models.get(card.id)
    names = [card.name, *([entry.profile] if entry and entry.profile else [])]
    words = frozenset({card.provider, *(word for name in names for word in _words(name.lower()))})
    return words.union(*(siblings for siblings in _SIBLINGS if words & siblings))


def _words(name: str) -> list[str]:
    """Return the words before a model's own name, and the first word of that name."""
    *before, own = name.removeprefix(_TUNED).split("/")
    parts = own.split(".")
    # A dotted word without a digit or a dash is a region or a vendor.
    while len(parts) > 1 and parts[0].isalpha():
        before.append(parts.pop(0))
    first = _SEPARATORS.split(parts[0])[0]
    family = _LETTERS.match(first)
    return [*before, family.group() if family else first]


def own_work(settings: Settings, cards: Mapping[str, ModelCard], author: str | None) -> tuple[tuple[str, str], ...]:
    """Return the models that must not check what ``author`` wrote, each with the reason.

    Args:
        settings: The configuration.
        cards: The catalogue.
        author: The model that wrote it, as ``provider/name``; None if unknown.
    """
    if author is None or author not in cards:
        return ()
    words = authorship(settings, cards[author])
    why = "it, or one of its kind, wrote what is to be checked"
    return tuple((name, why) for name, card in cards.items() if words & authorship(settings, card))
