"""The faults of the drills, and the user's settings with every provider simulated on this machine."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ...configs.schema import Settings
from ...dispatch.offline import endpoints_at
from ...simulator import Fault, Latency, Match, RateLimit, Rule, Scenario
from ...simulator.paths import PATHS

__all__ = ["CALM", "DRILLS", "Drill", "played", "without_faults"]

_PLACEHOLDER: Final = "drill-placeholder"

_MEDIAN_MS: Final = 12.0
_P95_MS: Final = 25.0
_SLOWER: Final = 20.0

CALM: Final = Scenario(latency=Latency(median_ms=_MEDIAN_MS, p95_ms=_P95_MS))
"""The undisturbed providers: quick, but not as quick as a loopback."""


@dataclass(frozen=True, slots=True)
class Drill:
    """One way to break a provider.

    Attributes:
        name: Its name in the report.
        said: What happens, in one line.
        scenario: Returns the simulator's scenario for a provider.
        streamed: The steps are streamed.
    """

    name: str
    said: str
    scenario: Callable[[str], Scenario]
    streamed: bool = False


def _faulty(*kinds: Fault) -> Callable[[str], Scenario]:
    """Make every request to a provider meet one of the faults, all equally often."""

    def scenario(provider: str) -> Scenario:
        # The first matching rule decides, and each counts only the requests that the rules before it let pass.
        rules = [
            Rule(match=Match(vendor=provider, every=left), fault=fault)
            for left, fault in zip(range(len(kinds), 0, -1), kinds, strict=True)
        ]
        return replace(CALM, rules=tuple(rules))

    return scenario


def _slow(provider: str) -> Scenario:
    slow = Latency(median_ms=_MEDIAN_MS * _SLOWER, p95_ms=_P95_MS * _SLOWER)
    return replace(CALM, rules=(Rule(match=Match(vendor=provider), latency=slow),))


def _storm(provider: str) -> Scenario:
    return replace(CALM, rate_limits={provider: RateLimit(requests_per_minute=60, burst=1)})


DRILLS: Final = (
    Drill("outage", "every request is refused with 529 or 503", _faulty(Fault("overloaded"), Fault("unavailable"))),
    Drill("slow", f"every answer takes {_SLOWER:.0f} times as long", _slow),
    Drill(
        "garbage",
        "broken JSON, empty and cut-off answers, arguments that fit no schema",
        _faulty(Fault("malformed_json"), Fault("empty"), Fault("truncation"), Fault("bad_tool_arguments")),
    ),
    Drill("rate limits", "one request a second is served, the others get a 429", _storm),
    Drill(
        "stream cuts",
        "streams break, end without their end, or turn into an error",
        _faulty(Fault("cut_stream"), Fault("tidy_cut"), Fault("error_in_stream")),
        streamed=True,
    ),
)
"""The built-in drills."""


def without_faults(scenario: Scenario) -> Scenario:
    """Return the scenario without the rules that break or slow something."""
    kept = [rule for rule in scenario.rules if rule.fault is None and rule.latency is None]
    return replace(scenario, rules=tuple(kept), rate_limits={}, latency=scenario.latency or CALM.latency)


def played(settings: Settings, base: str, state: Path, unusable: Collection[str]) -> tuple[Settings, tuple[str, ...]]:
    """Make settings under which nothing leaves the machine.

    Args:
        settings: The user's own.
        base: The simulator's URL.
        state: Folder for ledger and memory.
        unusable: Providers that cannot be used from here and must not be simulated.

    Returns:
        The settings, and the configured providers that are left out.
    """
    providers, left_out, there = dict(settings.providers), [], []
    for name, entry in settings.providers.items():
        if entry.local and entry.base_url is None:
            continue
        if entry.backend in PATHS and entry.enabled and name not in unusable:
            there.append(name)
            continue
        if entry.enabled and name not in unusable:
            left_out.append(name)
        providers[name] = entry.model_copy(update={"enabled": False, "base_url": None, "options": {}})
    changes = {"providers": MappingProxyType(providers), "state": state, "offline": False}
    return endpoints_at(settings.model_copy(update=changes), base, there, _PLACEHOLDER), tuple(left_out)
