"""Offline mode: a simulator in this process stands in for hosted providers, so that nothing leaves the machine.

This is the one module below the command line that may start the simulator.
"""

from __future__ import annotations

import atexit
import logging
import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from ..configs.process.forks import Lock, reset_in_children
from ..configs.schema import ProviderEntry, Settings

if TYPE_CHECKING:
    from ..simulator import Simulator

__all__ = ["SIMULATED", "endpoints_at", "is_played", "played"]

_log = logging.getLogger(__name__)

SIMULATED: Final = "offline: hosted providers are simulated on this machine"
_KEY: Final = "simulated"
# Options that could lead a client somewhere else.
_LEADS_AWAY: Final = re.compile(r"url|base|proxy|proxies|endpoint|host|http|transport|client", re.IGNORECASE)


class _Stage:
    """The one simulator of this process, started at its first use."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._simulator: Simulator | None = None
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Reset in a forked child: the threads of the parent are not there."""
        self._lock.reset_after_fork()
        self._simulator = None

    def base_url(self) -> str:
        """Return the URL it listens at."""
        from ..simulator import Simulator

        with self._lock:
            if self._simulator is None:
                self._simulator = Simulator().start()
                atexit.register(self._simulator.stop)
                _log.warning(SIMULATED)
            return self._simulator.base_url


_stage = _Stage()


def is_played(settings: Settings, provider: str) -> bool:
    """Return whether the simulator stands in for a provider.

    Args:
        settings: The configuration.
        provider: Its name.
    """
    from ..simulator.paths import PATHS

    entry = settings.providers[provider]
    return settings.offline and not entry.local and entry.backend in PATHS


def played(settings: Settings) -> Settings:
    """Return the settings to build clients with: the given ones, or when offline, ones that point to the simulator.

    Args:
        settings: The configuration.
    """
    if not settings.offline:
        return settings
    names = [name for name in settings.providers if is_played(settings, name)]
    return endpoints_at(settings, _stage.base_url(), names, _KEY)


def endpoints_at(settings: Settings, base: str, names: Collection[str], key: str) -> Settings:
    """Point the clients of some providers to a simulator, with a placeholder as the key.

    Args:
        settings: The configuration.
        base: The simulator's URL.
        names: The providers.
        key: The placeholder.
    """
    from ..simulator.paths import PATHS

    providers: dict[str, ProviderEntry] = dict(settings.providers)
    secrets = {}
    for name in names:
        entry = providers[name]
        url = f"{base}/{name}{PATHS[entry.backend]}"
        providers[name] = entry.model_copy(update={"base_url": url, "options": _harmless(entry.options)})
        if entry.key:
            secrets[entry.key] = SecretStr(key)
    models = {
        name: entry.model_copy(update={"options": _harmless(entry.options)}) for name, entry in settings.models.items()
    }
    changes = {
        "providers": MappingProxyType(providers),
        "models": MappingProxyType(models),
        "secrets": MappingProxyType(secrets),
    }
    return settings.model_copy(update=changes)


def _harmless(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options without those that could lead a client somewhere else."""
    return {name: value for name, value in options.items() if not _LEADS_AWAY.search(name)}
