"""Model names as commands show them: a simulated model is marked wherever it is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...configs.schema import Settings

__all__ = ["heed", "is_simulated", "named"]

_played: set[str] = set()
"""Providers that are simulated under the settings of the command that runs."""


def heed(settings: Settings) -> None:
    """Note which providers are simulated under the settings of the command."""
    _played.clear()
    if settings.offline:
        from ...dispatch.offline import is_played

        _played.update(name for name in settings.providers if is_played(settings, name))


def is_simulated(model: str | None) -> bool:
    """Return whether a model, given as ``provider/name``, is simulated."""
    return model is not None and model.partition("/")[0] in _played


def named(model: str) -> str:
    """Return the model's name as shown, with a mark if it is simulated."""
    return f"{model} (simulated)" if is_simulated(model) else model
