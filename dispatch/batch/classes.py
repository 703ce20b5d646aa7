"""`AnswerClasses`: the pydantic classes that judge the typed answers of a batch, found again when it is collected."""

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
    """Knows the classes that were handed in, were given since, or stand in a module that is loaded.

    A class cannot be written down, so of each its name and the SHA-256 of its schema are. No module is imported to find
    it: that would run code which nobody named. One that has another schema by now is not the class that was asked for.

    Args:
        given: Classes that may be asked for.

    Raises:
        ConfigError: One of them is no pydantic class.
    """

    def __init__(self, given: Iterable[type[BaseModel]] = ()) -> None:
        self._known: dict[tuple[str, str], type[BaseModel]] = {}
        for kind in given:
            self._know(kind)

    def told(self, ask: ModelRequest) -> dict[str, str] | None:
        """Give what is written down of the class that judges the answer to an ask; None where there is none.

        Raises:
            ConfigError: It is no pydantic class.
        """
        if ask.answer is None or ask.output is None:
            return None
        name, schema = self._know(ask.answer)
        return {"name": name, "schema": schema, "output": ask.output}

    def find(self, told: Mapping[str, str]) -> type[BaseModel] | None:
        """The class of which ``told`` was written down; None where it is not at hand."""
        name, schema = told["name"], told["schema"]
        named = self._known.get((name, schema)) or _loaded(name, schema)
        # The class of a script has another module's name where the script is imported.
        return named or next((kind for (_, other), kind in self._known.items() if other == schema), None)

    def verdict(self, told: Mapping[str, str], message: AIMessage) -> tuple[str, str]:
        """Judge an answer that was judged by its schema alone.

        Args:
            told: What was written down of its class.
            message: The answer.

        Returns:
            What is wrong with it, and what there is to say of how it was judged; either may be empty.
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
    """The calls of a reply that stand for its typed answer."""
    return [call for call in message.tool_calls if call["name"] == told["output"]]


@lru_cache(maxsize=1024)
def _digest(kind: type[BaseModel]) -> str:
    return hashlib.sha256(json.dumps(kind.model_json_schema(), sort_keys=True).encode()).hexdigest()


def _loaded(name: str, schema: str) -> type[BaseModel] | None:
    """A class of a module that this process has loaded."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        # A module can run code of its own for a name that it does not have.
        found = getattr(found, "__dict__", {}).get(part)
    return found if is_class(found) and _digest(found) == schema else None
