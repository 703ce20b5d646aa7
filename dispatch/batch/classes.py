"""`AnswerClasses`: finds the pydantic classes that validate a batch's typed answers when it is collected."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from ..calls.structured_output import is_class, output_class, refused
from ..request import one_line

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from ..request import ModelRequest

__all__ = ["AnswerClasses", "typed_calls"]


class AnswerClasses:
    """Knows the classes that were submitted with requests, passed in, or defined in a loaded module.

    A class cannot be stored, so its name and the SHA-256 of its schema are stored instead. No module is imported to
    find a class: that would run code that nobody asked for. A class whose schema has changed is not the same class.

    Args:
        given: Classes that may be needed.

    Raises:
        ConfigError: One of them is not a pydantic class that can type an answer.
    """

    def __init__(self, given: Iterable[type[BaseModel]] = ()) -> None:
        self._known: dict[tuple[str, str], type[BaseModel]] = {}
        for kind in given:
            self._know(kind)

    def told(self, ask: ModelRequest) -> dict[str, str] | None:
        """Return what to store about the class that validates a request's answer; None if there is no class.

        Raises:
            ConfigError: It is not a pydantic class that can type an answer.
        """
        if ask.answer is None or ask.output is None:
            return None
        name, schema = self._know(ask.answer)
        return {"name": name, "schema": schema, "output": ask.output}

    def find(self, told: Mapping[str, str]) -> type[BaseModel] | None:
        """Return the class that ``told`` describes; None if it is not available."""
        name, schema = told["name"], told["schema"]
        named = self._known.get((name, schema)) or _loaded(name, schema)
        # A script's class has a different module name when the script is imported.
        return named or next((kind for (_, other), kind in self._known.items() if other == schema), None)

    def verdict(self, told: Mapping[str, str], message: AIMessage) -> tuple[str, str]:
        """Validate an answer that was checked only against its schema.

        Args:
            told: What was stored about its class.
            message: The answer.

        Returns:
            What is wrong with it, and a note on how it was checked; either may be empty.
        """
        kind = self.find(told)
        if kind is None:
            return "", (
                f"judged by its schema alone: the class {told['name']} is not at hand, or has another schema now; "
                "collect the batch again with that class"
            )
        problem = refused(kind, told["output"], message)
        return (one_line(f"{told['output']}: {problem}") if problem else ""), ""

    def _know(self, kind: type[BaseModel]) -> tuple[str, str]:
        output_class(kind, "a batch")
        key = f"{kind.__module__}:{kind.__qualname__}", _digest(kind)
        self._known[key] = kind
        return key


def typed_calls(told: Mapping[str, str], message: AIMessage) -> list[Any]:
    """Return a reply's calls that represent its typed answer."""
    return [call for call in message.tool_calls if call["name"] == told["output"]]


@lru_cache(maxsize=1024)
def _digest(kind: type[BaseModel]) -> str:
    return hashlib.sha256(json.dumps(kind.model_json_schema(), sort_keys=True).encode()).hexdigest()


def _loaded(name: str, schema: str) -> type[BaseModel] | None:
    """Return a class by name and schema from a loaded module; None if there is none."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        # Read ``__dict__``, since a module's ``__getattr__`` can run code for a missing name.
        found = getattr(found, "__dict__", {}).get(part)
    return found if is_class(found) and _digest(found) == schema else None
