"""Reduce tool schemas to the form a vendor's API accepts; replies are validated by the full schema anyway."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["for_gemini", "object_at_top", "strict"]

Schema = dict[str, Any]

_COMBINING: Final = ("anyOf", "oneOf", "allOf")
_INNER: Final = ("items", "additionalProperties", "not")
_LISTS: Final = (*_COMBINING, "prefixItems")
_NAMED: Final = ("properties", "$defs", "definitions")

# ai.google.dev/api/caching#Schema, ai.google.dev/gemini-api/docs/structured-output: keys read in parametersJsonSchema.
_GEMINI: Final = frozenset(
    {"$defs", "$id", "$ref", "additionalProperties", "anyOf", "description", "enum", "format", "items", "maxItems",
     "maximum", "minItems", "minimum", "prefixItems", "properties", "required", "title", "type"}
)  # fmt: skip
_GEMINI_FORMATS: Final = frozenset({"date", "date-time", "duration", "time"})
# platform.openai.com/docs/guides/structured-outputs, platform.claude.com/docs/en/build-with-claude/structured-outputs:
# keys that one of the two does not accept in a strict schema.
_NOT_STRICT: Final = frozenset(
    {"default", "discriminator", "exclusiveMaximum", "exclusiveMinimum", "format", "maxItems", "maxLength", "maximum",
     "minItems", "minLength", "minimum", "multipleOf", "pattern", "title", "uniqueItems"}
)  # fmt: skip


def _mapped(schema: Any, change: Callable[[Schema], Schema]) -> Any:
    """Return a schema with ``change`` applied to it and to every schema inside it, innermost first."""
    if not isinstance(schema, Mapping):
        return schema
    made: Schema = dict(schema)
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, Mapping):
            made[key] = {name: _mapped(inner, change) for name, inner in value.items()}
        elif key in _LISTS and isinstance(value, list):
            made[key] = [_mapped(inner, change) for inner in value]
        elif key in _INNER:
            made[key] = _mapped(value, change)
    return change(made)


def object_at_top(schema: Mapping[str, Any]) -> Schema:
    """Convert a schema to a single object, the only form that vendors accept for arguments.

    Alternatives at the top become one object with the properties of all of them; a property is required only if all
    alternatives require it.
    """
    made: Schema = {"properties": {}, **schema, "type": "object"}
    parts = [part for key in _COMBINING for part in made.pop(key, None) or () if isinstance(part, Mapping)]
    defs = schema.get("$defs") or {}
    parts = [defs.get(str(part.get("$ref", "")).removeprefix("#/$defs/"), part) for part in parts]
    if not parts:
        return made
    properties = {name: inner for part in parts for name, inner in (part.get("properties") or {}).items()}
    made["properties"] = {**properties, **made["properties"]}
    shared = set.intersection(*(set(part.get("required") or ()) for part in parts))
    if "allOf" in schema:
        shared = set().union(*(part.get("required") or () for part in parts))
    made["required"] = sorted({*(schema.get("required") or ()), *shared})
    return made


def for_gemini(schema: Mapping[str, Any]) -> Schema:
    """Reduce a schema to the keywords that Gemini's ``parametersJsonSchema`` supports."""
    made: Schema = _mapped(schema, _gemini)
    return made


def _gemini(schema: Schema) -> Schema:
    if "$ref" in schema:
        ref = str(schema["$ref"]).replace("#/definitions/", "#/$defs/")
        return {"$ref": ref, **({"$defs": schema["$defs"]} if "$defs" in schema else {})}
    if "const" in schema:
        schema["enum"] = [schema["const"]]
    if "oneOf" in schema:
        schema["anyOf"] = schema.pop("oneOf")
    if "definitions" in schema:
        schema["$defs"] = schema.pop("definitions")
    if schema.get("format") not in _GEMINI_FORMATS:
        schema.pop("format", None)
    return {key: value for key, value in schema.items() if key in _GEMINI}


def strict(schema: Mapping[str, Any]) -> Schema:
    """Convert a schema to one that vendors can enforce: closed objects, every property required.

    Raises:
        ValueError: It contains an open object, which no vendor can enforce.
    """
    made: Schema = _mapped(schema, _strict)
    return made


def _strict(schema: Schema) -> Schema:
    if schema.get("type") == "object" or "properties" in schema:
        if "properties" not in schema and schema.get("additionalProperties", True) is not False:
            raise ValueError("an object without named properties cannot be strict")
        if isinstance(schema.get("additionalProperties"), Mapping) or schema.get("additionalProperties") is True:
            raise ValueError("an object with free properties cannot be strict")
        schema["additionalProperties"] = False
        schema["required"] = list(schema.get("properties") or ())
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if "oneOf" in schema:
        schema["anyOf"] = schema.pop("oneOf")
    if "prefixItems" in schema:
        schema["items"] = {"anyOf": schema.pop("prefixItems")}
    return {key: value for key, value in schema.items() if key not in _NOT_STRICT}
