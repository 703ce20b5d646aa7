"""Four prebuilt workflows: an extraction that is checked, a cascade, a vote and a batch.

Run one with, for instance:

    pointsman run examples/prebuilt/flows.py:invoice "Paper 4.00, ink 11.50, total 15.50" --offline
"""

from __future__ import annotations

from pointsman import Agent, batch, cascade, extraction, vote
from pydantic import BaseModel, Field


class Invoice(BaseModel):
    """What an invoice says."""

    amounts: list[float] = Field(description="the amount of each line, in the order of the lines")
    total: float = Field(description="the total to pay")


def adds_up(invoice: Invoice) -> str | None:
    """What is wrong with an invoice, None where nothing is."""
    if not invoice.amounts:
        return "it has no lines"
    summed = round(sum(invoice.amounts), 2)
    return None if summed == invoice.total else f"its lines make {summed}, not {invoice.total}"


def one_sentence(text: str) -> str | None:
    """What is wrong with a summary, None where nothing is."""
    return None if len(text) <= 300 else f"it has {len(text)} characters, and 300 is the most"


summary = Agent("summary", task="summarise", instructions="Say in one sentence what the text is about.", tier="economy")

# Filled in by the cheapest model that can, checked by adds_up, done again by a stronger one that is told what is wrong.
invoice = extraction("invoice", Invoice, check=adds_up)

# The same for free text: up the tiers until the check is content.
brief = cascade("brief", summary, check=one_sentence)

# Three models of three tiers; what two of them say is the answer, and a judge chooses where no two agree.
poll = vote(
    "poll",
    [Agent(tier, instructions="Answer with yes or no.", tier=tier) for tier in ("economy", "standard", "advanced")],
    judge=True,
)

# One agent over many inputs: a JSON array, or one a line.
summaries = batch("summaries", summary, jobs=4)
