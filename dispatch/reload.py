"""`Reload`: a long-lived dispatcher applies changed routing and risk files without a restart."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Final

from ..configs.catalog import ModelCard
from ..configs.errors import ConfigError
from ..configs.process.forks import reset_in_children
from ..configs.schema import Settings
from ..configs.sources import Sources
from ..routing.policy.policy import Policy
from ..tools.threads import in_thread
from .catalog import policy_of, problems

__all__ = ["Reload"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0


@dataclass(eq=False, repr=False)
class Reload:
    """Checks the policy's files at most once a second, and replaces the policy when they change.

    A change is applied once two checks in a row have found the same files, since a file can be half written at one of
    them; that takes one more call, at least a second later. Environment and flags still override the files. If a new
    file is invalid, the old policy stays in force until the file changes again.

    Only routing and risk are reloaded. Providers, models and agents need a restart, and so do the limits built into
    what all calls share: the response cache, the breakers and the time a client waits.

    Attributes:
        settings: The settings now in force.
        policy: The policy compiled from them.
        cards: The catalogue, which does not change.
        put: Puts new settings and their policy in force; a call in progress keeps those it began with.
        clock: A monotonic clock, in seconds.
        trouble: Why the current files are not in force; None if they are.
        next_look: When to check next, by the clock; never if the policy came from no file.
    """

    settings: Settings
    policy: Policy
    cards: tuple[ModelCard, ...]
    put: Callable[[Settings, Policy], None]
    _: KW_ONLY
    clock: Callable[[], float] = time.monotonic
    trouble: str | None = None

    def __post_init__(self) -> None:
        self._sources = self.settings.sources
        self._loaded = self._seen = () if self._sources is None else self._sources.stamps
        self.next_look = math.inf if self._sources is None else self.clock() + _LOOK_SECONDS
        self._busy = threading.Lock()
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Reset in a forked child."""
        self._busy = threading.Lock()

    async def look(self) -> None:
        """Apply changes to the files; do nothing if the last check was less than a second ago.

        A call that comes while another one reloads continues under the old policy.
        """
        sources = self._sources
        if sources is None or self.clock() < self.next_look or not self._busy.acquire(blocking=False):
            return
        try:
            self.next_look = self.clock() + _LOOK_SECONDS
            found = sources.look()
            settled, self._seen = found == self._seen, found
            if settled and found != self._loaded:
                await self._take_up(sources)
                self._loaded = found
        finally:
            self._busy.release()

    async def _take_up(self, sources: Sources[Settings]) -> None:
        try:
            # Reading and checking takes tens of milliseconds, which would block all other calls.
            settings, policy, doubts = await in_thread(self._read, sources)
        except (ConfigError, OSError) as error:
            self.trouble = str(error)
            _log.warning("the changed policy is not taken up, the one before stays in force: %s", error)
            return
        self.settings, self.policy = settings, policy
        self.put(settings, policy)
        self.trouble = None
        _log.info("the changed policy is in force: %s", policy.policy_hash)
        for doubt in doubts:
            _log.warning("the changed policy is in force, but %s", doubt)

    def _read(self, sources: Sources[Settings]) -> tuple[Settings, Policy, list[str]]:
        """Return the settings with the new policy, that policy, and warnings about it although it is valid."""
        old, new = self.settings, sources.read()
        changes = {"routing": new.routing, "risk": new.risk, "origins": new.origins, "sources": sources}
        settings = old.model_copy(update=changes)
        policy = policy_of(settings, self.cards)
        known = set(map(str, problems(old, self.policy)))
        doubts = [problem for problem in map(str, problems(settings, policy)) if problem not in known]
        if (new.providers, new.models, new.agents) != (old.providers, old.models, old.agents):
            doubts.append("providers, models or agents have changed as well, which takes a restart")
        return settings, policy, doubts
