"""How hard a step looks, from the shape of its conversation."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Final

from .features import Features

__all__ = ["Scorer", "heuristic", "is_modest"]

Scorer = Callable[[Features], tuple[float, float]]
"""Maps features to (complexity 0..1, confidence 0..1); pure, so that a recorded decision replays."""

_MODEST_TOKENS: Final = 8_000
_MODEST_SCORE: Final = 0.3

# Scores below this -> (steps for which the tier sufficed + 1) / (steps + 2): 69 of 75, 6 of 11, 8 of 17, 15 of 39.
_SUFFICED: Final = ((0.15, 0.91), (0.35, 0.54), (0.6, 0.47), (float("inf"), 0.39))


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
