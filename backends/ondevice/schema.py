"""Read a JSON schema's properties: the type, labels and kind of value of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Field", "read_fields", "spoken"]

_FORMATS = {"date": "date", "date-time": "date", "email": "email", "idn-email": "email", "uri": "url", "url": "url",
            "iri": "url", "uuid": "uuid", "time": "time", "phone": "phone"}  # fmt: skip
# A property's name determines its kind: the first phrase whose words are all in the name applies.
_TEXT_WORDS = {
    "email": "email, mail", "iban": "iban", "last4": "last4, last four, last 4, last digits, card ending",
    "sort_code": "sort code", "phone": "phone, telephone, mobile, tel", "url": "url, link, website", "uuid": "uuid",
    "date": "date, deadline, birthday, dob", "currency": "currency", "time": "time",
    "amount": "amount, price, total, cost, fee, balance",
    "name": "customer name, full name, person name, sender name, contact name, client name, author",
    "reference": "id, number, reference, ref, order, ticket, tracking, invoice no",
}  # fmt: skip
_NUMBER_WORDS = {
    "percent": "percent, percentage",
    "amount": "amount, price, total, subtotal, cost, fee, balance, sum, tax, vat, charge, paid, budget, salary",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One property of a schema.

    Attributes:
        name: The property's name.
        type: ``string``, ``integer``, ``number``, ``decimal`` (a number or its text), ``boolean``, ``array``,
            ``object`` or empty if unknown.
        kind: A key of `spans.FINDERS`, or None if neither format nor name determines it.
        labels: The strings of its enum or const; empty if there are none.
        required: Whether it must be filled.
        nullable: Whether it may be null.
        words: Its name as lower-case words.
        iso_date: Whether the value must be an ISO date.
        pattern: Regular expression the value must match, if any.
        item: The element of an array.
        fields: The properties of an object.
    """

    name: str
    type: str
    kind: str | None
    labels: tuple[str, ...]
    required: bool
    nullable: bool
    words: tuple[str, ...]
    iso_date: bool = False
    pattern: str | None = None
    item: Field | None = None
    fields: tuple[Field, ...] = ()


def read_fields(schema: Mapping[str, Any]) -> tuple[Field, ...]:
    """Read the properties of an object schema, following references within it.

    Args:
        schema: JSON schema of an object, such as the parameters of a tool.
    """
    return _fields(schema, schema, depth=0)


def spoken(name: str) -> str:
    """Split a name into words: ``card_arrival`` and ``cardArrival`` become ``card arrival``."""
    return re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)).strip().lower()


def _fields(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> tuple[Field, ...]:
    required = set(schema.get("required", ()))
    return tuple(
        _field(name, spec, root, name in required, depth)
        for name, spec in schema.get("properties", {}).items()
        if isinstance(spec, Mapping)
    )


def _field(name: str, spec: Mapping[str, Any], root: Mapping[str, Any], required: bool, depth: int) -> Field:
    spec, nullable = _plain(spec, root)
    words = tuple(spoken(name).split())
    values = [value for value in spec.get("enum", [spec.get("const")]) if value is not None]
    # An enum of values that are not strings gets no type, so that no other value is filled in.
    type_ = spec.get("type", "") if all(isinstance(value, str) for value in values) else ""
    # This stops a schema that refers to itself; real schemas for text are not eight levels deep.
    deeper = depth < 8
    return Field(
        name=name,
        type=type_,
        kind=_kind(type_, words, spec.get("format")),
        labels=tuple(dict.fromkeys(value for value in values if isinstance(value, str))),
        required=required,
        nullable=nullable,
        words=words,
        iso_date=spec.get("format") in ("date", "date-time"),
        pattern=spec.get("pattern"),
        item=_field(_singular(name), spec.get("items", {}), root, True, depth + 1)
        if type_ == "array" and deeper
        else None,
        fields=_fields(spec, root, depth + 1) if type_ == "object" and deeper else (),
    )


def _plain(spec: Mapping[str, Any], root: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Resolve references and drop null from the types; return the schema and whether null was allowed."""
    merged, nullable = dict(spec), False
    for _ in range(8):
        if "$ref" in merged:
            merged = {**_lookup(merged.pop("$ref"), root), **merged}
        elif len(merged.get("allOf", ())) == 1:
            merged = {**merged.pop("allOf")[0], **merged}
        elif "anyOf" in merged or "oneOf" in merged:
            options = merged.pop("anyOf", None) or merged.pop("oneOf")
            kept = [option for option in options if option.get("type") != "null"]
            nullable = nullable or len(kept) < len(options)
            if {option.get("type") for option in kept} == {"number", "string"}:
                merged["type"] = "decimal"
            elif kept:
                merged = {**kept[0], **merged}
        elif isinstance(merged.get("type"), list):
            names = [name for name in merged["type"] if name != "null"]
            nullable = nullable or len(names) < len(merged["type"])
            merged["type"] = names[0] if names else ""
        else:
            break
    return merged, nullable


def _lookup(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    node: Any = root
    for part in reference.removeprefix("#/").split("/"):
        node = node.get(part, {}) if isinstance(node, Mapping) else {}
    return node if isinstance(node, Mapping) else {}


def _kind(type_: str, words: tuple[str, ...], format_: str | None) -> str | None:
    if format_ in _FORMATS:
        return _FORMATS[format_]
    if type_ in ("integer", "number", "decimal"):
        return _named(_NUMBER_WORDS, words) or ("amount" if type_ == "decimal" else "number")
    if type_ == "string":
        return "name" if words == ("name",) else _named(_TEXT_WORDS, words)
    return None


def _named(table: Mapping[str, str], words: tuple[str, ...]) -> str | None:
    phrases = ((kind, phrase.split()) for kind, listed in table.items() for phrase in listed.split(", "))
    return next((kind for kind, phrase in phrases if set(phrase) <= set(words)), None)


def _singular(name: str) -> str:
    return name.removesuffix("s") if not name.endswith("ss") else name
