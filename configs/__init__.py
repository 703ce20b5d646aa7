"""Configuration: schemas, the loader, the data files, the shared vocabulary, and the errors for user mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .process.lazy import lazily

if TYPE_CHECKING:
    from .catalog import ModelCard as ModelCard
    from .catalog import TokenPrices as TokenPrices
    from .catalog import Usage as Usage
    from .errors import ConfigError as ConfigError
    from .errors import PointsmanError as PointsmanError
    from .evidence import Evidence as Evidence
    from .evidence import literal as literal
    from .evidence import parse_evidence as parse_evidence
    from .evidence import render_evidence as render_evidence
    from .loading.loader import environment as environment
    from .loading.loader import load as load
    from .schema import AgentEntry as AgentEntry
    from .schema import Limits as Limits
    from .schema import ModelEntry as ModelEntry
    from .schema import ProviderEntry as ProviderEntry
    from .schema import RoutingPolicy as RoutingPolicy
    from .schema import Settings as Settings
    from .schema import StepRiskPolicy as StepRiskPolicy
    from .words import Effect as Effect
    from .words import FailureKind as FailureKind
    from .words import Risk as Risk
    from .words import StepKind as StepKind
    from .words import Tier as Tier
    from .words import Trust as Trust

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
