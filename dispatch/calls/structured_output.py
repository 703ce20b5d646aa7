"""Typed answers: the schema that requests a pydantic class, and validation of the answer by the class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, RootModel, ValidationError, create_model
from pydantic.errors import PydanticUserError

from ...backends import schemas
from ...configs.errors import ConfigError
from ..conversation.blocks import cleaned
from ..request import one_line

__all__ = ["bindable", "is_class", "judged", "output_class", "refused", "wrapped"]

_ROOT: Final = "root"
_REF: Final = "$ref"
_DEFS: Final = "$defs"
_PREFIX: Final = "#/$defs/"


def output_class(kind: Any, whose: str) -> type[BaseModel]:
    """Check that a class can type an answer, and return it.

    Args:
        kind: The class given.
        whose: Who requested it, for the error message.

    Raises:
        ConfigError: It is not a subclass of `BaseModel`, its schema cannot be made, or part of it has no JSON form.
    """
    if kind is BaseModel or not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        shown = getattr(kind, "__name__", repr(kind))
        raise ConfigError(f"{whose}: output={shown} is not a pydantic class; make a class of pydantic.BaseModel")
    try:
        _schema(kind)
    except PydanticUserError as error:
        reason = str(error.message).split(", error_info")[0]
        raise ConfigError(
            f"{whose}: no answer can be typed by {kind.__name__}: {reason}; give its fields types that JSON has"
        ) from error
    except Exception as error:
        raise ConfigError(
            f"{whose}: the schema of {kind.__name__} cannot be made: {type(error).__name__}: {one_line(error)}; mend "
            "the class"
        ) from error
    return kind


@lru_cache
def wrapped(kind: type[BaseModel]) -> type[BaseModel]:
    """Return the class that a tool call is parsed as: a root model becomes the field ``root`` of an object.

    Args:
        kind: The class of the answer.
    """
    if not issubclass(kind, RootModel):
        return kind
    made: type[BaseModel] = create_model(kind.__name__, __doc__=kind.__doc__, **{_ROOT: (kind, ...)})  # type: ignore[call-overload]
    return made


def judged(kind: type[BaseModel], arguments: Mapping[str, Any]) -> str | None:
    """Validate an answer with a class, including its validators.

    Args:
        kind: The class, a root model or not.
        arguments: The arguments of the tool call that represents the answer.

    Returns:
        What is wrong, without the value, which can be long or private; None if nothing is.
    """
    try:
        wrapped(kind).model_validate(dict(arguments))
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(str(part) for part in detail["loc"]) or "the answer"
        own = detail["type"] in ("value_error", "assertion_error")
        return f"{where}: a validator refuses it" if own else f"{where}: {detail['msg'][0].lower()}{detail['msg'][1:]}"
    except Exception as error:  # noqa: BLE001 - a validator may raise anything; any exception rejects the answer
        return f"a validator raised {type(error).__name__}"
    return None


def refused(kind: type[BaseModel], output: str, message: AIMessage) -> str | None:
    """Validate an earlier reply with a class, since another class or none may have validated it.

    Args:
        kind: The class.
        output: Name of the tool that represents the answer.
        message: The reply.

    Returns:
        What is wrong with it, as `judged` returns it; None if nothing is.
    """
    problems = (judged(kind, call["args"]) for call in message.tool_calls if call["name"] == output)
    return next((problem for problem in problems if problem), None)


def is_class(tool: object) -> bool:
    """Return whether a tool is a pydantic class."""
    return isinstance(tool, type) and issubclass(tool, BaseModel)


def bindable(tools: Sequence[Any], *, strict: bool, answer: type[BaseModel] | None) -> list[dict[str, Any]]:
    """Describe tools in OpenAI's format, and reject now what a vendor would reject at the call.

    Args:
        tools: As LangChain's ``bind_tools`` takes them.
        strict: Whether calls must match the tools' schemas.
        answer: The class behind the tool of the same name.

    Raises:
        ConfigError: A tool cannot be described or cannot be strict, or two different tools share a name.
    """
    made = [_described(answer if answer and _name(tool) == answer.__name__ else tool) for tool in tools]
    known: dict[str, Any] = {}
    for given, tool in zip(tools, made, strict=True):
        function = tool.get("function")
        if not isinstance(function, Mapping) or not str(function.get("name") or "").strip():
            raise ConfigError("a tool needs a name, and a function: what a vendor runs by itself cannot be routed")
        name, schema = str(function["name"]), function.get("parameters") or {}
        # A class may be bound together with its own schema, as in LangChain's own tests.
        if not isinstance(given, type) and known.setdefault(name, tool) != tool:
            raise ConfigError(f"two tools are called {name!r}, and a call could mean either: rename one")
        if schema.get("type", "object") != "object":
            raise ConfigError(f"the arguments of the tool {name!r} are of type {schema['type']}: make them an object")
        if strict:
            try:
                schemas.strict(schema)
            except ValueError as error:
                raise ConfigError(f"the tool {name!r} cannot be strict: {error}") from error
    return cleaned(made)  # type: ignore[no-any-return]  # as it was


def _name(tool: Any) -> str:
    return str(getattr(tool, "name", None) or getattr(tool, "__name__", ""))


def _described(tool: Any) -> dict[str, Any]:
    """Describe a tool or an output class in OpenAI's format.

    LangChain expands schemas in full and truncates recursive ones; a recursive schema keeps its references here.

    Args:
        tool: A class, function, tool or mapping, as LangChain's ``bind_tools`` takes it.

    Raises:
        ConfigError: It cannot be described to a model.
    """
    if isinstance(tool, type) and issubclass(tool, BaseModel):
        output_class(tool, "with_structured_output" if issubclass(tool, RootModel) else tool.__name__)
        tool = wrapped(tool)
    try:
        made = convert_to_openai_tool(tool)
    except (PydanticUserError, ValueError, TypeError, NotImplementedError) as error:
        name = getattr(tool, "name", None) or getattr(tool, "__name__", None) or type(tool).__name__
        raise ConfigError(f"the tool {name!r} cannot be described to a model: {str(error).splitlines()[0]}") from error
    function = made.get("function")
    schema = _recursive(tool)
    if isinstance(function, dict) and schema is not None:
        made = {**made, "function": {**function, "parameters": schema}}
    return made


def _recursive(tool: Any) -> dict[str, Any] | None:
    """Return the schema of a tool whose arguments are recursive; None for any other."""
    given = tool.args_schema if isinstance(tool, BaseTool) else tool
    if isinstance(given, type) and issubclass(given, BaseModel):
        returns, shown = _returns(given), tool.tool_call_schema if isinstance(tool, BaseTool) else given
        if returns is None and isinstance(shown, type):
            returns = _comes_back(shown.model_json_schema())  # type: ignore[union-attr]
        if not returns:
            return None
        return _whole(shown.model_json_schema() if isinstance(shown, type) else shown)  # type: ignore[union-attr]
    if isinstance(given, Mapping) and _DEFS in given and _comes_back(given):
        return _whole(given)
    return None


@lru_cache
def _returns(kind: type[BaseModel]) -> bool | None:
    """Return whether a class contains itself; None if it has arguments hidden from models that JSON cannot express."""
    try:
        return _comes_back(_schema(kind))
    except PydanticUserError:
        return None


@lru_cache
def _schema(kind: type[BaseModel]) -> Mapping[str, Any]:
    return kind.model_json_schema()


def _comes_back(schema: Mapping[str, Any]) -> bool:
    """Return whether one of a schema's definitions contains itself, directly or through others."""
    try:
        TopologicalSorter({name: _refs(inner) for name, inner in (schema.get(_DEFS) or {}).items()}).prepare()
    except CycleError:
        return True
    return False


def _refs(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        own = value.get(_REF)
        here = {own.removeprefix(_PREFIX)} if isinstance(own, str) else set()
        return here.union(*(_refs(inner) for inner in value.values()))
    if isinstance(value, list):
        return set().union(*(_refs(inner) for inner in value))
    return set()


def _whole(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with an object at its top level, as every vendor requires; its references stay."""
    top = schema
    if isinstance(schema.get(_REF), str):
        top = {**schema[_DEFS][schema[_REF].removeprefix(_PREFIX)], _DEFS: schema[_DEFS]}
    return {key: value for key, value in top.items() if key not in ("title", "description")}
