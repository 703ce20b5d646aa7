"""`Pace`: a model's usual speed, to tell a model that has become slow from one that writes a long answer."""

from __future__ import annotations

import math
from typing import Final

from ...configs.catalog import Usage

__all__ = ["Pace", "reckoned"]

# A slow but healthy hosted model: a second to begin, 5,000 tokens a second of prompt that is in no cache, 20 tokens a
# second of answer, what it thinks included. How fast a model really is cancels out, for each is compared with itself;
# the figures only weigh the length of a prompt and of an answer against each other and against the wait for the first
# word. Of 2026's models prompts are read at 2,000 to 20,000 tokens a second and answers written at 20 to 200
# (artificialanalysis.ai, output speed and time to first token).
_BEGIN_SECONDS: Final = 1.0
_PROMPT_TOKENS_A_SECOND: Final = 5_000.0
_ANSWER_TOKENS_A_SECOND: Final = 20.0

# A provider's busy hours make a model two or three times as slow (p95 over p50 of its time per token); a provider in
# trouble, ten times and more.
_FACTOR: Final = 5.0
# Some dozen slow calls in a row become what is usual: what lasts is no longer trouble but the model's speed, and one
# that was compared with too few calls at first must not be left alone for ever.
_WEIGHT: Final = 1 / 20
_LEAST_SECONDS: Final = 1e-3
# Counts come out of a provider's JSON, which can hold any number.
_MOST_TOKENS: Final = 10**9


def reckoned(usage: Usage) -> float:
    """Seconds that a slow but healthy model would need for a call.

    Args:
        usage: Tokens of the prompt and the answer.
    """
    prompt = min(max(0, usage.input - usage.cache_read), _MOST_TOKENS)
    answer = min(max(0, usage.output), _MOST_TOKENS)
    return _BEGIN_SECONDS + prompt / _PROMPT_TOKENS_A_SECOND + answer / _ANSWER_TOKENS_A_SECOND


class Pace:
    """A moving geometric mean of the ratio of a model's latency to the latency expected for its work.

    Geometric, since latencies spread by factors rather than by seconds.

    Args:
        calls: Answers it takes to know what is usual.
    """

    def __init__(self, calls: int) -> None:
        self._least = calls
        self._calls = 0
        self._log = 0.0

    def bound(self, latency: float, usage: Usage, slack: float) -> float:
        """Seconds over which this answer would have been slow, infinite until enough is known; then learn from it.

        Args:
            latency: Seconds to the answer, or to the first words of a stream. The whole answer's length counts for
                either, since a model that thinks first has written most of it before the first words.
            usage: What it used.
            slack: Least seconds beyond what is usual.
        """
        work = reckoned(usage)
        usual = math.exp(self._log) * work
        known = self._calls >= self._least
        self._calls += 1
        weight = max(_WEIGHT, 1 / self._calls)
        self._log += weight * (math.log(max(latency, _LEAST_SECONDS) / work) - self._log)
        return max(_FACTOR * usual, usual + slack) if known else math.inf
