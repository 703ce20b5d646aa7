"""Invoices, as PDFs, scans or photographs, into a schema: each field with its page and box.

pip install 'pointsman[documents]'
python examples/invoices/papers.py invoices
pointsman run examples/invoices/flow.py:invoices "Read the invoice." --file invoices/invoice-01.png
"""

from __future__ import annotations

from pointsman import document_extraction
from pydantic import BaseModel, Field


class Position(BaseModel):
    """One line of an invoice."""

    name: str
    amount: float


class Invoice(BaseModel):
    """What an invoice says."""

    number: str
    date: str = Field(description="as it is written")
    positions: list[Position]
    total: float


def adds_up(invoice: Invoice) -> str | None:
    """What is wrong with an invoice, None where nothing is."""
    if not invoice.positions:
        return "it has no positions"
    summed = round(sum(position.amount for position in invoice.positions), 2)
    return None if summed == invoice.total else f"its positions make {summed}, not {invoice.total}"


invoices = document_extraction("invoices", Invoice, check=adds_up)
