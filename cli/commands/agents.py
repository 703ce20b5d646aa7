"""``pointsman agents`` and ``models``: list the agents and models, and which of them can be used here now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import options
from ..io.output import answer, short
from ..io.simulated import is_simulated, named
from ..io.table import table
from ..settings import opened

if TYPE_CHECKING:
    from ...agents.runtime import Runtime
    from ...configs.catalog import ModelCard, TokenPrices

__all__ = ["agents", "models"]

_MILLION = 1_000_000


@options.project("offline", "overrides")
def agents(
    json: options.AsJson = False,
) -> None:
    """List the built-in and configured agents, and the model each would run on now."""
    with opened(reads=True) as runtime:
        found = [_agent(runtime, name) for name in runtime.settings.agents]
    rows = [
        (a["name"], a["task"], a["kind"], a["risk"], a["tier"], named(a["model"] or "none"), short(a["why"], 100))
        for a in found
    ]
    answer(found, table(rows, ("agent", "task", "kind", "risk", "tier", "runs on now", "why")), json=json)


def _agent(runtime: Runtime, name: str) -> dict[str, Any]:
    from ...agents.agent import Agent

    agent = Agent.from_entry(name, runtime.settings.agents[name]).on(runtime)
    tools = agent.bound_tools()
    decision = runtime.dispatcher.decide(agent.request())
    return {
        "name": name,
        "task": agent.task,
        "kind": agent.kind.value,
        "risk": decision.risk.value,
        "tier": decision.tier.value,
        "prefers": agent.model,
        "tools": [tool.name for tool in tools],
        "model": decision.model,
        "why": _why(agent.model, decision),
    }


def _why(preferred: str | None, decision: Any) -> str:
    """Return why the agent runs on this model rather than on the one it prefers, or why it has no model."""
    fallen = {rejection.model: rejection.reason for rejection in decision.rejected}
    if decision.model is None:
        keys = sorted({rejection.reason for rejection in decision.rejected if rejection.needs})
        return "; ".join(keys) or "; ".join(sorted(set(fallen.values())))
    if preferred and decision.model != preferred:
        return f"{preferred}: {fallen.get(preferred, 'ranks lower')}"
    # The last rules applied settled the choice.
    return "; ".join(hit.reason for hit in reversed(decision.rules)) or "the cheapest that qualifies"


@options.project("offline", "overrides")
def models(
    json: options.AsJson = False,
) -> None:
    """List the catalogue: tiers, prices, what each model takes, and whether it can be used here."""
    with opened(reads=True) as runtime:
        cards = sorted(runtime.dispatcher.cards.values(), key=lambda card: card.tier.rank)
        reasons = {name: why.reason for name, why in runtime.dispatcher.availability.providers.items()}
        found = [_model(card, reasons) for card in cards]
    rows = [
        (
            m["tier"],
            m["model"],
            _tokens(m["context"]),
            _price(m, "input"),
            _price(m, "output"),
            " ".join(m["inputs"]),
            m["unusable"] or ("simulated" if is_simulated(m["model"]) else "yes"),
        )
        for m in found
    ]
    head = ("tier", "model", "context", "$/M in", "$/M out", "takes", "usable here")
    versions = sorted({m["prices"]["version"] for m in found if m["prices"]})
    text = f"{table(rows, head, right=[2, 3, 4])}\n\nprices: {', '.join(versions) or 'none known'}"
    answer(found, text, json=json)


def _model(card: ModelCard, reasons: Mapping[str, str]) -> dict[str, Any]:
    return {
        "model": card.id,
        "provider": card.provider,
        "tier": card.tier.value,
        "context": card.context,
        "max_output": card.max_output,
        "inputs": sorted(card.inputs, key=lambda kind: (kind != "text", kind)),
        "roles": sorted(card.roles),
        "tasks": None if card.tasks is None else sorted(card.tasks),
        "tools": card.tools,
        "structured": card.structured,
        "local": card.local,
        "prices": None if card.prices is None else _per_million(card.prices),
        "unusable": reasons.get(card.id) or reasons.get(card.provider),
    }


def _per_million(prices: TokenPrices) -> dict[str, Any]:
    kinds = ("input", "output", "cache_read", "cache_write")
    return {**{kind: float(getattr(prices, kind) * _MILLION) for kind in kinds}, "version": prices.version}


def _price(model: Mapping[str, Any], kind: str) -> str:
    return "unknown" if model["prices"] is None else f"{model['prices'][kind]:.2f}"


def _tokens(count: int | None) -> str:
    if count is None:
        return "unknown"
    return f"{count / _MILLION:.1f}M" if count >= _MILLION else f"{count // 1000}k"
