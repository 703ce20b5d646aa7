"""Arguments are judged by the schema of their tool, which may be a stranger's, and that ends soon whatever it says."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pointsman.dispatch.calls.arguments import misfit


def _text(**more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": {"type": "string", **more}}}


@pytest.mark.parametrize(
    ("schema", "arguments", "said"),
    [
        (_text(pattern=r"^\d{4}$"), {"x": "2026"}, None),
        (_text(pattern=r"^\d{4}$"), {"x": "26"}, "x breaks 'pattern' of the schema"),
        (_text(pattern=r"^\d{4}$"), {"x": 26}, "x breaks 'type' of the schema"),
        (_text(pattern=r"^(?=a)b"), {"x": "c"}, None),
        ({"additionalProperties": False}, {"x": 1}, "arguments breaks 'additionalProperties' of the schema"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"required": ["x"]}}}, {}, "arguments breaks 'required' of the schema"),
    ],
)
def test_arguments_that_do_not_fit_are_told_by_place_and_rule(schema: Any, arguments: Any, said: str | None) -> None:
    assert misfit(schema, arguments) == said


def _nested(depth: int) -> dict[str, Any]:
    return {"x": _nested(depth - 1)} if depth else {}


_TWICE = {"properties": {"x": {"$ref": "#"}}}


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        (_text(pattern="^(a+)+$"), {"x": "a" * 26 + "!"}),
        ({"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False}, {"a" * 26 + "!": 1}),
        ({"patternProperties": {"^(a+)+$": {}}, "unevaluatedProperties": False}, {"a" * 26 + "!": 1}),
        (
            {
                "$defs": {"a22": {}, **{f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(22)}},
                "$ref": "#/$defs/a0",
            },
            {},
        ),
        ({"allOf": [_TWICE, _TWICE]}, _nested(20)),
        ({"allOf": [{"$ref": "#"}] * 2}, {}),
    ],
    ids=["pattern", "names", "other names", "definitions", "itself", "itself at once"],
)
def test_no_schema_keeps_the_event_loop_busy(schema: Any, arguments: Any) -> None:
    """Each takes twice as long for each letter or level more, where nothing bounds it: these minutes."""
    begun = time.process_time()
    misfit(schema, arguments)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    "schema",
    [{"type": "nope"}, {"properties": 5}, {"required": 3}, {"$ref": 5}, {"$ref": "#/nope"}, {"$id": 5}]
    + [{"properties": {"x": one}} for one in ({"minimum": "1"}, {"enum": 3}, {"multipleOf": 0}, {"pattern": 5})],
    ids=str,
)
def test_a_schema_that_is_none_is_left_to_the_tool(schema: Any) -> None:
    assert misfit(schema, {"x": 1}) is None
