"""`Availability`: which providers and models cannot be used now; `Overrides`: which ones an operator switched off."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import KW_ONLY, InitVar, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ...configs.catalog import ModelCard
from ...configs.errors import ConfigError
from ...configs.process.atomic import locked
from ...configs.redact import redact
from ...routing.decision import Because, RejectionCode
from ..request import one_line
from ..state.private import replace_private
from .health import Health

__all__ = ["OVERRIDES_FILE", "Availability", "Override", "Overrides"]

OVERRIDES_FILE: Final = "switches.json"
"""Its name in the project's state folder."""

_REFUSED_SECONDS: Final = 300.0
"""How long a refused key is not tried again: users fix keys while a process runs."""
_LOOK_SECONDS: Final = 0.25
"""How long it may take until an override set by another process takes effect."""
_REASON_CHARACTERS: Final = 200
_LAST: Final = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
_NONE: Final[Mapping[str, Because]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Override:
    """One provider or model that is switched off.

    Attributes:
        name: A provider, or a model as ``provider/name``.
        until: When it is switched on again automatically, in seconds since the epoch.
        reason: Why, in the operator's words; may be empty.
    """

    name: str
    until: float
    reason: str

    @property
    def said(self) -> str:
        """The reason as shown in a decision."""
        moment = datetime.fromtimestamp(self.until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"switched off until {moment}{f': {self.reason}' if self.reason else ''}"


class Overrides:
    """The providers and models that are switched off, in one small file that all processes of a project read.

    Args:
        path: The file; it need not exist, and the constructor does not touch it.
        clock: Seconds since the epoch.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._name = os.fspath(path)
        self._clock = clock
        self._stamp: int | None = None
        self._known: Mapping[str, Override] = {}
        self._reasons = _NONE
        self._next = math.inf
        self._looked = -math.inf

    def reasons(self, age: float = 0.0) -> Mapping[str, Because]:
        """Return what is off now: provider or model -> why, as `RoutingContext.unavailable` takes it.

        Each call checks the file's time stamp, which takes a few microseconds, and reads the file only if it changed.

        Args:
            age: The most seconds since the last check for which no new check is made.

        Raises:
            ConfigError: The file is not a valid file of switches.
        """
        now = self._clock()
        if 0 <= now - self._looked < age and now < self._next:
            return self._reasons
        self._looked = now
        try:
            stamp: int | None = os.stat(self._name).st_mtime_ns
        except FileNotFoundError:
            stamp = None
        except OSError as error:
            raise self._unreadable(error) from error
        # The time stamp was taken before the read, so a change in between is seen at the next check.
        if stamp != self._stamp:
            self._known, self._stamp, self._next = self._read(), stamp, -math.inf
        if now >= self._next:
            waiting = [switch for switch in self._known.values() if switch.until > now]
            self._reasons = {switch.name: Because(RejectionCode.SWITCHED_OFF, switch.said) for switch in waiting}
            self._next = min((switch.until for switch in waiting), default=math.inf)
        return self._reasons

    def all(self) -> tuple[Override, ...]:
        """Return what is off now, sorted by name.

        Raises:
            ConfigError: The file is not a valid file of switches.
        """
        self.reasons()
        return tuple(self._known[name] for name in sorted(self._reasons))

    def off(self, name: str, until: float, reason: str = "") -> Override:
        """Switch a provider or a model off, replacing an earlier override.

        Args:
            name: A provider, or a model as ``provider/name``.
            until: When it is switched on again automatically, in seconds since the epoch.
            reason: Why; folded into one line, with anything that looks like a key removed.

        Raises:
            ConfigError: The time has already passed or is invalid, or the file cannot be used.
        """
        if not self._clock() < until <= _LAST:
            raise ConfigError(f"{name} can only be switched off until a time to come")
        switch = Override(name, until, one_line(redact(reason), _REASON_CHARACTERS))
        with self._changing() as switches:
            switches[name] = switch
        return switch

    def on(self, name: str) -> bool:
        """Switch a provider or a model on again.

        Returns:
            False if it was not off.

        Raises:
            ConfigError: The file cannot be used.
        """
        with self._changing() as switches:
            return switches.pop(name, None) is not None

    def _read(self) -> dict[str, Override]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unreadable(error) from error
        try:
            made: Any = json.loads(text)
            switches = {
                name: Override(name, float(entry["until"]), str(entry["reason"])) for name, entry in made.items()
            }
            if not all(0 <= switch.until <= _LAST for switch in switches.values()):
                raise ValueError("there is no such time")
            return switches
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(
                "is not a file of switches: delete it to switch everything on", file=self._path
            ) from error

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Override]]:
        """Yield what is off now, and save the block's changes; one process at a time."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(Path(f"{self._name}.lock")):
                now = self._clock()
                switches = {name: switch for name, switch in self._read().items() if switch.until > now}
                yield switches
                self._write(switches)
                self._looked = -math.inf
        except OSError as error:
            raise self._unreadable(error) from error

    def _write(self, switches: Mapping[str, Override]) -> None:
        text = json.dumps({s.name: {"until": s.until, "reason": s.reason} for s in switches.values()}, indent=2)
        later = 0
        with suppress(FileNotFoundError):
            later = os.stat(self._name).st_mtime_ns + 1
        replace_private(self._path, f"{text}\n".encode())
        # Two changes within one tick of the file system's clock must have different time stamps.
        if os.stat(self._name).st_mtime_ns < later:
            os.utime(self._name, ns=(later, later))

    def _unreadable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"cannot be used ({error.strerror or type(error).__name__}): check its owner and mode, and the folder's, "
            "or set POINTSMAN_STATE to another folder",
            file=self._path,
        )


@dataclass(eq=False, repr=False)
class Availability:
    """Knows which providers and models cannot be used: no key, a refused key, or switched off by an operator.

    Attributes:
        providers: Provider -> why it cannot be used now, such as a missing key, apart from an operator's overrides.
        overrides: What an operator switched off.
        health: The breakers.
        cards: The catalogue.
        keys: Provider -> where its key comes from.
        clock: A monotonic clock, in seconds.
    """

    providers: dict[str, Because]
    overrides: Overrides
    health: Health
    cards: InitVar[Iterable[ModelCard]]
    keys: Mapping[str, str]
    _: KW_ONLY
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self, cards: Iterable[ModelCard]) -> None:
        self._models = {(card.provider, card.name): card.id for card in cards}
        self._refused: dict[str, float] = {}

    def reasons(self, besides: tuple[tuple[str, str], ...] = ()) -> Mapping[str, Because]:
        """Return provider or model -> why it cannot be used now.

        Args:
            besides: Further providers or models that only one step must not use, each with its reason.
        """
        overridden = self.overrides.reasons(age=_LOOK_SECONDS)
        if self._refused:
            self._forgive()
        if not overridden and not besides:
            return self.providers
        barred = {name: Because(RejectionCode.BARRED, reason) for name, reason in besides}
        return {**self.providers, **overridden, **barred}

    def open_circuits(self) -> frozenset[str]:
        """Return the models whose breaker is open."""
        states = (state.key for state in self.health.states() if state.state == "open")
        return frozenset(self._models[key.provider, key.model] for key in states if key[:2] in self._models)

    def refused(self, provider: str) -> None:
        """Note that a provider refused its key, so that no call uses the key for a while."""
        said = f"its key was refused: check {self.keys[provider]}"
        self.providers[provider] = Because(RejectionCode.KEY_REFUSED, said)
        self._refused[provider] = self.clock() + _REFUSED_SECONDS

    def _forgive(self) -> None:
        for provider in [name for name, until in self._refused.items() if until <= self.clock()]:
            del self._refused[provider], self.providers[provider]
