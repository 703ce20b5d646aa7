"""An agent that makes the same call again and again, and is told the same each time, comes to an end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from langchain_core.messages import BaseMessage

from ...configs.process.variables import set_to
from ...dispatch.request import as_dict, one_line
from ...routing.features.progress import repeated
from ..around import TurnMiddleware
from ..errors import RepeatedCall

if TYPE_CHECKING:
    from langchain.agents.middleware import ModelRequest

__all__ = ["MOST_TIMES", "LoopMiddleware", "one_loop"]

MOST_TIMES: Final = 5
"""How often a call may be made that tells the same each time. From the third turn on routing gives the agent a
stronger model, where there is one (`pointsman.routing.features.progress`): that has three turns to find a way out."""
_SHOWN: Final = 200


class _Loop:
    """What an agent has said and been told since it was run, whatever its middleware takes out of the conversation."""

    def __init__(self) -> None:
        self._given: set[str | None] | None = None
        self._said: dict[str | None, BaseMessage] = {}

    def since(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """All of it, where these are the messages of the conversation now."""
        if self._given is None:
            self._given = {message.id for message in messages}
        # Words of a user in the midst of it are those of a summary.
        self._said.update((m.id, m) for m in messages if m.id not in self._given and m.type != "human")
        return list(self._said.values())


_LOOP: ContextVar[_Loop | None] = ContextVar("pointsman_loop", default=None)


def one_loop() -> AbstractContextManager[None]:
    """Count the calls made inside the block anew: an agent that is taken up again may make them once more."""
    return set_to(_LOOP, _Loop())


class LoopMiddleware(TurnMiddleware):
    """End an agent before a turn of its model, where its calls have told the same `MOST_TIMES` times.

    Args:
        agent: Its name.
    """

    def __init__(self, agent: str) -> None:
        super().__init__()
        self._agent = agent

    def seen(self, request: ModelRequest) -> ModelRequest:
        """The call, unless the agent goes round in a loop."""
        loop, messages = _LOOP.get(), request.state["messages"]
        since = messages if loop is None else loop.since(messages)
        # Each turn is a message of the model's and one of each tool.
        if len(since) < 2 * MOST_TIMES:
            return request
        found = repeated([as_dict(message) for message in since])
        if found is not None and found.times >= MOST_TIMES:
            calls = ", ".join(f"{name}({arguments})" for name, arguments in found.calls)
            raise RepeatedCall(self._agent, one_line(calls, _SHOWN), found.times)
        return request
