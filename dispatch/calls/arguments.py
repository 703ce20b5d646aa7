"""Do the arguments of a call fit the schema of its tool? It may come from outside, and judging ends soon."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ..request import one_line

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

__all__ = ["misfit"]

_STEPS: Final = 10_000
"""References that are followed for one call: two in each of forty definitions lead on to a million million."""
_LEFT: ContextVar[list[int]] = ContextVar("pointsman_references_left")


class _TooMuch(Exception):
    """More references were followed than `_STEPS`."""


def misfit(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """Say what of a schema the arguments break, or None where they fit, or only the tool itself can tell.

    Left to the tool are a schema that is none, one that points to another document, which is not fetched, one that
    refers to itself without end, patterns that take more than linear time, and what goes by the patterns of names.

    Args:
        schema: The tool's.
        arguments: As the model gave them.
    """
    token = _LEFT.set([_STEPS])
    try:
        error = next(iter(_validator(json.dumps(schema)).iter_errors(arguments)), None)
    except Exception:  # noqa: BLE001 - whatever a schema that is none has raised, the tool itself judges its arguments
        return None
    finally:
        _LEFT.reset(token)
    if error is None:
        return None
    where = ".".join(str(part) for part in error.absolute_path)
    # The value itself is left out: it can be long, and it can be private.
    return one_line(f"{where or 'arguments'} breaks {error.validator!r} of the schema")


@lru_cache
def _validator(schema: str) -> Validator:
    from referencing import Registry

    # Without a registry of its own it fetches what a schema points to.
    validator: Validator = _judges()(json.loads(schema), registry=Registry())
    return validator


@lru_cache
def _judges() -> Any:
    """The validator of JSON Schema 2020-12 without what takes more than linear time."""
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
    """It goes by patterns of names, or follows references by itself."""


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
    """Matches a pattern in time that grows with the text alone; None where that engine does not know what is in it."""
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        return None
