"""Stop an agent that repeats the same call and gets the same result each time."""

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
"""How often a call with the same result may be made. From the third turn on, routing gives the agent a stronger model
if there is one (`pointsman.routing.features.progress`), which has three turns to find a way out."""
_SHOWN: Final = 200


class _Loop:
    """What an agent has said and been told since its run began, even if middleware removes it from the conversation."""

    def __init__(self) -> None:
        self._given: set[str | None] | None = None
        self._said: dict[str | None, BaseMessage] = {}

    def since(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """Return all of it, given the current messages of the conversation."""
        if self._given is None:
            self._given = {message.id for message in messages}
        # User messages in the middle of it come from a summary.
        self._said.update((m.id, m) for m in messages if m.id not in self._given and m.type != "human")
        return list(self._said.values())


_LOOP: ContextVar[_Loop | None] = ContextVar("pointsman_loop", default=None)


def one_loop() -> AbstractContextManager[None]:
    """Restart the count of calls inside the block: an agent that is resumed may make them once more."""
    return set_to(_LOOP, _Loop())


class LoopMiddleware(TurnMiddleware):
    """Stop an agent before a model turn if its calls have had the same result `MOST_TIMES` times.

    Args:
        agent: Its name.
    """

    def __init__(self, agent: str) -> None:
        super().__init__()
        self._agent = agent

    def seen(self, request: ModelRequest) -> ModelRequest:
        """Return the call, unless the agent is in a loop."""
        loop, messages = _LOOP.get(), request.state["messages"]
        since = messages if loop is None else loop.since(messages)
        # Each turn is one message from the model and one from each tool.
        if len(since) < 2 * MOST_TIMES:
            return request
        found = repeated([as_dict(message) for message in since])
        if found is not None and found.times >= MOST_TIMES:
            calls = ", ".join(f"{name}({arguments})" for name, arguments in found.calls)
            raise RepeatedCall(self._agent, one_line(calls, _SHOWN), found.times)
        return request
