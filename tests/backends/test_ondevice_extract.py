"""Extraction: what is filled stands in the text, what does not stand there is left out and named."""

import re
from datetime import date
from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from langchain_core.utils.function_calling import convert_to_openai_tool
from pointsman.backends.ondevice.extract import extract
from pointsman.backends.ondevice.spans import FINDERS, Span, find, parse_number
from pydantic import BaseModel


class Invoice(BaseModel):
    invoice_number: str
    vendor: str
    invoice_date: date
    due_date: date
    total: Decimal
    vat_amount: Decimal | None = None
    currency: str
    iban: str
    contact_email: str


class Message(BaseModel):
    customer_name: str
    email: str
    phone: str
    order_id: str
    quantity: int
    amount: float
    is_urgent: bool
    channel: Literal["email", "phone", "chat"]
    card_last4: str
    when: date | None = None


INVOICE = """Invoice number: INV-2026-0042
Vendor: Nordlicht GmbH
Invoice date: 3 May 2026
Due date: 02.06.2026
Subtotal: €1,000.00
VAT (19 %): €190.00
Total: €1,190.00
Please pay to IBAN DE89 3704 0044 0532 0130 00, questions to billing@nordlicht.example.
"""
MESSAGE = (
    "Hi, my name is Anna de Vries, order #A-4431 (quantity 3) came to $45.90. It is not urgent. Call me at "
    "+44 20 7946 0100 or mail anna@x.example; card ending in 4821, by phone please."
)


def schema(model: type[BaseModel]) -> dict:
    return convert_to_openai_tool(model)["function"]["parameters"]


def test_an_invoice_is_read_into_its_schema() -> None:
    found = extract(schema(Invoice), INVOICE)
    assert found.missing == ()
    invoice = Invoice.model_validate(found.values)
    assert invoice == Invoice(
        invoice_number="INV-2026-0042",
        vendor="Nordlicht GmbH",
        invoice_date=date(2026, 5, 3),
        due_date=date(2026, 6, 2),
        total=Decimal("1190.00"),
        vat_amount=Decimal("190.00"),
        currency="EUR",
        iban="DE89 3704 0044 0532 0130 00",
        contact_email="billing@nordlicht.example",
    )
    assert str(invoice.total) == "1190.00"


def test_a_message_is_read_into_its_schema() -> None:
    found = extract(schema(Message), MESSAGE)
    assert Message.model_validate(found.values) == Message(
        customer_name="Anna de Vries",
        email="anna@x.example",
        phone="+44 20 7946 0100",
        order_id="A-4431",
        quantity=3,
        amount=45.9,
        is_urgent=False,
        channel="phone",
        card_last4="4821",
    )


@pytest.mark.parametrize(("model", "text"), [(Invoice, INVOICE), (Message, MESSAGE)])
def test_raw_pydantic_schemas_with_references_are_read_too(model: type[BaseModel], text: str) -> None:
    assert extract(model.model_json_schema(), text).values == extract(schema(model), text).values


@pytest.mark.parametrize(("model", "text"), [(Invoice, INVOICE), (Message, MESSAGE)])
def test_what_a_text_does_not_say_is_missing_and_never_made_up(model: type[BaseModel], text: str) -> None:
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    assert extract(schema(model), "The weather is fine.").missing == tuple(required)
    assert extract(schema(model), "").missing == tuple(required)
    cut = text.replace("billing@nordlicht.example", "us").replace("anna@x.example", "me")
    assert [name for name in extract(schema(model), cut).missing if "email" in name]


WORDS = st.sampled_from(["the", "customer", "paid", "on", "for", "and", "then", "about", "please", "order", "Maria"])
VALUES = st.one_of(
    st.dates(date(1990, 1, 1), date(2035, 12, 28)).flatmap(
        lambda day: st.sampled_from([day.isoformat(), day.strftime("%d/%m/%Y"), f"{day.day} {day:%B %Y}"])
    ),
    st.decimals(0, 99999, places=2).flatmap(lambda n: st.sampled_from([f"£{n}", f"{n} EUR", f"${n:,}"])),
    st.integers(0, 10**6).map(str),
    st.from_regex(r"[a-z]{1,8}@[a-z]{2,8}\.(com|example)", fullmatch=True),
    st.from_regex(r"[A-Z]{2,4}-[0-9]{4,6}", fullmatch=True),
    st.sampled_from(["https://a.example/x?y=1", "card ending in 1234", "my name is Jo March", "+49 30 1234567"]),
)
NAMES = st.sampled_from(
    ["order_id", "customer_name", "amount", "total", "due_date", "start_date", "email", "website", "count", "note"]
)
TYPES = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "format": "date"},
        {"type": "number"},
        {"type": "integer"},
        {"type": "boolean"},
        {"anyOf": [{"type": "number"}, {"type": "string"}]},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
    ]
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(WORDS, VALUES), max_size=14).map(" ".join), st.dictionaries(NAMES, TYPES, min_size=1, max_size=6)
)
def test_every_value_read_stands_in_the_text(text: str, properties: dict) -> None:
    found = extract({"type": "object", "properties": properties, "required": list(properties)}, text)
    assert set(found.missing) | set(found.values) == set(properties)
    for name, value in found.values.items():
        if value is None:
            assert "null" in str(properties[name])
            continue
        start, end = found.spans[name]
        written = text[start:end]
        assert written
        if isinstance(value, bool):
            assert any(word in written.lower() for word in name.split("_"))
        elif properties[name].get("format") == "date":
            assert [span.value.isoformat() for span in find("date", written)] == [value]
        elif isinstance(value, int | float) or "number" in str(properties[name]):
            assert float(parse_number(written)[0]) == float(value)
        else:
            assert value == written


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_no_text_breaks_a_finder(text: str) -> None:
    for kind in FINDERS:
        for span in find(kind, text):
            assert 0 <= span.start < span.end <= len(text)


@given(st.decimals(0, 10**8, places=2))
def test_amounts_are_read_exactly_in_either_way_of_writing(amount: Decimal) -> None:
    english = f"{amount:,}"
    continental = english.translate(str.maketrans(",.", ".,"))
    assert parse_number(english) == (amount, True)
    assert parse_number(continental) == (amount, True)


@given(st.dates(date(1900, 1, 1), date(2999, 12, 31)))
def test_a_date_with_two_readings_is_not_certain(day: date) -> None:
    for written, certain in ((f"{day:%Y-%m-%d}", True), (f"{day.day} {day:%B %Y}", True), (f"{day:%d.%m.%Y}", True)):
        assert find("date", written) == [Span(day, 0, len(written), certain)]
    assume(day.month != day.day)
    assert find("date", f"{day:%d/%m/%Y}") == [Span(day, 0, 10, day.day > 12)]


def test_an_iban_with_a_wrong_digit_is_none() -> None:
    assert [span.value for span in find("iban", "DE89 3704 0044 0532 0130 00")] == ["DE89 3704 0044 0532 0130 00"]
    assert find("iban", "DE89 3704 0044 0532 0130 01") == []


def test_a_value_outside_a_numeric_choice_is_not_filled() -> None:
    found = extract(
        {"properties": {"stars": {"type": "integer", "enum": [1, 2, 3]}}, "required": ["stars"]}, "stars: 7"
    )
    assert found.missing == ("stars",)


@pytest.mark.slow
def test_finding_takes_linear_time_on_hostile_text() -> None:
    for text in ("1" * 20000, "a@" * 10000, "1 " * 10000, "AB12 " * 4000, "Mr " * 5000, "a." * 10000):
        for kind in FINDERS:
            assert isinstance(find(kind, text), list)


def test_patterns_and_lists_are_filled() -> None:
    properties = {
        "code": {"type": "string", "pattern": "^[A-Z]{3}[0-9]{3}$"},
        "emails": {"type": "array", "items": {"type": "string", "format": "email"}},
        "topics": {"type": "array", "items": {"type": "string", "enum": ["card", "cash", "loan"]}},
    }
    found = extract(
        {"properties": properties, "required": list(properties)}, "Code XYZ123 to a@b.example and c@d.example on card."
    )
    assert found.values == {"code": "XYZ123", "emails": ["a@b.example", "c@d.example"], "topics": ["card"]}
    assert re.fullmatch(properties["code"]["pattern"], found.values["code"])
