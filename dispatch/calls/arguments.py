"""Checks tool-call arguments against the tool's schema, in bounded time, since schemas may come from outside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ...configs.process.variables import set_to
from ..request import one_line

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

__all__ = ["misfit"]

_STEPS: Final = 10_000
"""References followed for one call: forty definitions with two references each lead to a million million."""
_LEFT: ContextVar[list[int]] = ContextVar("pointsman_references_left")


class _TooMuch(Exception):
    """More references were followed than `_STEPS`."""


def misfit(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """Return how the arguments break a schema, or None if they fit or only the tool itself can tell.

    Left to the tool are invalid schemas, references to other documents, which are not fetched, endless self-references,
    patterns that take more than linear time, and keywords that match property names by pattern.

    Args:
        schema: The tool's schema.
        arguments: As the model gave them.
    """
    try:
        with set_to(_LEFT, [_STEPS]):
            error = next(iter(_validator(json.dumps(schema)).iter_errors(arguments)), None)
    except Exception:  # noqa: BLE001 - whatever an invalid schema raises, the tool itself then checks its arguments
        return None
    if error is None:
        return None
    where = ".".join(str(part) for part in error.absolute_path)
    # The value itself is left out: it can be long or private.
    return one_line(f"{where or 'arguments'} breaks {error.validator!r} of the schema")


@lru_cache
def _validator(schema: str) -> Validator:
    from referencing import Registry

    # Without an explicit registry it would fetch the documents that a schema refers to.
    validator: Validator = _judges()(json.loads(schema), registry=Registry())
    return validator


@lru_cache
def _judges() -> Any:
    """Return the JSON Schema 2020-12 validator class without keywords that take more than linear time."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    known = Draft202012Validator.VALIDATORS
    left_out = dict.fromkeys(("patternProperties", "unevaluatedProperties", "unevaluatedItems"), _not_judged)
    return extend(  # type: ignore[no-untyped-call]
        Draft202012Validator,
        {
            **left_out,
            "pattern": _pattern,
            "additionalProperties": _additional(known["additionalProperties"]),
            **{name: _counted(known[name]) for name in ("$ref", "$dynamicRef")},
        },
    )


_Keyword = Callable[[Any, Any, Any, Mapping[str, Any]], Iterator[Any] | None]


def _not_judged(validator: Any, value: Any, instance: Any, schema: Mapping[str, Any]) -> None:
    """Skip a keyword that matches names by pattern or follows references by itself."""


def _counted(keyword: _Keyword) -> _Keyword:
    def judge(validator: Any, value: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
        left = _LEFT.get()
        left[0] -= 1
        if left[0] < 0:
            raise _TooMuch
        yield from keyword(validator, value, instance, schema) or ()

    return judge


def _additional(keyword: _Keyword) -> _Keyword:
    def judge(validator: Any, value: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
        if "patternProperties" not in schema:
            yield from keyword(validator, value, instance, schema) or ()

    return judge


def _pattern(validator: Any, value: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(instance, str) and _breaks(value, instance):
        yield ValidationError(f"it does not match {value!r}")


def _breaks(pattern: str, text: str) -> bool:
    from pydantic import ValidationError

    try:
        matches = _matcher(pattern)
        if matches is not None:
            matches.validate_python(text)
    except ValidationError:
        return True
    return False


@lru_cache
def _matcher(pattern: str) -> Any:
    """Return a linear-time matcher of a pattern; None if that regex engine does not support the pattern."""
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        return None
