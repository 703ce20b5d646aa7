"""How hard a step looks, where a rule asks for it: what a scorer is, and how a model puts it into words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from ..features.features import Features

__all__ = ["LEVELS", "Scorer", "claimed", "classified", "is_modest"]

Scorer = Callable[[Features], tuple[float, float] | None]
"""Maps features to (complexity 0..1, confidence 0..1), or to None where it cannot tell; pure, so that a record
replays."""

_MODEST_TOKENS: Final = 8_000

LEVELS: Final[Mapping[str, float]] = MappingProxyType(
    {"trivial": 0.05, "simple": 0.2, "middling": 0.45, "hard": 0.7, "extreme": 0.9}
)
"""The words in which a model that classifies says how hard a step is, easiest first -> complexity, inside the bands of
the built-in rules."""

# By how many levels a step may turn out harder than it looks -> confidence. These are no measured shares; what counts
# is on which side of 0.5, below which the tier goes up, they lie.
_CLAIMED: Final = (0.7, 0.55, 0.4)


def is_modest(features: Features) -> bool:
    """Whether a step gathers or transforms a little, with nothing done yet: work no transcript tells more about."""
    return features.kind in ("gather", "transform") and features.tokens <= _MODEST_TOKENS and features.tool_results == 0


def claimed(level: str, hardest: str) -> tuple[float, float]:
    """Turn what a model says of a step into complexity and confidence.

    It is not asked how sure it is: models put that into words far too high, small ones most of all (Xiong et al., "Can
    LLMs Express Their Uncertainty?", ICLR 2024, arXiv 2306.13063). It says instead how hard the step looks and how hard
    it could turn out to be, and the further these lie apart, the less its word counts: 0.7 where they are the same,
    0.55 one level apart, 0.4 beyond that, and 0.4 where they contradict each other.

    Args:
        level: One of `LEVELS`.
        hardest: Another, or the same.

    Returns:
        Complexity and confidence, both 0..1.
    """
    names = list(LEVELS)
    apart = names.index(hardest) - names.index(level)
    return LEVELS[level], _CLAIMED[min(apart, 2)] if apart >= 0 else _CLAIMED[-1]


def classified(features: Features) -> tuple[float, float] | None:
    """Complexity and confidence as a model judged them, which stands in the features; None where none did."""
    return features.judged
