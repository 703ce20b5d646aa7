"""Values that satisfy a JSON schema, taken from a text if it has any."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

_QUOTED = re.compile(r"\"([^\"\n]+)\"|(?<!\w)'([^'\n]+)'(?!\w)|`([^`\n]+)`|“([^”\n]+)”|「([^」\n]+)」")
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?![\w]|\.\d)")
_NAMES = re.compile(r"[A-Z][\w'-]*(?:,? [A-Z][\w'-]*)*")
_SENTENCE_START = re.compile(r"(?:^|[.!?:]\s+|\n\s*)$")
_MAX_DEPTH = 12
# Beyond this, JSON numbers lose their last digits in other languages (RFC 8259, section 6).
_LARGEST = 2**53
# One plausible value for each format of the JSON Schema vocabulary that validators check.
_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "user@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
# Tried in turn if nothing in the text matches a `pattern`.
_PATTERN_GUESSES = ("a", "A", "0", "1", "ab", "AB", "12", "abc", "ABC", "123", "1234", "12345", "a1", "A1", "AB12",
                    "A-1", "AB-123", "ABC-123", "ABC-1234", "0.0", "1.0.0", "+15550100", "#000000", "a@b.co",
                    *_FORMATS.values())  # fmt: skip


class Clues:
    """The values found in a text, used in order of appearance.

    Args:
        text: What the user wrote.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        quoted = [next(group for group in match.groups() if group) for match in _QUOTED.finditer(text)]
        rest = _QUOTED.sub(" ", text)
        self.strings: list[str] = [*quoted, *_proper_names(rest)]
        self.numbers: list[str] = _NUMBER.findall(rest)

    def named(self, name: str) -> str | None:
        """Return the value the text assigns to a name (`name=...`, `name: ...` or `name is ...`), or None."""
        if not name or name not in self.text:
            return None
        found = re.search(
            rf"(?<!\w)[\"'`]?{re.escape(name)}[\"'`]?\s*(?:=|:|\bis\b)\s*"
            r"(?:\"([^\"]*)\"|'([^']*)'|`([^`]*)`|([^\s,;)\]}]+))",
            self.text,
        )
        if found is None:
            return None
        value = next(group for group in found.groups() if group is not None)
        return value.rstrip(".?!") if found.group(4) else value


def _proper_names(text: str) -> Iterator[str]:
    for match in _NAMES.finditer(text):
        words = match.group().split(" ")
        if _SENTENCE_START.search(text[: match.start()]):
            words = words[1:]
        if words and words != ["I"]:
            yield " ".join(words).rstrip(",")


def sample(schema: Schema, text: str = "") -> Any:
    """Return the smallest value that satisfies a schema, filled from a text if it offers values.

    Supports type, enum, const, required, nested objects, arrays, bounds, `$ref`, `anyOf`, `oneOf` and `allOf`;
    `pattern` is satisfied by trying candidates, and `not` and conditional keywords are ignored. Google's upper-case
    types are understood, and a `nullable` value is never null.

    Args:
        schema: A JSON schema.
        text: Where to look for values.
    """
    return _Sampler(schema, Clues(text)).value(schema, "", 0)


class _Sampler:
    def __init__(self, root: Schema, clues: Clues) -> None:
        self.root = root
        self.clues = clues

    def value(self, schema: Any, name: str, depth: int) -> Any:
        schema = self._resolved(schema, name, depth)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._choice(schema["enum"], name)
        kind = _type_of(schema)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, name, depth)
        if kind == "null":
            return None
        if kind == "boolean":
            return self._boolean(schema, name)
        if kind in ("integer", "number"):
            return self._number(schema, name, integer=kind == "integer")
        return self._string(schema, name)

    def _resolved(self, given: Any, name: str, depth: int) -> Schema:
        if not isinstance(given, dict):
            return {}
        schema: Schema = given
        for _ in range(_MAX_DEPTH):
            if isinstance(schema.get("$ref"), str):
                target = self._lookup(schema["$ref"])
                schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
            elif schema.get("allOf"):
                schema = self._merged(schema)
            elif options := schema.get("anyOf") or schema.get("oneOf"):
                rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
                chosen = self._option(options, depth)
                schema = {**rest, **chosen} if isinstance(chosen, dict) else rest
            else:
                break
        return schema

    def _lookup(self, reference: str) -> Schema:
        target: Any = self.root
        for part in reference.removeprefix("#").strip("/").split("/"):
            if part:
                key = part.replace("~1", "/").replace("~0", "~")
                target = target.get(key, {}) if isinstance(target, dict) else {}
        return target if isinstance(target, dict) else {}

    def _merged(self, schema: Schema) -> Schema:
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            part = self._resolved(part, "", 0)
            for key, value in part.items():
                if key == "properties":
                    merged[key] = {**merged.get(key, {}), **value}
                elif key == "required":
                    merged[key] = [*merged.get(key, []), *value]
                else:
                    merged.setdefault(key, value)
        return merged

    def _option(self, options: list[Any], depth: int) -> Any:
        concrete = [o for o in options if not (isinstance(o, dict) and _type_of(o) == "null")]
        if not concrete or (depth > _MAX_DEPTH // 2 and len(concrete) < len(options)):
            return {"type": "null"}
        if depth > _MAX_DEPTH // 2:
            flat = [o for o in concrete if isinstance(o, dict) and "$ref" not in o and "properties" not in o]
            return (flat or concrete)[0]
        return concrete[0]

    def _choice(self, values: list[Any], name: str) -> Any:
        given = self.clues.named(name)
        for value in values:
            if given is not None and str(value).lower() == given.lower():
                return value
        text = self.clues.text.lower()
        for value in values:
            if isinstance(value, str) and value and re.search(rf"(?<!\w){re.escape(value.lower())}(?!\w)", text):
                return value
        return values[0]

    def _object(self, schema: Schema, depth: int) -> Schema:
        properties: Schema = schema.get("properties") or {}
        required = list(dict.fromkeys(schema.get("required") or ()))
        result: Schema = {}
        for key, sub in properties.items():
            if key in required or (depth < _MAX_DEPTH and self.clues.named(key) is not None):
                result[key] = self.value(sub, key, depth + 1)
        extra = schema.get("additionalProperties")
        for key in required:
            if key not in result:
                result[key] = self.value(extra if isinstance(extra, dict) else {}, key, depth + 1)
        spare = [key for key in properties if key not in result]
        while len(result) < schema.get("minProperties", 0):
            key = spare.pop(0) if spare else f"key{len(result) + 1}"
            result[key] = self.value(properties.get(key, extra if isinstance(extra, dict) else {}), key, depth + 1)
        return result

    def _array(self, schema: Schema, name: str, depth: int) -> list[Any]:
        least = schema.get("minItems", 0)
        most = schema.get("maxItems", math.inf)
        prefix = schema.get("prefixItems") or []
        items = schema.get("items")
        result = [self.value(sub, name, depth + 1) for sub in prefix]
        if items is False or (prefix and items is None):
            return result
        if len(result) < most and depth < _MAX_DEPTH // 2 and items is not None:
            least = max(least, 1)
        kind = _type_of(self._resolved(items, name, depth)) if isinstance(items, dict) else "string"
        offered = {"string": len(self.clues.strings), "integer": len(self.clues.numbers),
                   "number": len(self.clues.numbers)}.get(kind, 0)  # fmt: skip
        wanted = min(most, max(least, offered if items is not None and least else 0))
        attempts = 0
        while len(result) < wanted and attempts < 2 * wanted + 8:
            attempts += 1
            item = self.value(items, "", depth + 1)
            if schema.get("uniqueItems") and item in result:
                item = _varied(item, attempts)
                if item in result:
                    continue
            result.append(item)
        return result

    def _boolean(self, schema: Schema, name: str) -> bool:
        given = self.clues.named(name)
        if given is not None and given.lower() in ("true", "yes", "false", "no"):
            return given.lower() in ("true", "yes")
        # By default a made-up judgement finds nothing wrong: a run in which every step is doubted is of little use.
        return bool(schema.get("default", name == "ok"))

    def _number(self, schema: Schema, name: str, *, integer: bool) -> int | float:
        given = self.clues.named(name)
        for text in [*([] if given is None else [given]), *self.clues.numbers]:
            value = _number_in(text, integer)
            if value is not None and _in_bounds(schema, value):
                if text in self.clues.numbers:
                    self.clues.numbers.remove(text)
                return value
        default = schema.get("default")
        if isinstance(default, int | float) and not isinstance(default, bool):
            return default
        return _least_number(schema, integer)

    def _string(self, schema: Schema, name: str) -> str:
        form = schema.get("format")
        pattern = schema.get("pattern")
        candidates: list[str] = []
        given = self.clues.named(name)
        if given is not None:
            candidates.append(given)
        candidates += self.clues.strings
        if isinstance(schema.get("default"), str):
            candidates.append(schema["default"])
        if form in _FORMATS:
            candidates = [text for text in candidates if _looks_like(form, text)] + [_FORMATS[form]]
        elif self.clues.text.strip():
            candidates.append(self.clues.text.strip())
        if isinstance(pattern, str):
            candidates = [text for text in (*candidates, *_PATTERN_GUESSES) if _matches(pattern, text)]
        for text in candidates:
            if schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", math.inf):
                if text in self.clues.strings:
                    self.clues.strings.remove(text)
                return text
        text = candidates[0] if candidates else "text"
        return _fitted(text, schema)


def _type_of(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()
    if "properties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return "string"


def _number_in(text: str, integer: bool) -> int | float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    if not abs(value) <= _LARGEST or (integer and not value.is_integer()):
        return None
    return int(value) if integer else value


def _in_bounds(schema: Schema, value: float) -> bool:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    step = schema.get("multipleOf")
    return bool(low <= value <= high and above < value < below and (not step or (value / step).is_integer()))


def _least_number(schema: Schema, integer: bool) -> int | float:
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    step = schema.get("multipleOf") or 1
    candidates: list[float] = [0, 1]
    if math.isfinite(low):
        candidates += [low, step * math.ceil(low / step), step * (math.floor(low / step) + 1)]
    if math.isfinite(high):
        candidates += [high, step * math.floor(high / step), step * (math.ceil(high / step) - 1)]
    if math.isfinite(low) and math.isfinite(high):
        candidates.append((low + high) / 2)
    for value in candidates:
        if _in_bounds(schema, value) and (not integer or float(value).is_integer()):
            return int(value) if integer else value
    return 0


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False


def _looks_like(form: str, text: str) -> bool:
    shapes = {"date": r"\d{4}-\d\d-\d\d", "email": r"[^@\s]+@[^@\s]+\.\w+", "uri": r"https?://\S+",
              "url": r"https?://\S+", "uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"}  # fmt: skip
    return form in shapes and re.fullmatch(shapes[form], text) is not None


def _fitted(text: str, schema: Schema) -> str:
    least = schema.get("minLength", 0)
    if len(text) < least:
        text = (text or "x") * (least // max(len(text), 1) + 1)
        text = text[:least]
    most = schema.get("maxLength")
    return text if most is None else text[:most]


def _varied(item: Any, number: int) -> Any:
    if isinstance(item, bool):
        return not item
    if isinstance(item, int | float):
        return item + number
    return f"{item} {number}" if isinstance(item, str) else item
