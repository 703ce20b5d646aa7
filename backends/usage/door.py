"""The one door for the numbers of providers: every usage passes here before money is settled by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...configs.catalog import Usage
from .counting import DOUBT, TIER, usage_of

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

__all__ = ["believed"]

_MOST: Final = 10**8
"""Tokens: no model reads or writes a tenth of it in one call, and what is charged by mistake is spent."""


def believed(message: AIMessage) -> tuple[Usage | None, str]:
    """Say what a reply used, and why its own word on that is not taken.

    A usage with one number that cannot be is no usage: what is left of it might be a cheap answer. Whoever gets None
    charges what was set aside for the call.

    Args:
        message: A complete reply, the chunks of a stream added up, or some of them.

    Returns:
        The usage, None where it is not told or not believable; and the doubt, empty where there is none.
    """
    doubt = message.response_metadata.get(DOUBT)
    if doubt:
        return None, f"usage not believable: {doubt}"
    told = message.usage_metadata
    if told is None:
        return None, "usage not told"
    tier = message.response_metadata.get(TIER)
    usage = usage_of(told, tier if isinstance(tier, str) else "")
    doubt = usage.doubt()
    if not doubt:
        doubt = _unlikely(usage)
    return (None, f"usage not believable: {doubt}") if doubt else (usage, "")


def _unlikely(usage: Usage) -> str:
    if not usage.input:
        # Every prompt has some.
        return "input 0"
    return next((f"{name} {count}" for name in ("input", "output") if (count := getattr(usage, name)) > _MOST), "")
