"""The facts of one call, judged from the arguments that the tool's function will actually get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from ..configs.words import Effect
from .base import CallFacts, CallRisk, EffectRule, Preview, declaration_of, effect_of, unbound

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

__all__ = ["call_facts", "json_schema", "preview_of"]


def call_facts(tool: Any, arguments: Mapping[str, Any]) -> CallFacts:
    """Return what a call will do, before it runs.

    A rule gets the validated arguments, not those the model wrote: pydantic reads ``"false"`` as False, and a rule that
    saw the string would judge a different call from the one that runs. If the arguments are invalid, or the rule fails
    or returns an invalid value, the call counts as ``destructive``.

    Args:
        tool: A LangChain tool, a pydantic class or a dict in OpenAI's format.
        arguments: As the model gave them.
    """
    tool = unbound(tool)
    name, effect, declared = _name_of(tool), effect_of(tool), declaration_of(tool)
    if effect is None or declared is None:
        return CallFacts(name, arguments, effect)
    seen = _validated(tool, arguments)
    reasons: tuple[str, ...] = ()
    if declared.risk_of is not None:
        effect, reasons = _judged(declared.risk_of, seen)
    given = arguments if seen is None else seen
    targets = {name: given[name] for name in declared.target_args if given.get(name) is not None}
    return CallFacts(name, arguments, effect, targets, declared.reversible, reasons)


def preview_of(tool: Any, arguments: Mapping[str, Any]) -> Preview | None:
    """Return what a call would change, before it runs; None if its tool has no preview or it cannot be computed.

    Args:
        tool: A LangChain tool.
        arguments: As the model gave them.
    """
    declared = declaration_of(tool)
    seen = _validated(unbound(tool), arguments) if declared is not None and declared.preview is not None else None
    if seen is None or declared is None or declared.preview is None:
        return None
    try:
        return declared.preview(seen)
    except Exception:  # noqa: BLE001 - the preview is the user's code; without it, a person decides unaided
        return None


def json_schema(tool: BaseTool) -> dict[str, Any]:
    """Return the schema of a tool's arguments, as models see it."""
    schema = tool.tool_call_schema
    if isinstance(schema, dict):
        return schema
    if issubclass(schema, BaseModel):
        return schema.model_json_schema()
    return {"type": "object", "properties": tool.args}  # pydantic v1


def _judged(rule: EffectRule, arguments: Mapping[str, Any] | None) -> tuple[Effect, tuple[str, ...]]:
    if arguments is None:
        return Effect.DESTRUCTIVE, ("its arguments are not those that the tool takes",)
    try:
        said = rule(arguments)
        judged = said if isinstance(said, CallRisk) else CallRisk(Effect(said))
        return Effect(judged.effect), tuple(map(str, judged.reasons))
    except Exception as error:  # noqa: BLE001 - the user's code; a rule that fails must not lower the risk
        return Effect.DESTRUCTIVE, (f"what it would do cannot be judged: {type(error).__name__}",)


def _validated(tool: Any, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the arguments as the function will get them, without injected ones; None if they are invalid."""
    asked, schema = tool.tool_call_schema, tool.get_input_schema()
    if isinstance(asked, dict):
        return arguments  # LangChain passes arguments on unchanged if the schema is plain JSON
    # The full schema has validators that the one shown to models lacks, but if there are injected arguments it cannot
    # be filled from the model's arguments alone.
    if not issubclass(schema, BaseModel):
        return None  # pydantic v1
    if set(asked.model_fields) != set(schema.model_fields):
        schema = asked
    try:
        filled: BaseModel = schema.model_validate(dict(arguments))
    except ValidationError:
        return None
    return {name: getattr(filled, name) for name in type(filled).model_fields}


def _name_of(tool: Any) -> str:
    if isinstance(tool, Mapping):
        return str(tool.get("name") or tool.get("function", {}).get("name", ""))
    return str(getattr(tool, "name", None) or tool.__name__)
