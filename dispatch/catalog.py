"""Build the catalogue: one card per model, merged from settings, model profiles and prices."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ..backends import registry
from ..configs.catalog import ModelCard
from ..configs.schema import ClassifierPolicy, ModelEntry, Settings
from ..ledger.prices import PriceBook
from ..routing.decision import Because, RejectionCode
from ..routing.policy.lint import Problem, lint
from ..routing.policy.policy import Policy
from ..routing.request import RoutingContext
from ..routing.scorers.complexity import LEVELS, Scorer, classified
from .offline import is_played

if TYPE_CHECKING:
    from ..routing.scorers.learned import Embed

__all__ = [
    "catalogue",
    "classifier_id",
    "policy_of",
    "problems",
    "proof_file",
    "unavailable",
    "vectors",
]

_MODALITIES = {"text_inputs": "text", "image_inputs": "image", "pdf_inputs": "pdf", "audio_inputs": "audio"}
_PROBE_SECONDS = 0.25
_RULES = "routing.rules."
_EVAL = ("pointsman router eval FILE --router ROUTER", "pointsman router eval FILE --classifier")


def catalogue(settings: Settings, prices: PriceBook, at: datetime | None = None) -> tuple[ModelCard, ...]:
    """Build the cards of every configured model, in the order of the file.

    Args:
        settings: Providers and models.
        prices: The price book, asked for the prices at ``at`` (default: now).
    """
    at = at or datetime.now(UTC)
    return tuple(_card(settings, prices, name, entry, at) for name, entry in settings.models.items())


def _card(settings: Settings, prices: PriceBook, name: str, entry: ModelEntry, at: datetime) -> ModelCard:
    provider_id, _, rest = name.partition("/")
    provider = settings.providers[provider_id]
    model = entry.name or rest
    profile = registry.get(provider.backend).profile(entry.profile or model)
    profiled = tuple(word for key, word in _MODALITIES.items() if profile.get(key, word == "text"))
    return ModelCard(
        id=name,
        provider=provider_id,
        name=model,
        tier=entry.tier,
        roles=frozenset(entry.roles),
        tasks=None if entry.tasks is None else frozenset(entry.tasks),
        scores=MappingProxyType(dict(entry.scores)),
        context=entry.context or profile.get("max_input_tokens"),
        max_output=entry.max_output or profile.get("max_output_tokens"),
        inputs=frozenset(entry.inputs or profiled),
        tools=profile.get("tool_calling", True) if entry.tools is None else entry.tools,
        structured=profile.get("structured_output", True) if entry.structured is None else entry.structured,
        prices=prices.token_prices(name, at),
        local=provider.local,
        answers_as=entry.answers_as,
    )


def policy_of(settings: Settings, cards: tuple[ModelCard, ...]) -> Policy:
    """Compile the settings' policy over a catalogue.

    Args:
        settings: The rules, and the complexity scorer they name.
        cards: The catalogue.

    Raises:
        ConfigError: A rule or the router file cannot be used.
    """
    scorer, unused = _scorer(settings)
    return Policy.compile(settings.routing, settings.risk, cards, scorer=scorer, unused=unused)


def problems(settings: Settings, policy: Policy, now: RoutingContext | None = None) -> list[Problem]:
    """Find likely mistakes in a policy, as `lint` does.

    Built-in rules are not reported, since a user's rule may intentionally override them. Also reported: a scorer that
    is configured but not used, and a user's rule that tests complexity although no scorer judges it.

    Args:
        settings: Where each rule was written.
        policy: The policy compiled from them.
        now: The current state; unavailable models do not count as alternatives.
    """
    own = {name.removeprefix(_RULES) for name in settings.origins if name.startswith(_RULES)}
    built_in = {f"rule {rule.id}" for rule in policy.routing.rules if rule.id not in own}
    found = lint(policy) if now is None else lint(policy, now)
    if policy.unused:
        found.append(Problem("scorer", f"{policy.routing.scorer} is not used: {policy.unused}"))
    if policy.scorer is None:
        found += [
            Problem(f"rule {rule.id}", "can never apply: no scorer judges complexity; name a proven scorer")
            for rule in policy.routing.rules
            if "complexity" in rule.when
        ]
    return [problem for problem in found if problem.subject not in built_in]


_RETIRED: Final = frozenset({"heuristic", "learned", "nearest", "prompts"})
"""Scorers of version 0.1: a policy that names one still loads, but only its rules decide."""


def _scorer(settings: Settings) -> tuple[Scorer | None, str]:
    """Return the policy's complexity scorer, limited to the tasks for which it has a proof.

    Returns:
        The scorer, or None if only declared facts decide; and why a named scorer is not used, empty if it is.
    """
    chosen = settings.routing.scorer
    if chosen.partition(":")[0] in _RETIRED:
        return None, "it was no better than the workload's majority tier or a prompt's length, and is gone"
    if chosen == "rules":
        return None, ""
    from ..routing.policy import proof

    path = proof_file(settings)
    if chosen == "classifier":
        scorer: Scorer = classified
        known = classifier_id(settings.routing.classifier)
    else:
        from ..routing.scorers import learned

        router = learned.load(settings.project / chosen)
        scorer = learned.Learned(router, vectors() if router.dimensions else None)
        known = proof.fingerprint(settings.project / chosen)
    shown = proof.read(path)
    if shown is None:
        return None, f"nothing proves that it helps; run '{_EVAL[chosen == 'classifier']}' on rows of your own"
    why = shown.why_not(known, proof.inputs(settings.routing, settings.risk))
    return (None, why) if why else (proof.Proven(scorer, shown), "")


def proof_file(settings: Settings) -> Path:
    """Return the path of the proof file for the policy's scorer."""
    from ..routing.policy.proof import proof_path

    return proof_path(settings.project / settings.routing.scorer)


def classifier_id(classifier: ClassifierPolicy) -> str:
    """Return a hash of the classifier's model and its allowed levels, by which a proof file identifies it."""
    return sha256(json.dumps([classifier.model, dict(LEVELS)]).encode()).hexdigest()


def vectors() -> Embed:
    """Return the on-device embedder, texts -> unit vectors."""
    from ..backends.ondevice.embedder import WordLlamaEmbeddings

    return WordLlamaEmbeddings().vectors


def unavailable(settings: Settings) -> Mapping[str, Because]:
    """Return the providers that cannot be used from here, each with a reason that tells the user what to do.

    A local server must listen on its port; a hosted provider needs its key, unless it is simulated offline.
    """
    reasons: dict[str, Because] = {}
    for name, provider in settings.providers.items():
        if not provider.enabled:
            reasons[name] = Because(RejectionCode.SWITCHED_OFF, "switched off in the configuration")
        elif is_played(settings, name):
            continue
        elif settings.offline and not provider.local:
            reasons[name] = Because(RejectionCode.UNREACHABLE, "offline: it cannot be simulated on this machine")
        elif provider.key and settings.key_of(name) is None:
            reasons[name] = Because(RejectionCode.NO_KEY, f"no key: set {provider.key}", provider.key)
        elif (key := settings.key_of(name)) and not re.fullmatch(r"[!-~]+", key.get_secret_value()):
            said = f"{provider.key} holds a blank, a line break or a letter that no key has: set it again"
            reasons[name] = Because(RejectionCode.KEY_REFUSED, said)
        elif provider.local and provider.base_url and not _listens(provider.base_url):
            reasons[name] = Because(RejectionCode.UNREACHABLE, f"nothing listens at {provider.base_url}")
    return MappingProxyType(reasons)


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", port), timeout=_PROBE_SECONDS):
            return True
    except OSError:
        return False
