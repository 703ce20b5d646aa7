"""`Availability`: which providers and models cannot be used now, and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ...configs.catalog import ModelCard
from ...routing.decision import Because, RejectionCode
from .health import Health
from .overrides import Overrides

__all__ = ["Availability"]

_REFUSED_SECONDS: Final = 300.0
"""How long a key that was refused is not tried again: keys are mended while a process runs."""
_LOOK_SECONDS: Final = 0.25
"""How soon an override that another process has set takes effect."""


class Availability:
    """Knows which providers and models cannot be used: no key, a refused key, or switched off by an operator.

    Args:
        missing: Provider -> why it can never be used here, such as a missing key.
        overrides: What an operator switched off.
        health: The breakers.
        cards: The catalogue.
        keys: Provider -> where its key comes from.
        clock: Seconds that never go back.

    Attributes:
        providers: Provider -> why it cannot be used now, without what an operator switched off.
    """

    def __init__(
        self,
        missing: Mapping[str, Because],
        overrides: Overrides,
        health: Health,
        cards: Iterable[ModelCard],
        keys: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.providers: dict[str, Because] = dict(missing)
        self._overrides = overrides
        self._health = health
        self._models = {(card.provider, card.name): card.id for card in cards}
        self._keys = keys
        self._clock = clock
        self._refused: dict[str, float] = {}

    def reasons(self, besides: tuple[tuple[str, str], ...] = ()) -> Mapping[str, Because]:
        """Provider or model -> why it cannot be used now.

        Args:
            besides: What only one step must not use, each with its reason.
        """
        overridden = self._overrides.reasons(age=_LOOK_SECONDS)
        if self._refused:
            self._forgive()
        if not overridden and not besides:
            return self.providers
        barred = {name: Because(RejectionCode.BARRED, reason) for name, reason in besides}
        return {**self.providers, **overridden, **barred}

    def open_circuits(self) -> frozenset[str]:
        """The models whose breaker lets nothing through now."""
        states = (state.key for state in self._health.states() if state.state == "open")
        return frozenset(self._models[key.provider, key.model] for key in states if key[:2] in self._models)

    def refused(self, provider: str) -> None:
        """Note that a provider refused its key, so that for a while no call is made with it."""
        said = f"its key was refused: check {self._keys[provider]}"
        self.providers[provider] = Because(RejectionCode.KEY_REFUSED, said)
        self._refused[provider] = self._clock() + _REFUSED_SECONDS

    def _forgive(self) -> None:
        for provider in [name for name, until in self._refused.items() if until <= self._clock()]:
            del self._refused[provider], self.providers[provider]
