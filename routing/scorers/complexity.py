"""How hard a step looks, if a rule asks for it: what a scorer is, and the words in which a model rates a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from ..features.features import Features

__all__ = ["LEVELS", "Scorer", "claimed", "classified", "is_modest"]

Scorer = Callable[[Features], tuple[float, float] | None]
"""Maps features to (complexity 0..1, confidence 0..1), or to None if it cannot judge them; pure, so that recorded
decisions can be replayed."""

_MODEST_TOKENS: Final = 8_000

LEVELS: Final[Mapping[str, float]] = MappingProxyType(
    {"trivial": 0.05, "simple": 0.2, "middling": 0.45, "hard": 0.7, "extreme": 0.9}
)
"""Word with which a classifying model rates how hard a step is, easiest first -> complexity, inside the bands of the
built-in rules."""

# By how many levels a step may turn out harder than it looks -> confidence. These are not measured shares; all that
# matters is on which side of 0.5 they lie, below which the tier goes up.
_CLAIMED: Final = (0.7, 0.55, 0.4)


def is_modest(features: Features) -> bool:
    """Whether a step gathers or transforms little text before any tool result: a transcript would say no more of it."""
    return features.kind in ("gather", "transform") and features.tokens <= _MODEST_TOKENS and features.tool_results == 0


def claimed(level: str, hardest: str) -> tuple[float, float]:
    """Turn a model's rating of a step into complexity and confidence.

    The model is not asked how sure it is: models greatly overstate their confidence, small ones most of all (Xiong et
    al., "Can LLMs Express Their Uncertainty?", ICLR 2024, arXiv 2306.13063). Instead it says how hard the step looks
    and how hard it could turn out to be. The further these lie apart, the lower the confidence: 0.7 if they are the
    same, 0.55 one level apart, 0.4 beyond that, and 0.4 if they contradict each other.

    Args:
        level: How hard the step looks, one of `LEVELS`.
        hardest: How hard it could turn out to be, another of `LEVELS` or the same.

    Returns:
        Complexity and confidence, both 0..1.
    """
    names = list(LEVELS)
    apart = names.index(hardest) - names.index(level)
    return LEVELS[level], _CLAIMED[min(apart, 2)] if apart >= 0 else _CLAIMED[-1]


def classified(features: Features) -> tuple[float, float] | None:
    """Return complexity and confidence as a model judged them and the features record; None if no model did."""
    return features.judged
