"""The features of a step that a rule's ``when`` may test, each with one meaning."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .words import Effect, Risk, StepKind, Trust

__all__ = ["CHOICES", "NUMBERS", "RISK_FEATURES", "ROUTING_FEATURES"]

RISK_FEATURES: Mapping[str, str] = MappingProxyType(
    {
        "kind": "what the step is for, declared or told by its reach",
        "effect": "an effect that its tools can have",
        "only_reads": "whether those of its tools that reach outside this machine change nothing there",
        "done": "the worst effect of the tools that were called earlier in its conversation",
        "reversible": "whether what it does can be taken back",
        "sensitivity": "of the data in view",
        "recalled": "the lowest trust of the notes that were recalled from the memory before it",
        "dependents": "how many later steps build on it",
        "task": "what is done, as the caller names it",
        "tag": "a label the caller gave it",
        "user_class": "the class of users it runs for",
    }
)
"""Declared facts; a risk rule may use nothing else, so that no wording of a message can change a risk.

``done`` is derived from the names of the tools that were called, and can only raise a risk.
"""

ROUTING_FEATURES: Mapping[str, str] = MappingProxyType(
    {
        **RISK_FEATURES,
        "risk": "the risk of the step",
        "tools": "how many tools are bound",
        "modality": "a kind of content in the messages",
        "tokens": "estimated input tokens",
        "complexity": "how hard the work looks, 0 (trivial) to 1 (hard)",
        "structured": "whether the answer must fit a schema",
        "latency": "how urgent the answer is: batch, interactive or critical",
        "deadline": "seconds the step may take, where the caller bounds it",
        "down": "a model or provider that cannot be used now: switched off, without a key, or its circuit open",
        "messages": "how many messages there are",
        "language": "language of the last message as a two-letter code (ISO 639-1)",
        "budget_left": "share of the budget that is left, 0 to 1",
    }
)
"""All features that a routing rule may use."""

CHOICES: Mapping[str, tuple[str | bool, ...]] = MappingProxyType(
    {
        "kind": tuple(kind.value for kind in StepKind),
        "effect": tuple(effect.value for effect in Effect),
        "done": tuple(effect.value for effect in Effect),
        "only_reads": (True, False),
        "reversible": (True, False),
        "sensitivity": ("public", "internal", "personal", "secret"),
        "recalled": tuple(trust.value for trust in Trust),
        "risk": tuple(risk.value for risk in Risk),
        "modality": ("text", "image", "pdf", "audio", "video"),
        "structured": (True, False),
        "latency": ("batch", "interactive", "critical"),
    }
)
"""The features with a closed set of values."""

NUMBERS: frozenset[str] = frozenset(
    {"dependents", "tools", "tokens", "complexity", "deadline", "messages", "budget_left"}
)
"""The numeric features, the only ones that accept ``min`` and ``max``."""
