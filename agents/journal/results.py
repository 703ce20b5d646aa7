"""The stored result of an act: a model is given it again if the run was cut off before its checkpoint."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import ToolMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..around import ToolAnswer

__all__ = ["kept_name", "result_of", "result_text"]

_MOST: Final = 500_000
"""Characters of a result that are kept."""
_CUT: Final = "\n\n[The rest of this result was not kept when the run was cut off.]"
_NOT_KEPT: Final = (
    "This call was carried out before the run was cut off. Its result was not kept; do not repeat the call."
)


def kept_name(act: str) -> str:
    """Return the name under which the result of an act is stored.

    Args:
        act: Id of the act's row.
    """
    return f"act {act}"


def result_text(answer: ToolAnswer) -> str | None:
    """Serialize a result; None for one without a JSON form, such as a change of the graph's state.

    Args:
        answer: What the tool returned.
    """
    from langchain_core.messages import message_to_dict

    if not isinstance(answer, ToolMessage):
        return None
    if isinstance(answer.content, str) and len(answer.content) > _MOST:
        answer = answer.model_copy(update={"content": answer.content[:_MOST] + _CUT})
    return json.dumps(message_to_dict(answer), default=str)


def result_of(text: str | None, call: Mapping[str, Any], *, failed: bool) -> ToolMessage:
    """Read a result that `result_text` wrote, as the answer to a call.

    Args:
        text: The text; None if none was stored.
        call: The call.
        failed: Whether the tool reported an error.
    """
    from langchain_core.messages import messages_from_dict

    if text is None:
        status: Any = "error" if failed else "success"
        return ToolMessage(_NOT_KEPT, name=call["name"], tool_call_id=call["id"], status=status)
    (message,) = messages_from_dict([json.loads(text)])
    if not isinstance(message, ToolMessage):
        raise TypeError(f"a tool answered with {type(message).__name__}")
    return message.model_copy(update={"tool_call_id": call["id"]})
