"""How hard a step looks, from the shape of its conversation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import log
from types import MappingProxyType
from typing import Final

from .features import Features

__all__ = ["LEVELS", "Scorer", "claimed", "classified", "heuristic", "is_modest"]

Scorer = Callable[[Features], tuple[float, float]]
"""Maps features to (complexity 0..1, confidence 0..1); pure, so that a recorded decision replays."""

_MODEST_TOKENS: Final = 8_000
_MODEST_SCORE: Final = 0.3

# Scores below this -> (steps for which the tier sufficed + 1) / (steps + 2): 69 of 75, 6 of 11, 8 of 17, 15 of 39.
_SUFFICED: Final = ((0.15, 0.91), (0.35, 0.54), (0.6, 0.47), (float("inf"), 0.39))

LEVELS: Final[Mapping[str, float]] = MappingProxyType(
    {"trivial": 0.05, "simple": 0.2, "middling": 0.45, "hard": 0.7, "extreme": 0.9}
)
"""The words in which a model that classifies says how hard a step is, easiest first -> complexity, inside the bands of
the built-in rules."""

# By how many levels a step may turn out harder than it looks -> confidence. These are no measured shares; what counts
# is on which side of 0.5, below which the tier goes up, they lie.
_CLAIMED: Final = (0.7, 0.55, 0.4)
_TRUSTED: Final = 0.5
# The widest of the built-in bands below the highest: structure that says so much more is one tier's worth at least.
_APART: Final = 0.35


def is_modest(features: Features) -> bool:
    """Whether a step gathers or transforms a little, with nothing done yet: work no transcript tells more about."""
    return features.kind in ("gather", "transform") and features.tokens <= _MODEST_TOKENS and features.tool_results == 0


def heuristic(features: Features) -> tuple[float, float]:
    """Score complexity by a fixed formula over the structure of the conversation.

    The formula is ``0.20 code + 0.35 code * depth + 0.20 trouble + 0.20 thought + 0.05 length``, each in 0..1:

    - *code*: share of the text that looks like a program, full at a quarter of it;
    - *depth*: tool results so far, full at two: a change under way in code is harder than the request for one;
    - *trouble*: tool results that tell of errors and failed tests, a failure in the newest one counted twice, full at
      three;
    - *thought*: words of the question that ask for thought less those that ask for a chore, full at three;
    - *length*: logarithm of the estimated tokens, 0 at 500 and full at 32,000. It weighs little: in labelled agent
      steps long transcripts to be summarised needed the smallest tier.

    Gathering and transforming without tools in up to 8,000 tokens is never scored above 0.3, whatever it is about.

    The weights were set by hand on 142 labelled steps of TwinRouterBench (arXiv 2605.18859). The confidence of a score
    is the share of those steps in its band for which the tier that the built-in rules give it was enough (Laplace's
    estimate): it says how often a tier this high has sufficed, and is low for work that is under way in code.

    Args:
        features: Of the step.

    Returns:
        Complexity and confidence, both 0..1.
    """
    code = min(1.0, features.code_share * 4)
    depth = min(1.0, features.tool_results / 2)
    trouble = min(1.0, (features.tool_errors + features.tests_failed + features.last_failed) / 3)
    thought = min(1.0, max(0, features.thought - features.chores) / 3)
    length = min(1.0, max(0.0, log(max(features.tokens, 500) / 500) / log(64)))
    score = 0.20 * code + 0.35 * code * depth + 0.20 * trouble + 0.20 * thought + 0.05 * length
    if features.kind in ("gather", "transform") and not features.tools and features.tokens <= _MODEST_TOKENS:
        score = min(score, _MODEST_SCORE)
    confidence = next(share for below, share in _SUFFICED if score < below)
    return round(score, 4), confidence


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


def classified(features: Features) -> tuple[float, float]:
    """Complexity as a model judged it, which stands in the features; the heuristic's where none did.

    Whoever wrote the text may have written it for the model that judges, so structure, which is harder to argue with,
    has a say: where it looks harder by more than a band, the model is not trusted. Where it is not trusted, for this or
    for its own doubt, the higher complexity of the two counts and the confidence is below 0.5, which raises the tier by
    one. No claim counts as surer than 0.7.

    Args:
        features: Of the step, with what was judged.

    Returns:
        Complexity and confidence, both 0..1.
    """
    guess = heuristic(features)
    if features.judged is None:
        return guess
    complexity, confidence = features.judged
    if guess[0] - complexity > _APART:
        confidence = min(confidence, _CLAIMED[-1])
    if confidence < _TRUSTED:
        complexity = max(complexity, guess[0])
    return complexity, min(confidence, _CLAIMED[0])
