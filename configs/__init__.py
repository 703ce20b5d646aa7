"""Configuration: schemas, the loader, the data files, the shared vocabulary, and the errors for user mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .process.lazy import lazily

if TYPE_CHECKING:
    from .catalog import ModelCard, TokenPrices, Usage
    from .errors import ConfigError, PointsmanError
    from .evidence import Evidence, literal, parse_evidence, render_evidence
    from .loading.loader import environment, load
    from .schema import AgentEntry, Limits, ModelEntry, ProviderEntry, RoutingPolicy, Settings, StepRiskPolicy
    from .words import Effect, FailureKind, Risk, StepKind, Tier, Trust

_NAMES = {
    "catalog": ("ModelCard", "TokenPrices", "Usage"),
    "errors": ("ConfigError", "PointsmanError"),
    "evidence": ("Evidence", "literal", "parse_evidence", "render_evidence"),
    "loading.loader": ("environment", "load"),
    "schema": (
        "AgentEntry",
        "Limits",
        "ModelEntry",
        "ProviderEntry",
        "RoutingPolicy",
        "Settings",
        "StepRiskPolicy",
    ),
    "words": ("Effect", "FailureKind", "Risk", "StepKind", "Tier", "Trust"),
}

__all__ = [
    "AgentEntry",
    "ConfigError",
    "Effect",
    "Evidence",
    "FailureKind",
    "Limits",
    "ModelCard",
    "ModelEntry",
    "PointsmanError",
    "ProviderEntry",
    "Risk",
    "RoutingPolicy",
    "Settings",
    "StepKind",
    "StepRiskPolicy",
    "Tier",
    "TokenPrices",
    "Trust",
    "Usage",
    "environment",
    "literal",
    "load",
    "parse_evidence",
    "render_evidence",
]

__getattr__, __dir__ = lazily(__name__, _NAMES)
